"""One run, or several that answer together: those that a command's words name."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqgen.errors import UsageError
from seqgen.families import Ensemble, PairsRun, is_run, load, locate, open_pairs

TEXTS = "--"
"""What stands before texts, where one of them may be the name of a run."""


def keep_mark(arguments: list[str]) -> list[str]:
    """A command's words, so that what tyro leaves of them still has the first `TEXTS`."""
    if TEXTS not in arguments:
        return arguments
    at = arguments.index(TEXTS)
    return [*arguments[:at], TEXTS, *arguments[at:]]


def runs_and_texts(run: str, words: Sequence[str], variant: str | None) -> tuple[Any, list[str]]:
    """The run or the ensemble that a command's words name, and the texts among them.

    Runs stand first; from the first word that is none, or from `TEXTS`, all are texts. Raises
    `UsageError` as `together`.

    Args:
        run: the first word.
        words: the others.
        variant: of a sweep, whose folder is `run`, the variant whose members answer.

    """
    before, after = list(words), []
    if TEXTS in before:
        at = before.index(TEXTS)
        before, after = before[:at], before[at + 1 :]
    if variant is not None:
        opened = together(run, [], variant)
        if not isinstance(opened, PairsRun):
            raise UsageError(f"{run} has runs of {opened.family.name}; this needs runs of pairs")
        return opened, before + after
    count = 0
    while before[count:] and names_run(before[count]):
        count += 1
    runs, texts = before[:count], before[count:] + after
    return (together(run, runs, None) if runs else open_pairs(run)), texts


def names_run(word: str) -> bool:
    """Whether a word is the name or the path of a run."""
    return bool(word) and (is_run(locate(word)) or is_run(Path(word)))


def together(run: str, others: Sequence[str], variant: str | None) -> Any:
    """A run; with others, or as a sweep with a variant, an ensemble.

    Raises:
        UsageError: where runs are no ensemble, or a sweep has no finished member of a variant.

    """
    if variant is None:
        names = [run, *others]
    elif others:
        raise UsageError("--members are those of one sweep, and several runs are named")
    else:
        from seqgen.sweeps import finished_members  # only where there is one

        here = locate(run)
        names = finished_members(here if here.is_dir() else Path(run), variant)
    return load(*names)


def tell_members(opened: Any) -> None:
    """Say which runs an ensemble is of."""
    if isinstance(opened, Ensemble):
        print(f"an ensemble of {len(opened.members)}: {opened.name}", file=sys.stderr)
