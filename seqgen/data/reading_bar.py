"""How far the reading of large files is: a bar where a terminal watches, else a line at times."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
"""Between two plain lines."""


class ReadingBar:
    """How many rows were read, of the first file's name; used as a context."""

    def __init__(self, name: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,}")
        console = Console(stderr=True)
        self.name, self.what, self.rows = Path(name).name, "", 0
        self.live, self.told = console.is_terminal, time.monotonic()
        self.shown = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not self.live
        )
        self.task = self.shown.add_task(self.name, total=None, rows=0)

    def __enter__(self) -> "ReadingBar":
        self.shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.stop()  # after an error, too: or the terminal would stay without a cursor

    def begin(self, what: str, total: int | None) -> None:
        """Something else is done."""
        self.rows, self.what = 0, f"{self.name}: {what}, rows"
        self.shown.reset(self.task, total=total, description=self.what, rows=0)

    def advance(self, done: int, rows: int) -> None:
        """Some of it."""
        self.rows += rows
        self.shown.update(self.task, advance=done, rows=self.rows)
        if not self.live and time.monotonic() - self.told > PLAIN_SECONDS:
            self.told = time.monotonic()
            with suppress(OSError):  # standard error is closed
                print(f"{self.what} {self.rows:,}", file=sys.stderr)
