"""metrics.jsonl: one event a line, appended and flushed, cut back to a step when a run resumes.

The last field of a line, "crc32", is the CRC-32 of all events down to its own: no bit can change,
and no line be lost before another. The last line's stands in the state's checkpoint, and a finished
log in the run's manifest. Lines of older versions have none; a log that began so goes on so.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.storage import manifest
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
    "token_error_rate": NUMBER,
    "word_error_rate": NUMBER,
    "sequence_error_rate": NUMBER,
    "perplexity": NUMBER,
    "tokens": int,
    "lanes": int,
}
"""What an evaluation may have besides; the kind of run decides which of these."""

LIMITS: dict[str, tuple[float, float]] = {
    "loss": (-1e300, 1e300),
    "exact_match": (0, 1),
    "token_accuracy": (0, 1),
    "sequence_error_rate": (0, 1),
    **dict.fromkeys(("token_error_rate", "word_error_rate"), (0, inf)),
    **dict.fromkeys(("step", "epoch", "gradient_norm", "perplexity"), (0, inf)),
    **dict.fromkeys(("examples", "tokens", "lanes"), (0, inf)),
}
"""The least and the largest value of what an event has."""

CHECKSUM = ', "crc32": "{:08x}"}}'
"""How a line ends."""

EMPTY = 0
"""The checksum of no events."""


def path(run: Path) -> Path:
    """The log of a run."""
    return run / manifest.LOG


def append(run: Path, *events: Event) -> None:
    """Write events, one per line, and flush them to the disk.

    Raises:
        SeqgenError: they cannot be written; then nothing of them stays.

    """
    try:
        lines = encoded(events, checksum(run))
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


def encoded(events: Iterable[Event], last: int | None) -> bytes:
    """Events as lines that go on from the checksum of the `last` one; None: without checksums."""
    lines = b""
    for event in events:
        line = json.dumps(event).encode()
        if last is not None:
            last = zlib.crc32(line[:-1], last)
            line = line[:-1] + CHECKSUM.format(last).encode()
        lines += line + b"\n"
    return lines


def checksum(run: Path) -> int | None:
    """The last line's checksum; None where it has none."""
    with suppress(FileNotFoundError), open(path(run), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(CHECKSUM.format(0)) - 1))
        found = re.fullmatch(rb', "crc32": "([0-9a-f]{8})"}\n', file.read())
        return int(found[1], 16) if found else None if size else EMPTY
    return EMPTY


def read(run: Path) -> list[Event]:
    """All complete events: a last line that was cut off by a kill is left out.

    Raises:
        SeqgenError: the log cannot be read, a line is no event, or not as it was written.

    """
    return [event for event, _ in checked(run)]


def checked(run: Path) -> list[tuple[Event, int | None]]:
    """All complete events with their checksums. Raises as `read`."""
    manifest.check(path(run), content := content_of(run))
    return decoded(run, content)


def content_of(run: Path) -> bytes:
    """The log as it is; nothing where there is none. Raises `SeqgenError`."""
    try:
        return path(run).read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SeqgenError(f"cannot read {path(run)}: {error.strerror}") from error


def decoded(run: Path, content: bytes) -> list[tuple[Event, int | None]]:
    """The events of complete lines with their checksums. Raises as `read`."""
    found: list[tuple[Event, int | None]] = []
    last: int | None = EMPTY
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        event, separator, _ = line.rpartition(b', "crc32": ')
        if separator and last is not None:
            last = zlib.crc32(event, last)
            as_written = line == event + CHECKSUM.format(last).encode()
            line = event + b"}"
        else:
            as_written = not separator and (number == 1 or last is None)
            last = None
        if not as_written:
            why = f"line {number} is not as it was written, or one before it is gone"
            raise manifest.refusal(path(run), why)
        found.append((parsed(run, number, line), last))
    return found


def parsed(run: Path, number: int, line: bytes) -> Event:
    """The event of a line. Raises `SeqgenError` that names the line where it is none."""
    try:
        return parse(line.decode(errors="replace"))
    except (ValueError, RecursionError) as error:
        raise SeqgenError(f"{path(run)}, line {number}: {error}") from error


def parse(line: str) -> Event:
    """One event.

    Raises:
        ValueError: it is anything else; it names a field that is missing, of another type or out of
            range.

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
        if name in LIMITS and not LIMITS[name][0] <= event[name] <= LIMITS[name][1]:
            raise ValueError(f"{name} cannot be {event[name]}")
    return event


def epochs(run: Path) -> list[Event]:
    """The evaluations at the ends of epochs."""
    return [event for event in evaluations(run) if not event.get("interim")]


def evaluations(run: Path) -> list[Event]:
    """The evaluations without the final one: an interim one is of an epoch that time cut short."""
    return [event for event in read(run) if event["event"] == "evaluate" and not event.get("final")]


def forget_ending(run: Path) -> None:
    """Drop what an end before the last step has left: the test, and an interim evaluation."""
    manifest.unseal(run)
    keep(run, lambda event: not (event.get("final") or event.get("interim")))


def broken(run: Path) -> int | None:
    """The step at which a member of a sweep broke off, its loss or weights not finite; or None."""
    return next((event["step"] for event in read(run) if event["event"] == "broken"), None)


def cut(run: Path, step: int, reached: int | None = None) -> list[Event]:
    """Drop what was logged after `step`, atomically; returns what stays.

    Args:
        run: its directory.
        step: the last one that stays.
        reached: a checksum that its lines had at that step; None: not known.

    Raises:
        SeqgenError: as `read`, or where lines up to `step` are gone.

    """
    found = [checksum for event, checksum in checked(run) if event["step"] <= step]
    if reached is not None and None not in found and reached not in [EMPTY, *found]:
        raise SeqgenError(f"{path(run)}: lines up to step {step} are gone; bring them back")
    return keep(run, lambda event: event["step"] <= step)


def accept(run: Path) -> None:
    """Take a log as it is: it is from now on without checksums, as a state has the old ones.

    Raises:
        SeqgenError: where a line is no event.

    """
    lines = enumerate(content_of(run).split(b"\n")[:-1], start=1)
    events = [parsed(run, number, line) for number, line in lines]
    plain = [{name: event[name] for name in event if name != "crc32"} for event in events]
    write(path(run), encoded(plain, None))


def keep(run: Path, wanted: Callable[[Event], bool]) -> list[Event]:
    """Drop the other events, atomically; returns what stays."""
    found = checked(run)
    events = [event for event, _ in found if wanted(event)]
    content = encoded(events, None if found and found[0][1] is None else EMPTY)
    if not path(run).exists() or content != content_of(run):
        manifest.unseal(run)
        write(path(run), content)
    return events
