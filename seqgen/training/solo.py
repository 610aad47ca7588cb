"""A run that trains alone: on one device, or each of its batches split over several."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from seqgen.errors import SeqgenError
from seqgen.storage import checkpoint, log
from seqgen.storage.files import write
from seqgen.training import sharding
from seqgen.training.batches import Page
from seqgen.training.loop import Session, training_event
from seqgen.training.state import TrainState, begun
from seqgen.training.steps import NEVER, Program, Totals, train_steps, zero_totals
from seqgen.types import Member, Params, Tree


@runtime_checkable
class Report(Protocol):
    """What the terminal is told of a run."""

    def begin(self, program: Program) -> None: ...

    def advance(self, step: int, totals: Totals, rate: float) -> None: ...

    def evaluated(self, event: log.Event, samples: str) -> None: ...

    def note(self, line: str) -> None: ...


class NotFinite(SeqgenError):
    """A loss, gradient or weight was not finite at `step`; nothing that is not finite is kept."""

    def __init__(self, run: Path, what: str, step: int) -> None:
        kept = checkpoint.steps(run, "state")
        last = f"the checkpoint of step {kept[-1]} is intact" if kept else "no checkpoint yet"
        super().__init__(
            f"{run}: {what} not finite at step {step}; {last}; try a lower lr or clip",
            fields=("hyper.lr", "hyper.clip"),
        )
        self.step = step


class EpochEnd(NamedTuple):
    """What is done with a run at the end of each epoch.

    evaluate(params, step) -> an event for the log, and decoded samples as text
    best(events) -> the step of the best epoch
    enough(events) -> whether training ends after these epochs, however many steps are left
    """

    evaluate: Callable[[Params, int], tuple[log.Event, str]]
    best: Callable[[list[log.Event]], int]
    enough: Callable[[list[log.Event]], bool] = lambda events: False


class Functions(NamedTuple):
    """A program's compiled functions for one run."""

    init: Callable[[Member], TrainState]
    carry: Callable[[Params], Tree]
    plan: Callable[[Member, Any], Tree]
    steps: Callable[..., tuple[TrainState, Totals]]


def compile_solo(program: Program, mesh: Mesh) -> Functions:
    """The state is on every device, the rows of each batch are split."""
    whole, rows = sharding.shared_on(mesh), sharding.rows_on(mesh)
    return Functions(
        jax.jit(program.init, out_shardings=whole),
        jax.jit(program.carry, out_shardings=whole),
        jax.jit(program.batches.plan, out_shardings=rows),
        jax.jit(
            partial(train_steps, program),
            donate_argnames=("state", "totals"),
            out_shardings=whole,
        ),
    )


class Solo(Session):
    """One run, from the newest good checkpoint or from the start.

    Args:
        run: its directory.
        program: what trains.
        member: its key and hyper-parameters.
        mesh: the devices over which its batches are split.
        epoch_end: what is done at an epoch's end.
        report: is told how it goes.

    Raises:
        SeqgenError: where states are gone, or none is good.

    """

    def __init__(
        self,
        run: Path,
        program: Program,
        member: Member,
        *,
        mesh: Mesh,
        epoch_end: EpochEnd,
        report: Report,
    ) -> None:
        self.run, self.program, self.epoch_end, self.report = run, program, epoch_end, report
        self.whole, self.rows = sharding.shared_on(mesh), sharding.rows_on(mesh)
        self.functions = compile_solo(program, mesh)
        self.data, self.member = jax.device_put((program.batches.data, member), self.whole)
        self.hyper = self.member.hyper
        fresh = self.functions.init(self.member), zero_totals()
        self.state, self.totals = restore(
            run, program, fresh, enough=epoch_end.enough, report=report
        )
        self.step = int(self.state.step)
        report.begin(program)

    def begin_epoch(self) -> None:
        """An epoch has a new carry, and the hyper-parameters that its past calls for."""
        epoch, first = divmod(self.step, self.program.batches.steps)
        hyper = self.program.adjust(self.hyper, partial(log.epochs, self.run))
        self.member = self.member._replace(hyper=hyper)
        self.plan = self.functions.plan(self.member, np.int32(epoch))
        if first == 0 and jax.tree.leaves(self.state.carry):
            self.state = self.state._replace(carry=self.functions.carry(self.state.params))

    def place(self, page: Page) -> Tree:
        """The rows of each step are split over the devices."""
        return jax.device_put(page.items, self.rows)

    def take(self, items: Tree, span: Any) -> None:
        """Take some steps."""
        self.state, self.totals = self.functions.steps(
            self.data,
            self.member,
            state=self.state,
            totals=jax.device_put(self.totals, self.whole),
            items=items,
            span=span,
        )

    def tell(self, steps: int, rate: float) -> None:
        """Raises `NotFinite` once a loss or gradient was not finite."""
        if (step := int(self.totals.not_finite)) != NEVER:
            raise NotFinite(self.run, "loss or gradient", step)
        self.report.advance(self.step, self.totals, rate)

    def write_line(self, rate: float) -> None:
        """A line of the log."""
        log.append(self.run, training_event(self.step, self.program, self.totals, rate))
        self.totals = zero_totals()

    def check_weights(self) -> None:
        """Raises `NotFinite`."""
        leaves = jax.tree.leaves(self.state.params)
        if not all(np.isfinite(leaf).all() for leaf in leaves):
            raise NotFinite(self.run, "weights", self.step)

    def end_epoch(self) -> None:
        """Evaluate; keep the samples, the event and the parameters of an epoch."""
        self.keep({})

    def end_amid(self) -> None:
        """The same of an epoch that is cut short, its event marked."""
        self.keep({"interim": True})

    def over(self) -> bool:
        """All steps are taken, or its epochs are enough."""
        ended = self.step == self.program.steps
        return ended or self.epoch_end.enough(log.epochs(self.run))

    def keep(self, mark: log.Event) -> None:
        """Evaluate; keep the samples, the event with its `mark`, and the parameters."""
        event, samples = self.epoch_end.evaluate(self.state.weights, self.step)
        if not np.isfinite(event["loss"]):
            raise NotFinite(self.run, "the evaluation's loss", self.step)
        write(self.run / "samples" / f"{self.step}.txt", samples)
        log.append(self.run, {**event, **mark})
        self.report.evaluated(event, samples)
        whole, every = log.epochs(self.run), log.evaluations(self.run)
        keep = {self.epoch_end.best(each) for each in (whole, every) if each}
        checkpoint.save_params(self.run, self.step, self.state.weights, keep=keep)

    def save(self) -> None:
        """Write the state."""
        logs = [log.checksum(self.run)]
        checkpoint.save_state(self.run, self.step, (self.state, self.totals), logs=logs)


def restore(
    run: Path,
    program: Program,
    fresh: tuple[TrainState, Totals],
    *,
    enough: Callable[[list[log.Event]], bool],
    report: Report,
) -> tuple[TrainState, Totals]:
    """The newest good checkpoint, or `fresh` where there is none, with the weights that the program
    begins with; the log is cut back to its step.

    If an epoch's parameters are damaged but its state is whole, they are written again.
    Raises `SeqgenError` where states are gone, or none is good: to start over would cost what was
    kept.

    Args:
        run: its directory.
        program: what trains.
        fresh: a new start.
        enough: whether training ended after some epochs.
        report: is told what was skipped.

    """
    if not checkpoint.numbered(run, "state"):
        if kept := checkpoint.numbered(run, "params")[1:]:  # the first come just before their state
            raise SeqgenError(
                f"{run}: checkpoints/state is empty, with parameters of step {kept[-1]} beside it: "
                "bring it back"
            )
        log.cut(run, 0)
        return begun(fresh[0], program.start, report.note), fresh[1]
    step, loaded, skipped = checkpoint.restore_state(run, fresh)
    for line in skipped:
        report.note(f"skipped a checkpoint: {line}")
    if step > program.steps:
        raise SeqgenError(f"{run} has taken {step} steps, more than its {program.steps}")
    log.cut(run, step, *checkpoint.saved_logs(run, step, 1))
    early = step < program.steps and enough(log.epochs(run))
    ended = step == program.steps or early
    how = "ended early" if early else "has been trained to its end" if ended else "goes on"
    report.note(f"{run}: {how}, step {step} of {program.steps}")
    if not ended:
        forget_ending(run, program)
    params = loaded[0].weights
    if ended or step % program.batches.steps == 0:
        try:
            checkpoint.restore_params(run, params, step)
        except SeqgenError as error:
            report.note(f"written again from the state of step {step}: {error}")
            checkpoint.save_params(run, step, params, keep=checkpoint.steps(run, "params"))
    return loaded


def forget_ending(run: Path, program: Program) -> None:
    """Drop what an end before the last step has left in a run that goes on."""

    def stays(step: int) -> bool:
        return step % program.batches.steps == 0 or step == program.steps

    checkpoint.keep_only(run, "params", list(filter(stays, checkpoint.numbered(run, "params"))))
    log.forget_ending(run)
    for path in (run / "samples").glob("*.txt"):
        if path.stem == "test" or (path.stem.isdigit() and not stays(int(path.stem))):
            path.unlink()
