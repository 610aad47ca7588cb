"""Sweeps: every variant of an experiment with every seed, in as few compiled programs as can be."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError, UsageError
from seqgen.families import Run, is_run
from seqgen.families.family import LAST_FIGURE
from seqgen.nn.switches import fixed
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.files import alone
from seqgen.sweeps import parallel, pending, sequential
from seqgen.sweeps.plan import Note, Planned, plan
from seqgen.sweeps.state import finished_members, is_finished, record, remove_unused
from seqgen.training.sharding import MemberAxis, default_axis
from seqgen.training.signals import Stopped, signals

__all__ = ["Planned", "finished_members", "plan", "summary", "sweep"]


@fixed()
def sweep(
    planned: Sequence[Planned],
    folder: Path,
    *,
    fit: Callable[[Run], object],
    note: Note,
    reporting: Callable[[], AbstractContextManager[Any]],
    again: str,
    axis: MemberAxis | None = None,
    at_once: int | None = None,
    until: float = math.inf,
) -> None:
    """Train all that is not finished; what was interrupted goes on first. Then draw the figures.

    Args:
        planned: all members.
        folder: the sweep's.
        fit: trains one that has the devices to itself.
        note: is told of one of those that broke off.
        reporting: makes a `stacked.Report`: how those go that train together.
        again: the command that goes on.
        axis: how the members of a device are mapped; None: `default_axis`.
        at_once: members that train at a time; None: as many as fit.
        until: when to end well before the end, by the monotonic clock: those that train are scored
            with what there is, and go on by the command.

    Raises:
        UsageError: where a run of a member's name was made with other settings, and for an `axis`
            or `at_once` where no members train together.
        SeqgenError: where another process is at work, or members do not fit in memory.
        Stopped: after a signal.

    """
    together, one_by_one = parted(planned, axis, at_once)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqgenError(f"cannot make {folder}: {error.strerror}") from error
    members, waiting = list(planned), []
    with alone(folder), signals() as caught:
        sequential.waiting(one_by_one)  # refuses before anything is trained
        if together:
            how = {"axis": axis or default_axis(), "at_once": at_once}
            with reporting() as report:
                waiting = pending.still_to_do(together, folder, **how)
                record(folder, planned, again)
                options = {"report": report, "again": again, "until": until}
                parallel.train(waiting, folder, len(together), **options)
            members += pending.not_asked_for(waiting, planned)
        if one_by_one and not (waiting and time.monotonic() >= until):
            record(folder, planned, again)
            sequential.train(one_by_one, fit, note, until=until)
        for member in members:
            if caught:
                raise Stopped(caught[0], again)
            finish(member)
        remove_unused(folder)
        if time.monotonic() >= until and (left := [m for m in planned if not is_finished(m)]):
            done = f"{len(planned) - len(left)} of {len(planned)} members are finished"
            note(f"time is up: {done}; go on with: {again}")


def parted(
    planned: Sequence[Planned], axis: MemberAxis | None, at_once: int | None
) -> tuple[list[Planned], list[Planned]]:
    """The members that train as compiled programs, and those that train one after another.

    Raises `UsageError` where there are none of the former, and it is said how they should train.
    """
    together = [member for member in planned if member.family.stacking is not None]
    for field, value in {"member_axis": axis, "members_per_batch": at_once}.items():
        if value is not None and not together:
            raise UsageError(
                f"{field} {value} would change nothing: "
                "these members are no compiled programs, and train one after another",
                fields=(field,),
            )
    return together, [member for member in planned if member.family.stacking is None]


def finish(member: Planned) -> None:
    """A member's log is covered, and it gets its figures, from its directory; if it has ended."""
    broken = is_run(member.path) and log.broken(member.path) is not None
    if not broken and not checkpoint.steps(member.path, "params"):
        return
    if broken or is_finished(member):
        manifest.seal(member.path)
    if not broken and not (member.path / LAST_FIGURE).is_file():
        member.family.draw(member.opened())


@fixed()
def summary(
    planned: Sequence[Planned],
    folder: Path,
    *,
    axis: MemberAxis | None = None,
    at_once: int | None = None,
) -> list[str]:
    """What `sweep` would train, in lines of text. Nothing is written.

    Args:
        planned: all members.
        folder: the sweep's.
        axis: how the members of a device are mapped; None: `default_axis`.
        at_once: members that train at a time; None: as many as fit.

    Raises:
        UsageError: where a run of a member's name was made with other settings, and for an `axis`
            or `at_once` where no members train together.
        SeqgenError: where members do not fit in memory.

    """
    together, one_by_one = parted(planned, axis, at_once)
    lines = []
    if together:
        how = {"axis": axis or default_axis(), "at_once": at_once}
        lines += pending.summary(pending.still_to_do(together, folder, **how), len(together))
    return lines + (sequential.summary(one_by_one) if one_by_one else [])
