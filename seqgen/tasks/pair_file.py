"""A person's own pairs: which files, which tokens, and how they are split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqgen.data.archive import reading
from seqgen.data.byte_pairs import ALPHABET
from seqgen.data.padding import Padding
from seqgen.data.pair_tokenizer import (
    FEATURES,
    Normalization,
    PairTokenizer,
    TokensName,
    features_of,
    normalized,
    vocabulary_of,
)
from seqgen.data.pairs import FRACTIONS, Pair, Split, Splits
from seqgen.data.rows import PACKED, Columns, member, rows_of
from seqgen.errors import UsageError
from seqgen.ranges import check_count
from seqgen.storage.files import PIECE, check_unchanged, sha256
from seqgen.tasks import pair_store
from seqgen.tasks.dataset import Dataset
from seqgen.tasks.pair_counts import PART, Source
from seqgen.tasks.stored_rows import Sides

PARTS: tuple[Split, ...] = ("train", "validation", "test")

LARGE: int = 1 << 26
"""Characters of training text that memory holds; rows of more are kept on the disk, as ids."""

LONGEST = 4000
"""Tokens of a row's side, above which a bound has to be named."""


@dataclass(frozen=True)
class PairFile:
    """Pairs in files of one's own: one file with columns, or two parallel ones, for each split.

    Splits without files are cut from the training file, 80/10/10 by source: no source stands in
    two of them. Every row has an end, and pad, bos and eos are tokens of their own.

    Args:
        train: one file with columns, or a source's and a target's, line by line.
        validation: the same for the split that training is evaluated with.
        test: the same for the split that is tested on.
        sha256: what the files were when the run was made, in that order.
        columns: source and target, and where there is a third one features of the source: numbers
            from 1, or names, of a header line or of JSON's fields.
        source_tokens: characters, words or symbols (both between blanks), bytes, or byte pairs.
        target_tokens: the same of answers.
        shared: one vocabulary for both sides.
        min_count: units that are rarer in the training split become <unk>; words have one always.
        vocabulary: most byte pairs of a side, bytes with them; None: 8,000, fewer of little text.
        normalization: the Unicode form of both sides; NFD takes Hangul apart into jamo, and
            answers are composed again.
        max_source: rows with a longer source, in tokens, are left out.
        max_target: rows with a longer target are.
        split_seed: of the split, and of the order of buckets.
        reverse: sources are read backwards.
        buckets: into how many shapes rows are sorted by length, at most: each is compiled.

    Raises:
        UsageError: for settings without sense.

    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    columns: Columns = ("1", "2")
    source_tokens: TokensName = "characters"
    target_tokens: TokensName = "characters"
    shared: bool = False
    min_count: int = 1
    vocabulary: int | None = None
    normalization: Normalization = "none"
    max_source: int | None = None
    max_target: int | None = None
    split_seed: int = 0
    reverse: bool = True
    buckets: int = 8

    def __post_init__(self) -> None:
        for name in ("min_count", "max_source", "max_target", "buckets"):
            check_count(f"data.{name}", getattr(self, name))
        if self.vocabulary is not None and self.vocabulary <= len(ALPHABET):
            raise UsageError(
                f"vocabulary must be more than the {len(ALPHABET)} bytes, not {self.vocabulary}",
                fields=("data.vocabulary",),
            )
        if self.split_seed < 0:
            raise UsageError(
                f"split_seed must be 0 or more, not {self.split_seed}", fields=("data.split_seed",)
            )
        if len(self.columns) not in (2, 3):
            raise UsageError(
                f"columns are a source's, a target's and features', not {len(self.columns)}",
                fields=("data.columns",),
            )
        for name in PARTS:
            files = getattr(self, name)
            if len(files) > 2 or (files and len(files) != len(self.train)):
                raise UsageError(
                    f"{name} is one file with columns, or two parallel ones as train is, "
                    f"not {' '.join(files)}",
                    fields=(f"data.{name}",),
                )
        if self.shared and self.source_tokens != self.target_tokens:
            raise UsageError(
                f"one vocabulary has one kind of tokens, not {self.source_tokens} and "
                f"{self.target_tokens}",
                fields=("data.shared",),
            )

    @property
    def name(self) -> str:
        """The training file's, without its endings."""
        return Path(self.train[0]).name.split(".")[0] or "pairs"

    @property
    def files(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (*self.train, *self.validation, *self.test)

    def pinned(self) -> "PairFile":
        """With absolute paths and checksums. Raises `SeqgenError` for an unreadable file."""
        parts: dict[str, Any] = {
            name: tuple(str(Path(file).absolute()) for file in getattr(self, name))
            for name in PARTS
        }
        found = replace(self, **parts)
        return replace(found, sha256=tuple(map(checksum, found.files)))


def checksum(path: str) -> str:
    """SHA-256 of a file, or of a zip's member. Raises `SeqgenError`."""
    with reading(path, member(path)) as stream:
        return sha256(iter(lambda: stream.read(PIECE), b""))


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
    splits, notes = _split(data, parts), list[str]()
    sides = sides_of(data, splits.train)
    kept, lengths = {}, {}
    for name, pairs in splits._asdict().items():
        tokens = [[len(sides.source.encode(a)), len(sides.target.encode(b))] for a, b in pairs]
        each = np.array(tokens, int).reshape(-1, 2)
        fits = (each <= [data.max_source or LONGEST, data.max_target or LONGEST]).all(axis=1)
        if dropped := int((~fits).sum()):
            if data.max_source is None and data.max_target is None:
                row = int(np.flatnonzero(~fits)[0])
                raise UsageError(
                    f"{data.train[0]}: {dropped} rows have more than {LONGEST} tokens, the first "
                    f"{pairs[row][0][:40]!r}; use max_source and max_target to leave them out",
                    fields=("data.max_source", "data.max_target"),
                )
            notes.append(f"{name}: {dropped:,} of {len(pairs):,} rows are longer, and left out")
        kept[name] = [pairs[row] for row in np.flatnonzero(fits).tolist()]
        lengths[name] = each[fits, 0], each[fits, 1] + 1
    return _dataset(data, sides, Splits(**kept), lengths, tuple(notes))


def _dataset(
    data: PairFile,
    sides: Sides,
    splits: Splits,
    lengths: dict[Split, Any],
    notes: tuple[str, ...],
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
        notes,
    )


def store_key(data: PairFile, sums: Sequence[str]) -> str:
    """All that decides what the ids of training rows are: not where the files stand."""
    names: dict[str, Any] = {
        name: tuple(Path(file).name for file in getattr(data, name)) for name in PARTS
    }
    plain = replace(data, **names, sha256=tuple(sums), reverse=True, buckets=1)
    return f"pairs {pair_store.FORMAT} {LARGE} {PART} {plain!r}"


def _from_disk(data: PairFile, key: str, own: dict[Split, list[Pair]]) -> Dataset:
    """More rows than memory is to hold: those of training stand on the disk."""
    packed = any(Path(file).suffix in PACKED or ".zip/" in file for file in data.train)
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
    rows, told = pair_store.stored(source)
    sides = told.sides
    lengths: dict[Split, Any] = {"train": rows.lengths()}
    for name in PARTS[1:]:
        each = zip(*getattr(told.held_out, name), strict=True)
        encoded = (side.encode_all(texts) for side, texts in zip(sides, each, strict=True))
        wide, long = (rows.lengths for rows in encoded)
        lengths[name] = wide, long + 1
    train: Any = rows
    return _dataset(data, sides, told.held_out._replace(train=train), lengths, told.notes)


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
        every = sources + targets if data.shared else texts
        made.append(vocabulary_of(every, tokens, data.min_count, size=data.vocabulary))
    source, target = (PairTokenizer(vocabulary, data.normalization) for vocabulary in made)
    source = replace(source, features=features)
    return Sides(source, target)
