"""Perplexity: every token's loss against NumPy and against steps, the book's evaluation, and intervals of dependent values."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import lfilter

from seqgen import perplexity
from seqgen.models import language_model
from seqgen.perplexity import book_perplexity, token_losses
from seqgen.statistics import bootstrap
from seqgen.types import Memory
from tests import book_language as book
from tests.oracles import live_params, log_softmax, quick_compilation

V, D, H = 13, 7, 12
quick = pytest.fixture(quick_compilation, scope="module", autouse=True)

MODELS = {
    "lstm": language_model.Config(D, H, vocabulary=V),
    "gru": language_model.Config(D, H, cell="gru", vocabulary=V),
    "two layers": language_model.Config(D, H, layers=2, vocabulary=V),
    "tied": language_model.Config(H, H, layers=2, tied=True, vocabulary=V),
}
CFG = MODELS["lstm"]
PARAMS = live_params(CFG, model=language_model)


def stream(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(V, size=length).astype(np.uint16)


def losses_of(cfg, tokens: np.ndarray, **options) -> np.ndarray:
    return token_losses(language_model, cfg, live_params(cfg, model=language_model), tokens, **options)


@pytest.fixture
def small_pages(monkeypatch) -> None:
    """Windows of 8 tokens in one lane, and three a call, so that short streams have every kind of edge."""
    monkeypatch.setattr(perplexity, "BLOCK", 8)
    monkeypatch.setattr(perplexity, "WINDOWS", 3)


def flat(params: language_model.Params) -> list[np.ndarray]:
    """In the order of the book's pickles, in float64."""
    cells = [part for cell in params.cells for part in (*np.split(cell.w, [cell.w.shape[0] - H]), cell.b)]
    w = params.embedding.T if params.w is None else params.w
    return [np.float64(array) for array in (params.embedding, *cells, w, params.b)]


def plain(cfg, lanes: np.ndarray) -> np.ndarray:
    """-log p of every token of lanes but their first, by the NumPy oracle: from a blank carry in one go."""
    carry = [(np.zeros((len(lanes), H)), np.zeros((len(lanes), H)))] * cfg.layers
    logits, _ = book.forward(flat(live_params(cfg, model=language_model)), lanes[:, :-1], carry)
    return -np.take_along_axis(log_softmax(logits), lanes[:, 1:, None].astype(int), axis=2)[..., 0]


# Every token's loss


@pytest.mark.parametrize("length", [2, 3, 8, 9, 10, 24, 25, 26, 47, 50, 74])
def test_losses_are_numpys(small_pages, length):
    """Fails when a token's loss is another's, the first is counted, a tail is dropped, a carry is lost between windows or
    between calls, what stands after the end is read, or an average is taken.
    """
    tokens = stream(length)
    found = losses_of(CFG, tokens)
    assert found.shape == (length - 1,)
    np.testing.assert_allclose(found, plain(CFG, tokens[None])[0], atol=1e-5)


@pytest.mark.parametrize("model", ["two layers", "tied"])
def test_losses_of_the_books_deep_model(small_pages, model):
    """Fails when more layers than one cannot be read at all, or share a carry."""
    tokens = stream(29)
    np.testing.assert_allclose(losses_of(MODELS[model], tokens), plain(MODELS[model], tokens[None])[0], atol=1e-5)


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_losses_are_those_of_steps(small_pages, model):
    """Fails when what reading finds is not what writing one token after another would: the two are one model."""
    cfg, tokens = MODELS[model], stream(27)
    params = jax.tree.map(jnp.asarray, live_params(cfg, model=language_model))
    step = jax.jit(partial(language_model.step, cfg, params, Memory((), None, jnp.zeros((1, 0)))))
    carry, total, expected = language_model.blank(cfg, 1), 0.0, []
    for token, following in pairwise(tokens):
        carry, out = step(carry, jnp.array([token], jnp.int32))
        expected.append(-log_softmax(out.logits[0])[following])
        total += expected[-1]
    np.testing.assert_allclose(losses_of(cfg, tokens), expected, atol=1e-5)
    scores = perplexity.perplexity(language_model, cfg, params, tokens)
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


@pytest.mark.parametrize(("length", "lanes"), [(61, 4), (62, 4), (64, 4), (5, 4), (4, 3), (3, 5), (2, 20), (47, 20), (90, 2)])
def test_lanes_are_read_alone(small_pages, length, lanes):
    """Fails when a token is counted twice or in no lane, a lane hears of the one before it or beside it, or goes on into the
    next; when the last lane's missing tokens are counted; when there are more lanes than tokens.
    """
    tokens = stream(length)
    found = losses_of(CFG, tokens, lanes=lanes)
    assert found.shape == (length - 1,)
    each = -(-(length - 1) // lanes)
    pieces = [tokens[first : first + each + 1] for first in range(0, length - 1, each)]
    np.testing.assert_allclose(found, np.concatenate([plain(CFG, piece[None])[0] for piece in pieces]), atol=1e-5)


def test_streams_may_be_mapped(small_pages, tmp_path):
    """Fails when tokens of two bytes wrap round, must be signed or must be in memory."""
    cfg, tokens = language_model.Config(D, H, vocabulary=300), stream(30) + 280
    for kind in (np.uint16, np.uint32, np.int32):
        np.save(tmp_path / "x.npy", tokens.astype(kind))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        np.testing.assert_allclose(losses_of(cfg, mapped), plain(cfg, tokens[None])[0], atol=1e-5)
        assert losses_of(cfg, mapped, lanes=3).shape == (29,)


# The perplexity


def books(cfg, tokens: np.ndarray, batch: int = 10, window: int = 35) -> float:
    """The book's evaluation, loop by loop: each iteration's mean, their mean, its exponential."""
    size = len(tokens)
    iterations, jump = (size - 1) // (batch * window), (size - 1) // batch
    params, total = flat(live_params(cfg, model=language_model)), 0.0
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
    """Fails when lanes are not a tenth apart, a window is not 35, a tail is kept, the carry begins anew, or exponentials are
    averaged.
    """
    tokens = stream(length)
    assert book_perplexity(language_model, CFG, PARAMS, tokens) == pytest.approx(books(CFG, tokens), rel=1e-5)


def test_the_books_evaluation_of_its_deep_model():
    """Fails when more layers than one cannot be read."""
    cfg, tokens = MODELS["tied"], stream(720)
    found = book_perplexity(language_model, cfg, live_params(cfg, model=language_model), tokens)
    assert found == pytest.approx(books(cfg, tokens), rel=1e-5)


@pytest.mark.parametrize("length", [2, 36, 350])
def test_the_book_has_no_score_of_a_short_stream(length):
    """Fails when nothing is divided by nothing, or a shorter window takes the place of the book's."""
    assert book_perplexity(language_model, CFG, PARAMS, stream(length)) is None


@pytest.mark.parametrize("length", [3, 40, 400])
def test_perplexity_is_the_exponential_of_the_mean(length):
    """Fails when exponentials are averaged, bits are taken for nats, the ends of the interval are the loss's or swapped, or the
    book's number stands in for ours.
    """
    tokens = stream(length)
    scores = perplexity.perplexity(language_model, CFG, PARAMS, tokens)
    losses = plain(CFG, tokens[None])[0]
    assert scores.tokens == length - 1
    assert scores.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert scores.perplexity == pytest.approx(np.exp(losses.mean()), rel=1e-5)
    _, low, high = bootstrap(losses)
    assert (scores.low, scores.high) == pytest.approx((np.exp(low), np.exp(high)), rel=1e-5)
    assert scores.low < scores.perplexity < scores.high
    assert scores.perplexity_book == (None if length < 351 else pytest.approx(books(CFG, tokens), rel=1e-5))


def test_a_perplexity_beyond_all_floats_is_infinite():
    """Fails when a model that is sure and wrong ends in an OverflowError or a warning: 1,000 nats are e^1000."""
    params = PARAMS._replace(b=jnp.zeros(V).at[0].set(1000.0), w=jnp.zeros_like(PARAMS.w))
    scores = perplexity.perplexity(language_model, CFG, params, np.ones(400, np.uint16))
    assert scores == (np.inf, np.inf, np.inf, np.inf, 1000.0, 399)


def test_perplexity_of_two_tokens():
    """Fails when the shortest split that a run takes ends, after the training, in a traceback."""
    scores = perplexity.perplexity(language_model, CFG, PARAMS, stream(2))
    assert scores.tokens == 1
    assert scores.perplexity == pytest.approx(np.exp(plain(CFG, stream(2)[None])[0, 0]), rel=1e-5)


# The interval of a mean of dependent values


def covered(series: np.ndarray, **options) -> float:
    """How often the interval holds the true mean, 0."""
    found = [bootstrap(values, **options) for values in series]
    return float(np.mean([low <= 0 <= high for _, low, high in found]))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Fails when an interval is too narrow for dependent values, as it is where each is drawn by itself, or too wide."""
    noise = np.random.default_rng(0).normal(size=(400, 5000))
    series = lfilter([1], [1, -0.8], noise)[:, 1000:]  # AR(1): three times the error of independent values
    assert 0.91 <= covered(series) <= 0.975
    assert 0.91 <= covered(noise[:, 1000:]) <= 0.975
    assert covered(series[:100], block=1, draws=200) < 0.7


def quantiles(series: list[int], length: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the interval's ends must be, each between two numbers: sums of blocks of a circle, drawn as often as they fill the
    series, by convolution of their probabilities.
    """
    n = len(series)
    sums = [sum(series[(first + i) % n] for i in range(length)) for first in range(n)]
    blocks = -(-n // length)
    one, all_ = np.bincount(sums) / n, np.ones(1)
    for _ in range(blocks):
        all_ = np.convolve(all_, one)
    cdf, scale = np.cumsum(all_), blocks * length
    return tuple(tuple(np.searchsorted(cdf, q + side) / scale for side in (-0.01, 0.01)) for q in (0.025, 0.975))


@pytest.mark.parametrize(
    ("n", "block", "length"), [(60, 200, 3), (59, 200, 2), (100, 2, 2), (19, 200, 1), (400, 7, 7), (2, 200, 1)]
)
def test_intervals_are_those_of_all_blocks(n, block, length):
    """Fails when a short series has fewer than 20 blocks, the last block is forgotten, blocks do not go round the series' end,
    or the ends are not 2.5 and 97.5 %.
    """
    random = np.random.default_rng(n)
    series = [int(value) for value in np.cumsum(random.integers(-1, 2, size=n))]
    series = [value - min(series) + 50 * (i in (0, n - 1)) for i, value in enumerate(series)]
    mean, low, high = bootstrap(series, block=block)
    assert mean == pytest.approx(np.mean(series))
    expected = quantiles(series, length)
    for found, (least, most) in zip((low, high), expected, strict=True):
        assert least - 1e-9 <= found <= most + 1e-9
    assert quantiles(series, length + 1) != expected or n == 2
    whole = np.array([bootstrap(series, block=block, draws=1, seed=seed).low for seed in range(5)]) * -(-n // length) * length
    np.testing.assert_allclose(whole, whole.round(), atol=1e-6)


def test_what_repeats_with_every_block_is_certain():
    """Fails when blocks are not whole stretches of the series: here all have one mean."""
    mean, low, high = bootstrap(np.tile(np.arange(20.0), 20))
    assert (mean, low, high) == pytest.approx((9.5, 9.5, 9.5))
    assert bootstrap(np.full(50, 2.5)) == pytest.approx((2.5, 2.5, 2.5))


def test_intervals_are_the_same_each_time():
    """Fails when a number in a README changes with each reading, or single precision rounds the mean of a long series."""
    series = np.random.default_rng(0).normal(size=200_000).astype(np.float32) + np.float32(1000)
    assert bootstrap(series) == bootstrap(series)
    assert bootstrap(series, seed=1)[1:] != bootstrap(series)[1:]
    assert bootstrap(series).mean == pytest.approx(np.float64(series).mean(), rel=1e-12)
    assert bootstrap(series[:2000].tolist()) == bootstrap(series[:2000])


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_value_has_no_interval(values):
    """Fails when a single value is called certain."""
    with pytest.raises(ValueError, match=f"two values or more, not {len(values)}"):
        bootstrap(values)
