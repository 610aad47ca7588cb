"""seqgen predict: answers of a trained run."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.errors import UsageError
from seqgen.rules import GREEDY, Decoding
from seqgen.runs import Seq2seqRun, open_seq2seq

AT_ONCE = 512
"""Lines of standard input that are answered together."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    how: Annotated[Decoding, tyro.conf.arg(name="")] = GREEDY,
    seed: int = 0,
    n: int = 1,
) -> None:
    """Answer questions: the arguments, or without any the lines of standard input; one answer a line.

    Args:
        run: a path, or a name under runs/.
        text: questions.
        how: how answers are chosen.
        seed: what is drawn is drawn from it.
        n: so many answers of a beam, the best first, on the line, with tabs between them.

    """
    opened = open_seq2seq(run)
    if text:
        show(opened.best(text, how, seed=seed, n=n))
        return
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")
    lines, at_once = questions(opened), 1 if sys.stdin.isatty() else AT_ONCE
    while batch := list(islice(lines, at_once)):
        show(opened.best(batch, how, seed=seed, n=n))


def show(answers: list[list[str]]) -> None:
    """One line a question."""
    print("\n".join("\t".join(each) for each in answers), flush=True)


def questions(run: Seq2seqRun) -> Iterator[str]:
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
