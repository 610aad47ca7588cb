"""The book's three seq2seq models in NumPy, gradients by hand: an oracle that shares nothing with
seqgen.

Written from the equations (Saitoh, "Deep Learning from Scratch 2", chapters 6-8). B batch, S/T
source/target time, D embedding, H hidden, V vocabulary. Parameters are a flat list in the order of
the book's pickles:

    0 encoder embedding [V, D]   1 Wx [D, 4H]   2 Wh [H, 4H]   3 b [4H]
    4 decoder embedding [V, D]   5 Wx [I, 4H]   6 Wh [H, 4H]   7 b [4H]
    8 affine W [F, V]            9 affine b [V]

             decoder input x_t, I wide        affine input, F wide
    baseline         e_t          D                h_t         H
    peeky         [h_S; e_t]    H + D           [h_S; h_t]    2H
    attention        e_t          D             [c_t; h_t]    2H

h_S is the encoder's last h, at every step; c_t = Σ_s a_ts h_s, a_t = softmax_s(h_t · h_s).
Everything is computed in the parameters' dtype: float32 as the book does, float64 to check
gradients.
"""

import math
from collections.abc import Iterator

import numpy as np

BASELINE, PEEKY, ATTENTION = VARIANTS = ("baseline", "peeky", "attention")
Arrays = list[np.ndarray]


def draw(
    variant: str,
    vocabulary: int,
    embedding: int,
    hidden: int,
    random: np.random.RandomState,
    dtype="f",
) -> Arrays:
    """The book's draws, in its order: embeddings N(0, 0.01²), matrices N(0, 1/rows), biases zero;
    rounded to float32.
    """
    V, D, H = vocabulary, embedding, hidden
    wide_in, wide_out = {BASELINE: (D, H), PEEKY: (H + D, 2 * H), ATTENTION: (D, 2 * H)}[variant]

    def normal(rows: int, columns: int, divisor: float) -> np.ndarray:
        return (random.randn(rows, columns) / divisor).astype("f").astype(dtype)

    def recurrent(inputs: int) -> Arrays:
        embed = normal(V, D, 100)
        return [
            embed,
            normal(inputs, 4 * H, math.sqrt(inputs)),
            normal(H, 4 * H, math.sqrt(H)),
            np.zeros(4 * H, dtype),
        ]

    return [
        *recurrent(D),
        *recurrent(wide_in),
        normal(wide_out, V, math.sqrt(wide_out)),
        np.zeros(V, dtype),
    ]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def softmax(a: np.ndarray) -> np.ndarray:
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def lstm(
    x: np.ndarray, h: np.ndarray, Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, list]:
    """h_1..h_T [B, T, H] from x [B, T, I], h_0 = h and c_0 = 0; and, for the way back, what each
    step used.

    [f g i o] = x_t Wx + h_{t-1} Wh + b
    c_t = σ(f) c_{t-1} + σ(i) tanh(g)     h_t = σ(o) tanh(c_t)
    """
    c, tape = np.zeros_like(h), []
    for t in range(x.shape[1]):
        f, g, i, o = np.split(x[:, t] @ Wx + h @ Wh + b, 4, axis=1)
        f, g, i, o = sigmoid(f), np.tanh(g), sigmoid(i), sigmoid(o)
        before, c = (h, c), f * c + i * g
        h = o * np.tanh(c)
        tape.append((*before, f, g, i, o, c, h))
    return np.stack([step[-1] for step in tape], axis=1), tape


def lstm_backward(
    dhs: np.ndarray, tape: list, x: np.ndarray, Wx: np.ndarray, Wh: np.ndarray
) -> tuple[np.ndarray, ...]:
    """(dx, dh_0, dWx, dWh, db) from dL/dh_t [B, T, H]: backpropagation through time.

    do = dh tanh(c)   dc += dh o (1 - tanh²c)
    df = dc c_{t-1}   dg = dc i   di = dc g   dc_{t-1} = dc f
    da = [df f(1-f), dg (1-g²), di i(1-i), do o(1-o)]
    dx = da Wxᵀ   dh_{t-1} = da Whᵀ   dWx += xᵀ da   dWh += h_{t-1}ᵀ da
    """
    dx, dWx, dWh, db = np.zeros_like(x), np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(Wx[0])
    dh = dc = np.zeros_like(dhs[:, 0])
    for t in reversed(range(len(tape))):
        h_before, c_before, f, g, i, o, c, _ = tape[t]
        dh = dh + dhs[:, t]
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        df, dg, di, do = dc * c_before, dc * i, dc * g, dh * np.tanh(c)
        da = np.concatenate(
            [df * f * (1 - f), dg * (1 - g**2), di * i * (1 - i), do * o * (1 - o)], axis=1
        )
        dWx, dWh, db = dWx + x[:, t].T @ da, dWh + h_before.T @ da, db + da.sum(0)
        dx[:, t], dh, dc = da @ Wx.T, da @ Wh.T, dc * f
    return dx, dh, dWx, dWh, db


def run(variant: str, params: Arrays, source: np.ndarray, inputs: np.ndarray) -> tuple:
    """Teacher-forced pass: logits [B, T, V], attention weights [B, T, S] (None without), and all
    that the way back needs.
    """
    embed, Wx, Wh, b, embed_out, Wx_out, Wh_out, b_out, W, bias = params
    x = embed[source]
    memory, tape = lstm(x, np.zeros((len(x), len(Wh)), x.dtype), Wx, Wh, b)
    last = memory[:, -1]
    peek = np.repeat(last[:, None], inputs.shape[1], axis=1)

    y, weights = embed_out[inputs], None
    if variant == PEEKY:
        y = np.concatenate([peek, y], axis=2)
    hs, tape_out = lstm(y, last, Wx_out, Wh_out, b_out)

    features = hs
    if variant == PEEKY:
        features = np.concatenate([peek, hs], axis=2)
    if variant == ATTENTION:
        weights = softmax(hs @ memory.transpose(0, 2, 1))
        features = np.concatenate([weights @ memory, hs], axis=2)
    return features @ W + bias, weights, (x, memory, tape, y, hs, tape_out, features)


def forward(
    variant: str, params: Arrays, source: np.ndarray, inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits [B, T, V] for decoder inputs [B, T], and the attention weights [B, T, S] or None."""
    return run(variant, params, source, inputs)[:2]


def loss_and_gradients(
    variant: str, params: Arrays, source: np.ndarray, target: np.ndarray
) -> tuple[float, Arrays]:
    """Mean cross entropy of target[:, 1:] given target[:, :-1], over all B·T tokens (blanks too),
    and its gradients.

    dlogits = (p - onehot) / BT. Attention: dc = dfeatures[:H], da_ts = dc_t · h_s, score:
    ds = a (da - Σ_s a da), dh_t += Σ_s ds_ts h_s, and every encoder state collects
    Σ_t (a_ts dc_t + ds_ts h_t).
    """
    inputs, answer = target[:, :-1], target[:, 1:, None]
    logits, weights, (x, memory, tape, y, hs, tape_out, features) = run(
        variant, params, source, inputs
    )
    embed, Wx, Wh, _, embed_out, Wx_out, Wh_out, _, W, _ = params
    D, H = embed.shape[1], len(Wh)
    p = softmax(logits)
    loss = -np.log(np.take_along_axis(p, answer, axis=2)).mean()

    dlogits = (p - (np.arange(p.shape[2]) == answer)).astype(p.dtype) / answer.size
    dW, dbias = np.einsum("btf,btv->fv", features, dlogits), dlogits.sum((0, 1))
    dfeatures = dlogits @ W.T
    dfirst, dhs, dmemory = dfeatures[..., :-H], dfeatures[..., -H:], np.zeros_like(memory)
    if variant == ATTENTION:
        da = dfirst @ memory.transpose(0, 2, 1)
        dscore = weights * (da - (weights * da).sum(2, keepdims=True))
        dhs = dhs + dscore @ memory
        dmemory += weights.transpose(0, 2, 1) @ dfirst + dscore.transpose(0, 2, 1) @ hs

    dy, dlast, dWx_out, dWh_out, db_out = lstm_backward(dhs, tape_out, y, Wx_out, Wh_out)
    if variant == PEEKY:
        dlast = dlast + (dfirst + dy[..., :H]).sum(1)
    dmemory[:, -1] += dlast
    dx, _, dWx, dWh, db = lstm_backward(dmemory, tape, x, Wx, Wh)

    dembed, dembed_out = np.zeros_like(embed), np.zeros_like(embed_out)
    np.add.at(dembed, source, dx)
    np.add.at(dembed_out, inputs, dy[..., -D:])
    return float(loss), [dembed, dWx, dWh, db, dembed_out, dWx_out, dWh_out, db_out, dW, dbias]


def greedy(
    variant: str, params: Arrays, source: np.ndarray, start_id: int, steps: int
) -> np.ndarray:
    """Most likely tokens [B, steps] after start_id. The whole prefix is run again for each token:
    no state to carry wrongly.
    """
    tokens = np.full((len(source), 1), start_id)
    for _ in range(steps):
        logits, _ = forward(variant, params, source, tokens)
        tokens = np.concatenate([tokens, logits[:, -1:].argmax(2)], axis=1)
    return tokens[:, 1:]


def clip(grads: Arrays, max_norm: float) -> Arrays:
    """Scaled by rate = max_norm / (‖all grads‖ + 1e-6) where rate < 1."""
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
    rate = max_norm / (norm + 1e-6)
    return [g * rate for g in grads] if rate < 1 else grads


class Adam:
    """The book's: no bias correction of m and v, but of the rate, so that its ε is not optax's
    (ε √(1 - β₂ᵗ) there).

    m += (1-β₁)(g - m)    v += (1-β₂)(g² - v)    p -= lr √(1-β₂ᵗ) / (1-β₁ᵗ) · m / (√v + 1e-7)
    """

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999):
        self.lr, self.beta1, self.beta2 = lr, beta1, beta2
        self.t, self.m, self.v = 0, None, None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Moves the parameters in place."""
        if self.m is None:
            self.m, self.v = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
        self.t += 1
        lr = self.lr * math.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        for p, g, m, v in zip(params, grads, self.m, self.v, strict=True):
            m += (1 - self.beta1) * (g - m)
            v += (1 - self.beta2) * (g**2 - v)
            p -= lr * m / (np.sqrt(v) + 1e-7)


def after_the_shuffle(rows: int) -> np.random.RandomState:
    """The generator as the book's `load_data` leaves it after shuffling so many rows."""
    random = np.random.RandomState(1984)
    random.shuffle(np.arange(rows))
    return random


def batches(random: np.random.RandomState, n: int, batch: int) -> Iterator[np.ndarray]:
    """Index arrays [batch], without end: a permutation an epoch, consecutive batches of it, the
    tail dropped.
    """
    if batch > n:
        raise ValueError(f"a batch of {batch} rows from {n}")
    while True:
        order = random.permutation(n)
        yield from order[: n - n % batch].reshape(-1, batch)


def train_step(
    variant: str,
    params: Arrays,
    adam: Adam,
    source: np.ndarray,
    target: np.ndarray,
    max_norm: float,
) -> float:
    """One update in place; the loss before it."""
    loss, grads = loss_and_gradients(variant, params, source, target)
    adam.update(params, clip(grads, max_norm))
    return loss


def book_run(
    variant: str,
    x_train: np.ndarray,
    t_train: np.ndarray,
    reverse: bool,
    *,
    embedding: int,
    hidden: int,
    batch: int,
    lr: float,
    clip: float,
    steps: int,
    random: np.random.RandomState,
    vocabulary: int | None = None,
) -> list[float]:
    """The first losses of the book's run. `random` comes from the data's shuffle; the model, then
    the batches, go on with it.

    `vocabulary` is 1 + the largest id in the data unless given. "Reverse" flips the whole field,
    blanks included.
    """
    vocabulary = vocabulary or 1 + int(max(x_train.max(), t_train.max()))
    x_train = x_train[:, ::-1] if reverse else x_train
    params, adam = draw(variant, vocabulary, embedding, hidden, random), Adam(lr)
    order = batches(random, len(x_train), batch)
    chosen = (next(order) for _ in range(steps))
    return [train_step(variant, params, adam, x_train[i], t_train[i], clip) for i in chosen]
