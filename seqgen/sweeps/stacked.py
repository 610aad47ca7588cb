"""Members of a sweep that train together, as one compiled program.

A member's log has a solo run's lines, written when the state is saved: 80 members that flushed each
line would wait for the disk. A stacked state that cannot be read stops the sweep, with the folder
to delete: what one kill leaves is always readable, and to start over would cost what members had.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from seqgen.data.pairs import Split
from seqgen.errors import SeqgenError
from seqgen.families import Run
from seqgen.families.fit import capped_run, early_words, evaluation, keep_test
from seqgen.storage import checkpoint, log
from seqgen.sweeps.compiled import fresh_totals
from seqgen.sweeps.pending import Pending
from seqgen.sweeps.plan import Planned
from seqgen.sweeps.selected import Selected
from seqgen.sweeps.state import break_off, forget_ending
from seqgen.training import sharding
from seqgen.training.loop import Session, training_event
from seqgen.training.state import TrainState, begun
from seqgen.training.steps import NEVER, Totals
from seqgen.types import Params, Tree


@runtime_checkable
class Report(Protocol):
    """What the terminal is told; a model-step is one training step of one member."""

    def begin(self, steps: int) -> None: ...

    def advance(self, steps: int, line: str) -> None: ...

    def note(self, line: str) -> None: ...


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
        self.capped = [capped_run(run) for run in runs]
        self.each = sharding.each_on(self.compiled.mesh)
        whole = sharding.shared_on(self.compiled.mesh)
        self.slots = jax.device_put(self.shared.slots(members, self.compiled.count), self.each)
        self.data = jax.device_put(self.shared.data, whole)
        self.blocks = jax.device_put(self.shared.epoch_blocks(), whole)
        self.lines: list[list[log.Event]] = [[] for _ in runs]
        self.step, (self.state, self.totals), best = self.restored()
        self.selected = Selected(runs, best)
        broken = [log.broken(run.path) is not None for run in runs]
        early = map(self.selected.ended_early, range(len(runs)))
        self.ended = np.array(broken) | np.array(list(early))

    def restored(self) -> tuple[int, tuple[TrainState, Totals], Params | None]:
        """The newest good stacked state, or a new start, with the weights of the best epochs where
        they count; the logs are cut back to its step.
        """
        step, count, logs = 0, self.compiled.count, [None] * len(self.runs)
        like = jax.tree.map(
            lambda leaf: np.zeros((len(self.runs), *leaf.shape[1:]), leaf.dtype),
            self.compiled.like,
        )
        best = [] if self.shared.config.training.select == "last" else [like[0].weights]
        if checkpoint.numbered(self.kept, "state"):
            try:
                step, loaded, skipped = checkpoint.restore_state(self.kept, (*like, *best))
            except SeqgenError as error:  # to start over would cost what was kept
                raise SeqgenError(
                    f"{error}; without {self.kept} its {len(self.runs)} members start again"
                ) from error
            tree, best = sharding.padded(loaded[:2], count), loaded[2:]
            logs = checkpoint.saved_logs(self.kept, step, len(self.runs))
            for line in skipped:
                self.report.note(f"skipped a checkpoint: {line}")
            others = f"{self.runs[0].path.name} and {len(self.runs) - 1} others"
            self.report.note(f"{others} go on at step {step}")
        else:
            fresh = self.compiled.create((), self.slots)
            tree = begun(fresh, self.program.start, self.report.note), fresh_totals(count)
        for run, reached in zip(self.runs, logs, strict=True):
            log.cut(run.path, step, reached)
            forget_ending(run.path)
        return step, jax.device_put(tree, self.each), *(best or [None])

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
        alive = slots.alive & ~np.pad(self.ended, (0, self.compiled.count - len(self.runs)))
        return slots._replace(member=slots.member._replace(hyper=hyper), alive=alive)

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
        losses = losses[(totals.not_finite == NEVER) & ~self.ended]
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
            if mine.not_finite == NEVER and not self.ended[i]:
                lines.append(training_event(self.step, self.program, mine, rate))
        fresh = fresh_totals(self.compiled.count)
        kept = jax.device_get(self.totals.not_finite)
        self.totals = jax.device_put(fresh._replace(not_finite=kept), self.each)

    def check_weights(self) -> None:
        """A member that is not finite is marked at the end of the epoch."""

    def scores(self, runs: Sequence[Run], split: Split, made: Tree) -> list[tuple[log.Event, str]]:
        """Each member's scores and samples."""
        found = []
        for i, run in enumerate(runs):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], made)
            found.append(self.shared.stacking.scored(run, split, mine))
        return found

    def end_epoch(self) -> None:
        """Evaluate; each member's log gets its lines, one that is not finite is marked."""
        stopped = self.evaluate({})
        for i, run in enumerate(self.runs):
            if self.ended[i]:
                continue
            if stopped[i] != NEVER:
                self.ended[i] = True
                self.flush(i)
                break_off(run.path, int(stopped[i]), self.report.note)
            elif self.step < self.program.steps and self.selected.ended_early(i):
                self.ended[i] = True
                where = f"step {self.step} of {self.program.steps}"
                why = early_words(run.family, run.config.training)
                self.report.note(f"{run.path.name} ended early at {where}: {why}")
        totals = self.totals._replace(not_finite=jnp.asarray(stopped))
        self.totals = jax.device_put(totals, self.each)

    def end_amid(self) -> None:
        """Evaluate an epoch that is cut short; what is not finite is found again at its end."""
        self.evaluate({"interim": True})
        for i in range(len(self.runs)):
            self.flush(i)

    def evaluate(self, mark: log.Event) -> np.ndarray:
        """Each member's evaluation, with a `mark`; the steps since which they are not finite."""
        split, epoch_steps = self.shared.evaluation_split, self.program.batches.steps
        made, finite = self.host(
            self.compiled.evaluate(self.blocks, self.slots, self.state.weights)
        )
        stopped, events = np.array(jax.device_get(self.totals.not_finite)), {}
        for i, (scores, _) in enumerate(self.scores(self.capped, split, made)):
            if self.ended[i]:
                continue
            if not (finite[i] and np.isfinite(scores["loss"])):
                stopped[i] = min(stopped[i], self.step)
            if stopped[i] == NEVER:
                events[i] = {**evaluation(split, self.step, epoch_steps, scores), **mark}
                self.lines[i].append(events[i])
        self.selected.add(events, lambda: self.host(self.state.weights))
        return stopped

    def over(self) -> bool:
        """All steps are taken, or every member has ended before."""
        return self.step == self.program.steps or bool(self.ended.all())

    def save(self) -> None:
        """Write what the members' logs have to say, then their state."""
        for i in range(len(self.runs)):
            self.flush(i)
        best = [] if self.selected.best is None else [self.selected.best]
        state = *self.host((self.state, self.totals)), *best
        logs = [log.checksum(run.path) for run in self.runs]
        checkpoint.save_state(self.kept, self.step, state, logs=logs)

    def flush(self, i: int) -> None:
        """Write what a member's log has to say."""
        if self.lines[i]:
            log.append(self.runs[i].path, *self.lines[i])
            self.lines[i].clear()

    def finish(self) -> None:
        """Each member's weights, its state (so that `resume` knows its end), its test."""
        if self.ended.all() and (left := self.program.steps - self.step):
            self.report.advance(left * len(self.runs), "all have ended early")
        state, totals = self.host((self.state, self.totals))
        best = state.weights if self.selected.best is None else self.selected.best
        split, whole = self.shared.test_split, sharding.shared_on(self.compiled.mesh)
        blocks = jax.device_put(self.shared.blocks(split), whole)
        params = jax.device_put(sharding.padded(best, self.compiled.count), self.each)
        made, _ = self.host(self.compiled.test(blocks, self.slots, params))
        for i, (scores, samples) in enumerate(self.scores(self.runs, split, made)):
            run, known = self.runs[i], self.selected.epochs[i]
            whole_epoch = known and (self.ended[i] or known[-1]["step"] == self.step)
            if log.broken(run.path) is not None or not whole_epoch:
                continue
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], (state, totals, best))
            steps = step, last = self.selected.steps(i)
            if step < last:
                checkpoint.save_params(run.path, step, mine[2])
            checkpoint.save_params(run.path, last, mine[0].weights, keep={step})
            checkpoint.save_state(run.path, last, mine[:2], logs=[log.checksum(run.path)])
            keep_test(run, self.program, steps, scores, samples)
