"""How language models train: lanes of a stream, losses and gradients in less memory, gradient descent, the book's rate."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.fit.language_model import rate_divisor
from seqgen.models import language_model, seq2seq
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import rematerialised, teacher_forced, value_and_gradients
from seqgen.training.source import Lanes
from seqgen.training.state import HyperConfig, create, sgd
from seqgen.types import Batch, Member, Noise
from tests import oracles
from tests.oracles import VARIANTS, live_params

quick_compilation = pytest.fixture(oracles.quick_compilation, scope="module", autouse=True)

B, T, V = 6, 8, 13
CFG = language_model.Config(7, 12, layers=2, vocabulary=V)
PARAMS = live_params(CFG, model=language_model)
LOSS = teacher_forced(language_model, CFG)
close = partial(jax.tree.map, partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6))


def window(rows: int = B, length: int = T) -> Batch:
    """Windows in which other targets count in every row, and not as many in each half."""
    random = np.random.default_rng(rows)
    tokens, mask = np.int32(random.integers(V, size=(rows, length + 1))), random.random((rows, length)) < 0.7
    mask[: rows // 2, : length // 2] = False
    mask[:, -1] = mask[0, 0] = True
    return jax.tree.map(jnp.asarray, Batch(None, None, tokens[:, :-1], tokens[:, 1:], mask))


def live_carry(rows: int = B):
    """Another one in every row."""
    random = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.float32(random.normal(size=leaf.shape) / 2), language_model.blank(CFG, rows))


# The lanes of a stream


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@example(41, 4, 5, 0, 2)
@example(40, 4, 5, 0, 1)
@example(42, 4, 10, 0, 3)
@given(st.integers(2, 90), st.integers(1, 5), st.integers(1, 9), st.integers(0, 12), st.integers(1, 6))
def test_windows_are_slices_of_the_lanes(tokens, batch, width, first, count):
    """Fails when a window begins elsewhere than where its lane's last one ended, lanes are not equal stretches of the stream
    one after another, a window is another one in another page, or one that no step reads shows another lane's tokens.
    """
    source, stream = Lanes(tokens, batch, width), np.arange(1, tokens + 1, dtype=np.uint16)
    length = (tokens - 1) // batch
    lanes = [stream[b * length : b * length + length + 1] for b in range(batch)]
    assert source.steps == length // width
    found = source.windows(stream, first, count)
    assert (found.shape, found.dtype) == ((count, batch, width + 1), np.int32)
    for step, each in enumerate(found, start=first):
        for lane, row in zip(lanes, each, strict=True):
            expected = lane[step * width : (step + 1) * width + 1].tolist()
            assert row.tolist() == expected + [0] * (width + 1 - len(expected))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 200), st.integers(1, 5), st.integers(1, 9))
def test_an_epoch_trains_on_every_token_once(tokens, batch, width):
    """Fails when a target comes twice, in two lanes or at the seam of two windows, or more are left out than what is too short
    for a window.
    """
    source = Lanes(tokens, batch, width)
    steps = source.windows(np.arange(tokens, dtype=np.uint32), 0, max(source.steps, 1))[: source.steps]
    targets = steps[..., 1:].ravel().tolist()
    assert len(set(targets)) == len(targets) == source.steps * batch * width
    left = set(range(1, tokens)) - set(targets)
    assert len(left) < batch * width + batch
    ends = {b * source.length for b in range(1, batch + 1)}
    assert all(any(0 <= end - at < width for end in ends) or at > batch * source.length for at in left)
    np.testing.assert_array_equal(steps[1:, :, 0], steps[:-1, :, -1])


def test_lanes_read_a_stream_on_the_disk(tmp_path):
    """Fails when the whole stream is needed in memory, or two-byte tokens wrap round."""
    stream = np.random.default_rng(0).integers(1 << 16, size=1000).astype(np.uint16)
    np.save(tmp_path / "x.npy", stream)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = Lanes(1000, 3, 7)
    np.testing.assert_array_equal(source.windows(mapped, 40, 5), source.windows(stream, 40, 5))
    assert source.windows(mapped, 0, source.steps).max() > 1 << 15
    batch = source.read((), jnp.asarray(source.windows(mapped, 0, 1)[0]))
    np.testing.assert_array_equal(batch.inputs, [stream[b * 333 : b * 333 + 7] for b in range(3)])
    np.testing.assert_array_equal(batch.targets, [stream[b * 333 + 1 : b * 333 + 8] for b in range(3)])
    assert batch.mask.all()
    assert batch.mask.shape == (3, 7)
    assert batch.source is batch.length is None


@pytest.mark.parametrize("width", [1, 5, 8])
def test_windows_in_turn_are_one_long_reading(width):
    """Fails when a lane's carry is lost, given to another lane, or a token is read twice at the seam of two windows."""
    stream = np.random.default_rng(3).integers(V, size=3 * 40 + 2).astype(np.uint16)
    source = Lanes(len(stream), 3, width)
    apply = jax.jit(partial(language_model.apply, CFG, jax.tree.map(jnp.asarray, PARAMS)))
    lanes = np.stack([stream[b * 40 : b * 40 + 40] for b in range(3)]).astype(np.int32)
    _, whole = apply(Batch(None, None, jnp.asarray(lanes), None, None), language_model.blank(CFG, 3))
    carry, parts = language_model.blank(CFG, 3), []
    for each in source.windows(stream, 0, source.steps):
        carry, out = apply(source.read((), jnp.asarray(each)), carry)
        parts.append(out.logits)
    assert len(parts) == 40 // width
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole.logits, atol=1e-6)
    assert np.ptp(whole.logits, axis=0).max() > 0.1


# A long window in the memory of a short one


@pytest.mark.parametrize("span", [1, 2, 4, 8])
def test_rematerialised_is_the_same_loss(span):
    """Fails when gradients end at a span's edge, a carry is lost or begins anew, spans are weighted alike whatever their
    tokens, rows and times are mixed up, or the sums of the log are of the last span.
    """
    batch, carry = window(), live_carry()
    plain, ours = (
        jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(PARAMS, carry, batch, None)
        for loss in (LOSS, rematerialised(LOSS, span))
    )
    close(ours, plain)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(plain[1]))


def tracing(record: list | None = None):
    """A loss that shows which noise it was given: its carry [B, n] is shifted, and the draw enters on the left."""

    def loss(params, carry, batch, noise):
        if record is not None:
            record.append(batch.inputs.shape)
        draw = jax.random.uniform(noise.key) + noise.rate
        carry = jnp.concatenate([jnp.broadcast_to(draw, (len(carry), 1)), carry[:, :-1]], axis=1)
        total, tokens = params * draw * batch.mask.sum(), batch.mask.sum(dtype=jnp.float32)
        return total / tokens, (carry, {"loss": total, "tokens": tokens})

    return loss


def noise(seed: int) -> Noise:
    return Noise(jax.random.key(seed), jnp.float32(0.3))


def test_every_span_draws_its_own_dropout():
    """Fails when all spans drop the same features, drop others in the backward pass, or lose the rate or the step's key."""
    ours = jax.jit(jax.value_and_grad(rematerialised(tracing(), 2), has_aux=True))
    batch, carry = window()._replace(mask=jnp.ones((B, T), bool)), jnp.zeros((B, 4))
    (value, (drawn, sums)), slope = ours(jnp.float32(2), carry, batch, noise(0))
    draws = np.asarray(drawn)[0]
    assert len(set(draws.tolist())) == 4
    assert ((draws > 0.3) & (draws < 1.3)).all()
    np.testing.assert_allclose(value, 2 * draws.mean(), rtol=1e-6)
    np.testing.assert_allclose(slope, draws.mean(), rtol=1e-6)
    assert sums["tokens"] == B * T
    (_, (other, _)), _ = ours(jnp.float32(2), carry, batch, noise(1))
    assert not set(draws.tolist()) & set(np.asarray(other)[0].tolist())


def test_dropout_is_the_same_on_the_way_back():
    """Fails when what a span computes again is not what it computed: the slope along a direction is not that of the values."""
    loss = jax.jit(jax.value_and_grad(rematerialised(LOSS, 2), has_aux=True))
    _, grads = loss(PARAMS, live_carry(), window(), noise(0))
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(grads)))
    aside = [jax.tree.map(lambda p, g, by=by: p + by * g, PARAMS, grads) for by in (0.01 / norm, -0.01 / norm)]
    high, low = (float(loss(params, live_carry(), window(), noise(0))[0][0]) for params in aside)
    assert (high - low) / 0.02 == pytest.approx(norm, rel=1e-3)
    assert norm > 0.05


def scratch(function, *arguments) -> int:
    """Bytes that a compiled program needs beside its arguments and results."""
    return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_a_long_window_takes_the_memory_of_a_short_one():
    """Fails when activations or logits of all spans are kept."""
    long, short = 1024, 32
    plain, ours, one = (
        scratch(jax.value_and_grad(loss, has_aux=True), PARAMS, live_carry(2), window(2, length), None)
        for loss, length in ((LOSS, long), (rematerialised(LOSS, short), long), (LOSS, short))
    )
    assert ours < plain / 8
    assert ours < 4 * one


# A batch in parts


def turns(loss, parts: int):
    return jax.jit(value_and_gradients(loss, parts))


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_parts_of_lanes_are_the_whole_batch(parts):
    """Fails when parts are weighted alike whatever their tokens, gradients are added without weights, or lanes come back with
    another's carry.
    """
    batch, carry = window(), live_carry()
    whole = jax.jit(jax.value_and_grad(LOSS, has_aux=True))(PARAMS, carry, batch, None)
    close(turns(LOSS, parts)(PARAMS, carry, batch, None), whole)
    counts = np.asarray(batch.mask).reshape(2, -1).sum(axis=1)
    assert counts[1] > 1.5 * counts[0]


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_ragged_questions_are_the_whole_batch(parts):
    """Fails when a part's lengths, sources or answers are another's, or parts with few tokens weigh as much as the others."""
    cfg, random = VARIANTS["attention"], np.random.default_rng(0)
    params, loss = live_params(cfg), teacher_forced(seq2seq, cfg)
    source, tokens = random.integers(V, size=(8, 3)), random.integers(V, size=(8, 6))
    counts = np.array([1, 1, 2, 1, 5, 4, 5, 5])
    mask, length = np.arange(5) < counts[:, None], np.int32(random.integers(1, 4, size=8))
    batch = Batch(np.int32(source), length, np.int32(tokens[:, :-1]), np.int32(tokens[:, 1:]), mask)
    batch = jax.tree.map(jnp.asarray, batch)
    whole = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, (), batch, None)
    close(turns(loss, parts)(params, (), batch, None), whole)
    assert whole[0][1][1]["tokens"] == counts.sum()


def test_every_part_draws_its_own_dropout():
    """Fails when all parts drop the same features, or lose the rate or the step's key."""
    batch, carry = window()._replace(mask=jnp.ones((B, T), bool)), jnp.zeros((B, 1))
    draws = []
    for seed in (0, 1):
        (value, (drawn, _)), slope = turns(tracing(), 3)(jnp.float32(2), carry, batch, noise(seed))
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
        scratch(value_and_gradients(LOSS, parts), PARAMS, live_carry(64), window(64, 40), None) for parts in (1, 16)
    )
    assert parts < whole / 4


def test_a_chunk_takes_its_steps_in_parts():
    """Fails when `parts` does not reach the gradient, a step is taken for each part, or what parts share (the clip, the carry,
    the sums of the log) is a part's own.
    """
    optimizer, source = sgd("constant", 0.0, 1), Lanes(B * 4 * T + 1, B, T)
    stream = np.random.default_rng(2).integers(V, size=B * 4 * T + 1).astype(np.uint16)
    items, shapes = jnp.asarray(source.windows(stream, 0, 4)), []
    who = Member(jax.random.key(0), HyperConfig(lr=0.5, clip=0.25).traced())

    def recorded(params, carry, batch, noise):
        shapes.append(batch.inputs.shape)
        return LOSS(params, carry, batch, noise)

    def train(parts: int):
        state = create(lambda key: jax.tree.map(jnp.asarray, PARAMS), optimizer, who, language_model.blank(CFG, B))
        chunk = jax.jit(partial(run_chunk, recorded, optimizer, source, (), parts=parts))
        return chunk(who, state=state, totals=zero_totals(SUMS), items=items, span=np.array([0, 4], np.int32))

    whole = train(1)
    assert set(shapes) == {(B, T)}
    shapes.clear()
    close(train(3), whole)
    assert set(shapes) == {(B // 3, T)}
    assert int(whole[0].step) == int(whole[1].steps) == 4
    assert whole[1].sums["gradient_norm"] / 4 > 0.25


# Plain gradient descent


@pytest.mark.parametrize("decay", [None, 0.2])
def test_sgd_behind_a_clip(decay):
    """Fails when the clip is a leaf's and not the whole gradient's, stretches short gradients, or comes after the rate; when
    there is momentum or a rule of another optimiser's; when decay is not scaled by the rate or reaches a bias.
    """
    random = np.random.default_rng(2)
    p = {"w": random.normal(size=(3, 2)), "b": random.normal(size=2)}
    hyper = HyperConfig(lr=20.0, clip=0.25, decay=decay).traced()
    transform = sgd("constant", 0.0, 10)(hyper)
    ours = jax.tree.map(jnp.float32, p)
    state, update = transform.init(ours), jax.jit(transform.update)
    clipped = []
    for t in range(4):
        grads = {name: random.normal(size=value.shape) * 10.0 ** (1 - t) for name, value in p.items()}
        updates, state = update(jax.tree.map(jnp.float32, grads), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        clipped.append(norm > 0.25)
        for name, g in grads.items():
            p[name] = p[name] * (1 - 20 * (decay or 0) * (name == "w")) - 20 * g * min(1, 0.25 / norm)
    assert clipped == [True, True, True, False]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), ours, p)


# The book's rate


@pytest.mark.parametrize(
    ("losses", "divisor"),
    [
        ([], 1),
        ([5.0], 1),
        ([5.0, 4.0, 3.0], 1),
        ([5.0, 5.0], 4),
        ([5.0, 4.0, 4.5, 4.2, 3.9], 16),
        ([5.0, 4.0, 4.0, 3.0, 3.5, 2.9], 16),
        ([3.0, 5.0, 4.0, 3.0], 64),
        ([5.0, float("nan"), 4.0], 4),
    ],
)
def test_the_rate_falls_where_an_epoch_is_not_the_best(losses, divisor):
    """Fails when an epoch is compared with the last one and not with the best, an equal loss counts as better, the rate
    recovers, or the first epoch counts.
    """
    events = [{"event": "evaluate", "loss": loss} for loss in losses]
    assert rate_divisor(events, 4.0) == divisor
    assert rate_divisor(events, 1.0) == 1
