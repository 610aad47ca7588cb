"""The arrays that the book's `load_data` returns (its dataset/sequence.py), from our readers."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from seqgen.data.padding import pair_vocabulary, text_ids
from seqgen.data.ragged import filled
from seqgen.data.tokenizer import BLANK, DELIMITER, Vocabulary
from seqgen.tasks.book import book_split, read_book_pairs


def book_folder() -> Path | None:
    """Where the book's `addition.txt` and `date.txt` are, which are not ours to commit; None where
    they are not.
    """
    beside = Path(__file__).parents[2] / "shared" / "data" / "book"
    folder = Path(os.environ.get("SEQGEN_BOOK_DATA", beside))
    return folder if folder.is_dir() else None


class BookData(NamedTuple):
    """Ids: questions, and answers with their `_`."""

    x_train: Int32[np.ndarray, "N S"]
    t_train: Int32[np.ndarray, "N T+1"]
    x_test: Int32[np.ndarray, "M S"]
    t_test: Int32[np.ndarray, "M T+1"]
    vocabulary: Vocabulary


def load_book_file(path: str | Path) -> BookData:
    """What the book's `load_data` returns.

    Raises:
        SeqgenError: with the line number, for a malformed file.

    """
    pairs, question_width, answer_width, characters = read_book_pairs(path)
    vocabulary = pair_vocabulary(characters, "book")
    blank = characters.find(BLANK)
    questions = text_ids([question for question, _ in pairs], vocabulary)
    answers = text_ids([DELIMITER + answer for _, answer in pairs], vocabulary)
    x, t = filled(questions, question_width, blank), filled(answers, answer_width + 1, blank)
    train, test = book_split(len(pairs))
    return BookData(x[train], t[train], x[test], t[test], vocabulary)
