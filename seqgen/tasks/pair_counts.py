"""The first reading of pairs larger than memory: what decides tokens and splits.

Of a row there is a number of 8 bytes in memory, made from its source: those of the lowest numbers
are the sources of validation and test.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from seqgen.data.pair_tokenizer import (
    FEATURES,
    UNITS,
    Normalization,
    TokensName,
    features_of,
    normalized,
)
from seqgen.data.pairs import FRACTIONS, Pair, Splits
from seqgen.data.reading_bar import ReadingBar
from seqgen.data.tokenizer import units_of
from seqgen.errors import UsageError

BLOCK = 1 << 15
"""Rows that are read at a time."""

PART = 10_000
"""Sources at most of a split that is cut from so many."""


class Source(NamedTuple):
    """What is made a store of.

    pairs() -> all training pairs, normalised
    """

    name: str
    key: str
    pairs: Callable[[], Iterator[Pair]]
    own: dict[str, list[Pair]]
    """Splits that have files."""
    size: int | None
    """Characters of the files, as far as one can see; None: they are packed."""
    tokens: tuple[TokensName, TokensName]
    shared: bool
    min_count: int
    vocabulary: int | None
    normalization: Normalization
    features: bool
    most: tuple[int, int]
    """Tokens of a row's sides."""
    bounded: bool
    """Whether these were asked for."""
    seed: int


class Counted(NamedTuple):
    """What the first reading finds."""

    rows: int
    bounds: tuple[int, ...]
    """Sources whose number is at most the first are validation's, and so on."""
    held_out: Splits
    counts: tuple[Counter[str], Counter[str]]
    """Of both sides' units, in the training rows."""
    characters: tuple[int, int]
    features: tuple[str, ...]


def numbers(seed: int, sources: Sequence[str]) -> Integer[np.ndarray, " _"]:
    """A number of 64 bits for each source, which the seed and its text decide."""
    key = str(seed).encode()[:64]
    each = (blake2b(source.encode(), digest_size=8, key=key).digest() for source in sources)
    return np.frombuffer(b"".join(each), "<u8")


def count(source: Source, bar: ReadingBar) -> Counted:
    """Read all rows: those with the lowest numbers are validation's and test's."""
    absent = [name for name in ("validation", "test") if name not in source.own]
    every, lowest, bound = list[np.ndarray](), list[tuple[int, Pair]](), 2**64 - 1
    counts, characters = (Counter[str](), Counter[str]()), [0, 0]
    features: Counter[str] = Counter()
    bar.begin("counting", source.size)
    for block in blocks(source.pairs()):
        sources = [pair[0] for pair in block]
        found = numbers(source.seed, sources)
        every.append(found)
        if absent:
            low = np.flatnonzero(found <= bound).tolist()
            lowest += [(int(found[row]), block[row]) for row in low]
            if len(lowest) > 8 * PART:
                of = np.unique(np.array([number for number, _ in lowest], np.uint64))
                bound = int(of[min(2 * PART, len(of)) - 1])
                lowest = [each for each in lowest if each[0] <= bound]
        add(source, block, counts, characters, features, sign=1)
        bar.advance(sum(len(a) + len(b) + 2 for a, b in block), len(block))
    rows = sum(map(len, every))
    bounds = cuts(np.concatenate(every), len(absent))
    del every
    held_out = Splits([], [], [])._replace(**source.own)
    for number, pair in lowest:
        part = int(np.searchsorted(np.array(bounds, np.uint64), np.uint64(number)))
        if part < len(absent):
            getattr(held_out, absent[part]).append(pair)
    cut = [pair for name in absent for pair in getattr(held_out, name)]
    add(source, cut, counts, characters, features, sign=-1)
    kept_features = tuple(sorted(name for name, n in features.items() if n > 0))
    return Counted(rows, bounds, held_out, counts, (characters[0], characters[1]), kept_features)


def cuts(found: Integer[np.ndarray, " _"], parts: int) -> tuple[int, ...]:
    """The highest numbers of each part: a tenth of all sources, or `PART` where that is fewer.

    Raises `UsageError` where that is none.
    """
    found.sort()
    first = np.concatenate([[True], found[1:] != found[:-1]])
    distinct = int(first.sum())
    each = min(PART, round(FRACTIONS[1] * distinct))
    if parts and not each:
        raise UsageError(f"{distinct} sources are too few to be split for training and testing")
    ends = np.arange(1, parts + 1) * each
    return tuple(int(found[row]) for row in np.flatnonzero(first)[ends - 1])


def add(
    source: Source,
    pairs: Sequence[Pair],
    counts: tuple[Counter[str], Counter[str]],
    characters: list[int],
    features: Counter[str],
    *,
    sign: int,
) -> None:
    """Count the units of pairs, or take them away again.

    Args:
        source: says which.
        pairs: the pairs.
        counts: of units, of both sides.
        characters: of both sides.
        features: of sources.
        sign: 1 or -1.

    """
    for side in (0, 1):
        texts = [pair[side] for pair in pairs]
        if side == 0 and source.features:
            split = [text.partition(FEATURES) for text in texts]
            texts = [text for text, _, _ in split]
            for _, _, column in split:
                for each in features_of(column):
                    features[each] += sign
        texts = [normalized(text, source.normalization) for text in texts]
        characters[side] += sign * sum(map(len, texts))
        if (tokens := source.tokens[side]) in UNITS:
            unit = UNITS[tokens]
            joined = "".join(texts) if unit == "character" else " ".join(texts)
            found = Counter(units_of(joined, unit))
            (counts[side].update if sign > 0 else counts[side].subtract)(found)


def blocks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    """Pairs, so many at a time."""
    while block := list(islice(pairs, BLOCK)):
        yield block
