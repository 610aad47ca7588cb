"""seqgen predict: answers of a trained run."""

import sys
from typing import Annotated, Any

import tyro

from seqgen.cli.flags import Flat
from seqgen.cli.parse import answer_lines, argument, call, input_blocks
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError
from seqgen.families import open_pairs

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

    One line per question; an empty line of standard input is answered with an empty line. At one
    that cannot be answered it ends, with that line's number, once those before it are answered.

    Args:
        run: a path, or a name under runs/.
        text: questions.
        generation: how answers are chosen.
        seed: of the sampling.
        n: answers of a beam per question, the best first, with tabs between them.

    """
    opened = open_pairs(run)
    options: dict[str, Any] = {"generation": generation, "seed": seed, "n": n}
    if text:
        questions = [argument(each, f"question {i}") for i, each in enumerate(text, start=1)]
        show(opened.best(questions, **options))
        return
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")

    def answer(lines: list[str]) -> None:
        answers = iter(opened.best([line for line in lines if line.strip()], **options))
        show([next(answers) if line.strip() else [""] for line in lines])

    if typed := sys.stdin.isatty():
        print("a question a line; Ctrl-D ends", file=sys.stderr)
    for lines in input_blocks("character", 1 if typed else AT_ONCE):
        answer_lines(lines, answer)


def show(answers: list[list[str]]) -> None:
    """One line per question."""
    print("".join("\t".join(each) + "\n" for each in answers), end="", flush=True)


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    call(command, "seqgen predict", arguments)
