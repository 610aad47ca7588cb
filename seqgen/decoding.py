"""Decoding, over any model's `step` and a `Start`: greedy, sampling, beam search."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from seqgen.nn.recurrence import rows_where, unroll, unroll_while
from seqgen.rules import Rule, apply_rules
from seqgen.types import Carry, Memory, Out, Start

Step = Callable[[Memory, Carry, Int[Array, " B"]], tuple[Carry, Out]]

AFTER_END = -1
"""Stands at every position past a row's end symbol, so that no true token equals it."""


class Generated(NamedTuple):
    """`length` counts tokens, the end symbol with them; `next` continues from here.

    `logprob` is log p(tokens) in nats as the model has it, whatever the rules: what teacher forcing gives. It is -inf for a row
    that ends because its rules leave no token.
    """

    tokens: Int[Array, "B T"]
    length: Int[Array, " B"]
    logprob: Float[Array, " B"]
    aux: dict[str, Array]
    next: Start


class _Row(NamedTuple):
    """The decoder's own carry, beside the model's."""

    model: Carry
    token: Int[Array, " B"]
    done: Bool[Array, " B"]
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
    history: Int[Array, "B H"] | None = None,
    first: Int[Array, ""] | int = 0,
) -> Generated:
    """At most `limit` tokens a row, up to and with `end` (None: no end symbol). aux leaves are [B, T, ...].

    `rules` change the logits in turn; then the best token is taken, or, with one key a row, token t is drawn with
    fold_in(key, t), so that a row's text does not depend on the batch that it is in. To go on with a text, give `next` of
    its last part as `start`, its tokens so far as `history`, with room for more, and their number as `first`.
    """
    rows = start.token.shape[0]
    if history is None:
        history = jnp.full((rows, limit), AFTER_END, jnp.int32)

    def advance(memory: Memory, row: _Row, t: Int[Array, ""]) -> tuple[_Row, tuple[Array, dict[str, Array]]]:
        carry, out = step(memory, row.model, row.token)
        logits = apply_rules(rules, out.logits, row.history, t)
        token = (jnp.argmax(logits, axis=-1) if keys is None else draw(keys, t, logits)).astype(jnp.int32)
        stuck = jnp.max(logits, axis=1) == -jnp.inf if rules else jnp.zeros(rows, bool)
        score = jnp.where(stuck, -jnp.inf, log_probability(out.logits, token))
        over = row.done | stuck
        shown = jnp.where(over, AFTER_END, token)
        moved = _Row(carry, token, over if end is None else over | (token == end), row.logprob + score, row.history)
        aux = out.aux
        if end is not None or rules:
            moved = rows_where(row.done, row, moved)
            aux = rows_where(row.done, jax.tree.map(jnp.zeros_like, aux), aux)
        return moved._replace(history=row.history.at[:, t].set(shown)), (shown, aux)

    ended = jnp.any((history == AFTER_END) & (jnp.arange(history.shape[1]) < first)[None], axis=1)
    if end is not None:
        ended |= jnp.any(history == end, axis=1)
    row = _Row(start.carry, start.token, ended, jnp.zeros(rows), history)
    if end is None:
        row, (tokens, aux) = unroll(advance, start.memory, row, first + jnp.arange(limit))
    else:
        row, (tokens, aux) = unroll_while(
            lambda row: ~jnp.all(row.done), advance, start.memory, row, first + jnp.arange(limit), (AFTER_END, 0)
        )
    tokens, aux = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (tokens, aux))
    length = jnp.sum(tokens != AFTER_END, axis=1)
    return Generated(tokens, length, row.logprob, aux, Start(start.memory, row.model, row.token))


def log_probability(logits: Float[Array, "B V"], token: Int[Array, " B"]) -> Float[Array, " B"]:
    """log softmax(logits)[token] in nats."""
    return jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)


WIDTH = 128
"""Tokens whose probabilities are summed up together when one is drawn."""


def draw(keys: Key[Array, " B"], t: Int[Array, ""], logits: Float[Array, "B V"]) -> Int[Array, " B"]:
    """Token t of each row, from the row's own key: the inverse of the distribution's sums at one uniform number.

    It is found in two levels, a block and a place in it. (Gumbel's way takes a random number for every token of the
    vocabulary.) A token of probability 0 is never drawn where there is another.
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


def _reach(p: Float[Array, "B N"], wanted: Float[Array, " B"]) -> tuple[Int[Array, " B"], Float[Array, " B"]]:
    """The first place, none with p = 0, at which the sum of p passes `wanted`, and how much of it is wanted there."""
    count = p.shape[1]
    places = jnp.arange(count)  # least and greatest of them: argmax, of two results, is several times slower on a CPU
    before = p @ jnp.triu(jnp.ones((count, count)), 1)
    place = jnp.min(jnp.where((before + p > wanted[:, None]) & (p > 0), places, count), axis=1)
    last = jnp.max(jnp.where(p > 0, places, 0), axis=1)
    place = jnp.where(place < count, place, last)  # rounding may leave the whole sum short of what is wanted
    return place, wanted - jnp.take_along_axis(before, place[:, None], axis=1)[:, 0]


class Beams(NamedTuple):
    """W texts a row, the best first; fields as in `Generated`. `score` is what they are ranked by."""

    tokens: Int[Array, "B W T"]
    length: Int[Array, "B W"]
    logprob: Float[Array, "B W"]
    score: Float[Array, "B W"]
    aux: dict[str, Array]


class _Beam(NamedTuple):
    """W hypotheses a row; leaves of `model` are [B * W, ...]. `ranked` sums what the rules leave of log p."""

    model: Carry
    token: Int[Array, "B W"]
    done: Bool[Array, "B W"]
    length: Int[Array, "B W"]
    logprob: Float[Array, "B W"]
    ranked: Float[Array, "B W"]
    history: Int[Array, "B W T"]
    aux: dict[str, Array]


Score = Callable[[Float[Array, "*N"], Int[Array, "*N"]], Float[Array, "*N"]]


def length_penalty(alpha: float) -> Score:
    """log p / ((5 + length) / 6)^α (Wu et al. 2016, §7, eq. 14 without coverage); α = 0: log p itself."""
    return lambda logprob, length: logprob / ((5 + length) / 6) ** alpha


def beam(
    step: Step,
    start: Start,
    *,
    limit: int,
    end: int | None,
    width: int,
    score: Score = lambda logprob, length: logprob,
    rules: tuple[Rule, ...] = (),
) -> Beams:
    """The `width` best texts that a breadth-first search finds, each up to and with `end`, or `limit` tokens long.

    At every step the best of all continuations stay; a text that has ended competes on as it is (Sutskever et al. 2014,
    §3.2). It ends early when all have ended.
    """
    rows = start.token.shape[0]
    each = jax.tree.map(lambda leaf: jnp.repeat(leaf, width, axis=0), start)

    def advance(memory: Memory, now: _Beam, t: Int[Array, ""]) -> tuple[_Beam, None]:
        carry, out = step(memory, now.model, now.token.reshape(-1))
        vocabulary = out.logits.shape[-1]
        flat = now.history.reshape(rows * width, -1)
        own = jax.nn.log_softmax(out.logits).reshape(rows, width, vocabulary)
        left = apply_rules(rules, out.logits, flat, t).reshape(own.shape) if rules else own
        ruled = jnp.where(left == -jnp.inf, -jnp.inf, jax.nn.log_softmax(left)) if rules else own
        ranked = now.ranked[..., None] + jnp.where(now.done[..., None], _only_first(vocabulary), ruled)
        length = now.length + ~now.done
        best, choice = jax.lax.top_k(score(ranked, length[..., None]).reshape(rows, -1), width)
        parent, token = jnp.divmod(choice, vocabulary)

        def of(leaf: Array) -> Array:
            """[B, W, ...] in the order of the new hypotheses."""
            return jnp.take_along_axis(leaf, parent.reshape(rows, width, *[1] * (leaf.ndim - 2)), axis=1)

        def model_of(leaf: Array) -> Array:
            return of(leaf.reshape(rows, width, *leaf.shape[1:])).reshape(leaf.shape)

        stuck = best == -jnp.inf
        over = of(now.done) | stuck
        gain = jnp.take_along_axis(of(own), token[..., None], axis=2)[..., 0]
        kept = jnp.take_along_axis(ranked.reshape(rows, -1), choice, axis=1)
        old = rows_where(now.done.reshape(-1), now.model, carry)
        aux = {}
        for name, new in out.aux.items():
            new = rows_where(now.done.reshape(-1), jnp.zeros_like(new), new)
            aux[name] = of(now.aux[name].at[:, :, t].set(new.reshape(rows, width, *new.shape[1:])))
        return _Beam(
            jax.tree.map(model_of, old),
            jnp.where(over, of(now.token), token).astype(jnp.int32),
            over if end is None else over | (token == end),
            of(now.length) + ~over,
            jnp.where(stuck, -jnp.inf, of(now.logprob) + jnp.where(over, 0.0, gain)),
            kept,
            of(now.history).at[:, :, t].set(jnp.where(over, AFTER_END, token)),
            aux,
        ), None

    _, like = jax.eval_shape(step, each.memory, each.carry, each.token)
    none = jnp.zeros((rows, width), bool)
    first = jnp.broadcast_to(jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf), (rows, width))  # W times the same, one counts
    begin = _Beam(
        each.carry,
        each.token.reshape(rows, width),
        none,
        none.astype(jnp.int32),
        first,
        first,
        jnp.full((rows, width, limit), AFTER_END, jnp.int32),
        {name: jnp.zeros((rows, width, limit, *leaf.shape[1:]), leaf.dtype) for name, leaf in like.aux.items()},
    )
    found, _ = unroll_while(lambda now: ~jnp.all(now.done), advance, each.memory, begin, jnp.arange(limit), None)
    return Beams(found.history, found.length, found.logprob, score(found.ranked, found.length), found.aux)


def _only_first(vocabulary: int) -> Float[Array, " V"]:
    """What a text that has ended adds to its score: it goes on as one hypothesis."""
    return jnp.where(jnp.arange(vocabulary) == 0, 0.0, -jnp.inf)
