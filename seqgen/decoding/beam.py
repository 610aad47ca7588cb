"""Beam search, over any model's `step` and a `Start`.

The step runs under `vmap` over hypotheses with the memory unmapped: it reads a memory of B rows,
not B x W, and gathers the carry alone. A beam of one is greedy search.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from seqgen.decoding.generate import AFTER_END, Step, forced
from seqgen.decoding.logits import LogitsProcessor, apply_processors
from seqgen.nn.recurrence import unroll, unroll_while
from seqgen.types import Carry, Memory, Out, Start


class Beams(NamedTuple):
    """W texts a row, the best first; fields as in `Generated`. `score` is what ranks them.

    aux leaves are [B, W, T, ...], zero past a text's length.
    """

    tokens: Int[Array, "B W T"]
    length: Int[Array, "B W"]
    logprob: Float[Array, "B W"]
    score: Float[Array, "B W"]
    aux: dict[str, Array]
    logprobs: Float[Array, "B W T"]


Score = Callable[
    [Float[Array, "B W"], Int[Array, "B W"], Float[Array, "B W S"] | None], Float[Array, "B W"]
]
"""(log p in nats, number of tokens, coverage) -> what texts are ranked by.

Coverage is the attention that each source position has had so far: aux["attention"], averaged over
heads and summed over the text's tokens. It is None where the step gives no attention.
"""


def length_penalty(alpha: float) -> Score:
    """log p / ((5 + length) / 6)^α; α = 0: log p itself.

    Wu et al. 2016, §7, eq. 14 without coverage.
    """
    return lambda logprob, length, coverage: logprob / ((5 + length) / 6) ** alpha


def coverage_penalty(score: Score, beta: float, mask: Bool[Array, "B S"] | None) -> Score:
    """score + β Σ_s log min(coverage_s, 1), over the positions that are no padding.

    Wu et al. 2016, §7, eq. 14. What has had no attention at all counts as the least float there is.
    """
    least = jnp.finfo(jnp.float32).tiny

    def covered(
        logprob: Float[Array, "B W"], length: Int[Array, "B W"], coverage: Array | None
    ) -> Float[Array, "B W"]:
        assert coverage is not None
        terms = jnp.log(jnp.clip(coverage, least, 1.0))
        where = None if mask is None else mask[:, None]
        return score(logprob, length, coverage) + beta * jnp.sum(terms, axis=-1, where=where)

    return covered


class _Beam(NamedTuple):
    """W hypotheses a row. `ranked` sums what the processors leave of log p."""

    token: Int[Array, "B W"]
    done: Bool[Array, "B W"]
    length: Int[Array, "B W"]
    logprob: Float[Array, "B W"]
    ranked: Float[Array, "B W"]
    coverage: Float[Array, "B W S"] | None
    history: Int[Array, "B W T"] | None


def beam(
    step: Step,
    start: Start,
    *,
    limit: int,
    end: int | None,
    width: int,
    score: Score,
    processors: tuple[LogitsProcessor, ...] = (),
    prefix: Int[Array, " L"] | None = None,
) -> Beams:
    """The `width` best texts that a breadth-first search finds.

    At every step the best of all continuations stay; a text that has ended competes on as it is
    (Sutskever et al. 2014, §3.2). It stops when all have ended.

    Args:
        step: one token further; it runs under `vmap` over hypotheses, which share one memory.
        start: where to begin. Carry leaves without an axis are clocks, alike for all hypotheses.
        limit: the most tokens of a text.
        end: the end symbol's id, the last token of a text; None: there is none.
        width: how many hypotheses a row has.
        score: what texts are ranked by, of log p in nats, of the number of tokens, and of coverage.
        processors: what changes the logits, in turn; they decide what is found, not its log p.
        prefix: as in `generate`; its log p counts.

    """
    rows = start.token.shape[0]
    axes = jax.tree.map(lambda leaf: 1 if leaf.ndim else None, start.carry)
    each = jax.vmap(step, in_axes=(None, axes, 1), out_axes=(axes, 1))

    def advance(
        memory: Memory, state: tuple[Carry, _Beam], t: Int[Array, ""]
    ) -> tuple[tuple[Carry, _Beam], tuple[Array, tuple[Array, Array], dict[str, Array]]]:
        carry, now = state
        carry, out = each(memory, carry, now.token)
        given = None if prefix is None else prefix[t]
        options = {"end": end, "score": score, "processors": processors, "given": given}
        now, parent, shown = _choose(now, out, t, **options)
        carry = jax.tree.map(lambda leaf: _take(leaf, parent) if leaf.ndim else leaf, carry)
        return (carry, now), (parent, shown, out.aux)

    def spread(leaf: Array) -> Array:
        if not leaf.ndim:
            return leaf
        return jnp.broadcast_to(leaf[:, None], (rows, width, *leaf.shape[1:]))

    _, like = jax.eval_shape(step, *start)
    begin = _begin(spread(start.token), like, limit, processors)
    (_, found), (parents, shown, aux) = unroll_while(
        lambda state: ~jnp.all(state[1].done),
        advance,
        start.memory,
        (jax.tree.map(spread, start.carry), begin),
        jnp.arange(limit),
        (jnp.arange(width), (AFTER_END, 0), 0),
    )
    (tokens, gains), aux = _trace(parents, shown, aux)
    ranks = score(found.ranked, found.length, found.coverage)
    return Beams(tokens, found.length, found.logprob, ranks, aux, gains)


def _take(leaf: Array, places: Int[Array, "B W"]) -> Array:
    """[B, N, ...] -> [B, W, ...]: of each row the places that count."""
    index = places.reshape(places.shape + (1,) * (leaf.ndim - 2))
    return jnp.take_along_axis(leaf, index, axis=1, mode="promise_in_bounds")


def _begin(
    token: Int[Array, "B W"], like: Out, limit: int, processors: tuple[LogitsProcessor, ...]
) -> _Beam:
    """W times the same text without a token, of which one counts."""
    none = jnp.zeros(token.shape, bool)
    one = jnp.where(jnp.arange(token.shape[1]) == 0, 0.0, -jnp.inf)
    one = jnp.broadcast_to(one, token.shape)
    coverage = history = None
    if "attention" in like.aux:
        coverage = jnp.zeros((*token.shape, like.aux["attention"].shape[-1]))
    if processors:
        history = jnp.full((*token.shape, limit), AFTER_END, jnp.int32)
    return _Beam(token, none, none.astype(jnp.int32), one, one, coverage, history)


def _choose(
    now: _Beam,
    out: Out,
    t: Int[Array, ""],
    *,
    end: int | None,
    score: Score,
    processors: tuple[LogitsProcessor, ...],
    given: Int[Array, ""] | None,
) -> tuple[_Beam, Int[Array, "B W"], tuple[Array, Array]]:
    """The W best of all continuations, in lax.top_k's order.

    With them the hypothesis that each continues, the token that its text shows and its log p.
    """
    rows, _, vocabulary = out.logits.shape
    own = jax.nn.log_softmax(out.logits)
    processed = own if now.history is None else _processed(processors, out.logits, now.history, t)
    if given is not None:
        processed = forced(given, own, processed)
    # A finished text continues in one way only, as it is
    as_it_is = jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf)
    ranked = now.ranked[..., None] + jnp.where(now.done[..., None], as_it_is, processed)
    length, coverage = now.length + ~now.done, _covered(now, out)
    each_token = jax.vmap(score, in_axes=(2, None, None), out_axes=2)
    best, place = lax.top_k(
        each_token(ranked, length, coverage).reshape(rows, -1), now.token.shape[1]
    )
    parent, token = jnp.divmod(place, vocabulary)

    stuck = best == -jnp.inf
    over = _take(now.done, parent) | stuck
    gain = jnp.where(over, 0.0, _take(own.reshape(rows, -1), place))
    shown = jnp.where(over, AFTER_END, token)
    history = now.history
    if history is not None:
        history = lax.dynamic_update_index_in_dim(_take(history, parent), shown, t, 2)
    chosen = _Beam(
        token,
        over if end is None else over | (token == end),
        _take(now.length, parent) + ~over,
        jnp.where(stuck, -jnp.inf, _take(now.logprob, parent) + gain),
        _take(ranked.reshape(rows, -1), place),
        None if coverage is None else _take(coverage, parent),
        history,
    )
    return chosen, parent, (shown, gain)


def _processed(
    processors: tuple[LogitsProcessor, ...],
    logits: Float[Array, "B W V"],
    history: Int[Array, "B W T"],
    t: Int[Array, ""],
) -> Float[Array, "B W V"]:
    """What the processors leave of log p; they see B * W rows."""
    rows = (-1, logits.shape[-1]), (-1, history.shape[-1])
    left = apply_processors(processors, logits.reshape(rows[0]), history.reshape(rows[1]), t)
    left = left.reshape(logits.shape)
    return jnp.where(left == -jnp.inf, -jnp.inf, jax.nn.log_softmax(left))


def _covered(now: _Beam, out: Out) -> Float[Array, "B W S"] | None:
    """Coverage, once each text that goes on has looked for its next token."""
    if now.coverage is None:
        return None
    looked = jnp.mean(out.aux["attention"], axis=2)
    return now.coverage + jnp.where(now.done[..., None], 0.0, looked)


def _trace(
    parents: Int[Array, "T B W"], shown: tuple[Array, Array], aux: dict[str, Array]
) -> tuple[tuple[Array, Array], dict[str, Array]]:
    """Tokens and log p of the texts that are left in the end, and aux: back along the parents.

    `aux` is in the order of the hypotheses before a choice, `shown` after it.
    """

    def back(
        _: None, here: Int[Array, "B W"], choice: tuple[Array, tuple[Array, Array]]
    ) -> tuple[Int[Array, "B W"], tuple[Array, tuple[Array, Array]]]:
        parent, shown = choice
        before = _take(parent, here)
        return before, (before, jax.tree.map(lambda leaf: _take(leaf, here), shown))

    last = jnp.broadcast_to(jnp.arange(parents.shape[2]), parents.shape[1:])
    _, (places, (tokens, gains)) = unroll(back, None, last, (parents, shown), reverse=True)

    def of(leaf: Array) -> Array:
        own = jax.vmap(_take)(leaf, places)
        gone = (tokens == AFTER_END).reshape(tokens.shape + (1,) * (leaf.ndim - 3))
        return jnp.moveaxis(jnp.where(gone, jnp.zeros_like(own), own), 0, 2)

    texts = jnp.moveaxis(tokens, 0, 2), jnp.moveaxis(gains, 0, 2)
    return texts, jax.tree.map(of, aux)
