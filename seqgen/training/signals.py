"""Signals that ask training to end: collected, and answered where nothing can be lost."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from seqgen.errors import SeqgenError


class Stopped(SeqgenError):
    """A signal asked for an end; a resumed run loses nothing of what was saved."""

    def __init__(self, number: int, again: str, where: str = "") -> None:
        super().__init__(f"stopped{where}; go on with: {again}")
        self.exit_code = 128 + number


@contextmanager
def handling(handler: Callable[[int, Any], None]) -> Generator[None]:
    """SIGINT and SIGTERM go to `handler`, and afterwards to whom they went before.

    In another thread than the main one they stay with them.
    """
    before = handlers()
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def handlers() -> dict[int, Any]:
    """Who has SIGINT and SIGTERM now; Python lets only the main thread change that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def interrupt(number: int, frame: Any) -> None:
    """A handler like Python's own for SIGINT, that tells which signal it was."""
    raise KeyboardInterrupt(number)


def number_of(error: KeyboardInterrupt) -> int:
    """Which signal it was."""
    return error.args[0] if error.args else signal.SIGINT


_caught: list[int] = []
_before: dict[int, Any] = {}
"""Handlers belong to the process, and so does what they caught and whom they stand for."""


def _catch(number: int, frame: Any) -> None:
    _caught.append(number)
    signal.signal(number, _before[number])


@contextmanager
def signals() -> Generator[list[int]]:
    """Collect signals in a list, to be read between steps; a second one of a kind acts as before.

    Nothing is raised while a library compiles or draws: one that swallows exceptions would lose the
    signal. Within another `signals` the list is that one's. In another thread than the main one,
    where no handler can be set, signals go where they went before.
    """
    if _before or threading.current_thread() is not threading.main_thread():
        yield _caught
        return
    _before.update(handlers())
    try:
        with handling(_catch):
            yield _caught
    finally:
        _before.clear()
        _caught.clear()


@contextmanager
def stoppable(again: str) -> Generator[None]:
    """Around training and what comes before and after it.

    A signal before it stops at its first step; Ctrl-C twice at once. `again` is the command that
    goes on.
    """
    with signals():
        try:
            yield
        except KeyboardInterrupt as error:
            raise Stopped(number_of(error), again) from error
