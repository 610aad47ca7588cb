"""The models of "Deep Learning from Scratch 2" as its pickles have them (its common/base_model.py):
plain lists of arrays.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seqgen.errors import SeqgenError, UsageError
from seqgen.interop.pickles import finite, half, label, single
from seqgen.models import rnn_decoder, rnn_encoder, rnn_language_model, rnn_seq2seq
from seqgen.nn.attention import MechanismName
from seqgen.nn.cells import CellParams
from seqgen.nn.layers import Linear
from seqgen.types import Config, Params

ModelName = Literal["rnnlm", "better-rnnlm", "baseline", "peeky", "attention"]
"""The models of the book's §6.4, §6.5, §7.3, §7.4.2 and §8.2."""

Shapes = tuple[tuple[str, str], ...]
"""Names and shapes in the book's order: "H+D 4H" has H + D rows, and four gates of H columns."""


def _lstm(name: str, inputs: str) -> Shapes:
    return (f"{name} Wx", f"{inputs} 4H"), (f"{name} Wh", "H 4H"), (f"{name} b", "4H")


def _join(wx: Array, wh: Array, b: Array) -> CellParams:
    return CellParams(jnp.concatenate([wx, wh]), b)


def _split(cell: CellParams) -> tuple[Array, ...]:
    hidden = cell.b.shape[-1] // 4
    return cell.w[:-hidden], cell.w[-hidden:], cell.b


def _seq2seq(inputs: str, features: str) -> Shapes:
    encoder = ("encoder embedding", "V D"), *_lstm("encoder LSTM", "D")
    decoder = ("decoder embedding", "V D"), *_lstm("decoder LSTM", inputs)
    return *encoder, *decoder, ("decoder affine W", f"{features} V"), ("decoder affine b", "V")


class _Seq2seq(NamedTuple):
    """One of the book's models with an encoder: its attention mechanisms, at two places."""

    shapes: Shapes
    inputs: tuple[MechanismName, ...] = ()
    outputs: tuple[MechanismName, ...] = ()

    @property
    def kind(self) -> type:
        """The type of its configurations."""
        return rnn_seq2seq.Config

    def widths(self, cfg: rnn_seq2seq.Config) -> tuple[int, int]:
        """D and H of a configuration."""
        return cfg.encoder.embedding, cfg.encoder.hidden

    def config(self, D: int, H: int) -> rnn_seq2seq.Config:
        decoder = rnn_decoder.Config(D, H, inputs=self.inputs, outputs=self.outputs)
        return rnn_seq2seq.Config(rnn_encoder.Config(D, H), decoder)

    def params(self, arrays: list[Array]) -> rnn_seq2seq.Params:
        embedding, *cell, embedding_out, wx, wh, b, w, bias = arrays
        inputs, outputs = (None,) * len(self.inputs), (None,) * len(self.outputs)
        decoder = rnn_decoder.Params(
            embedding_out, inputs, _join(wx, wh, b), outputs, Linear(w, bias)
        )
        return rnn_seq2seq.Params(
            rnn_encoder.Params(embedding, _join(*cell)),
            rnn_encoder.StateProjection(None, None),
            decoder,
        )

    def arrays(self, params: rnn_seq2seq.Params) -> list[Array]:
        encoder, _, decoder = params
        return [
            encoder.embedding,
            *_split(encoder.cell),
            decoder.embedding,
            *_split(decoder.cell),
            *decoder.affine,
        ]


def _language_model(embedding: str, *lstms: Shapes) -> Shapes:
    return (
        ("embedding", embedding),
        *(array for lstm in lstms for array in lstm),
        ("affine W", "H V"),
        ("affine b", "V"),
    )


class _LanguageModel(NamedTuple):
    """One of the book's language models; a tied matrix stands in the list twice."""

    shapes: Shapes
    layers: int
    tied: bool

    @property
    def kind(self) -> type:
        """The type of its configurations."""
        return rnn_language_model.Config

    def widths(self, cfg: rnn_language_model.Config) -> tuple[int, int]:
        """D and H of a configuration."""
        return cfg.embedding, cfg.hidden

    def config(self, D: int, H: int) -> rnn_language_model.Config:
        return rnn_language_model.Config(H if self.tied else D, H, self.layers, tied=self.tied)

    def params(self, arrays: list[Array]) -> rnn_language_model.Params:
        embedding, *cells, w, b = arrays
        if self.tied and not jnp.array_equal(embedding.T.astype("float16"), w.astype("float16")):
            raise SeqgenError(
                f"array {len(arrays) - 2} (affine W) is not array 0 (embedding) transposed, "
                "to which it is tied"
            )
        joined = tuple(_join(*cells[i : i + 3]) for i in range(0, len(cells), 3))
        return rnn_language_model.Params(embedding, joined, None if self.tied else w, b)

    def arrays(self, params: rnn_language_model.Params) -> list[Array]:
        w = params.embedding.T if params.w is None else params.w
        return [
            params.embedding,
            *(array for cell in params.cells for array in _split(cell)),
            w,
            params.b,
        ]


BOOK: dict[str, _Seq2seq | _LanguageModel] = {
    "rnnlm": _LanguageModel(_language_model("V D", _lstm("LSTM", "D")), layers=1, tied=False),
    "better-rnnlm": _LanguageModel(
        _language_model("V H", _lstm("first LSTM", "H"), _lstm("second LSTM", "H")),
        layers=2,
        tied=True,
    ),
    "baseline": _Seq2seq(_seq2seq("D", "H")),
    "peeky": _Seq2seq(_seq2seq("H+D", "2H"), inputs=("context",), outputs=("context",)),
    "attention": _Seq2seq(_seq2seq("D", "2H"), outputs=("dot",)),
}

FREE = ("dtype", "init", "variational_dropout")
"""Fields of a configuration that its weights do not know."""


class Imported(NamedTuple):
    """A configuration and weights, over `vocabulary` tokens."""

    cfg: Config
    params: Params
    vocabulary: int


def to_params(model: str, arrays: Sequence[np.ndarray]) -> Imported:
    """Our configuration and weights from the book's list.

    Raises:
        SeqgenError: with the array's number and name, for a list that is not this model's.

    """
    arrays, form = [single(array) for array in arrays], _form(model)
    vocabulary, *widths = _sizes(model, arrays)
    params = form.params([jnp.asarray(array) for array in arrays])
    return Imported(form.config(*widths), params, vocabulary)


def from_params(cfg: Config, params: Params) -> list[np.ndarray]:
    """The book's list, float16, of a model that the book has.

    Raises `UsageError`, with what differs, for another, and `SeqgenError` for weights that float16
    does not have.
    """
    model = book_model(cfg)
    arrays = [np.asarray(array) for array in BOOK[model].arrays(params)]
    _sizes(model, arrays)
    return [half(label(number, names(model)), array) for number, array in enumerate(arrays)]


def _form(model: str) -> _Seq2seq | _LanguageModel:
    if model not in BOOK:
        raise UsageError(f"the book has no model {model!r}; it has {', '.join(BOOK)}")
    return BOOK[model]


def book_model(cfg: Config) -> str:
    """Which of the book's models a configuration is. Raises `UsageError` for none of them."""
    forms = {model: form for model, form in BOOK.items() if form.kind is type(cfg)}
    if not forms:
        raise UsageError(f"the book has no {type(cfg).__module__}")
    ours, differences = _fields(cfg), {}
    for model, form in forms.items():
        theirs = _fields(form.config(*form.widths(cfg)))
        unlike = [(name, value) for name, value in theirs.items() if value != ours[name]]
        differences[model] = [f"{name} {value!r}, not {ours[name]!r}" for name, value in unlike]
    nearest = min(differences, key=lambda model: len(differences[model]))
    if differences[nearest]:
        raise UsageError(
            f"the book has no such model: its {nearest} has {'; '.join(differences[nearest])}"
        )
    return nearest


def _fields(cfg: Config) -> dict[str, Any]:
    """The fields that weights belong to, by their dotted names."""
    leaves = jax.tree.leaves_with_path(
        asdict(cfg), is_leaf=lambda value: not isinstance(value, dict)
    )
    named = {
        jax.tree_util.keystr(path, simple=True, separator="."): value for path, value in leaves
    }
    return {name: value for name, value in named.items() if name not in FREE}


def names(model: str) -> tuple[str, ...]:
    """What the arrays of one of the book's models are. Raises `UsageError` for a model that it does
    not have.
    """
    return tuple(name for name, _ in _form(model).shapes)


def _sizes(model: str, arrays: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """V, D and H as most of the arrays say. Raises `SeqgenError` for the first array that does not
    fit, or is not finite.
    """
    shapes = [shape.split() for _, shape in BOOK[model].shapes]
    if len(arrays) != len(shapes):
        raise SeqgenError(
            f"the book's {model} has {len(shapes)} arrays, and here are {len(arrays)}"
        )
    votes = {letter: Counter({0: 0}) for letter in "VDH"}
    for terms, array in zip(shapes, arrays, strict=True):
        for term, size in zip(terms, array.shape, strict=False):
            factor, letter = int(term[:-1] or 1) if term.isalnum() else 0, term[-1]
            if factor and size % factor == 0:
                votes[letter][size // factor] += 1
    sizes = {letter: count.most_common(1)[0][0] for letter, count in votes.items()}
    for number, (terms, array) in enumerate(zip(shapes, arrays, strict=True)):
        expected = tuple(
            sum(int(part[:-1] or 1) * sizes[part[-1]] for part in term.split("+")) for term in terms
        )
        if array.shape != expected:
            known = ", ".join(
                f"{letter} = {size}" for letter, size in sizes.items() if letter in "".join(terms)
            )
            raise SeqgenError(
                f"{label(number, names(model))} has the shape {array.shape} instead of "
                f"{expected}: {' × '.join(terms)}, and the others have {known}"
            )
        finite(label(number, names(model)), array)
    return sizes["V"], sizes["D"], sizes["H"]
