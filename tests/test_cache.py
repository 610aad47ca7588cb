"""Decoding with a key/value cache: it is the full forward pass, and nothing large is copied.

The model is a toy: one layer of attention over its own past, and one look at its prompt's memory.
"""

import math
import re
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from seqgen.decoding.beam import beam, length_penalty
from seqgen.decoding.generate import generate
from seqgen.nn.recurrence import rows_where
from seqgen.types import Batch, Memory, Model, Out, Start

V, D, E = 19, 12, 17
B, S, T, W = 5, 7, 9, 8
END = 3


class Params(NamedTuple):
    """`look` makes the memory, `ask` its query."""

    embedding: jax.Array
    position: jax.Array
    qkv: jax.Array
    look: jax.Array
    ask: jax.Array
    readout: jax.Array


class Cache(NamedTuple):
    """Keys and values are [B, N, D]; a row's begin at slot `begin` [B]; the next is at `clock`."""

    keys: jax.Array
    values: jax.Array
    begin: jax.Array
    clock: jax.Array


def init(key) -> Params:
    shapes = Params((V, D), (S + T, D), (D, 3 * D), (V, E), (D, E), (2 * D + E, V))
    keys = jax.random.split(key, len(shapes))
    return Params(
        *(0.5 * jax.random.normal(k, shape) for k, shape in zip(keys, shapes, strict=True))
    )


def right_aligned(source, length):
    """Prompts that end at the last place, and where each begins."""
    rows, width = source.shape
    begin = jnp.zeros(rows, jnp.int32) if length is None else width - length
    places = jnp.maximum(jnp.arange(width)[None] - begin[:, None], 0)
    return jnp.take_along_axis(source, places, axis=1), begin


def embed(params, tokens, slots, begin):
    """A row's positions count from its own first token."""
    return params.embedding[tokens] + params.position[jnp.maximum(slots - begin, 0)]


def memory_of(params, source, length) -> Memory:
    mask = None if length is None else jnp.arange(source.shape[1])[None] < length[:, None]
    return Memory(params.look[source], mask, jnp.zeros((len(source), 1)))


def read_out(params, memory, x, context):
    """Logits of x and context [B, *T, D], and of one look at the memory."""
    scores = jnp.einsum("b...e,bse->b...s", x @ params.ask, memory.values)
    if memory.mask is not None:
        mask = memory.mask if x.ndim == 2 else memory.mask[:, None]
        scores = jnp.where(mask, scores, -jnp.inf)
    weights = jax.nn.softmax(scores)
    found = jnp.einsum("b...s,bse->b...e", weights, memory.values)
    logits = jnp.concatenate([x, context, found], axis=-1) @ params.readout
    return Out(logits, {"attention": weights[..., None, :], "logits": logits})


def apply(params, batch, carry, dropout_state):
    """Without a cache. `inputs` are the prompt's last token, then the text."""
    prompt, begin = right_aligned(batch.source, batch.length)
    tokens = jnp.concatenate([prompt[:, :-1], batch.inputs], axis=1)
    slots = jnp.arange(tokens.shape[1])
    x = embed(params, tokens, slots[None], begin[:, None])
    query, keys, values = jnp.split(x @ params.qkv, 3, axis=-1)
    past = (slots[None] <= slots[:, None])[None]
    own = slots[None, None] >= begin[:, None, None]
    itself = jnp.eye(len(slots), dtype=bool)[None]  # padding's weights are numbers, too
    scores = jnp.where(past & own | itself, query @ keys.swapaxes(1, 2), -jnp.inf)
    memory = memory_of(params, batch.source, batch.length)
    out = read_out(params, memory, x, jax.nn.softmax(scores) @ values)
    return carry, jax.tree.map(lambda leaf: leaf[:, prompt.shape[1] - 1 :], out)


def start(params, source, length, *, capacity) -> Start:
    prompt, begin = right_aligned(source, length)
    x = embed(params, prompt, jnp.arange(prompt.shape[1])[None], begin[:, None])[:, :-1]
    _, keys, values = jnp.split(x @ params.qkv, 3, axis=-1)
    keys, values = (jnp.pad(each, ((0, 0), (0, capacity), (0, 0))) for each in (keys, values))
    cache = Cache(keys, values, begin, jnp.int32(prompt.shape[1] - 1))
    return Start(memory_of(params, source, length), cache, prompt[:, -1])


def step(params, memory, cache, token):
    x = embed(params, token, cache.clock, cache.begin)
    query, key, value = jnp.split(x @ params.qkv, 3, axis=-1)
    keys = lax.dynamic_update_slice(cache.keys, key[:, None], (0, cache.clock, 0))
    values = lax.dynamic_update_slice(cache.values, value[:, None], (0, cache.clock, 0))
    slots = jnp.arange(keys.shape[1])[None]
    seen = (slots >= cache.begin[:, None]) & (slots <= cache.clock)
    scores = jnp.where(seen, jnp.einsum("bd,bnd->bn", query, keys), -jnp.inf)
    context = jnp.einsum("bn,bnd->bd", jax.nn.softmax(scores), values)
    return cache._replace(keys=keys, values=values, clock=cache.clock + 1), read_out(
        params, memory, x, context
    )


MODEL = Model(init, lambda params, rows: (), apply, start, step)
PARAMS = init(jax.random.key(2))
SOURCE = np.int32(np.random.default_rng(0).integers(V, size=(B, S)))
LENGTH = np.array([7, 1, 4, 2, 6], np.int32)
SEEDS = np.arange(B)
KINDS = ("greedy", "sampling", "beam")


class Texts(NamedTuple):
    """[B, N, ...], as in `Generated`."""

    tokens: jax.Array
    length: jax.Array
    logprob: jax.Array
    aux: dict[str, jax.Array]


@partial(jax.jit, static_argnames=("kind", "end"))
def decode(params, source, length, seeds, *, kind, end) -> Texts:
    begin = MODEL.start(params, source, length, capacity=T)
    forward, options = partial(MODEL.step, params), {"limit": T, "end": end}
    if kind == "beam":
        made = beam(forward, begin, width=W, score=length_penalty(0.6), **options)
        return Texts(made.tokens, made.length, made.logprob, made.aux)
    keys = jax.vmap(jax.random.key)(seeds) if kind == "sampling" else None
    made = generate(forward, begin, keys=keys, **options)
    return jax.tree.map(lambda leaf: leaf[:, None], Texts(*made[:4]))


@jax.jit
def forced(params, source, length, tokens):
    """aux [B, N, T, ...] of `apply` on texts [B, N, T]."""

    def one(tokens):
        last = right_aligned(source, length)[0][:, -1:]
        inputs = jnp.concatenate([last, jnp.maximum(tokens[:, :-1], 0)], axis=1)
        batch = Batch(source, length, inputs, inputs, inputs >= 0)
        return MODEL.apply(params, batch, (), None)[1].aux

    return jax.vmap(one, in_axes=1, out_axes=1)(tokens)


@pytest.mark.parametrize(("length", "end"), [(LENGTH, END), (None, None)], ids=["ragged", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_is_the_full_forward_pass(kind, length, end):
    """Fails when a key stands in another slot than that of its time, padding is seen, a hypothesis
    goes on with the cache of another or with its clock, or a text is scored by others' logits.
    """
    made = jax.tree.map(np.asarray, decode(PARAMS, SOURCE, length, SEEDS, kind=kind, end=end))
    expected = forced(PARAMS, SOURCE, length, made.tokens)
    on = made.tokens >= 0
    for name in ("logits", "attention"):
        np.testing.assert_allclose(made.aux[name][on], expected[name][on], atol=1e-5)
    logp = np.asarray(jax.nn.log_softmax(expected["logits"]))
    own = np.take_along_axis(logp, np.maximum(made.tokens, 0)[..., None], axis=3)[..., 0]
    np.testing.assert_allclose(made.logprob, np.sum(own, axis=2, where=on), atol=1e-4)
    np.testing.assert_array_equal(made.length, on.sum(2))
    if kind == "greedy":
        np.testing.assert_array_equal(made.tokens[on], np.asarray(logp).argmax(3)[on])
    assert np.ptp(made.length[:, 0]) > 3 if end is not None else (made.length == T).all()
    assert all(len(np.unique(row, axis=0)) == len(row) for row in made.tokens)
    assert len(np.unique(made.tokens[:, 0], axis=0)) == B


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_alone(kind):
    """Fails when a position counts from the batch's first slot, or a row whose neighbours have
    ended, or go on after its own end, is answered otherwise than alone and without padding.
    """
    made = decode(PARAMS, SOURCE, LENGTH, SEEDS, kind=kind, end=END)
    assert np.ptp(made.length[:, 0]) > 3
    for row in (0, 1, 3):
        source, seeds = SOURCE[[row], : LENGTH[row]], SEEDS[[row]]
        alone = decode(PARAMS, source, None, seeds, kind=kind, end=END)
        np.testing.assert_array_equal(alone.tokens[0], made.tokens[row])
        np.testing.assert_array_equal(alone.length[0], made.length[row])
        np.testing.assert_allclose(alone.logprob[0], made.logprob[row], atol=1e-4)
        np.testing.assert_allclose(alone.aux["logits"][0], made.aux["logits"][row], atol=1e-4)


def test_parts_are_the_whole():
    """Fails when a text that goes on from `next` has another cache, clock or last token."""
    part = jax.jit(partial(generate, partial(MODEL.step, PARAMS), limit=3, end=None))
    whole = decode(PARAMS, SOURCE, LENGTH, SEEDS, kind="sampling", end=None)
    begin, tokens, logprob = MODEL.start(PARAMS, SOURCE, LENGTH, capacity=T), [], 0.0
    for first in range(0, T, 3):
        made = part(begin, keys=jax.vmap(jax.random.key)(SEEDS), first=np.int32(first))
        begin, logprob = made.next, logprob + made.logprob
        tokens.append(made.tokens)
    np.testing.assert_array_equal(np.concatenate(tokens, axis=1), whole.tokens[:, 0])
    np.testing.assert_allclose(logprob, whole.logprob[:, 0], atol=1e-4)


# What is copied


def computations(text: str) -> dict[str, list[str]]:
    """The lines of every computation of a compiled program."""
    made: dict[str, list[str]] = {}
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%([\w.-]+) \(.*\{$", line)
        if head:
            made[head[1]] = lines = []
        elif line.startswith("  "):
            lines.append(line)
    return made


def called(line: str) -> list[str]:
    """The computations that an instruction runs."""
    parts = re.findall(r"(?:calls|body|condition|to_apply|computations)=\{?([^}=]*)", line)
    return [name for part in parts for name in re.findall(r"%([\w.-]+)", part)]


def in_loops(text: str) -> list[str]:
    """The instructions that a loop runs at every turn."""
    parts = computations(text)
    bodies = [
        re.search(r" while\(.*body=%([\w.-]+)", line) for lines in parts.values() for line in lines
    ]
    waiting, done = [found[1] for found in bodies if found], set()
    assert waiting
    while waiting:
        name = waiting.pop()
        if name not in done:
            done.add(name)
            waiting += [other for line in parts[name] for other in called(line)]
    return [line for name in done for line in parts[name]]


def elements(shapes: str) -> set[int]:
    """How many elements the arrays of a type have."""
    every = re.findall(r"\w+\[([\d,]*)\]", shapes)
    return {math.prod(int(n) for n in shape.split(",") if n) for shape in every}


def copies(lines: list[str], size: int) -> list[str]:
    """Copies and selects of arrays of so many elements, whatever their layout."""
    made = [
        re.match(r"\s+(?:ROOT )?%\S+ = (.*?) (copy|copy-start|select)\(", line) for line in lines
    ]
    return [found[0] for found in made if found and size in elements(found[1])]


CACHE, OUTPUT = B * (S - 1 + T) * D, T * B * V


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_loop_does_not_copy_the_cache(kind):
    """Fails when a row that has ended, or anything else, makes XLA copy the cache, or the buffer of
    an output, or select it anew at every step; and when that would not be seen: with the rows'
    selection put back.
    """
    text = decode.lower(PARAMS, SOURCE, LENGTH, SEEDS, kind=kind, end=END).compile().as_text()
    loop = in_loops(text)
    for size in (CACHE, OUTPUT):
        assert any(" dynamic-update-slice(" in line and size in elements(line) for line in loop)
        assert copies(loop, size) == []

    def selecting(memory, state, token):
        cache, done = state
        new, out = MODEL.step(PARAMS, memory, cache, token)
        kept = rows_where(done, cache[:3], new[:3])
        return (Cache(*kept, new.clock), done | (token == END)), out

    @jax.jit
    def before(source, length):
        memory, cache, token = MODEL.start(PARAMS, source, length, capacity=T)
        begin = Start(memory, (cache, jnp.zeros(B, bool)), token)
        keys = jax.vmap(jax.random.key)(SEEDS) if kind == "sampling" else None
        return generate(selecting, begin, limit=T, end=END, keys=keys)[:3]

    text = before.lower(SOURCE, LENGTH).compile().as_text()
    assert copies(in_loops(text), CACHE) != []


def sizes_in(jaxpr) -> set[int]:
    """How many elements the arrays of a program have, those of inner programs too."""
    made = {math.prod(v.aval.shape) for v in (*jaxpr.invars, *jaxpr.constvars)}
    for eqn in jaxpr.eqns:
        made |= {math.prod(v.aval.shape) for v in eqn.outvars}
        for value in eqn.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                part = getattr(part, "jaxpr", part)
                if hasattr(part, "eqns"):
                    made |= sizes_in(part)
    return made


def test_a_beam_reads_one_memory_a_row():
    """Fails when the memory [B, S, E] is repeated for each hypothesis, in any order of its axes, by
    the beam or by XLA; and when that would not be seen: with the repetition put back.
    """
    options = {"kind": "beam", "end": END}

    def sizes(function, *arguments, **options):
        traced = function.trace(*arguments, **options)
        return sizes_in(traced.jaxpr.jaxpr), elements(traced.lower().compile().as_text())

    @jax.jit
    def repeated(params, source, length):
        begin = MODEL.start(params, source, length, capacity=T)
        each = jax.tree.map(lambda leaf: jnp.repeat(leaf, W, axis=0) if leaf.ndim else leaf, begin)
        return generate(partial(MODEL.step, params), each, limit=T, end=END)[:3]

    for found in sizes(decode, PARAMS, SOURCE, LENGTH, SEEDS, **options):
        assert B * S * E in found
        assert B * W * (S - 1 + T) * D in found
        assert B * W * S * E not in found
    for found in sizes(repeated, PARAMS, SOURCE, LENGTH):
        assert B * W * S * E in found
