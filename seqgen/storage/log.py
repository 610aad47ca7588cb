"""metrics.jsonl: one event a line, appended and flushed, cut back to a step when a run resumes."""

import json
import os
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.storage.files import write

Event = dict[str, Any]

NUMBER = (int, float)
TRAINED = {"step": int, "epoch": NUMBER, "loss": NUMBER, "gradient_norm": NUMBER}
SCORED = {"split": str, "step": int, "epoch": NUMBER, "loss": NUMBER}
FIELDS: dict[str, dict[str, Any]] = {"train": TRAINED, "evaluate": SCORED, "broken": {"step": int}}
"""The events there are, and what each has at least."""

SCORES: dict[str, Any] = {
    "exact_match": NUMBER,
    "token_accuracy": NUMBER,
    "examples": int,
    "perplexity": NUMBER,
    "tokens": int,
    "lanes": int,
}
"""What an evaluation may have besides; the kind of run decides which of these."""


def path(run: Path) -> Path:
    """The log of a run."""
    return run / "metrics.jsonl"


def append(run: Path, *events: Event) -> None:
    """Write events, one per line, and flush them to the disk.

    Raises:
        SeqgenError: they cannot be written; then nothing of them stays.

    """
    lines = "".join(json.dumps(event) + "\n" for event in events).encode()
    try:
        with open(path(run), "ab", buffering=0) as file:
            end = file.tell()
            try:
                written = 0
                while written < len(lines):
                    written += file.write(lines[written:])
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise SeqgenError(
            f"cannot write {path(run)}: {error.strerror}; all earlier lines are intact"
        ) from error


def read(run: Path) -> list[Event]:
    """All complete events: a last line that was cut off by a kill is left out.

    Raises:
        SeqgenError: the log cannot be read, or another line is no event.

    """
    try:
        lines = path(run).read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SeqgenError(f"cannot read {path(run)}: {error.strerror}") from error
    events = []
    for number, line in enumerate(lines, start=1):
        if line.endswith("\n"):
            try:
                events.append(parse(line))
            except (ValueError, RecursionError) as error:
                raise SeqgenError(f"{path(run)}, line {number}: {error}") from error
    return events


def parse(line: str) -> Event:
    """One event.

    Raises:
        ValueError: it is anything else; it names a field that is missing or of another type.

    """
    event = json.loads(line)
    named = isinstance(event, dict) and isinstance(event.get("event"), str)
    fields = FIELDS.get(event["event"]) if named else None
    if fields is None:
        raise ValueError("not an event")
    if event["event"] == "evaluate":
        fields = fields | {name: kind for name, kind in SCORES.items() if name in event}
    for name, kind in fields.items():
        if not isinstance(event.get(name), kind):
            raise ValueError(f"{event['event']} event without {name!r}")
    return event


def epochs(run: Path) -> list[Event]:
    """The evaluations of the epochs, without the final one."""
    return [event for event in read(run) if event["event"] == "evaluate" and not event.get("final")]


def broken(run: Path) -> int | None:
    """The step at which a member of a sweep broke off, its loss or weights not finite; or None."""
    return next((event["step"] for event in read(run) if event["event"] == "broken"), None)


def cut(run: Path, step: int) -> list[Event]:
    """Drop what was logged after `step`, atomically; returns what stays."""
    events = [event for event in read(run) if event["step"] <= step]
    write(path(run), "".join(json.dumps(event) + "\n" for event in events))
    return events
