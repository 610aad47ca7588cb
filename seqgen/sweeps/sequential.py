"""Members of a sweep that train one after another: each of them fills a device."""

import time
from collections.abc import Callable, Sequence

from seqgen.families import Run, parameters, write_metadata
from seqgen.sweeps.plan import Note, Planned
from seqgen.sweeps.state import break_off, exists, is_finished
from seqgen.training.solo import NotFinite


def train(
    planned: Sequence[Planned], fit: Callable[[Run], object], note: Note, *, until: float
) -> None:
    """`fit` every member that is not finished, from wherever it stands.

    One that is no longer finite is marked as broken, with a `note`, for good. Raises `UsageError`
    where a run of a member's name was made with other settings, and what else `fit` raises.

    Args:
        planned: the members.
        fit: trains one, and ends well at the same time.
        note: is told of one that broke off.
        until: the first alone is begun after this time, by the monotonic clock.

    """
    for member in waiting(planned):
        try:
            fit(member.opened() if exists(member) else write_metadata(*member))
        except NotFinite as error:
            break_off(member.path, error.step, note)
        if time.monotonic() >= until:
            return


def waiting(planned: Sequence[Planned]) -> list[Planned]:
    """The members that are neither finished nor broken off."""
    return [member for member in planned if not is_finished(member)]


def summary(planned: Sequence[Planned]) -> list[str]:
    """What would be trained, one after another."""
    left = waiting(planned)
    lines = [f"{len(left)} members to train of {len(planned)}, one after another"]
    for member in left:
        count = parameters(member.config.model, member.dataset.sizes)
        lines.append(f"  {member.path.name}: {count:,} parameters")
    return lines
