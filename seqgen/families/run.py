"""A run is a directory: its configuration, tokens, log, checkpoints, samples and figures.

config.json  vocabulary.json  versions.json  SHA256SUMS  metrics.jsonl  samples/<step>.txt
checkpoints/  figures/
"""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Key

from seqgen.config import RunConfig, checked_seed, strict_converter, structured
from seqgen.data.pairs import Split
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.families.family import Family
from seqgen.models import build
from seqgen.nn.switches import fixed, key
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.versions import versions
from seqgen.types import Config, Model, Params, Sizes


def resuming(run: Path) -> str:
    """The command that goes on with a run."""
    return f"seqgen resume {shlex.quote(str(run))}"


class Run(ABC):
    """An opened run directory. Reads its files when they are asked for, and keeps what it read.

    Args:
        path: the directory.
        config: what config.json says.
        family: the kind of its data.

    """

    def __init__(self, path: Path, config: RunConfig, family: Family) -> None:
        self.path, self.config, self.family = path, config, family

    def __repr__(self) -> str:
        return f"seqgen.load({str(self.path)!r})"

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    @cached_property
    def dataset(self) -> Any:
        """The data, made or read again."""
        return self.family.load(self.config.data)

    @property
    @abstractmethod
    def sizes(self) -> Sizes:
        """What its tokens tell a model."""

    @property
    def model(self) -> Model:
        """The functions of the model."""
        return build(self.config.model, self.sizes)

    @cached_property
    def params(self) -> Params:
        """The parameters of the selected epoch."""
        step, like = self.selected_step(), abstract_params(self.config.model, self.sizes)
        try:
            return checkpoint.restore_params(self.path, like, step)
        except SeqgenError as error:
            raise SeqgenError(
                f"{error}; `{resuming(self.path)}` writes the last epoch's again"
            ) from error

    def restored(self, step: int) -> Params:
        """The parameters of an epoch. Raises `SeqgenError` where they were not kept."""
        like = abstract_params(self.config.model, self.sizes)
        return checkpoint.restore_params(self.path, like, step)

    def at(self, step: int) -> Any:
        """The same run with the parameters of another epoch. Raises as `restored`."""
        return self.having(self.restored(step))

    def having(self, params: Params) -> Any:
        """The same run with other parameters."""
        other = type(self)(self.path, self.config, self.family)
        other.dataset, other.params = self.dataset, params
        return other

    def selected_step(self) -> int:
        """The step of the selected epoch. Raises `SeqgenError` while there is none."""
        steps = checkpoint.steps(self.path, "params")
        training = self.config.training
        if training.select != "last" and steps:
            epochs = [epoch for epoch in log.evaluations(self.path) if epoch["step"] in steps]
            if steps[-1] not in [epoch["step"] for epoch in epochs]:
                raise SeqgenError(
                    f"{log.path(self.path)}: the evaluation of step {steps[-1]} is gone; "
                    "bring it back"
                )
            steps = [self.family.selecting(training).best(epochs)]
        if steps:
            return steps[-1]
        if (step := log.broken(self.path)) is not None:
            raise SeqgenError(
                f"{self.path} has no weights: at step {step} its loss or weights were not finite"
            )
        member = manifest.sweep_of(self.path) is not None
        trains = "its sweep's command" if member else f"`{resuming(self.path)}`"
        raise SeqgenError(f"{self.path} has no finished epoch yet; {trains} trains it")

    def tested(self) -> tuple[int, log.Event | None]:
        """The step of the selected epoch, and its score on the test split, if the log has it.

        Where an epoch's evaluation is as thorough as the last one, it counts.
        """
        step, whole = self.selected_step(), self.config.training.evaluate_rows is None
        alike = whole and self.family.evaluate_epoch is self.family.test
        for event in log.read(self.path):
            if event["event"] != "evaluate":
                continue
            counts = event.get("final") or (alike and event["split"] == self.test_split)
            if counts and event.get("selected_step", event["step"]) == step:
                return step, event
        return step, None

    @property
    @abstractmethod
    def evaluation_split(self) -> Split:
        """The split that is evaluated during training."""

    @property
    @abstractmethod
    def test_split(self) -> Split:
        """The split that is evaluated at its end."""

    def evaluate(self, split: Split = "test") -> Any:
        """Its scores on a split. Raises `UsageError` where it has none."""
        return self.family.evaluate(self, split)

    @abstractmethod
    def measured(self, scores: Any) -> dict[str, Any]:
        """Scores by name."""

    def meaning(self) -> dict[str, Any]:
        """What its ids stand for, as JSON has it: the tokens in order, and the padding.

        Raises `UsageError` where they stand for no text.
        """
        raise UsageError(f"{self.path}: its ids stand for no text")

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What vocabulary.json has: how the run reads and writes text."""

    def stored(self, kind: type, migrated: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
        """What vocabulary.json says, once `migrated` has made it of this version.

        Raises:
            SeqgenError: where that cannot be.

        """
        path = self.path / "vocabulary.json"
        content = manifest.read_json(path)
        try:
            return structured(strict_converter(), migrated(content), kind)
        except Exception as error:  # whatever foreign shapes bring about
            raise SeqgenError(f"{path}: {error}") from error

    def changes(self) -> list[str]:
        """What is not as it was when the run was made.

        A resumed run ends the same to the bit only where nothing is.
        """
        made, now = manifest.read_json(self.path / "versions.json"), versions()
        changed = [name for name in now if made.get(name) != now[name]]
        return [f"{name} {made.get(name)}, now {now[name]}" for name in changed]


def sampling_key(generation: GenerationConfig, seed: int) -> Key[Array, ""] | None:
    """What tokens are sampled with; None where none are.

    Raises `UsageError` for a seed that cannot be, or would change nothing.
    """
    checked_seed(seed)
    if generation.samples:
        return key(seed)
    if seed:
        raise UsageError(
            f"seed {seed} is of the sampling, and nothing is sampled: use a temperature",
            fields=("seed", "generation.temperature"),
        )
    return None


def check_end(generation: GenerationConfig, end: int | str | None, limit: int, hint: str) -> None:
    """Raises `UsageError`, with a hint, for settings of an end symbol where there is none, and for
    texts that should be longer than `limit` tokens, which they can have at most.
    """
    for name in ("min_length", "length_penalty"):
        if end is None and (value := getattr(generation, name)):
            raise UsageError(
                f"{name} {value} would change nothing: without an end symbol "
                f"all texts are as long as they may be; {hint}",
                fields=(f"generation.{name}", "end"),
            )
    if (least := generation.min_length or 0) > limit:
        raise UsageError(
            f"min_length {least} cannot be: there are {limit} tokens at most",
            fields=("generation.min_length",),
        )


def check_attends(generation: GenerationConfig, attends: bool) -> None:
    """Raises `UsageError` for a setting of attention where the model has none."""
    if generation.coverage_penalty and not attends:
        raise UsageError(
            f"coverage_penalty {generation.coverage_penalty} is of attention, "
            "and the model does not attend",
            fields=("generation.coverage_penalty",),
        )


@fixed()
def abstract_params(cfg: Config, sizes: Sizes) -> Params:
    """The parameters' shapes and dtypes, without values."""
    return jax.eval_shape(build(cfg, sizes).init, key(0))


def parameters(cfg: Config, sizes: Sizes) -> int:
    """How many weights a model has."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(cfg, sizes)))
