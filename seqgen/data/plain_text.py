"""The one way in for text, whether a file, an argument or standard input holds it.

|                                | words and characters            | bytes                   |
|--------------------------------|---------------------------------|-------------------------|
| encoding                       | UTF-8, anything else is refused | any                     |
| byte-order mark at the start   | no part of the text             | kept                    |
| CRLF, CR, LF                   | a line's end, read as LF        | kept; a line ends at LF |
| NUL and other characters       | kept                            | kept                    |
| normalisation (NFC and others) | none                            | none                    |

In a string, bytes that are not UTF-8 stand as Python's surrogate escapes: none is lost.
"""

import io
from collections.abc import Callable, Iterator
from typing import IO, Any

from seqgen.data.tokenizer import Unit
from seqgen.errors import SeqgenError

MARK = "\ufeff"
"""A byte-order mark."""


Stream = io.BufferedIOBase | IO[bytes]
"""Bytes of a file, of a zip's file, of standard input."""


class NotUTF8(SeqgenError):
    """A text of words or characters is not UTF-8. The message names the line and the byte."""


def pieces(
    stream: Stream, place: object, unit: Unit, read: Callable[[io.TextIOWrapper], str]
) -> Iterator[str]:
    """A text piece by piece; none is empty.

    Args:
        stream: its bytes.
        place: what errors call it.
        unit: what a token of it is.
        read: gives the next piece of a file; at its end "".

    Raises:
        NotUTF8: where words or characters are not.

    """
    newline = "\n" if unit == "byte" else None  # None: CRLF and CR are read as LF
    raw: Any = stream  # either has what is needed
    text = io.TextIOWrapper(raw, "utf-8", "surrogateescape", newline=newline)
    try:
        read_all = iter(lambda: read(text), "")
        yield from read_all if unit == "byte" else _checked(read_all, place)
    finally:
        text.detach()  # or it would close the stream


def each_line(stream: Stream, place: object, unit: Unit) -> Iterator[str]:
    """The lines of a text with their ends, each as soon as it comes. Raises as `pieces`."""
    return pieces(stream, place, unit, io.TextIOWrapper.readline)


def whole(content: bytes, place: object, unit: Unit = "character") -> str:
    """All of a text. Raises as `pieces`."""
    return "".join(pieces(io.BytesIO(content), place, unit, io.TextIOWrapper.read))


def argument(words: str, place: object, unit: Unit = "character") -> str:
    """A text that was given as an argument; what was not UTF-8 Python has escaped.

    Raises as `pieces`.
    """
    return whole(words.encode(errors="surrogateescape"), place, unit)


def _checked(read: Iterator[str], place: object) -> Iterator[str]:
    """Pieces without a byte-order mark at their beginning. Raises `NotUTF8`."""
    line = 1
    for number, piece in enumerate(read):
        try:
            piece.encode()  # many times faster than a search for escapes
        except UnicodeEncodeError as error:
            line += piece.count("\n", 0, error.start)
            byte = ord(piece[error.start]) - 0xDC00
            raise NotUTF8(f"{place}, line {line}: not UTF-8 (byte 0x{byte:02x})") from error
        line += piece.count("\n")
        if piece := piece if number else piece.removeprefix(MARK):
            yield piece
