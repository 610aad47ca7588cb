"""Many training steps as one compiled loop, written for one member."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from seqgen.training.objective import value_and_gradients
from seqgen.training.state import TrainState, streams
from seqgen.types import Member, Noise, Tree

NEVER = jnp.iinfo(jnp.int32).max


class Totals(NamedTuple):
    """Sums since the last line in the log. They run on from chunk to chunk, so where chunks end changes no bit of them."""

    steps: Int[Array, ""]
    sums: dict[str, Array]
    broken: Int[Array, ""]
    """The first step whose loss or gradient was not finite; `NEVER` while there is none."""


def zero_totals(names: tuple[str, ...]) -> Totals:
    """Nothing summed yet."""
    return Totals(jnp.int32(0), {name: jnp.float32(0) for name in names}, jnp.int32(NEVER))


def run_chunk(
    loss: Callable,
    optimizer: Callable,
    source,
    data: Tree,
    member: Member,
    state: TrainState,
    totals: Totals,
    items: Tree,
    span: Int[Array, "2"],
    *,
    parts: int = 1,
) -> tuple[TrainState, Totals]:
    """The training steps `items[first:last]` with `span` = (first, last).

    The number of steps is traced, so chunks of every length are one program: a loop can fit them to the clock. A batch's
    gradient is taken in `parts` turns.
    """
    keys, transform, gradients = streams(member.key), optimizer(member.hyper), value_and_gradients(loss, parts)

    def body(i: Int[Array, ""], loop: tuple[TrainState, Totals]) -> tuple[TrainState, Totals]:
        state, totals = loop
        batch = source.read(data, jax.tree.map(lambda leaf: leaf[i], items))
        rate = member.hyper.dropout
        noise = None if rate is None else Noise(jax.random.fold_in(keys.train, state.step), rate)
        (value, (carry, metrics)), grads = gradients(state.params, state.carry, batch, noise)
        updates, opt_state = transform.update(grads, state.opt_state, state.params)
        norm = optax.tree.norm(grads)
        sums = {name: totals.sums[name] + value for name, value in {**metrics, "gradient_norm": norm}.items()}
        broken = jnp.where(jnp.isfinite(value) & jnp.isfinite(norm), totals.broken, jnp.minimum(totals.broken, state.step))
        state = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state, carry)
        return state, Totals(totals.steps + 1, sums, broken)

    return jax.lax.fori_loop(span[0], span[1], body, (state, totals))


SUMS = ("loss", "tokens", "gradient_norm")
