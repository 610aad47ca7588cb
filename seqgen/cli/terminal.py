"""Progress of training on the terminal: a live bar, or plain lines where standard error is
no terminal.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqgen.cli import silence
from seqgen.config import RunConfig
from seqgen.families import Run, family_of, fit
from seqgen.families.run import resuming
from seqgen.storage.log import Event
from seqgen.storage.sinks import SinkName, following
from seqgen.training.signals import stoppable
from seqgen.training.steps import Program, Totals

PLAIN_SECONDS = 10.0
"""Between two plain lines."""

SHOWN = 4
"""Decoded samples shown at an epoch; the last evaluation shows all."""


def note(line: str) -> None:
    """One line on standard error. Training goes on where that is closed."""
    try:
        print(line, file=sys.stderr)
    except OSError:
        silence(2)


def tell_splits(data_sets: Iterable[tuple[RunConfig, Any]]) -> None:
    """Of each split of data sets its size and its files, each line once."""
    lines = [family_of(config).splits(config, data) for config, data in data_sets]
    for line in dict.fromkeys(chain.from_iterable(lines)):
        note(line)


def nothing() -> None:
    """Where no sink follows."""


class Bar:
    """A progress bar, used as a context. Everything goes to standard error; standard output is for
    results.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self.steps, self.live, self.shown = 1, sys.stderr.isatty(), time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, disable=not self.live)
        self.bar = self.progress.add_task("compiling", total=None)

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def total(self, steps: int) -> None:
        """How much there is to do."""
        self.steps = steps
        self.progress.update(self.bar, total=steps)

    def show(self, done: int, line: str, plain: str) -> None:
        """How much is done. Without a live bar, print `plain` every `PLAIN_SECONDS`."""
        self.progress.update(self.bar, completed=done, description=line)
        if not self.live and time.monotonic() - self.shown > PLAIN_SECONDS:
            self.note(plain)
            self.shown = time.monotonic()

    def note(self, line: str) -> None:
        """One line, above the bar."""
        if self.live:
            self.console.print(line, markup=False)
        else:
            note(line)


class Terminal(Bar):
    """A `solo.Report`.

    Args:
        words: of an evaluation's event, the headline and all of it.
        follow: is called as training advances.

    """

    program: Program
    headline = "not evaluated yet"

    def __init__(
        self, words: Callable[[Event], tuple[str, str]], follow: Callable[[], None] = nothing
    ) -> None:
        super().__init__()
        self.words, self.follow = words, follow

    def begin(self, program: Program) -> None:
        """How many steps there are, and of what."""
        self.program = program
        self.total(program.steps)

    def advance(self, step: int, totals: Totals, rate: float) -> None:
        """Steps were taken: the sums since the last line of the log, and the rate per second."""
        loss = float(totals.sums["loss"]) / float(totals.sums["tokens"])
        line = f"loss {loss:.4f} · {self.headline} · {rate:,.0f} {self.program.unit}/s"
        seconds = (self.steps - step) * self.program.size / rate if rate else 0
        left = f" · {seconds:.0f} s left" if rate else ""
        self.show(step, line, f"step {step} of {self.steps} · {line}{left}")
        self.follow()

    def evaluated(self, event: Event, samples: str) -> None:
        """An evaluation ended: its scores, and samples beside the truth."""
        self.headline, more = self.words(event)
        final = bool(event.get("final"))
        epochs = self.steps / self.program.batches.steps
        head = event["split"]
        if not final:
            head = f"epoch {round(event['epoch'], 2):g} of {round(epochs, 2):g} · {head}"
        lines = samples.splitlines()
        shown = lines if final or event["step"] == self.steps else lines[: 1 + SHOWN]
        self.note(f"{head} · {more}")
        for line in shown:
            self.note(f"    {line}")


class SweepTerminal(Bar):
    """A `stacked.Report`: one bar over all members of all compiled programs.

    Args:
        follow: is called as training advances.

    """

    def __init__(self, follow: Callable[[], None] = nothing) -> None:
        super().__init__()
        self.follow = follow

    def begin(self, steps: int) -> None:
        """How many model-steps there are."""
        self.done, self.began = 0, time.monotonic()
        self.total(steps)

    def advance(self, steps: int, line: str) -> None:
        """`steps` more are done."""
        self.done += steps
        left = (time.monotonic() - self.began) / self.done * (self.steps - self.done)
        of = f"{self.done:,} of {self.steps:,} model-steps"
        self.show(self.done, line, f"{of} · {line} · {left / 60:.0f} min left")
        self.follow()


def prepare_devices(count: int) -> None:
    """`count` CPU devices, before jax starts; an environment that sets a number keeps it."""
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        with suppress(RuntimeError):  # jax has started: called from Python, not as a command
            jax.config.update("jax_num_cpu_devices", count)


def run_to_end(
    run: Run, *, until: float = math.inf, sinks: Collection[SinkName] | None = None
) -> None:
    """Train a run, whose log goes to `sinks`, too; standard output gets its path, so that a script
    can go on with it. `until` is when to end well before the end, by the monotonic clock.
    """
    with following([run.path], sinks, note) as follow:
        train_to_end(run, again=resuming(run.path), until=until, follow=follow)
    print(run.path)


def train_to_end(
    run: Run, *, again: str, until: float = math.inf, follow: Callable[[], None] = nothing
) -> None:
    """Train a run while telling how it goes.

    Args:
        run: the run.
        again: the command that goes on.
        until: when to end well before the end, by the monotonic clock.
        follow: is called as it advances.

    """
    prepare_devices(run.config.training.devices)
    terminal = Terminal(run.family.words, follow)
    with terminal, stoppable(again):
        terminal.note(f"{run.path}: {run.config.data.name}, seed {run.config.seed}")
        if changes := run.changes():
            terminal.note(
                f"made elsewhere ({'; '.join(changes)}): the result need not be the same to the bit"
            )
        event = fit(run, terminal, until=until, again=again)
        headline, _ = run.family.words(event)
        terminal.note(f"{event['split']} {headline} · figures in {run.path / 'figures'}")
