"""Where trained models fail: those of both sweeps, and the best recipe for sums.

Claim     reverse + peeky fails most often on short operands, which training hardly shows; the
          baseline in the last places; on dates attention, not reversed, in the last months of the
          year
Source    none: the book looks at no error
Command   seqgen sweep experiments.addition, experiments.dates and best-addition (see
          search_addition), then python -m experiments.report errors
Expected  every table's counts add up to the total error
Time      3 minutes on 2 cores
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.records import each, origin
from seqgen.data.pairs import Pair
from seqgen.families import PairsRun

SWEEPS = ("addition", "dates", "best-addition")

Table = Callable[[Pair, str], str]
"""(question, answer), guess -> the row of the table to which they belong."""


def carry_chain(pair: Pair, guess: str) -> str:
    """The longest run of neighbouring places that each hand a carry to the next."""
    a, b = (number[::-1] for number in pair[0].split("+"))
    longest = chain = carry = 0
    for place in range(max(len(a), len(b))):
        carry = int(int(a[place : place + 1] or 0) + int(b[place : place + 1] or 0) + carry >= 10)
        chain = (chain + 1) * carry
        longest = max(longest, chain)
    return str(longest)


PLACES = ("units", "tens", "hundreds", "thousands")


def places(pair: Pair, guess: str) -> str:
    """All wrong places of the answer; `length` where the guess has fewer digits, or more."""
    wrong = [name for name, a, g in zip(PLACES, pair[1][::-1], guess[::-1], strict=False) if a != g]
    return "length" if len(guess) != len(pair[1]) else " + ".join(wrong) or "none"


def month(pair: Pair, guess: str) -> str:
    """The month that is asked for."""
    return pair[1][5:7]


def century(pair: Pair, guess: str) -> str:
    """The century's two digits."""
    return pair[1][:2]


def tables(run: PairsRun) -> dict[str, Table]:
    """The tables of a run's task."""
    task = run.dataset.task

    def format_of(pair: Pair, guess: str) -> str:
        return task.format(pair[0])

    if task.name == "addition":
        chains: dict[str, Table] = {"longest carry chain": carry_chain, "wrong places": places}
        return {**chains, "operands' digits": format_of}
    return {"format": format_of, "month": month, "century": century}


def measured(run: PairsRun) -> dict[str, Any]:
    """Table -> row -> how many test answers are wrong, of how many."""
    pairs = run.pairs("test")
    answered = list(zip(pairs, run.predict([question for question, _ in pairs]), strict=True))
    found: dict[str, Any] = {
        "wrong": sum(pair[1] != guess for pair, guess in answered),
        "rows": len(pairs),
    }
    for name, row_of in tables(run).items():
        rows: dict[str, list[int]] = {}
        for pair, guess in answered:
            counts = rows.setdefault(row_of(pair, guess), [0, 0])
            counts[0] += pair[1] != guess
            counts[1] += 1
        found[name] = dict(sorted(rows.items()))
    return found


def collect(runs: Path) -> dict[str, Any]:
    """Sweep and cell -> seed -> tables."""
    cells = {
        f"{sweep}, {variant}": seeds
        for sweep in SWEEPS
        for variant, seeds in each(runs / sweep, measured).items()
    }
    return {
        **origin(*(runs / sweep for sweep in SWEEPS)),
        "command": "python -m experiments.report errors",
        "cells": cells,
    }
