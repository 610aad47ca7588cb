"""seqgen resume: go on with a run from its newest good checkpoint."""

from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.cli.terminal import run_to_end
from seqgen.families import open_run


def command(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")], /) -> None:
    """Go on with a run that was stopped; the result is the same as if it never was.

    Args:
        run: a path, or a name under runs/.

    """
    run_to_end(open_run(run))


def main(arguments: list[str]) -> None:
    """`seqgen resume RUN`."""
    call(command, "seqgen resume", arguments)
