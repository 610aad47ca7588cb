"""seqgen audit: how much of the test set already stands in the training set."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen import presets
from seqgen.cli.flags import flag
from seqgen.cli.pair_files import names_files, read_pairs
from seqgen.cli.parse import call, showing
from seqgen.config import RunConfig
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.errors import UsageError, check_known
from seqgen.families.unused import refuse_unused
from seqgen.tasks import TASKS
from seqgen.tasks.audit import QUANTILES, Row, audit, overlaps, quantiles
from seqgen.tasks.book import recognise
from seqgen.tasks.dataset import Data, load
from seqgen.tasks.pair_file import PairFile

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


def own(arguments: list[str]) -> None:
    """`seqgen audit FILE`: what stands in two splits, how long rows are, what only tests have."""
    data, dataset = read_pairs(arguments, "seqgen audit")
    with showing(flag):
        refuse_unused(RunConfig(data, presets.model("attention", embedding=8, hidden=8)))
        for name in ("reverse", "buckets"):
            if (value := getattr(data, name)) != (usual := getattr(PairFile, name)):
                raise UsageError(
                    f"{name} {value} would change nothing: it is of training; use {usual}",
                    fields=(f"data.{name}",),
                )
    for split, rows in dataset.splits._asdict().items():
        print(f"{split + ':':<12}{len(rows):,} pairs")
    for line in dataset.notes:
        print(line)
    for what, count in overlaps(dataset.splits).items():
        print(f"{count:>8,}  {what}")
    names = ", ".join(f"{100 * q:g} %" for q in QUANTILES)
    for side, tokenizer, tokens in (
        (0, dataset.source_tokenizer or dataset.tokenizer, data.source_tokens),
        (1, dataset.tokenizer, data.target_tokens),
    ):
        name = ("source", "target")[side]
        found = quantiles(dataset.lengths["train"][side] - side)
        print(f"{name}: {len(tokenizer):,} tokens of {tokens}; lengths ({names}): {found}")
        test = [pair[side] for pair in dataset.splits.test]
        assert isinstance(tokenizer, PairTokenizer)
        unknown = sorted({unit for text in test for unit in tokenizer.unknown(text)})
        shown = " ".join(unknown[:20]) + (" ..." if len(unknown) > 20 else "")
        what = "that only the test split has"
        if data.min_count > 1:
            what = "of the test split that are read as <unk>"
        print(f"{name}: {len(unknown)} {tokens} {what}: {shown}")


def main(arguments: list[str]) -> None:
    """`seqgen audit TASK`, `seqgen audit FILE` or `seqgen audit --file PATH`."""
    if names_files(arguments):
        own(arguments)
        return
    call(command, "seqgen audit", arguments)
