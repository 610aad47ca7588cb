"""Runs: made, opened, and what can be done with one of each kind."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqgen import models
from seqgen.config import CONVERTER, RunConfig
from seqgen.errors import UsageError
from seqgen.files import write
from seqgen.runs.directory import Run, check_path, check_size, claim, config_of, is_run, locate, parameters
from seqgen.runs.language_model import LanguageModelRun
from seqgen.runs.seq2seq import Seq2seqRun
from seqgen.versions import versions

__all__ = [
    "LanguageModelRun",
    "Run",
    "Seq2seqRun",
    "check_path",
    "complete",
    "config_of",
    "create",
    "furnish",
    "is_run",
    "locate",
    "open_language_model",
    "open_run",
    "open_seq2seq",
    "parameters",
]

RUNS: dict[type, type[Run]] = {models.seq2seq.Config: Seq2seqRun, models.language_model.Config: LanguageModelRun}
"""A model's Config -> what its run can do."""


def create(config: RunConfig, name: str | None, folder: Path = Path("runs")) -> Run:
    """Make the directory of a new run. Raises `UsageError` if `name` exists, `SeqgenError` if it cannot be written."""
    config, dataset = complete(config)
    path = claim(folder, name, RUNS[type(config.model)].called(config))
    try:
        return furnish(path, config, dataset)
    except BaseException:  # Ctrl-C, too
        shutil.rmtree(path, ignore_errors=True)
        raise


def complete(config: RunConfig, load: Callable[[Any], Any] | None = None) -> tuple[RunConfig, Any]:
    """A configuration with what comes from its data, and those. Raises `UsageError` where it cannot be trained."""
    kind = RUNS[type(config.model)]
    config, dataset = kind.complete(config, load or kind.load)
    check_size(config)
    return config, dataset


def furnish(path: Path, config: RunConfig, dataset: Any) -> Run:
    """Write a run's first files. config.json comes last: a folder that has it is a run."""
    run = RUNS[type(config.model)](path)
    run.dataset = dataset
    for stem, content in (
        ("vocabulary", run.described()),
        ("versions", versions()),
        ("config", CONVERTER.unstructure(config)),
    ):
        write(path / f"{stem}.json", json.dumps(content, indent=1) + "\n")
    return run


def open_run(name: str | os.PathLike[str]) -> Run:
    """Open a run by its path, or by a name under `runs/`. Raises `UsageError` where there is none."""
    for path in (locate(name), Path(name)):
        if is_run(path):
            return RUNS[type(config_of(path).model)](path)
    sweep = "; it is a sweep, and its members are runs" if (locate(name) / "sweep.json").is_file() else ""
    raise UsageError(f"no run at {locate(name)}: it has no config.json{sweep}")


def open_seq2seq(name: str | os.PathLike[str]) -> Seq2seqRun:
    """Open a run that answers questions. Raises `UsageError` for another one."""
    run = open_run(name)
    if not isinstance(run, Seq2seqRun):
        raise UsageError(f"{run.path} is a language model, and has no answers; `seqgen generate` lets it write")
    return run


def open_language_model(name: str | os.PathLike[str]) -> LanguageModelRun:
    """Open a language model's run. Raises `UsageError` for another one."""
    run = open_run(name)
    if not isinstance(run, LanguageModelRun):
        raise UsageError(f"{run.path} is no language model; `seqgen predict` lets it answer")
    return run
