"""A training run as functions, and many of its steps as one compiled loop, for one member."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from seqgen.training.batches import Batches
from seqgen.training.objective import Loss, value_and_gradients
from seqgen.training.optimizer import Optimizer
from seqgen.training.state import TrainState, moving_average, streams
from seqgen.types import Carry, DropoutState, Hyper, Member, Params, Tree

NEVER = jnp.iinfo(jnp.int32).max

SUMS = ("loss", "tokens", "gradient_norm")


class Program(NamedTuple):
    """All that trains a run, alone or as a member of a sweep; it knows functions, not models.

    init(member) -> TrainState
    carry(params) -> Carry: what an epoch begins with
    loss, optimizer, batches: see objective.py, optimizer.py, batches.py
    adjust(hyper, read) -> Hyper: the hyper-parameters of the next epoch; read() gives the
        evaluations so far
    evaluate(params, blocks) -> Tree: scores members of a compiled program, inside jit; None where
        members of a sweep train one after another
    start(params) -> params, line: other weights in the place of the initial ones, and what they
        are; None: the initial ones stay
    """

    init: Callable[[Member], TrainState]
    carry: Callable[[Params], Carry]
    loss: Loss
    optimizer: Optimizer
    batches: Batches
    adjust: Callable[[Hyper, Callable[[], list[dict[str, Any]]]], Hyper]
    evaluate: Callable[[Params, Tree], Tree] | None
    steps: int
    """How many there are in all."""
    accumulate: int
    """Parts in which a batch's gradient is taken."""
    size: int
    """Examples or tokens per step, whichever the `unit` is."""
    unit: Literal["examples", "tokens"]
    start: Callable[[Params], tuple[Params, str]] | None = None


class Totals(NamedTuple):
    """Sums since the last line of the log, carried across calls: where calls end changes no bit."""

    steps: Int[Array, ""]
    sums: dict[str, Array]
    not_finite: Int[Array, ""]
    """The first step whose loss or gradient was not finite; `NEVER` while there is none."""


def zero_totals() -> Totals:
    """Nothing summed yet."""
    return Totals(jnp.int32(0), {name: jnp.float32(0) for name in SUMS}, jnp.int32(NEVER))


def train_steps(
    program: Program,
    data: Tree,
    member: Member,
    state: TrainState,
    totals: Totals,
    items: Tree,
    span: Int[Array, "2"],
) -> tuple[TrainState, Totals]:
    """The training steps `items[first:last]` with `span` = (first, last).

    A `fori_loop` whose bounds are traced, since a `lax.scan` would compile once for every length: a
    loop can fit its spans to the clock, and an epoch need not divide. Where spans end changes no
    bit.

    Args:
        program: what trains.
        data: what stays on the device.
        member: the key and the hyper-parameters.
        state: before the steps.
        totals: the sums so far.
        items: what `program.batches.read` makes batches of.
        span: which of them.

    """
    keys, transform = streams(member.key), program.optimizer(member.hyper)
    gradients = value_and_gradients(program.loss, program.accumulate)

    def body(i: Int[Array, ""], loop: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
        state, totals = loop
        batch = program.batches.read(data, jax.tree.map(lambda leaf: leaf[i], items))
        rate = member.hyper.dropout
        key = jax.random.fold_in(keys.train, state.step)
        dropout_state = None if rate is None else DropoutState(key, rate)
        (value, (carry, metrics)), grads = gradients(
            state.params, state.carry, batch, dropout_state
        )
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        norm = optax.tree.norm(grads)
        metrics = {**metrics, "gradient_norm": norm}
        sums = {name: totals.sums[name] + value for name, value in metrics.items()}
        finite = jnp.isfinite(value) & jnp.isfinite(norm)
        first = jnp.where(finite, totals.not_finite, jnp.minimum(totals.not_finite, state.step))
        params = optax.apply_updates(state.params, updates)
        average = moving_average(member.hyper.ema, state, params)
        state = TrainState(state.step + 1, params, opt_state, carry, average)
        return state, Totals(totals.steps + 1, sums, first)

    return jax.lax.fori_loop(span[0], span[1], body, (state, totals))
