"""The book's files: read to the bit, written back, refused with line and reason."""

import numpy as np
import pytest

from seqgen.errors import SeqgenError
from seqgen.tasks import Addition, Dates
from seqgen.tasks.book import load_book_file, read_book_pairs, write_book_file
from seqgen.tasks.dataset import Data, load
from seqgen.tasks.task import encode


def by_the_book(path):
    """The book's `dataset/sequence.py` retold: global legacy generator, ids by first appearance, character by character."""
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


@pytest.mark.parametrize("name", ["addition", "date"])
def test_the_books_files_to_the_bit(book_files, name):
    """Fails if ids, split or order differ anywhere from the book's own loader, or the global generator is touched."""
    expected, characters = by_the_book(book_files / f"{name}.txt")
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    data = load_book_file(book_files / f"{name}.txt")
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert data.vocabulary.characters == characters
    for ours, theirs in zip((data.x_train, data.t_train, data.x_test, data.t_test), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_first_rows_as_printed(book_files):
    """Fails if both the loader and its retelling above are wrong together: the numbers are known from the book's code."""
    data = load_book_file(book_files / "addition.txt")
    assert data.x_train[0].tolist() == [3, 0, 2, 0, 0, 11, 5]
    assert data.t_train[0].tolist() == [6, 0, 11, 7, 5]
    assert data.vocabulary.decode(data.x_train[0]) + data.vocabulary.decode(data.t_train[0]) == "71+118 _189 "
    assert (len(data.x_train), len(data.x_test), len(data.vocabulary)) == (45_000, 5_000, 13)
    assert len(load_book_file(book_files / "date.txt").vocabulary) == 59


@pytest.mark.parametrize(("name", "task"), [("addition", Addition()), ("date", Dates())])
def test_our_tasks_are_the_books(book_files, name, task):
    """Fails if our alphabet or widths are not those of the book's file, or one of its lines is not of our formats."""
    content = read_book_pairs(book_files / f"{name}.txt")
    assert set(content.vocabulary.characters) == set(task.alphabet)
    assert (content.question_width, content.answer_width) == (task.question_width, task.answer_width)
    assert {task.format(question) for question, _ in content.pairs} == {
        task.format(question) for question, _ in task.sample(np.random.default_rng(0), 2000)
    }


def test_training_sees_what_the_book_loads(book_files):
    """Fails if `load` and `encode` in the book's layout, on which parity runs train, differ from the book's arrays."""
    path = book_files / "addition.txt"
    dataset, book = load(Data(Addition(), file=str(path), layout="book", split="book")), load_book_file(path)
    train, test = (encode(split, dataset.vocabulary, dataset.layout) for split in (dataset.splits.train, dataset.splits.test))
    np.testing.assert_array_equal(train.source, book.x_train)
    np.testing.assert_array_equal(train.inputs, book.t_train[:, :-1])
    np.testing.assert_array_equal(train.targets, book.t_train[:, 1:])
    np.testing.assert_array_equal(test.source, book.x_test)


@pytest.mark.parametrize("name", ["addition", "date"])
def test_the_books_files_are_written_back_to_the_byte(book_files, tmp_path, name):
    """Fails if padding, line ends or order change on the way through our pairs."""
    original = book_files / f"{name}.txt"
    pairs, question_width, answer_width, _ = read_book_pairs(original)
    write_book_file(tmp_path / "copy.txt", pairs, question_width, answer_width)
    assert (tmp_path / "copy.txt").read_bytes() == original.read_bytes()


@pytest.mark.parametrize("content", [b"1+2 _3 \n44+5_49\n", b"1+2 _3 \r\n44+5_49\r\n", b"\xef\xbb\xbf1+2 _3 \n44+5_49"])
def test_line_ends_are_not_data(tmp_path, content):
    """Fails if CRLF, a byte order mark or a missing last line end becomes a character or eats one."""
    path = tmp_path / "sums.txt"
    path.write_bytes(content)
    pairs, question_width, answer_width, vocabulary = read_book_pairs(path)
    assert (pairs, question_width, answer_width) == ([("1+2", "3"), ("44+5", "49")], 4, 2)
    assert vocabulary.characters == "1+2 _3459"


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
    with pytest.raises(SeqgenError, match="none.txt: No such file"):
        read_book_pairs(tmp_path / "none.txt")


def test_a_failed_write_leaves_all_as_it_was(tmp_path):
    """Fails if a half-written file takes the old one's place, or its leavings stay behind."""
    path = tmp_path / "sums.txt"
    write_book_file(path, [("1+2", "3")], 3, 1)
    with pytest.raises(SeqgenError, match=r"line 2 not written: the answer is 2 characters wide instead of 1"):
        write_book_file(path, [("1+3", "4"), ("8+2", "10")], 3, 1)
    with pytest.raises(SeqgenError, match="cannot write"):
        write_book_file(path, [("1+3", "\udcff")], 3, 1)
    with pytest.raises(SeqgenError, match="cannot write"):
        write_book_file(path / "below-a-file.txt", [("1+3", "4")], 3, 1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SeqgenError, match="cannot write"):
        write_book_file(tmp_path / "folder", [("1+3", "4")], 3, 1)
    assert path.read_text() == "1+2_3\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "sums.txt"]
