"""A program compiled for many members at a time, as many as fit in memory."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from seqgen.errors import SeqgenError
from seqgen.sweeps.plan import ProgramPlan
from seqgen.training import sharding
from seqgen.training.sharding import MemberAxis, Slot
from seqgen.training.state import TrainState
from seqgen.training.steps import Totals, train_steps, zero_totals
from seqgen.types import Params, Tree


class Compiled(NamedTuple):
    """A program's compiled functions, for `count` members at a time.

    `evaluate` is of an epoch's end, `test` of the training's. `like` has the shapes of their state
    and totals, `bytes` is what XLA says that they take.
    """

    create: jax.stages.Compiled
    plan: jax.stages.Compiled
    steps: Callable[..., tuple[TrainState, Totals]]
    evaluate: jax.stages.Compiled
    test: jax.stages.Compiled
    mesh: Mesh
    count: int
    like: Tree
    bytes: int


def compile_for(plan: ProgramPlan, members: int, axis: MemberAxis) -> Compiled:
    """Compile a program's functions for `members` members at a time, for any number of steps.

    Raises `ValueError` for a program that carries something from batch to batch: no epoch of a
    member would begin it again.
    """
    program, mesh = plan.program, sharding.mesh_for(members)
    count = sharding.filled(members, mesh)
    score = program.evaluate
    assert score is not None  # its family stacks members

    def create(shared: tuple[()], slot: Slot) -> TrainState:
        return program.init(slot.member)

    def order(epoch: Any, slot: Slot) -> Tree:
        """The member's own data set begins after those before it."""
        return program.batches.shifted(program.batches.plan(slot.member, epoch), slot.data)

    def evaluate(batches: Tree, slot: Slot, params: Params) -> tuple[Any, Any]:
        batch = jax.tree.map(lambda leaf: leaf[slot.data], batches)
        finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]
        return score(params, batch), jnp.stack(finite).all()

    def compiled(
        function: Callable, *like: Tree, donate: tuple[int, ...] = ()
    ) -> tuple[jax.stages.Compiled, Tree]:
        each = sharding.each_on(mesh)
        lowered = jax.jit(
            sharding.over_members(function, axis=axis, mesh=mesh),
            in_shardings=(sharding.shared_on(mesh), *[each] * (len(like) - 1)),
            out_shardings=each,
            donate_argnums=donate,
        ).lower(*like)
        return lowered.compile(), lowered.out_info

    epoch, span = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((), (2,)))
    slots = jax.eval_shape(lambda: plan.slots(plan.members[:1], count))
    totals = fresh_totals(count)
    steps = sharding.while_finite(partial(train_steps, program))
    creating, state = compiled(create, (), slots)
    if jax.tree.leaves(state.carry):
        raise ValueError("members whose batches share a carry cannot train together")
    planning, items = compiled(order, epoch, slots)
    given = plan.data, span
    training = {
        jax.tree.structure(page): compiled(steps, given, slots, page, state, totals, donate=(3, 4))[
            0
        ]
        for page in program.batches.pages(items)
    }

    def take(given: Tree, slots: Slot, page: Tree, *state: Tree) -> tuple[TrainState, Totals]:
        return training[jax.tree.structure(page)](given, slots, page, *state)

    evaluating, _ = compiled(evaluate, plan.epoch_blocks(), slots, state.weights)
    testing = evaluating  # of the same shapes
    if plan.config.training.evaluate_rows is not None:
        testing, _ = compiled(evaluate, plan.blocks(plan.test_split), slots, state.weights)
    both = product(training.values(), (evaluating, testing))
    needed = max(sharding.predicted_bytes(*each, mesh) for each in both)
    functions = creating, planning, take, evaluating, testing
    return Compiled(*functions, mesh, count, (state, totals), needed)


def fresh_totals(count: int) -> Totals:
    """Nothing summed yet, for each member, on the host."""
    return jax.tree.map(lambda leaf: np.full(count, leaf), zero_totals())


AT_ONCE = 500
"""Members at a time, at most: each keeps a file open, its lock."""


def compile_fitting(plan: ProgramPlan, axis: MemberAxis, at_once: int | None) -> Compiled:
    """Compile for as many members at a time as fit, or for `at_once`.

    Raises:
        SeqgenError: where that does not fit.

    """
    members, room = len(plan.members), sharding.available_bytes()
    count = min(at_once or members, members, AT_ONCE)
    while (compiled := compile_for(plan, count, axis)).bytes > room:
        if at_once or count == 1:
            raise SeqgenError(
                f"{plan.members[0].path} and the {members - 1} others of its program do not fit: "
                f"{count} at a time take {compiled.bytes / 1e9:,.2f} GB, "
                f"and {room / 1e9:,.2f} GB are free"
            )
        count = -(-count // 2)
    return compiled
