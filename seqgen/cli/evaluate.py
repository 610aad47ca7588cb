"""seqgen evaluate: a trained run's scores on a split."""

import json
from typing import Annotated, Any

import tyro

from seqgen.cli.parse import call
from seqgen.evaluation import Scores
from seqgen.runs import open_run
from seqgen.statistics import wilson
from seqgen.tasks.task import Split


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    split: Split = "test",
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Score a run: exact match, token accuracy and loss; of a language model, perplexity.

    Intervals are for a test set of this size: Wilson's of the exact match, a bootstrap's of the perplexity. The loss is in
    nats a token. A language model reads the split in one lane, from its first token to its last; beside that stands the
    book's own evaluation (ten lanes, windows of 35, the tail dropped).

    Args:
        run: a path, or a name under runs/.
        split: which rows.
        json_: print one JSON object instead.

    """
    opened = open_run(run)
    scores = opened.evaluate(split)
    if json_:
        print(json.dumps(opened.measured(scores)))
        return
    rows = answered(scores) if isinstance(scores, Scores) else predicted(opened.measured(scores))
    for name, value in {"split": split, **rows}.items():
        print(f"{name:<20}{value}")


def answered(scores: Scores) -> dict[str, str]:
    """The scores of answers, in words."""
    _, low, high = wilson(round(scores.exact_match * scores.examples), scores.examples)
    return {
        "exact match": f"{scores.exact_match:.2%}",
        "95% interval": f"{low:.2%} to {high:.2%}",
        "token accuracy": f"{scores.token_accuracy:.2%}",
        "loss": f"{scores.loss:.6f} nats/token",
        "examples": f"{scores.examples:,}",
    }


def predicted(scores: dict[str, Any]) -> dict[str, str]:
    """The scores of a language model, in words."""
    book = scores["perplexity_book"]
    bits = {"bits per character": f"{scores['bits_per_character']:.4f}"} if "bits_per_character" in scores else {}
    return {
        "perplexity": f"{scores['perplexity']:.2f}",
        "95% interval": "too short" if scores["low"] is None else f"{scores['low']:.2f} to {scores['high']:.2f}",
        "as the book does": "too short" if book is None else f"{book:.2f}",
        "loss": f"{scores['loss']:.6f} nats/token",
        **bits,
        "tokens": f"{scores['tokens']:,}",
    }


def main(arguments: list[str]) -> None:
    """`seqgen evaluate RUN`."""
    call(command, "seqgen evaluate", arguments)
