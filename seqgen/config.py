"""What a run is: task x model x training, and its JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cattrs
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from seqgen.errors import SeqgenError, UsageError
from seqgen.models import seq2seq
from seqgen.tasks import TASKS
from seqgen.tasks.dataset import Data
from seqgen.tasks.task import Task
from seqgen.training.state import HyperConfig, ScheduleName


@dataclass(frozen=True)
class Training:
    """How long a run trains, how its rate moves, and which epoch counts.

    Args:
        epochs: passes over the training examples.
        batch: examples a step.
        steps: train for so many steps, whatever the epochs.
        schedule: the rate stays, or (cosine) rises over the warm-up and then falls to 0 as a cosine.
        warmup: the part of all steps over which the rate of a cosine schedule rises, below 1.
        select: the epoch that is tested and predicts: the last, or the best one on the validation split.
        devices: a batch is split over so many devices; of a CPU, they are its cores.

    """

    epochs: int = 25
    batch: int = 128
    steps: int | None = None
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    select: Literal["last", "best"] = "last"
    devices: int = 1

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch), ("steps", self.steps), ("devices", self.devices)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if self.batch % self.devices:
            raise ValueError(f"a batch of {self.batch} cannot be split evenly over {self.devices} devices")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of all steps, at least 0 and below 1, not {self.warmup}")

    def length(self, epoch_steps: int) -> int:
        """How many steps it takes."""
        return self.steps or self.epochs * epoch_steps


@dataclass(frozen=True)
class RunConfig:
    """Task x model x training: all that it takes to make a run again."""

    data: Data
    model: seq2seq.Config
    training: Training = field(default_factory=Training)
    hyper: HyperConfig = field(default_factory=HyperConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed must be at least 0 and below 2**32, not {self.seed}")


def _converter() -> cattrs.Converter:
    """JSON and back: unknown keys and other types are refused, the task carries its name, by which `TASKS` has it."""
    converter = make_converter(forbid_extra_keys=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly)

    def named(task: Task) -> dict[str, Any]:
        return {**converter.unstructure(task, type(task)), "name": task.name}

    def by_name(content: Any, kind: type) -> Task:
        fields = dict(content)
        name = fields.pop("name", None)
        if name not in TASKS:
            raise ValueError(f"no task {name!r}; there are {', '.join(TASKS)}")
        task: Any = converter.structure(fields, TASKS[name])
        return task

    converter.register_unstructure_hook_func(lambda kind: kind is Task, named)
    converter.register_structure_hook_func(lambda kind: kind is Task, by_name)
    return converter


def _exactly(value: Any, kind: type) -> Any:
    """A value as it is: cattrs alone takes 2.7 for 2, and "false" for true."""
    if type(value) is not kind and (type(value), kind) != (int, float):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return kind(value)


CONVERTER = _converter()


def flat(config: RunConfig) -> dict[str, Any]:
    """Every field by its path: "training.epochs" -> 25."""
    return dict(_leaves(CONVERTER.unstructure(config), ""))


def _leaves(tree: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        yield from _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


def from_json(content: Any, kind: type) -> Any:
    """Decoded JSON as one of our types. Raises `ValueError` that names the field."""
    try:
        return CONVERTER.structure(content, kind)
    except cattrs.BaseValidationError as error:
        raise ValueError("; ".join(cattrs.transform_error(error, format_exception=_say))) from error


def structure(path: Path, kind: type) -> Any:
    """Read one of a run's JSON files. Raises `SeqgenError` that names the file and the field."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        return from_json(content, kind)
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # no JSON, not UTF-8, and what cattrs makes of foreign shapes
        raise SeqgenError(f"{path}: {error}") from error


def _say(error: BaseException, kind: Any) -> str:
    """The words of a refusal; cattrs alone says "invalid value" for each."""
    return str(error) if isinstance(error, (ValueError, SeqgenError)) else format_exception(error, kind)
