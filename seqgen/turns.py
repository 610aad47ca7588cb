"""Members of a sweep that train one after another: language models, of which each fills a device."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seqgen.errors import SeqgenError
from seqgen.files import alone
from seqgen.groups import Planned
from seqgen.jobs import break_off, made, record
from seqgen.runs import Run, furnish, open_run, parameters
from seqgen.training import log
from seqgen.training.loop import NotFinite


def train(
    planned: Sequence[Planned], folder: Path, fit: Callable[[Run], object], again: str, note: Callable[[str], None]
) -> None:
    """`fit` every member that is not finished, in turn, from wherever it stands. `again` is the command that goes on.

    One that is no longer finite is marked as broken, with a `note`, and its turn is over for good. Raises `UsageError` where
    a run of a member's name was made with other settings, and what else `fit` raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqgenError(f"cannot make {folder}: {error.strerror}") from error
    with alone(folder):
        left = waiting(planned)
        record(folder, planned, again)
        for member in left:
            try:
                fit(open_run(member.path) if made(member) else furnish(*member))
            except NotFinite as error:
                break_off(member.path, error.step, note)


def waiting(planned: Sequence[Planned]) -> list[Planned]:
    """The members without their last evaluation that have not broken off."""
    return [member for member in planned if not (made(member) and over(member.path))]


def over(path: Path) -> bool:
    """Whether a run is finished, or has broken off for good."""
    return finished(path) or log.broken(path) is not None


def finished(path: Path) -> bool:
    """Whether a run has its last evaluation."""
    return any(event.get("final") for event in log.read(path))


def summary(planned: Sequence[Planned]) -> list[str]:
    """What would be trained, one after another."""
    left = waiting(planned)
    lines = [f"{len(left)} members to train of {len(planned)}, one after another"]
    return lines + [f"  {member.path.name}: {parameters(member.config):,} parameters" for member in left]
