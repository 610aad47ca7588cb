"""What a training run tells the terminal: a live bar, or a plain line every so often where nobody watches."""

import os
import sys
import time
from contextlib import suppress
from types import TracebackType

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seqgen.cli import silence
from seqgen.fit import fit
from seqgen.runs import Run, Seq2seqRun
from seqgen.training.chunk import Totals
from seqgen.training.log import Event
from seqgen.training.loop import resuming, stoppable

PLAIN_SECONDS = 10.0
"""Between two plain lines."""

SHOWN = 4
"""Decoded samples shown at an epoch; the last evaluation shows all."""


class Bar:
    """A progress bar, used as a context. Everything goes to standard error; standard output is for results."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self.steps, self.live, self.said = 1, sys.stderr.isatty(), time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=self.console, disable=not self.live)
        self.bar = self.progress.add_task("compiling", total=None)

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def total(self, steps: int) -> None:
        """How much there is to do."""
        self.steps = steps
        self.progress.update(self.bar, total=steps)

    def show(self, done: int, line: str, plain: str) -> None:
        """How much is done; where nobody watches, `plain` says it now and then."""
        self.progress.update(self.bar, completed=done, description=line)
        if not self.live and time.monotonic() - self.said > PLAIN_SECONDS:
            self.note(plain)
            self.said = time.monotonic()

    def note(self, line: str) -> None:
        """One line, above the bar. Training goes on where nobody reads it."""
        if self.live:
            self.console.print(line, markup=False)
            return
        try:
            print(line, file=sys.stderr)
        except OSError:
            silence(2)


class Terminal(Bar):
    """A `loop.Report`."""

    epoch_steps = batch = 1
    headline = "not evaluated yet"

    def __init__(self, unit: str = "examples") -> None:
        super().__init__()
        self.unit = unit

    def begin(self, steps: int, epoch_steps: int, batch: int) -> None:
        """How many steps there are."""
        self.epoch_steps, self.batch = epoch_steps, batch
        self.total(steps)

    def chunk(self, step: int, totals: Totals, rate: float) -> None:
        """A chunk ended: the sums since the last line of the log, and examples a second."""
        loss = float(totals.sums["loss"]) / float(totals.sums["tokens"])
        line = f"loss {loss:.4f} · {self.headline} · {rate:,.0f} {self.unit}/s"
        left = f" · {(self.steps - step) * self.batch / rate:.0f} s left" if rate else ""
        self.show(step, line, f"step {step} of {self.steps} · {line}{left}")

    def evaluated(self, event: Event, samples: str) -> None:
        """An evaluation ended: its scores, and samples beside the truth."""
        self.headline, more = words(event)
        final = bool(event.get("final"))
        epoch, epochs = round(event["epoch"], 2), round(self.steps / self.epoch_steps, 2)
        head = event["split"] if final else f"epoch {epoch:g} of {epochs:g} · {event['split']}"
        lines = samples.splitlines()
        shown = lines if final or event["step"] == self.steps else lines[: 1 + SHOWN]
        self.note(f"{head} · {more}")
        for line in shown:
            self.note(f"    {line}")


def words(event: Event) -> tuple[str, str]:
    """An evaluation's headline, and all of it."""
    loss = f"loss {event['loss']:.4f} nats/token"
    if "perplexity" in event:
        headline = f"perplexity {event['perplexity']:.2f}"
        if event.get("low") is not None:
            headline += f" ({event['low']:.2f} to {event['high']:.2f})"
        estimate = f", estimated on {event['lanes']} lanes" if event["lanes"] > 1 else ""
        return headline, f"{event['tokens']:,} tokens · {headline}{estimate} · {loss}"
    headline = f"exact match {event['exact_match']:.2%}"
    return headline, f"{event['examples']:,} examples · {headline} · token accuracy {event['token_accuracy']:.2%} · {loss}"


class SweepTerminal(Bar):
    """A `fleet.Report`: one bar over all members of all groups."""

    def begin(self, steps: int) -> None:
        """How many model-steps there are."""
        self.done, self.began = 0, time.monotonic()
        self.total(steps)

    def advance(self, steps: int, line: str) -> None:
        """So many more are done."""
        self.done += steps
        left = (time.monotonic() - self.began) / self.done * (self.steps - self.done)
        plain = f"{self.done:,} of {self.steps:,} model-steps · {line} · {left / 60:.0f} min left"
        self.show(self.done, line, plain)


def prepare_devices(count: int) -> None:
    """So many CPU devices, before jax starts; whoever asked for another number gets that."""
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        with suppress(RuntimeError):  # jax has started: called from Python, not as a command
            jax.config.update("jax_num_cpu_devices", count)


def run_to_end(run: Run) -> None:
    """Train a run; standard output gets its path, so that a script can go on with it."""
    train_to_end(run, resuming(run.path))
    print(run.path)


def train_to_end(run: Run, again: str) -> None:
    """Train a run while telling how it goes; `again` is the command that goes on."""
    prepare_devices(run.config.training.devices)
    terminal = Terminal("examples" if isinstance(run, Seq2seqRun) else "tokens")
    with terminal, stoppable(again):
        terminal.note(f"{run.path}: {run.config.data.name}, seed {run.config.seed}")
        if changes := run.changes():
            terminal.note(f"made elsewhere ({'; '.join(changes)}): the result need not be the same to the bit")
        event = fit(run, terminal)
        terminal.note(f"{event['split']} {words(event)[0]} · figures in {run.path / 'figures'}")
