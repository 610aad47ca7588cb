"""A run is a directory: its configuration, vocabulary, log, checkpoints, samples and figures.

config.json  vocabulary.json  versions.json  metrics.jsonl  samples/<step>.txt  checkpoints/  figures/
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from seqgen.config import RunConfig, structure
from seqgen.errors import SeqgenError, UsageError
from seqgen.models import model_of
from seqgen.tasks.task import Split
from seqgen.training import checkpoint, log
from seqgen.training.loop import best_step, resuming
from seqgen.types import Params
from seqgen.versions import versions


def config_of(path: Path) -> RunConfig:
    """What the run in a directory is. Raises `SeqgenError` for a file that is not whole or not ours."""
    return structure(path / "config.json", RunConfig)


class Run(ABC):
    """An opened run directory. Reads its files when they are asked for, and keeps what it read."""

    load: Callable[[Any], Any]
    """Makes or reads the data of a configuration."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"seqgen.load({str(self.path)!r})"

    @cached_property
    def config(self) -> RunConfig:
        """What the run is. Raises as `config_of`."""
        return config_of(self.path)

    @cached_property
    def dataset(self) -> Any:
        """The data, made or read again."""
        return type(self).load(self.config.data)

    @property
    def model(self) -> ModuleType:
        """The module of the model."""
        return model_of(self.config.model)

    @cached_property
    def params(self) -> Params:
        """The parameters of the selected epoch: the last, or the best one on the validation split (`--select best`)."""
        step = self.selected_step()
        try:
            return checkpoint.restore_params(self.path, abstract_params(self.config), step)[1]
        except SeqgenError as error:
            raise SeqgenError(f"{error}; `{resuming(self.path)}` writes the last epoch's again") from error

    def at(self, step: int) -> Any:
        """The same run with the parameters of another epoch. Raises `SeqgenError` where they were not kept."""
        return self.having(checkpoint.restore_params(self.path, abstract_params(self.config), step)[1])

    def having(self, params: Params) -> Any:
        """The same run with other parameters."""
        other = type(self)(self.path)
        other.dataset, other.params = self.dataset, params
        return other

    def selected_step(self) -> int:
        """The step of the selected epoch. Raises `SeqgenError` while there is none."""
        steps = checkpoint.steps(self.path, "params")
        if self.config.training.select == "best":
            epochs = [epoch for epoch in log.epochs(self.path) if epoch["step"] in steps]
            steps = [best_step(epochs)] if epochs else []
        if not steps:
            if (step := log.broken(self.path)) is not None:
                raise SeqgenError(f"{self.path} has no weights: at step {step} its loss or weights were not finite")
            trains = "its sweep's command" if (self.path.parent / "sweep.json").exists() else f"`{resuming(self.path)}`"
            raise SeqgenError(f"{self.path} has no finished epoch yet; {trains} trains it")
        return steps[-1]

    @staticmethod
    @abstractmethod
    def called(config: RunConfig) -> str:
        """What a run is called that was given no name: dates-attention and the like."""

    @staticmethod
    @abstractmethod
    def complete(config: RunConfig, load: Callable[[Any], Any]) -> tuple[RunConfig, Any]:
        """A configuration with what comes from its data, and those. Raises `UsageError` where it cannot be trained."""

    @property
    @abstractmethod
    def held_out(self) -> Split:
        """The split that the run is watched on."""

    @property
    @abstractmethod
    def tested_on(self) -> Split:
        """The split that the run is scored on at its end."""

    @abstractmethod
    def evaluate(self, split: Split) -> Any:
        """Its scores on a split."""

    @abstractmethod
    def measured(self, scores: Any) -> dict[str, Any]:
        """Scores by name."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What vocabulary.json has: how the run reads and writes text."""

    def changes(self) -> list[str]:
        """What is not as it was when the run was made: bit for bit, a resumed run ends the same only where nothing is."""
        made = structure(self.path / "versions.json", dict)
        return [f"{name} {made.get(name)}, now {now}" for name, now in versions().items() if made.get(name) != now]


def abstract_params(config: RunConfig) -> Params:
    """The parameters' shapes and dtypes, without values."""
    return jax.eval_shape(partial(model_of(config.model).init, config.model), jax.random.key(0))


def parameters(config: RunConfig) -> int:
    """How many weights a model has."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))


def check_size(config: RunConfig) -> None:
    """Raises `UsageError` for a model whose training cannot fit: XLA may hang on one where it should refuse."""
    count = parameters(config)
    needed, memory = 4 * 4 * count, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:  # float32: weights, gradients and Adam's two moments
        sizes = f"{needed / 1e9:,.0f} GB to train, and this machine has {memory / 1e9:,.0f} GB"
        raise UsageError(f"a model of {count:,} parameters takes {sizes}; a smaller --model would do")


def claim(folder: Path, name: str | None, stem: str) -> Path:
    """A new, empty directory: of that name, which may be a path, or of the first free one like `dates-attention-2`."""
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
    raise UsageError(f"{path} exists; another --name would do{resume}")


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
    return folder / name if isinstance(name, str) and os.sep not in name and name not in (".", "..") else Path(name)


def is_run(path: Path) -> bool:
    """Whether a run was made there."""
    return os.path.isfile(path / "config.json")  # pathlib's own raises for a name that is too long
