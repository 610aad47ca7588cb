"""Members of a sweep that train together: one compiled program after another, batch by batch."""

import json
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from seqgen.families import is_run, write_metadata
from seqgen.storage import manifest
from seqgen.storage.files import alone, write
from seqgen.sweeps.pending import Pending, steps_left, summary
from seqgen.sweeps.plan import Planned
from seqgen.sweeps.stacked import Report, Stacked
from seqgen.sweeps.state import forget, stacked_at
from seqgen.training import loop


def train(
    pending: Sequence[Pending],
    folder: Path,
    members: int,
    *,
    report: Report,
    again: str,
    until: float = math.inf,
) -> None:
    """Train all that is pending, or as far as the time goes.

    Args:
        pending: what `still_to_do` gave.
        folder: the sweep's.
        members: how many there are in all.
        report: is told how it goes.
        again: the command that goes on.
        until: the time, by the monotonic clock.

    Raises:
        Stopped: after a signal.

    """
    for line in summary(pending, members):
        report.note(line)
    report.begin(sum(steps_left(each, batch, folder) for each in pending for batch in each.batches))
    for each in pending:
        for batch in each.batches:
            train_together(each, batch, folder, report=report, again=again, until=until)
            if time.monotonic() >= until:
                return


def train_together(
    pending: Pending,
    members: Sequence[Planned],
    folder: Path,
    *,
    report: Report,
    again: str,
    until: float,
) -> None:
    """Train some members of a program to their end, from wherever their stacked state stands.

    Args:
        pending: their program.
        members: who trains.
        folder: the sweep's.
        report: is told how it goes.
        again: the command that goes on.
        until: when to end well before the end.

    Raises:
        Stopped: after a signal.

    """
    kept = stacked_at(folder, members)
    if not (kept / "members.json").exists() or not all(is_run(each.path) for each in members):
        forget(kept)  # of a removal cut short by a kill; without one's run, all start again
    for member in members:
        if not is_run(member.path):
            write_metadata(*member)
    runs = [member.opened() for member in members]
    if changes := [f"{run.path}: {change}" for run in runs for change in run.changes()]:
        report.note(f"made elsewhere ({changes[0]}): the result need not be the same to the bit")
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(alone(run.path))
            manifest.cover(run.path)
        write(kept / "members.json", json.dumps([member.path.name for member in members]))
        session = Stacked(pending, members, runs, kept=kept, report=report)
        ended = loop.train(session, again, until)
        session.finish()
    if ended:
        forget(kept)
