"""tyro, with our error for what a configuration refuses; and what several commands read alike."""

import difflib
import json
import sys
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import tyro

from seqgen.cli.flags import Shown, flags_of, in_flags, shown_by
from seqgen.errors import SeqgenError, UsageError


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


TEXTS = ("--prompt", "--end", "--ban")
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
        parse(bind, prog, joined(arguments, flags_of(command)))()


def joined(words: list[str], flags: Collection[str]) -> list[str]:
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


def check_known(kind: str, word: str, known: Collection[str]) -> str:
    """The word, if it is known. Raises `UsageError` that suggests the nearest."""
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"no {kind} {word!r}; {hint}")


def split_for(file: Any, asked: str | None) -> str | None:
    """The split that was asked for, or the book's for a `file` in the book's format; else None."""
    return asked or (None if file is None else "book")


def input_lines(read: Callable[[bytes], str]) -> Iterator[tuple[int, str]]:
    """The lines of standard input without their ends, and their numbers from 1.

    Raises `UsageError`, naming the line, where `read` finds that it is not UTF-8.
    """
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            text = read(line)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"standard input, line {number}: not UTF-8 (byte 0x{line[error.start]:02x})"
            ) from error
        yield number, text.rstrip("\r\n")


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
