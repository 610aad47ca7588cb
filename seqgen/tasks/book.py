"""The file format and the split of "Deep Learning from Scratch 2" (its dataset/sequence.py), to the bit.

A line is the question filled up with blanks to a fixed width, then `_` and the answer, filled up to another.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.tasks.task import Pair, text_ids
from seqgen.tasks.vocabulary import BLANK, DELIMITER, Vocabulary


class BookData(NamedTuple):
    """Ids, int32: questions [N, S] and answers [N, T + 1] with their `_`."""

    x_train: np.ndarray
    t_train: np.ndarray
    x_test: np.ndarray
    t_test: np.ndarray
    vocabulary: Vocabulary


class BookPairs(NamedTuple):
    """A file's content; the vocabulary is ordered by first appearance, the answers' width is without the `_`."""

    pairs: list[Pair]
    question_width: int
    answer_width: int
    vocabulary: Vocabulary


def book_split(n: int, seed: int = 1984) -> tuple[np.ndarray, np.ndarray]:
    """The book's row numbers for training and, the last tenth, for test: the legacy generator's shuffle."""
    rows = np.arange(n)
    np.random.RandomState(seed).shuffle(rows)
    cut = n - n // 10
    return rows[:cut], rows[cut:]


def load_book_file(path: str | Path, seed: int = 1984) -> BookData:
    """What the book's `load_data` returns. Raises `SeqgenError`, with the line number, for a malformed file."""
    pairs, question_width, answer_width, vocabulary = read_book_pairs(path)
    x = text_ids([question for question, _ in pairs], question_width, BLANK, vocabulary)
    t = text_ids([DELIMITER + answer for _, answer in pairs], answer_width + 1, BLANK, vocabulary)
    train, test = book_split(len(pairs), seed)
    return BookData(x[train], t[train], x[test], t[test], vocabulary)


def read_book_pairs(path: str | Path) -> BookPairs:
    """The pairs of a file in the order of its lines, LF or CRLF. Raises `SeqgenError`, with the line number, if malformed."""
    lines = _lines(Path(path))
    question_width, answer_width = lines[0].find(DELIMITER), len(lines[0].partition(DELIMITER)[2])
    pairs = []
    for number, line in enumerate(lines, start=1):
        question, delimiter, answer = line.partition(DELIMITER)
        if reason := _fault(question, delimiter, answer, question_width, answer_width):
            raise SeqgenError(f"{path}, line {number}: {reason}")
        pairs.append((question.rstrip(BLANK), answer.rstrip(BLANK)))
    vocabulary = Vocabulary("".join(dict.fromkeys("".join(lines))))
    return BookPairs(pairs, question_width, answer_width, vocabulary)


def write_book_file(path: str | Path, pairs: list[Pair], question_width: int, answer_width: int) -> None:
    """Write pairs in the book's format: the whole file or nothing. Raises `SeqgenError` for what it cannot hold."""
    path = Path(path)
    lines = []
    for number, (question, answer) in enumerate(pairs, start=1):
        line = f"{question:<{question_width}}{DELIMITER}{answer:<{answer_width}}"
        if reason := _fault(*line.partition(DELIMITER), question_width, answer_width):
            raise SeqgenError(f"{path}, line {number} not written: {reason}")
        lines.append(line + "\n")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text("".join(lines), encoding="utf-8", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise SeqgenError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def read_bytes(path: str | Path) -> bytes:
    """A file's content. Raises `SeqgenError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror}") from error


def _lines(path: Path) -> list[str]:
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SeqgenError(f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x})") from error
    if not text:
        raise SeqgenError(f"{path}, line 1: the file is empty")
    return text.removesuffix("\n").split("\n")


def _fault(question: str, delimiter: str, answer: str, question_width: int, answer_width: int) -> str | None:
    """Why a line is malformed, or nothing."""
    if not delimiter:
        return f"no {DELIMITER!r} before an answer"
    if DELIMITER in answer:
        return f"more than one {DELIMITER!r}"
    if len(question) != question_width:
        return f"the question is {len(question)} characters wide instead of {question_width}"
    if len(answer) != answer_width:
        return f"the answer is {len(answer)} characters wide instead of {answer_width}"
    if not question.strip():
        return "the question is empty"
    if not answer.strip():
        return "the answer is empty"
    return None
