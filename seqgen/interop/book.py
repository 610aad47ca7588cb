"""The pickles of "Deep Learning from Scratch 2" (its common/base_model.py): a plain list of float16 arrays.

A pickle is a program, and whoever wrote the file chose what it does. The reader knows the few instructions and names that
arrays need; what else a file asks for is refused before it happens.
"""

import io
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seqgen import files
from seqgen.errors import SeqgenError, UsageError
from seqgen.models import decoders, encoders, language_model, seq2seq
from seqgen.nn.attention import ReaderName
from seqgen.nn.cells import CellParams
from seqgen.nn.layers import Linear
from seqgen.tasks.book import read_bytes
from seqgen.types import Config, Params

ModelName = Literal["rnnlm", "better-rnnlm", "baseline", "peeky", "attention"]
"""The models of the book's §6.4, §6.5, §7.3, §7.4.2 and §8.2."""


# What a pickle gets for the names in it. None of it does anything: all is checked when the file has been read


class _Type:
    """For `numpy.dtype`."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        _, self.order, *_ = state


class _Array:
    """For `numpy.ndarray`, which its state fills, and for `_frombuffer`, which protocol 5 calls."""

    __slots__ = ("data", "dtype", "order", "shape")
    order: Any

    def __init__(self, data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C") -> None:
        self.data, self.dtype, self.shape, self.order = data, dtype, shape, order

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.dtype, fortran, self.data = state
        self.order = "F" if fortran else "C"


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    """For the function of this name, which makes an array without its state."""
    if kind is not _Array:
        raise pickle.UnpicklingError("it makes something that is not an array")
    return _Array()


def _encode(text: Any, encoding: Any) -> str:
    """For `_codecs.encode`: below protocol 3 bytes are written as text, and here stay so until an array is made of them."""
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("it has bytes that are not written as latin1")
    return text


NAMES: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Array for core in ("core", "_core")},
}

OPCODES = [
    "PROTO", "FRAME", "STOP", "MARK", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "LIST", "EMPTY_LIST", "APPEND", "APPENDS", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE",
    "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
]  # fmt: skip


class _Instructions(dict):
    def __missing__(self, code: int) -> Callable:
        raise pickle.UnpicklingError(f"it has the instruction 0x{code:02x}, which no list of arrays needs")


class _Reader(pickle._Unpickler):
    """The machine of `pickle` that is written in Python, with `OPCODES` and `NAMES` only.

    The one in C does not ask `find_class` for what copyreg's EXT instructions find in a cache, and allocates what five bytes
    claim (LONG_BINPUT).
    """

    dispatch = _Instructions((code, pickle._Unpickler.dispatch[code]) for code in (getattr(pickle, n)[0] for n in OPCODES))
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]  # its own allocates what is claimed

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:80]!r}")
        return NAMES[module, name]


# The file


def read_pickle(path: str | Path, model: str | None = None) -> list[np.ndarray]:
    """The arrays of a file that need not be trusted, as float32; with `model` errors call them by their names in it.

    Raises `SeqgenError` for all that is not a list of float16, float32 or float64 arrays, finite and not empty.
    """
    content = read_bytes(path)
    try:
        items = _Reader(io.BytesIO(content), encoding="latin1").load()
        if type(items) is not list:
            raise pickle.UnpicklingError(f"it is of type {_kind(items)}")
    except Exception as error:  # nobody can list what a stranger's program raises
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else "it is damaged"
        if isinstance(error, EOFError):
            reason = "it ends too early" if content else "it is empty"
        raise SeqgenError(f"{path} is not a list of NumPy arrays as the book pickles one: {reason}") from error
    made: dict[_Array, np.ndarray] = {}  # an array that is listed twice is one
    room = len(content)
    for number, item in enumerate(items):
        label = f"{path}: {_label(model, number)}"
        if type(item) is not _Array:
            raise SeqgenError(f"{label} is not an array but of type {_kind(item)}")
        if item not in made:
            made[item] = _finite(label, _numbers(label, item, room))
            room -= made[item].size
    return [made[item] for item in items]


def _kind(item: object) -> str:
    return type(item).__name__.lstrip("_")


def _numbers(label: str, array: _Array, room: int) -> np.ndarray:
    """The array that a file describes; arrays may share their bytes, but not have more than `room`."""
    try:
        code, data = array.dtype.code, array.data
        if code not in ("f2", "f4", "f8"):
            known = code[:20] if isinstance(code, str) else _kind(code)
            raise SeqgenError(f"{label} is of type {known!r}; float16, float32 or float64 would do")
        if len(data) > room:
            raise SeqgenError(f"{label} has more numbers than the file has room for")
        data = data.encode("latin1") if isinstance(data, str) else data
        flat = np.frombuffer(data, np.dtype(code).newbyteorder(array.dtype.order))
        numbers = np.array(np.reshape(_single(flat), array.shape, array.order), order="C")
        if numbers.shape != array.shape:  # one with -1
            raise ValueError(array.shape)
        return numbers
    except SeqgenError:
        raise
    except Exception as error:  # every part is a stranger's
        raise SeqgenError(f"{label} is damaged: its numbers, type and shape do not go together") from error


def write_pickle(path: str | Path, arrays: Sequence[np.ndarray]) -> None:
    """Write arrays as float16, as the book does: the whole file or nothing. Every Python 3, with any NumPy, reads it.

    Raises `SeqgenError` for numbers that float16 does not have.
    """
    content = pickle.dumps([_half(_label(None, number), array) for number, array in enumerate(arrays)], protocol=3)
    files.write(Path(path), content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1))


def _single(array: Any) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array).astype(np.float32)


def _half(label: str, array: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = _finite(label, np.asarray(array)).astype(np.float16)
    if not np.isfinite(half).all():
        raise SeqgenError(f"{label} holds {np.abs(array).max():g}; the book's float16 ends at 65504")
    return half


def _finite(label: str, array: np.ndarray) -> np.ndarray:
    if not array.size:
        raise SeqgenError(f"{label} is empty")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise SeqgenError(f"{label} holds numbers that are not finite: {bad:,} of {array.size:,}")
    return array


# The models


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
    """One of the book's models with an encoder: its readers, at their two places."""

    shapes: Shapes
    inputs: tuple[ReaderName, ...] = ()
    outputs: tuple[ReaderName, ...] = ()

    def config(self, V: int, D: int, H: int) -> seq2seq.Config:
        decoder = decoders.Config(D, H, inputs=self.inputs, outputs=self.outputs)
        return seq2seq.Config(encoders.Config(D, H), decoder, vocabulary=V)

    def params(self, arrays: list[Array]) -> seq2seq.Params:
        embedding, *cell, embedding_out, wx, wh, b, w, bias = arrays
        inputs, outputs = (None,) * len(self.inputs), (None,) * len(self.outputs)
        decoder = decoders.Params(embedding_out, inputs, _join(wx, wh, b), outputs, Linear(w, bias))
        return seq2seq.Params(encoders.Params(embedding, _join(*cell)), encoders.Bridge(None, None), decoder)

    def arrays(self, params: seq2seq.Params) -> list[Array]:
        encoder, _, decoder = params
        return [encoder.embedding, *_split(encoder.cell), decoder.embedding, *_split(decoder.cell), *decoder.affine]


def _language_model(embedding: str, *lstms: Shapes) -> Shapes:
    return ("embedding", embedding), *(array for lstm in lstms for array in lstm), ("affine W", "H V"), ("affine b", "V")


class _LanguageModel(NamedTuple):
    """One of the book's language models; a tied matrix stands in the list twice."""

    shapes: Shapes
    layers: int
    tied: bool

    def config(self, V: int, D: int, H: int) -> language_model.Config:
        return language_model.Config(H if self.tied else D, H, self.layers, tied=self.tied, vocabulary=V)

    def params(self, arrays: list[Array]) -> language_model.Params:
        embedding, *cells, w, b = arrays
        if self.tied and not jnp.array_equal(embedding.T.astype("float16"), w.astype("float16")):
            raise SeqgenError(f"array {len(arrays) - 2} (affine W) is not array 0 (embedding) transposed, to which it is tied")
        joined = tuple(_join(*cells[i : i + 3]) for i in range(0, len(cells), 3))
        return language_model.Params(embedding, joined, None if self.tied else w, b)

    def arrays(self, params: language_model.Params) -> list[Array]:
        w = params.embedding.T if params.w is None else params.w
        return [params.embedding, *(array for cell in params.cells for array in _split(cell)), w, params.b]


BOOK: dict[str, _Seq2seq | _LanguageModel] = {
    "rnnlm": _LanguageModel(_language_model("V D", _lstm("LSTM", "D")), layers=1, tied=False),
    "better-rnnlm": _LanguageModel(
        _language_model("V H", _lstm("first LSTM", "H"), _lstm("second LSTM", "H")), layers=2, tied=True
    ),
    "baseline": _Seq2seq(_seq2seq("D", "H")),
    "peeky": _Seq2seq(_seq2seq("H+D", "2H"), inputs=("summary",), outputs=("summary",)),
    "attention": _Seq2seq(_seq2seq("D", "2H"), outputs=("dot",)),
}

FREE = ("delimiter", "dtype", "init", "mask")
"""Fields of a configuration that its weights do not know."""


def to_params(model: str, arrays: Sequence[np.ndarray]) -> tuple[Config, Params]:
    """Our configuration and weights from the book's list; the delimiter comes from the data.

    Raises `SeqgenError`, with the array's number and name, for a list that is not this model's.
    """
    arrays, form = [_single(array) for array in arrays], _form(model)
    cfg = form.config(*_sizes(model, arrays))
    return cfg, form.params([jnp.asarray(array) for array in arrays])


def from_params(cfg: Config, params: Params) -> list[np.ndarray]:
    """The book's list, float16, of a model that the book has.

    Raises `UsageError`, with what differs, for another, and `SeqgenError` for weights that float16 does not have.
    """
    model = _book_model(cfg)
    arrays = [np.asarray(array) for array in BOOK[model].arrays(params)]
    _sizes(model, arrays)
    return [_half(_label(model, number), array) for number, array in enumerate(arrays)]


def _form(model: str) -> _Seq2seq | _LanguageModel:
    if model not in BOOK:
        raise UsageError(f"the book has no model {model!r}; it has {', '.join(BOOK)}")
    return BOOK[model]


def _book_model(cfg: Config) -> str:
    if not isinstance(cfg, (seq2seq.Config, language_model.Config)):
        raise UsageError(f"the book has no {type(cfg).__module__}")
    ours, side = _fields(cfg), cfg if isinstance(cfg, language_model.Config) else cfg.encoder
    differences = {}
    for model, form in BOOK.items():
        theirs = form.config(cfg.vocabulary, side.embedding, side.hidden)
        if type(theirs) is type(cfg):
            unlike = [(name, value) for name, value in _fields(theirs).items() if value != ours[name]]
            differences[model] = [f"{name} {value!r}, not {ours[name]!r}" for name, value in unlike]
    nearest = min(differences, key=lambda model: len(differences[model]))
    if differences[nearest]:
        raise UsageError(f"the book has no such model: its {nearest} has {'; '.join(differences[nearest])}")
    return nearest


def _fields(cfg: Config) -> dict[str, Any]:
    """The fields that weights belong to, by their dotted names."""
    leaves = jax.tree.leaves_with_path(asdict(cfg), is_leaf=lambda value: not isinstance(value, dict))
    named = {jax.tree_util.keystr(path, simple=True, separator="."): value for path, value in leaves}
    return {name: value for name, value in named.items() if name not in FREE}


def _label(model: str | None, number: int) -> str:
    """An array's place in the list, from 0, and its name where that is known."""
    shapes = _form(model).shapes if model else ()
    return f"array {number} ({shapes[number][0]})" if number < len(shapes) else f"array {number}"


def _sizes(model: str, arrays: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """V, D and H as most of the arrays say. Raises `SeqgenError` for the first array that does not fit, or is not finite."""
    shapes = [shape.split() for _, shape in BOOK[model].shapes]
    if len(arrays) != len(shapes):
        raise SeqgenError(f"the book's {model} has {len(shapes)} arrays, and here are {len(arrays)}")
    votes = {letter: Counter({0: 0}) for letter in "VDH"}
    for terms, array in zip(shapes, arrays, strict=True):
        for term, size in zip(terms, array.shape, strict=False):
            factor, letter = int(term[:-1] or 1) if term.isalnum() else 0, term[-1]
            if factor and size % factor == 0:
                votes[letter][size // factor] += 1
    sizes = {letter: count.most_common(1)[0][0] for letter, count in votes.items()}
    for number, (terms, array) in enumerate(zip(shapes, arrays, strict=True)):
        expected = tuple(sum(int(part[:-1] or 1) * sizes[part[-1]] for part in term.split("+")) for term in terms)
        if array.shape != expected:
            known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items() if letter in "".join(terms))
            meant = f"{expected}: {' × '.join(terms)}, and the others have {known}"
            raise SeqgenError(f"{_label(model, number)} has the shape {array.shape} instead of {meant}")
        _finite(_label(model, number), array)
    return sizes["V"], sizes["D"], sizes["H"]
