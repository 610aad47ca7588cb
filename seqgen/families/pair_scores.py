"""What came of each example of a run of pairs: scores with intervals, metrics of texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from seqgen.data.pairs import Split
from seqgen.evaluation.answers import Decoded, decode_blocks, gathered, row_losses
from seqgen.evaluation.outcomes import Outcomes, Statistic, intervals
from seqgen.evaluation.scores import Scores, examples_of, statistics_of, summed, texts_of
from seqgen.evaluation.statistics import wilson
from seqgen.evaluation.text_metrics import MetricName, text_metrics
from seqgen.families import pair_rows
from seqgen.families.pairs_run import PairsRun
from seqgen.tasks.dataset import Dataset
from seqgen.types import Batch, Model, Params


def ends(dataset: Dataset) -> tuple[int | None, int]:
    """The token that ends an answer, and the most tokens of one, the end with them."""
    end = dataset.padding.end(dataset.tokenizer.special)
    return end, dataset.padding.answer_width + (end is not None)


def decode(
    model: Model, end: int | None, limit: int, params: Params, batches: tuple[Batch, ...]
) -> tuple[Decoded, ...]:
    """Answers and losses of blocks, bucket by bucket."""
    return tuple(decode_blocks(model, end, limit, params, batch) for batch in batches)


def sources_of(run: PairsRun, split: Split) -> list[str] | None:
    """The source of each row of a person's own pairs, whose rows of one source are one example."""
    sources = [question for question, _ in run.pairs(split)]
    return None if run.dataset.buckets is None else sources


def statistics(run: PairsRun, split: Split, tokens: Int[np.ndarray, "N T"]) -> dict[str, Statistic]:
    """What each example adds to the scores of a run's answers to a split, but for the loss."""
    return statistics_of(
        tokens,
        run.batch(split),
        tokenizer=run.tokenizer,
        padding=run.padding,
        truths=[answer for _, answer in run.pairs(split)],
        sources=sources_of(run, split),
    )


def outcomes(run: PairsRun, split: Split, metrics: Sequence[MetricName] = ()) -> Outcomes:
    """What came of each example of a split, with metrics of the answers' texts.

    Raises `UsageError` for an empty split, `SeqgenError` for a metric without sacrebleu.
    """
    return found_of(run, split, metrics)[0]


def found_of(run: PairsRun, split: Split, metrics: Sequence[MetricName]) -> tuple[Outcomes, float]:
    """What came of each example, and the loss as an evaluation sums it. Raises as `outcomes`."""
    pairs, places = run.pairs(split), pair_rows.places(run.dataset, split)
    blocks = pair_rows.split_blocks(run.dataset, split)
    tokens, loss = gathered(decode(run.model, *ends(run.dataset), run.params, blocks), places)
    example = examples_of(len(pairs), sources_of(run, split))
    _, first = np.unique(example, return_index=True)
    references: list[list[str]] = [[] for _ in first]
    for (_, answer), i in zip(pairs, example.tolist(), strict=True):
        references[i].append(answer)
    guesses = texts_of(tokens[first], run.tokenizer, run.padding)
    found = {
        **statistics(run, split, tokens),
        "loss": Statistic(summed(example, losses(run, blocks, places)), form=".4f"),
        **text_metrics(metrics, guesses, references),
    }
    rows = [(pairs[i][0], tuple(sorted(of))) for i, of in zip(first, references, strict=True)]
    return Outcomes(rows, found), loss


def losses(
    run: PairsRun, blocks: Sequence[Batch], places: Sequence[Int[np.ndarray, " _"]]
) -> list[Float[np.ndarray, " N"]]:
    """-log p of each row's answer in nats, and its number of tokens.

    Args:
        run: the run.
        blocks: the rows, bucket by bucket.
        places: which rows they are.

    """
    made = [row_losses(run.model, run.params, each) for each in blocks]
    order = np.argsort(np.concatenate(places), kind="stable")
    return [
        np.concatenate(
            [np.ravel(part)[: len(rows)] for part, rows in zip(column, places, strict=True)]
        )[order].astype(np.float64)
        for column in zip(*made, strict=True)
    ]


def measure(run: PairsRun, split: Split, metrics: Sequence[MetricName] = ()) -> dict[str, Any]:
    """Scores by name, with their intervals: Wilson's of what is right, else the bootstrap's.

    Raises as `outcomes`.
    """
    found, loss = found_of(run, split, metrics)
    scores, ends = Scores.of(found.statistics, loss)._asdict(), intervals(found)
    _, low, high = wilson(round(scores["exact_match"] * scores["examples"]), scores["examples"])
    ends |= {"exact_match": (low, high), "sequence_error_rate": (1 - high, 1 - low)}
    texts = {name: found.statistics[name] for name in metrics}
    signatures = {name: each.signature for name, each in texts.items()}
    values = {name: each.value for name, each in texts.items()}
    return {**scores, **values, "intervals": ends, **({"signatures": signatures} if texts else {})}
