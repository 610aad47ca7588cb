"""A run whose weights are the mean of another's epochs'."""

import shutil
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from seqgen.errors import UsageError
from seqgen.families.directory import create
from seqgen.families.fit import adopt
from seqgen.families.run import Run
from seqgen.families.start import digest, mean
from seqgen.storage import checkpoint, log, manifest

USUAL = 5
"""Epochs that are averaged where no number is given, if there are so many."""


def average(
    run: Run,
    *,
    last: int | None = None,
    best: int | None = None,
    name: str | None = None,
    folder: Path = Path("runs"),
) -> Run:
    """Make a run of the mean of a run's weights after several epochs (Vaswani et al. 2017, §6.1).

    Its configuration says which they are, and it has been trained to its end.

    Args:
        run: whose weights are averaged.
        last: after how many of its last epochs; None, without `best`: `USUAL`, or all.
        best: after how many of its best epochs on the evaluation split.
        name: of the new run, or a path; None: a free one is made.
        folder: of runs.

    Raises:
        UsageError: for fewer epochs than are asked for, and for one.

    """
    steps = chosen(run, last, best)
    params = mean(run, steps)
    training = replace(
        run.config.training,
        select="last",
        patience=None,
        start=str(run.path.absolute()),
        start_steps=steps,
        start_sha256=digest(params),
    )
    hyper = replace(run.config.hyper, init_scale=1.0)  # of initial weights: here are none
    config = replace(run.config, training=training, hyper=hyper)
    stem = f"{run.path.name}-average"
    made = create(config, name, folder, dataset=run.dataset, stem=stem)
    try:
        adopt(made, params)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    return made


def chosen(run: Run, last: int | None, best: int | None) -> tuple[int, ...]:
    """The steps whose weights are averaged. Raises `UsageError` as `average`."""
    if last is not None and best is not None:
        raise UsageError(
            "last and best both say which epochs: give one of the two", fields=("last", "best")
        )
    field, asked = ("last", last) if best is None else ("best", best)
    if asked is not None and asked < 2:
        raise UsageError(f"{field} must be 2 or more, not {asked}", fields=(field,))
    kept, ended = checkpoint.steps(run.path, "params"), log.epochs(run.path)
    epochs = [event for event in ended if event["step"] in kept]
    if best is None:  # without a gap
        steps = reversed([event["step"] for event in ended])
        last_steps = sorted(takewhile(lambda step: step in kept, steps))
    count = len(epochs) if best is not None else len(last_steps)
    if count < (asked or 2):
        member = manifest.sweep_of(run.path) is not None
        raise UsageError(
            f"{run.path} has the weights of {count} epochs, fewer than the {asked or 2} to "
            "average" + "; a sweep keeps no more of its members: train it by itself" * member,
            fields=(field,) * (asked is not None),
        )
    if best is None:
        return tuple(last_steps[-(last or USUAL) :])
    if run.evaluation_split == "test":
        raise UsageError(
            f"best {best} would go by the test split, for {run.path} has no validation rows; "
            "use last",
            fields=("best",),
        )
    metric, found = run.family.selecting(run.config.training), []
    for _ in range(best):
        found.append(metric.best(epochs))
        epochs = [event for event in epochs if event["step"] != found[-1]]
    return tuple(sorted(found))
