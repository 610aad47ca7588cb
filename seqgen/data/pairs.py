"""Questions and answers: the contract of a task, and how its pairs are split."""

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

Pair = tuple[str, str]
"""A question and its answer, both without padding, the answer without its leading `_`."""

Gold = list[dict[str, frozenset[int]]]
"""For each character of an answer: class -> the source positions it is read from.

Positions count from 0 in the question without padding.
"""


@runtime_checkable
class Task(Protocol):
    """Where questions and answers come from. `alphabet` is sorted and holds `_` and the blank."""

    @property
    def name(self) -> str: ...

    @property
    def alphabet(self) -> str: ...

    @property
    def question_width(self) -> int: ...

    @property
    def answer_width(self) -> int: ...

    def sample(self, generator: np.random.Generator, n: int) -> list[Pair]:
        """`n` draws. Raises `ValueError` where the task has fewer to give."""

    def key(self, question: str, answer: str) -> Hashable:
        """What must not stand on both sides of a split.

        Raises:
            ValueError: if the pair is not of this task.

        """

    def gold(self, question: str, answer: str) -> Gold:
        """Where each character of the answer comes from."""

    def format(self, question: str) -> str:
        """The short name under which results are broken down.

        Raises:
            ValueError: if the question has none.

        """


Split = Literal["train", "validation", "test"]


FRACTIONS = (0.8, 0.1)
"""Parts of the keys for training and validation; the rest is for the test."""


class Splits(NamedTuple):
    """Pairs to train on, to watch the training with, and to test on at its end."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

    @property
    def evaluation_split(self) -> Split:
        """What is evaluated during training: the test split where there is no validation one.

        The book's data have none.
        """
        return "validation" if self.validation else "test"


def drop_duplicates(pairs: Sequence[Pair]) -> list[Pair]:
    """Each question once, with the answer that it came with first."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair[0], pair)
    return list(first.values())


def split_by_key(task: Task, pairs: Sequence[Pair], generator: np.random.Generator) -> Splits:
    """Shuffle and cut the distinct keys, 80/10/10: no key stands in two splits.

    Args:
        task: says what a pair's key is.
        pairs: all rows; they follow their key, in their own order.
        generator: shuffles the keys.

    """
    row_keys = [task.key(*pair) for pair in pairs]
    keys = list(dict.fromkeys(row_keys))
    first_cut, second_cut = np.rint(np.cumsum(FRACTIONS) * len(keys))
    rank = dict(zip(keys, generator.permutation(len(keys)), strict=True))
    splits = Splits([], [], [])
    for pair, key in zip(pairs, row_keys, strict=True):
        splits[int(rank[key] >= first_cut) + int(rank[key] >= second_cut)].append(pair)
    return splits
