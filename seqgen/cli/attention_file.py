"""The attention maps of many questions, a few of them in memory at a time."""

import shutil
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from seqgen.cli.parse import answer_lines
from seqgen.data.rows import lines_of
from seqgen.errors import SeqgenError, UsageError
from seqgen.interop.attention import Attention

BLOCK = 512
"""Lines of a file that are answered together."""

A_PAGE = 12
"""Maps of a page."""


def attended(answer: Callable[[list[str]], list[Attention]], source: Path) -> Iterator[Attention]:
    """The maps of a file's questions in their order, without those of empty lines.

    Raises:
        UsageError: with its number, for a line that cannot be answered.
        SeqgenError: for a file that cannot be read.

    """
    from seqgen.cli.terminal import Bar  # rich, where there is something to show

    lines = [line for line in lines_of(str(source)) if line[1].strip()]
    if not lines:
        raise UsageError(f"{source}: there is no question in it")
    with Bar() as bar:
        bar.total(len(lines))
        for begin in range(0, len(lines), BLOCK):
            found: list[Attention] = []
            block = lines[begin : begin + BLOCK]
            answer_lines(
                block, lambda some, found=found: found.extend(answer(some)), place=str(source)
            )
            yield from found
            done = begin + len(block)
            bar.show(done, "maps", f"{done:,} of {len(lines):,} lines")


def write_pages(items: Iterator[Attention], folder: Path, kind: str) -> None:
    """A new folder of figures 0001.png, 0002.png, ..., each of `A_PAGE` maps; all or none.

    Args:
        items: the maps.
        folder: it gets its name at the end.
        kind: png or svg.

    Raises:
        UsageError: where the folder exists.
        SeqgenError: where it cannot be written, or no answer has a piece.

    """
    from seqgen import viz
    from seqgen.families.pairs import maps

    check_new(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    drawn = chain.from_iterable(maps([item]) for item in items)
    number = 0
    try:
        while page := list(islice(drawn, A_PAGE)):
            number += 1
            viz.save(viz.attention_figure(page), partial / f"{number:04}.{kind}")
        if not number:
            raise nothing_drawn()
        partial.rename(folder)
    except OSError as error:
        raise SeqgenError(f"cannot make {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new(folder: Path) -> None:
    """Raises `UsageError` for a folder that exists."""
    if folder.exists():
        raise UsageError(f"{folder} exists; use another output", fields=("output",))


def nothing_drawn() -> SeqgenError:
    """What is wrong where no answer has a piece."""
    return SeqgenError("all answers are empty, so there is nothing to draw; train it longer")
