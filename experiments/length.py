"""Sums longer than any in training: which model carries over, if any does?

Claim     models trained on operands of up to 3 digits do not add longer ones
Source    Sutskever, Vinyals & Le 2014 saw no harm in long sentences; on sums, which must be exact,
          the book does not look
Command   seqgen sweep experiments.length, then python -m experiments.report length
Expected  near 0 beyond 3 digits, for all
Time      45 minutes on 2 cores: 40 runs of 8,775 steps in four compiled programs; a minute to score
          them
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments import addition
from experiments.records import each, sweep_record
from seqgen.config import RunConfig
from seqgen.data.padding import encode
from seqgen.data.pairs import Pair
from seqgen.evaluation.answers import blocking, blocks, decode_blocks, gathered
from seqgen.evaluation.scores import exact_match
from seqgen.families import PairsRun
from seqgen.sweeps.spec import Sweep, override
from seqgen.tasks.addition import Addition

SEEDS = range(5)

TRAINED, LONGEST, ROWS = 3, 8, 1000


def base() -> RunConfig:
    """The settings of the addition sweep, but with true lengths and masks."""
    return override(addition.base(), {"padding": "masked"})


def variants() -> Sweep:
    """The eight cells of the addition sweep."""
    return addition.variants()


def questions(run: PairsRun) -> dict[int, list[Pair]]:
    """Sums by the digits of the longer operand.

    Up to the training's from the run's test set, longer ones drawn.
    """
    found: dict[int, list[Pair]] = {digits: [] for digits in range(1, LONGEST + 1)}
    for question, answer in run.pairs("test"):
        found[max(map(len, question.split("+")))].append((question, answer))
    generator = np.random.default_rng(0)
    for digits in range(TRAINED + 1, LONGEST + 1):
        found[digits] = [longer(generator, digits) for _ in range(ROWS)]
    return found


def longer(generator: np.random.Generator, digits: int) -> Pair:
    """A sum whose longer operand has so many digits; the other has any number up to that."""
    lengths = generator.permutation([digits, generator.integers(1, digits + 1)])
    a, b = (int(generator.integers(10 ** (n - 1) if n > 1 else 0, 10**n)) for n in lengths)
    return f"{a}+{b}", str(a + b)


def measured(run: PairsRun) -> dict[str, list[int]]:
    """Digits of the longer operand -> how many are right, of how many.

    One compiled evaluation for all lengths.
    """
    asked, task = questions(run), Addition(LONGEST)
    widths = {"question_width": task.question_width, "answer_width": task.answer_width}
    padding = replace(run.padding, **widths)
    batch = encode([pair for pairs in asked.values() for pair in pairs], run.tokenizer, padding)
    shape = blocking(len(batch.source), batch.source.shape[1])
    end = padding.end(run.tokenizer.special)
    limit = batch.targets.shape[1]
    made = decode_blocks(run.model, end, limit, run.params, blocks(batch, *shape))
    tokens, _ = gathered([made], [np.arange(len(batch.source))])
    right = iter(exact_match(tokens, batch.targets, batch.mask))
    return {
        str(digits): [int(sum(next(right) for _ in pairs)), len(pairs)]
        for digits, pairs in asked.items()
    }


def collect(runs: Path) -> dict[str, Any]:
    """All variants, all seeds."""
    return {**sweep_record(runs / "length"), "by_digits": each(runs / "length", measured)}
