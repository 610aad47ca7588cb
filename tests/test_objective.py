"""Losses as masked sums, and losses and gradients in less memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_language_model
from seqgen.training.batches import Windows
from seqgen.training.objective import (
    cross_entropy,
    rematerialised,
    teacher_forced,
    value_and_gradients,
)
from seqgen.training.optimizer import sgd
from seqgen.training.state import HyperConfig, create
from seqgen.training.steps import train_steps, zero_totals
from seqgen.types import Batch, DropoutState, Member
from tests import oracles
from tests.oracles import SIZES, VARIANTS, V, live_params
from tests.programs import examples, program_of

B, T = 6, 8
CFG = rnn_language_model.Config(7, 12, layers=2)
MODEL, PARAMS = build(CFG, SIZES), live_params(CFG)
LOSS = teacher_forced(MODEL)
close = partial(jax.tree.map, partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6))


def window(rows: int = B, length: int = T) -> Batch:
    """Windows in which other targets count in every row, and not as many in each half."""
    random = np.random.default_rng(rows)
    tokens = np.int32(random.integers(V, size=(rows, length + 1)))
    mask = random.random((rows, length)) < 0.7
    mask[: rows // 2, : length // 2] = False
    mask[:, -1] = mask[0, 0] = True
    return jax.tree.map(jnp.asarray, Batch(None, None, tokens[:, :-1], tokens[:, 1:], mask))


def live_carry(rows: int = B):
    """Another one in every row."""
    random = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.float32(random.normal(size=leaf.shape) / 2),
        MODEL.initial_state(PARAMS, rows),
    )


# The loss


def test_cross_entropy_is_a_masked_sum():
    """Fails when padding counts, the mean is taken over rows or over all positions, or masked
    logits get a gradient.
    """
    batch = examples(4)
    logits = np.float32(np.random.default_rng(1).normal(size=(*batch.targets.shape, V)) * 3)
    (total, count), pull = jax.value_and_grad(cross_entropy, has_aux=True)(
        jnp.asarray(logits), batch.targets, batch.mask
    )
    mask, p = np.asarray(batch.mask), oracles.softmax(np.float64(logits))
    onehot = np.arange(V) == np.asarray(batch.targets)[..., None]
    np.testing.assert_allclose(total, -np.log(p[onehot]).reshape(mask.shape)[mask].sum(), rtol=1e-6)
    assert count == mask.sum()
    np.testing.assert_allclose(pull, (p - onehot) * mask[..., None], atol=1e-6)
    assert not np.asarray(pull)[~mask].any()
    assert 0 < mask.sum() < mask.size


def test_label_smoothing():
    """Fails when the uniform part counts padding, is weighed with 1 - ε, or enters the log's loss;
    or when windows whose activations are recomputed lose it.
    """
    smooth, part, params = teacher_forced(MODEL, 0.3), window(), jax.tree.map(jnp.asarray, PARAMS)
    value, (_, sums) = smooth(params, live_carry(), part, None)
    plain, (_, expected) = LOSS(params, live_carry(), part, None)
    _, out = MODEL.apply(params, part, live_carry(), None)
    logp = np.log(oracles.softmax(np.float64(out.logits)))
    uniform = -logp.mean(axis=-1)[np.asarray(part.mask)].mean()
    np.testing.assert_allclose(value, 0.7 * float(plain) + 0.3 * uniform, rtol=1e-5)
    assert abs(value - plain) > 1e-3
    close(sums, expected)
    again, (_, summed) = rematerialised(smooth, 4)(params, live_carry(), part, None)
    np.testing.assert_allclose(again, value, rtol=1e-5)
    close(summed, sums)


# A long window in the memory of a short one


@pytest.mark.parametrize("span", [1, 2, 4, 8])
def test_rematerialised_is_the_same_loss(span):
    """Fails when gradients end at a span's edge, a carry is lost or begins again, spans are
    weighted alike whatever their tokens, rows and times are mixed up, or the sums of the log are of
    the last span.
    """
    batch, carry = window(), live_carry()
    plain, ours = (
        jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(PARAMS, carry, batch, None)
        for loss in (LOSS, rematerialised(LOSS, span))
    )
    close(ours, plain)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(plain[1]))


def tracing(record: list | None = None):
    """A loss that shows which dropout it was given: its carry [B, n] is shifted, and the draw
    enters on the left.
    """

    def loss(params, carry, batch, dropout_state):
        if record is not None:
            record.append(batch.inputs.shape)
        draw = jax.random.uniform(dropout_state.key) + dropout_state.rate
        carry = jnp.concatenate([jnp.broadcast_to(draw, (len(carry), 1)), carry[:, :-1]], axis=1)
        total, tokens = params * draw * batch.mask.sum(), batch.mask.sum(dtype=jnp.float32)
        return total / tokens, (carry, {"loss": total, "tokens": tokens})

    return loss


def dropout_of(seed: int) -> DropoutState:
    return DropoutState(jax.random.key(seed), jnp.float32(0.3))


def test_every_span_draws_its_own_dropout():
    """Fails when all spans drop the same features, drop others in the backward pass, or lose the
    rate or the step's key.
    """
    ours = jax.jit(jax.value_and_grad(rematerialised(tracing(), 2), has_aux=True))
    batch, carry = window()._replace(mask=jnp.ones((B, T), bool)), jnp.zeros((B, 4))
    (value, (drawn, sums)), slope = ours(jnp.float32(2), carry, batch, dropout_of(0))
    draws = np.asarray(drawn)[0]
    assert len(set(draws.tolist())) == 4
    assert ((draws > 0.3) & (draws < 1.3)).all()
    np.testing.assert_allclose(value, 2 * draws.mean(), rtol=1e-6)
    np.testing.assert_allclose(slope, draws.mean(), rtol=1e-6)
    assert sums["tokens"] == B * T
    (_, (other, _)), _ = ours(jnp.float32(2), carry, batch, dropout_of(1))
    assert not set(draws.tolist()) & set(np.asarray(other)[0].tolist())


def test_dropout_is_the_same_on_the_way_back():
    """Fails when what a span computes again is not what it computed: the slope along a direction is
    not that of the values.
    """
    loss = jax.jit(jax.value_and_grad(rematerialised(LOSS, 2), has_aux=True))
    given = live_carry(), window(), dropout_of(0)
    _, grads = loss(PARAMS, *given)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(grads)))
    aside = [
        jax.tree.map(lambda p, g, by=by: p + by * g, PARAMS, grads)
        for by in (0.01 / norm, -0.01 / norm)
    ]
    high, low = (float(loss(params, *given)[0][0]) for params in aside)
    assert (high - low) / 0.02 == pytest.approx(norm, rel=1e-3)
    assert norm > 0.05


def scratch(function, *arguments) -> int:
    """Bytes that a compiled program needs beside its arguments and results."""
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_a_long_window_takes_the_memory_of_a_short_one():
    """Fails when activations or logits of all spans are kept."""
    long, short = 1024, 32
    short_spans = rematerialised(LOSS, short)
    plain, ours, one = (
        scratch(
            jax.value_and_grad(loss, has_aux=True), PARAMS, live_carry(2), window(2, length), None
        )
        for loss, length in ((LOSS, long), (short_spans, long), (LOSS, short))
    )
    assert ours < plain / 8
    assert ours < 4 * one


# A batch in parts


def in_parts(loss, parts: int):
    return jax.jit(value_and_gradients(loss, parts))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_of_lanes_are_the_whole_batch(parts):
    """Fails when parts are weighted alike whatever their tokens, gradients are added without
    weights, or lanes come back with another's carry.
    """
    batch, carry = window(), live_carry()
    whole = jax.jit(jax.value_and_grad(LOSS, has_aux=True))(PARAMS, carry, batch, None)
    close(in_parts(LOSS, parts)(PARAMS, carry, batch, None), whole)
    counts = np.asarray(batch.mask).reshape(2, -1).sum(axis=1)
    assert counts[1] > 1.5 * counts[0]


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_ragged_questions_are_the_whole_batch(parts):
    """Fails when a part's lengths, sources or answers are another's, or parts with few tokens weigh
    as much as the others.
    """
    cfg, random = VARIANTS["attention"], np.random.default_rng(0)
    params, loss = live_params(cfg), teacher_forced(build(cfg, SIZES))
    source, tokens = random.integers(V, size=(8, 3)), random.integers(V, size=(8, 6))
    counts = np.array([1, 1, 2, 1, 5, 4, 5, 5])
    mask, length = np.arange(5) < counts[:, None], np.int32(random.integers(1, 4, size=8))
    batch = Batch(np.int32(source), length, np.int32(tokens[:, :-1]), np.int32(tokens[:, 1:]), mask)
    batch = jax.tree.map(jnp.asarray, batch)
    whole = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, (), batch, None)
    close(in_parts(loss, parts)(params, (), batch, None), whole)
    assert whole[0][1][1]["tokens"] == counts.sum()


def test_every_part_draws_its_own_dropout():
    """Fails when all parts drop the same features, or lose the rate or the step's key."""
    batch, carry = window()._replace(mask=jnp.ones((B, T), bool)), jnp.zeros((B, 1))
    draws = []
    for seed in (0, 1):
        given = jnp.float32(2), carry, batch, dropout_of(seed)
        (value, (drawn, _)), slope = in_parts(tracing(), 3)(*given)
        rows = np.asarray(drawn).ravel()
        assert (rows[::2] == rows[1::2]).all()
        np.testing.assert_allclose(slope, rows.mean(), rtol=1e-6)
        np.testing.assert_allclose(value, 2 * rows.mean(), rtol=1e-6)
        draws += rows[::2].tolist()
    assert len(set(draws)) == 6
    assert all(0.3 < draw < 1.3 for draw in draws)


def test_parts_take_the_memory_of_one():
    """Fails when the activations of all parts are kept."""
    whole, parts = (
        scratch(value_and_gradients(LOSS, parts), PARAMS, live_carry(64), window(64, 40), None)
        for parts in (1, 16)
    )
    assert parts < whole / 4


def test_steps_are_taken_in_parts():
    """Fails when `accumulate` does not reach the gradient, a step is taken for each part, or what
    parts share (the clip, the carry, the sums of the log) is a part's own.
    """
    stream = np.random.default_rng(2).integers(V, size=B * 4 * T + 1).astype(np.uint16)
    optimizer, batches = sgd("constant", 0.0, 1), Windows(stream, B, T)
    items, shapes = jnp.asarray(batches.windows(0, 4)), []
    who = Member(jax.random.key(0), HyperConfig(lr=0.5, clip=0.25).traced())

    def recorded(params, carry, batch, dropout_state):
        shapes.append(batch.inputs.shape)
        return LOSS(params, carry, batch, dropout_state)

    def train(parts: int):
        init, carry = lambda key: jax.tree.map(jnp.asarray, PARAMS), MODEL.initial_state
        state = create(init, lambda params: carry(params, B), optimizer, who)
        program = program_of(recorded, optimizer, batches, accumulate=parts)
        steps = jax.jit(partial(train_steps, program, batches.data))
        return steps(who, state, zero_totals(), items, np.array([0, 4], np.int32))

    whole = train(1)
    assert set(shapes) == {(B, T)}
    shapes.clear()
    close(train(3), whole)
    assert set(shapes) == {(B // 3, T)}
    assert int(whole[0].step) == int(whole[1].steps) == 4
    assert whole[1].sums["gradient_norm"] / 4 > 0.25
