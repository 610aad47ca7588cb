"""What several test files compare with: the models from their equations in NumPy, and the list of variants."""

from dataclasses import replace

import jax
import numpy as np

from seqgen.models import decoders, encoders, seq2seq
from seqgen.nn.cells import CellParams
from seqgen.nn.layers import Linear

V = 13
"""Vocabulary of every variant."""


def quick_compilation():
    """A fixture's body: compile with few optimisations, which tiny programs do not repay."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def config(inputs=(), outputs=(), *, passed="h", encoder="lstm", decoder="lstm", width=12) -> seq2seq.Config:
    """A model whose sizes all differ; `width` is the encoder's where it is not the decoder's."""
    sides = encoders.Config(7, width, encoder), decoders.Config(9, 12, decoder, inputs, outputs)
    return seq2seq.Config(*sides, passed=passed, vocabulary=V, delimiter=6)


VARIANTS = {
    "baseline": config(),
    "peeky": config(("summary",), ("summary",), passed="h+c"),
    "attention": config((), ("dot",)),
    "peeky-attention": config(("summary",), ("summary", "dot")),
    "general, bridged h and c": config((), ("general",), passed="h+c", width=10),
    "bahdanau": config(("additive",)),
    "additive at both places, bridged h": config(("additive",), ("additive",), width=10),
    "gru": config(("summary",), ("summary", "dot"), encoder="gru", decoder="gru"),
    "rnn": config(("additive",), ("dot",), encoder="rnn", decoder="rnn"),
    "gru into lstm": config((), ("general",), encoder="gru", width=10),
    "everything": config(("summary", "additive"), ("dot", "general", "additive"), passed="h+c"),
}


def live_params(cfg, seed: int = 0, model=seq2seq):
    """Parameters of the size of one, biases with them, so that no term is hidden behind a zero."""
    random = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: model.init(cfg, jax.random.key(0)))
    return jax.tree.map(lambda leaf: np.float32(random.normal(size=leaf.shape) * (0.5 if leaf.ndim > 1 else 0.3)), shapes)


def from_book(variant: str, arrays: list[np.ndarray]) -> seq2seq.Params:
    """The book's list (its order stands in book_numpy.py) as `Params`; parameters or their gradients alike."""
    embed, wx, wh, b, embed_out, wx_out, wh_out, b_out, w, bias = arrays
    encoder, decoder = CellParams(np.concatenate([wx, wh]), b), CellParams(np.concatenate([wx_out, wh_out]), b_out)
    inputs, outputs = {"baseline": (0, 0), "peeky": (1, 1), "attention": (0, 1)}[variant]
    return seq2seq.Params(
        encoders.Params(embed, encoder),
        encoders.Bridge(None, None),
        decoders.Params(embed_out, (None,) * inputs, decoder, (None,) * outputs, Linear(w, bias)),
    )


def book_config(variant: str, *, embedding: int, hidden: int, vocabulary: int = V) -> seq2seq.Config:
    """The book's three models as configurations."""
    inputs, outputs = {"baseline": ((), ()), "peeky": (("summary",), ("summary",)), "attention": ((), ("dot",))}[variant]
    sides = encoders.Config(embedding, hidden), decoders.Config(embedding, hidden, "lstm", inputs, outputs)
    return replace(seq2seq.Config(*sides), vocabulary=vocabulary)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def softmax(a):
    e = np.exp(a - a.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(a):
    a = np.float64(a) - a.max(-1, keepdims=True)
    return a - np.log(np.exp(a).sum(-1, keepdims=True))


def beam_search(logits_of, *, limit: int, end: int | None, width: int, score, rule=None):
    """The best texts of one row, as (score, log p, text), best first; how many steps it took; and the closest decision.

    `logits_of(text)` are the logits after a text, `rule(logits, text)` what rules leave of them; texts are tuples.
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
                found += [(ranked + ruled[i], logprob + own[i], (*text, i), i == end) for i in tokens]
        found.sort(key=lambda beam: -score(beam[0], len(beam[2])))
        scores = [score(ranked, len(text)) for ranked, _, text, _ in found[: width + 1]]
        closest = min([closest, *-np.diff(scores)])
        beams = found[:width]
    return [(score(ranked, len(text)), logprob, text) for ranked, logprob, text, _ in beams], steps, closest


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
    """(context [E], weights [S]) of one query [H] over one row's states [S, E], none of them padding."""
    score = {
        "dot": lambda m: m @ query,
        "general": lambda m: m @ (query @ p.w),
        "additive": lambda m: np.tanh(query @ p.wq + m @ p.wm) @ p.v[:, 0],
    }[name]
    weights = softmax(np.array([score(m) for m in memory]))
    return sum(a * m for a, m in zip(weights, memory, strict=True)), weights


def run_row(cfg: seq2seq.Config, params: seq2seq.Params, source, inputs):
    """Teacher-forced logits [T, V] and attention [T, K, S] of one row without padding, in float64."""
    params = jax.tree.map(np.float64, params)
    enc, dec = params.encoder, params.decoder
    h = c = np.zeros(cfg.encoder.hidden)
    memory = []
    for token in source:
        h, c = cell(cfg.encoder.cell, enc.cell, (h, c), enc.embedding[token])
        memory.append(h)
    summary = h
    project = [lambda x, p=p: x if p is None else x @ p.w + p.b for p in params.bridge]
    h, c = project[0](h), project[1](c) if cfg.passed == "h+c" else np.zeros(cfg.decoder.hidden)

    def read(names, weights, query, maps):
        contexts = []
        for name, p in zip(names, weights, strict=True):
            context, a = (summary, None) if name == "summary" else attend(name, p, memory, query)
            contexts.append(context)
            maps += [] if a is None else [a]
        return contexts

    logits, attention = [], []
    for token in inputs:
        maps = []
        x = np.concatenate([*read(cfg.decoder.inputs, dec.inputs, h, maps), dec.embedding[token]])
        h, c = cell(cfg.decoder.cell, dec.cell, (h, c), x)
        logits.append(np.concatenate([*read(cfg.decoder.outputs, dec.outputs, h, maps), h]) @ dec.affine.w + dec.affine.b)
        attention.append(maps)
    return np.array(logits), np.array(attention).reshape(len(inputs), -1, len(source))
