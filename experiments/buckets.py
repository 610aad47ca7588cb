"""Does sorting rows into buckets cost anything in what is learnt?

Claim     batches of rows of like length train as well as batches of any: after as many steps of as
          many tokens the losses of 8 buckets and of one width agree within the interval of 3 seeds
Source    Multi30k, German to English, in words that come ten times or more (data/multi30k)
Command   python data/multi30k/prepare.py, then seqgen sweep experiments.buckets
Expected  a difference whose interval holds 0
Time      four minutes on 2 cores
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.records import each, origin
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.families import Run
from seqgen.storage import log
from seqgen.sweeps.spec import Sweep
from seqgen.tasks.pair_file import PairFile
from seqgen.training.state import HyperConfig

SEEDS = range(3)

ARCHIVE = "data/multi30k/multi30k.zip"


def multi30k(source: str = "de", target: str = "en") -> PairFile:
    """The published parts, in words that come twice or more in training."""
    train, validation, test = (
        tuple(f"{ARCHIVE}/{part}.{language}" for language in (source, target))
        for part in ("train", "validation", "test")
    )
    return PairFile(
        train, validation, test, source_tokens="words", target_tokens="words", min_count=2
    )


def base() -> RunConfig:
    """A small model, on words that come ten times or more: 800 steps of 64 pairs, nearly two
    epochs.
    """
    cfg = presets.model("attention", embedding=32, hidden=64, init="modern")
    data = replace(multi30k(), min_count=10)
    training = Training(steps=800, batch=64, schedule="cosine", warmup=0.05)
    return RunConfig(data, cfg, training, HyperConfig(lr=4e-3, clip=1.0))


def variants() -> Sweep:
    """Eight buckets at most, 2,048 tokens a step of which some 1,690 are no padding, and one width,
    whose 64 pairs have as many.
    """
    return {"8": {"batch": 128, "batch_tokens": 2048}, "1": {"buckets": 1}}


def losses(run: Run) -> dict[str, float]:
    """In nats per token, after the last step."""
    (_, test), epochs = run.tested(), log.epochs(run.path)
    assert test is not None  # it is finished
    return {"validation": round(epochs[-1]["loss"], 6), "test": round(test["loss"], 6)}


def collect(runs: Path) -> dict[str, Any]:
    """The losses of a finished sweep."""
    folder = runs / "buckets"
    return {**origin(folder), "cells": each(folder, losses)}
