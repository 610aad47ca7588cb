"""SHA256SUMS of a folder: the checksums of its small files, as `sha256sum -c` reads them.

A run's has config.json, vocabulary.json and versions.json, which nothing makes again, and
metrics.jsonl once the run is finished. A sweep's has sweep.json. While a file is replaced, it has
two lines: of what stood there and of what will.
"""

import json
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.storage.files import read_bytes, sha256, write

NAME = "SHA256SUMS"
RUN = frozenset({"config.json", "vocabulary.json", "versions.json"})
SWEEP = frozenset({"sweep.json"})
LOG = "metrics.jsonl"
"""It is covered once a run is finished; until then it grows."""

Sums = dict[str, set[str]]
"""File -> its SHA-256; two while it is replaced."""


def sweep_of(run: Path) -> Path | None:
    """The folder of the sweep that a run is a member of."""
    (name,) = SWEEP
    return run.parent if (run.parent / name).exists() else None


def exists(folder: Path) -> bool:
    """Whether a folder has a manifest."""
    return (folder / NAME).exists()


def sums(folder: Path) -> Sums:
    """What a manifest says; nothing where there is none. Raises `SeqgenError` for a damaged one."""
    if not exists(folder):
        return {}
    found: Sums = {}
    for line in read_bytes(folder / NAME).decode(errors="replace").split("\n")[:-1]:
        match = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
        found.setdefault(match[2] if match else line, set()).add(match[1] if match else "")
    if found.keys() - {LOG} not in (RUN, SWEEP):
        raise refusal(folder / NAME, "it is damaged")
    return found


def check(path: Path, content: bytes) -> None:
    """Raises `SeqgenError` where a file's content is not what its folder's manifest has."""
    digest = sha256(content)
    if digest not in sums(path.parent).get(path.name, {digest}):
        raise refusal(path, f"its SHA-256 is not the one in {NAME}: it was damaged or edited")


def refusal(path: Path, why: str) -> SeqgenError:
    """The error for a file that is not as it was written."""
    accept = f"seqgen accept {shlex.quote(str(path.parent))}"
    return SeqgenError(f"{path}: {why}; bring it back, or take the files as they are: `{accept}`")


def read_json(path: Path) -> dict[str, Any]:
    """One of the JSON files. Raises `SeqgenError` that names it."""
    content = read_bytes(path)
    check(path, content)
    try:
        found = json.loads(content.decode())
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
    except (ValueError, RecursionError) as error:  # no JSON, not UTF-8
        raise SeqgenError(f"{path}: {error}") from error
    return found


def create(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder's manifest for files of these contents."""
    put(folder, {name: {sha256(content)} for name, content in contents.items()})


def put(folder: Path, known: Sums) -> None:
    """Write a manifest."""
    lines = [f"{digest}  {name}\n" for name in sorted(known) for digest in sorted(known[name])]
    write(folder / NAME, "".join(lines))


def replace(path: Path, content: bytes) -> None:
    """Write one of the files anew. A kill at any moment leaves it and the manifest in accord."""
    known, new = sums(path.parent), {path.name: {sha256(content)}}
    if known:
        put(path.parent, known | {path.name: known[path.name] | new[path.name]})
    write(path, content)
    put(path.parent, known | new)


def cover(run: Path) -> None:
    """Give a run that has none its manifest."""
    if not exists(run):
        create(run, {name: read_bytes(run / name) for name in RUN})


def seal(run: Path) -> None:
    """Cover the log, too: the run is finished."""
    cover(run)
    if LOG not in (known := sums(run)):
        put(run, known | {LOG: {sha256(run / LOG)}})


def sealed(run: Path) -> bool:
    """Whether a manifest that can be read covers the log."""
    with suppress(SeqgenError):
        return LOG in sums(run)
    return False


def unseal(run: Path) -> None:
    """The log is going to change."""
    if LOG in (known := sums(run)):
        put(run, {name: known[name] for name in known.keys() - {LOG}})
