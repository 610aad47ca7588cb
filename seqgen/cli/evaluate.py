"""seqgen evaluate: a trained run's scores on a split."""

import json
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.data.pairs import Split
from seqgen.families import open_run


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    split: Split = "test",
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Score a run: exact match, token accuracy and loss; of a language model, perplexity.

    Intervals are for a test set of this size: Wilson's of the exact match, a bootstrap's of the
    perplexity. The loss is in nats per token. A language model reads the split in one lane, from
    its first token to its last; beside that stands the book's own evaluation (ten lanes, windows of
    35, the tail dropped).

    Args:
        run: a path, or a name under runs/.
        split: which rows.
        json_: print one JSON object instead.

    """
    opened = open_run(run)
    scores = opened.measured(opened.evaluate(split))
    if json_:
        print(json.dumps(scores))
        return
    for name, value in {"split": split, **opened.family.table(scores)}.items():
        print(f"{name:<20}{value}")


def main(arguments: list[str]) -> None:
    """`seqgen evaluate RUN`."""
    call(command, "seqgen evaluate", arguments)
