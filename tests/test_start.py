"""Weights of another run: a run that begins with them, and one that is their mean."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import seqgen
from seqgen import presets
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import Run, adopt, average, complete, create, extend
from seqgen.families.average import chosen
from seqgen.families.fit import program_of
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.leaves import named
from seqgen.sweeps.plan import plan, shared_programs
from seqgen.tasks.pair_file import PairFile
from seqgen.training import signals
from seqgen.training.solo import Solo
from seqgen.training.state import HyperConfig
from tests import test_commands
from tests.conftest import TINY
from tests.processes import outcome

seq, refused = test_commands.seq, test_commands.refused

SAME = ["addition", "attention", "--task.digits", "2", "--draws", "1000", "--batch", "32", *TINY]
"""`attention_run`'s own words, but for its epochs."""

MODEL = presets.model("attention", embedding=3, hidden=4)


@pytest.fixture
def origin(attention_run, tmp_path) -> Path:
    """A run that may go away."""
    return Path(shutil.copytree(attention_run, tmp_path / "origin"))


def equal(one, other) -> bool:
    """To the bit."""
    return jax.tree.all(jax.tree.map(lambda a, b: bool((np.asarray(a) == b).all()), one, other))


def begin(origin: Path, run: Path, *words: str) -> list[str]:
    """`seqgen train ... --from ORIGIN`, at a rate of nearly nothing."""
    options = shlex.split("--epochs 2 --lr 1e-30 --ema 0.5")
    return ["train", *SAME, "--from", str(origin), *options, "--name", str(run), *words]


def test_a_run_begins_with_another_s_weights(attention_run, origin, tmp_path, capsys, monkeypatch):
    """Fails when weights are others than those of the selected epoch, or the average begins with
    others; when their origin is not pinned, or a run that has a checkpoint needs it; when a run
    that was stopped begins again; or when the line is not told, or told again.
    """
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main(begin(origin, whole)) == 0
    err, theirs = capsys.readouterr().err, seqgen.load(origin)
    said = f"begins with the weights of {origin}, step {theirs.selected_step()}"
    assert err.splitlines().count(said) == 1
    mine = seqgen.load(whole)
    assert equal(mine.params, theirs.params)
    training = mine.config.training
    assert (training.start, training.start_steps) == (str(origin), (theirs.selected_step(),))
    tell = Solo.tell

    def stop(self: Solo, steps: int, rate: float) -> None:
        tell(self, steps, rate)
        signals._caught.append(2)

    with monkeypatch.context() as patch:
        patch.setattr(Solo, "tell", stop)
        assert main(begin(origin, run)) == 130
    shutil.rmtree(origin)
    assert main(["resume", str(run)]) == 0
    assert "begins with" not in capsys.readouterr().err.partition("goes on")[2]
    assert outcome(run) == outcome(whole)


def test_what_a_run_begins_with_must_be_there(attention_run, origin, tmp_path, refused):
    """Fails when a run without a checkpoint begins with other weights than it was made with, or
    with its own; or when a line does not say which are missing.
    """
    training = replace(seqgen.load(origin).config.training, start=str(origin))
    run = create(replace(seqgen.load(origin).config, training=training), str(tmp_path / "run"))
    step = run.config.training.start_steps[0]
    shutil.move(origin, tmp_path / "elsewhere")
    line = refused_last(refused, run.path)
    assert line.startswith(f"a run begins with {origin}, and has no checkpoint yet: cannot read ")
    shutil.copytree(attention_run, origin)
    other = checkpoint.steps(origin, "params")[0]
    folder = origin / "checkpoints" / "params"
    shutil.rmtree(folder / str(step))
    shutil.copytree(folder / str(other), folder / str(step))
    assert "has changed since the run was made: its SHA-256" in refused_last(refused, run.path)


def refused_last(refused, run: Path) -> str:
    """The line with which `seqgen resume` is refused; it has said before what it does."""
    with pytest.raises(AssertionError) as caught:
        refused(1, "resume", run)
    return str(caught.value).partition("seqgen: error: ")[2].partition("\n")[0]


# Tokens

ROWS = {
    "one": [("abc", "XYZ"), ("cab", "ZX"), ("bca", "YZX"), ("aab", "XXY")],
    "two": [("bcd", "YZQ"), ("dcb", "QZ"), ("cbd", "ZYQ"), ("ddb", "QQY")],
    "three": [("ca", "ZX"), ("ac", "XZ"), ("aca", "XZX"), ("cc", "ZZ")],
}
"""Sources and targets; of the letters of "two" two are in "one", of those of "three" all."""


def pairs(folder: Path, name: str, **options) -> RunConfig:
    """Each row several times, with another number of first letters and a feature named like it."""
    file = folder / f"{name}.tsv"
    rows = [(f"{a[0] * n}{a}", b) for n in range(10) for a, b in ROWS[name]]
    file.write_text("".join(f"{a}\t{b}\t{a[-1]};n\n" for a, b in rows))
    data = PairFile((str(file),), **{"columns": ("1", "2", "3")} | options)
    return RunConfig(data, MODEL, Training(epochs=1, batch=4))


@pytest.fixture
def one(tmp_path) -> Run:
    """A run with weights that are all others."""
    run = create(pairs(tmp_path, "one"), str(tmp_path / "one"))
    leaves, structure = jax.tree.flatten(run.model.init(jax.random.key(0)))
    random = np.random.default_rng(0)
    drawn = [np.float32(random.normal(size=leaf.shape)) for leaf in leaves]
    adopt(run, jax.tree.unflatten(structure, drawn))
    return run


TABLES = {
    "encoder.embedding": ("source", 0),
    "decoder.embedding": ("target", 0),
    "decoder.affine.w": ("target", 1),
    "decoder.affine.b": ("target", 0),
}
"""The parameters that have an entry for each token: of which side, along which axis."""


@pytest.mark.parametrize(
    ("name", "new"),
    [("one", {}), ("two", {"source": 1 + 1, "target": 1}), ("three", {})],
)
def test_weights_are_taken_by_token(one, tmp_path, name, new):
    """Fails when a token has another's row, a feature the row of a letter; when a new one has a row
    that is not its own initial one, or its number is not told; when another weight is not the
    other run's; or when the axis of members is taken for their own.
    """
    config = pairs(tmp_path, name)
    config = replace(config, training=replace(config.training, start=str(one.path)))
    config, dataset = complete(config)
    run = create(config, str(tmp_path / "run"), dataset=dataset)
    shapes = jax.eval_shape(run.model.init, jax.random.key(1))
    fresh = jax.tree.map(lambda leaf: np.full((2, *leaf.shape), np.nan, np.float32), shapes)
    made, line = program_of(run.family, config, dataset).start(fresh)
    theirs, found, lost = named(one.params), named(made), dict.fromkeys(("source", "target"), 0)
    for leaf, weights in theirs.items():
        ours = found[leaf][1]
        np.testing.assert_array_equal(found[leaf][0], ours)
        if leaf not in TABLES:
            np.testing.assert_array_equal(ours, weights)
            continue
        side, axis = TABLES[leaf]
        mine = run.source_tokenizer if side == "source" else run.tokenizer
        other = one.source_tokenizer if side == "source" else one.tokenizer
        ours, weights = np.moveaxis(ours, axis, 0), np.moveaxis(np.asarray(weights), axis, 0)
        letters = len(mine) - len(mine.features), len(other) - len(other.features)
        for i, token in enumerate(mine.table):
            part = slice(letters[1]) if i < letters[0] else slice(letters[1], None)
            if token in other.table[part]:
                there = other.table[part].index(token) + (part.start or 0)
                np.testing.assert_array_equal(ours[i], weights[there])
            else:
                assert np.isnan(ours[i]).all()
                lost[side] += leaf.endswith("embedding")
    assert {side: count for side, count in lost.items() if count} == new
    sizes = {"source": len(run.source_tokenizer), "target": len(run.tokenizer)}
    told = [f"begins with the weights of {one.path}, step {one.selected_step()}"]
    told += [
        f"new, and initialised: {new[side]} of the {sizes[side]} {side} tokens" for side in new
    ]
    assert line == "; ".join(told)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"model": presets.model("attention", embedding=3, hidden=5)},
            "its parameter encoder.cell.w is [7, 16], and here it is [8, 20]; use its arch",
        ),
        (
            {"model": presets.model("peeky", embedding=3, hidden=4)},
            "its parameter decoder.cell.w is [7, 16], and here it is [11, 16]; use its arch",
        ),
        (
            {"target_tokens": "bytes"},
            "none of its target tokens, 3 characters, is one here, 256 bytes",
        ),
    ],
)
def test_other_weights_are_refused(one, tmp_path, changes, said):
    """Fails when weights of another architecture, size or unit are taken, or what differs first is
    not named.
    """
    options = {name: value for name, value in changes.items() if name != "model"}
    config = pairs(tmp_path, "one", **options)
    training = replace(config.training, start=str(one.path))
    config = replace(config, training=training, model=changes.get("model", MODEL))
    with pytest.raises(UsageError) as error:
        complete(config)
    assert str(error.value).startswith(f"start {one.path}: {said}")
    assert error.value.fields == ("training.start",)


def test_which_members_share_a_program(one, tmp_path):
    """Fails when members share a program with and without an average, or where a token has another
    row of the weights that they begin with; or when another decay of the average is another one.
    """

    def programs(*configs: RunConfig) -> int:
        planned = plan({str(i): config for i, config in enumerate(configs)}, [0], tmp_path)
        return len(shared_programs(planned))

    config = pairs(tmp_path, "one")
    decays = [replace(config, hyper=HyperConfig(ema=ema)) for ema in (None, 0.5, 0.9)]
    assert programs(*decays) == 2
    ROWS["like"] = [(a.replace("a", "q"), b) for a, b in ROWS["one"]]
    configs = [config, pairs(tmp_path, "like")]
    assert programs(*configs) == 1
    start = replace(config.training, start=str(one.path))
    assert programs(*(replace(each, training=start) for each in configs)) == 2


# The mean of several epochs


def plainly(run: Path, steps: list[int]) -> dict[str, np.ndarray]:
    """The mean of the weights of several epochs, from what Orbax reads."""
    opened, found = seqgen.load(run), {}
    for step in steps:
        for name, leaf in named(opened.restored(step)).items():
            found[name] = found.get(name, 0) + np.asarray(leaf, np.float64) / len(steps)
    return found


def best_of(run: Path, n: int) -> list[int]:
    """The steps of the best epochs, from the lines of the log."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "evaluate" and not line.get("final")]
    epochs.sort(key=lambda line: (line["exact_match"], -line["loss"]))
    return sorted(line["step"] for line in epochs[-n:])


@pytest.mark.parametrize("words", [["--last", "2"], ["--best", "3", "--name", "best"]])
def test_the_mean_of_epochs(attention_run, tmp_path, seq, words):
    """Fails when other epochs are averaged, the mean is not theirs, or it is not tested; when the
    run does not say what it is, or its score stands beside another's.
    """
    each = checkpoint.steps(attention_run, "params")
    steps = {"--last": each[-2:], "--best": best_of(attention_run, 3)}[words[0]]
    code, out, err = seq("average", attention_run, "--runs", tmp_path, *words)
    name = "best" if "--name" in words else "run-average"
    assert (code, out) == (0, f"{tmp_path / name}\n")
    made, theirs = seqgen.load(out.strip()), seqgen.load(attention_run)
    expected = plainly(attention_run, steps)
    for name, leaf in named(made.params).items():
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-6, atol=1e-8)
    training = made.config.training
    assert (training.start, training.start_steps) == (str(attention_run), tuple(steps))
    event = log.read(made.path)[-1]
    assert event["final"]
    assert {name: event[name] for name in made.evaluate()._fields} == made.evaluate()._asdict()
    told = [f"test exact match {run.evaluate().exact_match:.2%}" for run in (theirs, made)]
    assert err.splitlines()[-2:] == [
        f"{attention_run}, step {each[-1]} · {told[0]}",
        f"{made.path}, mean of steps {', '.join(map(str, steps))} · {told[1]}",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("{pairs} --last 5", "has the weights of 4 epochs, fewer than the 5 to average (--last)"),
        ("{pairs} --best 5", "has the weights of 4 epochs, fewer than the 5 to average (--best)"),
        ("{pairs} --last 1", "--last must be 2 or more, not 1"),
        ("{pairs} --best 0", "--best must be 2 or more, not 0"),
        ("{pairs} --last 2 --best 2", "last and --best both say which epochs"),
        ("{book} --best 2", "--best 2 would go by the test split"),
        ("{member}", "has the weights of 1 epochs, fewer than the 2 to average; a sweep keeps"),
    ],
)
def test_a_mean_that_cannot_be_is_refused(attention_run, book_run, tmp_path, refused, words, line):
    """Fails when too few epochs, one, or the best of the test are averaged, or a run is left."""
    member = Path(shutil.copytree(attention_run, tmp_path / "sweep" / "member"))
    (member.parent / "sweep.json").write_text("{}")
    for step in checkpoint.steps(member, "params")[:-1]:
        shutil.rmtree(member / "checkpoints" / "params" / str(step))
    places = {"pairs": attention_run, "book": book_run, "member": member}
    words = words.format(**places).split()
    assert line in refused(2, "average", *words, "--runs", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_mean_is_of_whole_epochs(attention_run, tmp_path):
    """Fails when the weights of an epoch that was cut short are averaged, or epochs with a gap
    between them are taken for the last ones.
    """
    run = seqgen.load(shutil.copytree(attention_run, tmp_path / "run"))
    *_, before, last = steps = checkpoint.steps(run.path, "params")
    manifest.unseal(run.path)
    log.append(run.path, {**log.epochs(run.path)[-1], "step": last + 3, "interim": True})
    checkpoint.save_params(run.path, last + 3, run.params)
    assert chosen(run, 2, None) == (before, last)
    assert len(chosen(run, None, len(steps))) == len(steps)
    shutil.rmtree(run.path / "checkpoints" / "params" / str(before))
    with pytest.raises(UsageError, match="has the weights of 1 epochs, fewer than the 2"):
        chosen(run, None, None)


def test_a_mean_is_not_trained(attention_run, tmp_path, capsys):
    """Fails when a mean is trained on, or trained from the start once its weights are gone; or when
    it is not of all epochs where they are few.
    """
    made = average(seqgen.load(attention_run), name=str(tmp_path / "mean"))
    kept = checkpoint.steps(attention_run, "params")
    assert made.config.training.start_steps == tuple(kept)
    with pytest.raises(SeqgenError, match=r"it is a mean of .*, and was not trained"):
        extend(made, 9)
    shutil.rmtree(made.path / "checkpoints")
    assert main(["resume", str(made.path)]) == 1
    assert "is gone, which the run's weights are" in capsys.readouterr().err
