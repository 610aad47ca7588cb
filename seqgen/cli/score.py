"""seqgen score: how well a language model predicts a text, line by line."""

import io
import math
import sys
from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import STDIN, call
from seqgen.data.plain_text import NotUTF8, each_line
from seqgen.data.tokenizer import Vocabulary
from seqgen.errors import SeqgenError, UsageError
from seqgen.evaluation.perplexity import exponential
from seqgen.families import open_text
from seqgen.storage.files import read_bytes


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    /,
) -> None:
    """Print each line's perplexity, its number of tokens and the line, then those of all.

    A line's end is one of its tokens, and all lines before it are known when it is read. At a line
    that cannot be read it ends, with that line's number and without the last sum.

    Args:
        run: a path, or a name under runs/.
        file: UTF-8 text, - for standard input; for a model of bytes, any file.

    """
    opened = open_text(run)
    if str(file) == "-" and sys.stdin is None:
        raise UsageError("score needs a FILE, or text on standard input")
    content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
    place = STDIN if str(file) == "-" else str(file)
    lines, fault = readable(content, place, opened.tokenizer)
    if not any(len(opened.tokenizer.encode(line)) for line in lines):
        nothing = f"no {opened.tokenizer.unit} in it" if lines else "the file is empty"
        raise fault or SeqgenError(f"{place}, line 1: {nothing}")
    total, tokens = 0.0, 0
    for line, (loss, count) in zip(lines, opened.score(lines), strict=True):
        mean = exponential(loss / count) if count else math.nan
        print(f"{mean:10.2f}  {count:5}  {line.rstrip()}")
        total, tokens = total + loss, tokens + count
    if fault is not None:
        raise fault
    mean, of = total / tokens, f"all {len(lines)} lines"
    print(f"{exponential(mean):10.2f}  {tokens:5}  {of}, {mean:.4f} nats per token")


def readable(
    content: bytes, place: str, tokenizer: Vocabulary
) -> tuple[list[str], UsageError | None]:
    """The lines of a text up to the first that cannot be read, and what is wrong with that."""
    lines: list[str] = []
    try:
        for line in each_line(io.BytesIO(content), place, tokenizer.unit):
            tokenizer.encode(line)
            lines.append(line)
    except NotUTF8 as error:
        return lines, UsageError(str(error))
    except UsageError as error:
        return lines, UsageError(f"{place}, line {len(lines) + 1}: {error}")
    return lines, None


def main(arguments: list[str]) -> None:
    """`seqgen score RUN FILE`."""
    call(command, "seqgen score", arguments)
