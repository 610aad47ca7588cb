"""seqgen audit: how much of the test set already stands in the training set."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.errors import UsageError, check_known
from seqgen.tasks import TASKS
from seqgen.tasks.audit import Row, audit
from seqgen.tasks.book import recognise
from seqgen.tasks.dataset import Data, load

HEADER = ("test rows", "word for word", "ignoring case", "by key")


def command(
    task: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")] = None,
    /,
    draws: int = Data.draws,
    data_seed: int = Data.seed,
    file: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
) -> None:
    """Count the test rows whose question, or key, stands in the training set.

    The key is what the task splits by: the day, or the unordered pair of operands.

    Args:
        task: addition, dates or another task, as `seqgen train` makes and splits it.
        draws: how many examples to make, before duplicates are dropped.
        data_seed: what the data are made from.
        file: audit a file in the book's format instead, with the book's split.

    """
    if task and not file:
        data = Data(TASKS[check_known("task", task, TASKS)](), draws=draws, seed=data_seed)
    elif file and not task:
        if (draws, data_seed) != (Data.draws, Data.seed):
            raise UsageError(f"--draws and --data-seed would change nothing: {file} is read")
        data = Data(recognise(file), file=str(file.absolute()), split="book")
    else:
        raise UsageError(f"name a task ({' or '.join(TASKS)}) or a --file to audit: one of the two")
    splits = load(data).splits
    sizes = ", ".join(f"{len(rows):,} {split}" for split, rows in splits._asdict().items())
    print(f"{data.task.name}, {data.split} split: {sizes}")
    print(table(audit(data.task, splits.train, splits.test)))


def table(rows: list[Row]) -> str:
    """The counts in aligned columns, with their share of the test rows."""
    cells = [("format", *HEADER)]
    for name, total, *counts in rows:
        shares = (f"{count:,} ({100 * count / total:.1f} %)" for count in counts)
        cells.append((name, f"{total:,}", *shares))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
    return "\n".join("  ".join([name.strip().ljust(widths[0]), *counts]) for name, *counts in lines)


def main(arguments: list[str]) -> None:
    """`seqgen audit TASK` or `seqgen audit --file PATH`."""
    call(command, "seqgen audit", arguments)
