"""The file format and split of "Deep Learning from Scratch 2" (dataset/sequence.py), to the bit.

A line is the question filled up with blanks to a fixed width, then `_` and the answer, filled up to
another.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from seqgen.data.pairs import Pair, Task
from seqgen.data.plain_text import whole
from seqgen.data.tokenizer import BLANK, DELIMITER
from seqgen.errors import SeqgenError
from seqgen.storage import files
from seqgen.tasks import TASKS

SEED = 1984
"""What the book shuffles its rows with."""


class BookPairs(NamedTuple):
    """A file's content.

    The characters are ordered by first appearance, the answers' width is without the `_`.
    """

    pairs: list[Pair]
    question_width: int
    answer_width: int
    characters: str


def book_split(n: int) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " M"]]:
    """The book's row numbers for training and, the last tenth, for test.

    They are shuffled by the legacy generator.
    """
    rows = np.arange(n)
    np.random.RandomState(SEED).shuffle(rows)
    cut = n - n // 10
    return rows[:cut], rows[cut:]


def read_book_pairs(path: str | Path) -> BookPairs:
    """The pairs of a file in the order of its lines, whose ends are LF, CRLF or CR.

    Raises:
        SeqgenError: with the line number, for a malformed file.

    """
    lines = _lines(Path(path))
    question_width = lines[0].find(DELIMITER)
    answer_width = len(lines[0].partition(DELIMITER)[2])
    pairs = _pairs(lines, question_width, answer_width, path=path)
    return BookPairs(pairs, question_width, answer_width, "".join(dict.fromkeys("".join(lines))))


def write_book_file(
    path: str | Path, pairs: list[Pair], question_width: int, answer_width: int
) -> None:
    """Write pairs in the book's format: the whole file or nothing.

    Args:
        path: the file.
        pairs: without padding.
        question_width: characters of a question's field.
        answer_width: characters of an answer's field, without its `_`.

    Raises:
        SeqgenError: for what the format cannot hold, and where the disk refuses.

    """
    lines = [
        f"{question:<{question_width}}{DELIMITER}{answer:<{answer_width}}"
        for question, answer in pairs
    ]
    _pairs(lines, question_width, answer_width, path=path)
    files.write(Path(path), "".join(line + "\n" for line in lines))


def recognise(path: str | Path) -> Task:
    """The task of a file in the book's format, by its first line.

    Raises:
        SeqgenError: if it is of none that we know, or malformed.

    """
    question, answer = read_book_pairs(path).pairs[0]
    for task in (make() for make in TASKS.values()):
        try:
            task.key(question, answer)
        except ValueError:
            continue
        return task
    raise SeqgenError(
        f"{path}, line 1: {question!r} -> {answer!r} is of none of the tasks {', '.join(TASKS)}"
    )


def _lines(path: Path) -> list[str]:
    text = whole(files.read_bytes(path), path)
    if not text:
        raise SeqgenError(f"{path}, line 1: the file is empty")
    return text.removesuffix("\n").split("\n")


def _pairs(
    lines: list[str], question_width: int, answer_width: int, *, path: str | Path
) -> list[Pair]:
    """Lines taken apart, without padding. Raises `SeqgenError` for the first malformed one."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        question, delimiter, answer = line.partition(DELIMITER)
        if not delimiter:
            fault = f"no {DELIMITER!r} before an answer"
        elif DELIMITER in answer:
            fault = f"more than one {DELIMITER!r}"
        elif len(question) != question_width:
            fault = f"the question is {len(question)} characters wide instead of {question_width}"
        elif len(answer) != answer_width:
            fault = f"the answer is {len(answer)} characters wide instead of {answer_width}"
        elif not question.strip():
            fault = "the question is empty"
        elif not answer.strip():
            fault = "the answer is empty"
        else:
            pairs.append((question.rstrip(BLANK), answer.rstrip(BLANK)))
            continue
        raise SeqgenError(f"{path}, line {number}: {fault}")
    return pairs
