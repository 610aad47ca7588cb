"""The book's language models and its bidirectional LSTM in NumPy, gradients by hand: an oracle that
shares nothing with seqgen.

Written from the equations (Saitoh, "Deep Learning from Scratch 2", §6.4, §6.5, §8.3.1). B batch, T
time, D embedding, H hidden, V vocabulary, L LSTMs: one for Rnnlm, two for BetterRnnlm. Parameters
are a flat list in the order of the book's pickles:

    0 embedding [V, D]
    1 Wx [D, 4H]   2 Wh [H, 4H]   3 b [4H]   (4 Wx [H, 4H]   5 Wh   6 b)
    -2 affine W [H, V]   -1 b [V]

    x⁰_t = m⁰ ⊙ embedding[token_t]
    h^l_t, c^l_t = LSTM_l(x^(l-1)_t, h^l_(t-1), c^l_(t-1))     x^l_t = m^l ⊙ h^l_t
    logits_t = x^L_t W + b     W = embeddingᵀ where it is tied (BetterRnnlm)

The carry, (h, c) of every LSTM, goes on from window to window; gradients end with a window
(truncated backpropagation). m are the dropout masks, 0 or 1 / (1 - ratio), or ones.
"""

import math
from collections.abc import Sequence

import numpy as np

from tests.book_numpy import Arrays, lstm_backward, sigmoid, softmax

RNNLM, BETTER = MODELS = ("rnnlm", "better-rnnlm")
Carry = tuple[np.ndarray, np.ndarray]


def draw(
    model: str,
    vocabulary: int,
    embedding: int,
    hidden: int,
    random: np.random.RandomState,
    dtype="f",
) -> Arrays:
    """The book's draws, in its order: embedding N(0, 0.01²), matrices N(0, 1/rows), biases zero;
    rounded to float32.
    """

    def normal(rows: int, columns: int, divisor: float) -> np.ndarray:
        return (random.randn(rows, columns) / divisor).astype("f").astype(dtype)

    arrays = [normal(vocabulary, embedding, 100)]
    for inputs in {RNNLM: [embedding], BETTER: [embedding, hidden]}[model]:
        arrays += [normal(rows, 4 * hidden, math.sqrt(rows)) for rows in (inputs, hidden)] + [
            np.zeros(4 * hidden, dtype)
        ]
    w = normal(hidden, vocabulary, math.sqrt(hidden)) if model == RNNLM else arrays[0].T
    return [*arrays, w, np.zeros(vocabulary, dtype)]


def lstm(
    x: np.ndarray, carry: Carry, Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, Carry, list]:
    """h_1..h_T [B, T, H] from x [B, T, D] and (h_0, c_0); (h_T, c_T); and, for the way back, what
    each step used.

    [f g i o] = x_t Wx + h_{t-1} Wh + b
    c_t = σ(f) c_{t-1} + σ(i) tanh(g)     h_t = σ(o) tanh(c_t)
    """
    (h, c), tape = carry, []
    for t in range(x.shape[1]):
        f, g, i, o = np.split(x[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        f, g, i, o = sigmoid(f), np.tanh(g), sigmoid(i), sigmoid(o)
        before, c = (h, c), f * c + i * g
        h = o * np.tanh(c)
        tape.append((*before, f, g, i, o, c, h))
    return np.stack([step[-1] for step in tape], axis=1), (h, c), tape


def run(
    params: Arrays, tokens: np.ndarray, carry: Sequence[Carry], masks: Arrays | None = None
) -> tuple:
    """Logits [B, T, V], the carry after the last token, and all that the way back needs."""
    embed, *cells, W, bias = params
    masks = masks or [np.ones((1, 1, 1), embed.dtype)] * (len(carry) + 1)
    xs, after, tapes = [embed[tokens] * masks[0]], [], []
    for place, before in enumerate(carry):
        hs, final, tape = lstm(xs[-1], before, *cells[3 * place : 3 * place + 3])
        xs.append(hs * masks[place + 1])
        after.append(final)
        tapes.append(tape)
    return xs[-1] @ W + bias, after, (xs, tapes, masks)


def forward(
    params: Arrays, tokens: np.ndarray, carry: Sequence[Carry], masks: Arrays | None = None
) -> tuple:
    """Logits [B, T, V] of the token after each, and the carry with which the next window begins."""
    return run(params, tokens, carry, masks)[:2]


def loss_and_gradients(
    params: Arrays,
    tokens: np.ndarray,
    targets: np.ndarray,
    carry: Sequence[Carry],
    masks: Arrays | None = None,
) -> tuple[float, Arrays, list[Carry]]:
    """Mean cross entropy over all B·T tokens, its gradients array by array (a tied matrix's two
    apart), the carry after.

    dlogits = (p - onehot) / BT     dW = Σ xᵀ dlogits     dx^L = dlogits Wᵀ
    dh^l = m^l ⊙ dx^l     dx^(l-1) = LSTM's way back
    """
    logits, after, (xs, tapes, masks) = run(params, tokens, carry, masks)
    embed, *cells, W, _ = params
    p = softmax(logits)
    loss = -np.log(np.take_along_axis(p, targets[..., None], axis=2)).mean()

    dlogits = (p - (np.arange(p.shape[2]) == targets[..., None])).astype(p.dtype) / targets.size
    grads = [np.einsum("bth,btv->hv", xs[-1], dlogits), dlogits.sum((0, 1))]
    dx = dlogits @ W.T
    for place in reversed(range(len(tapes))):
        Wx, Wh, _ = cells[3 * place : 3 * place + 3]
        dx, _, *dcell = lstm_backward(dx * masks[place + 1], tapes[place], xs[place], Wx, Wh)
        grads = [*dcell, *grads]
    dembed = np.zeros_like(embed)
    np.add.at(dembed, tokens, dx * masks[0])
    return float(loss), [dembed, *grads], after


def tied(grads: Arrays) -> Arrays:
    """A matrix that stands in two places hears from both."""
    dembed, *middle, dW, dbias = grads
    return [dembed + dW.T, *middle, dembed.T + dW, dbias]


def bidirectional(
    x: np.ndarray, carries: Sequence[Carry], left: Arrays, right: Arrays
) -> tuple[np.ndarray, tuple]:
    """[h→_t; h←_t] [B, T, 2H]: the right LSTM reads x from its end, and its outputs are turned
    round again.
    """
    hs, _, tape = lstm(x, carries[0], *left)
    turned, _, tape_turned = lstm(x[:, ::-1], carries[1], *right)
    return np.concatenate([hs, turned[:, ::-1]], axis=2), (tape, tape_turned)


def bidirectional_backward(
    dys: np.ndarray, tapes: tuple, x: np.ndarray, left: Arrays, right: Arrays
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], Arrays, Arrays]:
    """(dx, both dh_0, the left gradients, the right ones): dx is the left one's, plus the right
    one's turned round.
    """
    H = dys.shape[2] // 2
    dx, dh, *dleft = lstm_backward(dys[..., :H], tapes[0], x, *left[:2])
    dturned, dh_right, *dright = lstm_backward(dys[:, ::-1, H:], tapes[1], x[:, ::-1], *right[:2])
    return dx + dturned[:, ::-1], (dh, dh_right), dleft, dright
