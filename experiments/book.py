"""The book's own settings on the book's own files, with seeds.

Claim     seqgen trains what Deep Learning from Scratch 2 trains (figures 7-22, 7-24, 7-28 and 8-26): LSTM, Adam 1e-3,
          clip 5, batch 128, blanks as tokens, h alone passes to the decoder, its data, its split.
Command   python -m experiments.book FOLDER            (FOLDER holds addition.txt and date.txt; runs what is missing)
          python -m experiments.book FOLDER --only dates-attention-reverse --seeds 0 1 2
Expected  after 25 epochs of addition: 8-12, 43-54, 79-82, 98-99 % exact match; dates: 100 % by epoch 10
Time      about 40 minutes on 2 cores; two processes, one a core (`taskset -c 0 ...`), are faster than one on two
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from experiments.records import provenance, save
from seqgen import presets
from seqgen.cli.terminal import run_to_end
from seqgen.config import RunConfig
from seqgen.runs import Run, create, open_run
from seqgen.training import log

CELLS = {
    "addition-baseline": ("addition", "baseline", False),
    "addition-baseline-reverse": ("addition", "baseline", True),
    "addition-peeky": ("addition", "peeky", False),
    "addition-peeky-reverse": ("addition", "peeky", True),
    "dates-attention-reverse": ("dates", "attention", True),
}
"""Task, model, reverse."""

FILES = {"addition": "addition.txt", "dates": "date.txt"}
RUNS = Path("runs/book")


def config(cell: str, folder: Path, seed: int) -> RunConfig:
    """One run of a cell."""
    task, variant, reverse = CELLS[cell]
    return replace(presets.book(task, variant, str((folder / FILES[task]).resolve()), reverse=reverse), seed=seed)


def train(cell: str, folder: Path, seed: int) -> None:
    """Train a run, or go on with it."""
    path = RUNS / f"{cell}-{seed}"
    run_to_end(open_run(path) if (path / "config.json").exists() else create(config(cell, folder, seed), str(path)))


def curve(run: Run) -> list[float]:
    """Exact match on the test set after each epoch; the run must be finished."""
    return [event["exact_match"] for event in log.read(run.path) if event["event"] == "evaluate"]


def collect() -> dict:
    """All finished runs: cell -> seed -> exact match by epoch."""
    cells: dict[str, dict[str, list[float]]] = {}
    for cell in CELLS:
        for path in sorted(RUNS.glob(f"{cell}-[0-9]*")):
            run = open_run(path)
            values = curve(run)
            if len(values) == run.config.training.epochs:
                cells.setdefault(cell, {})[str(run.config.seed)] = values
    return {**provenance("python -m experiments.book FOLDER"), "cells": cells}


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    only: tuple[str, ...] = tuple(CELLS),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> None:
    """Train the book's models and write results/book.json.

    Args:
        folder: where addition.txt and date.txt are.
        only: cells, by their names.
        seeds: which seeds.

    """
    for seed in seeds:
        for cell in only:
            train(cell, folder, seed)
    save("book", collect())


if __name__ == "__main__":
    tyro.cli(main)
