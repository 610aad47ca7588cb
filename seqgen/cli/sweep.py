"""seqgen sweep: every variant of an experiment with every seed, as few compiled programs as can be."""

import importlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

import tyro

from seqgen import fleet, groups
from seqgen.cli.parse import call
from seqgen.cli.terminal import SweepTerminal, prepare_devices
from seqgen.config import RunConfig
from seqgen.errors import UsageError
from seqgen.sweep import Changes, override
from seqgen.training import grid
from seqgen.training.loop import stoppable
from seqgen.versions import cores


def command(
    module: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE")],
    /,
    only: tuple[str, ...] = (),
    seeds: str | None = None,
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set"), tyro.conf.UseAppendAction] = (),
    split: Literal["leak-free", "book"] | None = None,
    data: Path | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
    layout: grid.LayoutName | None = None,
    chunk: int | None = None,
    dry_run: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
) -> None:
    """Train every variant of an experiment with every seed; the same command again goes on where it was stopped.

    Args:
        module: what has `base()` and `variants()`, like experiments.addition; the current folder is looked in, too.
        only: some variants, by their names.
        seeds: like 0:10 (without the 10) or 0,3,7; by default the module's own SEEDS.
        set_: fields of every variant, like steps=200 or lr=0.002.
        split: leak-free (by key) or book (its permutation).
        data: a file in the book's format.
        name: the sweep's name under --runs, or a path; by default the module's last word.
        runs: the folder of runs.
        layout: members of a device take turns (map) or go abreast (vmap); by default turns on a CPU.
        chunk: members trained at a time; by default as many as fit in memory.
        dry_run: say what would be trained, and train nothing.

    """
    prepare_devices(cores())
    if chunk is not None and chunk < 1:
        raise UsageError(f"--chunk must be 1 or more, not {chunk}")
    experiment = imported(module)
    changes = {
        **assigned(set_),
        **({"data.split": split} if split else {}),
        **({"data.file": str(data.absolute())} if data else {}),
    }
    chosen = selected(experiment, only, changes)
    folder = runs / name if name and os.sep not in name else Path(name or runs / module.rpartition(".")[2])
    planned = groups.plan(chosen, numbers(seeds) if seeds else list(getattr(experiment, "SEEDS", range(5))), folder)
    how = layout or grid.default_layout()
    terminal = SweepTerminal()
    with terminal, stoppable(again()):
        if dry_run:
            print("\n".join(fleet.summary(fleet.jobs(planned, folder, how, chunk), len(planned))))
            return
        fleet.sweep(planned, folder, how, chunk, terminal, again())
    print(folder)


def main(arguments: list[str]) -> None:
    """`seqgen sweep MODULE`."""
    call(command, "seqgen sweep", arguments)


def again() -> str:
    """The command that was given."""
    return shlex.join(["seqgen", *sys.argv[1:]])


def imported(name: str) -> ModuleType:
    """The experiment's module. Raises `UsageError` where there is none, or it is no experiment."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"cannot import {name!r} from here ({Path.cwd()}): {error}") from error
    for function in ("base", "variants"):
        if not callable(getattr(module, function, None)):
            raise UsageError(f"{name} has no {function}(): it is not an experiment that can be swept")
    return module


def selected(experiment: ModuleType, only: Iterable[str], changes: Changes) -> dict[str, RunConfig]:
    """The variants asked for. Raises `UsageError` for a name that the experiment does not have."""
    base, variants = experiment.base(), experiment.variants()
    for name in only:
        if name not in variants:
            raise UsageError(f"no variant {name!r}; there are {', '.join(variants)}")
    chosen = only or variants
    return {name: override(override(base, variants[name]), changes) for name in chosen}


def assigned(words: Iterable[str]) -> Changes:
    """steps=200 as {"steps": 200}: values are JSON, or else text."""
    changes: Changes = {}
    for word in words:
        field, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--set needs field=value, not {word!r}")
        try:
            changes[field] = json.loads(value)
        except ValueError:
            changes[field] = value
    return changes


def numbers(words: str) -> list[int]:
    """0:10 or 0,3,7 as numbers. Raises `UsageError` for anything else."""
    if match := re.fullmatch(r"(\d+):(\d+)", words):
        found = list(range(int(match[1]), int(match[2])))
    elif re.fullmatch(r"\d+(,\d+)*", words):
        found = [int(word) for word in words.split(",")]
    else:
        found = []
    if not found or len(set(found)) < len(found):
        raise UsageError(f"--seeds must be like 0:10 or 0,3,7, not {words!r}")
    return found
