"""How much of a test set already stands in the training set, and what else files of pairs hide."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from seqgen.data.buckets import Lengths
from seqgen.data.pairs import Pair, Splits, Task
from seqgen.tasks.stored_rows import StoredRows

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
    if isinstance(splits.train, StoredRows):
        return splits.train.overlaps
    sources = {name: {source for source, _ in rows} for name, rows in splits._asdict().items()}
    folded = {source.casefold() for source in sources["train"]}
    again, several = repeats_in(splits.train)
    return {
        "test sources in training": len(sources["test"] & sources["train"]),
        "test sources in training, ignoring case": sum(
            source.casefold() in folded for source in sources["test"]
        ),
        "test sources in validation": len(sources["test"] & sources["validation"]),
        "validation sources in training": len(sources["validation"] & sources["train"]),
        "rows that stand twice in training": again,
        "training sources with several targets": several,
    }


def repeats(splits: Splits) -> list[str]:
    """A line for each kind of rows that come again in a person's own pairs, where there are any.

    A store's are among its notes.
    """
    if isinstance(splits.train, StoredRows):
        return []
    parts = {name: rows for name, rows in splits._asdict().items() if rows}
    sources = {name: {source for source, _ in rows} for name, rows in parts.items()}
    counts = {name: repeats_in(rows) for name, rows in parts.items()}
    twice = {
        f"{one} and {other}": len(sources[one] & sources[other])
        for one, other in combinations(parts, 2)
    }
    return repeat_notes(counts, twice)


def repeats_in(rows: Sequence[Pair]) -> tuple[int, int]:
    """How many rows repeat an earlier one, and how many sources have several targets."""
    targets = Counter(source for source, _ in set(rows))
    return len(rows) - len(set(rows)), sum(count > 1 for count in targets.values())


def repeat_notes(counts: dict[str, tuple[int, int]], twice: dict[str, int]) -> list[str]:
    """What `repeats` says of the counts of each split, and of sources in two of them."""
    again = {name: count for name, (count, _) in counts.items()}
    several = {name: count for name, (_, count) in counts.items()}
    said = {
        "rows that repeat an earlier one, and are kept": again,
        "sources with several targets, each of which is right": several,
        "sources in two splits, whose scores say too much (`seqgen audit` counts more)": twice,
    }
    return [
        f"{what}: {', '.join(f'{count:,} in {name}' for name, count in found.items() if count)}"
        for what, found in said.items()
        if any(found.values())
    ]


QUANTILES = (0.5, 0.9, 0.99, 1.0)
"""Of lengths: half of the rows have at most so many tokens, and so on."""


def quantiles(lengths: Lengths) -> list[int]:
    """The lengths at `QUANTILES`, each one that a row has."""
    return [int(each) for each in np.quantile(lengths, QUANTILES, method="higher")]


def _counts(found: list[Hits]) -> Hits:
    verbatim, ignoring_case, by_key = zip(*found, strict=True) if found else ((), (), ())
    return sum(verbatim), sum(ignoring_case), sum(by_key)
