"""Streams of ids in memory-mapped files, which are made once and kept in the user's cache.

Their folder is named by a digest of the text and of how it is cut: a sweep makes them once, and a
text may be larger than memory.

<cache>/corpora/<digest>/train.npy  validation.npy  test.npy  tokenizer.json  SHA256SUMS

Every file is compared with its checksum when it is opened: about a second per gigabyte, and what
was damaged is made again.
"""

import atexit
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Integer

from seqgen.data.tokenizer import Vocabulary
from seqgen.errors import SeqgenError
from seqgen.storage.files import cache_folder, flush, reason_of, sha256
from seqgen.types import Sizes, Special

BLOCK = 1 << 22
"""Tokens that are written at a time."""

SUMS = "SHA256SUMS"

Tokens = Integer[np.ndarray, " _"]

Kept = TypeVar("Kept")


class Corpus(NamedTuple):
    """Streams of ids, uint16 or uint32, and what they stand for. An absent split is empty."""

    tokenizer: Vocabulary
    train: Tokens
    validation: Tokens
    test: Tokens

    @property
    def sizes(self) -> Sizes:
        """What a model is told of it."""
        return sizes_of(self.tokenizer)


def sizes_of(tokenizer: Vocabulary) -> Sizes:
    """What a model is told of a text: there is no source."""
    return Sizes(0, len(tokenizer), tokenizer.special)


def kept(
    key: str,
    name: str,
    fill: Callable[[Path], None],
    *,
    read: Callable[[Path], Kept],
) -> Kept:
    """What was kept under a key, or what `fill` makes of an empty folder.

    Args:
        key: all that decides what the streams are.
        name: what it is named in errors.
        fill: writes the streams.
        read: opens what was written; `opened` a corpus.

    Raises:
        SeqgenError: where they cannot be written.

    """
    folder = folder_of(key)
    if folder.exists():
        try:
            return checked(folder, read)
        except (SeqgenError, OSError, EOFError, ValueError, TypeError, KeyError) as error:
            reason = reason_of(error)
            warnings.warn(
                f"the tokens of {name} in {folder} are made again: {reason}", stacklevel=1
            )
            shutil.rmtree(folder, ignore_errors=True)
    try:
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            fill(partial)
            seal(partial)
            try:
                partial.rename(folder)
                flush(folder.parent)
            except OSError:  # unless another process was faster
                checked(folder, read)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return checked(folder, read)
    except OSError as error:
        raise SeqgenError(
            f"cannot write the tokens of {name} to {folder}: {error.strerror}"
        ) from error


def folder_of(key: str) -> Path:
    """Where what has a key is kept."""
    return corpora_folder() / sha256(key.encode())[:16]


@cache
def corpora_folder() -> Path:
    """Where streams are kept: the user's cache, else a folder that goes with the process."""
    if (folder := cache_folder("corpora")) is not None:
        return folder
    folder = Path(tempfile.mkdtemp(prefix="seqgen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def seal(folder: Path) -> None:
    """Write the checksums of a folder's files, and all of it to the disk."""
    (folder / SUMS).write_text(checksums(folder))
    for path in (*folder.iterdir(), folder):
        flush(path)


def checksums(folder: Path) -> str:
    """A line for each file, its SHA-256 and its name."""
    files = sorted(path for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256(path)}  {path.name}\n" for path in files)


def checked(folder: Path, read: Callable[[Path], Kept]) -> Kept:
    """What `read` opens. Raises `ValueError` unless every file is as it was written."""
    if (folder / SUMS).read_text() != checksums(folder):
        raise ValueError("they do not match their checksums")
    return read(folder)


def opened(folder: Path) -> Corpus:
    """A corpus that was kept. Raises `ValueError` for one that is not whole."""
    found = json.loads((folder / "tokenizer.json").read_text())
    streams = {split: np.empty(0, np.uint16) for split in ("train", "validation", "test")}
    for split, size in found["tokens"].items():
        streams[split] = np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        if streams[split].shape != (size,):
            raise ValueError(f"{split} is not whole")
    special = Special(*found["special"])
    return Corpus(Vocabulary(found["unit"], tuple(found["table"]), special), **streams)


def keep(
    tokenizer: Vocabulary, folder: Path, streams: dict[str, Tokens], *, ids: np.ndarray
) -> None:
    """Write streams.

    Args:
        tokenizer: what the ids that are written stand for.
        folder: where; tokenizer.json comes last.
        streams: those of each split.
        ids: for each id in the streams the one that is written.

    """
    kind = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    streams = {split: stream for split, stream in streams.items() if len(stream)}
    for split, stream in streams.items():
        header = {
            "descr": np.lib.format.dtype_to_descr(kind),
            "fortran_order": False,
            "shape": (len(stream),),
        }
        with open(folder / f"{split}.npy", "wb") as file:  # a memory map would die of a full disk
            np.lib.format.write_array_header_2_0(file, header)
            for i in range(0, len(stream), BLOCK):
                file.write(ids[stream[i : i + BLOCK]].astype(kind).tobytes())
    content = {
        "unit": tokenizer.unit,
        "table": tokenizer.table,
        "special": tokenizer.special,
        "tokens": {split: len(stream) for split, stream in streams.items()},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))


def spool(parts: Iterable[tuple[str, np.ndarray]], folder: Path) -> dict[str, Tokens]:
    """What comes piece by piece as one stream a split, on the disk."""
    sizes: dict[str, int] = {}
    for split, piece in parts:
        with open(folder / f"{split}.raw", "ab") as file:
            file.write(piece.astype(np.uint32).tobytes())
        sizes[split] = sizes.get(split, 0) + len(piece)
    return {
        split: np.memmap(folder / f"{split}.raw", np.uint32, "r")
        for split, size in sizes.items()
        if size
    }


def counted(streams: Iterable[Tokens], size: int) -> Integer[np.ndarray, " {size}"]:
    """How often each of `size` ids stands in streams."""
    counts = np.zeros(size, np.int64)
    for stream in streams:
        for i in range(0, len(stream), BLOCK):
            counts += np.bincount(stream[i : i + BLOCK], minlength=size)
    return counts
