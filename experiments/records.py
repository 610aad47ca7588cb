"""results/*.json: small, committed, with all that says where a number comes from.

And the finished runs of a sweep, from which they are made: all of them, and only where they are
what the experiment says, so that a trial with fewer steps or seeds never becomes a number.
"""

import json
import re
import shlex
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from seqgen.errors import SeqgenError
from seqgen.families import PairsRun, Run, finished, flat, is_run, open_pairs
from seqgen.families.pairs import load as load_data
from seqgen.storage import log, manifest
from seqgen.storage.files import write
from seqgen.storage.versions import versions
from seqgen.sweeps import state
from seqgen.sweeps.spec import override

FOLDER = Path(__file__).parent / "results"
RUNS = Path("runs")


def provenance(command: str, made: dict[str, Any] | None = None) -> dict[str, Any]:
    """The command, versions and machine of a result.

    `made` are the versions of the runs that it is read from; None: of what runs now.
    """
    made = made or versions()
    return {
        "command": command,
        "machine": f"{made['cores']} cores, {made['devices']}",
        "versions": made,
    }


def save(name: str, record: dict[str, Any]) -> None:
    """Write results/<name>.json, a list of numbers on one line."""
    numbers = re.compile(r"\[[^\[\]{}\"]*\]")
    text = numbers.sub(lambda found: " ".join(found[0].split()), json.dumps(record, indent=1))
    write(FOLDER / f"{name}.json", text + "\n")


def load(name: str) -> dict[str, Any]:
    """Read results/<name>.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def exists(name: str) -> bool:
    """Whether there is a results/<name>.json."""
    return (FOLDER / f"{name}.json").exists()


Members = dict[str, dict[str, PairsRun]]
"""Variant -> seed -> run."""

OTHERS = {"dates-book": "dates", "best-addition": "search_addition", "best-dates": "search_dates"}
"""Sweeps that are not named like their experiment."""

FREE = frozenset(
    {"seed", "data.file", "data.sha256", "data.split", "data.validation", "data.draws"}
    | {"data.train", "data.test"}
)
"""Fields in which the runs of a sweep need not be what its experiment says."""


def recorded(folder: Path) -> dict[str, Any]:
    """What a sweep's folder says of it. Raises `SeqgenError` where there is none."""
    sweep = state.recorded(folder)
    if not sweep["members"]:
        raise SeqgenError(f"{folder} holds no sweep: it has no sweep.json")
    return sweep


def members(folder: Path) -> Members:
    """All runs of an experiment's sweep.

    Raises:
        SeqgenError: where one is missing, not finished, or made otherwise.

    """
    names, load_once = recorded(folder)["members"], cache(load_data)
    experiment = import_module(f"experiments.{OTHERS.get(folder.name, folder.name)}")
    expected = settings(experiment)
    if not folder.name.startswith("best-"):
        wanted = [f"{name}-{seed}" for name in expected for seed in experiment.SEEDS]
        if missing := [name for name in wanted if name not in names]:
            raise SeqgenError(
                f"{folder} has no {missing[0]}, "
                f"nor {len(missing) - 1} others of {experiment.__name__}"
            )
    found: Members = {}
    for path in (folder / name for name in names):
        variant, _, seed = path.name.rpartition("-")
        unfinished = f"{path} is not finished: run the sweep's command again"
        if not is_run(path):
            raise SeqgenError(f"{unfinished}, or take it out of sweep.json")
        run = open_pairs(path)
        run.dataset = load_once(run.config.data)
        if not finished(run):
            raise SeqgenError(f"{unfinished}, or take it out of sweep.json")
        check_member(run, experiment, expected.get(variant, {}), FREE)
        found.setdefault(variant, {})[seed] = run
    return found


Settings = dict[str, Any]
"""Field -> value, of a whole configuration."""


def settings(experiment: ModuleType) -> dict[str, Settings]:
    """Variant -> what its runs are made with."""
    base = experiment.base()
    return {
        name: flat(override(base, changes) if isinstance(changes, dict) else changes)
        for name, changes in experiment.variants().items()
    }


def check_member(run: Run, experiment: ModuleType, wanted: Settings, free: frozenset[str]) -> None:
    """Raises `SeqgenError`, with a field, for a run that was made with other settings.

    Args:
        run: the run.
        experiment: whose member it should be.
        wanted: the settings of its variant.
        free: fields in which it may differ.

    """
    for field, value in flat(run.config).items():
        if not wanted or (field not in free and value != wanted.get(field)):
            raise SeqgenError(
                f"{run.path} is no member of {experiment.__name__}: its {field} is {value!r}"
            )


def unbroken(found: Members) -> Members:
    """Those that did not break off."""
    return {
        variant: {seed: run for seed, run in seeds.items() if log.broken(run.path) is None}
        for variant, seeds in found.items()
    }


def each(folder: Path, measured: Callable[[PairsRun], Any]) -> dict[str, Any]:
    """Variant -> seed -> what is measured of a run that did not break off."""
    return {
        name: {seed: measured(run) for seed, run in seeds.items()}
        for name, seeds in unbroken(members(folder)).items()
    }


def sweep_record(folder: Path) -> dict[str, Any]:
    """A sweep's curves: cell -> seed -> exact match by epoch, and on the test set.

    The epochs' is of the evaluation split.
    """
    cells = {
        variant: {seed: curve(run) for seed, run in seeds.items()}
        for variant, seeds in members(folder).items()
    }
    return {**origin(folder), "cells": cells}


def search_record(folder: Path) -> dict[str, Any]:
    """A search's curves on its validation rows alone.

    Of what its runs did on the test set nothing is said.
    """
    record = sweep_record(folder)
    for run in (run for seeds in record["cells"].values() for run in seeds.values()):
        run.pop("test", None)
        run.pop("test_examples", None)
    return record


def origin(*folders: Path) -> dict[str, Any]:
    """The commands that made sweeps, without the folders of their files, and the runs' versions.

    Raises:
        SeqgenError: where there is none, or where they were made with different ones: their mean
            would be of two things.

    """
    sweeps = [(folder, recorded(folder)) for folder in folders]
    made = {
        folder / name: folder / name / "versions.json"
        for folder, sweep in sweeps
        for name in sweep["members"]
    }
    versions = {path: manifest.read_json(file) for path, file in made.items()}
    first, one = next(iter(versions.items()))
    for path, other in versions.items():
        if other != one:
            raise SeqgenError(f"{path} was made with other versions than {first}")
    words = shlex.split(" && ".join(sweep["command"] for _, sweep in sweeps))
    command = " ".join(
        word if word == "&&" else shlex.quote(Path(word).name if word[0] == "/" else word)
        for word in words
    )
    return provenance(command, one)


def curve(run: PairsRun) -> dict[str, Any]:
    """One run in numbers; of one that broke, the step."""
    if (step := log.broken(run.path)) is not None:
        return {"broken": step}
    epochs, (_, test) = log.epochs(run.path), run.tested()
    assert test is not None  # it is finished
    return {
        "split": epochs[0]["split"],
        "exact_match": [round(event["exact_match"], 6) for event in epochs],
        "loss": [round(event["loss"], 6) for event in epochs],
        "test": round(test["exact_match"], 6),
        "test_examples": test["examples"],
    }
