"""Runs that are to be, grouped by the program that they share, and that program compiled for many of them at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seqgen import evaluation
from seqgen.config import RunConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.models import model_of, seq2seq
from seqgen.runs import check_path, complete
from seqgen.tasks.dataset import Data, Dataset, load
from seqgen.tasks.task import Split, encode
from seqgen.training import grid
from seqgen.training.chunk import SUMS, Totals, run_chunk, zero_totals
from seqgen.training.grid import LayoutName, Slot
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import TrainState, adam, create
from seqgen.types import Batch, Member, Params, Tree


class Planned(NamedTuple):
    """A run that is to be."""

    path: Path
    config: RunConfig
    dataset: Dataset


class Group:
    """Members that share an architecture and all shapes, and so one compiled program."""

    def __init__(self, members: list[Planned]) -> None:
        self.members = members
        self.config, self.dataset = members[0].config, members[0].dataset
        self.datasets = {member.config.data: member.dataset for member in members}
        self.held_out = self.dataset.splits.held_out
        self.source = Epochs(len(self.dataset.splits.train), self.config.training.batch)
        self.steps = self.config.training.length(self.source.steps)

    def batches(self, split: Split) -> dict[Data, Batch]:
        """A split of each distinct data set."""
        return {name: encode(getattr(d.splits, split), d.vocabulary, d.layout) for name, d in self.datasets.items()}

    @cached_property
    def train_data(self) -> Batch:
        """The training rows of the data sets, one below the other."""
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *self.batches("train").values())

    @cached_property
    def held_out_rows(self) -> dict[Data, Batch]:
        """What the members are scored on at every epoch."""
        return self.batches(self.held_out)

    def blocks(self, batches: dict[Data, Batch]) -> Batch:
        """A split of all data sets as [X, count, block, ...]: validation and test share a program."""
        splits = self.dataset.splits
        rows, width = max(len(splits.validation), len(splits.test)), self.dataset.layout.question_width
        blocks = [evaluation.blocks(batch, *evaluation.blocking(rows, width)) for batch in batches.values()]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)

    def slots(self, members: Sequence[Planned], count: int) -> Slot:
        """What tells `members` apart, filled up to `count`."""
        order = list(self.datasets)
        hyper = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(member.config.hyper.traced() for member in members))
        keys = jax.vmap(jax.random.key)(jnp.array([member.config.seed for member in members], jnp.uint32))
        data = jnp.array([order.index(member.config.data) for member in members])
        slots = grid.padded(Slot(Member(keys, hyper), data, jnp.ones(len(members), bool)), count)
        return slots._replace(alive=jnp.arange(count) < len(members))


def plan(variants: dict[str, RunConfig], seeds: Sequence[int], folder: Path) -> list[Planned]:
    """Every variant with every seed. Raises `UsageError` for a configuration that cannot be trained in a sweep."""
    planned, load_once = [], cache(load)
    pairs = {name for name, config in variants.items() if isinstance(config.model, seq2seq.Config)}
    for name, config in variants.items():
        if not name or Path(name).name != name:
            raise UsageError(f"variant {name!r} cannot be called so: its runs are folders of that name")
        check_path(folder / name)
        if name in pairs and config.training.select != "last":
            raise UsageError(f"{name}: a sweep keeps the last epoch's weights alone, so select must be 'last'")
        if name in pairs and config.training.devices > 1:
            raise UsageError(f"{name}: a sweep gives each member one device, so devices must be 1")
        config, dataset = complete(config, load_once if name in pairs else None)
        planned += [Planned(folder / f"{name}-{seed}", replace(config, seed=seed), dataset) for seed in seeds]
    return planned


def grouped(planned: Sequence[Planned]) -> list[Group]:
    """By everything that changes the program: architecture, schedule, shapes; not by seed, data or what is traced."""
    groups: dict[Any, list[Planned]] = {}
    for member in planned:
        config, dataset = member.config, member.dataset
        shapes = replace(dataset.layout, reverse=False), *map(len, dataset.splits)
        key = config.model, config.training, config.hyper.dropout is None, config.hyper.decay is None, shapes
        groups.setdefault(key, []).append(member)
    return [Group(members) for members in groups.values()]


class Program(NamedTuple):
    """A group's compiled functions, for `count` members at a time.

    `like` has the shapes of their state and totals, `bytes` is what XLA says that they take.
    """

    create: jax.stages.Compiled
    plan: jax.stages.Compiled
    chunk: jax.stages.Compiled
    evaluate: jax.stages.Compiled
    mesh: Mesh
    count: int
    like: Tree
    bytes: int


def compile_for(group: Group, members: int, layout: LayoutName) -> Program:
    """Compile a group's functions for so many members at a time, once for any number of steps."""
    config, source, model = group.config, group.source, model_of(group.config.model)
    cfg, mesh = config.model, grid.mesh_for(members)
    count = grid.filled(members, mesh)
    optimizer = adam(config.training.schedule, config.training.warmup, group.steps)
    chunk = grid.while_finite(partial(run_chunk, teacher_forced(model, cfg), optimizer, source))
    end = evaluation.end_symbol(cfg, group.dataset.layout)

    def start(shared: tuple[()], slot: Slot) -> TrainState:
        return create(partial(model.init, cfg), optimizer, slot.member)

    def order(step: Any, slot: Slot) -> Tree:
        return source.plan(slot.member, step - step % source.steps, source.steps) + slot.data * source.examples

    def evaluate(batches: Batch, slot: Slot, params: Params) -> tuple[Any, Any, Any]:
        batch = jax.tree.map(lambda leaf: leaf[slot.data], batches)
        finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()
        return *evaluation.decode_blocks(model, cfg, end, params, batch), finite

    def compiled(function: Callable, *like: Tree, donate: tuple[int, ...] = ()) -> tuple[jax.stages.Compiled, Tree]:
        shardings = grid.shared_on(mesh), *[grid.each_on(mesh)] * (len(like) - 1)
        lifted = grid.over_members(function, layout=layout, mesh=mesh)
        lowered = jax.jit(lifted, in_shardings=shardings, out_shardings=grid.each_on(mesh), donate_argnums=donate).lower(*like)
        return lowered.compile(), lowered.out_info

    step, span = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((2,), jnp.int32)
    slots = jax.eval_shape(lambda: group.slots(group.members[:1], count))
    totals = fresh_totals(count)
    starting, state = compiled(start, (), slots)
    planning, items = compiled(order, step, slots)
    training, _ = compiled(chunk, (group.train_data, span), slots, items, state, totals, donate=(3, 4))
    evaluating, _ = compiled(evaluate, group.blocks(group.held_out_rows), slots, state.params)
    needed = grid.predicted_bytes(training, evaluating, mesh)
    return Program(starting, planning, training, evaluating, mesh, count, (state, totals), needed)


def fresh_totals(count: int) -> Totals:
    """Nothing summed yet, for each member, on the host."""
    return jax.tree.map(lambda leaf: np.full(count, leaf), zero_totals(SUMS))


AT_ONCE = 500
"""Members at a time, at most: each keeps a file open, its lock."""


def compile_fitting(group: Group, layout: LayoutName, at_once: int | None) -> Program:
    """Compile for as many members at a time as fit, or for `at_once`. Raises `SeqgenError` where that does not fit."""
    members, room = len(group.members), grid.available_bytes()
    count = min(at_once or members, members, AT_ONCE)
    while (program := compile_for(group, count, layout)).bytes > room:
        if at_once or count == 1:
            need = f"{count} at a time take {program.bytes / 1e9:,.2f} GB, and {room / 1e9:,.2f} GB are free"
            raise SeqgenError(f"{group.members[0].path} and the {members - 1} others of its group do not fit: {need}")
        count = -(-count // 2)
    return program
