"""The book's language models and bidirectional layer: the NumPy oracle against differences, and
ours against the oracle.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_language_model
from seqgen.nn.cells import CellParams, LstmCarry, lstm
from seqgen.nn.layers import dropout
from seqgen.nn.recurrence import unroll
from seqgen.types import Batch, DropoutState, Model
from tests import book_language as book
from tests import book_numpy, oracles

B, T = 3, 5
SIZES = {book.RNNLM: (13, 7, 12), book.BETTER: (13, 12, 12)}
TINY = {book.RNNLM: (6, 3, 4), book.BETTER: (6, 4, 4)}


class Case:
    """A model with live biases and carries in float64, and tokens for two windows, some of them
    more than once.
    """

    def __init__(self, model: str, sizes: tuple[int, int, int]) -> None:
        random, (V, D, H) = np.random.RandomState(0), sizes
        self.model, self.sizes, self.layers = model, sizes, {book.RNNLM: 1, book.BETTER: 2}[model]
        self.params = [
            p + random.randn(*p.shape) / 2 for p in book.draw(model, *sizes, random, dtype="d")
        ]
        if model == book.BETTER:
            self.params[-2] = self.params[0].T
        self.params = [np.float64(np.float32(p)) for p in self.params]
        self.carry = [
            tuple(np.float64(np.float32(random.randn(2, B, H)))) for _ in range(self.layers)
        ]
        self.tokens = np.int32(random.randint(V - 1, size=(B, 2 * T + 1)))
        self.masks = [(random.rand(B, T, width) > 0.4) / 0.6 for width in (D, *(H,) * self.layers)]

    def window(self, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a window, and those one step later."""
        first = number * T
        return self.tokens[:, first : first + T], self.tokens[:, first + 1 : first + T + 1]


@pytest.fixture(params=book.MODELS)
def case(request) -> Case:
    return Case(request.param, SIZES[request.param])


# The oracle


def differences(loss, p: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of loss() along every entry of p, which it reads."""
    slopes = np.zeros_like(p)
    for at in np.ndindex(p.shape):
        middle, sides = p[at], []
        for p[at] in (middle + step, middle - step):
            sides.append(loss())
        p[at], slopes[at] = middle, (sides[0] - sides[1]) / (2 * step)
    return slopes


@pytest.mark.parametrize("model", book.MODELS)
def test_the_oracles_gradients_are_differences(model):
    """Fails when a term of the backward pass is lost: a mask, a token that occurs twice written
    instead of added, the second LSTM's way into the first, one of the two places of the tied
    matrix.
    """
    case = Case(model, TINY[model])
    arguments = *case.window(), case.carry, case.masks
    _, grads, _ = book.loss_and_gradients(case.params, *arguments)
    for p, g in zip(case.params, grads, strict=True):
        expected = differences(lambda: book.loss_and_gradients(case.params, *arguments)[0], p)
        np.testing.assert_allclose(g, expected, atol=1e-8, rtol=1e-6)
        assert np.abs(g).max() > 1e-5
    if model == book.BETTER:
        embed, *others, _, bias = case.params
        expected = differences(
            lambda: book.loss_and_gradients([embed, *others, embed.T, bias], *arguments)[0], embed
        )
        np.testing.assert_allclose(book.tied(grads)[0], expected, atol=1e-8, rtol=1e-6)
        np.testing.assert_array_equal(book.tied(grads)[-2], book.tied(grads)[0].T)


def test_the_oracles_two_windows_are_one(case):
    """Fails when the carry is lost, swapped or that of another layer at a window's end, or c does
    not begin where it is told.
    """
    (first, _), (second, _) = case.window(0), case.window(1)
    whole, after = book.forward(case.params, np.concatenate([first, second], axis=1), case.carry)
    logits, carry = book.forward(case.params, first, case.carry)
    rest, carry = book.forward(case.params, second, carry)
    np.testing.assert_allclose(np.concatenate([logits, rest], axis=1), whole, atol=1e-12)
    np.testing.assert_allclose(carry, after, atol=1e-12)
    zeros = [(np.zeros_like(h), np.zeros_like(c)) for h, c in case.carry]
    assert np.abs(book.forward(case.params, first, zeros)[0] - logits)[:, 0].min(1).max() > 1e-4


def test_the_oracles_lstm_is_the_other_oracles():
    """Fails when the gates stand in another order than in `book_numpy`, whose cell is held by
    arithmetic.
    """
    random = np.random.RandomState(1)
    x, h, Wx, Wh, b = (
        random.randn(*shape) for shape in ((B, T, 3), (B, 4), (3, 16), (4, 16), (16,))
    )
    hs, (last, _), _ = book.lstm(x, (h, np.zeros_like(h)), Wx, Wh, b)
    np.testing.assert_array_equal(hs, book_numpy.lstm(x, h, Wx, Wh, b)[0])
    np.testing.assert_array_equal(last, hs[:, -1])


class Both:
    """Two LSTMs over one x, and a pull on their outputs."""

    def __init__(self, D: int, H: int) -> None:
        random = np.random.RandomState(2)
        draws = [
            [random.randn(*shape) / 2 for shape in ((D, 4 * H), (H, 4 * H), (4 * H,))]
            for _ in range(2)
        ]
        self.left, self.right = draws
        self.carries = [tuple(random.randn(2, B, H)) for _ in range(2)]
        self.x, self.pull = random.randn(B, T, D), random.randn(B, T, 2 * H)

    def forward(self) -> tuple[np.ndarray, tuple]:
        return book.bidirectional(self.x, self.carries, self.left, self.right)

    def backward(self) -> tuple:
        return book.bidirectional_backward(
            self.pull, self.forward()[1], self.x, self.left, self.right
        )


def test_the_oracles_bidirectional_gradients_are_differences():
    """Fails when the right LSTM's way back is not turned round, reads the left one's gradients, or
    its dx is not added.
    """
    both = Both(3, 4)
    dx, dh, dleft, dright = both.backward()
    read = [both.x, *(h for h, _ in both.carries), *both.left, *both.right]
    for p, g in zip(read, [dx, *dh, *dleft, *dright], strict=True):
        expected = differences(lambda: np.sum(both.forward()[0] * both.pull), p)
        np.testing.assert_allclose(g, expected, atol=1e-7, rtol=1e-6)


# Ours


def ours(case: Case, arrays: list[np.ndarray]) -> rnn_language_model.Params:
    """A list in the book's order, parameters or their gradients, as `Params`."""
    embed, *cells, w, b = (np.float32(array) for array in arrays)
    sides = [cells[i : i + 3] for i in range(0, len(cells), 3)]
    joined = tuple(CellParams(np.concatenate([wx, wh]), bias) for wx, wh, bias in sides)
    return rnn_language_model.Params(embed, joined, None if case.model == book.BETTER else w, b)


def mean_loss(logits, targets):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], axis=-1).mean()


@partial(jax.jit, static_argnums=0)
def taught(model, params, batch, carry, dropout_state=None):
    """Logits, the carry after, and the gradients of the mean cross entropy."""

    def loss(params):
        after, out = model.apply(params, batch, carry, dropout_state)
        return mean_loss(out.logits, batch.targets), (out.logits, after)

    grads, (logits, after) = jax.grad(loss, has_aux=True)(params)
    return logits, after, grads


def model_of(case: Case) -> Model:
    V, D, H = case.sizes
    cfg = rnn_language_model.Config(D, H, case.layers, tied=case.model == book.BETTER)
    return build(cfg, oracles.SIZES._replace(target=V))


def near(actual, expected) -> None:
    """Every leaf to 1e-5 of the largest entry of the expected one."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(actual), strict=True)
    for (path, e), a in pairs:
        name, bound = jax.tree_util.keystr(path), 1e-5 * np.abs(e).max()
        np.testing.assert_allclose(a, e, rtol=0, atol=bound, err_msg=name)


def single(carry) -> tuple[LstmCarry, ...]:
    return tuple(LstmCarry(np.float32(h), np.float32(c)) for h, c in carry)


def gradients(case: Case, grads: list[np.ndarray]) -> rnn_language_model.Params:
    return ours(case, book.tied(grads) if case.model == book.BETTER else grads)


def test_ours_are_the_books_models(case):
    """Fails when a model is not the book's in any window, forwards or backwards: gates in another
    order, an LSTM that begins at zero, a carry that is lost between windows or heard of by the
    gradients, a tied matrix that hears from one place only.
    """
    before, carry = case.carry, single(case.carry)
    for number in range(2):
        tokens, targets = case.window(number)
        batch = Batch(None, None, tokens, targets, np.ones((B, T), bool))
        logits, carry, grads = taught(model_of(case), ours(case, case.params), batch, carry)
        expected, _ = book.forward(case.params, tokens, before)
        _, expected_grads, before = book.loss_and_gradients(case.params, tokens, targets, before)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
        near(carry, single(before))
        near(grads, gradients(case, expected_grads))


def test_dropout_stands_where_the_book_has_it(case):
    """Fails when a mask is missing, stands inside the recurrence, or is not the same on the way
    back.
    """
    _, D, H = case.sizes
    dropout_state = DropoutState(jax.random.key(3), jnp.float32(0.4))
    widths = enumerate((D, *(H,) * case.layers))
    masks = [
        np.float64(dropout(jnp.ones((T, B, width)), dropout_state, place)).swapaxes(0, 1)
        for place, width in widths
    ]
    assert all(0 < (mask == 0).mean() < 1 for mask in masks)
    tokens, targets = case.window()
    batch = Batch(None, None, tokens, targets, np.ones((B, T), bool))
    logits, _, grads = taught(
        model_of(case), ours(case, case.params), batch, single(case.carry), dropout_state
    )
    np.testing.assert_allclose(
        logits, book.forward(case.params, tokens, case.carry, masks)[0], rtol=0, atol=1e-5
    )
    _, expected, _ = book.loss_and_gradients(case.params, tokens, targets, case.carry, masks)
    near(grads, gradients(case, expected))


def test_our_reverse_is_the_books_bidirectional_layer():
    """Fails when `unroll(reverse=True)` begins at the wrong end, gives its outputs back in the
    order in which it made them, or keeps the last carry for the first: values, and the gradients of
    every weight, of x and of both h.
    """
    both = Both(7, 12)
    cells = [
        CellParams(*map(np.float32, (np.concatenate(side[:2]), side[2])))
        for side in (both.left, both.right)
    ]
    xs, pull = (np.float32(a.swapaxes(0, 1)) for a in (both.x, both.pull))

    @jax.jit
    def total(cells, hs, xs):
        carries = [LstmCarry(h, np.float32(c)) for h, (_, c) in zip(hs, both.carries, strict=True)]
        sides = [
            unroll(lstm, p, carry, xs, reverse=i == 1)[1]
            for i, (p, carry) in enumerate(zip(cells, carries, strict=True))
        ]
        joined = jnp.concatenate(sides, axis=-1)
        return jnp.sum(joined * pull), joined

    hs = [np.float32(h) for h, _ in both.carries]
    grads, joined = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(cells, hs, xs)
    np.testing.assert_allclose(joined.swapaxes(0, 1), both.forward()[0], rtol=0, atol=1e-5)
    dx, dh, dleft, dright = both.backward()
    expected = [CellParams(np.concatenate(side[:2]), side[2]) for side in (dleft, dright)]
    near(grads, (expected, list(dh), dx.swapaxes(0, 1)))


@pytest.mark.parametrize("variant", book_numpy.VARIANTS)
def test_the_gradients_of_small_losses_are_the_books(variant):
    """Fails when a layer of a model with an encoder has gradients that are wrong by a
    hundred-thousandth of their own size, which test_seq2seq.py measures against one.
    """
    sizes, random = (oracles.V, 7, 12), np.random.RandomState(5)
    arrays = [
        p + np.float32(random.randn(*p.shape) / 2) for p in book_numpy.draw(variant, *sizes, random)
    ]
    source = np.int32(random.randint(oracles.V, size=(B, 4)))
    target = np.int32(random.randint(oracles.V, size=(B, T + 1)))
    wide = [np.float64(a) for a in arrays]
    _, expected = book_numpy.loss_and_gradients(variant, wide, source, target)
    model = build(oracles.book_config(variant, embedding=7, hidden=12), oracles.SIZES)
    batch = Batch(source, None, target[:, :-1], target[:, 1:], np.ones((B, T), bool))

    @jax.jit
    def loss(params, batch):
        _, out = model.apply(params, batch, (), None)
        return mean_loss(out.logits, batch.targets)

    near(
        jax.grad(loss)(oracles.from_book(variant, arrays), batch),
        oracles.from_book(variant, expected),
    )
