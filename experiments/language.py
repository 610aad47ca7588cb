"""What is read from the runs of language models: perplexities by epoch and at the end, and gaps to a known floor."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import origin, recorded
from seqgen.config import flat
from seqgen.errors import SeqgenError
from seqgen.perplexity import token_losses
from seqgen.runs import LanguageModelRun, is_run, open_language_model, parameters
from seqgen.statistics import bootstrap
from seqgen.sweep import override
from seqgen.tasks.corpus import Drawn
from seqgen.training import log
from seqgen.turns import finished

Found = dict[str, dict[str, LanguageModelRun]]
"""Variant -> seed -> run."""

FREE = frozenset({"seed", "model.vocabulary", "data.path", "data.sha256"})
"""Fields in which the runs of a sweep need not be what its experiment says."""


def members(folder: Path, experiment: Any, free: frozenset[str] = FREE) -> Found:
    """All runs of an experiment's sweep. Raises `SeqgenError` where one is missing, not finished, or made otherwise."""
    base, found = experiment.base(), {}
    for name, changes in experiment.variants().items():
        wanted = flat(override(base, changes) if isinstance(changes, dict) else changes)
        for seed in experiment.SEEDS:
            path = folder / f"{name}-{seed}"
            if path.name not in recorded(folder)["members"] or not is_run(path) or not finished(path):
                raise SeqgenError(f"{path} is not finished")
            run = open_language_model(path)
            for field, value in flat(run.config).items():
                if field not in free and value != wanted[field]:
                    raise SeqgenError(f"{path} is no member of {experiment.__name__}: its {field} is {value!r}")
            found.setdefault(name, {})[str(seed)] = run
    return found


def minutes(run: LanguageModelRun) -> float:
    """Minutes that its training steps took, by their log: evaluations and the start are not among them."""
    training, before, total = run.config.training, 0, 0.0
    for event in log.read(run.path):
        if event["event"] == "train":
            total += (event["step"] - before) * training.batch * training.window / event["tokens_per_second"]
            before = event["step"]
    return total / 60


def curve(run: LanguageModelRun) -> dict[str, Any]:
    """One run in numbers: perplexity by epoch, estimated on lanes, and its last evaluation."""
    epochs, (last,) = log.epochs(run.path), [event for event in log.read(run.path) if event.get("final")]
    scores = {name: last[name] for name in ("perplexity", "low", "high", "perplexity_book", "loss")}
    return {
        "parameters": parameters(run.config),
        "minutes": round(minutes(run), 1),
        "watched": epochs[0]["split"],
        "by_epoch": [round(event["perplexity"], 4) for event in epochs],
        "tested": last["split"],
        "tokens": last["tokens"],
        **{name: value if value is None else round(value, 6) for name, value in scores.items()},
    }


def record(folder: Path, experiment: Any, free: frozenset[str] = FREE) -> dict[str, Any]:
    """A sweep's curves."""
    found = members(folder, experiment, free)
    cells = {name: {seed: curve(run) for seed, run in seeds.items()} for name, seeds in found.items()}
    return {**origin(folder), "cells": cells}


def gap(run: LanguageModelRun) -> dict[str, Any]:
    """How far a model is above its language's own loss, in nats a token, on the same test stream."""
    data, tokens = run.config.data, np.asarray(run.tokens("test")).astype(int)
    assert isinstance(data, Drawn)
    losses = token_losses(run.model, run.config.model, run.params, tokens)
    own = data.language.losses(tokens)
    mean, low, high = bootstrap(losses - own)
    floor = data.language.floor()
    found = {"loss": float(np.mean(losses)), "own": float(np.mean(own)), "gap": mean, "low": low, "high": high}
    return {"floor": [round(bound, 6) for bound in floor], **{name: round(value, 6) for name, value in found.items()}}


def floor_record(folder: Path, experiment: Any) -> dict[str, Any]:
    """The gaps of a sweep over languages."""
    cells = {name: {seed: gap(run) for seed, run in seeds.items()} for name, seeds in members(folder, experiment).items()}
    return {**origin(folder), "cells": cells}
