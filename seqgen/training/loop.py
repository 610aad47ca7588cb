"""The one loop over training steps and epochs, for a run alone and for members of a sweep."""

import math
import time
from abc import ABC, abstractmethod
from typing import Any

import jax
import numpy as np

from seqgen.storage import log
from seqgen.training.batches import Page
from seqgen.training.signals import Stopped, signals
from seqgen.training.steps import Program, Totals
from seqgen.types import Tree

SPAN_SECONDS = 1.0
"""How long the steps should last that are taken together: what a Ctrl-C waits for."""

SAVE_SECONDS = 30.0
"""Between two saves of the full state at most; it is also saved where epochs end."""

LINES_PER_EPOCH = 10
"""Training lines in the log an epoch."""


class Session(ABC):
    """What trains: its state on the devices, its directories on the disk, and how far it is.

    `step` counts all steps taken, `totals` sums over those since the last line of the log.
    `advance` takes some, `write_line` logs their means, `end_epoch` evaluates and keeps an epoch,
    `save` writes the state; `over` says whether that epoch was the last.
    """

    program: Program
    step: int
    totals: Totals
    plan: Tree
    page: Page | None = None

    @abstractmethod
    def begin_epoch(self) -> None:
        """Plan the epoch in which `step` is."""

    @abstractmethod
    def take(self, items: Tree, span: Any) -> None:
        """Take the steps items[first:last] with `span` = (first, last)."""

    @abstractmethod
    def tell(self, steps: int, rate: float) -> None:
        """After `steps` more: check them, and say how it goes."""

    @abstractmethod
    def write_line(self, rate: float) -> None:
        """A line of the log: means since the last one, and the rate per second."""

    @abstractmethod
    def check_weights(self) -> None:
        """Before anything is kept."""

    @abstractmethod
    def end_epoch(self) -> None:
        """Evaluate; keep what an epoch leaves."""

    @abstractmethod
    def end_amid(self) -> None:
        """Evaluate and keep an epoch that is cut short, for as long as training does not go on."""

    @abstractmethod
    def over(self) -> bool:
        """Whether training has ended: asked at its start and at an epoch's end."""

    @abstractmethod
    def save(self) -> None:
        """Write the state."""

    def place(self, page: Page) -> Tree:
        """The items of a page on the devices."""
        return page.items

    def advance(self, first: int, last: int) -> None:
        """Take the steps first to last - 1 of the epoch, page after page, and wait for them.

        Devices compute while Python goes on; the clock is to count what is done.
        """
        while first < last:
            if self.page is None or not self.page.first <= first < self.page.end:
                epoch = self.step // self.program.batches.steps
                page = self.program.batches.page(self.plan, epoch, first)
                self.page = page._replace(items=self.place(page))
            begin, end = self.page.first, min(last, self.page.end)
            self.take(self.page.items, np.array([first - begin, end - begin], np.int32))
            self.step += end - first
            first = end
        jax.block_until_ready(self.totals)


def train(session: Session, again: str, until: float = math.inf) -> bool:
    """Train to the end, from wherever the session stands; or to the first step after a time.

    Where the steps that are taken together end depends on the clock, but nothing else does: log
    lines, evaluations and the state itself are the same however often training is interrupted.
    Raises `Stopped` after SIGINT or SIGTERM, and what the session raises: each time what was saved
    is intact. Returns whether it has come to the end.

    Args:
        session: what trains.
        again: the command that goes on.
        until: the time, by the monotonic clock.

    """
    program, pace = session.program, Pace(session.program.size)
    epoch = program.batches.steps
    saved = time.monotonic()
    with signals() as caught:
        if caught:
            raise Stopped(caught[0], again)
        if not (over := session.over()):
            plan_epoch(session)
        while not over:
            pace.start()
            first = session.step % epoch
            line = next_line(first, epoch)
            last = min(first + pace.steps, line, program.steps - (session.step - first))
            session.advance(first, last)
            finished = session.step == program.steps
            session.tell(last - first, pace.lap(last - first))
            if last == line or finished:
                session.write_line(pace.rate)
            ended = last == epoch or finished
            late = time.monotonic() >= until
            due = ended or caught or late or time.monotonic() - saved > SAVE_SECONDS
            if due:
                session.check_weights()
            if ended:
                session.end_epoch()
                over = session.over()
            if due:
                session.save()
                saved = time.monotonic()
            if caught and due:
                raise Stopped(caught[0], again, f" at step {session.step}")
            if late and not over:
                if not ended:
                    session.end_amid()
                return False
            if ended and not over:
                plan_epoch(session)
    return True


def plan_epoch(session: Session) -> None:
    """An epoch begins: pages of the last one are gone."""
    session.page = None
    session.begin_epoch()


class Pace:
    """How many steps take about `SPAN_SECONDS`, and the rate in examples (or tokens) per second."""

    def __init__(self, size: int) -> None:
        self.size, self.steps, self.rate = size, 1, 0.0
        self.compiled = False

    def start(self) -> None:
        """Some steps begin."""
        self.began = time.monotonic()

    def lap(self, steps: int) -> float:
        """After `steps` steps; the first ones, which compile, tell nothing. Returns the rate."""
        seconds = max(time.monotonic() - self.began, 1e-6) / steps
        if self.compiled:
            self.rate = self.size / seconds
            self.steps = max(1, min(4 * self.steps, int(SPAN_SECONDS / seconds)))
        self.compiled = True
        return self.rate


def next_line(first: int, epoch_steps: int) -> int:
    """The step of the epoch at which the next line of the log is due, after `first`."""
    line = -(-epoch_steps // LINES_PER_EPOCH)
    return min((first // line + 1) * line, epoch_steps)


def training_event(step: int, program: Program, totals: Totals, rate: float) -> log.Event:
    """One line of the log: means since the last one, the loss in nats per token.

    Args:
        step: steps taken.
        program: what trains.
        totals: the sums since the last line.
        rate: examples or tokens per second.

    """
    sums, steps = totals.sums, int(totals.steps)
    return {
        "event": "train",
        "step": step,
        "epoch": step / program.batches.steps,
        "loss": float(sums["loss"]) / float(sums["tokens"]),
        "gradient_norm": float(sums["gradient_norm"]) / steps,
        f"{program.unit}_per_second": rate,
    }
