"""Whether two versions of seqgen make the same runs, bit for bit.

Claim     a change that shall change no number changes none: weights, optimiser state, logs but
          for their times, samples, scores; and the new version goes on with a run that the old
          one began (of a sweep's members the evaluations alone are compared in the log: older
          versions wrote fewer training lines there)
Command   python -m experiments.same BEFORE AFTER [--book FOLDER]
          (the `seqgen` commands of two installations; FOLDER holds Rnnlm.pkl, AttentionSeq2seq.pkl,
          ptb.zip and date.txt)
Expected  "same" in every row
Time      12 minutes on 2 cores
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from experiments.book_weights import FILES
from seqgen.presets import DECODERS
from seqgen.storage import log
from seqgen.storage.leaves import renamed

TASKS = ("addition", "dates")

SHORT = ["--draws", "3000", "--batch", "32", "--steps", "90"]

PAIRS = {f"{task} {model}": [task, model, *SHORT] for task in TASKS for model in DECODERS}

SMALL = ["--model.embedding", "32", "--model.hidden", "32"]

TEXTS = {
    "characters, LSTM": ["text", "language-model", "--steps", "40"],
    "characters, dropout": ["text", "char-lstm", *SMALL, "--steps", "40"],
    "words, BetterRnnlm": ["text", "better-rnnlm", *SMALL, "--unit", "word", "--epochs", "2"],
}

SWEEP = """
from dataclasses import replace

from seqgen import presets
from seqgen.config import Training

SEEDS = range(2)


def base():
    config = presets.preset("addition", "attention")
    data = replace(config.data, draws=3000)
    return replace(config, data=data, training=Training(steps=120, batch=32, schedule="cosine"))


def variants():
    return {"slow": {}, "fast": {"lr": 0.01, "reverse": False}}
"""
"""Four members of one compiled program, in words that both versions know."""


class Version:
    """An installation, and the folder where it works."""

    def __init__(self, command: Path, folder: Path) -> None:
        self.command, self.folder = str(command.absolute()), folder
        folder.mkdir()

    def run(self, *words: str) -> str:
        """Run `seqgen WORDS`. Returns what it printed; raises where it failed."""
        return subprocess.run(
            [self.command, *words], cwd=self.folder, check=True, text=True, capture_output=True
        ).stdout

    def train(self, name: str, words: list[str]) -> Path:
        """A new run."""
        self.run("train", *words, "--seed", "3", "--name", name)
        return self.folder / "runs" / name

    def interrupted(self, name: str, words: list[str]) -> Path:
        """A new run that SIGTERM stopped after its first epoch."""
        run = self.folder / "runs" / name
        command = [self.command, "train", *words, "--seed", "3", "--name", name]
        process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        while not list(run.glob("samples/*.txt")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        if process.wait() != 128 + signal.SIGTERM:
            raise RuntimeError(f"{name} was not interrupted: it ended with {process.returncode}")
        return run

    def scores(self, run: Path) -> str:
        """What `seqgen evaluate` says of a run."""
        return self.run("evaluate", str(run), "--json")


def leaves(run: Path) -> dict[str, Any]:
    """The bits of all arrays of the last checkpoints, as their SHA-256."""
    found: dict[str, Any] = {}
    for kind in ("params", "state"):
        *_, last = sorted((run / "checkpoints" / kind).iterdir(), key=lambda path: int(path.name))
        for name, leaf in json.loads((last / "leaves.json").read_text()).items():
            found[f"{kind} {last.name} {renamed(name)}"] = leaf
    return found


def evaluations(run: Path) -> list[log.Event]:
    """The evaluations in a run's log."""
    return [event for event in log.read(run) if event["event"] == "evaluate"]


def steps(run: Path) -> list[log.Event]:
    """The training lines in a run's log, without the rates, which depend on the clock."""
    return [
        {name: value for name, value in event.items() if not name.endswith("_per_second")}
        for event in log.read(run)
        if event["event"] == "train"
    ]


def samples(run: Path) -> dict[str, str]:
    """The decoded samples of a run."""
    return {path.name: path.read_text() for path in sorted(run.glob("samples/*.txt"))}


def differences(first: Path, second: Path, *, member: bool = False) -> list[str]:
    """In what two runs differ; of a sweep's members training lines are left out."""
    parts = {"arrays": leaves, "evaluations": evaluations, "samples": samples}
    if not member:
        parts["training lines"] = steps
    return [name for name, part in parts.items() if part(first) != part(second)]


def compared(
    before: Version, after: Version, first: Path, second: Path, *, member: bool = False
) -> list[str]:
    """In what two runs differ, and how the new version scores the old one's run.

    Args:
        before: the old version.
        after: the new one.
        first: a run of the old one.
        second: the same of the new one.
        member: whether it is of a sweep.

    """
    found, old = differences(first, second, member=member), before.scores(first)
    if after.scores(second) != old:
        found.append("scores")
    if after.scores(first) != old:
        found.append("scores of the old run")
    return found


def trained(before: Version, after: Version) -> Iterator[tuple[str, list[str]]]:
    """Runs from their first step to their last."""
    for name, words in {**PAIRS, **TEXTS}.items():
        runs = (version.train(name.replace(" ", "-"), words) for version in (before, after))
        yield name, compared(before, after, *runs)


def swept(before: Version, after: Version) -> Iterator[tuple[str, list[str]]]:
    """The members of a sweep, and each as a run of its own."""
    for version in (before, after):
        (version.folder / "same_sweep.py").write_text(SWEEP)
        version.run("sweep", "same_sweep")
    for member in ("slow-0", "slow-1", "fast-0", "fast-1"):
        paths = (version.folder / "runs/same_sweep" / member for version in (before, after))
        yield f"sweep, {member}", compared(before, after, *paths, member=True)


def resumed(before: Version, after: Version) -> Iterator[tuple[str, list[str]]]:
    """A run that is interrupted, and goes on: each by itself, and the old one's by the new one."""
    words = ["dates", "attention", "--draws", "3000", "--batch", "16", "--epochs", "4"]
    whole = before.train("whole", words)
    for version in (before, after):
        run = version.interrupted("interrupted", words)
        if version is before:
            handed_on = copytree(run, after.folder / "runs" / "handed-on")
        version.run("resume", "interrupted")
        name = "before" if version is before else "after"
        yield f"resumed, {name}", differences(whole, run)
    after.run("resume", "handed-on")
    yield "begun before, resumed after", differences(whole, handed_on)


def imported(before: Version, after: Version, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The book's own weights."""
    for model, (pickle, data) in FILES.items():
        for version in (before, after):
            words = ["--model", model, "--data", str(folder / data), "--run", f"book-{model}"]
            version.run("import-book", str(folder / pickle), *words)
        paths = [version.folder / "runs" / f"book-{model}" for version in (before, after)]
        found, old = [], before.scores(paths[0])
        if leaves(paths[0]) != leaves(paths[1]):
            found.append("arrays")
        if not old == after.scores(paths[1]) == after.scores(paths[0]):
            found.append("scores")
        for version, path in zip((before, after), paths, strict=True):
            version.run("export-book", str(path), "again.pkl")
        written = [version.folder / "again.pkl" for version in (before, after)]
        if written[0].read_bytes() != written[1].read_bytes():
            found.append("export")
        yield f"the book's {model}", found


def main(
    before: Annotated[Path, tyro.conf.Positional],
    after: Annotated[Path, tyro.conf.Positional],
    /,
    book: Path | None = None,
) -> None:
    """Make the same runs with two versions of seqgen, and compare them; exit with 1 if any differ.

    Args:
        before: the `seqgen` command of the old version.
        after: that of the new one.
        book: a folder of the book's weights and data.

    """
    with TemporaryDirectory() as place:
        versions = Version(before, Path(place) / "before"), Version(after, Path(place) / "after")
        checks = [trained, swept, resumed]
        rows = (row for check in checks for row in check(*versions))
        failed = 0
        for name, found in rows:
            failed += bool(found)
            print(f"{name:<30}{'differs: ' + ', '.join(found) if found else 'same'}", flush=True)
        for name, found in imported(*versions, book.absolute()) if book else ():
            failed += bool(found)
            print(f"{name:<30}{'differs: ' + ', '.join(found) if found else 'same'}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    tyro.cli(main)
