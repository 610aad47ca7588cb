"""What the ids of a language model stand for: words, characters or bytes."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Int, Integer

from seqgen.errors import UsageError

Unit = Literal["word", "character", "byte"]

END = "<eos>"
"""The word that a line's end is."""

UNKNOWN = "<unk>"
"""What stands for a symbol that the vocabulary lacks."""


def split_lines(lines: Iterable[str]) -> Iterator[str]:
    """The words of lines, and `<eos>` where a line ends."""
    return chain.from_iterable([*line.split(), END] if line.endswith("\n") else line.split() for line in lines)


@dataclass(frozen=True)
class Symbols:
    """The symbols in the order of their ids. Bytes need no table."""

    unit: Unit
    table: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.unit == "byte") != (not self.table) or len(self.ids) < len(self.table):
            raise ValueError(f"{len(self.table)} symbols, {len(self.ids)} of them distinct, are no table of {self.unit}s")

    @cached_property
    def ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.table)}

    def __len__(self) -> int:
        return len(self.table) or 256

    def read(self, line: bytes) -> str:
        """A line as `encode` takes it: of bytes none is lost. Raises `UnicodeDecodeError` for other text that is not UTF-8."""
        return line.decode(errors="surrogateescape" if self.unit == "byte" else "strict")

    def encode(self, text: str) -> Int[np.ndarray, " N"]:
        """Text to ids, int32. Raises `UsageError` for a symbol that is unknown where there is no `<unk>`."""
        if self.unit == "byte":
            return np.frombuffer(text.encode(errors="surrogateescape"), np.uint8).astype(np.int32)
        symbols = list(split_lines(text.splitlines(keepends=True)) if self.unit == "word" else text)
        instead = self.ids.get(UNKNOWN)
        for position, symbol in enumerate(symbols, start=1):
            if symbol not in self.ids and instead is None:
                raise UsageError(f"unknown {self.unit} {symbol!r} at position {position}: it is not in the run's vocabulary")
        return np.array([self.ids.get(symbol, instead) for symbol in symbols], np.int32)

    def decode(self, ids: Integer[np.ndarray, " N"]) -> str:
        """Ids to text: words with blanks between them, `<eos>` as a new line."""
        if self.unit == "byte":
            return bytes(np.asarray(ids, np.uint8)).decode(errors="replace")
        symbols = [self.table[i] for i in np.asarray(ids)]
        if self.unit == "character":
            return "".join(symbols)
        return re.sub(" ?\n ?", "\n", " ".join("\n" if symbol == END else symbol for symbol in symbols))

    def id_of(self, symbol: str) -> int:
        """One symbol's id. Raises `UsageError` where there is none."""
        if self.unit == "byte" and len(symbol.encode()) == 1:
            return symbol.encode()[0]
        if symbol not in self.ids:
            raise UsageError(f"{symbol!r} is not one of the run's {len(self)} {self.unit}s")
        return self.ids[symbol]
