"""What is read from the runs of language models.

Perplexities by epoch and at the end, and gaps to an entropy rate that is known.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from experiments.records import check_member, origin, recorded, settings
from seqgen.errors import SeqgenError
from seqgen.evaluation.perplexity import token_losses
from seqgen.evaluation.statistics import bootstrap
from seqgen.families import TextRun, is_run, open_text, parameters
from seqgen.storage import log
from seqgen.tasks.synthetic import Synthetic

Found = dict[str, dict[str, TextRun]]
"""Variant -> seed -> run."""

FREE = frozenset({"seed", "data.path", "data.sha256"})
"""Fields in which the runs of a sweep need not be what its experiment says."""


def members(folder: Path, experiment: ModuleType, free: frozenset[str] = FREE) -> Found:
    """All runs of an experiment's sweep.

    Raises:
        SeqgenError: where one is missing, not finished, or made otherwise.

    """
    names, found = recorded(folder)["members"], Found()
    for name, wanted in settings(experiment).items():
        for seed in experiment.SEEDS:
            path = folder / f"{name}-{seed}"
            if path.name not in names or not is_run(path) or not has_ended(path):
                raise SeqgenError(f"{path} is not finished")
            run = open_text(path)
            check_member(run, experiment, wanted, free)
            found.setdefault(name, {})[str(seed)] = run
    return found


def has_ended(path: Path) -> bool:
    """Whether a run has its last evaluation, after all its steps: none of a time that was up."""
    events = log.read(path)
    return any(event.get("final") for event in events) and not any(
        event.get("interim") for event in events
    )


def minutes(run: TextRun) -> float:
    """Minutes that its training steps took, by their log: evaluations and the start are not among
    them.
    """
    training, before, total = run.config.training, 0, 0.0
    for event in log.read(run.path):
        if event["event"] == "train":
            tokens = (event["step"] - before) * training.batch * training.window
            total, before = total + tokens / event["tokens_per_second"], event["step"]
    return total / 60


def curve(run: TextRun) -> dict[str, Any]:
    """One run in numbers: perplexity by epoch, estimated on lanes, and its last evaluation."""
    epochs = log.epochs(run.path)
    (last,) = [event for event in log.read(run.path) if event.get("final")]
    scores = {name: last[name] for name in ("perplexity", "low", "high", "perplexity_book", "loss")}
    return {
        "parameters": parameters(run.config.model, run.sizes),
        "minutes": round(minutes(run), 1),
        "watched": epochs[0]["split"],
        "by_epoch": [round(event["perplexity"], 4) for event in epochs],
        "tested": last["split"],
        "tokens": last["tokens"],
        **{name: value if value is None else round(value, 6) for name, value in scores.items()},
    }


def record(folder: Path, experiment: ModuleType, free: frozenset[str] = FREE) -> dict[str, Any]:
    """A sweep's curves."""
    found = members(folder, experiment, free)
    cells = {
        name: {seed: curve(run) for seed, run in seeds.items()} for name, seeds in found.items()
    }
    return {**origin(folder), "cells": cells}


def gap(run: TextRun) -> dict[str, Any]:
    """How far a model is above its language's own loss, in nats per token, on the test stream."""
    data, tokens = run.config.data, np.asarray(run.tokens("test")).astype(int)
    assert isinstance(data, Synthetic)
    losses = token_losses(run.model, run.params, tokens)
    own = data.language.losses(tokens)
    mean, low, high = bootstrap(losses - own)
    means = {"loss": float(np.mean(losses)), "own": float(np.mean(own))}
    found = {**means, "gap": mean, "low": low, "high": high}
    return {
        "entropy_bounds": [round(bound, 6) for bound in data.language.entropy_bounds()],
        **{name: round(value, 6) for name, value in found.items()},
    }


def entropy_record(folder: Path, experiment: ModuleType) -> dict[str, Any]:
    """The gaps of a sweep over languages."""
    cells = {
        name: {seed: gap(run) for seed, run in seeds.items()}
        for name, seeds in members(folder, experiment).items()
    }
    return {**origin(folder), "cells": cells}
