"""The task contract, and what is written once for every task: splitting by key, encoding, rendering."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from seqgen.errors import UsageError
from seqgen.tasks.vocabulary import BLANK, DELIMITER, Vocabulary
from seqgen.types import Batch

Pair = tuple[str, str]
"""A question and its answer, both without padding, the answer without its leading `_`."""

Gold = list[dict[str, frozenset[int]]]
"""For each character of an answer: class -> the source positions it is read from, 0-based in the unpadded question."""


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
        """What must not stand on both sides of a split. Raises `ValueError` if the pair is not of this task."""

    def gold(self, question: str, answer: str) -> Gold:
        """Where each character of the answer comes from."""

    def format(self, question: str) -> str:
        """The short name under which results are broken down. Raises `ValueError` if the question has none."""


Split = Literal["train", "validation", "test"]


class Splits(NamedTuple):
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

    @property
    def held_out(self) -> Split:
        """What a run is watched on: like the book, the test set where there are no validation rows."""
        return "validation" if self.validation else "test"


def drop_duplicates(pairs: Sequence[Pair]) -> list[Pair]:
    """Each question once, with the answer that it came with first."""
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair[0], pair)
    return list(first.values())


def split_by_key(
    task: Task, pairs: Sequence[Pair], generator: np.random.Generator, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
) -> Splits:
    """Shuffle and cut the distinct keys; rows follow their key, in their own order: no key stands in two splits."""
    row_keys = [task.key(*pair) for pair in pairs]
    keys = list(dict.fromkeys(row_keys))
    first_cut, second_cut = np.rint(np.cumsum(fractions[:2]) * len(keys))
    rank = dict(zip(keys, generator.permutation(len(keys)), strict=True))
    splits = Splits([], [], [])
    for pair, key in zip(pairs, row_keys, strict=True):
        splits[int(rank[key] >= first_cut) + int(rank[key] >= second_cut)].append(pair)
    return splits


@dataclass(frozen=True)
class Layout:
    """How text becomes rows of ids: `book` is fixed width with blanks as tokens, `masked` has lengths and an end symbol."""

    kind: Literal["book", "masked"]
    reverse: bool
    question_width: int
    answer_width: int

    def __post_init__(self) -> None:
        if min(self.question_width, self.answer_width) < 1:
            raise ValueError(f"widths must be 1 or more, not {self.question_width} and {self.answer_width}")


def text_ids(texts: Sequence[str], width: int, fill: str, vocabulary: Vocabulary) -> np.ndarray:
    """Ids [N, width] of texts filled up on the right, int32. Raises `UsageError` for long texts and unknown characters."""
    for text in texts:
        if len(text) > width:
            raise UsageError(f"{text!r} has {len(text)} characters, and there is room for {width}")
    rows = [text.ljust(width, fill) for text in texts]
    codes = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), np.uint32).reshape(len(rows), width)
    lookup = np.full(0x110000, -1, np.int32)
    lookup[[ord(character) for character in vocabulary.characters]] = np.arange(len(vocabulary))
    ids = lookup[codes]
    for row in np.flatnonzero((ids < 0).any(axis=1))[:1]:
        vocabulary.encode(texts[row])
        vocabulary.encode(rows[row])  # the text itself was known: the fill is not
    return ids


def reading_order(weights: ArrayLike, length: ArrayLike | None, layout: Layout) -> np.ndarray:
    """Undo (or do) the reversal along the last axis S of [B, ..., S] with lengths [B], or of one [..., S] with a number."""
    weights = np.asarray(weights)
    if not layout.reverse:
        return weights
    if length is None:
        return weights[..., ::-1]
    length = np.asarray(length)
    length = length.reshape(length.shape + (1,) * (weights.ndim - length.ndim))
    position = np.arange(weights.shape[-1])
    return np.take_along_axis(weights, np.where(position < length, length - 1 - position, position), axis=-1)


def encode_questions(questions: Sequence[str], vocabulary: Vocabulary, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    """Questions to source [N, S] and length [N], int32. Raises `UsageError` for what the layout or alphabet cannot hold."""
    for number, question in enumerate(questions, start=1):
        if not question.strip():
            raise UsageError(f"question {number} is empty")
    if layout.kind == "book":
        source, length = text_ids(questions, layout.question_width, BLANK, vocabulary), None
    else:
        length = np.array([len(question) for question in questions], np.int32)
        width = int(length.max(initial=layout.question_width))
        source = text_ids(questions, width, vocabulary.characters[0], vocabulary)
    return np.ascontiguousarray(reading_order(source, length, layout)), length


def encode(pairs: Sequence[Pair], vocabulary: Vocabulary, layout: Layout) -> Batch:
    """Pairs to a batch for teacher forcing: `_` opens the inputs; in the masked layout it also closes the targets."""
    source, length = encode_questions([question for question, _ in pairs], vocabulary, layout)
    answers = [answer for _, answer in pairs]
    book = layout.kind == "book"
    width, fill = (layout.answer_width, BLANK) if book else (layout.answer_width + 1, vocabulary.characters[0])
    inputs = text_ids([DELIMITER + answer for answer in answers], layout.answer_width + 1, fill, vocabulary)[:, :width]
    targets = text_ids([answer if book else answer + DELIMITER for answer in answers], width, fill, vocabulary)
    valid = np.full(len(answers), width) if book else np.array([len(answer) + 1 for answer in answers], int)
    return Batch(source, length, inputs, targets, np.arange(width) < valid[:, None])


def render(tokens: ArrayLike, vocabulary: Vocabulary, layout: Layout) -> str:
    """The ids of one generated answer back to text."""
    text = vocabulary.decode(np.asarray(tokens))
    return text.rstrip(BLANK) if layout.kind == "book" else text.partition(DELIMITER)[0]


def gold_targets(gold: Gold, layout: Layout) -> Gold:
    """An answer's gold over all its valid targets: `end` closes it (masked), or `blank`s fill its field (book)."""
    if layout.kind == "masked":
        return [*gold, {"end": frozenset()}]
    return gold + [{"blank": frozenset()}] * (layout.answer_width - len(gold))
