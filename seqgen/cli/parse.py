"""tyro, with our error for what a configuration refuses; and what several commands read alike."""

import json
import math
import re
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

import tyro

from seqgen.cli.flags import Shown, flags_of, in_flags, shown_by
from seqgen.data import plain_text
from seqgen.data.tokenizer import Unit
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import reason_of


@contextmanager
def refusing() -> Generator[None]:
    """A configuration's `ValueError` is bad usage. Raises `UsageError` with its message."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


@contextmanager
def showing(shown: Shown) -> Generator[None]:
    """Errors that name fields name what the command takes instead: its flags, for example."""
    try:
        yield
    except SeqgenError as error:
        error.args = (in_flags(str(error), error.fields, shown),)
        raise


def parse(target: Any, prog: str, arguments: list[str], *, default: Any = None) -> Any:
    """Read a command's arguments.

    Args:
        target: what is asked for.
        prog: the command.
        arguments: its words.
        default: values of what is not given; None: the target's own.

    Raises:
        UsageError: with a configuration's message; tyro's own complaints exit with 2.

    """
    options = {} if default is None else {"default": default}
    with refusing():
        return tyro.cli(target, prog=prog, args=arguments, **options)


def script(main: Callable[..., None], file: str) -> None:
    """Run the `main` of a data set's prepare.py, whose errors are one line."""
    try:
        tyro.cli(main)
    except SeqgenError as error:
        sys.exit(f"{Path(file).name}: {error}")


TEXTS = ("--prompt", "--prefix", "--end", "--ban")
"""Options whose value may begin with a dash."""


def call(
    command: Callable[..., None], prog: str, arguments: list[str], *, shown: Shown | None = None
) -> None:
    """Read a command's arguments, and only then run it: a `ValueError` of its own is a bug.

    Args:
        command: the function; its parameters are the options.
        prog: the command's name.
        arguments: its words.
        shown: how errors name fields; None: by the flags of the command.

    """

    @wraps(command)
    def bind(*args: Any, **options: Any) -> Callable[[], None]:
        return partial(command, *args, **options)

    with showing(shown or shown_by(command)):
        parse(bind, prog, joined_values(arguments, flags_of(command)))()


def joined_values(words: list[str], flags: Collection[str]) -> list[str]:
    """`--prompt -x` as `--prompt=-x`: after an option that takes text, -x is a value.

    Args:
        words: of a command.
        flags: its options; what is one of them is no value.

    """
    found: list[str] = []
    for word in words:
        value = word.startswith("-") and word.partition("=")[0] not in {*flags, "-h", "--help"}
        if value and found and found[-1] in TEXTS:
            found[-1] = f"{found[-1]}={word}"
        else:
            found.append(word)
    return found


def split_for(file: Any, asked: str | None) -> str | None:
    """The split that was asked for, or the book's for a `file` in the book's format; else None."""
    return asked or (None if file is None else "book")


def until(words: str | None) -> float:
    """The end of 90s, 40m or 1h30m from now, by the monotonic clock; None: never.

    Raises `UsageError` for what is no length of time.
    """
    if words is None:
        return math.inf
    match = re.fullmatch(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", words)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if not (length := 3600 * hours + 60 * minutes + seconds):
        raise UsageError(f"--max-time must be like 90s, 40m or 1h30m, not {words!r}")
    return time.monotonic() + length


STDIN = "standard input"
"""What messages call it."""

Line = tuple[int, str]
"""A line's number, counted from 1, and the line."""


def argument(words: str, name: str, unit: Unit = "character") -> str:
    """A text among the arguments. Raises `UsageError`, with its name, where it is not UTF-8."""
    try:
        return plain_text.argument(words, name, unit)
    except SeqgenError as error:
        raise UsageError(str(error)) from error


def input_lines(unit: Unit) -> Iterator[Line]:
    """The lines of standard input with their ends, as they come.

    Raises `UsageError` where they cannot be read.
    """
    try:
        yield from enumerate(plain_text.each_line(sys.stdin.buffer, STDIN, unit), start=1)
    except (SeqgenError, OSError) as error:
        reason = f"cannot read {STDIN}: {reason_of(error)}"
        raise UsageError(str(error) if isinstance(error, SeqgenError) else reason) from error


def input_blocks(unit: Unit, size: int) -> Iterator[list[Line]]:
    """The lines of standard input without their ends, up to `size` at a time; no block is empty.

    Raises `UsageError` as `input_lines`, once the lines before have been given.
    """
    block: list[Line] = []
    try:
        for number, line in input_lines(unit):
            block.append((number, line.removesuffix("\n")))
            if len(block) == size:
                yield block
                block = []
    except UsageError:
        if block:
            yield block
        raise
    if block:
        yield block


def answer_lines(
    lines: list[Line], answer: Callable[[list[str]], None], *, place: str = STDIN
) -> None:
    """Answer lines together; where one is refused, those before it one by one.

    Raises `UsageError` with that line's number, unless it is of an option.

    Args:
        lines: with their numbers.
        answer: answers some, or refuses them with a `UsageError`.
        place: where they stand, for errors.

    """
    if len(lines) > 1:
        with suppress(UsageError):
            answer([line for _, line in lines])
            return
    for number, line in lines:
        try:
            answer([line])
        except UsageError as error:
            if error.fields:
                raise
            raise UsageError(f"{place}, line {number}: {error}") from error


def split_symbols(words: str) -> list[str]:
    """Symbols with commas between them, or a JSON list.

    Raises:
        UsageError: for a list of anything else, or nothing.

    """
    if words.startswith("[") and words.endswith("]") and len(words) > 1:
        try:
            found = json.loads(words)
        except ValueError as error:
            raise UsageError(f"{words!r} is no JSON list: {error}") from error
        if not all(isinstance(word, str) for word in found):
            raise UsageError(f"{words!r} must hold strings")
        return found
    found = words.split(",") if words else []
    if "" in found:
        raise UsageError(f"{words!r} has an empty symbol; a comma itself is banned as '[\",\"]'")
    return found
