"""Where a log goes besides metrics.jsonl: read back by what the sinks' own libraries made."""

import json
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from seqgen.cli import main
from seqgen.storage import log, sinks
from seqgen.storage.sinks import Sink, following
from seqgen.training import signals
from seqgen.training.solo import Solo
from tests.conftest import TINY
from tests.processes import outcome

Seen = list[tuple[int, str, float]]
"""Step, name and value of what a sink has, in order."""


@pytest.fixture
def run(attention_run, tmp_path) -> Path:
    """A finished run of one's own."""
    return Path(shutil.copytree(attention_run, tmp_path / "run"))


def logged(run: Path) -> Seen:
    """What metrics.jsonl has, read without our code."""
    found = []
    for line in (run / "metrics.jsonl").read_text().splitlines():
        event = json.loads(line)
        kind, split, step = event.pop("event"), event.pop("split", None), event.pop("step")
        del event["crc32"]
        part = "final_test" if event.pop("final", False) else split or kind
        found += [(step, f"{part}/{name}", float(value)) for name, value in event.items()]
    return found


def records(file: Path) -> list[bytes]:
    """The records of a TFRecord file: a length and its checksum, the data and theirs."""
    content, found = file.read_bytes(), []
    while content:
        (size,) = struct.unpack("<Q", content[:8])
        found.append(content[12 : 12 + size])
        content = content[16 + size :]
    return found


def in_tensorboard(run: Path) -> Seen:
    """The scalars of the one event file."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = (run / "tensorboard").iterdir()
    found = []
    for each in map(Event.FromString, records(file)):
        for value in each.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.append((each.step, value.tag, value.simple_value))
            else:
                (text,) = value.tensor.string_val
                config = json.loads(text.decode().strip("`\n"))
                assert config == json.loads((run / "config.json").read_text())
    return found


def pieces(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format, in blocks of 32 KiB, after 7 bytes."""
    content, place, whole = file.read_bytes(), 7, b""
    while place < len(content):
        if (room := -place % 2**15) and room < 7:
            place += room
            continue
        _, size, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # all of a record, or its last piece
            yield whole
            whole = b""


def in_wandb(run: Path) -> Seen:
    """The history of the one offline run."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    found, config = [], {}
    for record in map(Record.FromString, pieces(file)):
        config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        items = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        found += [
            (items["_step"], name, float(value))
            for name, value in items.items()
            if not name.startswith("_")
        ]
    assert config.items() >= json.loads((run / "config.json").read_text()).items()
    return found


def in_trackio(run: Path) -> Seen:
    """The rows of the one run in the database."""
    connection = sqlite3.connect(run / "trackio" / "seqgen.db")
    rows = connection.execute("select step, metrics from metrics order by id").fetchall()
    ((config,),) = connection.execute("select config from configs").fetchall()
    connection.close()
    assert json.loads(config).items() >= json.loads((run / "config.json").read_text()).items()
    return [(step, *item) for step, metrics in rows for item in json.loads(metrics).items()]


READERS: dict[sinks.SinkName, Callable[[Path], Seen]] = {
    "tensorboard": in_tensorboard,
    "wandb": in_wandb,
    "trackio": in_trackio,
}


def same(seen: Seen, expected: Seen) -> bool:
    """Alike but for the order within a step, and what float32 keeps of a number."""
    seen, expected = sorted(seen), sorted(expected)
    names, values = [each[:2] for each in seen], [each[2] for each in seen]
    return names == [each[:2] for each in expected] and values == pytest.approx(
        [each[2] for each in expected], rel=1e-6
    )


@pytest.mark.parametrize("name", READERS)
def test_a_sink_has_the_log(name, run, monkeypatch):
    """Fails when an event is lost, doubled, or has another step, name or value in a sink; when it
    has what a cut took from the log; when another process leaves the old one's beside its own.
    """
    if find_spec(sinks.MODULES[name]) is None:
        reason = f"the extra {name} is not installed"
        pytest.skip(reason)  # why a skip: wandb and trackio are heavy, and not in the lock
    monkeypatch.setenv("TRACKIO_DIR", "")  # as it was, afterwards
    events, notes = log.read(run), []
    log.cut(run, events[4]["step"])
    with following([run], [name], notes.append) as follow:
        follow()
        log.append(run, *events[5:9])
        follow()
        log.cut(run, events[6]["step"])
        log.append(run, *({**event, "loss": 1.5} for event in events[7:12]))
        follow()
        follow()
    assert notes == []
    assert same(READERS[name](run), logged(run))
    log.append(run, *events[12:])
    for file in run.glob("tensorboard/*"):
        file.rename(file.with_name("of-another-second"))
    with following([run], [name], notes.append):
        pass
    assert same(READERS[name](run), logged(run))
    assert notes == []
    assert len(events) == len(log.read(run)) > 40


def test_training_is_told_as_it_goes(attention_run, tmp_path, monkeypatch, capsys):
    """Fails when a sink is told only in the end, when a stop or `resume` loses or doubles lines,
    or when a run with a sink is another run, or is no longer taken by `accept`.
    """
    run, live = tmp_path / "run", []
    tell = Solo.tell

    def stop(self: Solo, steps: int, rate: float) -> None:
        tell(self, steps, rate)
        if self.step == 40:
            live.append(in_tensorboard(run))
            signals._caught.append(2)

    words = ["--task.digits", "2", "--draws", "1000", "--epochs", "4", "--batch", "32", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(Solo, "tell", stop)
        patch.setattr("seqgen.training.loop.SPAN_SECONDS", 0.0)
        words += ["--log", "tensorboard", "--name", str(run)]
        assert main(["train", "addition", "attention", *words]) == 130
    assert live[0]
    assert same(in_tensorboard(run), logged(run))
    assert main(["resume", str(run), "--log", "tensorboard"]) == 0
    assert same(in_tensorboard(run), logged(run))
    assert outcome(run) == outcome(attention_run)
    assert main(["accept", str(run)]) == 0
    capsys.readouterr()


def test_a_sink_that_fails(run, monkeypatch, capsys):
    """Fails when a sink that cannot be opened, or fails later, ends a run or another sink, says
    nothing, or says it again and again.
    """
    told = []

    def opened(run: Path, config: dict) -> Sink:
        def tell(event: log.Event) -> None:
            told.append(event)
            if len(told) == 3:
                raise OSError("no space")

        return Sink(tell, lambda: told.append("closed"))

    monkeypatch.setitem(sinks.SINKS, "wandb", opened)
    monkeypatch.setattr(sinks, "find_spec", lambda name: True)
    (run / "tensorboard").write_text("")
    assert main(["resume", str(run), "--log", "wandb", "tensorboard"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "is told no more" in line]
    assert len(said) == 2
    assert said[0] == f"{run}: wandb is told no more: OSError: no space"
    assert said[1].startswith(f"{run}: tensorboard is told no more: FileExistsError: ")
    assert len(told) == 4
    assert told[-1] == "closed"
    notes = []
    with following([run], ["tensorboard"], notes.append) as follow:
        follow()
        follow()
    assert len(notes) == 1


@pytest.mark.parametrize(
    "command",
    ["train addition attention --draws 200 --epochs 1 --batch 8", "resume RUN", "sweep tiny"],
)
def test_a_sink_that_is_not_there(command, run, monkeypatch, capsys):
    """Fails when a library that is not installed, or no name at all, is told only after something
    was written, or without the extra's name.
    """
    monkeypatch.chdir(run.parent)
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    Path("tiny.py").write_text("def base(): 1 / 0\ndef variants(): 1 / 0\n")
    before = {*run.parent.rglob("*")}
    words = command.replace("RUN", str(run)).split()
    for more, code, line in (
        (["trackio"], 1, "log trackio needs trackio, which is not installed"),
        ([], 2, "log needs one or more of tensorboard, wandb, trackio"),
    ):
        assert main([*words, "--log", *more]) == code
        said = capsys.readouterr().err
        assert said.startswith(f"seqgen: error: --{line}")
        assert said.count("\n") == 1
        assert ("pip install 'seqgen[trackio]'" in said) is bool(more)
    assert {*run.parent.rglob("*")} == before
