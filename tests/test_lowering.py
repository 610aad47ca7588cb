"""Programs for machines that are not here: training and decoding lower for CPU, CUDA and TPU, and never call the host."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen import evaluation
from seqgen.decoding import beam, generate
from seqgen.models import language_model, seq2seq
from seqgen.rules import Decoding
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import rematerialised, teacher_forced
from seqgen.training.source import Epochs, Lanes
from seqgen.training.state import HyperConfig, adam, create, sgd
from seqgen.types import Batch, Member
from tests.oracles import VARIANTS

B, S, T, N = 4, 3, 5, 12
CONFIGS = {"every reader": VARIANTS["everything"], "narrow products": replace(VARIANTS["gru"], dtype="bfloat16")}
HOST = ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv")


def batch(rows: int) -> Batch:
    source, tokens, length = (jnp.zeros(shape, jnp.int32) for shape in ((rows, S), (rows, T), (rows,)))
    return Batch(source, length, tokens, tokens, jnp.ones((rows, T), bool))


def host_calls(traced, platform: str) -> list[str]:
    """The lines of the lowered program that leave the device."""
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.while" in text
    return [line for line in text.splitlines() if any(word in line for word in HOST)]


@pytest.fixture(scope="module", params=CONFIGS)
def programs(request):
    """The training chunk, dropout and all; the evaluation; and sampling: each traced once."""
    cfg, optimizer = CONFIGS[request.param], adam("cosine", 0.1, 100)
    who = Member(jax.random.key(0), HyperConfig(dropout=0.1).traced())
    state = jax.eval_shape(lambda: create(partial(seq2seq.init, cfg), optimizer, who))
    steps = partial(run_chunk, teacher_forced(seq2seq, cfg), optimizer, Epochs(N, B))
    items, span = jnp.zeros((3, B), jnp.int32), np.array([0, 3], np.int32)
    chunk = jax.jit(steps, donate_argnames=("state", "totals"))
    train = chunk.trace(batch(N), who, state=state, totals=zero_totals(SUMS), items=items, span=span)

    blocks = jax.tree.map(lambda leaf: leaf.reshape(3, B, *leaf.shape[1:]), batch(N))
    decode = evaluation.decode_blocks.trace(seq2seq, cfg, cfg.delimiter, state.params, blocks)

    def sample(params, source, length, keys):
        start = seq2seq.start(cfg, params, source, length)
        return generate(partial(seq2seq.step, cfg, params), start, limit=T, end=cfg.delimiter, keys=keys)

    keys = jax.random.split(jax.random.key(0), B)
    return {"train": train, "decode": decode, "sample": jax.jit(sample).trace(state.params, *batch(B)[:2], keys)}


@pytest.fixture(scope="module")
def language_programs():
    """A language model's training, its spans computed again and its lanes in turns; drawing with every rule; a beam."""
    cfg, optimizer = language_model.Config(7, 7, 2, tied=True, mask="locked", vocabulary=11), sgd("constant", 0.0, 100)
    who = Member(jax.random.key(0), HyperConfig(dropout=0.1).traced())
    init = partial(language_model.init, cfg)
    state = jax.eval_shape(lambda: create(init, optimizer, who, language_model.blank(cfg, B)))
    loss = rematerialised(teacher_forced(language_model, cfg), 3)
    chunk = jax.jit(partial(run_chunk, loss, optimizer, Lanes(100, B, 6), parts=2), donate_argnames=("state", "totals"))
    items, span = jnp.zeros((3, B, 7), jnp.int32), np.array([0, 3], np.int32)
    train = chunk.trace((), who, state=state, totals=zero_totals(SUMS), items=items, span=span)
    rules = Decoding(0.9, 5, 0.9, 0.1, repetition_penalty=1.2, no_repeat_ngram=2, min_length=2).rules((1, 2), 3)

    def write(params, prompt, length, keys):
        start, step = language_model.start(cfg, params, prompt, length), partial(language_model.step, cfg, params)
        drawn = generate(step, start, limit=T, end=3, rules=rules, keys=keys)
        return drawn, beam(step, start, limit=T, end=3, width=3)

    prompt, keys = jnp.zeros((B, S), jnp.int32), jax.random.split(jax.random.key(0), B)
    return {"train": train, "write": jax.jit(write).trace(state.params, prompt, jnp.ones(B, jnp.int32), keys)}


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_language_models_lower(language_programs, platform):
    """Fails when a rule, a beam or a language model's training has an operation of one kind of machine, or calls the host."""
    for name, traced in language_programs.items():
        assert host_calls(traced, platform) == [], name


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_programs_lower(programs, platform):
    """Fails when an operation exists on one kind of machine only, or the host is called from inside a program."""
    for name, traced in programs.items():
        assert host_calls(traced, platform) == [], name


def test_a_call_of_the_host_would_be_seen():
    """Fails when the test above looks for words that no program holds. (For another machine jax refuses to lower one.)"""

    @jax.jit
    def shout(x):
        return jax.lax.fori_loop(0, 3, lambda i, x: (jax.debug.print("{}", x), x + 1)[1], x)

    assert host_calls(shout.trace(1.0), "cpu")
