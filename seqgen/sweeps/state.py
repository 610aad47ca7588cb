"""What of a sweep is still to be done, and what is known of the rest.

<sweep>/sweep.json                             the command, and the names of all members
<sweep>/SHA256SUMS                             its checksum
<sweep>/<variant>-<seed>/                      a run, as if trained alone
<sweep>/.stacked/<digest>/members.json         who trains together
<sweep>/.stacked/<digest>/checkpoints/state/   their stacked state, until all have their weights

A batch of members that was begun is finished as it is, whatever seeds are asked for next time.
"""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqgen import families
from seqgen.errors import UsageError, check_known
from seqgen.families import config_of, finished, flat, is_run
from seqgen.families.family import LAST_FIGURE
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.files import read_bytes, sha256
from seqgen.sweeps.plan import Loaded, Note, Planned


def stacked_in(folder: Path) -> Path:
    """Where a sweep keeps stacked states; older sweeps used `.groups`."""
    before = folder / ".groups"
    return before if before.is_dir() else folder / ".stacked"


def exists(member: Planned) -> bool:
    """Whether a member has its directory.

    Raises:
        UsageError: where the run in it was made with other settings.

    """
    if not is_run(member.path):
        return False
    then, now = flat(config_of(member.path)), flat(member.config)
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field):
            raise UsageError(
                f"{member.path} was made with {field} {then.get(field)!r}, "
                f"now {now.get(field)!r}; use another name",
                fields=("name",),
            )
    return True


def is_finished(member: Planned) -> bool:
    """Whether a member is finished, or has broken off for good. Raises as `exists`."""
    return exists(member) and finished(member.opened())


def break_off(run: Path, step: int, note: Note) -> None:
    """Mark a member that is no longer finite, for good."""
    log.append(run, {"event": "broken", "step": step})
    note(f"{run}: not finite at step {step}; the others go on")


def forget_ending(run: Path) -> None:
    """Drop what an end before the last step has left in a member that goes on."""
    log.forget_ending(run)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    (run / "samples" / "test.txt").unlink(missing_ok=True)
    (run / LAST_FIGURE).unlink(missing_ok=True)


def stacked_at(folder: Path, members: Sequence[Planned]) -> Path:
    """Where the stacked state of some members is kept."""
    return stacked_in(folder) / digest([member.path.name for member in members])


def digest(names: list[str]) -> str:
    """A folder's name for some members."""
    return sha256(json.dumps(names).encode())[:12]


def interrupted(folder: Path, planned: Sequence[Planned]) -> list[list[Planned]]:
    """The members, batch by batch, whose stacked state was saved.

    Those that are not asked for now are among them. Raises `SeqgenError` where their data have
    changed.
    """
    known, loaded = {member.path: member for member in planned}, Loaded()
    batches = [waiting_in(kept) for kept in sorted(stacked_in(folder).glob("*"))]
    return [
        [known.get(path) or reopened(path, loaded) for path in batch] for batch in batches if batch
    ]


def waiting_in(kept: Path) -> list[Path]:
    """The runs whose stacked state is in a folder; none where they cannot go on from it."""
    paths = [kept.parents[1] / name for name in members_of(kept)]
    whole = checkpoint.steps(kept, "state") and all(is_run(path) for path in paths)
    return paths if whole else []


def remove_unused(folder: Path) -> None:
    """Remove the stacked states that no members wait for, and their folder when it is empty."""
    for kept in stacked_in(folder).glob("*"):
        if not waiting_in(kept):
            forget(kept)
    with suppress(OSError):  # not empty, or not there
        stacked_in(folder).rmdir()


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
    """A member as its directory tells. Raises `SeqgenError` where its data have changed."""
    config = config_of(path)
    return Planned(path, config, loaded.of(config))


def forget(kept: Path) -> None:
    """Drop a stacked state; its members first, so that what a kill leaves has none."""
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
        manifest.replace(folder / "sweep.json", f"{json.dumps(content, indent=1)}\n".encode())


def finished_members(folder: Path, variant: str) -> list[Path]:
    """The finished members of a sweep's variant, in the order of their seeds.

    Raises:
        UsageError: where there is no such variant, or none of its members is finished.

    """
    if not (folder / "sweep.json").is_file():
        raise UsageError(f"no sweep at {folder}: it has no sweep.json", fields=("members",))
    variants: dict[str, list[str]] = {}
    for name in recorded(folder)["members"]:
        variants.setdefault(name.rpartition("-")[0], []).append(name)
    names, loaded = variants[check_known("variant", variant, variants)], Loaded()
    names.sort(key=lambda name: (len(name), name))  # 10 after 9
    found = [folder / name for name in names if _has_ended(folder / name, loaded)]
    if not found:
        raise UsageError(f"{folder}: no member of {variant} is finished", fields=("members",))
    return found


def _has_ended(path: Path, loaded: Loaded) -> bool:
    """Whether a member was trained to its end, with finite weights."""
    if not is_run(path) or log.broken(path) is not None:
        return False
    return manifest.sealed(path) or finished(reopened(path, loaded).opened())


def accept(folder: Path) -> None:
    """Take a sweep's sweep.json as it is. Raises `SeqgenError` where it cannot be read."""
    manifest.create(folder, {name: read_bytes(folder / name) for name in manifest.SWEEP})


def check_files(folder: Path) -> None:
    """Raises `SeqgenError` for the first file of a sweep and its runs that is not as written."""
    for name in recorded(folder)["members"]:
        if is_run(folder / name):
            families.check_files(folder / name)


def recorded(folder: Path) -> dict[str, Any]:
    """What sweep.json says; nothing where there is none.

    Raises:
        SeqgenError: where it is damaged.

    """
    file = folder / "sweep.json"
    if not file.exists() and not manifest.exists(folder):
        return {"command": "", "members": []}
    content = manifest.read_json(file)
    names, command = content.get("members"), content.get("command")
    if not (isinstance(command, str) and isinstance(names, list) and all(map(_is_name, names))):
        raise manifest.refusal(file, "it has no command and members")
    return {"command": command, "members": names}
