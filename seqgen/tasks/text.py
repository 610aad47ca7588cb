"""Any text as a stream of ids: a file, a folder or a zip, read piece by piece, since it may be larger than memory."""

import hashlib
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from seqgen.errors import SeqgenError, UsageError
from seqgen.tasks.symbols import Unit, split_lines

PIECE = 1 << 20
"""Characters or bytes that are read at a time."""

LARGEST = 200
"""A text is not packed tighter than this; English prose shrinks to a third."""

NAMED = {"train": {"train", "training"}, "validation": {"valid", "validation", "val", "dev"}, "test": {"test", "testing"}}
"""A split, and the words of which a file that is part of it has one in its name."""

LEFT_OUT = {"__MACOSX", "__pycache__"}
"""Folders that no one means."""


@dataclass(frozen=True)
class Text:
    """A corpus of UTF-8 text. Without a path, it is Python's own help topics, which need no download.

    Where the names of files say train, valid and test, those are the splits. Otherwise all files, in the order of their
    names, are one stream, and its last parts are held out.

    Args:
        path: a file, a folder or a zip.
        sha256: what it was when the run was made.
        unit: what a token is; as bytes, any file will do.
        min_count: symbols that are rarer in the training split become <unk>.
        most: keep at most so many symbols, the most frequent ones.
        validation: the part of a stream without named splits that watches the training.
        test: the part at its end that is kept for the last.

    """

    path: str | None = None
    sha256: str | None = None
    unit: Unit = "character"
    min_count: int = 1
    most: int | None = None
    validation: float = 0.05
    test: float = 0.05

    def __post_init__(self) -> None:
        if self.min_count < 1 or (self.most is not None and self.most < 1):
            raise UsageError(f"min_count and most must be 1 or more, not {self.min_count} and {self.most}")
        if not (min(self.validation, self.test) >= 0 and self.validation + self.test < 1):
            raise UsageError(f"validation and test are parts that leave a rest, not {self.validation} and {self.test}")

    @property
    def name(self) -> str:
        return "pydocs" if self.path is None else Path(self.path).stem


class File(NamedTuple):
    """One text, wherever it stands."""

    name: str
    open: Callable[[], IO[bytes]]


def files_of(path: str | None) -> list[File]:
    """The texts of a file, folder or zip in the order of their names; hidden ones are left out. Raises `SeqgenError`."""
    if path is None:
        return [File("pydoc_data.topics", _topics)]
    root = Path(path)
    if not os.path.exists(path):  # pathlib's own raises for a name that is too long
        script = root.parent / "prepare.py"
        raise SeqgenError(f"there is no {path}" + (f"; `python {script}` would get it" if script.exists() else ""))
    try:
        if root.is_dir():
            found = [File(f.relative_to(root).as_posix(), partial(f.open, "rb")) for f in root.rglob("*") if f.is_file()]
        elif root.suffix.lower() == ".zip" or zipfile.is_zipfile(root):
            archive = zipfile.ZipFile(root)
            for member in archive.infolist():
                if member.file_size > LARGEST * max(member.compress_size, 1024):
                    raise SeqgenError(f"{path}: {member.filename} would unpack to {member.file_size:,} bytes: that is no text")
            found = [File(m.filename, partial(archive.open, m)) for m in archive.infolist() if not m.is_dir()]
        else:
            found = [File(root.name.lstrip("._"), partial(root.open, "rb"))]
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise SeqgenError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    files = sorted(
        (file for file in found if not any(part[0] == "." or part in LEFT_OUT for part in Path(file.name).parts)),
        key=lambda file: file.name,
    )
    if not files:
        raise SeqgenError(f"cannot read {path}: no text in it")
    return files


def _topics() -> io.BytesIO:
    from pydoc_data.topics import topics

    return io.BytesIO("\n\n".join(topics[name].strip() for name in sorted(topics)).encode())


@contextmanager
def reading(path: str | None, file: File) -> Generator[IO[bytes]]:
    """A text's bytes. Raises `SeqgenError` for what cannot be opened, read or unpacked."""
    try:
        with file.open() as stream:
            yield stream
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        where = "" if path is None or Path(path).name == file.name else f"{file.name}: "
        raise SeqgenError(f"cannot read {path}: {where}{getattr(error, 'strerror', None) or error}") from error


def checksum(path: str | None) -> str:
    """SHA-256 of a text, hexadecimal; of several, of their names and contents in turn."""
    files = list(chain.from_iterable(parts_of(files_of(path)).values()))
    digest = hashlib.sha256()
    for file in files:
        with reading(path, file) as stream:
            if len(files) > 1:
                digest.update(f"{file.name}\0".encode())
            while piece := stream.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()


def symbols(path: str | None, file: File, unit: Unit) -> Iterator[list[str] | bytes]:
    """A text's symbols, piece by piece. Raises `SeqgenError`, with the line, where it is not UTF-8."""
    with reading(path, file) as stream:
        if unit == "byte":
            yield from iter(lambda: stream.read(PIECE), b"")
            return
        text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        try:
            if unit == "word":
                yield from (list(split_lines(lines)) for lines in iter(lambda: text.readlines(PIECE), []))
            else:
                yield from map(list, iter(lambda: text.read(PIECE), ""))
        except UnicodeDecodeError as error:
            raise SeqgenError(f"{path}: {file.name}, line {_broken_line(file)}: not UTF-8; --unit byte would do") from error


def _broken_line(file: File) -> int:
    """The first line that is not UTF-8."""
    with file.open() as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0


def parts_of(files: list[File]) -> dict[str, list[File]]:
    """The files of each split where their names say it, or all of them as "all"."""
    said = {file: {*re.split("[^a-z]+", Path(file.name).name.lower())} for file in files}
    named = {split: [file for file in files if said[file] & words] for split, words in NAMED.items()}
    once = len({*chain.from_iterable(named.values())}) == sum(map(len, named.values()))
    return named if once and all(named.values()) else {"all": files}


def provisional(text: Text, table: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Each split's ids, piece by piece, in the order of their first appearance; `table` grows with them."""
    for split, files in parts_of(files_of(text.path)).items():
        for piece in chain.from_iterable(symbols(text.path, file, text.unit) for file in files):
            if isinstance(piece, bytes):
                yield split, np.frombuffer(piece, np.uint8)
            else:
                yield split, np.array([table.setdefault(symbol, len(table)) for symbol in piece], np.uint32)
