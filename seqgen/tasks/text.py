"""Any text as a stream of ids, read piece by piece, since it may be larger than memory."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.data.archive import File, files_in, place, reading
from seqgen.data.plain_text import NotUTF8, pieces
from seqgen.data.tokenizer import END, TextUnit, Unit, split_lines
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

SPLIT_WORDS = set().union(*NAMED.values())


@dataclass(frozen=True)
class Text:
    """A corpus of UTF-8 text; without a path Python's own help topics, which need no download.

    Where the names of files say train, valid and test, those are the splits. Where none says so,
    all files, in the order of their names, are one stream, which is cut: its end is not trained on.
    Between two files of a stream stands a line's end, where the first has none of its own.

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
    unit: TextUnit = "character"
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
        """As a new run has it: with its absolute path and checksum.

        Raises:
            UsageError: for parts of what is not cut, and for names that say no clear splits.
            SeqgenError: for an unreadable text.

        """
        path = None if self.path is None else str(Path(self.path).absolute())
        files = files_of(path)
        check_names(path, files)
        usual = Text.validation, Text.test
        if "all" not in parts_of(files) and (self.validation, self.test) != usual:
            raise UsageError(
                f"validation {self.validation} and test {self.test} would change nothing: "
                f"the files of {path} are its splits; use {usual[0]} and {usual[1]}, the defaults",
                fields=("data.validation", "data.test"),
            )
        return replace(self, path=path, sha256=checksum(path))


def files_of(path: str | None) -> list[File]:
    """The texts of a corpus in the order of their names. Raises `SeqgenError` as `files_in`."""
    return [File("pydoc_data.topics", _topics)] if path is None else files_in(path)


def _topics() -> io.BytesIO:
    from pydoc_data.topics import topics

    return io.BytesIO("\n\n".join(topics[name].strip() for name in sorted(topics)).encode())


def checksum(path: str | None, *, joined: bool = True) -> str:
    """SHA-256 of a text, hexadecimal; of several, of their names and contents in turn.

    `joined` as in `provisional`: without it, what the first versions computed.
    """
    parts = parts_of(files_of(path)).values()
    several = sum(map(len, parts)) > 1

    def read() -> Iterator[bytes]:
        for files in parts:
            last = b"\n"
            for file in files:
                if joined and last != b"\n":
                    last = b"\n"
                    yield last
                if several:
                    yield f"{file.name}\0".encode()
                for piece in octets(path, file):
                    last = piece[-1:]
                    yield piece

    return sha256(read())


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
    words = unit == "word"
    try:
        with reading(path, file) as stream:
            for piece in pieces(stream, place(path, file), unit, by_lines if words else by_size):
                yield list(split_lines(piece.splitlines(keepends=True)) if words else piece)
    except NotUTF8 as error:
        raise SeqgenError(f'{error}; use the unit "byte"', fields=("data.unit",)) from error


def words_in(name: str) -> set[str]:
    """The words of a file's name."""
    return {*re.split("[^a-z]+", name.lower())}


def by_size(text: io.TextIOWrapper) -> str:
    """The next piece."""
    return text.read(PIECE)


def by_lines(text: io.TextIOWrapper) -> str:
    """The next piece that ends where a line does, so that no word is cut."""
    return "".join(text.readlines(PIECE))


def parts_of(files: list[File]) -> dict[str, list[File]]:
    """The files of each split where their names say it, or all of them as "all"."""
    parts = {file: words_in(Path(file.name).name) for file in files}
    named = {
        split: [file for file in files if parts[file] & words] for split, words in NAMED.items()
    }
    once = len({*chain.from_iterable(named.values())}) == sum(map(len, named.values()))
    return named if once and all(named.values()) else {"all": files}


def check_names(path: str | None, files: list[File]) -> None:
    """Raises `UsageError` where some names say a split, and not each file's the one it is of."""
    if len(files) == 1 or not any(words_in(file.name) & SPLIT_WORDS for file in files):
        return
    said = {
        file.name: [
            split for split, words in NAMED.items() if words_in(Path(file.name).name) & words
        ]
        for file in files
    }
    absent = NAMED.keys() - chain.from_iterable(said.values())
    unclear = [name for name, splits in said.items() if len(splits) != 1]
    if absent or unclear:
        fault = (
            f"no file's own name says {' or '.join(sorted(absent))}"
            if absent
            else f"{unclear[0]} is of {' and '.join(said[unclear[0]]) or 'no split'}"
        )
        raise UsageError(
            f"{path}: some names say which split they are of, but {fault}; name every file for "
            "one of them, like train.txt, valid.txt and test.txt, or put all text into one file",
            fields=("data.path",),
        )


def provisional(
    text: Text, table: dict[str, int], *, joined: bool = True
) -> Iterator[tuple[str, np.ndarray]]:
    """Each split's ids, piece by piece, in the order of first appearance; `table` grows.

    Args:
        text: the text.
        table: symbol -> id.
        joined: whether a line's end stands between two files, where the first has none.

    """
    end: Any = {"word": [END], "character": ["\n"], "byte": b"\n"}[text.unit]

    def ids(piece: list[str] | bytes) -> np.ndarray:
        if isinstance(piece, bytes):
            return np.frombuffer(piece, np.uint8)
        return np.array([table.setdefault(symbol, len(table)) for symbol in piece], np.uint32)

    for split, files in parts_of(files_of(text.path)).items():
        last = end
        for file in files:
            if joined and last[-1:] != end:
                last = end
                yield split, ids(end)
            for piece in symbols(text.path, file, text.unit):
                last = piece[-1:] or last
                yield split, ids(piece)
