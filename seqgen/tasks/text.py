"""Any text as a stream of ids, read piece by piece, since it may be larger than memory."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from seqgen.data.archive import File, files_in, reading
from seqgen.data.tokenizer import Unit, split_lines
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import sha256

PIECE = 1 << 20
"""Characters or bytes that are read at a time."""

NAMED = {
    "train": {"train", "training"},
    "validation": {"valid", "validation", "val", "dev"},
    "test": {"test", "testing"},
}
"""A split, and the words of which a file that is part of it has one in its name."""


@dataclass(frozen=True)
class Text:
    """A corpus of UTF-8 text; without a path Python's own help topics, which need no download.

    Where the names of files say train, valid and test, those are the splits. Otherwise all files,
    in the order of their names, are one stream, which is cut: its end is not trained on.

    Args:
        path: a file, a folder or a zip.
        sha256: what it was when the run was made.
        unit: what a token is; as bytes, any file can be read.
        min_count: symbols that are rarer in the training split become <unk>.
        most: keep at most this many symbols, the most frequent ones.
        validation: the part of a stream without named splits that training is evaluated with.
        test: the part at its end to test on.

    Raises:
        UsageError: for settings without sense.

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
            raise UsageError(
                f"min_count and most must be 1 or more, not {self.min_count} and {self.most}",
                fields=("data.min_count", "data.most"),
            )
        if not (min(self.validation, self.test) >= 0 and self.validation + self.test < 1):
            raise UsageError(
                "validation and test are parts that leave a rest, not "
                f"{self.validation} and {self.test}",
                fields=("data.validation", "data.test"),
            )

    @property
    def name(self) -> str:
        return "pydocs" if self.path is None else Path(self.path).stem

    def pinned(self) -> "Text":
        """With its absolute path and checksum. Raises `SeqgenError` for an unreadable text."""
        path = None if self.path is None else str(Path(self.path).absolute())
        return replace(self, path=path, sha256=checksum(path))


def files_of(path: str | None) -> list[File]:
    """The texts of a corpus in the order of their names. Raises `SeqgenError` as `files_in`."""
    return [File("pydoc_data.topics", _topics)] if path is None else files_in(path)


def _topics() -> io.BytesIO:
    from pydoc_data.topics import topics

    return io.BytesIO("\n\n".join(topics[name].strip() for name in sorted(topics)).encode())


def checksum(path: str | None) -> str:
    """SHA-256 of a text, hexadecimal; of several, of their names and contents in turn."""
    files = list(chain.from_iterable(parts_of(files_of(path)).values()))

    def pieces() -> Iterator[bytes]:
        for file in files:
            if len(files) > 1:
                yield f"{file.name}\0".encode()
            yield from octets(path, file)

    return sha256(pieces())


def octets(path: str | None, file: File) -> Iterator[bytes]:
    """A text's bytes, piece by piece."""
    with reading(path, file) as stream:
        yield from iter(lambda: stream.read(PIECE), b"")


def symbols(path: str | None, file: File, unit: Unit) -> Iterator[list[str] | bytes]:
    """A text's symbols, piece by piece.

    Raises:
        SeqgenError: with the line, where it is not UTF-8.

    """
    if unit == "byte":
        yield from octets(path, file)
        return
    with reading(path, file) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8-sig")
        try:
            if unit == "word":
                pieces = iter(lambda: text.readlines(PIECE), [])
                yield from (list(split_lines(lines)) for lines in pieces)
            else:
                yield from map(list, iter(lambda: text.read(PIECE), ""))
        except UnicodeDecodeError as error:
            raise SeqgenError(
                f'{path}: {file.name}, line {_broken_line(file)}: not UTF-8; use the unit "byte"',
                fields=("data.unit",),
            ) from error


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
    parts = {file: {*re.split("[^a-z]+", Path(file.name).name.lower())} for file in files}
    named = {
        split: [file for file in files if parts[file] & words] for split, words in NAMED.items()
    }
    once = len({*chain.from_iterable(named.values())}) == sum(map(len, named.values()))
    return named if once and all(named.values()) else {"all": files}


def provisional(text: Text, table: dict[str, int]) -> Iterator[tuple[str, np.ndarray]]:
    """Each split's ids, piece by piece, in the order of first appearance; `table` grows."""
    for split, files in parts_of(files_of(text.path)).items():
        for piece in chain.from_iterable(symbols(text.path, file, text.unit) for file in files):
            if isinstance(piece, bytes):
                yield split, np.frombuffer(piece, np.uint8)
            else:
                ids = [table.setdefault(symbol, len(table)) for symbol in piece]
                yield split, np.array(ids, np.uint32)
