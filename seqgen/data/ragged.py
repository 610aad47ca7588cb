"""Rows of ids that differ in length, one after another in one array."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

CODE_POINTS = 0x110000
"""That Unicode has."""


class Ragged(NamedTuple):
    """Rows of different lengths, their ids one after another."""

    ids: Int32[np.ndarray, " _"]
    lengths: Int[np.ndarray, " N"]


def ragged(rows: Sequence[Sequence[int]]) -> Ragged:
    """Lists of ids as one array."""
    lengths = np.array([len(row) for row in rows], int)
    return Ragged(np.fromiter(chain.from_iterable(rows), np.int32, lengths.sum()), lengths)


def character_table(ids: Iterable[tuple[str, int]], other: int) -> Int32[np.ndarray, " _"]:
    """For each code point the id of its character; `other` where it has none."""
    found = np.full(CODE_POINTS, other, np.int32)
    for character, i in ids:
        if len(character) == 1:  # not <unk>
            found[ord(character)] = i
    return found


def character_ids(texts: Sequence[str], table: Int32[np.ndarray, " _"]) -> Ragged:
    """The ids of all characters of texts by a `character_table`, many times as fast as one by
    one.
    """
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return Ragged(table[codes], np.array([len(text) for text in texts], int))


def filled(rows: Ragged, width: int, pad: int) -> Int32[np.ndarray, "N {width}"]:
    """Rows of ids as one array, filled up on the right."""
    array = np.full((len(rows.lengths), width), pad, np.int32)
    array[np.arange(width) < rows.lengths[:, None]] = rows.ids
    return array
