"""Members of a sweep while they train together: state on the devices, directories on the disk."""

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from seqgen import evaluation
from seqgen.errors import SeqgenError
from seqgen.files import alone, write
from seqgen.fit import tested
from seqgen.fit.seq2seq import samples, scored
from seqgen.groups import Group, Planned, Program, fresh_totals
from seqgen.jobs import Job, break_off, forget, record, stacked_at, steps_left, still_to_do, summary
from seqgen.runs import Seq2seqRun, furnish, is_run
from seqgen.tasks.dataset import Data
from seqgen.training import checkpoint, grid, log
from seqgen.training.chunk import NEVER, Totals
from seqgen.training.grid import LayoutName
from seqgen.training.loop import SAVE_SECONDS, Pace, Stopped, signals, training_event
from seqgen.training.state import TrainState
from seqgen.types import Batch, Tree


@runtime_checkable
class Report(Protocol):
    """What the terminal is told; steps are model-steps: one training step of one member."""

    def begin(self, steps: int) -> None: ...

    def advance(self, steps: int, line: str) -> None: ...

    def note(self, line: str) -> None: ...


def train(job: Job, members: Sequence[Planned], folder: Path, report: Report, caught: list[int], again: str) -> None:
    """Train some members of a group to their end, from wherever their stacked state stands.

    Where chunks of steps end depends on the clock, but nothing else does. Raises `Stopped` after a signal.
    """
    kept = stacked_at(folder, members)
    if not (kept / "members.json").exists() or not all(is_run(member.path) for member in members):
        forget(kept)  # what a kill left of its removal; a member whose directory is gone begins anew, and so do its neighbours
    for member in members:
        if not is_run(member.path):
            furnish(*member)
    runs = [Seq2seqRun(member.path) for member in members]
    for run, member in zip(runs, members, strict=True):
        run.dataset = member.dataset
    if changes := [f"{run.path}: {change}" for run in runs for change in run.changes()]:
        report.note(f"made elsewhere ({changes[0]}): the result need not be the same to the bit")
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(alone(run.path))
        write(kept / "members.json", json.dumps([member.path.name for member in members]))
        fleet = Fleet(job.group, job.program, members, runs, kept, report)
        fleet.train(caught, again)
        fleet.finish()
    forget(kept)


class Fleet:
    """Some members of a group while they train: their state on the devices, their directories on the disk."""

    def __init__(
        self, group: Group, program: Program, members: Sequence[Planned], runs: list[Seq2seqRun], kept: Path, report: Report
    ):
        self.group, self.program, self.members, self.runs = group, program, members, runs
        self.kept, self.report = kept, report
        self.each, shared = grid.each_on(program.mesh), grid.shared_on(program.mesh)
        self.slots = jax.device_put(group.slots(members, program.count), self.each)
        self.data = jax.device_put(group.train_data, shared)
        self.blocks = jax.device_put(group.blocks(group.held_out_rows), shared)
        self.step, self.state, self.totals = self.restored()

    def restored(self) -> tuple[int, TrainState, Totals]:
        """The newest good stacked state, or a new start; the members' logs are cut back to its step."""
        step = 0
        if checkpoint.numbered(self.kept, "state"):
            like = jax.tree.map(lambda leaf: np.empty((len(self.runs), *leaf.shape[1:]), leaf.dtype), self.program.like)
            try:
                step, loaded, skipped = checkpoint.restore_state(self.kept, like)
            except SeqgenError as error:  # to start over would cost what was kept
                raise SeqgenError(f"{error}; without {self.kept} its {len(self.runs)} members begin anew") from error
            tree = grid.padded(loaded, self.program.count)
            for line in skipped:
                self.report.note(f"skipped a checkpoint: {line}")
            self.report.note(f"{self.runs[0].path.name} and {len(self.runs) - 1} others go on at step {step}")
        else:
            tree = self.program.create((), self.slots), fresh_totals(self.program.count)
        for run in self.runs:
            log.cut(run.path, step)
        return step, *jax.device_put(tree, self.each)

    def train(self, caught: list[int], again: str) -> None:
        """All steps that are left."""
        group, pace, saved = self.group, Pace(self.group.config.training.batch), time.monotonic()
        items = self.plan()
        while self.step < group.steps:
            first = self.step % group.source.steps
            last = min(first + pace.steps, group.source.steps, group.steps - (self.step - first))
            shared = self.data, np.array([first, last], np.int32)
            self.state, self.totals = self.program.chunk(shared, self.slots, items, self.state, self.totals)
            jax.block_until_ready(self.totals)
            self.step += last - first
            pace.lap(last - first)
            self.report.advance((last - first) * len(self.runs), self.status())
            ended = last == group.source.steps or self.step == group.steps
            if ended:
                self.finish_epoch(pace.rate)
            if ended or caught or time.monotonic() - saved > SAVE_SECONDS:
                checkpoint.save_state(self.kept, self.step, self.host((self.state, self.totals)))
                saved = time.monotonic()
            if caught:
                raise Stopped(caught[0], again, f" at step {self.step}")
            if ended and self.step < group.steps:
                items = self.plan()
            pace.start()

    def plan(self) -> Tree:
        """Which examples each member sees in this epoch."""
        return self.program.plan(np.int32(self.step), self.slots)

    def host(self, tree: Tree) -> Tree:
        """What is on the devices as NumPy arrays, without what fills up the last one."""
        return jax.tree.map(lambda leaf: leaf[: len(self.runs)], jax.device_get(tree))

    def status(self) -> str:
        """Who trains, and how far."""
        totals = self.host(self.totals)
        losses = (totals.sums["loss"] / np.maximum(totals.sums["tokens"], 1))[totals.broken == NEVER]
        loss = losses.mean() if losses.size else float("nan")
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{self.runs[0].path.name}{more} · epoch {self.step / self.group.source.steps:.1f} · loss {loss:.4f}"

    def evaluate(
        self, blocks: Batch, batches: dict[Data, Batch]
    ) -> tuple[list[tuple[evaluation.Scores, np.ndarray]], np.ndarray]:
        """Each member's scores and tokens, and whether its weights are finite."""
        made, sums, finite = self.host(self.program.evaluate(blocks, self.slots, self.state.params))
        scores = []
        for i, (run, member) in enumerate(zip(self.runs, self.members, strict=True)):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], (made, sums))
            scores.append(evaluation.score(*mine, batches[member.config.data], run.vocabulary, run.layout))
        return scores, finite

    def finish_epoch(self, rate: float) -> None:
        """Evaluate the held-out split; each member's log gets its lines, one that broke is marked."""
        split, totals = self.group.held_out, self.host(self.totals)
        scores, finite = self.evaluate(self.blocks, self.group.held_out_rows)
        stopped = fresh_totals(self.program.count).broken
        for i, (run, (score, _)) in enumerate(zip(self.runs, scores, strict=True)):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], totals)
            at = int(mine.broken) if finite[i] and np.isfinite(score.loss) else min(int(mine.broken), self.step)
            stopped[i] = at
            if at == NEVER:
                log.append(run.path, training_event(self.step, self.group.source.steps, mine, rate, "examples"))
                log.append(run.path, scored(split, self.step, self.step / self.group.source.steps, score))
            elif log.broken(run.path) is None:
                break_off(run.path, at, self.report.note)
        self.totals = jax.device_put(fresh_totals(self.program.count)._replace(broken=stopped), self.each)

    def finish(self) -> None:
        """Each member's weights, its state (so that `resume` knows its end), the test set's samples and score."""
        group, (state, totals) = self.group, self.host((self.state, self.totals))
        batches = group.batches("test")
        blocks = jax.device_put(group.blocks(batches), grid.shared_on(self.program.mesh))
        scores, _ = self.evaluate(blocks, batches)
        for i, (run, (score, tokens)) in enumerate(zip(self.runs, scores, strict=True)):
            if log.broken(run.path) is not None:
                continue
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], (state, totals))
            checkpoint.save_params(run.path, self.step, mine[0].params)
            checkpoint.save_state(run.path, self.step, mine)
            write(run.path / "samples" / "test.txt", samples(run, "test", tokens))
            if tested(run) is None:
                event = scored("test", self.step, self.step / group.source.steps, score)
                log.append(run.path, {**event, "final": True, "selected_step": self.step})


def sweep(
    planned: Sequence[Planned], folder: Path, layout: LayoutName, at_once: int | None, report: Report, again: str
) -> None:
    """Train all that is not finished; what was interrupted goes on first. `again` is the command that goes on.

    Raises `UsageError` where a run of a member's name was made with other settings, `SeqgenError` where another process is
    at work or a group does not fit in memory, `Stopped` after a signal.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqgenError(f"cannot make {folder}: {error.strerror}") from error
    with alone(folder), signals() as caught:
        waiting = still_to_do(planned, folder, layout, at_once)
        record(folder, planned, again)
        for line in summary(waiting, len(planned)):
            report.note(line)
        report.begin(sum(steps_left(job, chunk, folder) for job in waiting for chunk in job.chunks))
        for job in waiting:
            for members in job.chunks:
                if caught:
                    raise Stopped(caught[0], again)
                train(job, members, folder, report, caught, again)
        shutil.rmtree(folder / ".groups", ignore_errors=True)
