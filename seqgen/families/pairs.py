"""Questions and answers: how models of pairs are trained, scored and drawn."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from seqgen.config import RunConfig
from seqgen.data.padding import encode, render
from seqgen.data.pairs import Split, Task
from seqgen.errors import UsageError
from seqgen.evaluation.answers import (
    Scores,
    blocking,
    blocks,
    decode_blocks,
    evaluate,
    score,
)
from seqgen.evaluation.statistics import wilson
from seqgen.families.family import Family, Metric, Stacking, check_selection
from seqgen.families.pairs_run import PairsRun
from seqgen.families.program import build_program
from seqgen.interop.attention import Attention
from seqgen.models import build
from seqgen.storage import log
from seqgen.tasks import TASKS
from seqgen.tasks.dataset import Data, Dataset, load
from seqgen.training.batches import Rows
from seqgen.training.steps import Program
from seqgen.types import Batch, Params, Tree

SAMPLES = 10
"""Decoded examples that every evaluation shows."""


def unused(config: RunConfig) -> dict[str, str]:
    """Fields of texts, and of data that are drawn where they are read from a file."""
    why = "it is of the windows of a text, and pairs have none"
    reasons = {"training.window": why, "training.remat": why}
    data = config.data
    if data.file is not None:
        why = f"the rows are those of {data.file}"
        drawn = ["draws", *(f"task.{field.name}" for field in fields(data.task))]
        drawn += ["seed"] * (data.split == "book")
        reasons |= {f"data.{name}": why for name in drawn}
    return reasons


def check(config: RunConfig, dataset: Dataset) -> None:
    """Raises `UsageError` for fewer examples than a batch has."""
    batch, examples = config.training.batch, len(dataset.splits.train)
    if examples < batch:
        raise UsageError(
            f"a batch of {batch} is more than the {examples} training examples",
            fields=("training.batch",),
        )
    check_selection(config.training, dataset.splits.evaluation_split)


def program(config: RunConfig, dataset: Dataset) -> Program:
    """What trains on the rows of the training split."""
    model = build(config.model, dataset.sizes)
    end = dataset.padding.end(dataset.tokenizer.special)
    rows = encode(dataset.splits.train, dataset.tokenizer, dataset.padding)
    return build_program(
        config,
        model,
        Rows(rows, config.training.batch),
        evaluate=partial(decode_blocks, model, end),
        size=config.training.batch,
        unit="examples",
    )


def epoch_steps(config: RunConfig, dataset: Dataset) -> int:
    """Steps per epoch, without a row being encoded."""
    return len(dataset.splits.train) // config.training.batch


def signature(dataset: Dataset) -> Any:
    """What of the data changes a program: sizes, widths, numbers of rows; not the rows' order."""
    shapes = replace(dataset.padding, reverse=False), *map(len, dataset.splits)
    return dataset.sizes, shapes


def split_blocks(dataset: Dataset, split: Split) -> Batch:
    """A split as [count, block, ...]: validation and test share a compiled program."""
    batch = encode(getattr(dataset.splits, split), dataset.tokenizer, dataset.padding)
    rows = max(len(dataset.splits.validation), len(dataset.splits.test), len(batch.source))
    return blocks(batch, *blocking(rows, batch.source.shape[1]))


def evaluate_epoch(run: PairsRun, split: Split, params: Params, step: int) -> tuple[log.Event, str]:
    """Scores over a whole split, and its first decoded examples.

    Args:
        run: the run.
        split: which rows.
        params: the weights.
        step: not used.

    """
    dataset = run.dataset
    end = dataset.padding.end(dataset.tokenizer.special)
    return scored(run, split, decode_blocks(run.model, end, params, split_blocks(dataset, split)))


def scored(run: PairsRun, split: Split, made: Tree) -> tuple[log.Event, str]:
    """Scores and samples of what a program made of a split."""
    batch = run.batch(split)
    scores, tokens = score(*made, batch, tokenizer=run.tokenizer, padding=run.padding)
    return scores._asdict(), samples(run, split, tokens)


def samples(run: PairsRun, split: Split, tokens: Int[np.ndarray, "N T"]) -> str:
    """The first questions of a split with truth, guess and a tick or a cross, in columns."""
    guesses = [render(row, run.tokenizer, run.padding) for row in tokens[:SAMPLES]]
    pairs = zip(run.pairs(split), guesses, strict=False)
    return columns([(*pair, guess) for pair, guess in pairs])


def columns(rows: list[tuple[str, str, str]]) -> str:
    """Question, truth, guess and a tick or a cross, in columns."""
    rows = [("question", "truth", "guess"), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    ticks = ["", *("✓" if guess == truth else "✗" for _, truth, guess in rows[1:])]
    return "".join(
        f"{line}  {tick}".rstrip() + "\n" for line, tick in zip(lines, ticks, strict=True)
    )


def splits(data: Data, dataset: Dataset) -> list[str]:
    """How many examples each split has, and from which file."""
    place = f"drawn from {data.name}" if data.file is None else f"of {Path(data.file).name}"
    sizes = dataset.splits._asdict().items()
    return [f"{split}: {len(rows):,} examples {place}" for split, rows in sizes]


def words(event: log.Event) -> tuple[str, str]:
    """An evaluation's headline, and all of it."""
    headline = f"exact match {event['exact_match']:.2%}"
    if "low" in event:
        headline += f" ({event['low']:.2%} to {event['high']:.2%})"
    accuracy = f"token accuracy {event['token_accuracy']:.2%}"
    loss = f"loss {event['loss']:.4f} nats/token"
    return headline, f"{event['examples']:,} examples · {headline} · {accuracy} · {loss}"


def table(scores: dict[str, Any]) -> dict[str, str]:
    """Scores in words; the interval is Wilson's of the exact match."""
    examples = scores["examples"]
    _, low, high = wilson(round(scores["exact_match"] * examples), examples)
    return {
        "exact match": f"{scores['exact_match']:.2%}",
        "95% interval": f"{low:.2%} to {high:.2%}",
        "token accuracy": f"{scores['token_accuracy']:.2%}",
        "loss": f"{scores['loss']:.6f} nats/token",
        "examples": f"{examples:,}",
    }


def scores_of(run: PairsRun, split: Split) -> Scores:
    """Exact match, token accuracy and loss on a split."""
    batch = run.batch(split)
    return evaluate(run.model, run.params, batch, tokenizer=run.tokenizer, padding=run.padding)


def draw(run: PairsRun) -> None:
    """figures/: the learning curve and, where the model attends, maps of the test split's
    formats.
    """
    from seqgen import viz  # matplotlib, when something is drawn

    if run.attends:
        task = run.dataset.task
        questions = {task.format(question): question for question, _ in run.pairs("test")[:200]}
        asked = [questions[name] for name in sorted(questions)][:4]
        if drawn := maps(run.attention(asked)):
            viz.save_both(run.path / "figures" / "attention", viz.attention_figure(drawn))
    events = log.read(run.path)
    viz.save_both(run.path / "figures" / "learning", viz.learning_figure(events))


def maps(items: Sequence[Attention], *, task: Task | None = None) -> list[Any]:
    """What is drawn of answers: one map per answer and head; nothing of an empty one.

    With a `task`, the positions that it says each character is read from are outlined; the answers
    must then be right.
    """
    from seqgen import viz

    return [
        viz.AttentionMap(weights, seen.source, seen.target, gold)
        for seen in items
        if seen.answer
        for gold in [task.gold(seen.question, seen.answer) if task is not None else None]
        for weights in seen.weights
    ]


FAMILY = Family(
    name="pairs",
    data={"pairs": Data},
    unions={Task: TASKS},
    run=PairsRun,
    load=load,
    check=check,
    program=program,
    epoch_steps=epoch_steps,
    metric=Metric("exact_match", maximise=True),
    evaluate=scores_of,
    evaluate_epoch=evaluate_epoch,
    test=evaluate_epoch,
    splits=splits,
    words=words,
    table=table,
    draw=draw,
    stacking=Stacking(signature, split_blocks, scored),
    unused=unused,
)
