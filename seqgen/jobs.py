"""What of a sweep is still to be done, and what is known of the rest.

<sweep>/sweep.json                            the command, and the names of all members
<sweep>/<variant>-<seed>/                     a run, as if trained alone
<sweep>/.groups/<digest>/members.json         who trains together
<sweep>/.groups/<digest>/checkpoints/state/   their stacked state, until all have their weights
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from seqgen.config import flat
from seqgen.errors import UsageError
from seqgen.files import write
from seqgen.fit import WATCHED, tested
from seqgen.groups import Group, Planned, Program, compile_fitting, grouped
from seqgen.runs import Seq2seqRun, config_of, is_run, parameters
from seqgen.tasks.dataset import Data, Dataset, load
from seqgen.training import checkpoint, grid, log
from seqgen.training.grid import LayoutName


class Job(NamedTuple):
    """A group with its program, and its members in the chunks that train together."""

    group: Group
    program: Program
    chunks: list[list[Planned]]


def still_to_do(planned: Sequence[Planned], folder: Path, layout: LayoutName, at_once: int | None) -> list[Job]:
    """What is still to be done, compiled, with what was begun first. Raises what `made` and `compile_fitting` raise.

    Nothing is written. A chunk that was begun goes on as it was, however many train at a time now.
    """
    done = {member.path for member in planned if made(member) and finished(member)}
    begun = interrupted(folder, planned)
    held = {member.path for chunk in begun for member in chunk}
    found = [Job(group := Group(chunk), compile_fitting(group, layout, len(chunk)), [chunk]) for chunk in begun]
    for group in grouped([member for member in planned if member.path not in held | done]):
        program = compile_fitting(group, layout, at_once)
        rows = range(0, len(group.members), program.count)
        found.append(Job(group, program, [group.members[i : i + program.count] for i in rows]))
    return found


def summary(jobs: Sequence[Job], members: int) -> list[str]:
    """What would be trained, group by group."""
    waiting = sum(len(job.group.members) for job in jobs)
    steps = sum(job.group.steps * len(job.group.members) for job in jobs)
    lines = [f"{waiting} members to train of {members}: {steps:,} model-steps, {len(jobs)} groups, {len(jobs)} compilations"]
    for number, (group, program, _) in enumerate(jobs, start=1):
        names = list(dict.fromkeys(member.path.name.rpartition("-")[0] for member in group.members))
        at_once = f"{min(program.count, len(group.members))} at a time on {program.mesh.size} devices"
        lines += [
            f"group {number}: {', '.join(names)}",
            f"  {len(group.members)} members of {parameters(group.config):,} parameters, {group.steps:,} steps each",
            f"  {at_once}; {program.bytes / 1e6:,.0f} MB predicted, {grid.available_bytes() / 1e6:,.0f} MB free",
            f"  {WATCHED[group.held_out]}",
        ]
    return lines


def made(member: Planned) -> bool:
    """Whether a member has its directory. Raises `UsageError` where what stands there was made with other settings."""
    if not is_run(member.path):
        return False
    then, now = flat(config_of(member.path)), flat(member.config)
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field):
            was = f"{field} {then.get(field)!r}, now {now.get(field)!r}"
            raise UsageError(f"{member.path} was made with {was}; another --name would do")
    return True


def finished(member: Planned) -> bool:
    """Whether a member has its last weights and its test, or has broken off for good."""
    run, steps = Seq2seqRun(member.path), Group([member]).steps
    return log.broken(run.path) is not None or (
        checkpoint.steps(run.path, "params")[-1:] == [steps] and tested(run) is not None
    )


def break_off(run: Path, step: int, note: Callable[[str], None]) -> None:
    """Mark a member that is no longer finite, for good."""
    log.append(run, {"event": "broken", "step": step})
    note(f"{run}: not finite at step {step}; the others go on")


def stacked_at(folder: Path, members: Sequence[Planned]) -> Path:
    """Where the stacked state of some members is kept."""
    return folder / ".groups" / digest([member.path.name for member in members])


def digest(names: list[str]) -> str:
    """A folder's name for some members."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]


def interrupted(folder: Path, planned: Sequence[Planned]) -> list[list[Planned]]:
    """The chunks of members whose stacked state was saved, those with members that are not asked for now among them."""
    known, found, load_once = {member.path: member for member in planned}, [], cache(load)
    for kept in sorted(folder.glob(".groups/*")):
        paths = [folder / name for name in members_of(kept)]
        if checkpoint.steps(kept, "state") and paths and all(is_run(path) for path in paths):
            found.append([known.get(path) or reopened(path, load_once) for path in paths])
    return found


def members_of(kept: Path) -> list[str]:
    """The names in members.json; none where it is damaged, or does not belong to its folder."""
    try:
        names = json.loads((kept / "members.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    whole = isinstance(names, list) and all(isinstance(name, str) and Path(name).name == name != ".." for name in names)
    return names if whole and digest(names) == kept.name else []


def reopened(path: Path, load: Callable[[Data], Dataset]) -> Planned:
    """A member as its directory tells."""
    config = config_of(path)
    return Planned(path, config, load(config.data))


def forget(kept: Path) -> None:
    """Drop a stacked state; its members first, so that what a kill leaves of it belongs to nobody."""
    (kept / "members.json").unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)


def record(folder: Path, planned: Sequence[Planned], command: str) -> None:
    """sweep.json: which members a sweep has, and the commands that asked for them."""
    known = recorded(folder)
    names = list(dict.fromkeys([*known["members"], *(member.path.name for member in planned)]))
    if names != known["members"]:
        commands = " && ".join(dict.fromkeys([*filter(None, known["command"].split(" && ")), command]))
        write(folder / "sweep.json", json.dumps({"command": commands, "members": names}, indent=1) + "\n")


def recorded(folder: Path) -> dict[str, Any]:
    """What sweep.json says; nothing where it is missing or damaged."""
    try:
        content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        return {"command": str(content["command"]), "members": [str(name) for name in content["members"]]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"command": "", "members": []}


def steps_left(job: Job, members: Sequence[Planned], folder: Path) -> int:
    """Model-steps that some members still need."""
    done = checkpoint.steps(stacked_at(folder, members), "state")[-1:]
    return (job.group.steps - sum(done)) * len(members)
