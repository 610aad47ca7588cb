"""Greedy decoding and sampling, over any model's `step` and a `Start`."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from seqgen.decoding.logits import LogitsProcessor, apply_processors
from seqgen.nn.recurrence import rows_where, unroll, unroll_while
from seqgen.types import Carry, Memory, Out, Start

Step = Callable[[Memory, Carry, Int[Array, " B"]], tuple[Carry, Out]]

AFTER_END = -1
"""Stands at every position past a row's end symbol, so that no true token equals it."""


class Generated(NamedTuple):
    """`length` counts tokens, the end symbol with them; `next` continues from here.

    `logprob` is log p(tokens) in nats as the model has it, whatever the processors: what teacher
    forcing gives, and the sum of `logprobs`, each token's own. It is -inf for a row that ends
    because its processors leave no token.
    """

    tokens: Int[Array, "B T"]
    length: Int[Array, " B"]
    logprob: Float[Array, " B"]
    aux: dict[str, Array]
    next: Start
    logprobs: Float[Array, "B T"]


class _Row(NamedTuple):
    """What the loop knows of each row, beside the model's carry."""

    token: Int[Array, " B"]
    done: Bool[Array, " B"]
    logprob: Float[Array, " B"]


def generate(
    step: Step,
    start: Start,
    *,
    limit: int,
    end: int | None,
    processors: tuple[LogitsProcessor, ...] = (),
    keys: Key[Array, " B"] | None = None,
    history: Int[Array, "B H"] | None = None,
    first: Int[Array, ""] | int = 0,
    prefix: Int[Array, " L"] | None = None,
) -> Generated:
    """At most `limit` tokens a row, up to and with `end`. aux leaves are [B, T, ...].

    A row that has ended is masked in tokens, length, logprob and aux. The model's carry goes on for
    all rows, so that a cache is never copied to freeze one of them. It stops when all have ended.

    Args:
        step: one token further.
        start: where to begin; to go on with a text, `next` of its last part.
        limit: the most tokens that a row gets here.
        end: the end symbol's id; None: there is none.
        processors: what changes the logits, in turn, before a token is chosen.
        keys: one per row; token t is sampled with fold_in(key, t), so that a row's text does
            not depend on the batch that it is in. None: the best token is taken.
        history: the tokens of the text so far, with room for `limit` more; None: there are none.
        first: how many they are.
        prefix: what all texts begin with, whatever the processors; None, or where it is below 0:
            they are free.

    """
    rows = start.token.shape[0]
    if history is None:
        history = jnp.full((rows, limit), AFTER_END, jnp.int32)

    def advance(
        memory: Memory, state: tuple[Carry, _Row, Array], t: Int[Array, ""]
    ) -> tuple[tuple[Carry, _Row, Array], tuple[Array, Array, dict[str, Array]]]:
        carry, row, history = state
        carry, out = step(memory, carry, row.token)
        logits = apply_processors(processors, out.logits, history, t)
        if prefix is not None:
            logits = forced(prefix[t], out.logits, logits)
        token = jnp.argmax(logits, axis=-1) if keys is None else sample(keys, t, logits)
        token, gain, aux = token.astype(jnp.int32), log_probability(out.logits, token), out.aux
        if end is None and not processors:  # no row ends
            row = row._replace(token=token, logprob=row.logprob + gain)
            return (carry, row, history), (token, gain, aux)
        stuck = jnp.max(logits, axis=1) == -jnp.inf if processors else jnp.zeros(rows, bool)
        over = row.done | stuck
        shown = jnp.where(over, AFTER_END, token)
        logprob = row.logprob + jnp.where(stuck, -jnp.inf, gain)
        moved = _Row(token, over if end is None else over | (token == end), logprob)
        gain = jnp.where(over, 0.0, gain)
        aux = rows_where(row.done, jax.tree.map(jnp.zeros_like, aux), aux)
        if processors:
            history = lax.dynamic_update_index_in_dim(history, shown, t, 1)
        return (carry, rows_where(row.done, row, moved), history), (shown, gain, aux)

    ended = jnp.any((history == AFTER_END) & (jnp.arange(history.shape[1]) < first)[None], axis=1)
    if end is not None:
        ended |= jnp.any(history == end, axis=1)
    times = first + jnp.arange(limit)
    state = start.carry, _Row(start.token, ended, jnp.zeros(rows)), history
    if end is None:
        state, made = unroll(advance, start.memory, state, times)
    else:
        going, fill = lambda state: ~jnp.all(state[1].done), (AFTER_END, 0, 0)
        state, made = unroll_while(going, advance, start.memory, state, times, fill)
    tokens, gains, aux = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), made)
    length = jnp.sum(tokens != AFTER_END, axis=1)
    carry, row, _ = state
    following = Start(start.memory, carry, row.token)
    return Generated(tokens, length, row.logprob, aux, following, gains)


def forced(
    token: Int[Array, ""], own: Float[Array, "B *W V"], processed: Float[Array, "B *W V"]
) -> Float[Array, "B *W V"]:
    """What is left to choose from: one token, as the model has it; below 0, what is processed."""
    only = jnp.where(jnp.arange(own.shape[-1]) == token, own, -jnp.inf)
    return jnp.where(token < 0, processed, only)


def log_probability(logits: Float[Array, "B V"], token: Int[Array, " B"]) -> Float[Array, " B"]:
    """log softmax(logits)[token] in nats."""
    chosen = jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


WIDTH = 128
"""Tokens whose probabilities are summed up together when one is sampled."""


def sample(
    keys: Key[Array, " B"], t: Int[Array, ""], logits: Float[Array, "B V"]
) -> Int[Array, " B"]:
    """Token t of each row, from the row's own key: the inverse of the distribution's sums.

    It is taken at one uniform number, and found in two levels, a block and a place in it. (Gumbel's
    way takes a random number for every token of the vocabulary.) A token of probability 0 is never
    sampled where there is another.
    """
    rows, vocabulary = logits.shape
    uniform = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, t)))(keys)
    p = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    if vocabulary <= WIDTH:
        return _reach(p, uniform * jnp.sum(p, axis=-1))[0]
    blocks = jnp.pad(p, ((0, 0), (0, -vocabulary % WIDTH))).reshape(rows, -1, WIDTH)
    sums = jnp.sum(blocks, axis=-1)
    block, wanted = _reach(sums, uniform * jnp.sum(sums, axis=-1))
    place, _ = _reach(jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0], wanted)
    return block * WIDTH + place


def _reach(
    p: Float[Array, "B N"], wanted: Float[Array, " B"]
) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """The first place, none with p = 0, at which the sum of p passes `wanted`.

    With it, how much of `wanted` is left there.
    """
    count = p.shape[1]
    # Least and greatest place: argmax, of two results, is several times slower on a CPU.
    places = jnp.arange(count)
    before = p @ jnp.triu(jnp.ones((count, count)), 1)
    place = jnp.min(jnp.where((before + p > wanted[:, None]) & (p > 0), places, count), axis=1)
    last = jnp.max(jnp.where(p > 0, places, 0), axis=1)
    # Rounding may leave the whole sum short of what is wanted.
    place = jnp.where(place < count, place, last)
    return place, wanted - jnp.take_along_axis(before, place[:, None], axis=1)[:, 0]
