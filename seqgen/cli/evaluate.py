"""seqgen evaluate: a trained run's scores on a split."""

import json
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.data.pairs import Split
from seqgen.evaluation.text_metrics import MetricName
from seqgen.families import open_run


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    split: Split = "test",
    metrics: Annotated[tuple[MetricName, ...], tyro.conf.arg(metavar="NAME")] = (),
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Score a run: what is right, error rates and loss; of a language model, perplexity.

    Error rates are edits (insertions, deletions, substitutions) by tokens, or words, of the true
    answers, of several the nearest; where tokens are symbols, a word is a symbol, such as a
    phoneme. The loss is in nats per token. 95% intervals are for a split of this size: Wilson's of
    the exact match, else those of the bootstrap. A language model reads the split in one lane, from
    its first token to its last; beside that stands the book's own evaluation (ten lanes, windows of
    35, the tail dropped).

    Args:
        run: a path, or a name under runs/.
        split: which rows.
        metrics: bleu, chrf, or both, of the answers as texts, by sacrebleu.
        json_: print one JSON object instead.

    """
    opened = open_run(run)
    scores = opened.family.measure(opened, split, metrics)
    if json_:
        print(json.dumps(scores))
        return
    for name, value in {"split": split, **opened.family.table(scores)}.items():
        print(f"{name:<20}{value}")


def main(arguments: list[str]) -> None:
    """`seqgen evaluate RUN`."""
    call(command, "seqgen evaluate", arguments)
