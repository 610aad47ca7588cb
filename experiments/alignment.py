"""Attention on dates beside the truth: is it where the generator says that each character is read
from?

Claim     reversed, trained attention is on the right digit of most days and numeric months; of
          years and month words only on some seeds, and without reverse about half of the time.
          Hidden from attention, but not from the encoder, the place most looked at changes what is
          written more often than another one does
Source    Deep Learning from Scratch 2, figure 8-27, which shows maps of a few dates
Command   seqgen sweep experiments.dates, experiments.alignment and best-dates (see search_dates),
          then python -m experiments.report alignment
Expected  the book's, reversed: hit@1 above 0.95 on day and numeric month; else it depends on the
          seed; half without reverse
Time      20 minutes for the sweep, 7 to score 20 runs, on 2 cores
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from experiments import dates
from experiments.records import members, origin, unbroken
from seqgen import presets
from seqgen.config import RunConfig
from seqgen.errors import SeqgenError
from seqgen.evaluation import alignment
from seqgen.families import PairsRun
from seqgen.nn.switches import key
from seqgen.sweeps.spec import Sweep

SEEDS = range(5)

MODELS = {
    "book's, reversed": ("dates", "attention-reverse"),
    "book's, not reversed": ("dates", "attention"),
    "masked, not reversed": ("alignment", "masked"),
    "masked, reversed, ours": ("best-dates", "6-epochs"),
}
"""A model's name in the tables -> its sweep and its variant."""


def base() -> RunConfig:
    """The settings of the dates sweep."""
    return dates.base()


def variants() -> Sweep:
    """Attention over true lengths, the question as it is."""
    return {"masked": {**presets.decoders()["attention"], "reverse": False, "padding": "masked"}}


def measured(run: PairsRun) -> dict[str, Any]:
    """One run's scores by class of character and by place in the answer.

    With them those of its attention shuffled, and what changes where it is blinded.
    """
    batch, (pairs, padding) = run.batch("test"), (run.pairs("test"), run.padding)
    weights = alignment.forced_attention(run.model, run.params, batch, padding)
    gold = alignment.gold_of(run.dataset.task, pairs, padding, weights.shape[1:])
    mixed = alignment.shuffled(weights, gold, np.random.default_rng(run.config.seed))
    changed = alignment.blinded(run.model, run.params, batch, key(run.config.seed))
    own = alignment.own_gold(gold)
    asked = own.any(axis=2)
    places = [t for t in range(own.shape[1]) if own[:, t].any()]
    scored = [alignment.score(weights[:, [t]], own[:, [t]], gold.valid) for t in places]
    return {
        "trained": as_json(alignment.scores(weights, gold)),
        "shuffled": as_json(alignment.scores(mixed, gold)),
        "changed": {
            name: round(float(values[asked].mean()), 6)
            for name, values in changed._asdict().items()
        },
        "by_delay": by_delay(weights, own, padding.reverse),
        "by_place": {
            "hit": [round(score.hit, 6) for score in scored],
            "near": [round(score.near, 6) for score in scored],
            "changed": [
                round(float(changed.looked_at[own[:, t].any(axis=1), t].mean()), 6) for t in places
            ],
        },
    }


DELAYS = ("before", "0", "1", "2", "3", "later")


def by_delay(
    weights: alignment.Weights, own: Bool[np.ndarray, "N T S"], reverse: bool
) -> dict[str, float]:
    """Share of the largest weights by how many characters after its own the encoder reads theirs.

    Of characters with one right place. States from 0 on have read that character, those before
    have not.
    """
    one = own.sum(axis=2) == 1
    delay = (weights.argmax(axis=2) - own.argmax(axis=2))[one] * (-1 if reverse else 1)
    counts = np.bincount(np.clip(delay, -1, len(DELAYS) - 2) + 1, minlength=len(DELAYS))
    return {
        name: round(float(count / len(delay)), 6)
        for name, count in zip(DELAYS, counts, strict=True)
    }


def controls(run: PairsRun) -> dict[str, Any]:
    """What the scores say of attention that knows the truth, and of attention that knows
    nothing.
    """
    batch, padding = run.batch("test"), run.padding
    shape = batch.targets.shape[1], batch.source.shape[1]
    gold = alignment.gold_of(run.dataset.task, run.pairs("test"), padding, shape)
    share = {
        name: mask.sum(axis=2) / gold.valid.sum(axis=1)[:, None]
        for name, mask in gold.classes.items()
        if mask.any()
    }
    return {
        "oracle": as_json(alignment.scores(alignment.oracle(gold), gold)),
        "uniform": as_json(alignment.scores(alignment.uniform(gold), gold)),
        "uniform_by_formula": {
            name: round(float(values[values > 0].mean()), 6) for name, values in share.items()
        },
        "not_most_frequent": not_most_frequent(batch.targets, alignment.own_gold(gold)),
    }


def not_most_frequent(
    targets: Int[np.ndarray, "N T"], own: Bool[np.ndarray, "N T S"]
) -> list[float]:
    """By place in the answer, how often it is not what it is most often.

    So much must be missed without a look.
    """
    columns = [
        targets[rows, t] for t in range(own.shape[1]) if (rows := own[:, t].any(axis=1)).any()
    ]
    return [round(float(1 - np.bincount(column).max() / len(column)), 6) for column in columns]


def as_json(scores: dict[str, alignment.Score]) -> dict[str, dict[str, float]]:
    """Scores as rounded numbers by name, without those that are none."""
    return {
        name: {
            field: round(value, 6)
            for field, value in score._asdict().items()
            if not np.isnan(value)
        }
        for name, score in scores.items()
    }


def collect(runs: Path) -> dict[str, Any]:
    """All models, all seeds."""
    models: dict[str, Any] = {}
    for name, (sweep, variant) in MODELS.items():
        if not (found := unbroken(members(runs / sweep)).get(variant)):
            raise SeqgenError(f"{runs / sweep} has no {variant} that did not break off")
        seeds = {seed: measured(run) for seed, run in found.items()}
        models[name] = {"seeds": seeds, "controls": controls(next(iter(found.values())))}
    made = origin(*(runs / sweep for sweep in dict.fromkeys(sweep for sweep, _ in MODELS.values())))
    return {**made, "command": "python -m experiments.report alignment", "models": models}
