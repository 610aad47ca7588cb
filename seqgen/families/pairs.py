"""Questions and answers: how models of pairs are trained, scored and drawn."""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from seqgen.config import RunConfig
from seqgen.data.padding import render
from seqgen.data.pairs import Split, Task
from seqgen.errors import UsageError
from seqgen.evaluation.answers import Decoded, gathered
from seqgen.evaluation.scores import Scores
from seqgen.evaluation.text_metrics import label
from seqgen.families import pair_rows, pair_scores
from seqgen.families.family import Family, Metric, Stacking, check_selection
from seqgen.families.pair_scores import decode, ends
from seqgen.families.pairs_run import PairsRun
from seqgen.families.program import build_program
from seqgen.interop.attention import Attention
from seqgen.models import build
from seqgen.storage import log
from seqgen.tasks import TASKS, pair_file
from seqgen.tasks import dataset as task_dataset
from seqgen.tasks.audit import repeats
from seqgen.tasks.dataset import Data, Dataset
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.stored_rows import StoredRows
from seqgen.training.batches import Buckets
from seqgen.training.steps import Program
from seqgen.types import Params

SAMPLES = 10
"""Decoded examples that every evaluation shows."""

WIDEST = 60
"""Characters of an example that are shown, at most."""

METRICS = (
    Metric("exact_match", maximise=True),
    Metric("token_accuracy", maximise=True),
    Metric("loss", maximise=False),
    Metric("token_error_rate", maximise=False),
    Metric("word_error_rate", maximise=False),
    Metric("sequence_error_rate", maximise=False),
)
"""Scores that an epoch can be selected by."""


def unused(config: RunConfig) -> dict[str, str]:
    """Fields of texts, and of data that are drawn where they are read from a file."""
    why = "it is of the windows of a text, and pairs have none"
    reasons = {"training.window": why, "training.remat": why}
    data = config.data
    if isinstance(data, PairFile):
        if config.training.batch_tokens is not None:
            reasons["training.batch"] = "batch_tokens says how large a batch is"
        tokens = {data.source_tokens, data.target_tokens}
        if tokens <= {"bytes", "bpe"}:
            reasons["data.min_count"] = "there are all bytes, however rare"
        if tokens == {"bytes"}:
            reasons["data.shared"] = "bytes are the same on both sides"
        if "bpe" not in tokens:
            reasons["data.vocabulary"] = "it is of byte pairs, and no side has them"
        if len(data.train) == 2:
            reasons["data.columns"] = "parallel files have none"
        return reasons
    reasons["training.batch_tokens"] = (
        "rows of a task are of one width, and batch says their number"
    )
    if data.file is not None:
        why = f"the rows are those of {data.file}"
        drawn = ["draws", *(f"task.{field.name}" for field in fields(data.task))]
        drawn += ["seed"] * (data.split == "book")
        reasons |= {f"data.{name}": why for name in drawn}
    return reasons


def load(data: Data | PairFile) -> Dataset:
    """The pairs of a task, or of a person's own files. Raises as the loaders of both."""
    return pair_file.load(data) if isinstance(data, PairFile) else task_dataset.load(data)


def check(config: RunConfig, dataset: Dataset) -> None:
    """Raises `UsageError` for fewer examples than a batch has."""
    examples = len(dataset.splits.train)
    if not pair_rows.epoch_steps(config, dataset):
        raise UsageError(
            f"a batch of {config.training.batch} is more than the {examples} training examples",
            fields=("training.batch",),
        )
    check_selection(config.training, dataset.splits.evaluation_split)


def program(config: RunConfig, dataset: Dataset) -> Program:
    """What trains on the rows of the training split."""
    model, batches = build(config.model, dataset.sizes), pair_rows.batches(config, dataset)
    return build_program(
        config,
        model,
        batches,
        evaluate=partial(decode, model, *ends(dataset)),
        size=batches.mean_batch if isinstance(batches, Buckets) else config.training.batch,
        unit="examples",
    )


def signature(dataset: Dataset) -> Any:
    """What of the data changes a program: sizes, widths, numbers of rows; not the rows' order."""
    shapes = replace(dataset.padding, reverse=False), *map(len, dataset.splits)
    lengths = [np.sort(long * 2**16 + wide).tobytes() for wide, long in dataset.lengths.values()]
    train = dataset.splits.train  # of a store: each is a program's own
    store = (train.digest, dataset.padding.reverse) if isinstance(train, StoredRows) else None
    return dataset.sizes, shapes, dataset.buckets, tuple(lengths), store


def evaluate_epoch(run: PairsRun, split: Split, params: Params, step: int) -> tuple[log.Event, str]:
    """Scores over a whole split, and its first decoded examples.

    Args:
        run: the run.
        split: which rows.
        params: the weights.
        step: not used.

    """
    run.pairs(split)  # refuses an empty split
    blocks = pair_rows.split_blocks(run.dataset, split)
    return scored(run, split, decode(run.model, *ends(run.dataset), params, blocks))


def scored(run: PairsRun, split: Split, made: Sequence[Decoded]) -> tuple[log.Event, str]:
    """Scores and samples of what a program made of a split."""
    tokens, loss = gathered(made, pair_rows.places(run.dataset, split))
    scores = Scores.of(pair_scores.statistics(run, split, tokens), loss)
    return scores._asdict(), samples(run, split, tokens)


def samples(run: PairsRun, split: Split, tokens: Int[np.ndarray, "N T"]) -> str:
    """The first questions of a split with truth, guess and a tick or a cross, in columns."""
    guesses = [render(row[row >= 0], run.tokenizer, run.padding) for row in tokens[:SAMPLES]]
    pairs = zip(run.pairs(split), guesses, strict=False)
    return columns([(*pair, guess) for pair, guess in pairs])


def shortened(cell: str) -> str:
    """A cell of at most `WIDEST` characters."""
    return cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…"


def columns(rows: list[tuple[str, str, str]]) -> str:
    """Question, truth, guess and a tick or a cross, in columns."""
    ticks = ["", *("✓" if guess == truth else "✗" for _, truth, guess in rows)]
    table = [list(map(shortened, row)) for row in [("question", "truth", "guess"), *rows]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    return "".join(
        f"{line}  {tick}".rstrip() + "\n" for line, tick in zip(lines, ticks, strict=True)
    )


def splits(config: RunConfig, dataset: Dataset) -> list[str]:
    """How many examples each split has, and from which file; the buckets that are compiled."""
    data, sizes = config.data, dataset.splits._asdict().items()
    if isinstance(data, PairFile):
        found = []
        for split, rows in sizes:
            own = getattr(data, split)
            names = " and ".join(Path(file).name for file in own or data.train)
            cut = not own or (split == "train" and not (data.validation and data.test))
            found.append(f"{split}: {len(rows):,} pairs {'cut from' if cut else 'of'} {names}")
        found += [*dataset.notes, *repeats(dataset.splits)]
        return [*found, pair_rows.described(config, dataset)]
    place = f"drawn from {data.name}" if data.file is None else f"of {Path(data.file).name}"
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
    """Scores in words, with their 95 % intervals; that of the exact match is Wilson's."""
    examples, ends = scores["examples"], scores["intervals"]
    low, high = ends["exact_match"]

    def shown(name: str, form: str, unit: str = "") -> str:
        low, high = ends[name]
        return f"{scores[name]:{form}}{unit} ({low:{form}} to {high:{form}})"

    errors = [f"{name}_error_rate" for name in ("token", "word", "sequence")]
    return {
        "exact match": f"{scores['exact_match']:.2%}",
        "95% interval": f"{low:.2%} to {high:.2%}",
        "token accuracy": shown("token_accuracy", ".2%"),
        **{label(name): shown(name, ".2%") for name in errors},
        **{
            label(name): f"{shown(name, '.2f')} {signature}"
            for name, signature in scores.get("signatures", {}).items()
        },
        "loss": shown("loss", ".6f", " nats/token"),
        "examples": f"{examples:,}",
    }


def scores_of(run: PairsRun, split: Split) -> Scores:
    """Exact match, token accuracy and loss on a split."""
    return Scores(**evaluate_epoch(run, split, run.params, 0)[0])


def draw(run: PairsRun) -> None:
    """figures/: the learning curve and, where the model attends, maps of the test split's
    formats.
    """
    from seqgen import viz  # matplotlib, when something is drawn

    if run.attends:
        task = run.dataset.task
        kind = task.format if task is not None else str  # of one's own pairs each is its own
        questions = {kind(question): question for question, _ in run.pairs("test")[:200]}
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
    data={"pairs": Data, "pair_file": PairFile},
    unions={Task: TASKS},
    run=PairsRun,
    load=load,
    check=check,
    program=program,
    epoch_steps=pair_rows.epoch_steps,
    metrics=METRICS,
    evaluate=scores_of,
    evaluate_epoch=evaluate_epoch,
    test=evaluate_epoch,
    splits=splits,
    words=words,
    table=table,
    draw=draw,
    stacking=Stacking(signature, pair_rows.split_blocks, scored),
    unused=unused,
    measure=pair_scores.measure,
    outcomes=pair_scores.outcomes,
    capped=pair_rows.capped,
)
