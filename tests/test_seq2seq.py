"""Every encoder-decoder from its equations, and the book's models from an implementation that
shares nothing with ours; test_models.py has the contract.
"""

import jax
import numpy as np
import pytest

from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.types import Batch, Sizes, Special
from tests import book_numpy as book
from tests import oracles
from tests.cases import LENGTHS, PAST, B, PairsCase, S, T, close, forward, pairs_batch, pulled
from tests.oracles import SIZES, VARIANTS, V, book_config, config, from_book, run_row


@pytest.fixture(scope="module", params=VARIANTS)
def case(request) -> PairsCase:
    return PairsCase(f"seq2seq: {request.param}")


# Values


def test_ragged_rows_are_their_equations(case):
    """Fails when any part of a variant is not what its equations say: what is attended to and where
    it enters, what passes to the decoder and from which time, the order of what is joined, padding
    that is seen.
    """
    out = case.result.out
    for b, n in enumerate(LENGTHS):
        source, inputs = case.batch.source[b, :n], case.batch.inputs[b]
        expected, maps = run_row(case.cfg, case.params, source, inputs)
        np.testing.assert_allclose(out.logits[b], expected, atol=2e-5)
        if case.heads:
            np.testing.assert_allclose(out.aux["attention"][b, ..., :n], maps, atol=1e-5)


def test_full_rows_are_their_equations(case):
    """Fails when the padding without lengths is another program than its equations, or lengths that
    are full change its result (compiled, by more than the last bits: see test_nn).
    """
    _, out = forward(case.model, case.params, case.batch._replace(length=None), ())
    for b in range(B):
        expected, maps = run_row(case.cfg, case.params, case.batch.source[b], case.batch.inputs[b])
        np.testing.assert_allclose(out.logits[b], expected, atol=2e-5)
        if case.heads:
            np.testing.assert_allclose(out.aux["attention"][b], maps, atol=1e-5)
    full = case.run(batch=case.batch._replace(length=np.full(B, S, np.int32))).out
    close(full, out, 1e-5)


def test_attention_is_returned(case):
    """Fails when weights are dropped, in another order of axes than [B, T, K, S], not normalised,
    or not zero on padding.
    """
    attention = case.result.out.aux.get("attention")
    if not case.heads:
        assert attention is None
        return
    assert attention.shape == (B, T, len(case.heads), S)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert not np.asarray(attention)[np.broadcast_to(PAST[:, None, None], attention.shape)].any()


def test_padding_changes_no_bit(case):
    """Fails when what stands in padding reaches anything: logits, weights, or any gradient."""
    source = np.where(PAST, pairs_batch(5).source, case.batch.source)
    assert (source != case.batch.source).any()
    other = case.run(batch=case.batch._replace(source=source))
    jax.tree.map(np.testing.assert_array_equal, other, case.result)


# The book's models


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_the_books_logits_and_gradients(variant):
    """Fails when one of the three models is not the book's, from its parameters in its order,
    biases and all, forwards or backwards.
    """
    sizes = {"embedding": 7, "hidden": 12}
    random = np.random.RandomState(5)
    drawn = book.draw(variant, V, *sizes.values(), random)
    arrays = [p + np.float32(random.randn(*p.shape) / 2) for p in drawn]
    source = np.int32(random.randint(V, size=(2, 3)))
    target = np.int32(random.randint(V, size=(2, 6)))
    wide = [np.float64(a) for a in arrays]
    logits, weights = book.forward(variant, wide, source, target[:, :-1])
    _, expected = book.loss_and_gradients(variant, wide, source, target)

    pull = np.float32((oracles.softmax(logits) - (np.arange(V) == target[:, 1:, None])) / 10)
    batch = Batch(source, None, target[:, :-1], target[:, 1:], np.ones((2, 5), bool))
    model = build(book_config(variant, **sizes), SIZES)
    made = pulled(model, from_book(variant, arrays), batch, (), (pull,))
    np.testing.assert_allclose(made.out.logits, logits, atol=1e-5)
    if variant == book.ATTENTION:
        np.testing.assert_allclose(made.out.aux["attention"][:, :, 0], weights, atol=1e-5)
    close(made.params, from_book(variant, expected), 1e-5)


@pytest.mark.parametrize(
    ("sizes", "variant", "count"),
    [
        ((13, 16, 128), "baseline", 150_573),
        ((13, 16, 128), "peeky", 217_773),
        ((59, 16, 256), "attention", 591_259),
    ],
)
def test_sizes_are_the_books(sizes, variant, count):
    """Fails when a model has another matrix than the book's, a second bias, or a state projection
    that nobody asked for.
    """
    vocabulary, embedding, hidden = sizes
    cfg = book_config(variant, embedding=embedding, hidden=hidden)
    model = build(cfg, Sizes(vocabulary, vocabulary, Special(bos=0, eos=0)))
    params = jax.eval_shape(model.init, jax.random.key(0))
    drawn = from_book(variant, book.draw(variant, *sizes, np.random.RandomState(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert jax.tree.leaves(shapes) == jax.tree.leaves(jax.tree.map(np.shape, drawn))


# Configurations


def test_each_side_has_its_own_vocabulary():
    """Fails when one side's embedding, or the logits, have the other side's number of tokens."""
    cfg = VARIANTS["attention"]
    params = jax.eval_shape(build(cfg, SIZES._replace(source=5)).init, jax.random.key(0))
    embeddings = params.encoder.embedding, params.decoder.embedding
    assert [len(table) for table in embeddings] == [5, V]
    assert params.decoder.affine.b.shape == (V,)


@pytest.mark.parametrize(("reason", "options"), [
    ("'h\\+c' needs two LSTMs, not gru and lstm", {"initial_state": "h+c", "encoder": "gru"}),
    ("'h\\+c' needs two LSTMs, not lstm and rnn", {"initial_state": "h+c", "decoder": "rnn"}),
    ("equal widths", {"outputs": ("general", "dot"), "width": 10}),
    ("equal widths", {"inputs": ("dot",), "width": 10}),
])  # fmt: skip
def test_what_cannot_be_is_refused(reason, options):
    """Fails when a combination that has no meaning ends in an error of shapes, or in a model that
    is not what it says.
    """
    with pytest.raises(ValueError, match=reason):
        config(**options)


def test_equal_configurations_are_one():
    """Fails when a configuration hides a value that is not compared, or is no key."""
    same = rnn_seq2seq.Config(rnn_encoder.Config(7, 12), rnn_decoder.Config(9, 12))
    assert hash(config()) == hash(same)
    assert config() == same
