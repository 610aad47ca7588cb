"""Pickled lists of arrays, float16 as the book writes them, from files that need not be trusted.

A pickle is a program, and whoever wrote the file chose what it does. The reader knows the few
instructions and names that arrays need; what else a file asks for is refused before it happens.
"""

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.storage import files

# What a pickle gets for the names in it. None of it does anything: all is checked once the file
# has been read


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

    def __init__(
        self, data: Any = None, dtype: Any = None, shape: Any = None, order: Any = "C"
    ) -> None:
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
    """For `_codecs.encode`: below protocol 3 bytes are written as text.

    Here they stay text until an array is made of them.
    """
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
        raise pickle.UnpicklingError(
            f"it has the instruction 0x{code:02x}, which no list of arrays needs"
        )


class _Reader(pickle._Unpickler):
    """The unpickler of `pickle` that is written in Python, with `OPCODES` and `NAMES` only.

    The one in C does not ask `find_class` for what copyreg's EXT instructions find in a cache, and
    allocates as much as five bytes claim (LONG_BINPUT).
    """

    dispatch = _Instructions(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in OPCODES)
    )
    # The function of its own would allocate what the file claims
    dispatch[pickle.BYTEARRAY8[0]] = dispatch[pickle.BINBYTES8[0]]

    def find_class(self, module: str, name: str) -> Callable:
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:80]!r}")
        return NAMES[module, name]


# The file


def read_pickle(path: str | Path, names: Sequence[str] = ()) -> list[np.ndarray]:
    """The arrays of a file, as float32; `names` are what they are named in errors.

    Raises:
        SeqgenError: it cannot be read, or is anything but a list of float16, float32 or float64
            arrays that are finite and not empty.

    """
    content = files.read_bytes(path)
    try:
        items = _Reader(io.BytesIO(content), encoding="latin1").load()
        if type(items) is not list:
            raise pickle.UnpicklingError(f"it is of type {_kind(items)}")
    except Exception as error:  # a pickle may raise anything
        reason = str(error) if isinstance(error, pickle.UnpicklingError) else "it is damaged"
        if isinstance(error, EOFError):
            reason = "it ends too early" if content else "it is empty"
        raise SeqgenError(
            f"{path} is not a list of NumPy arrays as the book pickles one: {reason}"
        ) from error
    made: dict[_Array, np.ndarray] = {}  # an array that is listed twice is one
    room = len(content)
    for number, item in enumerate(items):
        place = f"{path}: {label(number, names)}"
        if type(item) is not _Array:
            raise SeqgenError(f"{place} is not an array but of type {_kind(item)}")
        if item not in made:
            made[item] = finite(place, _numbers(place, item, room))
            room -= made[item].size
    return [made[item] for item in items]


def _kind(item: object) -> str:
    return type(item).__name__.lstrip("_")


def _numbers(place: str, array: _Array, room: int) -> np.ndarray:
    """The array that a file describes: arrays may share bytes, but have no more than `room`."""
    try:
        code, data = array.dtype.code, array.data
        if code not in ("f2", "f4", "f8"):
            known = code[:20] if isinstance(code, str) else _kind(code)
            raise SeqgenError(f"{place} is of type {known!r}; use float16, float32 or float64")
        if len(data) > room:
            raise SeqgenError(f"{place} has more numbers than the file has room for")
        data = data.encode("latin1") if isinstance(data, str) else data
        flat = np.frombuffer(data, np.dtype(code).newbyteorder(array.dtype.order))
        numbers = np.array(np.reshape(single(flat), array.shape, array.order), order="C")
        if numbers.shape != array.shape:  # one with -1
            raise ValueError(array.shape)
        return numbers
    except SeqgenError:
        raise
    except Exception as error:  # every part is a stranger's
        raise SeqgenError(
            f"{place} is damaged: its numbers, type and shape do not go together"
        ) from error


def write_pickle(path: str | Path, arrays: Sequence[np.ndarray]) -> None:
    """Write arrays as float16, as the book does: the whole file or nothing.

    Every Python 3, with any NumPy, reads it.

    Raises:
        SeqgenError: float16 does not have the numbers, or the file cannot be written.

    """
    narrow = [half(label(number), array) for number, array in enumerate(arrays)]
    content = pickle.dumps(narrow, protocol=3)
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n", 1)
    files.write(Path(path), old)


def label(number: int, names: Sequence[str] = ()) -> str:
    """An array's place in the list, from 0, and its name where that is known."""
    return f"array {number} ({names[number]})" if number < len(names) else f"array {number}"


def single(array: Any) -> np.ndarray:
    """As float32; what is too large for it becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array).astype(np.float32)


def half(place: str, array: Any) -> np.ndarray:
    """As float16; `place` is what it is named in errors.

    Raises:
        SeqgenError: float16 does not have its numbers, or they are not finite.

    """
    with np.errstate(over="ignore"):
        narrow = finite(place, np.asarray(array)).astype(np.float16)
    if not np.isfinite(narrow).all():
        raise SeqgenError(
            f"{place} holds {np.abs(array).max():g}; the book's float16 ends at 65504"
        )
    return narrow


def finite(place: str, array: np.ndarray) -> np.ndarray:
    """The array itself; `place` is what it is named in errors.

    Raises:
        SeqgenError: it is empty, or has numbers that are not finite.

    """
    if not array.size:
        raise SeqgenError(f"{place} is empty")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise SeqgenError(f"{place} holds numbers that are not finite: {bad:,} of {array.size:,}")
    return array
