"""What a run cannot make again is as it was written, or refused: SHA256SUMS and the log's lines."""

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seqgen import families, presets
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import check_files, create, extend, open_at, open_run
from seqgen.storage import checkpoint, log, manifest
from seqgen.sweeps import state
from seqgen.sweeps.plan import plan
from tests.conftest import train
from tests.processes import outcome

SMALL = ("config.json", "vocabulary.json", "versions.json", "SHA256SUMS")


@pytest.fixture
def copied(attention_run, tmp_path) -> Path:
    """A finished run, to be damaged."""
    return Path(shutil.copytree(attention_run, tmp_path / "copied"))


def flips(content: bytes) -> Iterator[bytes]:
    """The content with each of its bits flipped."""
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def read_all(run: Path) -> None:
    """Read a run's small files as commands do."""
    manifest.read_json(run / "versions.json")
    assert open_at(run).sizes
    log.read(run)


# Flips, cuts, losses


@pytest.mark.parametrize("name", SMALL)
def test_every_flip_of_a_small_file_is_refused(name, attention_run, monkeypatch):
    """Fails when a run is read with one bit that it was not written with."""
    for flipped in read_as(name, flips((attention_run / name).read_bytes()), monkeypatch):
        assert refused(lambda: read_all(attention_run)), flipped
    read_all(attention_run)


def read_as(name: str, contents: Iterable[bytes], monkeypatch) -> Iterator[bytes]:
    """Let a run's file of a name have one content after another."""
    content = b""

    def read(path: Path) -> bytes:
        return content if path.name == name else path.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(manifest, "read_bytes", read)
        patch.setattr(log, "content_of", lambda run: read(log.path(run)))
        for content in contents:
            yield content


def refused(read: Callable[[], object]) -> bool:
    """Whether something cannot be read, and the error names the manifest or the log."""
    try:
        read()
    except SeqgenError as error:
        return bool(re.search(r"SHA256SUMS|metrics\.jsonl", str(error)))
    return False


EVENTS = [
    {"event": "train", "step": 3, "epoch": 0.5, "loss": 1.25, "gradient_norm": 2.5},
    {"event": "evaluate", "split": "test", "step": 6, "epoch": 1.0, "loss": 0.5, "exact_match": 0},
    {"event": "broken", "step": 7},
]


@pytest.mark.parametrize("sealed", [False, True])
def test_every_flip_of_a_log_is_refused(sealed, tmp_path, monkeypatch):
    """Fails when a number is believed that was not logged, or a line is lost in silence: of the
    last one, a kill may have cut off the end.
    """
    log.append(tmp_path, *EVENTS[:2])
    log.append(tmp_path, EVENTS[2])
    reached = log.checksum(tmp_path)
    if sealed:
        for name in manifest.RUN:
            (tmp_path / name).write_text("{}")
        manifest.seal(tmp_path)
    content = log.path(tmp_path).read_bytes()
    for flipped in read_as("metrics.jsonl", flips(content), monkeypatch):
        if flipped.endswith(b"\n") or sealed:
            assert refused(lambda: log.read(tmp_path)), flipped
        else:
            assert log.read(tmp_path) == EVENTS[:2]
        assert refused(lambda: log.cut(tmp_path, 7, reached)), flipped
    assert log.read(tmp_path) == log.cut(tmp_path, 7, reached) == EVENTS


@pytest.mark.parametrize("line", range(3))
def test_a_line_that_is_gone_is_missed(line, tmp_path):
    """Fails when a line can be taken out of a log of a run that is not finished."""
    log.append(tmp_path, *EVENTS)
    reached = log.checksum(tmp_path)
    lines = log.path(tmp_path).read_bytes().splitlines(keepends=True)
    log.path(tmp_path).write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    assert refused(lambda: log.cut(tmp_path, 7, reached))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exact_match", 4.0),
        ("token_accuracy", -0.5),
        ("token_error_rate", -0.5),
        ("word_error_rate", float("nan")),
        ("sequence_error_rate", 1.5),
        ("perplexity", -1.5),
        ("examples", -3),
        ("loss", float("nan")),
        ("loss", float("inf")),
        ("step", -1),
        ("epoch", float("nan")),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, tmp_path):
    """Fails when a log of an older version may say what cannot be."""
    log.path(tmp_path).write_text(json.dumps({**EVENTS[1], name: value}) + "\n")
    with pytest.raises(SeqgenError, match=rf"line 1: {name} cannot be {value}"):
        log.read(tmp_path)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def cut_a_line(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))


@pytest.mark.parametrize("damage", [emptied, cut, cut_a_line, os.remove])
@pytest.mark.parametrize("name", [*SMALL, "metrics.jsonl"])
def test_a_finished_run_s_file_that_is_cut_or_gone(name, damage, copied, capsys):
    """Fails when a run goes on without a file, its history or its manifest, or does not say how
    that is accepted; and when anything is written meanwhile.
    """
    damage(copied / name)
    before = {path: path.read_bytes() for path in copied.glob("*.*")}
    if name == "config.json" and damage is os.remove:
        with pytest.raises(UsageError, match="no run at"):
            open_run(copied)
        return
    assert main(["resume", str(copied)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"seqgen: error: (cannot read )?{copied}/({name}|SHA256SUMS): ", line)
    assert {path: path.read_bytes() for path in copied.glob("*.*")} == before


def test_sha256sum_agrees(copied):
    """Fails when the manifest is not in the format of the tool that its docstring names."""
    told = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=copied, check=True, capture_output=True, text=True
    )
    names = sorted({*manifest.RUN, "metrics.jsonl"})
    assert told.stdout.splitlines() == [f"{name}: OK" for name in names]


# A kill at any moment


@pytest.mark.parametrize("at", range(4))
def test_a_file_is_replaced_whole(at, copied, monkeypatch):
    """Fails when a process that dies between two writes leaves a file that its manifest refuses."""
    content = (copied / "config.json").read_bytes()
    kill_at(at, monkeypatch)
    try:
        manifest.replace(copied / "config.json", content + b"\n")
    except KeyboardInterrupt:
        assert at < 3
    monkeypatch.undo()
    read_all(copied)
    assert (copied / "config.json").read_bytes() == content + b"\n" * (at > 1)
    manifest.replace(copied / "config.json", content)
    read_all(copied)
    assert len((copied / "SHA256SUMS").read_text().splitlines()) == 4


def kill_at(at: int, monkeypatch) -> None:
    """Let the process die before the `at`-th file is written."""
    writes, write = iter(range(9)), manifest.write

    def dying(path: Path, content: str | bytes) -> None:
        if next(writes) == at:
            raise KeyboardInterrupt
        write(path, content)

    for module in (manifest, log):
        monkeypatch.setattr(module, "write", dying)


@pytest.mark.parametrize("at", range(3))
def test_a_finished_log_is_cut_whole(at, copied, monkeypatch):
    """Fails when a finished run that goes back to an older state and dies cannot be read."""
    kill_at(at, monkeypatch)
    try:
        log.cut(copied, 50)
    except KeyboardInterrupt:
        assert at < 2
    monkeypatch.undo()
    assert log.read(copied)[-1]["step"] == (100 if at < 2 else 50)


# Edited by hand, and accepted


def test_what_was_edited_is_refused_until_it_is_accepted(copied, capsys):
    """Fails when a run is scored on other data than its own, the command that accepts an edit is
    not named, or does not; or what a kill left is taken for a checkpoint.
    """
    file = copied / "config.json"
    file.write_text(file.read_text().replace('"seed": 0', '"seed": 2'))
    (copied / "checkpoints" / "state" / "100.old.tmp").mkdir()  # as a kill leaves it
    for words in (["evaluate", str(copied)], ["resume", str(copied)]):
        assert main(words) == 1
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert err.startswith(f"seqgen: error: {file}: its SHA-256 is not the one in SHA256SUMS: ")
        assert err.endswith(f"`seqgen accept {copied}`\n")
    assert main(["accept", str(copied)]) == 0
    assert capsys.readouterr() == (f"{copied}\n", "")
    assert open_run(copied).config.seed == 2
    assert manifest.sealed(copied)


def test_a_log_that_was_edited_goes_on(tmp_path):
    """Fails when an accepted log of a run that is not finished is refused by its state, or its
    lines are not read as they now are.
    """
    run = create(config(), "run", tmp_path).path
    log.append(run, *EVENTS[:2])
    reached = log.checksum(run)
    log.path(run).write_text(log.path(run).read_text().replace("1.25", "1.5"))
    families.accept(run)
    edited = [{**EVENTS[0], "loss": 1.5}, EVENTS[1]]
    assert log.cut(run, 6, reached) == edited
    log.append(run, EVENTS[2])
    assert log.read(run) == [*edited, EVENTS[2]]
    assert "crc32" not in log.path(run).read_text()
    log.path(run).write_bytes(b"")
    with pytest.raises(SeqgenError, match="lines up to step 6 are gone"):
        log.cut(run, 6, reached)


def test_a_damaged_sweep_says_so(tmp_path, monkeypatch):
    """Fails when what a sweep knows of its members and commands is another thing, or forgotten."""
    planned = plan({"a": config(), "b": config()}, [0], tmp_path)
    state.record(tmp_path, planned[:1], "first")
    state.record(tmp_path, planned, "second")
    known = {"command": "first && second", "members": ["a-0", "b-0"]}
    assert state.recorded(tmp_path) == known
    for name in ("sweep.json", "SHA256SUMS"):
        damaged = b"", *flips((tmp_path / name).read_bytes())
        for content in read_as(name, damaged, monkeypatch):
            assert refused(lambda: state.recorded(tmp_path)), content
    assert state.recorded(tmp_path) == known
    (tmp_path / "sweep.json").write_text('{"command": "mine", "members": []}')
    state.accept(tmp_path)
    assert state.recorded(tmp_path) == {"command": "mine", "members": []}


# Old runs


def test_a_run_without_a_manifest_gets_one(copied, attention_run, capsys):
    """Fails when a run of an earlier version is refused, scored otherwise, or has no manifest after
    it was resumed.
    """
    (copied / "SHA256SUMS").unlink()
    file = copied / "config.json"
    file.write_text(file.read_text().replace('"version": 3', '"version": 2'))
    log.path(copied).write_text(re.sub(', "crc32": ".{8}"', "", log.path(copied).read_text()))
    with pytest.warns(UserWarning, match="without SHA256SUMS"):
        assert open_run(copied).evaluate() == open_run(attention_run).evaluate()
    events = log.read(copied)
    assert events == log.read(attention_run)
    with pytest.warns(UserWarning, match="`seqgen resume RUN` adds it"):
        assert main(["resume", str(copied)]) == 0
    assert manifest.sealed(copied)
    check_files(copied)
    assert log.read(copied) == events


# Another number of epochs


def config(**training) -> RunConfig:
    made = presets.preset("addition", "attention")
    data = replace(made.data, draws=400)
    return replace(made, data=data, training=Training(batch=32, **training))


def test_more_epochs_are_those_of_a_longer_run(tmp_path, capsys):
    """Fails when a run that goes on to more epochs ends with another bit than one that was made so,
    or keeps the test of its first end.
    """
    options = shlex.split("--task.digits 2 --draws 400 --schedule constant --warmup 0 --epochs")
    run, longer = (train(made(tmp_path / n), "attention", *options, n) for n in "24")
    assert log.read(run)[-1]["final"]
    assert main(["resume", str(run), "--epochs", "4"]) == 0
    assert outcome(run) == outcome(longer)
    check_files(run)
    assert main(["resume", str(run), "--epochs", "3"]) == 2
    said = f"seqgen: error: {run} cannot go on to --epochs 3: it has trained for 4 already\n"
    assert capsys.readouterr().err.endswith(said)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("training", "epochs", "reason"),
    [
        ({"schedule": "cosine"}, 30, "the rates of its cosine schedule depend on their number"),
        ({"steps": 9}, 30, "it was made to take 9 steps, whatever its epochs"),
        ({}, 1, "it has trained for 2 already"),
        ({}, 0, "epochs must be 1 or more, not 0"),
    ],
)
def test_other_epochs_are_refused(training, epochs, reason, tmp_path):
    """Fails when a run goes on that could not have been made so, or its files change meanwhile."""
    run = create(config(**training), "run", tmp_path)
    steps = 2 * run.family.epoch_steps(run.config, run.dataset)
    (run.path / "checkpoints" / "state" / str(steps)).mkdir(parents=True)
    before = {path: path.read_bytes() for path in run.path.glob("*.*")}
    with pytest.raises(UsageError, match=reason):
        extend(run, epochs)
    assert {path: path.read_bytes() for path in run.path.glob("*.*")} == before


def test_a_member_trains_as_long_as_the_others(tmp_path):
    """Fails when a member of a sweep gets settings that its sweep's command would refuse."""
    (tmp_path / "sweep.json").write_text("{}")
    with pytest.raises(UsageError, match="it is a member of a sweep"):
        extend(create(config(), "run", tmp_path), 30)


def test_a_state_past_the_end_is_refused(attention_run, copied):
    """Fails when a run whose configuration was shortened goes on at step 100 of 50."""
    content = json.loads((copied / "config.json").read_text())
    content["training"]["epochs"] = 2
    (copied / "config.json").write_text(json.dumps(content))
    families.accept(copied)
    assert checkpoint.steps(copied, "state")[-1] == 100
    assert main(["resume", str(copied)]) == 1
