"""A run that is killed, stopped or out of disk, and resumed, ends the same, to the bit."""

import json
import random
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.processes import Process, lines, outcome

TRAIN = shlex.split(
    "train addition attention --task.digits 2 --draws 1000 --batch 32 --steps 114"
    " --model.encoder.hidden 12 --model.decoder.hidden 12 --dropout 0.1 --ema 0.9 --lr 0.01"
)
"""Four epochs of 25 steps and 14 steps more; a line every 3 steps.

Dropout, so that every step's own key counts.
"""

LINES = 4 * 9 + 5 + 5 + 1
"""In metrics.jsonl: nine a whole epoch, five of the unfinished one, five evaluations, the final
one.
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, run_seqgen) -> dict[str, object]:
    """The outcome of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    process = run_seqgen([*TRAIN, "--name", folder / "run"], folder)
    assert process.wait() == 0, process.texts()
    assert process.texts()[0] == f"{folder / 'run'}\n"
    kept = list(folder.glob("run/checkpoints/params/*/leaves.json"))
    assert (lines(folder / "run"), len(kept)) == (LINES, 5)
    return outcome(folder / "run")


def finish(start, run: Path) -> None:
    """Resume to the end."""
    process = start("resume", run)
    assert process.wait() == 0, process.texts()
    assert process.texts()[0] == f"{run}\n"


def kill_and_resume(start, run: Path, moments: list[int]) -> None:
    """Kill -9 when the log has so many lines; at last, resume to the end.

    Or before that when the run has just been made.
    """
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


@pytest.mark.slow
def test_kill_9(start, whole, tmp_path):
    """Fails when a process that is killed and resumed ends with another bit or line.

    It may be killed at any moment, the first seconds included.
    """
    middle = random.Random(time.time_ns()).randrange(12, LINES - 12)
    kill_and_resume(start, tmp_path / "run", [0, middle])
    assert outcome(tmp_path / "run") == whole


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(4))
def test_kill_9_many_times(turn, start, whole, tmp_path):
    """Fails as `test_kill_9` does, at moments that are rarer.

    Within a save, an evaluation, or the writing of figures.
    """
    chance = random.Random(time.time_ns())
    kill_and_resume(start, tmp_path / "run", sorted(chance.choices(range(LINES + 1), k=5)))
    assert outcome(tmp_path / "run") == whole


@pytest.mark.slow
def test_ctrl_c_and_sigterm(start, whole, tmp_path):
    """Fails when a signal does not save, exits with another code, or costs a bit.

    Or when it hides the command that goes on.
    """
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
    line = rf"\nseqgen: error: stopped at step (\d+); go on with: seqgen resume '{run}'\n$"
    match = re.search(line, err)
    assert (out, bool(match), "Traceback" in err) == ("", True, False), err
    return int(match[1])


def test_a_signal_before_training(start, whole, tmp_path):
    """Fails when a signal while a run is compiled leaves nothing to go on with, or a traceback."""
    run = tmp_path / "run"
    process = start(*TRAIN, "--name", run)
    code = process.when(lambda: (run / "config.json").exists(), signal.SIGTERM)
    out, err = process.texts()
    assert (code, out) == (143, "")
    assert "Traceback" not in err
    assert re.search(rf"seqgen: error: stopped(.*; go on with: seqgen resume {run})?\n$", err)
    assert json.loads((run / "config.json").read_text())["training"]["steps"] == 114


@pytest.mark.slow
def test_a_full_disk(start, whole, tmp_path):
    """Fails when a full disk prints more than one clear line, loses what was there, or bars the
    way.
    """
    run = tmp_path / "run"
    process = start(*TRAIN, "--name", run, disk=2**19)
    code, (out, err) = process.wait(), process.texts()
    assert (code, out, "Traceback" in err) == (1, "", False), err
    (line,) = [
        line
        for line in err.splitlines()
        if "error" in line.lower() and "persistent compilation cache" not in line
    ]
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
    line = f"seqgen: error: cannot write {run}/config.json: File too large\n"
    assert (code, out, err) == (1, "", line)
    assert not run.exists()
