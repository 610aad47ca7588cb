"""seqgen predict: answers of a trained run."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro

from seqgen.cli.flags import Flat
from seqgen.cli.members import keep_mark, runs_and_texts, tell_members
from seqgen.cli.parse import answer_lines, argument, call, input_blocks
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.data.rows import lines_of
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import PairsRun
from seqgen.storage.files import flush, sha256

AT_ONCE = 512
"""Lines of standard input that are answered together."""

BLOCK = 4096
"""Lines of a file that are sorted by length, answered and written together."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    seed: int = 0,
    n: int = 1,
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

    Args:
        run: a path, or a name under runs/.
        text: further runs, then questions.
        generation: how answers are chosen.
        seed: of the sampling.
        n: answers of a beam per question, the best first, with tabs between them.
        input_: a file of questions, one a line; .gz and .xz are unpacked.
        output: the file for their answers.
        members: RUN is a sweep, and all finished members of this variant are the ensemble.

    """
    opened, texts = runs_and_texts(run, text, members)
    if (input_ is None) != (output is None) or (input_ and texts):
        raise UsageError("--input and --output go together, and without a TEXT")
    tell_members(opened)
    options: dict[str, Any] = {"generation": generation, "seed": seed, "n": n}
    if input_ is not None and output is not None:
        answer_file(opened, input_, output, options)
        return
    if texts:
        questions = [argument(each, f"question {i}") for i, each in enumerate(texts, start=1)]
        tell_unknown(opened, questions)
        print(shown(opened.best(questions, **options)), end="", flush=True)
        return
    if sys.stdin is None:
        raise UsageError("predict needs a TEXT, or questions on standard input")
    if typed := sys.stdin.isatty():
        print("a question a line; Ctrl-D ends", file=sys.stderr)
    for lines in input_blocks("character", 1 if typed else AT_ONCE):
        answer_lines(lines, lambda some: print(answered(opened, some, options), end="", flush=True))


def answered(opened: Any, lines: list[str], options: dict[str, Any]) -> str:
    """The answers to lines, in their order; those of like length are decoded together."""
    tell_unknown(opened, lines)
    order = sorted((i for i, line in enumerate(lines) if line.strip()), key=lambda i: len(lines[i]))
    answers = dict(zip(order, opened.best([lines[i] for i in order], **options), strict=True))
    return shown([answers.get(i, [""]) for i in range(len(lines))])


def tell_unknown(opened: Any, lines: list[str]) -> None:
    """Say what of the lines is not in the run's vocabulary, where it is read as <unk>."""
    tokenizer = getattr(opened, "source_tokenizer", None)
    if isinstance(tokenizer, PairTokenizer):
        lost = dict.fromkeys(unit for line in lines for unit in tokenizer.unknown(line))
        if lost:
            print(f"not in the vocabulary, read as <unk>: {' '.join(lost)}", file=sys.stderr)


def shown(answers: list[list[str]]) -> str:
    """One line per question."""
    return "".join("\t".join(each) + "\n" for each in answers)


def answer_file(opened: PairsRun, source: Path, target: Path, options: dict[str, Any]) -> None:
    """Answer the lines of a file in another one, which gets its name when it is whole.

    Until then the answers are in a file beside it, whose name holds a digest of the questions, the
    weights and the options: the same command goes on there, and no other does.

    Args:
        opened: the run.
        source: the questions.
        target: the answers.
        options: of `PairsRun.best`.

    Raises:
        UsageError: with its number, for a line that cannot be answered.
        SeqgenError: for a file that cannot be read or written.

    """
    from seqgen.cli.terminal import Bar, note  # rich, where there is something to show

    lines = list(lines_of(str(source)))
    told = {**options, "generation": asdict(options["generation"])}
    weights = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(opened.params)]
    key = sha256([json.dumps([lines, told]).encode(), *weights])[:12]
    partial = target.with_name(f".{target.name}.{key}.partial")
    try:
        with open(partial, "ab+", buffering=0) as file, Bar() as bar:
            file.seek(0)
            whole = file.read()
            done = whole.count(b"\n")
            file.truncate(whole.rfind(b"\n") + 1)
            if done:
                note(f"{partial}: goes on after line {done:,} of {len(lines):,}")
            bar.total(len(lines))
            for begin in range(done, len(lines), BLOCK):
                block = lines[begin : begin + BLOCK]
                answer_lines(
                    block,
                    lambda some, file=file: _append(file, answered(opened, some, options)),
                    place=str(source),
                )
                line = f"{begin + len(block):,} of {len(lines):,} lines"
                bar.show(begin + len(block), "answers", line)
        os.replace(partial, target)
        flush(target.parent)
    except OSError as error:
        raise SeqgenError(f"cannot write {target}: {error.strerror}") from error
    print(target)


def _append(file: Any, text: str) -> None:
    """Write all of a text, and to the disk: what is there counts as answered."""
    content = memoryview(text.encode(errors="surrogateescape"))
    while content:
        content = content[file.write(content) :]
    os.fsync(file.fileno())


def main(arguments: list[str]) -> None:
    """`seqgen predict RUN TEXT...`."""
    call(command, "seqgen predict", keep_mark(arguments))
