"""seqgen score: how well a language model predicts a text, line by line."""

import io
import math
import sys
from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import call
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

    A line's end is one of its tokens, and all lines before it are known when it is read.

    Args:
        run: a path, or a name under runs/.
        file: UTF-8 text, - for standard input; for a model of bytes, any file.

    """
    opened = open_text(run)
    if str(file) == "-" and sys.stdin is None:
        raise UsageError("score needs a FILE, or text on standard input")
    content = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
    if opened.tokenizer.unit != "byte":
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # as a corpus is read
    lines = []
    for number, line in enumerate(io.BytesIO(content), start=1):
        try:
            lines.append(opened.tokenizer.read(line))
            opened.tokenizer.encode(lines[-1])
        except (UnicodeDecodeError, UsageError) as error:
            raise SeqgenError(f"{file}, line {number}: {error}") from error
    if not lines:
        raise SeqgenError(f"{file}, line 1: the file is empty")
    if not any(len(opened.tokenizer.encode(line)) for line in lines):
        raise SeqgenError(f"{file}, line 1: no {opened.tokenizer.unit} in it")
    total, tokens = 0.0, 0
    for line, (loss, count) in zip(lines, opened.score(lines), strict=True):
        mean = exponential(loss / count) if count else math.nan
        print(f"{mean:10.2f}  {count:5}  {line.rstrip()}")
        total, tokens = total + loss, tokens + count
    mean, of = total / tokens, f"all {len(lines)} lines"
    print(f"{exponential(mean):10.2f}  {tokens:5}  {of}, {mean:.4f} nats per token")


def main(arguments: list[str]) -> None:
    """`seqgen score RUN FILE`."""
    call(command, "seqgen score", arguments)
