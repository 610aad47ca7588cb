"""A person's own pairs, read and split: in memory, or where there are too many on the disk."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.data.padding import Padding
from seqgen.data.pair_tokenizer import (
    FEATURES,
    PairTokenizer,
    features_of,
    normalized,
    vocabulary_of,
)
from seqgen.data.pairs import FRACTIONS, Pair, Split, Splits
from seqgen.data.rows import PACKED, remarks, rows_of
from seqgen.data.tokenizer import UnknownSymbol
from seqgen.errors import UsageError
from seqgen.storage.files import check_unchanged
from seqgen.tasks import pair_store
from seqgen.tasks.dataset import Dataset
from seqgen.tasks.pair_config import PARTS, PairFile, checksum
from seqgen.tasks.pair_counts import PART, Source
from seqgen.tasks.stored_rows import Sides

LARGE: int = 1 << 26
"""Characters of training text that memory holds; rows of more are kept on the disk, as ids."""

LONGEST = 4000
"""Tokens of a row's side, above which a bound has to be named."""


def load(data: PairFile) -> Dataset:
    """Read the pairs of files, and split them.

    Raises:
        SeqgenError: that names file and line, for what is no pair, and for a file that has changed.
        UsageError: for rows that are too few to be split, and columns that are not there.

    """
    found = tuple(map(checksum, data.files))
    for path, now, expected in zip(data.files, found, data.sha256, strict=False):
        check_unchanged(path, now, expected)
    key = store_key(data, found)
    train = None if pair_store.is_kept(key) else _normal(data, data.train, LARGE)
    own = {name: _normal(data, getattr(data, name)) or [] for name in PARTS[1:]}
    if train is None:
        return _from_disk(data, key, own)
    parts: dict[Split, list[Pair]] = {"train": train, **own}
    splits, longer = _split(data, parts), dict[str, tuple[int, int]]()
    sides = sides_of(data, splits.train)
    kept, lengths = {}, {}
    for name, pairs in splits._asdict().items():
        each = np.array([lengths_of(sides, pair, name) for pair in pairs], int).reshape(-1, 2)
        fits = (each <= [data.max_source or LONGEST, data.max_target or LONGEST]).all(axis=1)
        dropped = int((~fits).sum())
        if dropped and data.max_source is None and data.max_target is None:
            row = int(np.flatnonzero(~fits)[0])
            raise UsageError(
                f"{data.train[0]}: {dropped} rows have more than {LONGEST} tokens, the first "
                f"{pairs[row][0][:40]!r}; use max_source and max_target to leave them out",
                fields=("data.max_source", "data.max_target"),
            )
        longer[name] = dropped, len(pairs)
        kept[name] = [pairs[row] for row in np.flatnonzero(fits).tolist()]
        if not kept[name]:
            raise pair_store.nothing_left(data.train[0], name)
        lengths[name] = each[fits, 0], each[fits, 1] + 1
    return _dataset(data, sides, Splits(**kept), lengths, pair_store.left_out(longer))


def lengths_of(sides: Sides, pair: Pair, split: str) -> tuple[int, int]:
    """The tokens of a pair's sides. Raises `UsageError` that names the pair, for a feature that no
    training row has.
    """
    try:
        source, target = (side.encode(text) for side, text in zip(sides, pair, strict=True))
    except UnknownSymbol as error:
        raise UsageError(
            f"{split}, {pair[0]!r}: no training row has the {error.unit} {error.piece!r}, and "
            "these tokens have no <unk>; leave the row out, or use characters, words or symbols",
            fields=("data.source_tokens",),
        ) from error
    return len(source), len(target)


def _dataset(
    data: PairFile,
    sides: Sides,
    splits: Splits,
    lengths: dict[Split, Any],
    notes: Iterable[str],
) -> Dataset:
    longest = max(int(target.max(initial=2)) for _, target in lengths.values()) - 1
    return Dataset(
        None,
        sides.target,
        Padding("masked", data.reverse, 1, longest),
        splits,
        None if sides.source == sides.target else sides.source,
        data.buckets,
        lengths,
        (*remarks(data.train, data.columns), *notes),
    )


def store_key(data: PairFile, sums: Sequence[str]) -> str:
    """All that decides what the ids of training rows are: not where the files stand."""
    plain = replace(data.plain(), sha256=tuple(sums))
    return f"pairs {pair_store.FORMAT} {LARGE} {PART} {plain!r}"


def _from_disk(data: PairFile, key: str, own: dict[Split, list[Pair]]) -> Dataset:
    """More rows than memory is to hold: those of training stand on the disk."""
    packed = any(Path(file).suffix in PACKED or ".zip" in file for file in data.train)
    source = Source(
        data.train[0],
        key,
        partial(_pairs, data, data.train),
        {name: rows for name, rows in own.items() if rows},
        size=None if packed else sum(Path(file).stat().st_size for file in data.train),
        tokens=(data.source_tokens, data.target_tokens),
        shared=data.shared,
        min_count=data.min_count,
        vocabulary=data.vocabulary,
        normalization=data.normalization,
        features=len(data.columns) == 3,
        most=(data.max_source or LONGEST, data.max_target or LONGEST),
        bounded=data.max_source is not None or data.max_target is not None,
        seed=data.split_seed,
    )
    rows, description = pair_store.stored(source)
    sides = description.sides
    lengths: dict[Split, Any] = {"train": rows.lengths()}
    for name in PARTS[1:]:
        each = zip(*getattr(description.held_out, name), strict=True)
        encoded = (side.encode_all(texts) for side, texts in zip(sides, each, strict=True))
        wide, long = (rows.lengths for rows in encoded)
        lengths[name] = wide, long + 1
    train: Any = rows
    return _dataset(
        data, sides, description.held_out._replace(train=train), lengths, description.notes
    )


def _pairs(data: PairFile, files: Sequence[str]) -> Iterator[Pair]:
    """The pairs of a part, normalised, but for Hangul composed: tokenizers take it apart."""
    form = "NFC" if data.normalization == "NFD" else data.normalization
    for _, source, target in rows_of(files, data.columns) if files else ():
        yield normalized(source, form), normalized(target, form)


def _normal(data: PairFile, files: Sequence[str], most: int | None = None) -> list[Pair] | None:
    """All pairs of a part; None where they have more than `most` characters."""
    found, characters = list[Pair](), 0
    for pair in _pairs(data, files):
        found.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if most is not None and characters > most:
            return None
    return found


def _split(data: PairFile, parts: dict[Split, list[Pair]]) -> Splits:
    """Parts by their files, and what has none cut from the training rows by source: 10 % each.

    Raises `UsageError` where one would be empty.
    """
    rows, absent = parts["train"], [name for name in PARTS[1:] if not getattr(data, name)]
    sources = list(dict.fromkeys(source for source, _ in rows))
    order = np.random.default_rng(data.split_seed).permutation(len(sources))
    bounds = np.rint(FRACTIONS[1] * len(sources) * np.arange(1, len(absent) + 1))
    part = np.searchsorted(bounds, order, side="right")
    of = dict(zip(sources, part.tolist(), strict=True))
    for i, name in enumerate([*absent, PARTS[0]]):
        parts[name] = [row for row in rows if of[row[0]] == i]
    if not all(parts.values()):
        raise UsageError(
            f"{data.train[0]}: {len(sources)} sources are too few to be split for training "
            "and testing"
        )
    return Splits(**parts)


def sides_of(data: PairFile, train: Sequence[Pair]) -> Sides:
    """The tokens of both sides, from the training rows alone."""
    form = data.normalization
    sources = [normalized(source.partition(FEATURES)[0], form) for source, _ in train]
    targets = [normalized(target, form) for _, target in train]
    features: tuple[str, ...] = ()
    if len(data.columns) == 3:
        columns = {source.partition(FEATURES)[2] for source, _ in train}
        features = tuple(sorted({each for column in columns for each in features_of(column)}))
    made = []
    for texts, tokens in ((sources, data.source_tokens), (targets, data.target_tokens)):
        if data.shared and made:
            made *= 2
            break
        every = sources + targets if data.shared else texts
        made.append(vocabulary_of(every, tokens, data.min_count, size=data.vocabulary))
    source, target = (PairTokenizer(vocabulary, data.normalization) for vocabulary in made)
    source = replace(source, features=features)
    return Sides(source, target)
