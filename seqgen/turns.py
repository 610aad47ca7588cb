"""Members of a sweep that train one after another: language models, of which each fills a device."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seqgen.errors import SeqgenError
from seqgen.files import alone
from seqgen.groups import Planned
from seqgen.jobs import made, record
from seqgen.runs import Run, furnish, open_run, parameters
from seqgen.training import log


def train(planned: Sequence[Planned], folder: Path, fit: Callable[[Run], object], again: str) -> None:
    """`fit` every member that is not finished, in turn, from wherever it stands. `again` is the command that goes on.

    Raises `UsageError` where a run of a member's name was made with other settings, and what `fit` raises.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeqgenError(f"cannot make {folder}: {error.strerror}") from error
    with alone(folder):
        left = waiting(planned)
        record(folder, planned, again)
        for member in left:
            fit(open_run(member.path) if made(member) else furnish(*member))


def waiting(planned: Sequence[Planned]) -> list[Planned]:
    """The members without their last evaluation."""
    return [member for member in planned if not (made(member) and finished(member.path))]


def finished(path: Path) -> bool:
    """Whether a run has its last evaluation."""
    return any(event.get("final") for event in log.read(path))


def summary(planned: Sequence[Planned]) -> list[str]:
    """What would be trained, one after another."""
    left = waiting(planned)
    lines = [f"{len(left)} members to train of {len(planned)}, one after another"]
    return lines + [f"  {member.path.name}: {parameters(member.config):,} parameters" for member in left]
