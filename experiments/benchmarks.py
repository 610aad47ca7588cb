"""Runs on public benchmarks: test scores of each seed, and of all seeds together."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments import cmudict, scan, sigmorphon2021
from experiments.markdown import percent, table
from experiments.records import Members, exists, load, members, origin
from experiments.speed_tables import UNMEASURED
from seqgen.families import Ensemble, PairsRun, parameters
from seqgen.storage import log

SCORES = "exact_match", "token_error_rate", "token_accuracy", "loss"


def tested(run: PairsRun) -> dict[str, Any]:
    """A run's scores on the test split, from its log."""
    _, event = run.tested()
    assert event is not None  # it is finished
    return event


def chosen(scores: dict[str, Any]) -> dict[str, float]:
    """Those scores that are kept."""
    return {name: round(scores[name], 6) for name in SCORES}


def together(runs: list[PairsRun]) -> dict[str, float]:
    """Scores on the test split of runs whose probabilities are averaged."""
    found = Ensemble(runs)
    return chosen(found.measured(found.evaluate("test")))


def record(runs: Path, experiment: ModuleType) -> dict[str, Any]:
    """Variant -> each seed's test scores, those of all seeds as an ensemble, and the size."""
    folder = runs / experiment.__name__.rpartition(".")[2]
    found: Members = members(folder)
    cells = {}
    for name, seeds in found.items():
        first, *_ = seeds.values()
        cells[name] = {
            "parameters": parameters(first.config.model, first.sizes),
            "epochs": round(log.epochs(first.path)[-1]["epoch"], 2),
            "examples": tested(first)["examples"],
            "seeds": {seed: chosen(tested(run)) for seed, run in seeds.items()},
            "ensemble": together(list(seeds.values())),
        }
    return {**origin(folder), "cells": cells}


def errors(cell: dict[str, Any]) -> list[float]:
    """The share of wrong answers of each seed."""
    return [1 - scores["exact_match"] for scores in cell["seeds"].values()]


def wrong(scores: dict[str, float]) -> list[str]:
    """Wrong words and phones in percent."""
    return [f"{100 * (1 - scores['exact_match']):.2f}", f"{100 * scores['token_error_rate']:.2f}"]


def cmudict_table() -> str:
    """Word and phone error rates on CMUdict, ours and published ones."""
    (cell,) = load("cmudict")["cells"].values()
    seeds = list(cell["seeds"].values())
    phones = percent(scores["token_error_rate"] for scores in seeds)
    size = f"{cell['parameters']:,}"
    rows = [
        [f"one model, {len(seeds)} seeds", size, percent(errors(cell)), phones],
        [f"{len(seeds)} models together", f"{len(seeds)} x {size}", *wrong(cell["ensemble"])],
        *([name, "", f"{rate:.2f}", ""] for name, rate in cmudict.PUBLISHED.items()),
    ]
    return table(["", "parameters", "wrong words, %", "wrong phones, %"], rows)


def sigmorphon_table() -> str:
    """Word error rates by language, ours and published ones."""
    cells = load("sigmorphon2021")["cells"]
    rows = []
    for name, cell in cells.items():
        of = [f"{rates[name]:.1f}" if name in rates else "" for rates in published().values()]
        rows.append([name, percent(errors(cell)), wrong(cell["ensemble"])[0], *of])
    ten = [cells[name] for name in sigmorphon2021.LANGUAGES]
    means = np.mean([errors(cell) for cell in ten], axis=0)
    ensemble = np.mean([1 - cell["ensemble"]["exact_match"] for cell in ten])
    of = [f"{rates['average']:.2f}" for rates in published().values()]
    rows.append(["average of the ten", percent(means), f"{100 * ensemble:.2f}", *of])
    header = ["language", "one model, %", f"{len(means)} together, %", *published()]
    return table(header, rows)


def published() -> dict[str, dict[str, float]]:
    """Published word error rates of SIGMORPHON 2021 in percent."""
    return sigmorphon2021.PUBLISHED


def scan_table() -> str:
    """Exact match by split, beside what LSTMs are known to reach."""
    rows = []
    for name, cell in load("scan")["cells"].items():
        right = [scores["exact_match"] for scores in cell["seeds"].values()]
        lowest = f"{100 * min(right):.2f} to {100 * max(right):.2f}"
        rows.append([name, percent(right), lowest, f"{len(right)}", scan.PUBLISHED[name]])
    header = ["split", "exact match, %", "lowest to highest", "seeds", "published, %"]
    return table(header, rows)


def once_measured(name: str, made: Callable[[], str]) -> Callable[[], str]:
    """A table, or that there is none yet."""
    return lambda: made() if exists(name) else UNMEASURED


TABLES = {
    name: once_measured(name, made)
    for name, made in {
        "cmudict": cmudict_table,
        "sigmorphon2021": sigmorphon_table,
        "scan": scan_table,
    }.items()
}
