"""seqgen predict: answers of a trained run."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.errors import UsageError
from seqgen.runs import Run, open_run

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
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")
    lines, at_once = questions(opened), 1 if sys.stdin.isatty() else AT_ONCE
    while batch := list(islice(lines, at_once)):
        print("\n".join(opened.predict(batch)), flush=True)


def questions(run: Run) -> Iterator[str]:
    """The lines of standard input. Raises `UsageError`, naming the line, for one that the run cannot read."""
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            question = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"standard input, line {number}: not UTF-8 (byte 0x{line[error.start]:02x})") from error
        if not question.strip():
            raise UsageError(f"standard input, line {number}: the question is empty")
        try:
            run.vocabulary.encode(question)
        except UsageError as error:
            raise UsageError(f"standard input, line {number}: {error}") from error
        yield question


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    call(command, "seqgen predict", arguments)
