"""How much of a test set already stands in the training set."""

from collections.abc import Sequence
from typing import NamedTuple

from seqgen.tasks.task import Pair, Task


class Row(NamedTuple):
    """Of `rows` test rows of one format, how many stand in training: word for word, ignoring case, by the task's key."""

    format: str
    rows: int
    verbatim: int
    ignoring_case: int
    by_key: int


def audit(task: Task, train: Sequence[Pair], test: Sequence[Pair]) -> list[Row]:
    """One row in total, called "all", then one a format, sorted."""
    questions = {question for question, _ in train}
    folded = {question.lower() for question in questions}
    keys = {task.key(*pair) for pair in train}
    found = [
        Row(task.format(question), 1, question in questions, question.lower() in folded, task.key(question, answer) in keys)
        for question, answer in test
    ]
    return [_total("all", found)] + [
        _total(name, [row for row in found if row.format == name]) for name in sorted({row.format for row in found})
    ]


def _total(name: str, found: list[Row]) -> Row:
    return Row(name, *(sum(row[column] for row in found) for column in range(1, len(Row._fields))))
