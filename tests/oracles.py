"""What several test files compare with: models from their equations in NumPy, and the variants."""

import jax
import numpy as np

from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.nn.cells import CellParams
from seqgen.nn.layers import Linear
from seqgen.types import Sizes, Special

V = 13
"""Vocabulary of every variant."""

SIZES = Sizes(V, V, Special(bos=6, eos=6))
"""What the data of every variant tell: answers begin and end with 6."""


def config(
    inputs=(), outputs=(), *, initial_state="h", encoder="lstm", decoder="lstm", width=12
) -> rnn_seq2seq.Config:
    """A model whose sizes all differ; `width` is the encoder's where it is not the decoder's."""
    sides = (
        rnn_encoder.Config(7, width, encoder),
        rnn_decoder.Config(9, 12, decoder, inputs, outputs),
    )
    return rnn_seq2seq.Config(*sides, initial_state=initial_state)


VARIANTS = {
    "baseline": config(),
    "peeky": config(("context",), ("context",), initial_state="h+c"),
    "attention": config((), ("dot",)),
    "peeky-attention": config(("context",), ("context", "dot")),
    "general, projected h and c": config((), ("general",), initial_state="h+c", width=10),
    "bahdanau": config(("additive",)),
    "additive at both places, projected h": config(("additive",), ("additive",), width=10),
    "gru": config(("context",), ("context", "dot"), encoder="gru", decoder="gru"),
    "rnn": config(("additive",), ("dot",), encoder="rnn", decoder="rnn"),
    "gru into lstm": config((), ("general",), encoder="gru", width=10),
    "everything": config(
        ("context", "additive"), ("dot", "general", "additive"), initial_state="h+c"
    ),
}


def live_params(cfg, seed: int = 0, sizes: Sizes = SIZES):
    """Parameters of the size of one, biases with them, so that no term is hidden behind a zero."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(build(cfg, sizes).init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: np.float32(random.normal(size=leaf.shape) * (0.5 if leaf.ndim > 1 else 0.3)),
        shapes,
    )


def from_book(variant: str, arrays: list[np.ndarray]) -> rnn_seq2seq.Params:
    """The book's list (its order stands in book_numpy.py) as `Params`; or their gradients."""
    embed, wx, wh, b, embed_out, wx_out, wh_out, b_out, w, bias = arrays
    encoder, decoder = (
        CellParams(np.concatenate([wx, wh]), b),
        CellParams(np.concatenate([wx_out, wh_out]), b_out),
    )
    inputs, outputs = {"baseline": (0, 0), "peeky": (1, 1), "attention": (0, 1)}[variant]
    return rnn_seq2seq.Params(
        rnn_encoder.Params(embed, encoder),
        rnn_encoder.StateProjection(None, None),
        rnn_decoder.Params(
            embed_out, (None,) * inputs, decoder, (None,) * outputs, Linear(w, bias)
        ),
    )


def book_config(variant: str, *, embedding: int, hidden: int) -> rnn_seq2seq.Config:
    """The book's three models as configurations."""
    inputs, outputs = {
        "baseline": ((), ()),
        "peeky": (("context",), ("context",)),
        "attention": ((), ("dot",)),
    }[variant]
    sides = (
        rnn_encoder.Config(embedding, hidden),
        rnn_decoder.Config(embedding, hidden, "lstm", inputs, outputs),
    )
    return rnn_seq2seq.Config(*sides)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(a):
    a = np.float64(a) - a.max(-1, keepdims=True)
    return a - np.log(np.exp(a).sum(-1, keepdims=True))


def beam_search(logits_of, *, limit: int, end: int | None, width: int, score, rule=None):
    """The best texts of one row, as (score, log p, text), best first; how many steps it took; and
    the closest decision.

    `logits_of(text)` are the logits after a text, `rule(logits, text)` what logits processors leave
    of them; texts are tuples.
    """
    beams, steps, closest = [(0.0, 0.0, (), False)], 0, np.inf
    while steps < limit and not all(done for *_, done in beams):
        steps, found = steps + 1, [beam for beam in beams if beam[-1]]
        for ranked, logprob, text, done in beams:
            if not done:
                logits = logits_of(text)
                left = logits if rule is None else rule(logits, text)
                if not np.isfinite(left).any():
                    continue
                own, ruled = log_softmax(logits), log_softmax(left)
                tokens = np.flatnonzero(left > -np.inf).tolist()
                found += [
                    (ranked + ruled[i], logprob + own[i], (*text, i), i == end) for i in tokens
                ]
        found.sort(key=lambda beam: -score(beam[0], len(beam[2])))
        scores = [score(ranked, len(text)) for ranked, _, text, _ in found[: width + 1]]
        closest = min([closest, *-np.diff(scores)])
        beams = found[:width]
    return (
        [(score(ranked, len(text)), logprob, text) for ranked, logprob, text, _ in beams],
        steps,
        closest,
    )


def cell(name: str, p: CellParams, carry: tuple, x):
    """(h', c') of one step, gate by gate; c passes through the cells that have none.

    lstm   f, g, i, o     c' = σ(f) c + σ(i) tanh(g)     h' = σ(o) tanh(c')
    gru    z, r, n        n = tanh(x Wx + (r h) Wh + b)  h' = (1 - z) h + z n
    rnn                   h' = tanh(x Wx + h Wh + b)
    """
    h, c = carry
    width = h.shape[-1]

    def gate(i, h=h):
        columns = slice(i * width, (i + 1) * width)
        return x @ p.w[: x.shape[-1], columns] + h @ p.w[x.shape[-1] :, columns] + p.b[columns]

    if name == "lstm":
        c = sigmoid(gate(0)) * c + sigmoid(gate(2)) * np.tanh(gate(1))
        return sigmoid(gate(3)) * np.tanh(c), c
    if name == "gru":
        z, r = sigmoid(gate(0)), sigmoid(gate(1))
        return (1 - z) * h + z * np.tanh(gate(2, r * h)), c
    return np.tanh(gate(0)), c


def attend(name: str, p, memory, query):
    """(context [E], weights [S]) of one query [H] over one row's states [S, E], without padding."""
    score = {
        "dot": lambda m: m @ query,
        "general": lambda m: m @ (query @ p.w),
        "additive": lambda m: np.tanh(query @ p.wq + m @ p.wm) @ p.v[:, 0],
    }[name]
    weights = softmax(np.array([score(m) for m in memory]))
    return sum(a * m for a, m in zip(weights, memory, strict=True)), weights


def run_row(cfg: rnn_seq2seq.Config, params: rnn_seq2seq.Params, source, inputs):
    """Teacher-forced logits [T, V] and attention [T, K, S] of one row, not padded, in float64."""
    params = jax.tree.map(np.float64, params)
    enc, dec = params.encoder, params.decoder
    h = c = np.zeros(cfg.encoder.hidden)
    memory = []
    for token in source:
        h, c = cell(cfg.encoder.cell, enc.cell, (h, c), enc.embedding[token])
        memory.append(h)
    summary = h
    project = [lambda x, p=p: x if p is None else x @ p.w + p.b for p in params.projection]
    h, c = (
        project[0](h),
        project[1](c) if cfg.initial_state == "h+c" else np.zeros(cfg.decoder.hidden),
    )

    def read(names, weights, query, maps):
        contexts = []
        for name, p in zip(names, weights, strict=True):
            context, a = (summary, None) if name == "context" else attend(name, p, memory, query)
            contexts.append(context)
            maps += [] if a is None else [a]
        return contexts

    logits, attention = [], []
    for token in inputs:
        maps = []
        x = np.concatenate([*read(cfg.decoder.inputs, dec.inputs, h, maps), dec.embedding[token]])
        h, c = cell(cfg.decoder.cell, dec.cell, (h, c), x)
        logits.append(
            np.concatenate([*read(cfg.decoder.outputs, dec.outputs, h, maps), h]) @ dec.affine.w
            + dec.affine.b
        )
        attention.append(maps)
    return np.array(logits), np.array(attention).reshape(len(inputs), -1, len(source))
