"""Errors shown as one line on standard error, with an exit code."""

import difflib
from collections.abc import Collection


class SeqgenError(Exception):
    """It failed (exit code 1). The message names the value, where it stands and what to use.

    Args:
        message: speaks of fields and values.
        fields: paths of the configuration's fields that would fix it, like "training.batch"; the
            command line adds their flags.

    """

    exit_code = 1

    def __init__(self, message: str, *, fields: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.fields = fields


class UsageError(SeqgenError):
    """It was asked wrongly (exit code 2)."""

    exit_code = 2


def check_known(kind: str, word: str, known: Collection[str]) -> str:
    """The word, if it is known. Raises `UsageError` that suggests the nearest."""
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    raise UsageError(f"no {kind} {word!r}; {hint}")
