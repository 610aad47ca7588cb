"""A run that is killed, stopped or out of disk, and resumed, ends as one that nothing disturbed: to the bit."""

import contextlib
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import pytest

from seqgen.cli import main
from seqgen.training import log

WAIT = 240
"""Seconds after which a process is taken to hang: a busy machine is slow."""

TRAIN = [
    *("train", "addition", "attention", "--task.digits", "2", "--draws", "1000", "--batch", "32", "--steps", "114"),
    *("--model.encoder.hidden", "12", "--model.decoder.hidden", "12", "--dropout", "0.1", "--lr", "0.01"),
]
"""Four epochs of 25 steps and 14 steps more: dropout, so that every step's own key counts; a line every 3 steps."""

LINES = 4 * 9 + 5 + 5 + 1
"""In metrics.jsonl: nine a whole epoch, five of the unfinished one, five evaluations of epochs, and the final one."""


def command(words: list[str], folder: Path, disk: int | None) -> None:
    """What a process does: `seqgen WORDS`, its output to files, none of its files larger than `disk` bytes."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if disk is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, disk))
    sys.exit(main(words))


class Process(NamedTuple):
    """A process that runs `command`."""

    process: BaseProcess
    folder: Path

    def when(self, condition: Callable[[], bool], number: int, delay: float = 0.0) -> int:
        """Sends a signal as soon as the condition holds, and then `delay` seconds; the exit code."""
        end = time.monotonic() + WAIT
        while not condition():
            assert self.process.is_alive(), self.texts()
            assert time.monotonic() < end, self.texts()
            time.sleep(0.002)
        time.sleep(delay)
        if self.process.is_alive():
            os.kill(self.process.pid, number)
        return self.wait()

    def wait(self) -> int:
        """The exit code, once it has ended."""
        self.process.join(WAIT)
        assert not self.process.is_alive(), self.texts()
        return self.process.exitcode

    def texts(self) -> tuple[str, str]:
        """Standard output and standard error so far."""
        return (self.folder / "out").read_text(), (self.folder / "err").read_text()


@pytest.fixture(scope="module")
def run_seqgen():
    """Starts `seqgen WORDS`, as a fork of a process that has imported everything and done nothing; kills it in the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["orbax.checkpoint", "seqgen.cli.train", "seqgen.cli.resume"])
    with contextlib.ExitStack() as stack:

        def begin(words: Iterable[object], folder: Path, disk: int | None = None) -> Process:
            process = context.Process(target=command, args=([str(word) for word in words], folder, disk))
            process.start()
            stack.callback(process.close)
            stack.callback(process.join)
            stack.callback(process.kill)
            return Process(process, folder)

        yield begin


@pytest.fixture
def start(run_seqgen, tmp_path):
    return lambda *words, disk=None: run_seqgen(words, tmp_path, disk)


def lines(run: Path) -> int:
    """How many lines the log has."""
    with contextlib.suppress(FileNotFoundError):
        return log.path(run).read_bytes().count(b"\n")
    return 0


def outcome(run: Path) -> dict[str, object]:
    """All that two runs of one configuration must share: log but for its times, samples, and every checkpoint's sums."""
    files = [*run.glob("samples/*"), *run.glob("checkpoints/*/*/leaves.json"), run / "config.json", run / "vocabulary.json"]
    events = [{name: event[name] for name in event if name not in log.TIMES} for event in log.read(run)]
    return {"log": events, **{str(path.relative_to(run)): path.read_text() for path in files}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, run_seqgen) -> dict[str, object]:
    """The outcome of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    process = run_seqgen([*TRAIN, "--name", folder / "run"], folder)
    assert process.wait() == 0, process.texts()
    assert process.texts()[0] == f"{folder / 'run'}\n"
    assert (lines(folder / "run"), len(list(folder.glob("run/checkpoints/params/*/leaves.json")))) == (LINES, 5)
    return outcome(folder / "run")


def finish(start, run: Path) -> None:
    """Resume to the end."""
    process = start("resume", run)
    assert process.wait() == 0, process.texts()
    assert process.texts()[0] == f"{run}\n"


def kill_and_resume(start, run: Path, moments: list[int]) -> None:
    """Kill -9 when the log has so many lines, or before that when the run has just been made; at last, resume to the end."""
    chance = random.Random(time.time_ns())
    words = [*TRAIN, "--name", run]
    for moment in moments:
        delay = chance.uniform(0, 0.05)
        code = start(*words).when(
            lambda: (run / "config.json").exists() and lines(run) >= moment,  # noqa: B023
            signal.SIGKILL,
            delay,
        )
        print(f"killed at line {moment} + {delay:.3f} s: {code}")  # for whoever sees it fail
        assert code in (-signal.SIGKILL, 0)  # 0: it ended while we slept
        words = ["resume", run]
    finish(start, run)


def test_kill_9(start, whole, tmp_path):
    """Fails when a process killed at any moment, the first seconds included, and resumed ends with another bit or line."""
    middle = random.Random(time.time_ns()).randrange(12, LINES - 12)
    kill_and_resume(start, tmp_path / "run", [0, middle])
    assert outcome(tmp_path / "run") == whole


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4))
def test_kill_9_many_times(turn, start, whole, tmp_path):
    """Fails as `test_kill_9` does, at moments that are rarer: within a save, an evaluation, or the writing of figures."""
    chance = random.Random(time.time_ns())
    kill_and_resume(start, tmp_path / "run", sorted(chance.choices(range(LINES + 1), k=5)))
    assert outcome(tmp_path / "run") == whole


def test_ctrl_c_and_sigterm(start, whole, tmp_path):
    """Fails when a signal does not save, exits with another code, hides the command that goes on, or costs a bit."""
    run = tmp_path / "a run"
    process = start(*TRAIN, "--name", run)
    assert process.when(lambda: lines(run) >= 14, signal.SIGINT) == 130
    assert told(process, run) > 25
    process = start("resume", run)
    assert process.when(lambda: lines(run) >= 30, signal.SIGTERM) == 143
    step = told(process, run)
    assert (run / "checkpoints" / "state" / str(step) / "SHA256SUMS").exists()
    finish(start, run)
    assert outcome(run) == whole


def told(process: Process, run: Path) -> int:
    """The step at which the process says that it stopped, in its last line."""
    out, err = process.texts()
    match = re.search(rf"\nseqgen: error: stopped at step (\d+); go on with: seqgen resume '{run}'\n$", err)
    assert (out, bool(match), "Traceback" in err) == ("", True, False), err
    return int(match[1])


def test_a_signal_before_training(start, whole, tmp_path):
    """Fails when a signal while the run is being compiled leaves nothing to go on with, or a traceback."""
    run = tmp_path / "run"
    process = start(*TRAIN, "--name", run)
    code = process.when(lambda: (run / "config.json").exists(), signal.SIGTERM)
    out, err = process.texts()
    assert (code, out) in [(143, ""), (-signal.SIGTERM, "")]  # with our words, or in the instant before them
    assert "Traceback" not in err
    assert (code < 0) or err.endswith(f"; go on with: seqgen resume {run}\n")
    assert json.loads((run / "config.json").read_text())["training"]["steps"] == 114


def test_a_full_disk(start, whole, tmp_path):
    """Fails when a disk that is full prints more than one clear line, loses what was there, or bars the way back."""
    run = tmp_path / "run"
    process = start(*TRAIN, "--name", run, disk=2**19)
    code, (out, err) = process.wait(), process.texts()
    assert (code, out, "Traceback" in err) == (1, "", False), err
    (line,) = [line for line in err.splitlines() if "error" in line.lower() and "persistent compilation cache" not in line]
    assert line.startswith("seqgen: error: cannot write ")
    assert "File too large; " in line
    assert err.endswith(f"{line}\n")
    assert lines(run) >= 9
    finish(start, run)
    assert outcome(run) == whole


def test_a_disk_that_was_full_from_the_start(start, tmp_path):
    """Fails when a run that cannot even be made leaves a folder behind that bars its name."""
    run = tmp_path / "run"
    process = start(*TRAIN, "--name", run, disk=500)
    code, (out, err) = process.wait(), process.texts()
    assert (code, out, err) == (1, "", f"seqgen: error: cannot write {run}/config.json: File too large\n")
    assert not run.exists()
