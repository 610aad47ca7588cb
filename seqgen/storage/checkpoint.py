"""Checkpoints of a run, through Orbax, hardened: what comes back is what was saved, to the bit.

    <run>/checkpoints/state/<step>     the whole training state; the last two are kept
    <run>/checkpoints/params/<step>    the parameters; all are kept up to `PARAMS_LIMIT` bytes

A checkpoint is a folder. `arrays`, written by Orbax, is a flat dict from leaf name to array.
`leaves.json` has each leaf's dtype, shape and SHA-256, a state's `logs.json` the checksum of each
log that goes with it. `SHA256SUMS` has every file's, so that `sha256sum -c` checks it by hand and
no damaged file ever reaches Orbax. The folder is made under a name that ends in `.tmp` and then
renamed: under its bare step it is complete. (Orbax alone loads flipped bits, casts dtypes, takes an
empty folder for the latest one, and falls back on no other.) Only one process at a time may write
to a run.
"""

import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from seqgen.errors import SeqgenError
from seqgen.storage.files import flush, sha256
from seqgen.storage.leaves import all_renamed, describe, named, place
from seqgen.types import Params, Tree

Kind = Literal["state", "params"]

PARAMS_LIMIT = 200_000_000
"""Bytes that the parameters of all epochs may take together before the oldest are dropped."""


def save_state(
    run: Path, step: int, state: Tree, *, logs: Sequence[int | None] | None = None
) -> None:
    """Writes the whole state and keeps the last two.

    Here and in `save_params` checkpoints of later steps are dropped: the run left that future when
    it was resumed from an earlier step.

    Args:
        run: the run's directory.
        step: how many training steps made the state.
        state: a tree of arrays.
        logs: the `log.checksum` of each run whose state it is; None: they have no log.

    Raises:
        SeqgenError: it cannot be written; nothing that was there is lost.

    """
    _write(run, "state", step, state, {} if logs is None else {"logs.json": json.dumps(logs)})
    keep_only(run, "state", [other for other in steps(run, "state") if other <= step][-2:])


def save_params(run: Path, step: int, params: Params, *, keep: Collection[int] = ()) -> None:
    """Writes the parameters, then drops the oldest ones beyond `PARAMS_LIMIT`.

    Args:
        run: the run's directory.
        step: how many training steps made the parameters.
        params: the parameters.
        keep: steps whose parameters are not dropped; nor are this step's.

    Raises:
        SeqgenError: they cannot be written; nothing that was there is lost.

    """
    _write(run, "params", step, params, {})
    kept = [other for other in steps(run, "params") if other <= step or other in keep]
    sizes = {
        other: sum(file.stat().st_size for file in _path(run, "params", other).rglob("*"))
        for other in kept
    }
    for other in kept:
        if sum(sizes.values()) > PARAMS_LIMIT and other not in {step, *keep}:
            del sizes[other]
    keep_only(run, "params", sizes)


def restore_state(run: Path, like: Tree) -> tuple[int, Tree, list[str]]:
    """The newest good state: its step, the tree, and which newer ones were skipped and why.

    `like` holds arrays or `ShapeDtypeStruct`s: names, shapes and dtypes must agree, and its
    shardings are used; where it has a NumPy array, one comes back.

    Raises:
        SeqgenError: none is good; the message has the reason for each.

    """
    return _restore(run, "state", like, reversed(numbered(run, "state")))


def restore_params(run: Path, like: Params, step: int) -> Params:
    """The parameters of one step; `like` as in `restore_state`. No other step takes its place.

    Raises:
        SeqgenError: they are gone or damaged; the message has the reason.

    """
    return _restore(run, "params", like, [step])[1]


def saved_logs(run: Path, step: int, count: int) -> list[int | None]:
    """The checksums of `count` logs in a state that was restored; None where it has none."""
    file = _path(run, "state", step) / "logs.json"
    return json.loads(file.read_text()) if file.is_file() else [None] * count


def check_all(run: Path) -> None:
    """Raises `SeqgenError` for the first damaged checkpoint."""
    for folder in sorted(run.glob("checkpoints/*/*[0-9]")):  # no left-over .tmp
        try:
            _check_files(folder)
        except SeqgenError as error:
            raise SeqgenError(f"{folder}: {error}") from error


def steps(run: Path, kind: Kind) -> list[int]:
    """The finished checkpoints, oldest first."""
    return [
        step for step in numbered(run, kind) if (_path(run, kind, step) / "SHA256SUMS").is_file()
    ]


def numbered(run: Path, kind: Kind) -> list[int]:
    """Every folder named by a step, finished or not, oldest first."""
    folders = (run / "checkpoints" / kind).glob("*")
    return sorted(int(path.name) for path in folders if re.fullmatch("[0-9]+", path.name))


def _write(run: Path, kind: Kind, step: int, tree: Tree, more: dict[str, str]) -> None:
    """Writes `<step>.tmp`, with `more` files, flushes it to the disk, renames it to `<step>`."""
    arrays = {name: np.asarray(leaf) for name, leaf in named(tree).items()}
    earlier = [other for other in steps(run, kind) if other != step]
    final = _path(run, kind, step)
    temporary = final.with_name(f"{step}.tmp")
    try:
        _sweep(final.parent)
        temporary.mkdir(parents=True)
        for name, content in more.items():
            (temporary / name).write_text(content)
        _fill(temporary, arrays)
        with ThreadPoolExecutor() as pool:  # together they cost one journal commit, not a dozen
            list(pool.map(flush, [temporary, *temporary.rglob("*")]))
        if final.exists():
            _discard(final)
        temporary.rename(final)
        flush(final.parent)
    except Exception as error:  # OSError, or what Orbax and tensorstore make of it
        intact = "there was none before it"
        if earlier:
            intact = f"the previous checkpoint (step {earlier[-1]}) is intact"
        raise SeqgenError(
            f"cannot write checkpoint at {final}: {_reason(error)}; {intact}"
        ) from error
    finally:
        _sweep(final.parent)


def _fill(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """The files of a checkpoint: arrays, leaves.json and SHA256SUMS of all that is there."""
    from orbax.checkpoint import v1 as ocp  # 0.6 s: not before the first save

    _silence_threads()
    _probe(folder / "probe", 2**20 + sum(array.nbytes for array in arrays.values()))
    context = ocp.Context()
    context.array.saving.use_compression = False  # it takes a third more time and saves little
    with context:
        ocp.save(str((folder / "arrays").absolute()), arrays)  # Orbax refuses a relative path
    leaves = {name: describe(array) for name, array in arrays.items()}
    (folder / "leaves.json").write_text(json.dumps(leaves, indent=1))
    files = [path for path in folder.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.name == "leaves.json", path))  # that comes last
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


@cache
def _silence_threads() -> None:
    """What threads print of errors that Orbax raises as well, where a disk fills or fails."""
    twice = "_SignalingThread.run() raised an exception"
    logging.getLogger("absl").addFilter(lambda record: twice not in str(record.msg))
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":  # tensorstore's threads come late
            before(unraisable)

    sys.unraisablehook = hook


def _probe(path: Path, size: int) -> None:
    """Raises OSError if `size` bytes do not fit: Orbax would answer with pages of tracebacks."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)
    path.unlink()


def keep_only(run: Path, kind: Kind, kept: Collection[int]) -> None:
    """Removes the other checkpoints."""
    for step in numbered(run, kind):
        if step not in kept:
            _discard(_path(run, kind, step))
    _sweep(_path(run, kind, 0).parent)


def _discard(path: Path) -> None:
    """Renames it at once, for `_sweep` to delete: no half checkpoint is ever named by a step."""
    path.rename(path.with_name(f"{path.name}.old.tmp"))


def _sweep(folder: Path) -> None:
    """Deletes every left-over, over again for a second: a failed save's threads may still write."""
    for _ in range(50):
        for path in folder.glob("*.tmp"):
            shutil.rmtree(path, ignore_errors=True)
        if not any(folder.glob("*.tmp")):
            return
        time.sleep(0.02)


def _restore(
    run: Path, kind: Kind, like: Tree, wanted: Iterable[int]
) -> tuple[int, Tree, list[str]]:
    targets, skipped = named(like), []
    for step in wanted:
        try:
            arrays = _read(_path(run, kind, step), targets)
        except Exception as error:  # Orbax and tensorstore raise almost anything
            skipped.append(f"step {step}: {_reason(error)}")
            continue
        leaves = [place(arrays[name], target) for name, target in targets.items()]
        return step, jax.tree.unflatten(jax.tree.structure(like), leaves), skipped
    raise SeqgenError(
        f"no good checkpoint in {_path(run, kind, 0).parent}: {'; '.join(skipped) or 'it has none'}"
    )


def _read(path: Path, targets: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of one checkpoint, if its files are whole, its leaves those that `targets` has,
    and their bits those that were saved.
    """
    from orbax.checkpoint import v1 as ocp

    _check_files(path)
    leaves = all_renamed(json.loads((path / "leaves.json").read_text()))
    for name in sorted(leaves.keys() ^ targets.keys()):
        reason = "not wanted" if name in leaves else "not in the checkpoint"
        raise SeqgenError(f"leaf {name}: {reason}")
    for name, target in targets.items():
        saved = f"{leaves[name]['dtype']}{leaves[name]['shape']}"
        wanted = f"{target.dtype}{list(target.shape)}"
        if saved != wanted:
            raise SeqgenError(f"leaf {name}: saved as {saved}, wanted as {wanted}")
    arrays = all_renamed(ocp.load(str((path / "arrays").absolute())))
    for name, saved in leaves.items():
        loaded = describe(arrays[name])
        for what in saved:
            if loaded[what] != saved[what]:
                raise SeqgenError(f"leaf {name}: {what} differs")
    return arrays


def _check_files(path: Path) -> None:
    if not (path / "SHA256SUMS").is_file():
        raise SeqgenError("it has no SHA256SUMS" if path.is_dir() else "there is none")
    lines = (path / "SHA256SUMS").read_text(errors="replace").splitlines()
    if not lines or not lines[-1].endswith("  leaves.json"):
        raise SeqgenError("SHA256SUMS: cut short")
    for line in lines:
        expected, name = line[:64], line[66:]
        if not (path / name).is_file():
            raise SeqgenError(f"{name}: no such file")
        if sha256(path / name) != expected:
            raise SeqgenError(f"{name}: sha256 differs")


def _path(run: Path, kind: Kind, step: int) -> Path:
    return run / "checkpoints" / kind / str(step)


def _reason(error: Exception) -> str:
    """What the operating system said, if it did; tensorstore has its number inside the text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(number[1]))
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
