"""seqgen score: how well a language model predicts a text, line by line."""

import io
import math
import sys
from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.errors import SeqgenError, UsageError
from seqgen.perplexity import exponential
from seqgen.runs import open_language_model
from seqgen.tasks.book import read_bytes


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    /,
) -> None:
    """Print each line's perplexity, its number of tokens and the line, then those of all; - is standard input.

    A line's end is one of its tokens, and all lines before it are known when it is read.

    Args:
        run: a path, or a name under runs/.
        file: UTF-8 text; for a model of bytes, any file.

    """
    opened = open_language_model(run)
    if str(file) == "-" and sys.stdin is None:
        raise UsageError("score needs a FILE, or text on standard input")
    content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
    if opened.symbols.unit != "byte":
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # as a corpus is read
    lines = []
    for number, line in enumerate(io.BytesIO(content), start=1):
        try:
            lines.append(opened.symbols.read(line))
            opened.symbols.encode(lines[-1])
        except (UnicodeDecodeError, UsageError) as error:
            raise SeqgenError(f"{file}, line {number}: {error}") from error
    if not lines:
        raise SeqgenError(f"{file}, line 1: the file is empty")
    if not any(len(opened.symbols.encode(line)) for line in lines):
        raise SeqgenError(f"{file}, line 1: no {opened.symbols.unit} in it")
    total, tokens = 0.0, 0
    for line, (loss, count) in zip(lines, opened.score(lines), strict=True):
        print(f"{exponential(loss / count) if count else math.nan:10.2f}  {count:5}  {line.rstrip()}")
        total, tokens = total + loss, tokens + count
    print(f"{exponential(total / tokens):10.2f}  {tokens:5}  all {len(lines)} lines, {total / tokens:.4f} nats a token")


def main(arguments: list[str]) -> None:
    """`seqgen score RUN FILE`."""
    call(command, "seqgen score", arguments)
