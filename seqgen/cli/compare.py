"""seqgen compare: two trained runs on the same rows."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import tyro

from seqgen.cli.parse import call
from seqgen.data.pairs import Split
from seqgen.errors import UsageError
from seqgen.evaluation.outcomes import Comparison, Outcomes, compared
from seqgen.evaluation.statistics import mcnemar
from seqgen.evaluation.text_metrics import MetricName, label
from seqgen.families import Run, open_run

SHOWN = 60
"""Characters of a row that differs."""


def command(
    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    split: Split = "test",
    metrics: Annotated[tuple[MetricName, ...], tyro.conf.arg(metavar="NAME")] = (),
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Compare two runs on the same rows: each score, and how far the first is from the second.

    Differences have 95% intervals by the paired bootstrap: both runs are scored on the same 2,000
    draws of examples, of a text's tokens in blocks of 200. "better" is the share of draws in which
    the first run is, p the two-sided probability of no difference. Of examples that only one run
    has right, p is McNemar's.

    Args:
        first: a path, or a name under runs/.
        second: the run that it is compared with.
        split: which rows.
        metrics: bleu, chrf, or both, of the answers as texts, by sacrebleu.
        json_: print one JSON object instead.

    """
    runs = open_run(first), open_run(second)
    one, other = (outcomes(run, split, metrics) for run in runs)
    if different := difference(one, other):
        where = f"{runs[0].path} and {runs[1].path} have not the same {split} rows"
        raise UsageError(f"{where}: {different}")
    found, right = compared(one, other), agreement(one, other)
    if json_:
        scores = {name: each._asdict() for name, each in found.items()}
        heads = {"runs": [str(run.path) for run in runs], "split": split}
        print(json.dumps({**heads, "examples": len(one.examples), "scores": scores, **right}))
        return
    unit = "tokens" if one.block > 1 else "examples"
    print(f"{split} split, {len(one.examples):,} {unit}", *table(one, found), sep="\n")
    if right:
        *numbers, p = right["right"].values()
        names = "both", "only the first", "only the second", "neither"
        counts = (f"{name} {n:,}" for name, n in zip(names, numbers, strict=True))
        print(f"right: {', '.join(counts)}; p {p:.3g}")


def outcomes(run: Run, split: Split, metrics: Sequence[MetricName]) -> Outcomes:
    """What came of each example. Raises `UsageError` for a kind of data that does not tell."""
    if run.family.outcomes is None:
        raise UsageError(f"{run.path} is a run of {run.family.name}, which cannot be compared")
    return run.family.outcomes(run, split, metrics)


def difference(first: Outcomes, second: Outcomes) -> str | None:
    """The first row in which two runs' examples differ; None where there is none."""
    rows = zip(first.examples, second.examples, strict=False)
    for number, (one, other) in enumerate(rows, start=1):
        if one != other:
            return f"row {number} is {one!r:.{SHOWN}}, and {other!r:.{SHOWN}}"
    counts = len(first.examples), len(second.examples)
    return f"there are {counts[0]:,}, and {counts[1]:,}" if counts[0] != counts[1] else None


def table(first: Outcomes, found: dict[str, Comparison]) -> list[str]:
    """Scores of both runs in columns."""
    rows = [("", "first", "second", "difference", "95% interval", "better", "p")]
    for name, each in found.items():
        form = first.statistics[name].form
        ends = f"{each.low:+{form}} to {each.high:+{form}}"
        values = f"{each.first:{form}}", f"{each.second:{form}}", f"{each.difference:+{form}}"
        rows.append((label(name), *values, ends, f"{each.better:.1%}", f"{each.p:.3g}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def agreement(first: Outcomes, second: Outcomes) -> dict[str, Any]:
    """How many examples both runs have right, one alone or none; nothing of a text's tokens."""
    if "exact_match" not in first.statistics:
        return {}
    one, other = (each.statistics["exact_match"].parts[:, 0] > 0 for each in (first, second))
    counts = {
        "both": one & other,
        "first": one & ~other,
        "second": ~one & other,
        "neither": ~one & ~other,
    }
    right: dict[str, float] = {name: int(np.sum(each)) for name, each in counts.items()}
    return {"right": {**right, "p": mcnemar(int(right["first"]), int(right["second"]))}}


def main(arguments: list[str]) -> None:
    """`seqgen compare RUN RUN`."""
    call(command, "seqgen compare", arguments)
