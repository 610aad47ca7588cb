"""seqgen predict: answers of a trained run."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import tyro

from seqgen.cli.parse import parse
from seqgen.errors import SeqgenError, UsageError
from seqgen.runs import open_run

AT_ONCE = 512
"""Lines of standard input that are answered together."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
) -> None:
    """Answer questions: the arguments, or without any the lines of standard input; one answer a line.

    Args:
        run: a path, or a name under runs/.
        text: questions.
    """
    opened = open_run(run)
    if text:
        print("\n".join(opened.predict(text)))
        return
    number = 1
    for lines in batches():
        try:
            answers = opened.predict(lines)
        except UsageError as error:
            raise UsageError(f"standard input, lines {number}-{number + len(lines) - 1}: {error}") from error
        print("\n".join(answers), flush=True)
        number += len(lines)


def batches() -> Iterator[list[str]]:
    """Standard input in lists of lines; at a terminal, line by line. Raises `SeqgenError` for what is not UTF-8."""
    size = 1 if sys.stdin.isatty() else AT_ONCE
    try:
        while lines := [line.rstrip("\r\n") for line in islice(sys.stdin, size)]:
            yield lines
    except UnicodeDecodeError as error:
        raise SeqgenError(f"standard input is not UTF-8: {error.reason} at byte {error.start}") from error


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    parse(command, "seqgen predict", arguments)
