"""Tasks: what they draw, how it is split and encoded, where an answer's characters come from."""

import calendar
import runpy
from collections import Counter
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from seqgen.data.padding import (
    Padding,
    encode,
    encode_questions,
    gold_targets,
    pair_vocabulary,
    reading_order,
    render,
)
from seqgen.data.pairs import Splits, drop_duplicates, split_by_key
from seqgen.data.tokenizer import UnknownSymbol, Vocabulary
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import sha256
from seqgen.tasks import TASKS, Addition, Dates
from seqgen.tasks.book import read_book_pairs, write_book_file
from seqgen.tasks.dataset import Data, load, prepare
from seqgen.tasks.dates import FORMATS
from seqgen.types import Special

EMPTY = frozenset()
STRPTIME = {
    "short": "%m/%d/%y",
    "medium": "%b %d, %Y",
    "long": "%B %d, %Y",
    "full": "%A, %B %d, %Y",
}
PAIRS = [("1+23", "24"), ("907+9", "916"), ("4+5", "9")]
VOCABULARY = pair_vocabulary(Addition().alphabet, "book")


@pytest.fixture(scope="module", params=TASKS)
def task_and_pairs(request):
    task = TASKS[request.param]()
    return task, task.sample(np.random.default_rng(3), 4000)


def rows(ids, vocabulary=VOCABULARY):
    return [vocabulary.decode(row) for row in ids]


def at(*positions):
    return frozenset(positions)


# What is drawn


def test_draws_are_the_generators(task_and_pairs):
    """Fails if anything but the generator (a global, a set's order) decides the draws, or `n` is
    not kept.
    """
    task, pairs = task_and_pairs
    assert pairs == task.sample(np.random.default_rng(3), 4000)
    assert pairs != task.sample(np.random.default_rng(4), 4000)
    assert len(pairs) == 4000


def test_alphabet_and_widths_hold_every_draw(task_and_pairs):
    """Fails if a character (an upper-case letter, the `-`) is missing or superfluous, or a width is
    off by one.
    """
    task, pairs = task_and_pairs
    assert set("".join(question + answer for question, answer in pairs) + "_ ") == set(
        task.alphabet
    )
    assert list(task.alphabet) == sorted(set(task.alphabet))
    assert max(len(question) for question, _ in pairs) == task.question_width
    assert max(len(answer) for _, answer in pairs) == task.answer_width


def test_addition_draws_distinct_sums_with_the_books_statistics():
    """Fails if swapped pairs come twice, a sum is wrong, or operands are uniform numbers instead of
    digit strings.
    """
    pairs = Addition().sample(np.random.default_rng(0), 50_000)
    operands = [tuple(map(int, question.split("+"))) for question, _ in pairs]
    assert len({frozenset(pair) for pair in operands}) == 50_000
    assert all(str(a + b) == answer for (a, b), (_, answer) in zip(operands, pairs, strict=True))
    assert all(
        f"{a}+{b}" == question for (a, b), (question, _) in zip(operands, pairs, strict=True)
    )
    assert sum(min(pair) >= 100 for pair in operands) == pytest.approx(12_577, abs=400)


def test_addition_gives_all_there_are_and_not_one_more():
    """Fails if drawing never ends on the last rare pair, or forever where there is none."""
    assert (
        len({Addition(1).key(*pair) for pair in Addition(1).sample(np.random.default_rng(0), 55)})
        == 55
    )
    with pytest.raises(ValueError, match="55 distinct additions"):
        Addition(1).sample(np.random.default_rng(0), 56)


@pytest.mark.parametrize("form", FORMATS)
def test_dates_are_what_strptime_reads(form):
    """Fails if a month, weekday or year is written wrongly, a zero is put before a day, or a format
    is misnamed.
    """
    task = Dates(1985, 2014, formats=(form,))
    for question, answer in task.sample(np.random.default_rng(1), 500):
        day = datetime.strptime(question, STRPTIME[form]).date()
        assert day.isoformat() == answer
        assert 1985 <= day.year <= 2014
        assert form != "full" or question.lower().startswith(
            calendar.day_name[day.weekday()].lower()
        )
        assert f"0{day.day}," not in question
        assert form != "short" or question == f"{day.month}/{day.day}/{answer[2:4]}"
        assert task.format(question) == form


def test_dates_are_spread_as_in_the_book():
    """Fails if formats are not a quarter each, half of the words not as written, or an end of the
    range never drawn.
    """
    task = Dates()
    pairs = task.sample(np.random.default_rng(2), 20_000)
    words = [question for question, _ in pairs if "/" not in question]
    assert sum(q.istitle() for q in words) == pytest.approx(len(words) / 2, rel=0.05)
    assert sum(q.islower() for q in words) == pytest.approx(len(words) / 4, rel=0.05)
    assert sum(q.isupper() for q in words) == pytest.approx(len(words) / 4, rel=0.05)
    assert sum("/" in question for question, _ in pairs) == pytest.approx(5000, rel=0.05)
    assert sum("day," in question.lower() for question, _ in pairs) == pytest.approx(5000, rel=0.05)
    assert {int(answer[:4]) for _, answer in pairs} == set(range(1970, 2018))
    assert {a for _, a in Dates(2000, 2000).sample(np.random.default_rng(0), 5000)} == {
        date.fromordinal(date(2000, 1, 1).toordinal() + day).isoformat() for day in range(366)
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Addition(0), "digits must be 1 to 9, not 0"),
        (lambda: Addition(10), "digits"),
        (lambda: Dates(2000, 1999), "not from 2000 to 1999"),
        (lambda: Dates(999, 1999), "1000 to 9999"),
        (lambda: Dates(formats=("short", "iso")), "each at most once, not .'short', 'iso'"),
        (lambda: Dates(formats=()), "formats"),
        (lambda: Dates(formats=("long", "long")), "at most once"),
        (lambda: Dates(1970, 2070), "ambiguous"),
    ],
)
def test_parameters_are_checked(make, message):
    """Fails if a senseless parameter is taken in silence, and shows only as an endless loop or an
    ambiguous answer.
    """
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("task", "pair"),
    [
        (Addition(), ("12-5", "7")),
        (Addition(), ("12+5", "17a")),
        (Addition(), ("٣+5", "8")),
        (Dates(), ("May 5, 1984", "1984-5-5")),
        (Dates(), ("May 5, 1984", "1984-05-32")),
        (Dates(), ("5 May 1984", "1984-05-05")),
    ],
)
def test_a_foreign_pair_has_no_key(task, pair):
    """Fails if a foreign file's rows pass for the task's, and the split by key means nothing."""
    with pytest.raises(ValueError, match=r"' (is not a|is in none|is no day)"):
        task.key(*pair)


# Splitting


def test_duplicates_drop_by_question():
    """Fails if a question stays twice, the later one stays, or the order changes."""
    assert drop_duplicates([("b", "1"), ("a", "2"), ("b", "3"), ("A", "4")]) == [
        ("b", "1"),
        ("a", "2"),
        ("A", "4"),
    ]


def test_split_keeps_keys_apart_and_rows_in_order(task_and_pairs):
    """Fails if rows are cut instead of keys, a row is lost, the shares are wrong, or keys are not
    shuffled.
    """
    task, pairs = task_and_pairs
    splits = split_by_key(task, pairs, np.random.default_rng(0))
    keys = [{task.key(*pair) for pair in split} for split in splits]
    assert sum(map(len, keys)) == len(set.union(*keys)) == len({task.key(*pair) for pair in pairs})
    assert [len(k) / sum(map(len, keys)) for k in keys] == pytest.approx([0.8, 0.1, 0.1], abs=1e-3)
    assert Counter(pair for split in splits for pair in split) == Counter(pairs)
    first = {}
    for index, pair in enumerate(pairs):
        first.setdefault(pair, index)
    for split in splits:
        assert all(first[a] <= first[b] for a, b in pairwise(dict.fromkeys(split)))
    assert max(first[pair] for pair in splits.train) > 0.9 * len(pairs)


def test_addition_keys_ignore_the_order_of_operands():
    """Fails if 3+14 in training and 14+3 in test count as two."""
    assert (
        Addition().key("3+14", "17") == Addition().key("14+3", "17") != Addition().key("4+13", "17")
    )


# Encoding


@pytest.mark.parametrize("reverse", [False, True])
def test_book_padding(reverse):
    """Fails if only the real tokens are flipped, blanks are masked, or the targets are not the
    inputs one step later.
    """
    padding = Padding("book", reverse, 6, 4)
    batch = encode(PAIRS, VOCABULARY, padding)
    fields = ["1+23  ", "907+9 ", "4+5   "]
    assert rows(batch.source) == ([field[::-1] for field in fields] if reverse else fields)
    assert batch.length is None
    assert rows(batch.inputs) == ["_24 ", "_916", "_9  "]
    assert rows(batch.targets) == ["24  ", "916 ", "9   "]
    assert batch.mask.all()


@pytest.mark.parametrize("reverse", [False, True])
def test_masked_padding(reverse):
    """Fails if padding is flipped to the front, the end symbol is missing or masked, or padding
    counts as a target.
    """
    padding = Padding("masked", reverse, 6, 4)
    batch = encode(PAIRS, VOCABULARY, padding)
    questions = [question[::-1] if reverse else question for question, _ in PAIRS]
    assert batch.length.tolist() == [4, 5, 3]
    assert [row[:n] for row, n in zip(rows(batch.source), batch.length, strict=True)] == questions
    assert all((row[n:] == 0).all() for row, n in zip(batch.source, batch.length, strict=True))
    assert batch.mask.sum(1).tolist() == [3, 4, 2]
    for ids, expected in (
        (batch.targets, ["24_", "916_", "9_"]),
        (batch.inputs, ["_24", "_916", "_9"]),
    ):
        valid = [row[m] for row, m in zip(ids, batch.mask, strict=True)]
        assert [VOCABULARY.decode(row) for row in valid] == expected
    assert batch.source.shape == (3, 6)
    assert batch.targets.shape == batch.inputs.shape == batch.mask.shape == (3, 5)


@pytest.mark.parametrize("kind", ["book", "masked"])
def test_no_rows_are_a_batch_too(kind):
    """Fails if the book split's empty validation set cannot be encoded."""
    batch = encode([], VOCABULARY, Padding(kind, True, 6, 4))
    assert batch.source.shape == (0, 6)
    assert batch.targets.shape == (0, 4 + (kind == "masked"))


@pytest.mark.parametrize("kind", ["book", "masked"])
def test_encoding_agrees_with_the_vocabulary(kind, task_and_pairs):
    """Fails if rows are mixed up or are not what `Vocabulary.encode` gives, or a dtype is not
    int32.
    """
    task, pairs = task_and_pairs
    vocabulary = pair_vocabulary(task.alphabet[::-1], kind)
    padding = Padding(kind, True, task.question_width, task.answer_width)
    batch = encode(pairs, vocabulary, padding)
    assert {array.dtype for array in batch if array is not None} == {
        np.dtype("int32"),
        np.dtype("bool"),
    }
    for row in range(0, len(pairs), 97):
        question, answer = pairs[row]
        expected = vocabulary.encode(
            question.ljust(task.question_width) if kind == "book" else question
        )[::-1]
        np.testing.assert_array_equal(batch.source[row, : len(expected)], expected)
        assert render(batch.targets[row], vocabulary, padding) == answer


def test_what_cannot_be_encoded_is_said():
    """Fails if a long question is cut, an empty one passes, or an unknown character is a KeyError
    or misplaced by reverse.
    """
    book, masked = Padding("book", True, 5, 4), Padding("masked", True, 5, 4)
    with pytest.raises(UsageError, match=r"'123\+45' has 6 characters, and there is room for 5"):
        encode_questions(["1+2", "123+45"], VOCABULARY, book)
    source, length = encode_questions(["1+2", "123+45"], VOCABULARY, masked)
    assert source.shape == (2, 6)
    assert length.tolist() == [3, 6]
    for padding in (book, masked):
        with pytest.raises(UsageError, match=r"unknown character 'x' at position 2 of '1x3\+';"):
            encode_questions(["1+2", "1x3+"], VOCABULARY, padding)
        with pytest.raises(UsageError, match="unknown character"):
            encode_questions(["1+\udcff"], VOCABULARY, padding)
        with pytest.raises(UsageError, match="question 2 is empty"):
            encode_questions(["1+2", " "], VOCABULARY, padding)
        with pytest.raises(UsageError, match="room for"):
            encode([("1+2", "12345")], VOCABULARY, padding)
    with pytest.raises(UsageError, match=r"unknown character ' ' at position 4 of '1\+2  '"):
        encode_questions(["1+2"], pair_vocabulary("0123+", "book"), book)
    assert encode_questions(["1+2+3"], pair_vocabulary("0123+", "book"), book)[0].shape == (1, 5)


def test_vocabulary_comes_back_and_names_what_it_lacks():
    """Fails if decoding is not the inverse of encoding, positions count from 0, or a character may
    have two ids.
    """
    backwards = Addition().alphabet[::-1]
    assert VOCABULARY.decode(VOCABULARY.encode(backwards)) == backwards
    assert all(type(i) is int for i in VOCABULARY.encode("+_"))
    with pytest.raises(UsageError, match=r"'é' at position 3 of '1\+é'"):
        encode_questions(["1+é"], VOCABULARY, Padding("masked", False, 5, 4))
    with pytest.raises(UnknownSymbol) as raised:
        VOCABULARY.encode("1+é")
    assert (raised.value.piece, raised.value.position) == ("é", 3)
    with pytest.raises(ValueError, match="'a' more than once"):
        pair_vocabulary("aba", "book")


@pytest.mark.parametrize(
    ("kind", "characters", "special"),
    [
        ("book", "1+ _", (2, 3, 3, None)),
        ("masked", "1+ _", (0, 3, 3, None)),
        ("book", "_1+", (None, 0, 0, None)),
        ("masked", "_1+", (0, 0, 0, None)),
        ("book", " 1", (0, None, None, None)),
    ],
)
def test_what_fills_opens_and_ends(kind, characters, special):
    """Fails when rows are filled with another id than a run was trained with, `_` does not open an
    answer, an answer in a field is cut, or one that has an end is not.
    """
    vocabulary = pair_vocabulary(characters, kind)
    assert vocabulary.special == special
    assert Padding(kind, False, 5, 4).end(vocabulary.special) == (
        special[2] if kind == "masked" else None
    )


def test_a_text_may_have_fewer_tokens_than_characters():
    """Fails when anything but the tokenizer says how long a row is, or what fills, opens and ends
    it: widths, lengths, masks and the reversal count tokens.
    """
    words = Vocabulary("word", ("<pad>", "<s>", "</s>", "jump", "twice", "JUMP"), Special(0, 1, 2))
    pairs = [("jump twice", "JUMP JUMP"), ("jump", "JUMP")]
    batch = encode(pairs, words, Padding("masked", True, 3, 2))
    np.testing.assert_array_equal(batch.source, [[4, 3, 0], [3, 0, 0]])
    np.testing.assert_array_equal(batch.length, [2, 1])
    np.testing.assert_array_equal(batch.inputs, [[1, 5, 5], [1, 5, 0]])
    np.testing.assert_array_equal(batch.targets, [[5, 5, 2], [5, 2, 0]])
    np.testing.assert_array_equal(batch.mask, [[1, 1, 1], [1, 1, 0]])
    assert render(batch.targets[1], words, Padding("masked", True, 3, 2)) == "JUMP"
    with pytest.raises(UsageError, match="'JUMP JUMP JUMP' has 3 words, and there is room for 2"):
        encode([("jump", "JUMP JUMP JUMP")], words, Padding("masked", True, 3, 2))
    with pytest.raises(UsageError, match="need a token as bos, and there is none"):
        encode(pairs, Vocabulary("word", words.table, Special(0)), Padding("masked", True, 3, 2))


def test_render_ends_where_the_answer_does():
    """Fails if blanks or what is generated after the end symbol show, or a book answer is cut at
    its first blank.
    """
    book, masked = Padding("book", False, 7, 4), Padding("masked", False, 7, 4)
    assert render(VOCABULARY.encode("1 2 "), VOCABULARY, book) == "1 2"
    assert render(VOCABULARY.encode("12_3_"), VOCABULARY, masked) == "12"
    assert render(VOCABULARY.encode("12345"), VOCABULARY, masked) == "12345"


@pytest.mark.parametrize("kind", ["book", "masked"])
@pytest.mark.parametrize("reverse", [False, True])
def test_weights_come_back_into_reading_order(kind, reverse):
    """Fails if attention maps of reversed sources stay reversed, or padding is moved among the real
    positions.
    """
    padding = Padding(kind, reverse, 6, 4)
    source, length = encode_questions([question for question, _ in PAIRS], VOCABULARY, padding)
    weights = np.stack([source, source + 100], axis=1)  # [B, T, S]
    straight, _ = encode_questions(
        [question for question, _ in PAIRS], VOCABULARY, Padding(kind, False, 6, 4)
    )
    expected = np.stack([straight, straight + 100], axis=1)
    np.testing.assert_array_equal(reading_order(weights, length, padding), expected)
    for row in range(len(PAIRS)):
        one = None if length is None else length[row]
        np.testing.assert_array_equal(reading_order(weights[row], one, padding), expected[row])


# Gold alignments


def test_gold_of_dates_by_hand():
    """Fails if a class or position is off: implied zeros, the century of m/d/yy, the word of a
    month.
    """
    lone = {"separator": EMPTY}
    year = [{"year": at(i)} for i in (20, 21, 22, 23)]
    month = {"month": at(*range(9, 16))}
    assert Dates().gold("tuesday, October 5, 1984", "1984-10-05") == [
        *year, lone, month, month, lone, {"implied-zero": at(16, 17)}, {"day": at(17)},
    ]  # fmt: skip
    century = {"century": at(5, 6)}
    assert Dates().gold("7/25/84", "1984-07-25") == [
        century, century, {"year": at(5)}, {"year": at(6)}, lone,
        {"implied-zero": at(0)}, {"month": at(0)}, lone, {"day": at(2)}, {"day": at(3)},
    ]  # fmt: skip
    assert Dates().gold("12/5/07", "2007-12-05")[5:] == [
        {"month": at(0)}, {"month": at(1)}, lone, {"implied-zero": at(2, 3)}, {"day": at(3)},
    ]  # fmt: skip


def test_gold_of_addition_by_hand():
    """Fails if places are counted from the left, or a carry reaches past the place that made it (or
    none is carried on).
    """
    assert Addition().gold("57+368", "425") == [
        {"column": at(3), "carry": at(0, 4)},
        {"column": at(0, 4), "carry": at(1, 5)},
        {"column": at(1, 5), "carry": EMPTY},
    ]
    assert Addition().gold("995+9", "1004") == [
        {"column": EMPTY, "carry": at(0, 1, 2, 4)},
        {"column": at(0), "carry": at(1, 2, 4)},
        {"column": at(1), "carry": at(2, 4)},
        {"column": at(2, 4), "carry": EMPTY},
    ]
    assert Addition().gold("90+9", "99") == [
        {"column": at(0), "carry": EMPTY},
        {"column": at(1, 3), "carry": EMPTY},
    ]


def test_gold_is_enough_to_answer(task_and_pairs):
    """Fails if following the gold does not give the answer: digits by copying, sums by column and
    carry alone.
    """
    task, pairs = task_and_pairs
    for question, answer in pairs[:1500]:
        gold = task.gold(question, answer)
        assert len(gold) == len(answer)
        read = [
            {name: [question[i] for i in sorted(found)] for name, found in classes.items()}
            for classes in gold
        ]
        for character, classes in zip(answer, read, strict=True):
            if task.name == "dates":
                check_date_character(question, character, answer, classes)
            else:
                assert (sum(map(int, classes["column"])) + bool(classes["carry"])) % 10 == int(
                    character
                )


def check_date_character(question, character, answer, classes):
    ((name, characters),) = classes.items()
    text = "".join(characters)
    if name == "separator":
        assert (character, text) == ("-", "")
    elif name == "implied-zero":
        assert character == "0"
        assert text[-1].isdigit()
        assert not text[:-1].isdigit()
    elif name == "century":
        assert answer[2:4] == text
    elif len(text) > 1:
        assert (name, calendar.month_name[int(answer[5:7])].startswith(text.title())) == (
            "month",
            True,
        )
    else:
        assert (name in ("year", "month", "day"), text) == (True, character)


def test_gold_carries_are_those_of_schoolbook_addition():
    """Fails if a carry's digits are not those from the nearest sum of ten or more up to the column
    that it enters.
    """
    for question, answer in Addition(6).sample(np.random.default_rng(5), 1500):
        plus = question.index("+")
        places = {
            i: (plus if i < plus else len(question)) - 1 - i
            for i in range(len(question))
            if i != plus
        }
        a, b = map(int, question.split("+"))
        for place, classes in enumerate(reversed(Addition(6).gold(question, answer))):
            comes = a % 10**place + b % 10**place >= 10**place
            made = max(
                (p for p in range(place) if a // 10**p % 10 + b // 10**p % 10 >= 10), default=place
            )
            assert classes["carry"] == {i for i, p in places.items() if comes and made <= p < place}
            assert classes["column"] == {i for i, p in places.items() if p == place}


def test_gold_covers_every_valid_target():
    """Fails if gold and targets are of different length in a padding, or the end has the wrong
    class.
    """
    gold = Addition().gold("4+5", "9")
    assert gold_targets(gold, Padding("masked", False, 7, 4))[1:] == [{"end": EMPTY}]
    assert gold_targets(gold, Padding("book", False, 7, 4))[1:] == [{"blank": EMPTY}] * 3


# Data sets


def test_data_are_drawn_and_split_without_leaks():
    """Fails if the default split is by row, duplicates stay, or `seed` does not reach the draws."""
    for task in (Addition(), Dates()):
        dataset = load(Data(task, draws=6000, seed=7))
        pairs = [pair for split in dataset.splits for pair in split]
        assert len({question for question, _ in pairs}) == len(pairs)
        assert set(pairs) == set(task.sample(np.random.default_rng(7), 6000))
        keys = [{task.key(*pair) for pair in split} for split in dataset.splits]
        assert sum(map(len, keys)) == len(set.union(*keys))
        assert [len(k) / sum(map(len, keys)) for k in keys] == pytest.approx(
            [0.8, 0.1, 0.1], abs=1e-3
        )
        assert "".join(dataset.tokenizer.table) == task.alphabet


def test_a_prepared_file_is_the_same_data(tmp_path):
    """Fails if writing loses or pads a pair, or the splitter's stream depends on having drawn."""
    data = Data(Dates(), draws=3000, seed=5)
    prepare(data, tmp_path / "dates.txt")
    read = load(Data(Dates(), seed=5, file=str(tmp_path / "dates.txt")))
    assert read.splits == load(data).splits
    assert read.padding == Padding("masked", False, 29, 10)
    assert "".join(read.tokenizer.table) != Dates().alphabet


def test_the_books_split_keeps_duplicates_and_validates_nothing(tmp_path):
    """Fails if parity runs lose rows, or their order is not the book's permutation."""
    pairs = [(f"{i}+{i % 3}", str(i + i % 3)) for i in range(50)] * 2
    write_book_file(tmp_path / "sums.txt", pairs, 5, 3)
    splits = load(
        Data(Addition(), file=str(tmp_path / "sums.txt"), split="book", padding="book")
    ).splits
    order = np.arange(100)
    np.random.RandomState(1984).shuffle(order)
    assert splits == Splits([pairs[i] for i in order[:90]], [], [pairs[i] for i in order[90:]])


def test_foreign_changed_and_tiny_data_are_refused(tmp_path):
    """Fails if a run goes on with a file that is not its own, not its task's, or leaves a split
    empty.
    """
    path = str(tmp_path / "sums.txt")
    write_book_file(path, [("1+2", "3"), ("1-2", "3")], 3, 1)
    with pytest.raises(SeqgenError, match=r"sums.txt, line 2: '1-2' is not an addition"):
        load(Data(Addition(), file=path))
    write_book_file(path, [("1+2", "3"), ("2+2", "4")], 3, 1)
    with pytest.raises(UsageError, match=f"{path}: 2 rows are too few"):
        load(Data(Addition(), file=path, sha256=sha256(Path(path))))
    with pytest.raises(SeqgenError, match=r"sums.txt has changed"):
        load(Data(Addition(), file=path, sha256="0" * 64))
    with pytest.raises(UsageError, match="56 draws: there are 55 distinct"):
        load(Data(Addition(1), draws=56))
    with pytest.raises(UsageError, match="draws must be 1 or more, not 0"):
        Data(Addition(), draws=0)


def test_what_a_run_was_made_from_is_pinned(tmp_path, monkeypatch):
    """Fails when a run finds its file only from the folder where it was made, or takes a changed
    one for its own; or when data that need no file get one.
    """
    monkeypatch.chdir(tmp_path)
    write_book_file("sums.txt", [(f"{n}+1", str(n + 1)) for n in range(1, 9)], 3, 1)
    pinned = Data(Addition(), file="sums.txt", seed=3).pinned()
    assert pinned.file == str(tmp_path / "sums.txt")
    assert pinned.sha256 == sha256(tmp_path / "sums.txt")
    assert (pinned.seed, pinned.pinned()) == (3, pinned)
    assert Data(Dates(), draws=5).pinned() == Data(Dates(), draws=5)
    with pytest.raises(SeqgenError, match=r"cannot read .*none\.txt: No such file"):
        Data(Addition(), file="none.txt").pinned()


def test_what_a_model_is_told():
    """Fails when a model is made for another vocabulary than its data's, or other special ids."""
    dataset = load(Data(Dates(), draws=500))
    assert dataset.sizes == (59, 59, dataset.tokenizer.special, None, True)


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (("short",), None),
        (("iso",), "no question is in the format 'iso'; there are full, long,"),
        (tuple(FORMATS), "test_only_formats leaves nothing to train on: there are full, long,"),
    ],
)
def test_formats_for_the_test_alone(formats, message):
    """Fails when a format is trained on that only the test split has, the test split loses it, a
    name that is none is taken in silence, or nothing is left to train on.
    """
    data = Data(Dates(), draws=600, test_only_formats=formats)
    if message is not None:
        with pytest.raises(UsageError, match=message):
            load(data)
        return
    splits, all_splits = load(data).splits, load(Data(Dates(), draws=600)).splits
    names = [{Dates().format(question) for question, _ in split} for split in splits]
    assert names == [{"medium", "long", "full"}, {"medium", "long", "full"}, {*FORMATS}]
    assert splits.test == all_splits.test
    assert splits.train == [pair for pair in all_splits.train if "/" not in pair[0]]


@pytest.mark.parametrize("name", TASKS)
def test_prepare_scripts_write_what_they_say(name, tmp_path, monkeypatch, capsys):
    """Fails if the script in data/ lags behind the library, or writes elsewhere than beside it."""
    original = Path(__file__).parents[1] / "data" / name / "prepare.py"
    script = tmp_path / "prepare.py"
    script.write_text(original.read_text())
    monkeypatch.setattr("sys.argv", ["prepare.py", "--draws", "300", "--seed", "1"])
    runpy.run_path(str(script), run_name="__main__")
    assert sha256(tmp_path / f"{name}.txt") in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["prepare.py", f"{name}.txt"])
    expected = drop_duplicates(TASKS[name]().sample(np.random.default_rng(1), 300))
    assert read_book_pairs(tmp_path / f"{name}.txt").pairs == expected
