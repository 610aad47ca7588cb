"""What of a sweep is still to be done, and what is known of the rest.

<sweep>/sweep.json                             the command, and the names of all members
<sweep>/<variant>-<seed>/                      a run, as if trained alone
<sweep>/.stacked/<digest>/members.json         who trains together
<sweep>/.stacked/<digest>/checkpoints/state/   their stacked state, until all have their weights
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqgen.errors import UsageError
from seqgen.families import config_of, finished, flat, is_run, open_at
from seqgen.storage import checkpoint, log
from seqgen.storage.files import sha256, write
from seqgen.sweeps.plan import Loaded, Note, Planned


def stacked_in(folder: Path) -> Path:
    """Where a sweep keeps stacked states; a sweep that was begun before goes on in `.groups`."""
    before = folder / ".groups"
    return before if before.is_dir() else folder / ".stacked"


def made(member: Planned) -> bool:
    """Whether a member has its directory.

    Raises:
        UsageError: where what stands there was made with other settings.

    """
    if not is_run(member.path):
        return False
    then, now = flat(config_of(member.path)), flat(member.config)
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field):
            was = f"{field} {then.get(field)!r}, now {now.get(field)!r}"
            other = f"{member.path} was made with {was}; another name would do"
            raise UsageError(other, fields=("name",))
    return True


def over(member: Planned) -> bool:
    """Whether a member is finished, or has broken off for good. Raises as `made`."""
    if not made(member):
        return False
    run = open_at(member.path)
    run.dataset = member.dataset
    return finished(run)


def break_off(run: Path, step: int, note: Note) -> None:
    """Mark a member that is no longer finite, for good."""
    log.append(run, {"event": "broken", "step": step})
    note(f"{run}: not finite at step {step}; the others go on")


def stacked_at(folder: Path, members: Sequence[Planned]) -> Path:
    """Where the stacked state of some members is kept."""
    return stacked_in(folder) / digest([member.path.name for member in members])


def digest(names: list[str]) -> str:
    """A folder's name for some members."""
    return sha256(json.dumps(names).encode())[:12]


def interrupted(folder: Path, planned: Sequence[Planned]) -> list[list[Planned]]:
    """The members, batch by batch, whose stacked state was saved.

    Those that are not asked for now are among them.
    """
    known, found, loaded = {member.path: member for member in planned}, [], Loaded()
    for kept in sorted(stacked_in(folder).glob("*")):
        paths = [folder / name for name in members_of(kept)]
        if checkpoint.steps(kept, "state") and paths and all(is_run(path) for path in paths):
            found.append([known.get(path) or reopened(path, loaded) for path in paths])
    return found


def members_of(kept: Path) -> list[str]:
    """The names in members.json; none where it is damaged, or does not belong to its folder."""
    try:
        names = json.loads((kept / "members.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    whole = isinstance(names, list) and all(map(_is_name, names))
    return names if whole and digest(names) == kept.name else []


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name != ".."


def reopened(path: Path, loaded: Loaded) -> Planned:
    """A member as its directory tells."""
    config = config_of(path)
    return Planned(path, config, loaded.of(config))


def forget(kept: Path) -> None:
    """Drop a stacked state; its members first, so that what a kill leaves belongs to nobody."""
    (kept / "members.json").unlink(missing_ok=True)
    shutil.rmtree(kept, ignore_errors=True)


def record(folder: Path, planned: Sequence[Planned], command: str) -> None:
    """sweep.json: which members a sweep has, and the commands that asked for them."""
    known = recorded(folder)
    asked = (member.path.name for member in planned)
    names = list(dict.fromkeys([*known["members"], *asked]))
    if names != known["members"]:
        before = filter(None, known["command"].split(" && "))
        commands = " && ".join(dict.fromkeys([*before, command]))
        content = {"command": commands, "members": names}
        write(folder / "sweep.json", json.dumps(content, indent=1) + "\n")


def recorded(folder: Path) -> dict[str, Any]:
    """What sweep.json says; nothing where it is missing or damaged."""
    try:
        content = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        names = [str(name) for name in content["members"]]
        return {"command": str(content["command"]), "members": names}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"command": "", "members": []}
