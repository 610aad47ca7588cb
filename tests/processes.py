"""`seqgen` as processes of their own, to be killed, stopped and run out of disk.

And what two runs must share.
"""

import contextlib
import os
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from seqgen.cli import main
from seqgen.storage import log
from seqgen.viz import figure
from tests import drawing

TIMES = frozenset({"seconds", "examples_per_second", "tokens_per_second"})
"""The fields of a log that two runs of one configuration need not share."""

WAIT = 240
"""Seconds after which a process is taken to hang: a busy machine is slow."""


def command(words: list[str], folder: Path, disk: int | None) -> None:
    """What a process does: `seqgen WORDS`, its output to files, its figures blank.

    None of its files is larger than `disk` bytes.
    """
    sys.argv = ["seqgen", *words]
    figure._render = drawing.blank
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
        """Sends a signal as soon as the condition holds, and `delay` seconds; the exit code."""
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


def lines(run: Path) -> int:
    """How many lines the log has."""
    with contextlib.suppress(FileNotFoundError):
        return log.path(run).read_bytes().count(b"\n")
    return 0


def events(run: Path) -> list[log.Event]:
    """The log but for its times."""
    return [{name: event[name] for name in event if name not in TIMES} for event in log.read(run)]


def outcome(run: Path) -> dict[str, object]:
    """All that two runs of one configuration must share.

    The log but for its times, samples, and every checkpoint's sums.
    """
    files = [
        *run.glob("samples/*"),
        *run.glob("checkpoints/*/*/leaves.json"),
        run / "config.json",
        run / "vocabulary.json",
    ]
    return {"log": events(run), **{str(path.relative_to(run)): path.read_text() for path in files}}
