"""Dates in a format that training never showed.

Claim     a model that reads three ways of writing a date reads the fourth only as far as it is a
          part of another
Source    none: the book has every format in training
Command   seqgen sweep experiments.formats, then python -m experiments.report formats
Expected  near 100 % on the formats of training; of the other one near 0, but for what is a
          shorter way of writing another
Time      10 minutes on 2 cores: 20 runs of four epochs
"""

from pathlib import Path
from typing import Any

from experiments.records import each, origin
from seqgen import presets
from seqgen.config import RunConfig
from seqgen.families import PairsRun
from seqgen.sweeps.spec import Sweep
from seqgen.tasks.dates import FORMATS

SEEDS = range(5)


def base() -> RunConfig:
    """What `make train` trains: attention, true lengths, reversed."""
    return presets.preset("dates", "attention")


def variants() -> Sweep:
    """Each format left out of training and validation in turn."""
    return {f"without-{name}": {"data.test_only_formats": [name]} for name in FORMATS}


def measured(run: PairsRun) -> dict[str, list[int]]:
    """Format -> how many test questions are right, of how many."""
    found: dict[str, list[int]] = {name: [0, 0] for name in FORMATS}
    pairs = run.pairs("test")
    guesses = run.predict([question for question, _ in pairs])
    for (question, answer), guess in zip(pairs, guesses, strict=True):
        counts = found[run.dataset.task.format(question)]
        counts[0] += guess == answer
        counts[1] += 1
    return found


def collect(runs: Path) -> dict[str, Any]:
    """All formats in turn, all seeds."""
    return {**origin(runs / "formats"), "cells": each(runs / "formats", measured)}
