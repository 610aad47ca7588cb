"""What a step sees: rows on the device in a random order, windows of a stream on the disk."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.models import build, rnn_language_model
from seqgen.training.batches import PAGE, Rows, Windows
from seqgen.training.state import streams
from seqgen.types import Batch
from tests.oracles import SIZES, V, live_params
from tests.programs import B, N, examples, member

CFG = rnn_language_model.Config(7, 12, layers=2)
MODEL, PARAMS = build(CFG, SIZES), live_params(CFG)


# Rows


def test_an_epoch_is_a_permutation():
    """Fails when an example comes twice in an epoch, the same ones are left out of every epoch, the
    order is another when a hyper-parameter is, or epochs or members share it.
    """
    whole = Rows(examples(), B)
    assert (whole.examples, whole.steps) == (N, 10)
    plan = jax.jit(whole.plan)
    one, other = member(0), member(1)
    epochs = [
        np.asarray(plan(who, jnp.int32(epoch)))
        for who, epoch in ((one, 0), (one, 1), (one, 2), (other, 0))
    ]
    for rows in epochs:
        assert rows.shape == (10, B)
        assert len(np.unique(rows)) == rows.size
        assert 0 <= rows.min() <= rows.max() < N
    for i, rows in enumerate(epochs):
        assert all((rows == earlier).mean() < 0.3 for earlier in epochs[:i])
    assert len({frozenset(range(N)) - frozenset(rows.ravel().tolist()) for rows in epochs}) > 1
    order = jax.random.permutation(jax.random.fold_in(streams(one.key).data, 1), N)
    np.testing.assert_array_equal(epochs[1].ravel(), order[:40])
    np.testing.assert_array_equal(plan(member(0, lr=0.5), jnp.int32(1)), epochs[1])


@pytest.mark.parametrize("first", [0, 3, 9])
def test_a_page_of_rows_is_the_epoch(first):
    """Fails when a page leaves steps out, or says that it serves others than it does: a step would
    be taken with another one's rows.
    """
    whole, plan = Rows(examples(), B), jnp.arange(40).reshape(10, B)
    page = whole.page(plan, 0, first)
    assert (page.first, page.end) == (0, 10)
    np.testing.assert_array_equal(page.items, plan)


@pytest.mark.parametrize("ragged", [True, False])
def test_read_gathers_rows(ragged):
    """Fails when question and answer lose each other, or no length becomes one."""
    data = examples() if ragged else examples()._replace(length=None)
    rows = np.array([7, 0, 41, 7])
    batch = Rows(data, B).read(data, jnp.asarray(rows))
    expected = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], data)
    jax.tree.map(np.testing.assert_array_equal, batch, expected)


# The lanes of a stream


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@example(41, 4, 5, 0, 2)
@example(40, 4, 5, 0, 1)
@example(42, 4, 10, 0, 3)
@given(
    st.integers(2, 90), st.integers(1, 5), st.integers(1, 9), st.integers(0, 12), st.integers(1, 6)
)
def test_windows_are_slices_of_the_lanes(tokens, batch, width, first, count):
    """Fails when a window begins elsewhere than where its lane's last one ended, lanes are not
    equal stretches of the stream one after another, a window is another one in another page, or one
    that no step reads shows another lane's tokens.
    """
    stream = np.arange(1, tokens + 1, dtype=np.uint16)
    batches, length = Windows(stream, batch, width), (tokens - 1) // batch
    lanes = [stream[b * length : b * length + length + 1] for b in range(batch)]
    assert batches.steps == length // width
    found = batches.windows(first, count)
    assert (found.shape, found.dtype) == ((count, batch, width + 1), np.int32)
    for step, each in enumerate(found, start=first):
        for lane, row in zip(lanes, each, strict=True):
            expected = lane[step * width : (step + 1) * width + 1].tolist()
            assert row.tolist() == expected + [0] * (width + 1 - len(expected))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 200), st.integers(1, 5), st.integers(1, 9))
def test_an_epoch_trains_on_every_token_once(tokens, batch, width):
    """Fails when a target comes twice, in two lanes or at the seam of two windows, or more are left
    out than what is too short for a window.
    """
    batches = Windows(np.arange(tokens, dtype=np.uint32), batch, width)
    steps = batches.windows(0, max(batches.steps, 1))[: batches.steps]
    targets = steps[..., 1:].ravel().tolist()
    assert len(set(targets)) == len(targets) == batches.steps * batch * width
    left = set(range(1, tokens)) - set(targets)
    assert len(left) < batch * width + batch
    ends = {b * batches.length for b in range(1, batch + 1)}
    assert all(
        any(0 <= end - at < width for end in ends) or at > batch * batches.length for at in left
    )
    np.testing.assert_array_equal(steps[1:, :, 0], steps[:-1, :, -1])


@pytest.mark.parametrize("first", [0, 1, PAGE - 1, PAGE, 2 * PAGE + 5])
def test_a_page_serves_its_steps(first):
    """Fails when a step's window is not where its page says that it is, a page does not hold the
    step that it is asked for, or the last page has another shape: it would compile again.
    """
    stream = np.arange(3 * (2 * PAGE + 9) * 2 + 1, dtype=np.uint32)
    batches = Windows(stream, 3, 2)
    assert 2 * PAGE < batches.steps < 3 * PAGE
    page = batches.page((), 0, first)
    assert page.first <= first < page.end
    assert page.items.shape == (PAGE, 3, 3)
    own = page.items[first - page.first]
    np.testing.assert_array_equal(own, batches.windows(first, 1)[0])


def test_lanes_read_a_stream_on_the_disk(tmp_path):
    """Fails when the whole stream is needed in memory, or two-byte tokens wrap round."""
    stream = np.random.default_rng(0).integers(1 << 16, size=1000).astype(np.uint16)
    np.save(tmp_path / "x.npy", stream)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    batches, inside = Windows(mapped, 3, 7), Windows(stream, 3, 7)
    np.testing.assert_array_equal(batches.windows(40, 5), inside.windows(40, 5))
    assert batches.windows(0, batches.steps).max() > 1 << 15
    batch = batches.read((), jnp.asarray(batches.windows(0, 1)[0]))
    begins = [b * 333 for b in range(3)]
    np.testing.assert_array_equal(batch.inputs, [stream[at : at + 7] for at in begins])
    np.testing.assert_array_equal(batch.targets, [stream[at + 1 : at + 8] for at in begins])
    assert batch.mask.all()
    assert batch.mask.shape == (3, 7)
    assert batch.source is batch.length is None


@pytest.mark.parametrize("width", [1, 5, 8])
def test_windows_in_turn_are_one_long_reading(width):
    """Fails when a lane's carry is lost, given to another lane, or a token is read twice at the
    seam of two windows.
    """
    stream = np.random.default_rng(3).integers(V, size=3 * 40 + 2).astype(np.uint16)
    batches = Windows(stream, 3, width)
    apply = jax.jit(partial(MODEL.apply, jax.tree.map(jnp.asarray, PARAMS), dropout_state=None))
    lanes = np.stack([stream[b * 40 : b * 40 + 40] for b in range(3)]).astype(np.int32)
    carry, parts = MODEL.initial_state(PARAMS, 3), []
    _, whole = apply(Batch(None, None, jnp.asarray(lanes), None, None), carry)
    for each in batches.windows(0, batches.steps):
        carry, out = apply(batches.read((), jnp.asarray(each)), carry)
        parts.append(out.logits)
    assert len(parts) == 40 // width
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole.logits, atol=1e-6)
    assert np.ptp(whole.logits, axis=0).max() > 0.1
