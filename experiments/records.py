"""results/*.json: small, committed, with all that says where a number comes from; and the finished runs of a sweep."""

import json
import platform
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from seqgen import jobs
from seqgen.errors import SeqgenError
from seqgen.files import write
from seqgen.fit import tested
from seqgen.groups import Planned
from seqgen.runs import Run, is_run
from seqgen.tasks.dataset import load as load_data
from seqgen.training import log
from seqgen.versions import versions

FOLDER = Path(__file__).parent / "results"
RUNS = Path("runs")


def provenance(command: str, made: dict[str, Any] | None = None) -> dict[str, Any]:
    """The command, versions and machine of a result; `made` are the versions of the runs that it is read from."""
    made = made or versions()
    return {"command": command, "machine": f"{made['cores']} cores, {platform.machine()}, {made['devices']}", "versions": made}


def save(name: str, record: dict[str, Any]) -> None:
    """Write results/<name>.json, a list of numbers on one line."""
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda found: " ".join(found[0].split()), json.dumps(record, indent=1))
    write(FOLDER / f"{name}.json", text + "\n")


def load(name: str) -> dict[str, Any]:
    """Read results/<name>.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def exists(name: str) -> bool:
    """Whether there is a results/<name>.json."""
    return (FOLDER / f"{name}.json").exists()


Members = dict[str, dict[str, Run]]
"""Variant -> seed -> run."""


def members(folder: Path) -> Members:
    """All runs that a sweep was asked for. Raises `SeqgenError` where it is none, or one of them is not finished."""
    found: Members = {}
    names, load_once = jobs.recorded(folder)["members"], cache(load_data)
    if not names:
        raise SeqgenError(f"{folder} holds no sweep: it has no sweep.json")
    for name in names:
        path = folder / name
        run = Run(path)
        if is_run(path):
            run.dataset = load_once(run.config.data)
        if not is_run(path) or not jobs.finished(Planned(path, run.config, run.dataset)):
            raise SeqgenError(f"{path} is not finished: run the sweep's command again")
        variant, _, seed = name.rpartition("-")
        found.setdefault(variant, {})[seed] = run
    return found


def each(folder: Path, measured: Callable[[Run], Any]) -> dict[str, Any]:
    """Variant -> seed -> what is measured of a run that did not break off."""
    cells = members(folder).items()
    return {
        variant: {seed: measured(run) for seed, run in seeds.items() if log.broken(run.path) is None}
        for variant, seeds in cells
    }


def sweep_record(folder: Path) -> dict[str, Any]:
    """A sweep's curves: cell -> seed -> exact match by epoch, on the split that the run was watched on, and on the test set."""
    cells = {variant: {seed: curve(run) for seed, run in seeds.items()} for variant, seeds in members(folder).items()}
    return {**origin(folder), "cells": cells}


def origin(folder: Path) -> dict[str, Any]:
    """The command that made a sweep, without the folders of its files, and the versions that its runs were made with.

    Raises `SeqgenError` where they were made with different ones: their mean would be of two things.
    """
    sweep = jobs.recorded(folder)
    made = [json.loads((folder / name / "versions.json").read_text()) for name in sweep["members"]]
    for name, one in zip(sweep["members"], made, strict=True):
        if one != made[0]:
            raise SeqgenError(f"{folder}: {name} was made with other versions than {sweep['members'][0]}")
    words = shlex.split(sweep["command"])
    return provenance(shlex.join(Path(word).name if word.startswith("/") else word for word in words), made[0])


def curve(run: Run) -> dict[str, Any]:
    """One run in numbers; of one that broke, the step."""
    if (step := log.broken(run.path)) is not None:
        return {"broken": step}
    epochs, test = log.epochs(run.path), tested(run)
    assert test is not None  # it is finished
    return {
        "split": epochs[0]["split"],
        "exact_match": [round(event["exact_match"], 6) for event in epochs],
        "loss": [round(event["loss"], 6) for event in epochs],
        "test": round(test["exact_match"], 6),
        "test_examples": test["examples"],
    }
