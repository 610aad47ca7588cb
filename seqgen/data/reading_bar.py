"""How far the reading of large files is, on the terminal."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ReadingBar:
    """A progress bar, shown while a terminal watches."""

    def __init__(self, name: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rows]:,}")
        console = Console(stderr=True)
        self.name, self.rows = Path(name).name, 0
        self.shown = Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        )
        self.task = self.shown.add_task(self.name, total=None, rows=0)

    def __enter__(self) -> "ReadingBar":
        self.shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.stop()  # after an error, too: or the terminal would stay without a cursor

    def begin(self, what: str, total: int | None) -> None:
        """Something else is done."""
        self.rows = 0
        self.shown.reset(self.task, total=total, description=f"{self.name}: {what}, rows", rows=0)

    def advance(self, done: int, rows: int) -> None:
        """Some of it."""
        self.rows += rows
        self.shown.update(self.task, advance=done, rows=self.rows)
