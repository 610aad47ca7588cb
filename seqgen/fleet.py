"""Members of a sweep while they train together; each has its own run directory.

<sweep>/<variant>-<seed>/                     a run, as if trained alone
<sweep>/.groups/<digest>/members.json         who trains together
<sweep>/.groups/<digest>/checkpoints/state/   their stacked state, until all have their weights
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

from seqgen import evaluation
from seqgen.config import flat
from seqgen.errors import SeqgenError, UsageError
from seqgen.files import alone, write
from seqgen.fit import samples, scored, tested
from seqgen.groups import Group, Planned, Program, compile_fitting, fresh_totals, grouped
from seqgen.runs import Run, furnish, is_run
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


class Job(NamedTuple):
    """A group with its program, and its members in the chunks that train together."""

    group: Group
    program: Program
    chunks: list[list[Planned]]


def jobs(planned: Sequence[Planned], folder: Path, layout: LayoutName, at_once: int | None) -> list[Job]:
    """What is still to be done, compiled, with what was begun first. Raises what `made` and `compile_fitting` raise.

    Nothing is written. A chunk that was begun goes on as it was, however many train at a time now.
    """
    done = {member.path for member in planned if made(member) and finished(member)}
    begun = interrupted(folder, planned)
    held = {member.path for chunk in begun for member in chunk}
    found = [Job(group := Group(chunk), compile_fitting(group, layout, len(chunk)), [chunk]) for chunk in begun]
    for group in grouped([member for member in planned if member.path not in held | done]):
        program = compile_fitting(group, layout, at_once)
        rows = range(0, len(group.members), program.count)
        found.append(Job(group, program, [group.members[i : i + program.count] for i in rows]))
    return found


BOOKS = ", as the book does: its split has no validation rows"


def summary(jobs: Sequence[Job], members: int) -> list[str]:
    """What would be trained, group by group."""
    waiting = sum(len(job.group.members) for job in jobs)
    steps = sum(job.group.steps * len(job.group.members) for job in jobs)
    lines = [f"{waiting} members to train of {members}: {steps:,} model-steps, {len(jobs)} groups, {len(jobs)} compilations"]
    for number, (group, program, _) in enumerate(jobs, start=1):
        names = list(dict.fromkeys(member.path.name.rpartition("-")[0] for member in group.members))
        at_once = f"{min(program.count, len(group.members))} at a time on {program.mesh.size} devices"
        lines += [
            f"group {number}: {', '.join(names)}",
            f"  {len(group.members)} members of {group.parameters:,} parameters, {group.steps:,} steps each",
            f"  {at_once}; {program.bytes / 1e6:,.0f} MB predicted, {grid.available_bytes() / 1e6:,.0f} MB free",
            f"  scored at every epoch on the {group.held_out} split" + BOOKS * (group.held_out == "test"),
        ]
    return lines


def made(member: Planned) -> bool:
    """Whether a member has its directory. Raises `UsageError` where what stands there was made with other settings."""
    if not is_run(member.path):
        return False
    then, now = flat(Run(member.path).config), flat(member.config)
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field):
            was = f"{field} {then.get(field)!r}, now {now.get(field)!r}"
            raise UsageError(f"{member.path} was made with {was}; another --name would do")
    return True


def finished(member: Planned) -> bool:
    """Whether a member has its last weights and its test, or has broken off for good."""
    run, steps = Run(member.path), Group([member]).steps
    return log.broken(run.path) is not None or (
        checkpoint.steps(run.path, "params")[-1:] == [steps] and tested(run) is not None
    )


def gathering(folder: Path, members: Sequence[Planned]) -> Path:
    """Where the stacked state of some members is kept."""
    names = json.dumps([member.path.name for member in members])
    return folder / ".groups" / hashlib.sha256(names.encode()).hexdigest()[:12]


def interrupted(folder: Path, planned: Sequence[Planned]) -> list[list[Planned]]:
    """The chunks of members whose stacked state was saved, those with members that are not asked for now among them."""
    known, found = {member.path: member for member in planned}, []
    for kept in sorted(folder.glob(".groups/*")):
        paths = [folder / name for name in members_of(kept)]
        if checkpoint.steps(kept, "state") and paths and all(is_run(path) for path in paths):
            found.append([known.get(path) or reopened(path) for path in paths])
    return found


def members_of(kept: Path) -> list[str]:
    """The names in members.json, which are folders' own names; none where the file is damaged."""
    try:
        names = json.loads((kept / "members.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    whole = isinstance(names, list) and all(isinstance(name, str) and Path(name).name == name for name in names)
    return names if whole else []


def reopened(path: Path) -> Planned:
    """A member as its directory tells."""
    run = Run(path)
    return Planned(path, run.config, run.dataset)


def train(job: Job, members: Sequence[Planned], folder: Path, report: Report, caught: list[int], again: str) -> None:
    """Train some members of a group to their end, from wherever their stacked state stands.

    Where chunks of steps end depends on the clock, but nothing else does. Raises `Stopped` after a signal.
    """
    kept = gathering(folder, members)
    if not all(is_run(member.path) for member in members):
        forget(kept)  # a member whose directory is gone begins anew, and so do those that trained with it
    runs = [Run(member.path) if is_run(member.path) else furnish(*member) for member in members]
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


def forget(kept: Path) -> None:
    """Drop a stacked state; its members first, so that what a kill leaves of it belongs to nobody."""
    (kept / "members.json").unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)


class Fleet:
    """Some members of a group while they train: their state on the devices, their directories on the disk."""

    def __init__(self, group: Group, program: Program, members: Sequence[Planned], runs: list[Run], kept: Path, report: Report):
        self.group, self.program, self.runs, self.kept, self.report = group, program, runs, kept, report
        self.each, shared = grid.each_on(program.mesh), grid.shared_on(program.mesh)
        self.lanes = jax.device_put(group.lanes(members, program.count), self.each)
        self.which = [list(group.datasets).index(member.config.data) for member in members]
        self.data = jax.device_put(group.train_data, shared)
        self.blocks = jax.device_put(group.blocks(group.held_out_rows), shared)
        self.step, self.state, self.totals = self.restored()

    def restored(self) -> tuple[int, TrainState, Totals]:
        """The newest good stacked state, or a new start; the members' logs are cut back to its step."""
        step, tree = 0, None
        if checkpoint.numbered(self.kept, "state"):
            like = jax.tree.map(lambda leaf: np.empty((len(self.runs), *leaf.shape[1:]), leaf.dtype), self.program.like)
            try:
                step, loaded, skipped = checkpoint.restore_state(self.kept, like)
                tree = grid.padded(loaded, self.program.count)
            except SeqgenError as error:
                skipped = [f"all, and these members begin anew: {error}"]
            for line in skipped:
                self.report.note(f"skipped a checkpoint: {line}")
        if tree is None:
            tree = self.program.create((), self.lanes), fresh_totals(self.program.count)
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
            self.state, self.totals = self.program.chunk(shared, self.lanes, items, self.state, self.totals)
            jax.block_until_ready(self.totals)
            self.step += last - first
            pace.lap(last - first)
            self.report.advance((last - first) * len(self.runs), self.told())
            ended = last == group.source.steps or self.step == group.steps
            if ended:
                self.finish_epoch(pace.rate)
            if ended or caught or time.monotonic() - saved > SAVE_SECONDS:
                checkpoint.save_state(self.kept, self.step, self.host((self.state, self.totals)))
                saved = time.monotonic()
            if caught:
                raise Stopped(caught[0], again, f" at step {self.step}")
            if ended:
                items = self.plan()
            pace.start()

    def plan(self) -> Tree:
        """Which examples each member sees in this epoch."""
        return self.program.plan(np.int32(self.step), self.lanes)

    def host(self, tree: Tree) -> Tree:
        """What is on the devices as NumPy arrays, without what fills up the last one."""
        return jax.tree.map(lambda leaf: leaf[: len(self.runs)], jax.device_get(tree))

    def told(self) -> str:
        """Who trains, and how far."""
        totals = self.host(self.totals)
        losses = (totals.sums["loss"] / np.maximum(totals.sums["tokens"], 1))[totals.broken == NEVER]
        loss = losses.mean() if losses.size else float("nan")
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{self.runs[0].path.name}{more} · epoch {self.step / self.group.source.steps:.1f} · loss {loss:.4f}"

    def evaluate(self, blocks: Batch, batches: list[Batch]) -> tuple[list[tuple[evaluation.Scores, np.ndarray]], np.ndarray]:
        """Each member's scores and tokens, and whether its weights are finite."""
        made, sums, finite = self.host(self.program.evaluate(blocks, self.lanes, self.state.params))
        scores = []
        for i, (run, which) in enumerate(zip(self.runs, self.which, strict=True)):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], (made, sums))
            scores.append(evaluation.score(*mine, batches[which], run.vocabulary, run.layout))
        return scores, finite

    def finish_epoch(self, rate: float) -> None:
        """Evaluate the held-out split; each member's log gets its lines, one that broke is marked."""
        split, totals = self.group.held_out, self.host(self.totals)
        scores, finite = self.evaluate(self.blocks, list(self.group.held_out_rows.values()))
        stopped = fresh_totals(self.program.count).broken
        for i, (run, (score, _)) in enumerate(zip(self.runs, scores, strict=True)):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], totals)
            at = int(mine.broken) if finite[i] and np.isfinite(score.loss) else min(int(mine.broken), self.step)
            stopped[i] = at
            if at == NEVER:
                log.append(run.path, training_event(self.step, self.group.source.steps, mine, rate))
                log.append(run.path, scored(split, self.step, self.step / self.group.source.steps, score))
            elif log.broken(run.path) is None:
                log.append(run.path, {"event": "broken", "step": at})
                self.report.note(f"{run.path}: not finite at step {at}; the others go on")
        self.totals = jax.device_put(fresh_totals(self.program.count)._replace(broken=stopped), self.each)

    def finish(self) -> None:
        """Each member's weights, its state (so that `resume` knows its end), the test set's samples and score."""
        group, (state, totals) = self.group, self.host((self.state, self.totals))
        batches = group.batches("test")
        scores, _ = self.evaluate(
            jax.device_put(group.blocks(batches), grid.shared_on(self.program.mesh)), list(batches.values())
        )
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
        waiting = jobs(planned, folder, layout, at_once)
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


def record(folder: Path, planned: Sequence[Planned], command: str) -> None:
    """sweep.json: which members a sweep has, over all commands that asked for some, and the last one that added any."""
    known = recorded(folder)
    names = list(dict.fromkeys([*known["members"], *(member.path.name for member in planned)]))
    if names != known["members"]:
        write(folder / "sweep.json", json.dumps({"command": command, "members": names}, indent=1) + "\n")


def recorded(folder: Path) -> dict[str, Any]:
    """What sweep.json says; nothing where it is missing or damaged."""
    try:
        content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        return {"command": str(content["command"]), "members": [str(name) for name in content["members"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"command": "", "members": []}


def steps_left(job: Job, members: Sequence[Planned], folder: Path) -> int:
    """Model-steps that some members still need."""
    done = checkpoint.steps(gathering(folder, members), "state")[-1:]
    return (job.group.steps - sum(done)) * len(members)
