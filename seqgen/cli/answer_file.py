"""The answers to a file of questions, in another file."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from seqgen.cli.answers import Writer
from seqgen.cli.parse import answer_lines
from seqgen.data.rows import lines_of
from seqgen.errors import SeqgenError
from seqgen.storage.files import flush, sha256

BLOCK = 4096
"""Lines of a file that are sorted by length, answered and written together."""


def answer_file(writer: Writer, source: Path, target: Path) -> None:
    """Answer the lines of a file in another one, which gets its name when it is whole.

    Until then the answers are in a file beside it, whose name holds a digest of the questions, the
    weights and the options: the same command goes on there, and no other does.

    Args:
        writer: what answers.
        source: the questions.
        target: the answers.

    Raises:
        UsageError: with its number, for a line that cannot be answered.
        SeqgenError: for a file that cannot be read or written.

    """
    from seqgen.cli.terminal import Bar, note  # rich, where there is something to show

    lines = list(lines_of(str(source)))
    partial = target.with_name(f".{target.name}.{digest(writer, lines)}.partial")
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
                    lambda some, file=file: _append(file, writer.lines(some)),
                    place=str(source),
                )
                line = f"{begin + len(block):,} of {len(lines):,} lines"
                bar.show(begin + len(block), "answers", line)
        os.replace(partial, target)
        flush(target.parent)
    except OSError as error:
        raise SeqgenError(f"cannot write {target}: {error.strerror}") from error
    print(target)


def digest(writer: Writer, lines: list[tuple[int, str]]) -> str:
    """What stands for the questions, the weights and the options."""
    weights = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(writer.run.params)]
    options = {name: value for name, value in vars(writer).items() if name != "run"}
    told = json.dumps([lines, {**options, "generation": asdict(writer.generation)}])
    return sha256([told.encode(), *weights])[:12]


def _append(file: Any, text: str) -> None:
    """Write all of a text, and to the disk: what is there counts as answered."""
    content = memoryview(text.encode(errors="surrogateescape"))
    while content:
        content = content[file.write(content) :]
    os.fsync(file.fileno())
