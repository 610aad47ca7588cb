"""seqgen resume: go on with a run from its newest good checkpoint."""

from typing import Annotated

import tyro

from seqgen.cli.parse import call, until
from seqgen.cli.terminal import run_to_end
from seqgen.families import extend, open_run
from seqgen.storage import sinks


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    epochs: int | None = None,
    max_time: str | None = None,
    log: tuple[sinks.SinkName, ...] | None = None,
) -> None:
    """Go on with a run that was stopped; the result is the same as if it never was.

    Args:
        run: a path, or a name under runs/.
        epochs: train for so many in all, as if the run had been made so; by default as many as it
            was made with. Of a constant schedule only.
        max_time: end well after so long, like 40m or 1h30m: evaluated, saved, and able to go on.
        log: where the log goes besides metrics.jsonl, from its first line on; in the run's folder.

    """
    sinks.check(log)
    end, opened = until(max_time), open_run(run)
    opened = opened if epochs is None else extend(opened, epochs)
    run_to_end(opened, until=end, sinks=log)


def main(arguments: list[str]) -> None:
    """`seqgen resume RUN`."""
    call(command, "seqgen resume", arguments)
