"""How much of a test set already stands in the training set, and what else files of pairs hide."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqgen.data.pairs import Pair, Splits, Task

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


def overlaps(splits: Splits) -> dict[str, int]:
    """Of a person's own pairs: what stands in two splits, or twice in one, each by its name."""
    sources = {name: {source for source, _ in rows} for name, rows in splits._asdict().items()}
    folded = {source.casefold() for source in sources["train"]}
    return {
        "test sources in training": len(sources["test"] & sources["train"]),
        "test sources in training, ignoring case": sum(
            source.casefold() in folded for source in sources["test"]
        ),
        "test sources in validation": len(sources["test"] & sources["validation"]),
        "validation sources in training": len(sources["validation"] & sources["train"]),
        "rows that stand twice in training": len(splits.train) - len(set(splits.train)),
        "training sources with several targets": sum(
            count > 1 for count in Counter(source for source, _ in set(splits.train)).values()
        ),
    }


QUANTILES = (0.5, 0.9, 0.99, 1.0)
"""Of lengths: half of the rows have at most so many tokens, and so on."""


def quantiles(lengths: Sequence[int]) -> list[int]:
    """The lengths at `QUANTILES`, each one that a row has."""
    return [int(each) for each in np.quantile(lengths, QUANTILES, method="higher")]


def _counts(found: list[Hits]) -> Hits:
    verbatim, ignoring_case, by_key = zip(*found, strict=True) if found else ((), (), ())
    return sum(verbatim), sum(ignoring_case), sum(by_key)
