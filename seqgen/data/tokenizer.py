"""What the ids of text stand for: words, characters, bytes or given symbols."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Integer

from seqgen.errors import UsageError
from seqgen.types import Special

TextUnit = Literal["word", "character", "byte"]
"""What a token of a text is."""

Unit = Literal[TextUnit, "symbol"]
"""Of pairs it may also be what stands between blanks: a phoneme, an action."""

Ids = Sequence[SupportsIndex] | Integer[np.ndarray, " _"]
"""Ids of a text: a list, or an array of one axis."""

DELIMITER = "_"
"""The character that opens an answer, and closes it where answers have an end."""

BLANK = " "
"""The character that fills up a line of the book's files."""

END = "<eos>"
"""The word that a line's end is."""

UNKNOWN = "<unk>"
"""What stands for a symbol that the vocabulary lacks."""


NO_SPECIAL = Special()
"""No token means more than its piece of text."""


class UnknownSymbol(UsageError):
    """A piece of text that a tokenizer cannot encode.

    Args:
        unit: what the piece is: "word", "character", "token".
        piece: the piece.
        position: its place among the text's pieces, counted from 1.
        text: the text, where it is short enough to be shown.
        known: the characters that can be encoded, where they are few enough to be shown.

    """

    def __init__(
        self, unit: str, piece: str, position: int, *, text: str | None = None, known: str = ""
    ) -> None:
        self.unit, self.piece, self.position, self.known = unit, piece, position, known
        message = f"unknown {unit} {piece!r} at position {position}"
        if text is None:
            super().__init__(f"{message}: it is not in the run's vocabulary")
        else:
            super().__init__(f"{message} of {text!r}" + (f"; known: {known!r}" if known else ""))

    def shown_in(self, text: str) -> "UnknownSymbol":
        """The same error, with the text and with what is known."""
        return UnknownSymbol(self.unit, self.piece, self.position, text=text, known=self.known)


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. A text may have more or fewer tokens than characters."""

    @property
    def special(self) -> Special:
        """The ids that mean something to a model or a decoder."""

    def __len__(self) -> int:
        """How many ids there are."""

    def encode(self, text: str) -> list[int]:
        """Text to ids. Raises `UnknownSymbol` where there is none for a piece of it, nor an unk."""

    def decode(self, ids: Ids) -> str:
        """Ids to text."""

    def pieces(self, ids: Ids) -> list[str]:
        """What each id stands for, as an attention map's axis shows it."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer of words, characters, bytes or symbols.

    Args:
        unit: what one id stands for.
        table: words, characters or symbols in the order of their ids; bytes need none.
        special: the ids that mean something to a model or a decoder.

    Raises:
        ValueError: for a symbol that stands in the table twice, an empty table of words or
            characters, a table of bytes, and special ids that are none.

    """

    unit: Unit
    table: tuple[str, ...] = ()
    special: Special = NO_SPECIAL

    def __post_init__(self) -> None:
        twice = [symbol for i, symbol in enumerate(self.table) if self.ids[symbol] != i]
        if (self.unit == "byte") != (not self.table) or twice:
            repeated = f": it holds {twice[0]!r} more than once" if twice else ""
            raise ValueError(
                f"{len(self.table)} symbols, {len(self.ids)} of them distinct, are no table of "
                f"{self.unit}s{repeated}"
            )
        if not all(each is None or 0 <= each < len(self) for each in self.special):
            raise ValueError(f"{self.special} are not ids of {len(self)} {self.unit}s")

    @cached_property
    def ids(self) -> dict[str, int]:
        """Symbol -> id."""
        return {symbol: i for i, symbol in enumerate(self.table)}

    def __len__(self) -> int:
        return len(self.table) or 256

    def encode(self, text: str) -> list[int]:
        """Text to ids; a line's end is the word `<eos>`. Raises `UnknownSymbol`."""
        if self.unit == "byte":
            return list(text.encode(errors="surrogateescape"))
        words = self.unit in ("word", "symbol")
        symbols = [*units_of(text, self.unit)]
        if self.special.unk is not None:
            return [self.ids.get(symbol, self.special.unk) for symbol in symbols]
        try:
            return [*map(self.ids.__getitem__, symbols)]
        except KeyError as error:
            position = [symbol in self.ids for symbol in symbols].index(False) + 1
            known = "" if words else "".join(self.table)
            raise UnknownSymbol(self.unit, error.args[0], position, known=known) from None

    def decode(self, ids: Ids) -> str:
        """Ids to text: words with blanks between them, `<eos>` as a new line."""
        if self.unit == "byte":
            return bytes(np.asarray(ids, np.uint8)).decode(errors="replace")
        return self.join(self.pieces(ids))

    def join(self, symbols: Sequence[str]) -> str:
        """The text of symbols."""
        if self.unit != "word":
            return (" " if self.unit == "symbol" else "").join(symbols)
        lines = " ".join("\n" if symbol == END else symbol for symbol in symbols)
        return re.sub(" ?\n ?", "\n", lines)

    def pieces(self, ids: Ids) -> list[str]:
        """The symbols of ids; bytes as ASCII, and in hexadecimal where they are not."""
        numbers = np.asarray(ids).tolist()
        if self.unit == "byte":
            return [bytes([i]).decode("ascii", "backslashreplace") for i in numbers]
        return [self.table[i] for i in numbers]

    def id_of(self, symbol: str) -> int:
        """One symbol's id. Raises `UsageError` where there is none."""
        if self.unit == "byte" and len(symbol.encode()) == 1:
            return symbol.encode()[0]
        if symbol not in self.ids:
            raise UsageError(f"{symbol!r} is not one of the run's {len(self)} {self.unit}s")
        return self.ids[symbol]


def text_vocabulary(unit: Unit, table: Sequence[str] = ()) -> Vocabulary:
    """A text's vocabulary: it has no tokens of its own but `<unk>`, where that is in the table."""
    unk = table.index(UNKNOWN) if UNKNOWN in table else None
    return Vocabulary(unit, tuple(table), Special(unk=unk))


def units_of(text: str, unit: Unit) -> Iterable[str]:
    """The words, characters or symbols of a text."""
    if unit == "word":
        return split_lines(text.splitlines(keepends=True))
    return text.split() if unit == "symbol" else text


def split_lines(lines: Iterable[str]) -> Iterator[str]:
    """The words of lines, and `<eos>` where a line ends."""
    return chain.from_iterable(
        [*line.split(), END] if line.endswith("\n") else line.split() for line in lines
    )
