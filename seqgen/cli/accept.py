"""seqgen accept: take a run's files as they are."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen import families
from seqgen.cli.parse import call
from seqgen.families import locate
from seqgen.sweeps import state


def command(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")], /) -> None:
    """Take a run's files as they are now, after they were edited by hand: their checksums are
    written anew.

    Args:
        run: a run or a sweep: a path, or a name under runs/.

    """
    path = next((path for path in (locate(run), Path(run)) if path.is_dir()), locate(run))
    kind = state if (path / "sweep.json").is_file() else families
    kind.accept(path)
    kind.check_files(path)
    print(path)


def main(arguments: list[str]) -> None:
    """`seqgen accept RUN`."""
    call(command, "seqgen accept", arguments)
