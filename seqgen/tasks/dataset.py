"""The configuration of a data set, and its loading."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from seqgen.errors import SeqgenError, UsageError
from seqgen.tasks.book import book_split, read_book_pairs, read_bytes, write_book_file
from seqgen.tasks.task import Layout, Pair, Splits, Task, drop_duplicates, split_by_key
from seqgen.tasks.vocabulary import Vocabulary


@dataclass(frozen=True)
class Data:
    """`draws` and `seed` make the data; a `file` (absolute path, book's format) stands in their place.

    `validation` rows are cut from the end of the book split's training rows, which has none of its own. Formats named in
    `held_out` are left out of training and validation: only the test set has them.
    """

    task: Task
    draws: int = 50_000
    seed: int = 0
    layout: Literal["book", "masked"] = "masked"
    reverse: bool = False
    file: str | None = None
    sha256: str | None = None
    split: Literal["leak-free", "book"] = "leak-free"
    validation: int = 0
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UsageError(f"draws must be 1 or more, not {self.draws}")
        if self.seed < 0:
            raise UsageError(f"the data's seed must be 0 or more, not {self.seed}")
        if self.validation < 0 or (self.validation and self.split != "book"):
            raise UsageError(
                f"validation rows, 0 or more, are cut from the book's split alone: {self.validation}, {self.split}"
            )

    @property
    def name(self) -> str:
        return self.task.name


class Dataset(NamedTuple):
    task: Task
    vocabulary: Vocabulary
    layout: Layout
    splits: Splits


def checksum(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def load(data: Data) -> Dataset:
    """Make or read the data and split it. Raises `SeqgenError` for a file that is malformed, foreign or changed."""
    generator = np.random.default_rng(data.seed)
    (splitter,) = generator.spawn(1)  # its own stream: a file of the same draws is split alike
    if data.file is None:
        pairs, vocabulary = _draw(data, generator), Vocabulary(data.task.alphabet)
        widths = data.task.question_width, data.task.answer_width
    else:
        pairs, *widths, vocabulary = _read(data.task, data.file, data.sha256)
    if data.split == "book":
        train, test = ([pairs[row] for row in rows] for rows in book_split(len(pairs)))
        cut = max(len(train) - data.validation, 0)
        splits = Splits(train[:cut], train[cut:], test)
    else:
        splits = split_by_key(data.task, drop_duplicates(pairs), splitter)
    if data.held_out:
        splits = without(data.task, splits, data.held_out)
    if not splits.test or not splits.train or (data.split == "leak-free" and not splits.validation):
        raise UsageError(f"{data.file or 'draws'}: {len(pairs)} rows are too few to split for training and testing")
    return Dataset(data.task, vocabulary, Layout(data.layout, data.reverse, *widths), splits)


def without(task: Task, splits: Splits, formats: tuple[str, ...]) -> Splits:
    """Splits whose training and validation rows are in other formats. Raises `UsageError` for a format that no row has."""
    names = {task.format(question) for split in splits for question, _ in split}
    for name in formats:
        if name not in names:
            raise UsageError(f"no question is in the format {name!r}; there are {', '.join(sorted(names))}")

    def kept(pairs: list[Pair]) -> list[Pair]:
        return [pair for pair in pairs if task.format(pair[0]) not in formats]

    found = Splits(kept(splits.train), kept(splits.validation), splits.test)
    if not found.train:
        raise UsageError(f"held_out leaves nothing to train on: there are {', '.join(sorted(names))}")
    return found


def prepare(data: Data, path: str | Path) -> list[Pair]:
    """Write the draws to a file in the book's format, duplicates dropped: with the same seed, `load` splits both alike."""
    pairs = drop_duplicates(_draw(data, np.random.default_rng(data.seed)))
    write_book_file(path, pairs, data.task.question_width, data.task.answer_width)
    return pairs


def _draw(data: Data, generator: np.random.Generator) -> list[Pair]:
    try:
        return data.task.sample(generator, data.draws)
    except ValueError as error:
        raise UsageError(f"{data.draws} draws: {error}") from error


def _read(task: Task, path: str, sha256: str | None) -> tuple[list[Pair], int, int, Vocabulary]:
    """A file's pairs, widths and vocabulary, all of the task; unchanged since `sha256` was taken."""
    if sha256 is not None and checksum(path) != sha256:
        raise SeqgenError(f"{path} has changed since the run was made: its SHA-256 is no longer {sha256}")
    content = read_book_pairs(path)
    for number, pair in enumerate(content.pairs, start=1):
        try:
            task.key(*pair)
        except ValueError as error:
            raise SeqgenError(f"{path}, line {number}: {error}") from error
    return content
