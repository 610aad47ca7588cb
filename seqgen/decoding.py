"""Decoding, over any model's `step` and a `Start`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.recurrence import rows_where, unroll
from seqgen.types import Carry, Memory, Out, Start

Step = Callable[[Memory, Carry, Int[Array, " B"]], tuple[Carry, Out]]
Rule = Callable[[Float[Array, "B V"], Int[Array, "B T"], Int[Array, ""]], Float[Array, "B V"]]

AFTER_END = -1
"""Stands at every position past a row's end symbol, so that no true token equals it."""


class Generated(NamedTuple):
    """`length` counts tokens, the end symbol with them; `logprob` is their sum in nats; `next` continues from here."""

    tokens: Int[Array, "B T"]
    length: Int[Array, " B"]
    logprob: Float[Array, " B"]
    aux: dict[str, Array]
    next: Start


class _Row(NamedTuple):
    """The decoder's own carry, beside the model's."""

    model: Carry
    token: Int[Array, " B"]
    done: Array
    logprob: Float[Array, " B"]
    history: Int[Array, "B T"]


def generate(
    step: Step,
    start: Start,
    *,
    limit: int,
    end: int | None,
    rules: tuple[Rule, ...] = (),
    keys: Key[Array, " B"] | None = None,
) -> Generated:
    """At most `limit` tokens a row, up to and with `end` (None: no end symbol). aux leaves are [B, T, ...].

    `rules` change the logits in turn; then the best token is taken, or, with one key a row, token t is drawn with
    fold_in(key, t), so that a row's text does not depend on the batch that it is in.
    """
    rows = start.token.shape[0]

    def advance(memory: Memory, row: _Row, t: Int[Array, ""]) -> tuple[_Row, tuple[Array, dict[str, Array]]]:
        carry, out = step(memory, row.model, row.token)
        logits = out.logits
        for rule in rules:
            logits = rule(logits, row.history, t)
        token = jnp.argmax(logits, axis=-1) if keys is None else draw(keys, t, logits)
        token = token.astype(jnp.int32)
        score = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
        shown = jnp.where(row.done, AFTER_END, token)
        done = row.done if end is None else row.done | (token == end)
        moved = _Row(carry, token, done, row.logprob + score, row.history)
        if end is not None:
            moved = rows_where(row.done, row, moved)
        return moved._replace(history=row.history.at[:, t].set(shown)), (shown, out.aux)

    first = _Row(
        start.carry,
        start.token,
        jnp.zeros(rows, bool),
        jnp.zeros(rows),
        jnp.full((rows, limit), AFTER_END, jnp.int32),
    )
    row, (tokens, aux) = unroll(advance, start.memory, first, jnp.arange(limit))
    tokens, aux = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (tokens, aux))
    length = jnp.sum(tokens != AFTER_END, axis=1)
    return Generated(tokens, length, row.logprob, aux, Start(start.memory, row.model, row.token))


def draw(keys: Key[Array, " B"], t: Int[Array, ""], logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Token t of each row, from the row's own key."""
    return jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, t), row))(keys, logits)
