"""seqgen evaluate: a trained run's scores on a split."""

import json
from typing import Annotated

import tyro

from seqgen.cli.members import tell_members, together
from seqgen.cli.parse import call
from seqgen.data.pairs import Split
from seqgen.evaluation.text_metrics import MetricName


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    more: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = (),
    /,
    split: Split = "test",
    metrics: Annotated[tuple[MetricName, ...], tyro.conf.arg(metavar="NAME")] = (),
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
    members: Annotated[str | None, tyro.conf.arg(metavar="VARIANT")] = None,
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
        more: further runs, which answer with it as an ensemble: the mean of their probabilities.
        split: which rows.
        metrics: bleu, chrf, or both, of the answers as texts, by sacrebleu.
        json_: print one JSON object instead.
        members: RUN is a sweep, and all finished members of this variant are the ensemble.

    """
    opened = together(run, more, members)
    scores = opened.family.measure(opened, split, metrics)
    tell_members(opened)
    if json_:
        print(json.dumps(scores))
        return
    for name, value in {"split": split, **opened.family.table(scores)}.items():
        print(f"{name:<20}{value}")


def main(arguments: list[str]) -> None:
    """`seqgen evaluate RUN...`."""
    call(command, "seqgen evaluate", arguments)
