"""Rows of pairs in files: two columns of a table, or two parallel files.

A table is tab-separated, or CSV or JSON lines by its name (.csv, .jsonl); .gz and .xz are unpacked,
and `archive.zip/name` is a member of a zip.
"""

import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from seqgen.data.archive import File, files_in, reading
from seqgen.data.pair_tokenizer import FEATURES
from seqgen.data.plain_text import NotUTF8, each_line
from seqgen.errors import SeqgenError, UsageError

Columns = tuple[str, ...]
"""Source and target, and where there is a third one features: numbers from 1, or names."""

PACKED: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".xz": lzma.LZMAFile,
}
"""How a packed file is read, by its suffix."""


class Row(NamedTuple):
    """A pair, and the line that it stands in."""

    line: int
    source: str
    target: str


def rows_of(files: Sequence[str], columns: Columns) -> Iterator[Row]:
    """The pairs of one file with columns, or of a source's and a target's file; empty lines are
    left out.

    Args:
        files: one, or two.
        columns: of one.

    Raises:
        SeqgenError: that names file and line, for what is no pair.
        UsageError: for a column that is not there.

    """
    if len(files) == 2:
        yield from _parallel(*files)
        return
    (file,) = files
    number = 0
    for number, cells in _cells(file, columns):
        source, target, *features = cells
        for side, text in (("source", source), ("target", target)):
            if not text.strip():
                raise SeqgenError(
                    f"{file}, line {number}: the {side} is empty; leave out such lines"
                )
        yield Row(number, FEATURES.join([source, *features]), target)
    if not number:
        raise SeqgenError(f"{file}: there is no pair in it")


def remarks(files: Sequence[str], columns: Columns) -> Iterator[str]:
    """What of a table may be read otherwise than its owner thinks, by its first line."""
    kind = kind_of(files[0])
    if len(files) == 2 or kind in JSON_LINES:
        return
    path, numbers = files[0], all(column.isdecimal() for column in columns)
    _, head = next(_csv(path) if kind == ".csv" else _tabs(path))
    if len(head) > len(columns):
        yield f"{path} has {len(head)} columns; read: {', '.join(columns)}"
    if kind == ".csv" and numbers:
        shown = ", ".join(head[int(column) - 1] for column in columns)
        yield f"{path}, line 1 is read as a pair, {shown}; if it is a header, name its columns"


def lines_of(path: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, without their ends.

    Raises:
        SeqgenError: where it cannot be read, is not UTF-8, or has a NUL.

    """
    file = member(path)
    try:
        with reading(path, file) as packed, ExitStack() as stack:
            suffix = Path(path).suffix.lower()
            stream = stack.enter_context(PACKED[suffix](packed)) if suffix in PACKED else packed
            for number, line in enumerate(each_line(stream, path, "character"), start=1):
                if "\0" in line:
                    raise SeqgenError(
                        f"{path}, line {number}: a NUL, which no text has; is it UTF-16? "
                        "Write it as UTF-8"
                    )
                yield number, line.removesuffix("\n")
    except NotUTF8 as error:
        raise SeqgenError(
            f"{error}; it looks like {looks_like(path)}: write it as UTF-8"
        ) from error


def member(path: str) -> File:
    """A file, or a member of a zip: archive.zip/name. Raises `SeqgenError`."""
    for parent in Path(path).parents:
        if parent.suffix.lower() == ".zip" and parent.is_file():
            name = Path(path).relative_to(parent).as_posix()
            found = {file.name: file for file in files_in(parent)}
            if name not in found:
                raise SeqgenError(f"{parent} has no {name}; it has {', '.join(found)}")
            return found[name]
    files = files_in(path)
    if Path(path).is_dir() or len(files) > 1:
        names = ", ".join(file.name for file in files[:4])
        raise SeqgenError(f"{path} holds several files: name one of them, like {path}/{names}")
    return files[0]


def looks_like(path: str) -> str:
    """Which encoding a file that is not UTF-8 seems to have."""
    with reading(path, member(path)) as stream:
        head = stream.read(1 << 16)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head.count(0) > len(head) // 4:
        return "UTF-16"
    for name, letters in {"CP949 (Korean)": "가힣", "Shift-JIS": "ぁヿ", "GB18030": "一龥"}.items():
        try:
            text = head.decode(name.split()[0].replace("-", "_"), "ignore")
        except LookupError:
            continue
        other = [c for c in text if ord(c) > 127]
        if other and sum(letters[0] <= c <= letters[1] for c in other) > 0.8 * len(other):
            return name
    return "Latin-1 or Windows-1252"


JSON_LINES = ".jsonl", ".ndjson"


def kind_of(path: str) -> str:
    """The suffix that says how a file is read, whether packed or not."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    return ([""] + [suffix for suffix in suffixes if suffix not in PACKED])[-1]


def _parallel(source: str, target: str) -> Iterator[Row]:
    number = 0
    for one, other in zip_longest(lines_of(source), lines_of(target)):
        if one is None or other is None:
            short, number = (source, other[0]) if one is None else (target, one[0])
            raise SeqgenError(
                f"{short} ends before line {number}, which its parallel file has: line n of one is "
                "the translation of line n of the other"
            )
        (number, text), (_, answer) = one, other
        if not text.strip() and not answer.strip():
            continue
        for path, each in ((source, text), (target, answer)):
            if not each.strip():
                raise SeqgenError(f"{path}, line {number}: it is empty, its parallel line is not")
        yield Row(number, text, answer)
    if not number:
        raise SeqgenError(f"{source}: there is no pair in it")


def _cells(path: str, columns: Columns) -> Iterator[tuple[int, list[str]]]:
    """The chosen cells of each line."""
    if kind_of(path) in JSON_LINES:
        yield from _json(path, columns)
        return
    table = _csv(path) if kind_of(path) == ".csv" else _tabs(path)
    first = next(table, None)
    if first is None:
        return
    number, head = first
    named = not all(column.isdecimal() for column in columns)
    places = [_place(path, column, head, named) for column in columns]
    for number, cells in table if named else chain([first], table):
        if len(cells) != len(head):
            raise SeqgenError(
                f"{path}, line {number}: {len(cells)} columns, and line {first[0]} has {len(head)}"
            )
        yield number, [cells[place] for place in places]


def _place(path: str, column: str, head: list[str], named: bool) -> int:
    """Where a column stands."""
    if named and column in head:
        return head.index(column)
    if column.isdecimal() and 1 <= int(column) <= len(head):
        return int(column) - 1
    if len(head) == 1:
        raise SeqgenError(
            f"{path}, line 1: one column, and a pair has two, with a tab between them; "
            "of two parallel files name both, as source and target"
        )
    known = f"{len(head)} columns" + (f", {', '.join(head)}" if named else "")
    raise UsageError(f"{path} has no column {column}; it has {known}", fields=("data.columns",))


def _tabs(path: str) -> Iterator[tuple[int, list[str]]]:
    return ((number, line.split("\t")) for number, line in lines_of(path) if line.strip())


def _csv(path: str) -> Iterator[tuple[int, list[str]]]:
    """Quoted as Python's `csv` has it: a cell may hold commas, quotes and line ends."""
    reader = csv.reader((line + "\n" for _, line in lines_of(path)), strict=True)
    read = partial(next, reader, None)
    while True:
        line = reader.line_num + 1
        try:
            cells = read()
        except csv.Error as error:
            raise SeqgenError(f"{path}, line {reader.line_num}: {error}") from error
        if cells is None:
            return
        if any(map(str.strip, cells)):
            yield line, [" ".join(cell.splitlines()) for cell in cells]


def _json(path: str, columns: Columns) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines_of(path):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SeqgenError(f"{path}, line {number}: no JSON: {error}") from error
        if not isinstance(content, dict):
            raise SeqgenError(f"{path}, line {number}: {line[:40]!r} is no JSON object")
        for column in columns:
            if not isinstance(content.get(column), str):
                raise UsageError(
                    f"{path}, line {number}: no text under {column!r}; it has {', '.join(content)}",
                    fields=("data.columns",),
                )
            try:
                content[column].encode()
            except UnicodeEncodeError as error:
                raise SeqgenError(
                    f"{path}, line {number}: half a surrogate pair under {column!r}, which is no "
                    "character"
                ) from error
        yield number, [" ".join(content[column].splitlines()) for column in columns]
