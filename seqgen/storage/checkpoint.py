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
import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from seqgen.errors import SeqgenError
from seqgen.storage.arrays import load, reason, save
from seqgen.storage.files import sha256
from seqgen.types import Params, Tree

Kind = Literal["state", "params"]

PARAMS_LIMIT = 200_000_000
"""Bytes that the parameters of all epochs may take together before the oldest are dropped."""

RENAMED = {"bridge": "projection", "broken": "not_finite"}
"""Parts of leaf names in old checkpoints -> their names now."""


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
    _keep_only(run, "state", [other for other in steps(run, "state") if other <= step][-2:])


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
    _keep_only(run, "params", sizes)


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
    kinds: tuple[Kind, ...] = ("state", "params")
    for folder in [_path(run, kind, step) for kind in kinds for step in numbered(run, kind)]:
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
    arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(tree).items()}
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
            list(pool.map(_flush, [temporary, *temporary.rglob("*")]))
        if final.exists():
            _discard(final)
        temporary.rename(final)
        _flush(final.parent)
    except Exception as error:  # OSError, or what Orbax and tensorstore make of it
        intact = "there was none before it"
        if earlier:
            intact = f"the previous checkpoint (step {earlier[-1]}) is intact"
        raise SeqgenError(
            f"cannot write checkpoint at {final}: {reason(error)}; {intact}"
        ) from error
    finally:
        _sweep(final.parent)


def _fill(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """The files of a checkpoint: arrays, leaves.json and SHA256SUMS of all that is there."""
    save(folder / "arrays", arrays)
    leaves = {name: _describe(array) for name, array in arrays.items()}
    (folder / "leaves.json").write_text(json.dumps(leaves, indent=1))
    files = [path for path in folder.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.name == "leaves.json", path))  # that comes last
    sums = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _keep_only(run: Path, kind: Kind, kept: Collection[int]) -> None:
    for step in numbered(run, kind):
        if step not in kept:
            _discard(_path(run, kind, step))
    _sweep(_path(run, kind, 0).parent)


def _discard(path: Path) -> None:
    """Renames it at once, for `_sweep` to delete: no half checkpoint is ever named by a step."""
    path.rename(path.with_name(f"{path.name}.old.tmp"))


def _sweep(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _restore(
    run: Path, kind: Kind, like: Tree, wanted: Iterable[int]
) -> tuple[int, Tree, list[str]]:
    targets, skipped = _named_leaves(like), []
    for step in wanted:
        try:
            arrays = _read(_path(run, kind, step), targets)
        except Exception as error:  # Orbax and tensorstore raise almost anything
            skipped.append(f"step {step}: {reason(error)}")
            continue
        leaves = [_place(arrays[name], target) for name, target in targets.items()]
        return step, jax.tree.unflatten(jax.tree.structure(like), leaves), skipped
    raise SeqgenError(
        f"no good checkpoint in {_path(run, kind, 0).parent}: {'; '.join(skipped) or 'it has none'}"
    )


def _read(path: Path, targets: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of one checkpoint, if its files are whole, its leaves those that `targets` has,
    and their bits those that were saved.
    """
    _check_files(path)
    leaves = _renamed(json.loads((path / "leaves.json").read_text()))
    for name in sorted(leaves.keys() ^ targets.keys()):
        reason = "not wanted" if name in leaves else "not in the checkpoint"
        raise SeqgenError(f"leaf {name}: {reason}")
    for name, target in targets.items():
        saved = f"{leaves[name]['dtype']}{leaves[name]['shape']}"
        wanted = f"{target.dtype}{list(target.shape)}"
        if saved != wanted:
            raise SeqgenError(f"leaf {name}: saved as {saved}, wanted as {wanted}")
    arrays = _renamed(load(path / "arrays"))
    for name, saved in leaves.items():
        loaded = _describe(arrays[name])
        for what in saved:
            if loaded[what] != saved[what]:
                raise SeqgenError(f"leaf {name}: {what} differs")
    return arrays


def renamed(name: str) -> str:
    """The name that a leaf of a checkpoint has now."""
    return ".".join(RENAMED.get(part, part) for part in name.split("."))


def _renamed(leaves: dict[str, Any]) -> dict[str, Any]:
    """The leaves under the names that they have now."""
    return {renamed(name): leaf for name, leaf in leaves.items()}


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


def _describe(array: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": sha256(data)}


def _place(array: np.ndarray, target: Any) -> np.ndarray | jax.Array:
    """Puts it where `target` lives; committed only if `target` is: jit would compile once more."""
    if isinstance(target, (np.ndarray, np.generic)):
        return array
    return jax.device_put(array, target.sharding if getattr(target, "committed", True) else None)


def _named_leaves(tree: Tree) -> dict[str, Any]:
    """Leaves by path ("params.decoder.wx"), in the tree's order."""
    pairs = jax.tree.leaves_with_path(tree)
    named = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in pairs}
    if len(named) != len(pairs):
        raise ValueError("two leaves of the tree have the same dotted name")
    return {
        name: leaf if hasattr(leaf, "dtype") else np.asarray(leaf) for name, leaf in named.items()
    }


def _path(run: Path, kind: Kind, step: int) -> Path:
    return run / "checkpoints" / kind / str(step)
