"""Runs -> results/*.json -> the tables in the READMEs, and the figures.

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`.

Command   make figures      (python -m experiments.report; names after it say which JSON to read
                            from runs/, else all are)
"""

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro

from experiments import (
    alignment,
    benchmarks,
    better_ptb,
    buckets,
    cmudict,
    entropy,
    errors,
    figures,
    formats,
    language,
    language_ablation,
    length,
    ptb,
    scan,
    shakespeare,
    sigmorphon2021,
)
from experiments.records import RUNS, save, search_record, sweep_record
from experiments.tables import TABLES
from seqgen.errors import SeqgenError
from seqgen.storage.files import write

PAGES = [Path("README.md"), Path("README.ko.md"), Path("experiments/README.md")]

SWEEPS = ("addition", "dates", "dates-book", "best-addition", "best-dates")
"""Sweeps whose curves are results, by their folders in runs/."""

SEARCHES = ("search_addition", "search_dates")


def language_curves(
    experiment: ModuleType, runs: Path, free: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The curves of a sweep of language models, which may differ in `free` fields, too."""
    folder = runs / experiment.__name__.rpartition(".")[2]
    return language.record(folder, experiment, language.FREE | free)


COLLECTORS: dict[str, Callable[[Path], dict[str, Any]]] = {
    **{name: lambda runs, name=name: sweep_record(runs / name) for name in SWEEPS},
    **{name: lambda runs, name=name: search_record(runs / name) for name in SEARCHES},
    "alignment": alignment.collect,
    "length": length.collect,
    "formats": formats.collect,
    "errors": errors.collect,
    "buckets": buckets.collect,
    "ptb": partial(language_curves, ptb),
    "better_ptb": partial(language_curves, better_ptb, free=frozenset({"training.epochs"})),
    "language_ablation": partial(language_curves, language_ablation),
    "shakespeare": partial(language_curves, shakespeare),
    **{
        each.__name__.rpartition(".")[2]: partial(benchmarks.record, experiment=each)
        for each in (cmudict, sigmorphon2021, scan)
    },
    "entropy": lambda runs: language.entropy_record(runs / "entropy", entropy),
}
"""A result's name -> what reads it from a folder of runs."""


def collect(names: Iterable[str], runs: Path) -> None:
    """Each JSON whose runs are there and finished; the others stay as they are."""
    for name in names:
        try:
            save(name, COLLECTORS[name](runs))
            print(f"{name}: read from {runs}")
        except (SeqgenError, OSError, ValueError) as error:  # damaged versions.json, too
            print(f"{name}: left as it is, since {error}")


def filled(page: str) -> str:
    """A page with every table in it made again."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin in page:
            before, rest = page.split(begin)
            page = f"{before}{begin}{table()}\n{end}{rest.split(end)[1]}"
    return page


def main(
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = tuple(COLLECTORS),
    /,
    runs: Path = RUNS,
) -> None:
    """Read finished runs, write the tables and figures of all results.

    Args:
        names: which results to read from runs.
        runs: the folder of runs.

    """
    if unknown := [name for name in names if name not in COLLECTORS]:
        print(f"no result {unknown[0]!r}; there are {', '.join(COLLECTORS)}", file=sys.stderr)
        sys.exit(2)
    collect(names, runs)
    for path in PAGES:
        write(path, filled(path.read_text(encoding="utf-8")))
    figures.draw()


if __name__ == "__main__":
    tyro.cli(main)
