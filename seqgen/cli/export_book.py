"""seqgen export-book: a run's weights as the book's code reads them."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.families import open_run
from seqgen.interop.book import from_params
from seqgen.interop.pickles import write_pickle


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.pkl")],
    /,
) -> None:
    """Write a run's parameters as a pickle that the book's load_params reads.

    It is a list of float16 arrays.

    Args:
        run: a path, or a name under runs/.
        output: the pickle.

    """
    opened = open_run(run)
    write_pickle(output, from_params(opened.config.model, opened.params))
    print(output)


def main(arguments: list[str]) -> None:
    """`seqgen export-book RUN OUT.pkl`."""
    call(command, "seqgen export-book", arguments)
