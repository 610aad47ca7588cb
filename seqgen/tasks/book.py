"""The file format and the split of "Deep Learning from Scratch 2" (its dataset/sequence.py), to the bit.

A line is the question filled up with blanks to a fixed width, then `_` and the answer, filled up to another.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgen import files
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
    pairs = _pairs(lines, question_width, answer_width, path)
    return BookPairs(pairs, question_width, answer_width, Vocabulary("".join(dict.fromkeys("".join(lines)))))


def write_book_file(path: str | Path, pairs: list[Pair], question_width: int, answer_width: int) -> None:
    """Write pairs in the book's format: the whole file or nothing. Raises `SeqgenError` for what it cannot hold."""
    lines = [f"{question:<{question_width}}{DELIMITER}{answer:<{answer_width}}" for question, answer in pairs]
    _pairs(lines, question_width, answer_width, path)
    files.write(Path(path), "".join(line + "\n" for line in lines))


def read_bytes(path: str | Path) -> bytes:
    """A file's content. Raises `SeqgenError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise SeqgenError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


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


def _pairs(lines: list[str], question_width: int, answer_width: int, path: str | Path) -> list[Pair]:
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
