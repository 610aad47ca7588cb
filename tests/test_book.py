"""The book's files: read to the bit, written back, refused with line and reason."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from seqgen.data.padding import encode
from seqgen.data.pairs import Task
from seqgen.errors import SeqgenError
from seqgen.tasks import Addition, Dates
from seqgen.tasks.book import BookPairs, read_book_pairs, write_book_file
from seqgen.tasks.dataset import Data, load
from tests.book_arrays import BookData, load_book_file


class Book(NamedTuple):
    """One of the book's files, read once."""

    task: Task
    path: Path
    data: BookData
    content: BookPairs


@pytest.fixture(scope="module", params=["addition", "date"])
def book(request, book_files):
    task = {"addition": Addition(), "date": Dates()}[request.param]
    path = book_files / f"{request.param}.txt"
    return Book(task, path, load_book_file(path), read_book_pairs(path))


def by_the_book(path):
    """The book's `dataset/sequence.py` retold: global legacy generator, ids by first appearance,
    character by character.
    """
    ids, x, t = {}, [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            cut = line.find("_")
            for text, rows in ((line[:cut], x), (line[cut:-1], t)):
                rows.append([ids.setdefault(character, len(ids)) for character in text])
    x, t = np.array(x), np.array(t)
    indices = np.arange(len(x))
    saved = np.random.get_state()  # noqa: NPY002
    np.random.seed(1984)  # noqa: NPY002
    np.random.shuffle(indices)  # noqa: NPY002
    np.random.set_state(saved)  # noqa: NPY002
    x, t, split_at = x[indices], t[indices], len(x) - len(x) // 10
    return (x[:split_at], t[:split_at], x[split_at:], t[split_at:]), "".join(ids)


def test_the_books_files_to_the_bit(book):
    """Fails if ids, split or order differ anywhere from the book's own loader."""
    expected, characters = by_the_book(book.path)
    assert "".join(book.data.vocabulary.table) == characters
    for ours, theirs in zip(book.data[:4], expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_first_rows_as_printed(book):
    """Fails if both the loader and its retelling above are wrong together: the numbers are known
    from the book's code.
    """
    x, t, vocabulary = book.data.x_train, book.data.t_train, book.data.vocabulary
    assert (len(x), len(book.data.x_test)) == (45_000, 5_000)
    if book.task.name == "addition":
        assert (x[0].tolist(), t[0].tolist()) == ([3, 0, 2, 0, 0, 11, 5], [6, 0, 11, 7, 5])
        assert vocabulary.decode(x[0]) + vocabulary.decode(t[0]) == "71+118 _189 "
    assert len(vocabulary) == {"addition": 13, "dates": 59}[book.task.name]


def test_our_tasks_are_the_books(book):
    """Fails if our alphabet or widths are not those of the book's file, or one of its lines is not
    of our formats.
    """
    task, content = book.task, book.content
    assert set(content.characters) == set(task.alphabet)
    assert (content.question_width, content.answer_width) == (
        task.question_width,
        task.answer_width,
    )
    assert {task.format(question) for question, _ in content.pairs} == {
        task.format(question) for question, _ in task.sample(np.random.default_rng(0), 2000)
    }


def test_training_sees_what_the_book_loads(book):
    """Fails if `load` and `encode` in the book's padding, on which parity runs train, differ from
    the book's arrays.
    """
    dataset = load(Data(book.task, file=str(book.path), padding="book", split="book"))
    train, test = (
        encode(split, dataset.tokenizer, dataset.padding)
        for split in (dataset.splits.train, dataset.splits.test)
    )
    np.testing.assert_array_equal(train.source, book.data.x_train)
    np.testing.assert_array_equal(train.inputs, book.data.t_train[:, :-1])
    np.testing.assert_array_equal(train.targets, book.data.t_train[:, 1:])
    np.testing.assert_array_equal(test.source, book.data.x_test)


def test_the_books_files_are_written_back_to_the_byte(book, tmp_path):
    """Fails if padding, line ends or order change on the way through our pairs."""
    pairs, question_width, answer_width, _ = book.content
    write_book_file(tmp_path / "copy.txt", pairs, question_width, answer_width)
    assert (tmp_path / "copy.txt").read_bytes() == book.path.read_bytes()


def test_the_global_generator_is_left_alone(tmp_path):
    """Fails if the book's seed is set for the whole process, as the book does."""
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    write_book_file(tmp_path / "sums.txt", [("1+2", "3")] * 20, 3, 1)
    load_book_file(tmp_path / "sums.txt")
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize(
    "content", [b"1+2 _3 \n44+5_49\n", b"1+2 _3 \r\n44+5_49\r\n", b"\xef\xbb\xbf1+2 _3 \n44+5_49"]
)
def test_line_ends_are_not_data(tmp_path, content):
    """Fails if CRLF, a byte order mark or a last line without end adds a character or eats one."""
    path = tmp_path / "sums.txt"
    path.write_bytes(content)
    pairs, question_width, answer_width, characters = read_book_pairs(path)
    assert (pairs, question_width, answer_width) == ([("1+2", "3"), ("44+5", "49")], 4, 2)
    assert characters == "1+2 _3459"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b"1+2 3 \n", "line 1: no '_' before an answer"),
        (b"1+2_3\n2+2 4\n", "line 2: no '_' before an answer"),
        (b"1+2_3\n\n2+2_4\n", "line 2: no '_' before an answer"),
        (b"1+2_3\n2+2_4_\n", "line 2: more than one '_'"),
        (b"1+2_3\n1+12_3\n", "line 2: the question is 4 characters wide instead of 3"),
        (b"1+2_3\n8+2_10\n", "line 2: the answer is 2 characters wide instead of 1"),
        (b"1+2_3\n   _4\n", "line 2: the question is empty"),
        (b"1+2_3\n2+2_ \n", "line 2: the answer is empty"),
        (b"1+2_\n", "line 1: the answer is empty"),
        (b"1+2_3\n2+2_4\n1+\xff_1\n", r"line 3: not UTF-8 \(byte 0xff\)"),
    ],
)
def test_malformed_files_are_refused_with_line_and_reason(tmp_path, content, message):
    """Fails if a malformed line is read as something else, or the number of its line is wrong."""
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    for read in (read_book_pairs, load_book_file):
        with pytest.raises(SeqgenError, match=f"bad.txt, {message}"):
            read(path)


def test_what_is_no_file_is_refused(tmp_path):
    """Fails if a folder or a missing file is a traceback."""
    with pytest.raises(SeqgenError, match=f"cannot read {tmp_path}: Is a directory"):
        read_book_pairs(tmp_path)
    with pytest.raises(SeqgenError, match=r"none\.txt: No such file"):
        read_book_pairs(tmp_path / "none.txt")


def test_a_failed_write_leaves_all_as_it_was(tmp_path):
    """Fails if a half-written file takes the old one's place, or its leavings stay behind."""
    path = tmp_path / "sums.txt"
    write_book_file(path, [("1+2", "3")], 3, 1)
    with pytest.raises(SeqgenError, match=r"line 2: the answer is 2 characters wide instead of 1"):
        write_book_file(path, [("1+3", "4"), ("8+2", "10")], 3, 1)
    with pytest.raises(SeqgenError, match="cannot write"):
        write_book_file(path / "below-a-file.txt", [("1+3", "4")], 3, 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SeqgenError, match="cannot write"):
        write_book_file(tmp_path / "folder", [("1+3", "4")], 3, 1)
    assert path.read_text() == "1+2_3\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "sums.txt"]
