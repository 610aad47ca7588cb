"""What a run is: task x model x training, and its JSON."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cattrs
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from seqgen.errors import SeqgenError, UsageError
from seqgen.models import MODELS, language_model, seq2seq
from seqgen.tasks import TASKS
from seqgen.tasks.corpus import LANGUAGES, Drawn
from seqgen.tasks.dataset import Data
from seqgen.tasks.language import Language
from seqgen.tasks.task import Task
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig, OptimizerName, ScheduleName


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
        optimizer: Adam, or plain gradient descent.
        plateau: the rate is divided by it after an epoch that was not the best one on the validation split.
        accumulate: a batch's gradient is taken in so many turns, in the memory of one.
        window: tokens that each lane of a language model reads a step, and through which gradients flow back.
        remat: of a window so many tokens keep their activations; the others' are computed again in the backward pass.

    """

    epochs: int = 25
    batch: int = 128
    steps: int | None = None
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    select: Literal["last", "best"] = "last"
    devices: int = 1
    optimizer: OptimizerName = "adam"
    plateau: float | None = None
    accumulate: int = 1
    window: int = 35
    remat: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "steps", "devices", "accumulate", "window", "remat"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if self.batch % (self.devices * self.accumulate):
            turns = f" in {self.accumulate} turns" if self.accumulate > 1 else ""
            raise ValueError(f"a batch of {self.batch} cannot be split evenly over {self.devices} devices{turns}")
        if self.remat is not None and self.window % self.remat:
            raise ValueError(f"a window of {self.window} cannot be split evenly into parts of {self.remat}")
        if self.plateau is not None and not self.plateau >= 1:
            raise ValueError(f"plateau divides the rate: it must be 1 or more, not {self.plateau}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of all steps, at least 0 and below 1, not {self.warmup}")

    def length(self, epoch_steps: int) -> int:
        """How many steps it takes."""
        return self.steps or self.epochs * epoch_steps


if TYPE_CHECKING:  # which one it is the kind of run knows
    AnyData = AnyModel = Any
else:
    AnyData, AnyModel = Data | Text | Drawn, seq2seq.Config | language_model.Config


SEEDS = range(2**32)
"""What a key can be made from."""


def checked_seed(seed: int) -> int:
    """One of `SEEDS`. Raises `UsageError` for any other."""
    if seed not in SEEDS:
        raise UsageError(f"seed must be at least 0 and below 2**32, not {seed}")
    return seed


@dataclass(frozen=True)
class RunConfig:
    """Task x model x training: all that it takes to make a run again."""

    data: AnyData
    model: AnyModel
    training: Training = field(default_factory=Training)
    hyper: HyperConfig = field(default_factory=HyperConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        if isinstance(self.data, Data) != isinstance(self.model, seq2seq.Config):
            raise UsageError(f"a {KINDS[type(self.model)]} model cannot be trained on {KINDS[type(self.data)]}")


KINDS: dict[type, str] = {
    Data: "pairs",
    Text: "text",
    Drawn: "language",
    seq2seq.Config: "seq2seq",
    language_model.Config: "language_model",
}
"""How config.json tells what stands in one place from another; what has no kind is pairs or seq2seq."""


def _converter() -> cattrs.Converter:
    """JSON and back: unknown keys and other types are refused; what may be one of several classes carries its name."""
    converter = make_converter(forbid_extra_keys=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly)
    _tagged(converter, Task, "name", TASKS, None)
    _tagged(converter, Language, "name", LANGUAGES, None)
    _tagged(converter, AnyData, "kind", {KINDS[kind]: kind for kind in (Data, Text, Drawn)}, Data)
    _tagged(converter, AnyModel, "kind", {KINDS[m]: m for m in MODELS}, seq2seq.Config)
    return converter


def _tagged(converter: cattrs.Converter, union: Any, tag: str, classes: dict[str, type], untagged: type | None) -> None:
    """What is declared as `union` is one of `classes`, by its tag; the `untagged` one needs none."""
    names = {kind: name for name, kind in classes.items()}

    def write(value: Any) -> dict[str, Any]:
        content = converter.unstructure(value, type(value))
        return content if type(value) is untagged else {**content, tag: names[type(value)]}

    def read(content: Any, _: Any) -> Any:
        fields = dict(content)
        name = fields.pop(tag, untagged and names[untagged])
        if name not in classes:
            raise ValueError(f"no {tag} {name!r}; there are {', '.join(classes)}")
        return converter.structure(fields, classes[name])

    converter.register_unstructure_hook_func(lambda kind: kind == union, write)
    converter.register_structure_hook_func(lambda kind: kind == union, read)


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
