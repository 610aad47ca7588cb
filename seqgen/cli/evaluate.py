"""seqgen evaluate: a trained run's scores on a split."""

import json
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.runs import open_run
from seqgen.statistics import wilson
from seqgen.tasks.task import Split


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    split: Split = "test",
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Exact match, Wilson's interval for a test set of this size, token accuracy and teacher-forced loss (nats a token).

    Args:
        run: a path, or a name under runs/.
        split: which rows.
        json_: print one JSON object instead.

    """
    scores = open_run(run).evaluate(split)
    if json_:
        print(json.dumps(scores._asdict()))
        return
    print(f"{'split':<16}{split}")
    _, low, high = wilson(round(scores.exact_match * scores.examples), scores.examples)
    print(f"{'exact match':<16}{scores.exact_match:.2%}")
    print(f"{'95% interval':<16}{low:.2%} to {high:.2%}")
    print(f"{'token accuracy':<16}{scores.token_accuracy:.2%}")
    print(f"{'loss':<16}{scores.loss:.6f} nats/token")
    print(f"{'examples':<16}{scores.examples:,}")


def main(arguments: list[str]) -> None:
    """`seqgen evaluate RUN`."""
    call(command, "seqgen evaluate", arguments)
