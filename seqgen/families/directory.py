"""Run directories: allocated, written, opened."""

import difflib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import pairs, text
from seqgen.families.family import Family
from seqgen.families.pairs_run import PairsRun
from seqgen.families.registry import family_of
from seqgen.families.run import Run, parameters, resuming
from seqgen.families.schema import config_of, to_json
from seqgen.families.start import matched, pinned
from seqgen.families.text_run import TextRun
from seqgen.families.unused import refuse_unused
from seqgen.models import label
from seqgen.nn.switches import fixed
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.files import alone, read_bytes, write
from seqgen.storage.versions import versions
from seqgen.types import Config, Sizes


def create(
    config: RunConfig,
    name: str | None,
    folder: Path = Path("runs"),
    *,
    dataset: Any = None,
    stem: str | None = None,
) -> Run:
    """Make the directory of a new run.

    Args:
        config: all about it.
        name: its own, or a path; None: a free one is made.
        folder: of runs.
        dataset: its data, where they are loaded already.
        stem: what a name that is made begins with; None: what its data and its model are called.

    Raises:
        UsageError: if `name` exists, or the configuration cannot be trained.
        SeqgenError: if it cannot be written.

    """
    config, dataset = complete(config, dataset)
    path = allocate_directory(folder, name, stem or default_name(config))
    try:
        return write_metadata(path, config, dataset)
    except BaseException:  # Ctrl-C, too
        shutil.rmtree(path, ignore_errors=True)
        raise


def default_name(config: RunConfig) -> str:
    """dates-attention, ptb-lstm and the like."""
    return f"{config.data.name}-{label(config.model)}"


def complete(config: RunConfig, dataset: Any = None) -> tuple[RunConfig, Any]:
    """A configuration whose files are pinned by their checksums, and its data, loaded unless given.

    Raises:
        UsageError: where it cannot be trained, or has a field that would change nothing.

    """
    family = family_of(config)
    family.selecting(config.training)
    refuse_unused(config)
    config = replace(config, data=config.data.pinned())
    dataset = family.load(config.data) if dataset is None else dataset
    family.check(config, dataset)
    if config.training.start is not None and config.training.start_sha256 is None:
        origin = open_run(config.training.start)
        config = replace(config, training=pinned(config.training, origin))
        matched(config.model, dataset, origin)
    config.training.length(family.epoch_steps(config, dataset))
    check_size(config.model, dataset.sizes)
    return config, dataset


def write_metadata(path: Path, config: RunConfig, dataset: Any) -> Run:
    """Write a run's first files. config.json comes last: a folder that has it is a run."""
    family = family_of(config)
    run = family.run(path, config, family)
    run.dataset = dataset
    contents = {
        "vocabulary.json": json_bytes(run.described()),
        "versions.json": json_bytes(versions()),
        "config.json": json_bytes(to_json(config)),
    }
    manifest.create(path, contents)
    for name, content in contents.items():
        write(path / name, content)
    return run


def json_bytes(content: dict[str, Any]) -> bytes:
    """One of a run's JSON files."""
    return f"{json.dumps(content, indent=1)}\n".encode()


def open_at(path: Path) -> Run:
    """Open the run in a directory. Raises `SeqgenError` where its config.json is not whole."""
    config = config_of(path)
    family = family_of(config)
    return family.run(path, config, family)


def open_run(name: str | os.PathLike[str]) -> Run:
    """Open a run by its path, or by a name under `runs/`.

    Raises `UsageError` where there is none.
    """
    for path in (locate(name), Path(name)):
        if is_run(path):
            return open_at(path)
    here = locate(name)
    sweep = (here / "sweep.json").is_file()
    known = [path.name for path in here.parent.glob("*") if is_run(path)]
    near = difflib.get_close_matches(here.name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    hint = "; it is a sweep, and its members are runs" if sweep else hint
    raise UsageError(f"no run at {here}: it has no config.json{hint}")


def open_pairs(name: str | os.PathLike[str]) -> PairsRun:
    """Open a run of pairs. Raises `UsageError` for another one."""
    return open_of(pairs.FAMILY, name)


def open_text(name: str | os.PathLike[str]) -> TextRun:
    """Open a run of text, a language model's. Raises `UsageError` for another one."""
    return open_of(text.FAMILY, name)


def open_of(family: Family, name: str | os.PathLike[str]) -> Any:
    """Open a run of one kind of data. Raises `UsageError` for one of another kind."""
    run = open_run(name)
    if run.family.name != family.name:
        raise UsageError(
            f"{run.path} is a run of {run.family.name}; this needs a run of {family.name}"
        )
    return run


def extend(run: Run, epochs: int) -> Run:
    """The run, to end after so many epochs in all, as if it had been made so.

    Raises:
        UsageError: where that cannot be.
        SeqgenError: where another process is at work in it.

    """
    training = replace(run.config.training, epochs=epochs)
    with fixed(), alone(run.path):
        if training == run.config.training:
            return run
        check_extended(run, training)
        manifest.cover(run.path)
        log.keep(run.path, lambda event: not event.get("final"))
        config = replace(run.config, training=training)
        manifest.replace(run.path / "config.json", json_bytes(to_json(config)))
    return open_at(run.path)


def check_extended(run: Run, training: Training) -> None:
    """Raises `UsageError` where the past of a run is not that of one that is trained so."""
    each = run.family.epoch_steps(run.config, run.dataset)
    done = max(checkpoint.numbered(run.path, "state"), default=0)
    reason = None
    if manifest.sweep_of(run.path) is not None:
        reason = "it is a member of a sweep, whose members all train as long"
    elif len(training.start_steps) > 1:
        reason = f"it is a mean of {training.start}, and was not trained; begin another run with it"
    elif training.steps is not None:
        reason = f"it was made to take {training.steps} steps, whatever its epochs"
    elif training.schedule != "constant":
        reason = f"the rates of its {training.schedule} schedule depend on their number"
    elif run.family.ended_early(training, log.epochs(run.path)):
        reason = f"it ended early: patience {training.patience} was over"
    elif done > training.length(each):
        reason = f"it has trained for {done / each:.4g} already"
    if reason is not None:
        raise UsageError(
            f"{run.path} cannot go on to epochs {training.epochs}: {reason}",
            fields=("training.epochs",),
        )


def check_files(path: Path) -> None:
    """Raises `SeqgenError` for the first of a run's files that is not as it was written."""
    _ = open_at(path).sizes  # reads vocabulary.json
    manifest.read_json(path / "versions.json")
    log.read(path)
    checkpoint.check_all(path)


def accept(path: Path) -> None:
    """Take a run's files as they are: its manifest is written anew.

    Raises:
        SeqgenError: where one cannot be read.

    """
    log.accept(path)
    names = {*manifest.RUN, *([manifest.LOG] if manifest.sealed(path) else [])}
    manifest.create(path, {name: read_bytes(path / name) for name in names})


def check_size(cfg: Config, sizes: Sizes) -> None:
    """Raises `UsageError` for a model whose training cannot fit: XLA may hang on one."""
    count = parameters(cfg, sizes)
    needed = 4 * 4 * count  # float32: weights, gradients and Adam's two moments
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:
        raise UsageError(
            f"a model of {count:,} parameters takes {needed / 1e9:,.0f} GB to train, "
            f"and this machine has {memory / 1e9:,.0f} GB; use a smaller model"
        )


def allocate_directory(folder: Path, name: str | None, stem: str) -> Path:
    """A new, empty directory: of that name, which may be a path, or the first free stem-2,
    -3, ...
    """
    names = [stem, *(f"{stem}-{i}" for i in range(2, 10_000))] if name is None else [name]
    for candidate in names:
        path = locate(candidate, folder)
        check_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            if not path.parent.is_dir():
                raise SeqgenError(f"cannot make {path}: {path.parent} is not a folder") from error
            continue
        except OSError as error:
            raise SeqgenError(f"cannot make {path}: {error.strerror}") from error
        return path
    path = locate(names[-1], folder)
    resume = f", or `{resuming(path)}` to go on" if is_run(path) else ""
    raise UsageError(f"{path} exists; use another name{resume}", fields=("name",))


def check_path(path: Path) -> None:
    """Raises `UsageError` for a path that Orbax cannot write to."""
    try:
        if b"\0" not in str(path.absolute()).encode():
            return
    except ValueError:
        pass
    raise UsageError(f"cannot make {str(path)!r}: a run's path is UTF-8, without NUL")


def locate(name: str | os.PathLike[str], folder: Path = Path("runs")) -> Path:
    """A path as it is; a bare name under the folder of runs."""
    bare = isinstance(name, str) and os.sep not in name and name not in (".", "..")
    return folder / name if bare else Path(name)


def is_run(path: Path) -> bool:
    """Whether a run was made there."""
    return os.path.isfile(path / "config.json")  # pathlib's own raises for a name that is too long
