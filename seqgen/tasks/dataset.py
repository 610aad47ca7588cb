"""The configuration of a data set of pairs, and its loading."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqgen.data.buckets import Lengths
from seqgen.data.padding import Padding, Scheme, pair_vocabulary
from seqgen.data.pairs import Pair, Split, Splits, Task, drop_duplicates, split_by_key
from seqgen.data.tokenizer import Tokenizer
from seqgen.errors import SeqgenError, UsageError
from seqgen.ranges import check_count
from seqgen.storage.files import check_unchanged, sha256
from seqgen.tasks.book import book_split, read_book_pairs, write_book_file
from seqgen.types import Sizes


@dataclass(frozen=True)
class Data:
    """`draws` and `seed` make the data; a `file` in the book's format stands in their place.

    Args:
        task: where questions and answers come from.
        draws: examples, before duplicates are dropped.
        seed: what they are drawn with, and what splits draws and files.
        padding: how text becomes rows of ids.
        reverse: questions are read backwards.
        file: a file in the book's format.
        sha256: what it was when the run was made.
        split: 80/10/10 by key, so that no question, in any format, stands in two splits; or as the
            book does, 90/10 by row.
        validation: rows, cut from the end of the book split's training rows: it has none of its
            own.
        test_only_formats: left out of training and validation; only the test split has them.

    Raises:
        UsageError: for settings without sense.

    """

    task: Task
    draws: int = 50_000
    seed: int = 0
    padding: Scheme = "masked"
    reverse: bool = False
    file: str | None = None
    sha256: str | None = None
    split: Literal["leak-free", "book"] = "leak-free"
    validation: int = 0
    test_only_formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_count("data.draws", self.draws)
        if self.seed < 0:
            raise UsageError(
                f"the data's seed must be 0 or more, not {self.seed}", fields=("data.seed",)
            )
        if self.validation < 0 or (self.validation and self.split != "book"):
            raise UsageError(
                "validation rows, 0 or more, are cut from the book's split alone: "
                f"{self.validation}, {self.split}",
                fields=("data.validation",),
            )

    @property
    def name(self) -> str:
        return self.task.name

    def pinned(self) -> "Data":
        """With the file's absolute path and checksum. Raises `SeqgenError` if it is unreadable."""
        if self.file is None:
            return self
        path = Path(self.file).absolute()
        return replace(self, file=str(path), sha256=sha256(path))


class Dataset(NamedTuple):
    """Pairs, and how they become rows of ids.

    `tokenizer` is the target's, and the source's where `source_tokenizer` is None. `task` is None
    for a person's own pairs, which are sorted into at most `buckets` by the `lengths` of sources
    and of targets with their end; None: all rows have one width. `notes` say what was read.
    """

    task: Task | None
    tokenizer: Tokenizer
    padding: Padding
    splits: Splits
    source_tokenizer: Tokenizer | None = None
    buckets: int | None = None
    lengths: Mapping[Split, tuple[Lengths, Lengths]] = {}
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> Sizes:
        """What a model is told of it."""
        return sizes_of(self.tokenizer, self.source_tokenizer)


def sizes_of(tokenizer: Tokenizer, source: Tokenizer | None = None) -> Sizes:
    """What a model is told of pairs; without a `source` both sides have one vocabulary."""
    if source is None:
        return Sizes(len(tokenizer), len(tokenizer), tokenizer.special)
    return Sizes(len(source), len(tokenizer), tokenizer.special, source.special, shared=False)


def load(data: Data) -> Dataset:
    """Make or read the data and split it.

    Raises:
        SeqgenError: for a file that is malformed, foreign or changed, and data too few to split.

    """
    generator = np.random.default_rng(data.seed)
    (splitter,) = generator.spawn(1)  # its own stream: a file of the same draws is split alike
    if data.file is None:
        pairs, characters = _draw(data, generator), data.task.alphabet
        widths = data.task.question_width, data.task.answer_width
    else:
        pairs, *widths, characters = _read(data.task, data.file, data.sha256)
    if data.split == "book":
        train, test = ([pairs[row] for row in rows] for rows in book_split(len(pairs)))
        cut = max(len(train) - data.validation, 0)
        splits = Splits(train[:cut], train[cut:], test)
    else:
        splits = split_by_key(data.task, drop_duplicates(pairs), splitter)
    if data.test_only_formats:
        splits = without(data.task, splits, data.test_only_formats)
    empty = not splits.test or not splits.train
    if empty or (data.split == "leak-free" and not splits.validation):
        raise UsageError(
            f"{data.file or 'draws'}: {len(pairs)} rows are too few to split for training and "
            "testing"
        )
    padding = Padding(data.padding, data.reverse, *widths)
    return Dataset(data.task, pair_vocabulary(characters, data.padding), padding, splits)


def without(task: Task, splits: Splits, formats: tuple[str, ...]) -> Splits:
    """Splits whose training and validation rows are in other formats.

    Raises:
        UsageError: for a format that no row has, and where nothing is left to train on.

    """
    names = {task.format(question) for split in splits for question, _ in split}
    there = f"there are {', '.join(sorted(names))}"
    for name in formats:
        if name not in names:
            raise UsageError(f"no question is in the format {name!r}; {there}")

    def kept(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if task.format(pair[0]) not in formats]

    found = Splits(kept(splits.train), kept(splits.validation), splits.test)
    if not found.train:
        raise UsageError(f"test_only_formats leaves nothing to train on: {there}")
    return found


def prepare(data: Data, path: str | Path) -> list[Pair]:
    """Write the draws to a file in the book's format, duplicates dropped.

    With the same seed, `load` splits both alike.
    """
    pairs = drop_duplicates(_draw(data, np.random.default_rng(data.seed)))
    write_book_file(path, pairs, data.task.question_width, data.task.answer_width)
    return pairs


def _draw(data: Data, generator: np.random.Generator) -> list[Pair]:
    try:
        return data.task.sample(generator, data.draws)
    except ValueError as error:
        raise UsageError(f"{data.draws} draws: {error}") from error


def _read(task: Task, path: str, expected: str | None) -> tuple[list[Pair], int, int, str]:
    """A file's pairs, widths and characters, all of the task; unchanged since its SHA-256."""
    if expected is not None:
        check_unchanged(path, sha256(Path(path)), expected)
    content = read_book_pairs(path)
    for number, pair in enumerate(content.pairs, start=1):
        try:
            task.key(*pair)
        except ValueError as error:
            raise SeqgenError(f"{path}, line {number}: {error}") from error
    return content
