"""tyro, with our error for what a configuration refuses; and what several commands read alike."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

import tyro

from seqgen.errors import UsageError


@contextmanager
def refusing() -> Generator[None]:
    """What a configuration refuses is bad usage. Raises `UsageError` with what it said."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def parse(target: Any, prog: str, arguments: list[str], *, default: Any = None) -> Any:
    """Read a command's arguments.

    Args:
        target: what is asked for.
        prog: the command.
        arguments: its words.
        default: values of what is not said; None: the target's own.

    Raises:
        UsageError: with what a configuration said; tyro's own complaints exit with 2.

    """
    options = {} if default is None else {"default": default}
    with refusing():
        return tyro.cli(target, prog=prog, args=arguments, **options)


def call(command: Callable[..., None], prog: str, arguments: list[str]) -> None:
    """Read a command's arguments, and only then run it: a `ValueError` of its own is a bug."""

    @wraps(command)
    def bind(*args: Any, **options: Any) -> Callable[[], None]:
        return partial(command, *args, **options)

    parse(bind, prog, arguments)()


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
