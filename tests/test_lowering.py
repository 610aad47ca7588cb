"""Programs for machines that are not here: training and decoding lower for CPU, CUDA and TPU, and
never call the host.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.decoding.compiled import answer, read, search, write
from seqgen.decoding.generate import AFTER_END
from seqgen.decoding.logits import GenerationConfig
from seqgen.evaluation import answers
from seqgen.models import build, rnn_language_model
from seqgen.training.batches import Rows, Windows
from seqgen.training.objective import rematerialised, teacher_forced
from seqgen.training.optimizer import adam, sgd
from seqgen.training.state import HyperConfig, create
from seqgen.training.steps import train_steps, zero_totals
from seqgen.types import Batch, Member
from tests.oracles import SIZES, VARIANTS
from tests.programs import program_of

B, S, T, N, END = 4, 3, 5, 12, SIZES.special.eos
CONFIGS = {
    "every attention mechanism": VARIANTS["everything"],
    "narrow products": replace(VARIANTS["gru"], dtype="bfloat16"),
}
HOST = ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv")


def batch(rows: int) -> Batch:
    shapes = (rows, S), (rows, T), (rows,)
    source, tokens, length = (jnp.zeros(shape, jnp.int32) for shape in shapes)
    return Batch(source, length, tokens, tokens, jnp.ones((rows, T), bool))


def host_calls(traced, platform: str) -> list[str]:
    """The lines of the lowered program that leave the device."""
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.while" in text
    return [line for line in text.splitlines() if any(word in line for word in HOST)]


def traced_steps(program, who: Member, state, items):
    """The training steps, dropout and all."""
    steps = jax.jit(partial(train_steps, program), donate_argnames=("state", "totals"))
    given = {"state": state, "totals": zero_totals(), "span": np.array([0, 3], np.int32)}
    return steps.trace(program.batches.data, who, items=items, **given)


@pytest.fixture(scope="module", params=CONFIGS)
def programs(request):
    """Training, evaluation, sampling and a beam: each traced once."""
    model, optimizer = build(CONFIGS[request.param], SIZES), adam("cosine", 0.1, 100)
    who = Member(jax.random.key(0), HyperConfig(dropout=0.1).traced())
    state = jax.eval_shape(lambda: create(model.init, lambda params: (), optimizer, who))
    program = program_of(teacher_forced(model), optimizer, Rows(batch(N), B))

    blocks = jax.tree.map(lambda leaf: leaf.reshape(3, B, *leaf.shape[1:]), batch(N))
    asked = state.params, *batch(B)[:2]
    drawn, beam = GenerationConfig(temperature=1.0), GenerationConfig(beam=3)
    return {
        "train": traced_steps(program, who, state, jnp.zeros((3, B), jnp.int32)),
        "decode": answers.decode_blocks.__wrapped__.trace(model, END, T, state.params, blocks),
        "sample": answer.__wrapped__.trace(model, drawn, T, END, *asked, jax.random.key(0)),
        "beam": answer.__wrapped__.trace(model, beam, T, END, *asked, None),
    }


@pytest.fixture(scope="module")
def language_programs():
    """A language model's training, its spans computed again and its lanes in parts; drawing with
    every logits processor; a beam.
    """
    cfg = rnn_language_model.Config(7, 7, 2, tied=True, variational_dropout=True)
    model, optimizer = build(cfg, SIZES), sgd("constant", 0.0, 100)
    who = Member(jax.random.key(0), HyperConfig(dropout=0.1).traced())
    state = jax.eval_shape(
        lambda: create(model.init, lambda p: model.initial_state(p, B), optimizer, who)
    )
    loss, batches = rematerialised(teacher_forced(model), 3), Windows(np.zeros(100), B, 6)
    program = program_of(loss, optimizer, batches, accumulate=2)

    generation = GenerationConfig(
        0.9, 5, 0.9, 0.1, repetition_penalty=1.2, no_repeat_ngram=2, min_length=2
    )
    prompt, keys = jnp.zeros((B, S), jnp.int32), jax.random.split(jax.random.key(0), B)
    start = jax.eval_shape(partial(read, model, T), state.params, prompt, jnp.ones(B, jnp.int32))
    history = jnp.full((B, T), AFTER_END, jnp.int32)
    drawing = model, generation, (1, 2), END, T, state.params, start, keys, history, np.int32(0)
    searching = model, GenerationConfig(beam=3), (), END, T, state.params, start
    return {
        "train": traced_steps(program, who, state, jnp.zeros((3, B, 7), jnp.int32)),
        "write": write.__wrapped__.trace(*drawing),
        "search": search.__wrapped__.trace(*searching),
    }


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_language_models_lower(language_programs, platform):
    """Fails when a logits processor, a beam or a language model's training has an operation of one
    kind of machine, or calls the host.
    """
    for name, traced in language_programs.items():
        assert host_calls(traced, platform) == [], name


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_programs_lower(programs, platform):
    """Fails when an operation exists on one kind of machine only, or the host is called from inside
    a program.
    """
    for name, traced in programs.items():
        assert host_calls(traced, platform) == [], name


def test_a_call_of_the_host_would_be_seen():
    """Fails when the test above looks for words that no program holds. (For another machine jax
    refuses to lower one.)
    """

    @jax.jit
    def shout(x):
        return jax.lax.fori_loop(0, 3, lambda i, x: (jax.debug.print("{}", x), x + 1)[1], x)

    assert host_calls(shout.trace(1.0), "cpu")
