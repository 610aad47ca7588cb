"""metrics.jsonl: one event a line, appended and flushed, cut back to a step when a run resumes."""

import json
import os
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.files import write

Event = dict[str, Any]

TIMES = frozenset({"seconds", "examples_per_second"})
"""The fields that two runs of one configuration need not share."""


def path(run: Path) -> Path:
    """The log of a run."""
    return run / "metrics.jsonl"


def append(run: Path, event: Event) -> None:
    """Write one event and see it to the disk. Raises `SeqgenError` when it cannot be written whole; then nothing of it stays."""
    line = (json.dumps(event) + "\n").encode()
    file = os.open(path(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        end = os.fstat(file).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(file, line[written:])
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, end)
            raise SeqgenError(f"cannot write {path(run)}: {error.strerror}; all earlier lines are intact") from error
    finally:
        os.close(file)


def read(run: Path) -> list[Event]:
    """All whole events; a last line that was cut off by a kill is left out. Raises `SeqgenError` for any other bad line."""
    if not path(run).exists():
        return []
    lines = path(run).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line) if line.endswith("\n") else None
            if event is not None and not (isinstance(event, dict) and "event" in event and isinstance(event.get("step"), int)):
                raise ValueError("not an event")
        except ValueError as error:
            raise SeqgenError(f"{path(run)}, line {number}: {error}") from error
        if event is not None:
            events.append(event)
    return events


def cut(run: Path, step: int) -> list[Event]:
    """Drop what was logged after `step`, atomically; returns what stays."""
    events = [event for event in read(run) if event["step"] <= step]
    write(path(run), "".join(json.dumps(event) + "\n" for event in events))
    return events
