"""Several models as one, which says of each token the mean of their probabilities."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seqgen.types import Batch, Carry, DropoutState, Memory, Model, Out, Params, Start

Members = tuple[Model, ...]


@cache
def ensemble(members: Members) -> Model:
    """The model whose weights, memory and carry are tuples of its members' (Sutskever et al. 2014,
    §3.6).

    Members have the same tokens; architectures may differ. Cached as `build` is.
    """
    return Model(
        partial(init, members),
        partial(initial_state, members),
        partial(apply, members),
        partial(start, members),
        partial(step, members),
    )


def init(members: Members, key: Key[Array, ""]) -> Params:
    """Each member's weights."""
    keys = jax.random.split(key, len(members))
    return tuple(each.init(own) for each, own in zip(members, keys, strict=True))


def initial_state(members: Members, params: Params, rows: int) -> Carry:
    """Each member's state."""
    return tuple(each.initial_state(own, rows) for each, own in zip(members, params, strict=True))


def apply(
    members: Members,
    params: Params,
    batch: Batch,
    carry: Carry,
    dropout_state: DropoutState | None = None,
) -> tuple[Carry, Out]:
    """Teacher forcing.

    Args:
        members: the models.
        params: their weights.
        batch: questions and answers.
        carry: their states.
        dropout_state: None in evaluation.

    """
    return joined(
        each.apply(own, batch, state, dropout_state)
        for each, own, state in zip(members, params, carry, strict=True)
    )


def start(
    members: Members, params: Params, source: Any, length: Any, *, capacity: int | None = None
) -> Start:
    """Every member reads the source; `memory.values` has their memories.

    Args:
        members: the models.
        params: their weights.
        source: tokens.
        length: how many of a row's tokens count; None: all.
        capacity: how many tokens can follow.

    """
    starts = [
        each.start(own, source, length, capacity=capacity)
        for each, own in zip(members, params, strict=True)
    ]
    memories, carry = tuple(each.memory for each in starts), tuple(each.carry for each in starts)
    return Start(Memory(memories, *memories[0][1:]), carry, starts[0].token)


def step(
    members: Members, params: Params, memory: Memory, carry: Carry, token: Int[Array, " B"]
) -> tuple[Carry, Out]:
    """One token further.

    Args:
        members: the models.
        params: their weights.
        memory: what they read.
        carry: their states.
        token: the last one.

    """
    return joined(
        each.step(own, read, state, token)
        for each, own, read, state in zip(members, params, memory.values, carry, strict=True)
    )


def joined(made: Any) -> tuple[Carry, Out]:
    """log p = log (1/M Σ_m p_m); the attention is the mean of the maps of members that attend."""
    carries, outs = zip(*made, strict=True)
    each = jnp.stack([jax.nn.log_softmax(out.logits) for out in outs])
    logits = jax.nn.logsumexp(each, axis=0) - jnp.log(len(outs))
    maps = [out.aux["attention"] for out in outs if "attention" in out.aux]
    return carries, Out(logits, {"attention": mean_map(maps)} if maps else {})


def mean_map(maps: Sequence[Array]) -> Array:
    """The mean of maps [B, *T, K, S]; where the numbers of heads differ, of all heads."""
    if len({each.shape for each in maps}) > 1:
        maps = [jnp.mean(each, axis=-2, keepdims=True) for each in maps]
    return sum(maps[1:], maps[0]) / len(maps)
