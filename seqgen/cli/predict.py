"""seqgen predict: answers of a trained run."""

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import tyro

from seqgen.cli.flags import Flat
from seqgen.cli.parse import call, input_lines
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError
from seqgen.families import PairsRun, open_pairs

AT_ONCE = 512
"""Lines of standard input that are answered together."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    seed: int = 0,
    n: int = 1,
) -> None:
    """Answer questions: the arguments, or without any the lines of standard input.

    One line per question.

    Args:
        run: a path, or a name under runs/.
        text: questions.
        generation: how answers are chosen.
        seed: of the sampling.
        n: answers of a beam per question, the best first, with tabs between them.

    """
    opened = open_pairs(run)
    if text:
        show(opened.best(text, generation, seed=seed, n=n))
        return
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")
    lines, at_once = questions(opened), 1 if sys.stdin.isatty() else AT_ONCE
    while batch := list(islice(lines, at_once)):
        show(opened.best(batch, generation, seed=seed, n=n))


def show(answers: list[list[str]]) -> None:
    """One line per question."""
    print("\n".join("\t".join(each) for each in answers), flush=True)


def questions(run: PairsRun) -> Iterator[str]:
    """The lines of standard input.

    Raises:
        UsageError: naming the line, for one that the run cannot read.

    """
    for number, question in input_lines(bytes.decode):
        if not question.strip():
            raise UsageError(f"standard input, line {number}: the question is empty")
        try:
            run.tokenizer.encode(question)
        except UsageError as error:
            raise UsageError(f"standard input, line {number}: {error}") from error
        yield question


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    call(command, "seqgen predict", arguments)
