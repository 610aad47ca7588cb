"""seqgen predict: answers of a trained run."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.answer_file import answer_file
from seqgen.cli.answers import Writer
from seqgen.cli.flags import Flat
from seqgen.cli.members import keep_mark, runs_and_texts, tell_members
from seqgen.cli.parse import answer_lines, argument, call, input_blocks
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError

AT_ONCE = 512
"""Lines of standard input that are answered together."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    seed: int = 0,
    n_best: Annotated[int, tyro.conf.arg(aliases=["--n"])] = 1,
    prefix: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    replace_unknown: tyro.conf.FlagCreatePairsOff[bool] = False,
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
    input_: Annotated[Path | None, tyro.conf.arg(name="input", metavar="FILE")] = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    members: Annotated[str | None, tyro.conf.arg(metavar="VARIANT")] = None,
) -> None:
    """Answer questions: the arguments, the lines of a file, or those of standard input.

    One line per question; an empty line is answered with an empty line. At one that cannot be
    answered it ends, with that line's number, once those before it are answered. From a file to a
    file, what was answered outlasts a kill: the same command goes on.

    Several runs answer as an ensemble, with the mean of their probabilities: RUN RUN ... TEXT. A
    TEXT that is a run's name stands after --.

    With --json a line is {"question": text, "source": [piece, ...], "answers": [{"answer": text,
    "logprob": nats, "tokens": [piece, ...], "logprobs": [nats, ...], "attention": [[weight, ...],
    ...]}, ...]}. The tokens are all that were chosen, the end with them; each has its log p, and
    logprob is their sum; and where the model attends, each has a row of weights on the source's
    pieces, the mean of all heads.

    Args:
        run: a path, or a name under runs/.
        text: further runs, then questions.
        generation: how answers are chosen.
        seed: of the sampling.
        n_best: answers of a beam per question, the best first, with tabs between them.
        prefix: all answers begin with this text.
        replace_unknown: each <unk> in an answer is replaced by the piece of the question that has
            the most attention there.
        json_: print a JSON object per question.
        input_: a file of questions, one a line; .gz and .xz are unpacked.
        output: the file for their answers.
        members: RUN is a sweep, and all finished members of this variant are the ensemble.

    """
    opened, texts = runs_and_texts(run, text, members)
    if (input_ is None) != (output is None) or (input_ and texts):
        raise UsageError("--input and --output go together, and without a TEXT")
    tell_members(opened)
    prefix = None if prefix is None else argument(prefix, "the prefix")
    writer = Writer(opened, generation, seed, n_best, prefix, replace_unknown, json_)
    if input_ is not None and output is not None:
        answer_file(writer, input_, output)
        return
    if texts:
        questions = [argument(each, f"question {i}") for i, each in enumerate(texts, start=1)]
        for i, question in enumerate(questions, start=1):
            if not question.strip():
                raise UsageError(f"question {i} is empty")
        print(writer.lines(questions), end="", flush=True)
        return
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")
    if typed := sys.stdin.isatty():
        print("a question a line; Ctrl-D ends", file=sys.stderr)
    for lines in input_blocks("character", 1 if typed else AT_ONCE):
        answer_lines(lines, lambda some: print(writer.lines(some), end="", flush=True))


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    call(command, "seqgen predict", keep_mark(arguments))
