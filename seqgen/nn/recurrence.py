"""The only loop over time."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from seqgen.types import Carry, Params, Tree

Cell = Callable[[Params, Carry, Tree], tuple[Carry, Tree]]
"""(params, carry, x) -> (carry, output): one time; the output may hold further arrays beside y."""


def rows_where(mask: Bool[Array, " B"], new: Tree, old: Tree) -> Tree:
    """Row b of every leaf [B, ...] from `new` where mask[b], from `old` elsewhere."""
    return jax.tree.map(
        lambda n, o: jnp.where(mask.reshape(-1, *[1] * (n.ndim - 1)), n, o), new, old
    )


def unroll(
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Tree,
    length: Int[Array, " B"] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Carry, Tree]:
    """Run `cell` over the leading axis of all leaves of `xs`; outputs are stacked in their order.

    With `length`, a row's carry is frozen and its outputs are zero at times t ≥ length: a row alone
    and the same row in a wider batch end alike.

    Args:
        cell: one time.
        params: what `cell` gets at every time.
        carry: what it gets at the first.
        xs: [T, B, ...].
        length: how many times of each row count; None: all.
        reverse: run from the last time to the first, so that padding comes first and the carry
            stays at its start until the row's last token.

    """
    if length is None:
        return lax.scan(lambda carry, x: cell(params, carry, x), carry, xs, reverse=reverse)

    def step(carry: Carry, item: tuple[Array, Tree]) -> tuple[Carry, Tree]:
        time, x = item
        valid = time < length
        new, y = cell(params, carry, x)
        return rows_where(valid, new, carry), rows_where(valid, y, jax.tree.map(jnp.zeros_like, y))

    times = jnp.arange(jax.tree.leaves(xs)[0].shape[0])
    return lax.scan(step, carry, (times, xs), reverse=reverse)


def unroll_while(
    going: Callable[[Carry], Array],
    cell: Cell,
    params: Params,
    carry: Carry,
    xs: Tree,
    fill: Tree,
) -> tuple[Carry, Tree]:
    """As `unroll`, but it stops where `going(carry)` no longer holds.

    Args:
        going: whether there is a next time.
        cell: one time.
        params: what `cell` gets at every time.
        carry: what it gets at the first.
        xs: [T, B, ...].
        fill: what stands in the outputs from where it stopped: a value, or a tree of them.

    """
    times = jax.tree.leaves(xs)[0].shape[0]

    def at(t: Int[Array, ""]) -> Tree:
        return jax.tree.map(lambda leaf: leaf[t], xs)

    def body(state: tuple[Array, Carry, Tree]) -> tuple[Array, Carry, Tree]:
        t, carry, ys = state
        carry, y = cell(params, carry, at(t))
        write = partial(lax.dynamic_update_index_in_dim, index=t, axis=0)  # in place
        return t + 1, carry, jax.tree.map(write, ys, y)

    _, like = jax.eval_shape(cell, params, carry, jax.eval_shape(at, jnp.int32(0)))
    ys = jax.tree.map(
        lambda f, part: jax.tree.map(
            lambda leaf: jnp.full((times, *leaf.shape), f, leaf.dtype), part
        ),
        fill,
        like,
    )
    _, carry, ys = lax.while_loop(
        lambda state: (state[0] < times) & going(state[1]), body, (jnp.int32(0), carry, ys)
    )
    return carry, ys
