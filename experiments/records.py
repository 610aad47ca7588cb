"""results/*.json: small, committed, with all that says where a number comes from; and the finished runs of a sweep."""

import json
import platform
import re
import shlex
from pathlib import Path
from typing import Any

from seqgen import fleet
from seqgen.errors import SeqgenError
from seqgen.files import write
from seqgen.fit import tested
from seqgen.runs import Run, is_run
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


Members = dict[str, dict[str, Run]]
"""Variant -> seed -> run."""


def members(folder: Path) -> Members:
    """All runs of a sweep. Raises `SeqgenError` where there is none, or one is not finished."""
    found: Members = {}
    paths = [path for path in folder.glob("*") if is_run(path)]
    named = sorted((path.name.rpartition("-")[0], int(path.name.rpartition("-")[2]), path) for path in paths)
    for variant, seed, path in named:
        if not fleet.finished(fleet.reopened(path)):
            raise SeqgenError(f"{path} is not finished: run the sweep's command again")
        found.setdefault(variant, {})[str(seed)] = Run(path)
    if not found:
        raise SeqgenError(f"{folder} holds no runs")
    return found


def sweep_record(folder: Path) -> dict[str, Any]:
    """A sweep's curves: cell -> seed -> exact match by epoch, on the split that the run was watched on, and on the test set."""
    cells = {variant: {seed: curve(run) for seed, run in seeds.items()} for variant, seeds in members(folder).items()}
    return {**origin(folder), "cells": cells}


def origin(folder: Path) -> dict[str, Any]:
    """The command that made a sweep, without the folders of its files, and the versions that its runs were made with."""
    made = json.loads(next(folder.glob("*/versions.json")).read_text())
    words = shlex.split(json.loads((folder / "sweep.json").read_text())["command"])
    return provenance(shlex.join(Path(word).name if word.startswith("/") else word for word in words), made)


def curve(run: Run) -> dict[str, Any]:
    """One run in numbers; of one that broke, the step."""
    for event in log.read(run.path):
        if event["event"] == "broken":
            return {"broken": event["step"]}
    epochs, test = log.epochs(run.path), tested(run)
    assert test is not None  # it is finished
    return {
        "split": epochs[0]["split"],
        "exact_match": [round(event["exact_match"], 6) for event in epochs],
        "loss": [round(event["loss"], 6) for event in epochs],
        "test": round(test["exact_match"], 6),
        "test_examples": test["examples"],
    }
