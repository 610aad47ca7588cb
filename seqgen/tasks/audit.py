"""How much of a test set already stands in the training set."""

from collections.abc import Sequence
from typing import NamedTuple

from seqgen.data.pairs import Pair, Task

Hits = tuple[int, int, int]


class Row(NamedTuple):
    """Of `rows` test rows of one format, how many stand in training.

    Word for word, ignoring case, and by the task's key.
    """

    format: str
    rows: int
    verbatim: int
    ignoring_case: int
    by_key: int


def audit(task: Task, train: Sequence[Pair], test: Sequence[Pair]) -> list[Row]:
    """One row in total, named "all", then one per format, sorted."""
    questions = {question for question, _ in train}
    folded = {question.lower() for question in questions}
    keys = {task.key(*pair) for pair in train}
    found: dict[str, list[Hits]] = {"all": []}
    for question, answer in test:
        hits = question in questions, question.lower() in folded, task.key(question, answer) in keys
        found["all"].append(hits)
        found.setdefault(task.format(question), []).append(hits)
    return [
        Row(name, len(found[name]), *_counts(found[name]))
        for name in ("all", *sorted(found.keys() - {"all"}))
    ]


def _counts(found: list[Hits]) -> Hits:
    verbatim, ignoring_case, by_key = zip(*found, strict=True) if found else ((), (), ())
    return sum(verbatim), sum(ignoring_case), sum(by_key)
