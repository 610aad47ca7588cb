"""The training loop: run a chunk, log, evaluate, save. It knows functions, not models."""

import shlex
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
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
    """Examples or tokens a step, whichever the `unit` is."""
    unit: Literal["examples", "tokens"] = "examples"


@runtime_checkable
class Report(Protocol):
    """What the terminal is told."""

    def begin(self, steps: int, epoch_steps: int, batch: int) -> None: ...

    def chunk(self, step: int, totals: Totals, rate: float) -> None: ...

    def evaluated(self, event: log.Event, samples: str) -> None: ...

    def note(self, line: str) -> None: ...


class Stopped(SeqgenError):
    """A signal asked for an end; a resumed run loses nothing of what was saved."""

    def __init__(self, number: int, again: str, where: str = "") -> None:
        super().__init__(f"stopped{where}; go on with: {again}")
        self.exit_code = 128 + number


class NotFinite(SeqgenError):
    """A loss, gradient or weight was not finite at `step`; nothing that is not finite is kept."""

    def __init__(self, run: Path, what: str, step: int) -> None:
        kept = checkpoint.steps(run, "state")
        intact = f"the checkpoint of step {kept[-1]} is intact" if kept else "there is no checkpoint yet"
        super().__init__(f"{run}: {what} not finite at step {step}; {intact}; a lower --lr or --clip may do")
        self.step = step


def resuming(run: Path) -> str:
    """The command that goes on with a run."""
    return f"seqgen resume {shlex.quote(str(run))}"


@contextmanager
def handling(handler: Callable[[int, Any], None]) -> Generator[None]:
    """SIGINT and SIGTERM go to `handler`, and afterwards to whom they went before."""
    before = handlers()
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def handlers() -> dict[int, Any]:
    """Who has SIGINT and SIGTERM now."""
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


_caught: list[int] = []
_before: dict[int, Any] = {}
"""Handlers belong to the process, and so does what they caught and whom they stand for."""


def _catch(number: int, frame: Any) -> None:
    _caught.append(number)
    signal.signal(number, _before[number])


@contextmanager
def signals() -> Generator[list[int]]:
    """Collect signals in a list, to be read between chunks; a second one of a kind acts as it did before.

    Nothing is raised while a library compiles or draws: one that swallows exceptions would lose the signal. Within
    another `signals` the list is that one's.
    """
    if _before:
        yield _caught
        return
    _before.update(handlers())
    try:
        with handling(_catch):
            yield _caught
    finally:
        _before.clear()
        _caught.clear()


@contextmanager
def stoppable(again: str) -> Generator[None]:
    """Around `train` and what comes before and after it: a signal before it stops at its first step; Ctrl-C twice at once.

    `again` is the command that goes on.
    """
    with signals():
        try:
            yield
        except KeyboardInterrupt as error:
            raise Stopped(signal.SIGINT, again) from error


def train(run: Path, program: Program, report: Report) -> Params:
    """Train to the end, from the newest good checkpoint or from the start. Returns the last parameters.

    Where chunks end depends on the clock, but nothing else does: log lines, evaluations and the state itself are the
    same however often the run is interrupted. Raises `NotFinite`, `SeqgenError` when the disk is full,
    and `Stopped` after SIGINT or SIGTERM: each time the last checkpoint is intact.
    """
    state, totals = restore(run, program, report)
    step, items, pace = int(state.step), program.plan(state), Pace(program.batch)
    saved = time.monotonic()
    report.begin(program.steps, program.epoch_steps, program.batch)
    with signals() as caught:
        if caught:
            raise Stopped(caught[0], resuming(run))
        while step < program.steps:
            first = step % program.epoch_steps
            last = min(first + pace.steps, next_line(first, program.epoch_steps), program.steps - (step - first))
            state, totals = program.chunk(state, totals, items, np.array([first, last], np.int32))
            check_finite(run, totals)
            step += last - first
            pace.lap(last - first)
            report.chunk(step, totals, pace.rate)
            if last == next_line(first, program.epoch_steps) or step == program.steps:
                log.append(run, training_event(step, program.epoch_steps, totals, pace.rate, program.unit))
                totals = zero_totals(SUMS)
            ended = last == program.epoch_steps or step == program.steps
            due = ended or caught or time.monotonic() - saved > SAVE_SECONDS
            if due and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
                raise NotFinite(run, "weights", step)
            if ended:
                finish_epoch(run, program, report, state.params, step)
            if due:
                checkpoint.save_state(run, step, (state, totals))
                saved = time.monotonic()
            if caught and due:
                raise Stopped(caught[0], resuming(run), f" at step {step}")
            if ended and step < program.steps:
                items = program.plan(state)
            pace.start()
    return state.params


class Pace:
    """How many steps make a chunk of about `CHUNK_SECONDS`, and the rate in examples (or tokens) a second."""

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
    """Raises `NotFinite` once a loss or gradient was not finite."""
    if (broken := int(totals.broken)) != NEVER:
        raise NotFinite(run, "loss or gradient", broken)


def training_event(step: int, epoch_steps: int, totals: Totals, rate: float, unit: str) -> log.Event:
    """One line of the log: means since the last one, the loss in nats a token."""
    sums, steps = totals.sums, int(totals.steps)
    return {
        "event": "train",
        "step": step,
        "epoch": step / epoch_steps,
        "loss": float(sums["loss"]) / float(sums["tokens"]),
        "gradient_norm": float(sums["gradient_norm"]) / steps,
        f"{unit}_per_second": rate,
    }


def finish_epoch(run: Path, program: Program, report: Report, params: Params, step: int) -> None:
    """Evaluate; keep the samples, the event and the parameters of an epoch."""
    event, samples = program.evaluate(params, step)
    if not np.isfinite(event["loss"]):
        raise NotFinite(run, "the evaluation's loss", step)
    write(run / "samples" / f"{step}.txt", samples)
    log.append(run, event)
    report.evaluated(event, samples)
    checkpoint.save_params(run, step, params, keep={best_step(log.epochs(run))})


def best_step(epochs: list[log.Event]) -> int:
    """The step with the best exact match among the epochs' evaluations; else the one with the lowest loss."""
    return max(epochs, key=lambda event: (event.get("exact_match", 0.0), -event["loss"]))["step"]


def restore(run: Path, program: Program, report: Report) -> tuple[TrainState, Totals]:
    """The newest good checkpoint, or a new start where there is none; the log is cut back to its step.

    An epoch's parameters are damaged or gone where its state is whole: they are written again. Raises `SeqgenError` where
    states are gone, or none is good: to start over would cost what was kept of the epochs.
    """
    fresh = (program.init(), zero_totals(SUMS))
    if not checkpoint.numbered(run, "state"):
        if kept := checkpoint.numbered(run, "params")[1:]:  # the first epoch's are kept just before its state
            raise SeqgenError(f"{run}: checkpoints/state is empty, with parameters of step {kept[-1]} beside it: bring it back")
        log.cut(run, 0)
        return fresh
    step, loaded, skipped = checkpoint.restore_state(run, fresh)
    for line in skipped:
        report.note(f"skipped a checkpoint: {line}")
    ended = step == program.steps
    report.note(f"{run}: {'has been trained to its end' if ended else 'goes on'}, step {step} of {program.steps}")
    log.cut(run, step)
    params = loaded[0].params
    if ended or step % program.epoch_steps == 0:
        try:
            checkpoint.restore_params(run, params, step)
        except SeqgenError as error:
            report.note(f"written again from the state of step {step}: {error}")
            checkpoint.save_params(run, step, params, keep=checkpoint.steps(run, "params"))
    return loaded
