"""What a run is: data x model x training, plain dataclasses; and how JSON becomes one of ours.

A field changes a shape or the program; what does not is a leaf of `seqgen.types.Hyper`, which is
traced, so that a change of it compiles nothing anew.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import cattrs
from cattrs.preconf.json import make_converter
from cattrs.v import format_exception

from seqgen.errors import SeqgenError, UsageError
from seqgen.ranges import BELOW_ONE, INT32_MAX, check_count, in_float32
from seqgen.training.optimizer import OptimizerName, ScheduleName
from seqgen.training.state import HyperConfig
from seqgen.types import Special

MOST_STEPS = INT32_MAX - 1
"""A step is an int32, whose largest number stands for none (see training/steps.py)."""


@dataclass(frozen=True)
class Training:
    """How long a run trains, how its rate moves, and which epoch counts.

    Args:
        epochs: passes over the training examples.
        batch: examples per step.
        steps: train for this many steps, whatever the epochs.
        schedule: the rate stays, or rises over the warm-up and then falls: to 0 as a cosine, or
            with the inverse square root of the steps.
        warmup: the part of all steps over which the rate rises, below 1.
        select: the epoch that is tested and predicts: the last, or on the evaluation split the
            best, or the best by one of its scores, like loss; of equal ones by the lower loss.
        devices: how many devices a batch is split over; of a CPU, they are its cores.
        optimizer: Adam, or plain gradient descent.
        plateau: the rate is divided by it after an epoch whose loss on the evaluation split was
            not the lowest so far.
        accumulate: how many parts a batch's gradient is taken in, in the memory of one.
        window: tokens that each lane of a language model reads per step, and through which
            gradients flow back.
        remat: tokens of a window that keep their activations; the others' are recomputed in the
            backward pass.
        batch_tokens: a batch of pairs from files has about so many, source and target, padding with
            them; None: it has `batch` pairs.
        label_smoothing: the part of a target's weight that all tokens share alike.
        patience: training ends after so many epochs without a better score.
        evaluate_rows: an epoch is evaluated on at most so many rows, always the same; the test is
            of all rows.
        start: another run, with whose weights this one begins.
        start_steps: of which epoch they are; of several, this run is their mean, and not trained.
        start_sha256: what they were when this run was made.

    Raises:
        UsageError: for settings without sense.

    """

    epochs: int = 25
    batch: int = 128
    steps: int | None = None
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    select: str = "last"
    devices: int = 1
    optimizer: OptimizerName = "adam"
    plateau: float | None = None
    accumulate: int = 1
    window: int = 35
    remat: int | None = None
    batch_tokens: int | None = None
    label_smoothing: float = 0.0
    patience: int | None = None
    evaluate_rows: int | None = None
    start: str | None = None
    start_steps: tuple[int, ...] = ()
    start_sha256: str | None = None

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch",
            "steps",
            "devices",
            "accumulate",
            "window",
            "remat",
            "batch_tokens",
            "patience",
            "evaluate_rows",
        ):
            check_count(f"training.{name}", getattr(self, name), MOST_STEPS)
        if self.batch % (self.devices * self.accumulate):
            parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
            raise UsageError(
                f"a batch of {self.batch} cannot be split evenly "
                f"over {self.devices} devices{parts}",
                fields=("training.batch",),
            )
        if self.remat is not None and self.window % self.remat:
            raise UsageError(
                f"a window of {self.window} cannot be split evenly into parts of {self.remat}",
                fields=("training.window", "training.remat"),
            )
        if self.plateau is not None and not in_float32(self.plateau, 1, 1e6):
            raise UsageError(
                f"plateau divides the rate: it must be from 1 to 1e6, not {self.plateau}",
                fields=("training.plateau",),
            )
        if self.patience is not None and self.select == "last":
            raise UsageError(
                f"patience {self.patience} waits for a better score, and the last epoch is chosen "
                "by none: use select best, or the name of a score",
                fields=("training.patience", "training.select"),
            )
        if not in_float32(self.label_smoothing, 0, BELOW_ONE):
            raise UsageError(
                f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}",
                fields=("training.label_smoothing",),
            )
        if not 0 <= self.warmup < 1:
            raise UsageError(
                f"warmup is a fraction of all steps, at least 0 and below 1, not {self.warmup}",
                fields=("training.warmup",),
            )

    def length(self, epoch_steps: int) -> int:
        """How many steps it takes. Raises `UsageError` for more than can be counted."""
        steps = self.steps or self.epochs * epoch_steps
        if steps > MOST_STEPS:
            raise UsageError(
                f"{self.epochs:,} epochs of {epoch_steps:,} steps are more than "
                f"{MOST_STEPS:,} steps: use fewer epochs",
                fields=("training.epochs",),
            )
        return steps


SEEDS = range(2**32)
"""What a key can be made from."""


def checked_seed(seed: int) -> int:
    """One of `SEEDS`. Raises `UsageError` for any other."""
    if seed not in SEEDS:
        raise UsageError(f"seed must be at least 0 and below 2**32, not {seed}", fields=("seed",))
    return seed


@dataclass(frozen=True)
class RunConfig:
    """Data x model x training: all that it takes to make a run again.

    Args:
        data: one of the configurations that a family knows.
        model: one of the architectures'.
        training: how it is trained.
        hyper: numbers that a compiled program takes as arguments.
        seed: weights, order of examples and dropout come from it.

    """

    data: Any
    model: Any
    training: Training = field(default_factory=Training)
    hyper: HyperConfig = field(default_factory=HyperConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        checked_seed(self.seed)


def strict_converter() -> cattrs.Converter:
    """JSON and back: unknown keys and other types are refused."""
    converter = make_converter(forbid_extra_keys=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(Special, _special)
    converter.register_unstructure_hook(Special, Special._asdict)
    return converter


def _exactly(value: Any, kind: type) -> Any:
    """A value as it is: cattrs alone takes 2.7 for 2, and "false" for true."""
    if type(value) is not kind and (type(value), kind) != (int, float):
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return kind(value)


def _special(content: Any, _: Any) -> Special:
    """Ids by name: cattrs alone would take a list, whose order says nothing."""
    whole = isinstance(content, dict) and content.keys() == {*Special._fields}
    if not whole or not all(value is None or type(value) is int for value in content.values()):
        raise ValueError(f"{content!r} are not ids of {', '.join(Special._fields)}")
    return Special(**content)


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its path: "training.epochs", 25."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def structured(converter: cattrs.Converter, content: Any, kind: Any) -> Any:
    """Decoded JSON as one of our types. Raises `UsageError` that names the field."""
    try:
        return converter.structure(content, kind)
    except cattrs.BaseValidationError as error:
        lines = cattrs.transform_error(error, format_exception=_say)
        fields = [each.fields for each in _causes(error) if isinstance(each, SeqgenError)]
        message = "; ".join(map(_placed, lines))
        raise UsageError(message, fields=tuple(chain(*fields))) from error


def _placed(line: str) -> str:
    """cattrs' "what @ $.where" as "where: what"."""
    what, _, where = line.rpartition(" @ $")
    return f"{where[1:]}: {what}" if where else what


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an exception group holds, groups within it opened."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    else:
        yield error


def _say(error: BaseException, kind: Any) -> str:
    """The words of a refusal; cattrs alone says "invalid value" for each."""
    if isinstance(error, (ValueError, SeqgenError)):
        return str(error)
    if " not in literal " in str(error):
        return str(error).replace("not in literal typing.Literal", "is none of ")
    return format_exception(error, kind)
