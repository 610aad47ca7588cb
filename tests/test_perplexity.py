"""Perplexity: every token's loss against NumPy and against steps, and the book's evaluation."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.evaluation import perplexity
from seqgen.evaluation.perplexity import book_perplexity, token_losses
from seqgen.evaluation.statistics import bootstrap
from seqgen.models import build, rnn_language_model
from seqgen.types import Memory
from tests import book_language as book
from tests.oracles import SIZES, V, live_params, log_softmax

D, H = 7, 12

MODELS = {
    "lstm": rnn_language_model.Config(D, H),
    "gru": rnn_language_model.Config(D, H, cell="gru"),
    "two layers": rnn_language_model.Config(D, H, layers=2),
    "tied": rnn_language_model.Config(H, H, layers=2, tied=True),
}
CFG = MODELS["lstm"]
MODEL, PARAMS = build(CFG, SIZES), live_params(CFG)


def stream(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(V, size=length).astype(np.uint16)


def losses_of(cfg, tokens: np.ndarray, *, sizes=SIZES, lanes: int = 1) -> np.ndarray:
    return token_losses(build(cfg, sizes), live_params(cfg, sizes=sizes), tokens, lanes=lanes)


@pytest.fixture
def small_pages(monkeypatch) -> None:
    """Windows of 8 tokens in one lane, and three a call, so that short streams have every kind of
    edge.
    """
    monkeypatch.setattr(perplexity, "BLOCK", 8)
    monkeypatch.setattr(perplexity, "WINDOWS", 3)


def flat(params: rnn_language_model.Params) -> list[np.ndarray]:
    """In the order of the book's pickles, in float64."""
    cells = [
        part for cell in params.cells for part in (*np.split(cell.w, [cell.w.shape[0] - H]), cell.b)
    ]
    w = params.embedding.T if params.w is None else params.w
    return [np.float64(array) for array in (params.embedding, *cells, w, params.b)]


def plain(cfg, lanes: np.ndarray, sizes=SIZES) -> np.ndarray:
    """-log p of every token of lanes but their first, by the NumPy oracle: from a carry of zeros in
    one go.
    """
    carry = [(np.zeros((len(lanes), H)), np.zeros((len(lanes), H)))] * cfg.layers
    logits, _ = book.forward(flat(live_params(cfg, sizes=sizes)), lanes[:, :-1], carry)
    return -np.take_along_axis(log_softmax(logits), lanes[:, 1:, None].astype(int), axis=2)[..., 0]


# Every token's loss


@pytest.mark.parametrize("length", [2, 3, 8, 9, 10, 24, 25, 26, 47, 50, 74])
def test_losses_are_numpys(small_pages, length):
    """Fails when a token's loss is another's, the first is counted, a tail is dropped, a carry is
    lost between windows or between calls, what stands after the end is read, or an average is
    taken.
    """
    tokens = stream(length)
    found = losses_of(CFG, tokens)
    assert found.shape == (length - 1,)
    np.testing.assert_allclose(found, plain(CFG, tokens[None])[0], atol=1e-5)


@pytest.mark.parametrize("model", ["two layers", "tied"])
def test_losses_of_the_books_deep_model(small_pages, model):
    """Fails when more layers than one cannot be read at all, or share a carry."""
    tokens = stream(29)
    expected = plain(MODELS[model], tokens[None])[0]
    np.testing.assert_allclose(losses_of(MODELS[model], tokens), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_losses_are_those_of_steps(small_pages, name):
    """Fails when what reading finds is not what writing one token after another would: the two are
    one model.
    """
    cfg, tokens = MODELS[name], stream(27)
    model, params = build(cfg, SIZES), jax.tree.map(jnp.asarray, live_params(cfg))
    step = jax.jit(partial(model.step, params, Memory((), None, jnp.zeros((1, 0)))))
    carry, total, expected = model.initial_state(params, 1), 0.0, []
    for token, following in pairwise(tokens):
        carry, out = step(carry, jnp.array([token], jnp.int32))
        expected.append(-log_softmax(out.logits[0])[following])
        total += expected[-1]
    np.testing.assert_allclose(losses_of(cfg, tokens), expected, atol=1e-5)
    scores = perplexity.perplexity(model, params, tokens)
    assert scores.perplexity == pytest.approx(np.exp(total / 26), rel=1e-5)


def test_a_stream_longer_than_a_window():
    """Fails when it is true of small windows only: 512 tokens a window, as they are."""
    tokens = stream(1700)
    np.testing.assert_allclose(losses_of(CFG, tokens), plain(CFG, tokens[None])[0], atol=1e-5)


@pytest.mark.parametrize("block", [1, 5, 61, 64])
def test_where_windows_end_changes_nothing(monkeypatch, block):
    """Fails when a window's first token is predicted from less than all before it."""
    whole = losses_of(CFG, stream(62))
    monkeypatch.setattr(perplexity, "BLOCK", block)
    monkeypatch.setattr(perplexity, "WINDOWS", 2)
    np.testing.assert_allclose(losses_of(CFG, stream(62)), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "lanes"),
    [(61, 4), (62, 4), (64, 4), (5, 4), (4, 3), (3, 5), (2, 20), (47, 20), (90, 2)],
)
def test_lanes_are_read_alone(small_pages, length, lanes):
    """Fails when a token is counted twice or in no lane, a lane hears of the one before it or
    beside it, or goes on into the next; when the last lane's missing tokens are counted; when there
    are more lanes than tokens.
    """
    tokens = stream(length)
    found = losses_of(CFG, tokens, lanes=lanes)
    assert found.shape == (length - 1,)
    each = -(-(length - 1) // lanes)
    pieces = [tokens[first : first + each + 1] for first in range(0, length - 1, each)]
    expected = np.concatenate([plain(CFG, piece[None])[0] for piece in pieces])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_streams_may_be_mapped(small_pages, tmp_path):
    """Fails when tokens of two bytes wrap round, must be signed or must be in memory."""
    sizes, tokens = SIZES._replace(target=300), stream(30) + 280
    expected = plain(CFG, tokens[None], sizes)[0]
    for kind in (np.uint16, np.uint32, np.int32):
        np.save(tmp_path / "x.npy", tokens.astype(kind))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_allclose(losses_of(CFG, mapped, sizes=sizes), expected, atol=1e-5)
        assert losses_of(CFG, mapped, sizes=sizes, lanes=3).shape == (29,)


# The perplexity


def books(cfg, tokens: np.ndarray, batch: int = 10, window: int = 35) -> float:
    """The book's evaluation, loop by loop: each iteration's mean, their mean, its exponential."""
    size = len(tokens)
    iterations, jump = (size - 1) // (batch * window), (size - 1) // batch
    params, total = flat(live_params(cfg)), 0.0
    carry = [(np.zeros((batch, H)), np.zeros((batch, H)))] * cfg.layers
    for iteration in range(iterations):
        x, t = np.zeros((batch, window), int), np.zeros((batch, window), int)
        for row in range(batch):
            for time in range(window):
                at = row * jump + iteration * window + time
                x[row, time], t[row, time] = tokens[at % size], tokens[(at + 1) % size]
        logits, carry = book.forward(params, x, carry)
        total += -np.take_along_axis(log_softmax(logits), t[..., None], axis=2).mean()
    return float(np.exp(total / iterations))


@pytest.mark.parametrize("length", [351, 360, 700, 701, 1061, 1234])
def test_the_books_evaluation(length):
    """Fails when lanes are not a tenth apart, a window is not 35, a tail is kept, the carry begins
    again, or exponentials are averaged.
    """
    tokens = stream(length)
    found = book_perplexity(MODEL, PARAMS, tokens)
    assert found == pytest.approx(books(CFG, tokens), rel=1e-5)


def test_the_books_evaluation_of_its_deep_model():
    """Fails when more layers than one cannot be read."""
    cfg, tokens = MODELS["tied"], stream(720)
    found = book_perplexity(build(cfg, SIZES), live_params(cfg), tokens)
    assert found == pytest.approx(books(cfg, tokens), rel=1e-5)


@pytest.mark.parametrize("length", [2, 36, 350])
def test_the_book_has_no_score_of_a_short_stream(length):
    """Fails when nothing is divided by nothing, or a shorter window stands in for the book's."""
    assert book_perplexity(MODEL, PARAMS, stream(length)) is None


@pytest.mark.parametrize("length", [3, 40, 400])
def test_perplexity_is_the_exponential_of_the_mean(length):
    """Fails when exponentials are averaged, bits are taken for nats, the ends of the interval are
    the loss's or swapped, or the book's number stands in for ours.
    """
    tokens = stream(length)
    scores = perplexity.perplexity(MODEL, PARAMS, tokens)
    losses = plain(CFG, tokens[None])[0]
    assert scores.tokens == length - 1
    assert scores.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert scores.perplexity == pytest.approx(np.exp(losses.mean()), rel=1e-5)
    _, low, high = bootstrap(losses)
    assert (scores.low, scores.high) == pytest.approx((np.exp(low), np.exp(high)), rel=1e-5)
    assert scores.low < scores.perplexity < scores.high
    assert scores.perplexity_book == (
        None if length < 351 else pytest.approx(books(CFG, tokens), rel=1e-5)
    )


def test_a_perplexity_beyond_all_floats_is_infinite():
    """Fails when a model that is sure and wrong ends in an OverflowError or a warning: 1,000 nats
    are e^1000.
    """
    params = PARAMS._replace(b=jnp.zeros(V).at[0].set(1000.0), w=jnp.zeros_like(PARAMS.w))
    scores = perplexity.perplexity(MODEL, params, np.ones(400, np.uint16))
    assert scores == (np.inf, np.inf, np.inf, np.inf, 1000.0, 399)


def test_perplexity_of_two_tokens():
    """Fails when the shortest split that a run takes ends, after the training, in a traceback."""
    scores = perplexity.perplexity(MODEL, PARAMS, stream(2))
    assert scores.tokens == 1
    assert scores.perplexity == pytest.approx(np.exp(plain(CFG, stream(2)[None])[0, 0]), rel=1e-5)
