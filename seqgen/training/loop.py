"""The training loop: run a chunk, log, evaluate, save. It knows functions, not models."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.files import write
from seqgen.training import checkpoint, log
from seqgen.training.chunk import NEVER, SUMS, Totals, zero_totals
from seqgen.training.state import TrainState
from seqgen.types import Params, Tree

CHUNK_SECONDS = 1.0
"""How long a chunk should last: what a Ctrl-C waits for."""

SAVE_SECONDS = 30.0
"""A full state is saved at least so often, beside the ends of epochs."""

LINES_PER_EPOCH = 10
"""Training lines in the log an epoch."""


class Program(NamedTuple):
    """A run as functions. `evaluate(params, step)` gives an event for the log and decoded samples as text."""

    init: Callable[[], TrainState]
    plan: Callable[[TrainState], Tree]
    chunk: Callable[[TrainState, Totals, Tree, Any], tuple[TrainState, Totals]]
    evaluate: Callable[[Params, int], tuple[log.Event, str]]
    steps: int
    epoch_steps: int
    batch: int


class Report(Protocol):
    """What the terminal is told."""

    def begin(self, steps: int, epoch_steps: int, batch: int) -> None: ...

    def chunk(self, step: int, totals: Totals, examples_per_second: float) -> None: ...

    def evaluated(self, event: log.Event, samples: str) -> None: ...

    def note(self, line: str) -> None: ...


class Stopped(SeqgenError):
    """A signal asked for an end, and the run was saved."""

    def __init__(self, number: int, step: int, run: Path) -> None:
        super().__init__(f"stopped at step {step}; go on with: seqgen resume {run}")
        self.exit_code = 128 + number


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, to be read between chunks; a second Ctrl-C acts at once."""
    caught: list[int] = []
    before = {}

    def catch(number: int, frame: Any) -> None:
        caught.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(run: Path, program: Program, report: Report) -> Params:
    """Train to the end, from the newest good checkpoint or from the start. Returns the last parameters.

    Where chunks end depends on the clock, but nothing else does: log lines, evaluations and the state itself are the
    same however often the run is interrupted. Raises `SeqgenError` when the loss is not finite or the disk is full,
    and `Stopped` after SIGINT or SIGTERM: each time the last checkpoint is intact.
    """
    state, totals = restore(run, program, report)
    step, items, pace = int(state.step), program.plan(state), Pace(program.batch)
    saved = time.monotonic()
    report.begin(program.steps, program.epoch_steps, program.batch)
    with signals() as caught:
        while step < program.steps:
            first = step % program.epoch_steps
            last = min(first + pace.steps, next_line(first, program.epoch_steps), program.steps - (step - first))
            state, totals = program.chunk(state, totals, items, np.array([first, last], np.int32))
            check_finite(run, totals)
            step += last - first
            pace.lap(last - first)
            report.chunk(step, totals, pace.rate)
            if last == next_line(first, program.epoch_steps) or step == program.steps:
                log.append(run, training_event(step, program, totals, pace.rate))
                totals = zero_totals(SUMS)
            ended = last == program.epoch_steps or step == program.steps
            if ended:
                finish_epoch(run, program, report, state.params, step)
            if ended or caught or time.monotonic() - saved > SAVE_SECONDS:
                checkpoint.save_state(run, step, (state, totals))
                saved = time.monotonic()
            if caught and step < program.steps:
                raise Stopped(caught[0], step, run)
            if ended and step < program.steps:
                items = program.plan(state)
            pace.start()
    return state.params


class Pace:
    """How many steps make a chunk of about `CHUNK_SECONDS`, and the rate in examples a second."""

    def __init__(self, batch: int) -> None:
        self.batch, self.steps, self.rate = batch, 1, 0.0
        self.compiled = False
        self.start()

    def start(self) -> None:
        """A chunk begins."""
        self.began = time.monotonic()

    def lap(self, steps: int) -> None:
        """A chunk of `steps` ended; the first one, which compiles, tells nothing."""
        a_step = max(time.monotonic() - self.began, 1e-6) / steps
        if self.compiled:
            self.rate = self.batch / a_step
            self.steps = max(1, min(4 * self.steps, int(CHUNK_SECONDS / a_step)))
        self.compiled = True


def next_line(first: int, epoch_steps: int) -> int:
    """The step of the epoch at which the next line of the log is due, after `first`."""
    line = -(-epoch_steps // LINES_PER_EPOCH)
    return min((first // line + 1) * line, epoch_steps)


def check_finite(run: Path, totals: Totals) -> None:
    """Raises `SeqgenError`, naming the step, once a loss or gradient was not finite."""
    broken = int(totals.broken)
    if broken != NEVER:
        kept = checkpoint.steps(run, "state")
        intact = f"the checkpoint of step {kept[-1]} is intact" if kept else "there is no checkpoint yet"
        raise SeqgenError(f"{run}: loss or gradient not finite at step {broken}; {intact}; a lower --lr or --clip may do")


def training_event(step: int, program: Program, totals: Totals, rate: float) -> log.Event:
    """One line of the log: means since the last one, the loss in nats a token."""
    sums, steps = totals.sums, int(totals.steps)
    return {
        "event": "train",
        "step": step,
        "epoch": step / program.epoch_steps,
        "loss": float(sums["loss"]) / float(sums["tokens"]),
        "gradient_norm": float(sums["gradient_norm"]) / steps,
        "examples_per_second": rate,
    }


def finish_epoch(run: Path, program: Program, report: Report, params: Params, step: int) -> None:
    """Evaluate; keep the samples, the event and the parameters of an epoch."""
    event, samples = program.evaluate(params, step)
    write(run / "samples" / f"{step}.txt", samples)
    log.append(run, event)
    report.evaluated(event, samples)
    checkpoint.save_params(run, step, params, keep={best_step(log.read(run))})


def best_step(events: list[log.Event]) -> int:
    """The step with the best exact match among the epochs' evaluations; of equals the one with the lowest loss."""
    epochs = [event for event in events if event["event"] == "evaluate" and not event.get("final")]
    return max(epochs, key=lambda event: (event["exact_match"], -event["loss"]))["step"]


def restore(run: Path, program: Program, report: Report) -> tuple[TrainState, Totals]:
    """The newest good checkpoint, or a new start; the log is cut back to its step."""
    fresh = (program.init(), zero_totals(SUMS))
    if not checkpoint.steps(run, "state"):
        log.cut(run, 0)
        return fresh
    step, loaded, skipped = checkpoint.restore_state(run, fresh)
    for line in skipped:
        report.note(f"skipped a checkpoint: {line}")
    log.cut(run, step)
    return loaded
