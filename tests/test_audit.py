"""The audit: what of a test set stands in training."""

import pytest

from seqgen.cli.audit import main
from seqgen.errors import SeqgenError, UsageError
from seqgen.tasks import TASKS, Addition, Dates
from seqgen.tasks.audit import Row, audit
from seqgen.tasks.book import write_book_file
from seqgen.tasks.dataset import Data, load


def test_counts_by_hand():
    """Fails if the three counts are mixed up, a repeated test row counts once, or a format gets
    another's rows.
    """
    train = [("May 1, 1984", "1984-05-01"), ("june 2, 1985", "1985-06-02")]
    test = [
        ("May 1, 1984", "1984-05-01"),
        ("May 1, 1984", "1984-05-01"),
        ("JUNE 2, 1985", "1985-06-02"),
        ("6/2/85", "1985-06-02"),
        ("6/3/85", "1985-06-03"),
    ]
    assert audit(Dates(), train, test) == [
        Row("all", 5, 2, 3, 4),
        Row("long", 1, 0, 1, 1),
        Row("medium", 2, 2, 2, 2),
        Row("short", 2, 0, 0, 1),
    ]


def test_swapped_operands_count_by_key():
    """Fails if addition's key is the question."""
    assert audit(Addition(), [("3+14", "17")], [("14+3", "17")]) == [
        Row("all", 1, 0, 0, 1),
        Row("1+2", 1, 0, 0, 1),
    ]


@pytest.mark.parametrize("name", TASKS)
def test_our_splits_do_not_leak(name):
    """Fails if a test or validation question, or its key, stands in training (or in the other of
    the two).
    """
    task = TASKS[name]()
    train, validation, test = load(Data(task, draws=15_000)).splits
    for seen, unseen in ((train, test + validation), (validation, test)):
        rows = audit(task, seen, unseen)
        assert all(row[2:] == (0, 0, 0) for row in rows)
        assert rows[0].rows == sum(row.rows for row in rows[1:]) == len(unseen)


def test_the_books_dates_leak(book_files, capsys):
    """Fails if the counts of the published file change: 28.1, 48.8 and 92.8 % of its test set."""
    main(["--file", str(book_files / "date.txt")])
    head, titles, total, *formats = capsys.readouterr().out.splitlines()
    assert head == "dates, book split: 45,000 train, 0 validation, 5,000 test"
    assert " ".join(titles.split()) == "format test rows word for word ignoring case by key"
    assert " ".join(total.split()) == "all 5,000 1,405 (28.1 %) 2,438 (48.8 %) 4,641 (92.8 %)"
    assert [line.split()[0] for line in formats] == ["full", "long", "medium", "short"]
    assert len({len(line) for line in (titles, total, *formats)}) == 1


def test_a_file_of_additions_is_known_by_its_content(tmp_path, capsys):
    """Fails if the task of a file is guessed from its name, or the first task is taken for all."""
    write_book_file(
        tmp_path / "dates.txt", [(f"{n}+{10 - n}", "10") for n in range(1, 10)] * 3, 3, 2
    )
    main(["--file", str(tmp_path / "dates.txt")])
    head, _, total, _ = capsys.readouterr().out.splitlines()
    assert head == "addition, book split: 25 train, 0 validation, 2 test"
    assert " ".join(total.split()) == "all 2 2 (100.0 %) 2 (100.0 %) 2 (100.0 %)"


def test_the_command_makes_its_own_data(capsys):
    """Fails if an option is not passed on: the sizes must be those of the data that it names."""
    main(["dates", "--draws", "3000", "--data-seed", "4"])
    splits = load(Data(Dates(), draws=3000, seed=4)).splits
    head, _, total, *_ = capsys.readouterr().out.splitlines()
    sizes = f"{len(splits.train):,} train, {len(splits.validation)} validation"
    assert head == f"dates, leak-free split: {sizes}, {len(splits.test)} test"
    assert " ".join(total.split()) == f"all {len(splits.test)} 0 (0.0 %) 0 (0.0 %) 0 (0.0 %)"


def test_bad_usage_is_said(tmp_path):
    """Fails if neither or both of TASK and --file pass, or a file of no task is audited as one."""
    write_book_file(tmp_path / "french.txt", [("oui", "yes")], 4, 3)
    with pytest.raises(
        SeqgenError, match=r"french.txt, line 1: 'oui' -> 'yes' is of none of the tasks"
    ):
        main(["--file", str(tmp_path / "french.txt")])
    for arguments in ([], ["dates", "--file", str(tmp_path / "french.txt")]):
        with pytest.raises(UsageError, match="one of the two"):
            main(arguments)
    with pytest.raises(UsageError, match="no task 'date'; did you mean 'dates'"):
        main(["date"])
