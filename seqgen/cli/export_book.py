"""seqgen export-book: a run's weights as the book's code reads them."""

from pathlib import Path
from typing import Annotated, Any

import tyro

from seqgen.cli.parse import call
from seqgen.errors import UsageError
from seqgen.families import open_run
from seqgen.interop.book import book_model, from_params
from seqgen.interop.book_note import write_note
from seqgen.interop.pickles import write_pickle
from seqgen.tasks.dataset import Data
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.text import Text


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.pkl")],
    /,
) -> None:
    """Write a run's parameters as a pickle that the book's load_params reads.

    It is a list of float16 arrays. What it cannot say, the tokens and the padding, stands beside
    it: OUT.pkl.json.

    Args:
        run: a path, or a name under runs/.
        output: the pickle.

    """
    opened = open_run(run)
    model = book_model(opened.config.model)
    check_data(opened.config.data, model)
    write_pickle(output, from_params(opened.config.model, opened.params))
    write_note(output, model, opened.meaning())
    print(output)


def check_data(data: Any, model: str) -> None:
    """Raises `UsageError` for rows and tokens that the book's loaders never give."""
    match data:
        case Data(padding="book", file=str()) | Text(unit="word", min_count=1, most=None):
            return
        case Data():
            ours = "draws" if data.padding == "book" else f"padding {data.padding!r}"
            raise UsageError(
                f"the book reads rows of fixed width from a file, and this run has {ours}: train "
                f"with `seqgen train {data.name} {model} --padding book --data FILE`"
            )
        case PairFile():
            raise UsageError(
                "the book's code has one vocabulary for both sides, and rows of fixed width; "
                "a run of one's own pairs has neither"
            )
    raise UsageError(
        "the book's tokens are all words of a text, as they first appear: train with "
        f"`seqgen train text {model} --unit word --data FILE`"
    )


def main(arguments: list[str]) -> None:
    """`seqgen export-book RUN OUT.pkl`."""
    call(command, "seqgen export-book", arguments)
