"""Members of a sweep that train together, as one compiled program.

A member's log has a solo run's lines, written when the state is saved: 80 members that flushed each
line would wait for the disk. A stacked state that cannot be read stops the sweep, with the folder
to delete: what one kill leaves is always readable, and to start over would cost what members had.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from seqgen.data.pairs import Split
from seqgen.errors import SeqgenError
from seqgen.families import Run, is_run, write_metadata
from seqgen.families.fit import evaluation, keep_test
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.files import alone, write
from seqgen.sweeps.compiled import fresh_totals
from seqgen.sweeps.pending import Pending, steps_left, summary
from seqgen.sweeps.plan import Planned
from seqgen.sweeps.state import break_off, forget, stacked_at
from seqgen.training import loop, sharding
from seqgen.training.loop import Session, training_event
from seqgen.training.state import TrainState
from seqgen.training.steps import NEVER, Totals
from seqgen.types import Tree


@runtime_checkable
class Report(Protocol):
    """What the terminal is told; a model-step is one training step of one member."""

    def begin(self, steps: int) -> None: ...

    def advance(self, steps: int, line: str) -> None: ...

    def note(self, line: str) -> None: ...


def train(
    pending: Sequence[Pending], folder: Path, members: int, *, report: Report, again: str
) -> None:
    """Train all that is pending.

    Args:
        pending: what `still_to_do` gave.
        folder: the sweep's.
        members: how many there are in all.
        report: is told how it goes.
        again: the command that goes on.

    Raises:
        Stopped: after a signal.

    """
    for line in summary(pending, members):
        report.note(line)
    report.begin(sum(steps_left(each, batch, folder) for each in pending for batch in each.batches))
    for each in pending:
        for batch in each.batches:
            train_together(each, batch, folder, report=report, again=again)


def train_together(
    pending: Pending, members: Sequence[Planned], folder: Path, *, report: Report, again: str
) -> None:
    """Train some members of a program to their end, from wherever their stacked state stands.

    Args:
        pending: their program.
        members: who trains.
        folder: the sweep's.
        report: is told how it goes.
        again: the command that goes on.

    Raises:
        Stopped: after a signal.

    """
    kept = stacked_at(folder, members)
    if not (kept / "members.json").exists() or not all(is_run(each.path) for each in members):
        forget(kept)  # of a removal cut short by a kill; without one's run, all start again
    for member in members:
        if not is_run(member.path):
            write_metadata(*member)
    runs = [member.opened() for member in members]
    if changes := [f"{run.path}: {change}" for run in runs for change in run.changes()]:
        report.note(f"made elsewhere ({changes[0]}): the result need not be the same to the bit")
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(alone(run.path))
            manifest.cover(run.path)
        write(kept / "members.json", json.dumps([member.path.name for member in members]))
        session = Stacked(pending, members, runs, kept=kept, report=report)
        loop.train(session, again)
        session.finish()
    forget(kept)


class Stacked(Session):
    """Some members while they train: their state on the devices, their directories on the disk.

    Args:
        pending: their program.
        members: who trains.
        runs: the same, opened.
        kept: the folder of their stacked state.
        report: is told how it goes.

    """

    def __init__(
        self,
        pending: Pending,
        members: Sequence[Planned],
        runs: list[Run],
        *,
        kept: Path,
        report: Report,
    ) -> None:
        self.shared, self.compiled, self.program = (
            pending.plan,
            pending.compiled,
            pending.plan.program,
        )
        self.members, self.runs, self.kept, self.report = members, runs, kept, report
        self.each = sharding.each_on(self.compiled.mesh)
        whole = sharding.shared_on(self.compiled.mesh)
        self.slots = jax.device_put(self.shared.slots(members, self.compiled.count), self.each)
        self.data = jax.device_put(self.shared.data, whole)
        split = self.shared.evaluation_split
        self.blocks = {split: jax.device_put(self.shared.blocks(split), whole)}
        self.lines: list[list[log.Event]] = [[] for _ in runs]
        self.step, self.state, self.totals = self.restored()

    def restored(self) -> tuple[int, TrainState, Totals]:
        """The newest good stacked state, or a new start; the logs are cut back to its step."""
        step, count, logs = 0, self.compiled.count, [None] * len(self.runs)
        if checkpoint.numbered(self.kept, "state"):
            like = jax.tree.map(
                lambda leaf: np.empty((len(self.runs), *leaf.shape[1:]), leaf.dtype),
                self.compiled.like,
            )
            try:
                step, loaded, skipped = checkpoint.restore_state(self.kept, like)
            except SeqgenError as error:  # to start over would cost what was kept
                raise SeqgenError(
                    f"{error}; without {self.kept} its {len(self.runs)} members start again"
                ) from error
            tree = sharding.padded(loaded, count)
            logs = checkpoint.saved_logs(self.kept, step, len(self.runs))
            for line in skipped:
                self.report.note(f"skipped a checkpoint: {line}")
            others = f"{self.runs[0].path.name} and {len(self.runs) - 1} others"
            self.report.note(f"{others} go on at step {step}")
        else:
            tree = self.compiled.create((), self.slots), fresh_totals(count)
        for run, reached in zip(self.runs, logs, strict=True):
            log.cut(run.path, step, reached)
        return step, *jax.device_put(tree, self.each)

    def begin_epoch(self) -> None:
        """Which examples each member sees; each epoch has the hyper-parameters of its past."""
        self.slots = jax.device_put(self.adjusted(), self.each)
        epoch = np.int32(self.step // self.program.batches.steps)
        self.plan = self.compiled.plan(epoch, self.slots)

    def adjusted(self) -> sharding.Slot:
        """The slots with each member's own hyper-parameters."""
        slots = self.shared.slots(self.members, self.compiled.count)
        hypers = [
            self.program.adjust(member.config.hyper.traced(), partial(log.epochs, member.path))
            for member in self.members
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *hypers)
        hyper = sharding.padded(stacked, self.compiled.count)
        return slots._replace(member=slots.member._replace(hyper=hyper))

    def place(self, page: Any) -> Tree:
        """A plan [M, n, ...] is on the devices already."""
        return page.items

    def take(self, items: Tree, span: Any) -> None:
        """Take some steps of every member."""
        self.state, self.totals = self.compiled.steps(
            (self.data, span), self.slots, items, self.state, self.totals
        )

    def tell(self, steps: int, rate: float) -> None:
        """Who trains, and how far."""
        totals = self.host(self.totals)
        losses = totals.sums["loss"] / np.maximum(totals.sums["tokens"], 1)
        losses = losses[totals.not_finite == NEVER]
        loss = losses.mean() if losses.size else float("nan")
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        epoch = self.step / self.program.batches.steps
        line = f"{self.runs[0].path.name}{more} · epoch {epoch:.1f} · loss {loss:.4f}"
        self.report.advance(steps * len(self.runs), line)

    def host(self, tree: Tree) -> Tree:
        """What is on the devices as NumPy arrays, without what fills up the last one."""
        return jax.tree.map(lambda leaf: leaf[: len(self.runs)], jax.device_get(tree))

    def write_line(self, rate: float) -> None:
        """A line for each member's log, kept until its state is saved."""
        totals = self.host(self.totals)
        for i, lines in enumerate(self.lines):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], totals)
            if mine.not_finite == NEVER:
                lines.append(training_event(self.step, self.program, mine, rate))
        fresh = fresh_totals(self.compiled.count)
        kept = jax.device_get(self.totals.not_finite)
        self.totals = jax.device_put(fresh._replace(not_finite=kept), self.each)

    def check_weights(self) -> None:
        """A member that is not finite is marked at the end of the epoch."""

    def evaluated(self, split: Split) -> tuple[list[tuple[log.Event, str]], np.ndarray]:
        """Each member's scores and samples, and whether its weights are finite."""
        made, finite = self.host(
            self.compiled.evaluate(self.blocks[split], self.slots, self.state.params)
        )
        found = []
        for i, run in enumerate(self.runs):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], made)
            found.append(self.shared.stacking.scored(run, split, mine))
        return found, finite

    def end_epoch(self) -> None:
        """Evaluate; each member's log gets its lines, one that is not finite is marked."""
        split, epoch_steps = self.shared.evaluation_split, self.program.batches.steps
        scored, finite = self.evaluated(split)
        stopped = np.array(jax.device_get(self.totals.not_finite))
        for i, (run, (scores, _)) in enumerate(zip(self.runs, scored, strict=True)):
            if not (finite[i] and np.isfinite(scores["loss"])):
                stopped[i] = min(stopped[i], self.step)
            if stopped[i] == NEVER:
                event = evaluation(split, self.step, epoch_steps, scores)
                self.lines[i].append(event)
            elif log.broken(run.path) is None:
                self.flush(i)
                break_off(run.path, int(stopped[i]), self.report.note)
        totals = self.totals._replace(not_finite=jnp.asarray(stopped))
        self.totals = jax.device_put(totals, self.each)

    def save(self) -> None:
        """Write what the members' logs have to say, then their state."""
        for i in range(len(self.runs)):
            self.flush(i)
        state = self.host((self.state, self.totals))
        logs = [log.checksum(run.path) for run in self.runs]
        checkpoint.save_state(self.kept, self.step, state, logs=logs)

    def flush(self, i: int) -> None:
        """Write what a member's log has to say."""
        if self.lines[i]:
            log.append(self.runs[i].path, *self.lines[i])
            self.lines[i].clear()

    def finish(self) -> None:
        """Each member's weights, its state (so that `resume` knows its end), its test."""
        state, totals = self.host((self.state, self.totals))
        whole = sharding.shared_on(self.compiled.mesh)
        split = self.shared.test_split
        if split not in self.blocks:
            self.blocks[split] = jax.device_put(self.shared.blocks(split), whole)
        scored, _ = self.evaluated(split)
        for i, (run, (scores, samples)) in enumerate(zip(self.runs, scored, strict=True)):
            if log.broken(run.path) is not None:
                continue
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], (state, totals))
            checkpoint.save_params(run.path, self.step, mine[0].params)
            checkpoint.save_state(run.path, self.step, mine, logs=[log.checksum(run.path)])
            keep_test(run, self.program, self.step, scores, samples)
