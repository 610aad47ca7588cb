"""Runs of one program, trained together: planned, grouped, compiled, trained; each has its own run directory.

<sweep>/<variant>-<seed>/                     a run, as if trained alone
<sweep>/.groups/<digest>/members.json         who trains together
<sweep>/.groups/<digest>/checkpoints/state/   their stacked state, until all have their weights
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seqgen import evaluation
from seqgen.config import RunConfig, flat
from seqgen.errors import SeqgenError, UsageError
from seqgen.files import alone, write
from seqgen.fit import samples, scored, tested
from seqgen.models import model_of
from seqgen.runs import Run, Split, abstract_params, complete, furnish, is_run
from seqgen.tasks.dataset import Data, Dataset, load
from seqgen.tasks.task import encode
from seqgen.training import checkpoint, grid, log
from seqgen.training.chunk import NEVER, SUMS, Totals, run_chunk, zero_totals
from seqgen.training.grid import Lane, LayoutName
from seqgen.training.loop import SAVE_SECONDS, Pace, Stopped, signals, training_event
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import TrainState, adam, create
from seqgen.types import Batch, Member, Params, Tree


class Planned(NamedTuple):
    """A run that is to be."""

    path: Path
    config: RunConfig
    dataset: Dataset


class Report(Protocol):
    """What the terminal is told; a model-step is one training step of one member."""

    def begin(self, model_steps: int) -> None: ...

    def advance(self, model_steps: int, line: str) -> None: ...

    def note(self, line: str) -> None: ...


class Group:
    """Members that share an architecture and all shapes, and so one compiled program."""

    def __init__(self, members: list[Planned]) -> None:
        self.members = members
        self.config, self.dataset = members[0].config, members[0].dataset
        self.datasets = {member.config.data: member.dataset for member in members}
        splits = self.dataset.splits
        self.held_out: Split = "validation" if splits.validation else "test"
        self.source = Epochs(len(splits.train), self.config.training.batch)
        self.steps = self.config.training.steps or self.config.training.epochs * self.source.steps

    @property
    def parameters(self) -> int:
        """Of one member."""
        return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(self.config)))

    def batches(self, split: Split) -> dict[Data, Batch]:
        """A split of each distinct data set."""
        return {name: encode(getattr(d.splits, split), d.vocabulary, d.layout) for name, d in self.datasets.items()}

    @cached_property
    def train_data(self) -> Batch:
        """The training rows of the data sets, one below the other."""
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *self.batches("train").values())

    def blocks(self, batches: dict[Data, Batch]) -> Batch:
        """A split of all data sets as [X, count, block, ...]: validation and test share a program."""
        splits = self.dataset.splits
        rows, width = max(len(splits.validation), len(splits.test)), self.dataset.layout.question_width
        blocks = [evaluation.blocks(batch, *evaluation.blocking(rows, width)) for batch in batches.values()]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)

    def lanes(self, members: Sequence[Planned], count: int) -> Lane:
        """What tells `members` apart, filled up to `count`."""
        order = list(self.datasets)
        hyper = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(member.config.hyper.traced() for member in members))
        keys = jax.vmap(jax.random.key)(jnp.array([member.config.seed for member in members], jnp.uint32))
        data = jnp.array([order.index(member.config.data) for member in members])
        lanes = grid.padded(Lane(Member(keys, hyper), data, jnp.ones(len(members), bool)), count)
        return lanes._replace(alive=jnp.arange(count) < len(members))


def plan(variants: dict[str, RunConfig], seeds: Sequence[int], folder: Path) -> list[Planned]:
    """Every variant with every seed. Raises `UsageError` for a configuration that cannot be trained in a sweep."""
    datasets: dict[Data, Dataset] = {}

    def load_once(data: Data) -> Dataset:
        if data not in datasets:
            datasets[data] = load(data)
        return datasets[data]

    planned = []
    for name, config in variants.items():
        if config.training.select != "last":
            raise UsageError(f"{name}: a sweep keeps the last epoch's weights alone, so select must be 'last'")
        config, dataset = complete(config, load_once)
        planned += [Planned(folder / f"{name}-{seed}", replace(config, seed=seed), dataset) for seed in seeds]
    return planned


def grouped(planned: Sequence[Planned]) -> list[Group]:
    """By everything that changes the program: architecture, schedule, shapes; not by seed, rate, clip, dropout or data."""
    groups: dict[Any, list[Planned]] = {}
    for member in planned:
        config, dataset = member.config, member.dataset
        shapes = replace(dataset.layout, reverse=False), *map(len, dataset.splits)
        key = config.model, config.training, config.hyper.dropout is None, shapes
        groups.setdefault(key, []).append(member)
    return [Group(members) for members in groups.values()]


class Program(NamedTuple):
    """A group's compiled functions, for `count` members at a time; `bytes` is what XLA says that training takes."""

    create: jax.stages.Compiled
    plan: jax.stages.Compiled
    chunk: jax.stages.Compiled
    evaluate: jax.stages.Compiled
    mesh: Mesh
    count: int
    bytes: int


def compile_for(group: Group, members: int, layout: LayoutName) -> Program:
    """Compile a group's functions for so many members at a time, once for any number of steps."""
    config, source, model = group.config, group.source, model_of(group.config.model)
    cfg, mesh = config.model, grid.mesh_for(members)
    count = -(-members // mesh.size) * mesh.size
    optimizer = adam(config.training.schedule, config.training.warmup, group.steps)
    chunk = grid.while_finite(partial(run_chunk, teacher_forced(model, cfg), optimizer, source))
    end = evaluation.end_symbol(cfg, group.dataset.layout)

    def start(shared: tuple[()], lane: Lane) -> TrainState:
        return create(partial(model.init, cfg), optimizer, lane.member)

    def plan(step: Any, lane: Lane) -> Tree:
        return source.plan(lane.member, step - step % source.steps, source.steps) + lane.data * source.examples

    def evaluate(batches: Batch, lane: Lane, params: Params) -> tuple[Any, Any, Any]:
        batch = jax.tree.map(lambda leaf: leaf[lane.data], batches)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
        return *evaluation.decode_blocks(model, cfg, end, params, batch), finite

    def compiled(function: Callable, *like: Tree, donate: tuple[int, ...] = ()) -> tuple[jax.stages.Compiled, Tree]:
        shardings = grid.shared_on(mesh), *[grid.each_on(mesh)] * (len(like) - 1)
        lifted = grid.over_members(function, layout=layout, mesh=mesh)
        lowered = jax.jit(lifted, in_shardings=shardings, out_shardings=grid.each_on(mesh), donate_argnums=donate).lower(*like)
        return lowered.compile(), lowered.out_info

    step, span = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.int32)
    lanes = jax.eval_shape(lambda: group.lanes(group.members[:1], count))
    starting, state = compiled(start, (), lanes)
    planning, items = compiled(plan, step, lanes)
    training, _ = compiled(chunk, (group.train_data, span), lanes, items, state, fresh_totals(count), donate=(3, 4))
    evaluating, _ = compiled(evaluate, group.blocks(group.batches(group.held_out)), lanes, state.params)
    return Program(starting, planning, training, evaluating, mesh, count, grid.predicted_bytes(training, mesh))


def fresh_totals(count: int) -> Totals:
    """Nothing summed yet, for each member."""
    return jax.tree.map(lambda leaf: np.broadcast_to(np.asarray(leaf), count), zero_totals(SUMS))


def compile_fitting(group: Group, layout: LayoutName, at_once: int | None, at_least: int = 1) -> Program:
    """Compile for as many members at a time as fit, or for `at_once`. Raises `SeqgenError` where that does not fit."""
    members, room = len(group.members), grid.available_bytes()
    count = max(at_least, min(at_once or members, members))
    while (program := compile_for(group, count, layout)).bytes > room:
        if at_once or count <= at_least:
            need = f"{count} at a time take {program.bytes / 1e9:,.2f} GB, and {room / 1e9:,.2f} GB are free"
            raise SeqgenError(f"{group.members[0].path} and the {members - 1} others of its group do not fit: {need}")
        count = max(at_least, -(-count // 2))
    return program


class Job(NamedTuple):
    """A group with its program, and its members in the chunks that train together, begun ones first."""

    group: Group
    program: Program
    chunks: list[list[Planned]]


def jobs(planned: Sequence[Planned], folder: Path, layout: LayoutName, at_once: int | None) -> list[Job]:
    """What is still to be done, compiled. Raises what `made` and `compile_fitting` raise; nothing is written."""
    begun = interrupted(folder, planned)
    known = {member.path: member for member in [*planned, *(member for chunk in begun for member in chunk)]}
    held = {member.path for chunk in begun for member in chunk}
    waiting = [member for path, member in known.items() if path in held or not (made(member) and finished(member))]
    found = []
    for group in grouped(waiting):
        paths = {member.path for member in group.members}
        chunks = [chunk for chunk in begun if chunk[0].path in paths]
        program = compile_fitting(group, layout, at_once, max(map(len, chunks), default=1))
        rest = [member for member in group.members if member.path not in held]
        chunks += [rest[i : i + program.count] for i in range(0, len(rest), program.count)]
        found.append(Job(group, program, chunks))
    return found


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
    run = Run(member.path)
    return broken(run) or bool(checkpoint.steps(run.path, "params") and tested(run))


def broken(run: Run) -> bool:
    """Whether a member's loss became non-finite."""
    return any(event["event"] == "broken" for event in log.read(run.path))


def gathering(folder: Path, members: Sequence[Planned]) -> Path:
    """Where the stacked state of some members is kept."""
    names = " ".join(member.path.name for member in members)
    return folder / ".groups" / hashlib.sha256(names.encode()).hexdigest()[:12]


def interrupted(folder: Path, planned: Sequence[Planned]) -> list[list[Planned]]:
    """The chunks of members whose stacked state was saved, those with members that are not asked for now among them."""
    known, found = {member.path.name: member for member in planned}, []
    for path in sorted(folder.glob(".groups/*/members.json")):
        names = json.loads(path.read_text())
        if checkpoint.steps(path.parent, "state"):
            found.append([known.get(name) or reopened(folder / name) for name in names])
    return found


def reopened(path: Path) -> Planned:
    """A member as its directory tells."""
    run = Run(path)
    return Planned(path, run.config, run.dataset)


def train(job: Job, members: Sequence[Planned], folder: Path, report: Report, caught: list[int], again: str) -> None:
    """Train some members of a group to their end, from wherever their stacked state stands.

    Where chunks of steps end depends on the clock, but nothing else does. Raises `Stopped` after a signal.
    """
    group, program = job.group, job.program
    runs = [Run(member.path) if is_run(member.path) else furnish(*member) for member in members]
    kept = gathering(folder, members)
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(alone(run.path))
        write(kept / "members.json", json.dumps([member.path.name for member in members]))
        training = Grid(group, program, members, runs, kept, report)
        training.train(caught, again)
        training.finish()
    shutil.rmtree(kept)


class Grid:
    """Some members of a group while they train: their state on the devices, their directories on the disk."""

    def __init__(self, group: Group, program: Program, members: Sequence[Planned], runs: list[Run], kept: Path, report: Report):
        self.group, self.program, self.runs, self.kept, self.report = group, program, runs, kept, report
        self.each, shared = grid.each_on(program.mesh), grid.shared_on(program.mesh)
        self.lanes = jax.device_put(group.lanes(members, program.count), self.each)
        self.which = [list(group.datasets).index(member.config.data) for member in members]
        self.data = jax.device_put(group.train_data, shared)
        self.held_out = list(group.batches(group.held_out).values())
        self.blocks = jax.device_put(group.blocks(group.batches(group.held_out)), shared)
        self.step, self.state, self.totals = self.restored()

    def restored(self) -> tuple[int, TrainState, Totals]:
        """The newest good stacked state, or a new start; the members' logs are cut back to its step."""
        fresh = self.program.create((), self.lanes), fresh_totals(self.program.count)
        step, tree = 0, fresh
        if checkpoint.numbered(self.kept, "state"):
            like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((len(self.runs), *leaf.shape[1:]), leaf.dtype), fresh)
            step, loaded, skipped = checkpoint.restore_state(self.kept, like)
            for line in skipped:
                self.report.note(f"skipped a checkpoint: {line}")
            tree = grid.padded(loaded, self.program.count)
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
        sums = self.host(self.totals).sums
        loss = np.mean(sums["loss"] / np.maximum(sums["tokens"], 1))
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
        scores, finite = self.evaluate(self.blocks, self.held_out)
        stopped = np.full(self.program.count, NEVER)
        for i, (run, (score, _)) in enumerate(zip(self.runs, scores, strict=True)):
            mine = jax.tree.map(lambda leaf, i=i: leaf[i], totals)
            at = int(mine.broken) if finite[i] and np.isfinite(score.loss) else min(int(mine.broken), self.step)
            stopped[i] = at
            if at == NEVER:
                log.append(run.path, training_event(self.step, self.group.source.steps, mine, rate))
                log.append(run.path, scored(split, self.step, self.step / self.group.source.steps, score))
            elif not broken(run):
                log.append(run.path, {"event": "broken", "step": at})
                self.report.note(f"{run.path}: not finite at step {at}; the others go on")
        totals = fresh_totals(self.program.count)._replace(broken=stopped.astype(np.int32))
        self.totals = jax.device_put(totals, self.each)

    def finish(self) -> None:
        """Each member's weights, its state (so that `resume` knows its end), the test set's samples and score."""
        group, (state, totals) = self.group, self.host((self.state, self.totals))
        batches = group.batches("test")
        scores, _ = self.evaluate(
            jax.device_put(group.blocks(batches), grid.shared_on(self.program.mesh)), list(batches.values())
        )
        for i, (run, (score, tokens)) in enumerate(zip(self.runs, scores, strict=True)):
            if broken(run):
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
    write(
        folder / ".groups" / "README", "The stacked state of runs that train together; it goes when they have their weights.\n"
    )
    with alone(folder), signals() as caught:
        waiting = jobs(planned, folder, layout, at_once)
        steps = [job.group.steps * len(chunk) for job in waiting for chunk in job.chunks]
        report.begin(sum(steps))
        for job in waiting:
            for members in job.chunks:
                if caught:
                    raise Stopped(caught[0], again)
                train(job, members, folder, report, caught, again)
