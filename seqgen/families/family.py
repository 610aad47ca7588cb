"""What a kind of data is to the rest of the package: one record."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqgen.config import Training
from seqgen.data.pairs import Split
from seqgen.errors import SeqgenError, UsageError
from seqgen.evaluation.outcomes import Outcomes
from seqgen.storage.log import Event
from seqgen.types import Params, Tree

LAST_FIGURE = Path("figures", "learning.svg")
"""A run that has it has all its figures."""


class Metric(NamedTuple):
    """A score: a field of an evaluation's event, and which way is better."""

    name: str
    maximise: bool

    def best(self, events: list[Event]) -> int:
        """The step of the best evaluation; of equal ones, of the one with the lower loss.

        Raises `SeqgenError` for an evaluation without the metric.
        """
        for event in events:
            if self.name not in event:
                raise SeqgenError(f"the evaluation of step {event['step']} has no {self.name}")
        sign = 1 if self.maximise else -1
        best = max(events, key=lambda event: (sign * event[self.name], -event["loss"]))
        return best["step"]

    def waited(self, events: list[Event]) -> int:
        """How many evaluations came after the best one. Raises as `best`."""
        best = self.best(events) if events else 0
        return sum(event["step"] > best for event in events)


def check_selection(training: Training, split: Split) -> None:
    """Raises `UsageError` where epochs would be chosen, or the rate be set, by the test split: its
    best score is no score of a test.

    Args:
        training: says what goes by the evaluation split.
        split: which that is.

    """
    chosen = {
        "select": training.select if training.select != "last" else None,
        "plateau": training.plateau,
        "patience": training.patience,
    }
    asked = {name: value for name, value in chosen.items() if value is not None}
    if asked and split == "test":
        what = " and ".join(f"{name} {value}" for name, value in asked.items())
        without = {"select": "last"}
        raise UsageError(
            f"without validation rows {what} would go by the test split: set some aside with "
            f"validation, or use {' and '.join(f'{name} {without.get(name)}' for name in asked)}",
            fields=(*(f"training.{name}" for name in asked), "data.validation"),
        )


class Stacking(NamedTuple):
    """How members of a compiled program are scored together by the `evaluate` of their program.

    The program's batches are `Rows`: what its plan holds are numbers of rows, for data sets of
    equal length stand one below the other, and a member's rows are counted from where its own
    begins. Nothing is carried from batch to batch: `program.carry` is not called.

    signature(dataset) -> all about the data that changes the program, hashable
    blocks(dataset, split) -> what `evaluate` is given
    scored(run, split, made) -> a member's scores and samples, from what it made
    """

    signature: Callable[[Any], Any]
    blocks: Callable[[Any, Any], Tree]
    scored: Callable[[Any, Any, Tree], tuple[Event, str]]


def measured(run: Any, split: Split, metrics: Sequence[str] = ()) -> dict[str, Any]:
    """A run's scores by name. Raises `UsageError` for metrics."""
    refuse_metrics(run, metrics)
    return run.measured(run.evaluate(split))


def refuse_metrics(run: Any, metrics: Sequence[str]) -> None:
    """Raises `UsageError` for metrics of answers as texts, where the data have no answers."""
    if metrics:
        raise UsageError(
            f"{run.path} is a run of {run.family.name}, and metrics {' '.join(metrics)} are of "
            "the answers of pairs",
            fields=("metrics",),
        )


class Family(NamedTuple):
    """A kind of data. `seqgen.families.registry` lists them; models state which they fit.

    load(data) -> the data set, with `sizes`
    check(config, dataset): raises `UsageError` where the model cannot be trained on it
    program(config, dataset) -> Program
    epoch_steps(config, dataset) -> how many steps of it are an epoch, without building it
    evaluate(run, split) -> scores, a NamedTuple
    evaluate_epoch, test(run, split, params, step) -> scores and samples: during training, at its
        end
    splits(config, dataset) -> a line for each split: its size, and where it comes from; what else
        the data decide
    words(event) -> an evaluation's headline, and all of it
    table(scores by name) -> rows for the terminal
    unused(config) -> path -> why, of fields that change nothing beside the others
    capped(dataset, split, rows) -> the data set with at most so many rows of the split, and none of
        the other evaluated one
    draw(run): figures in the run's directory, `LAST_FIGURE` the last
    measure(run, split, metrics) -> scores by name, as a terminal or JSON shows them
    outcomes(run, split, metrics) -> Outcomes: what came of each example, to compare two runs
    """

    name: str
    """What messages say: a run of pairs, a run of text."""
    data: dict[str, type]
    """The data configurations that select the family, by their names in config.json."""
    unions: dict[type, dict[str, type]]
    """Protocols among their fields, with the classes that may stand there, by name."""
    run: Callable[..., Any]
    """What `seqgen.load` gives."""
    load: Callable[[Any], Any]
    check: Callable[[Any, Any], None]
    program: Callable[[Any, Any], Any]
    epoch_steps: Callable[[Any, Any], int]
    metrics: tuple[Metric, ...]
    """What an epoch can be selected by; the first is what counts as better where none is named."""
    evaluate: Callable[[Any, Any], Any]
    evaluate_epoch: Callable[[Any, Any, Params, int], tuple[Event, str]]
    test: Callable[[Any, Any, Params, int], tuple[Event, str]]
    splits: Callable[[Any, Any], list[str]]
    words: Callable[[Event], tuple[str, str]]
    table: Callable[[dict[str, Any]], dict[str, str]]
    draw: Callable[[Any], None]
    stacking: Stacking | None
    """None: members of a sweep train one after another."""
    unused: Callable[[Any], dict[str, str]] = lambda config: {}
    architectures: str | None = None
    """The family whose architectures fit, by its name; None: those of its own name."""
    measure: Callable[..., dict[str, Any]] = measured
    outcomes: Callable[..., Outcomes] | None = None
    capped: Callable[[Any, Split, int], Any] | None = None
    """None: an epoch is evaluated on a whole split."""

    @property
    def metric(self) -> Metric:
        """The main one."""
        return self.metrics[0]

    def selecting(self, training: Training) -> Metric:
        """What the best epoch is told by. Raises `UsageError` where `select` names no metric."""
        known = dict.fromkeys(("last", "best"), self.metric)
        known |= {metric.name: metric for metric in self.metrics}
        if training.select not in known:
            raise UsageError(
                f"select {training.select!r} is none of {', '.join(known)}",
                fields=("training.select",),
            )
        return known[training.select]

    def ended_early(self, training: Training, epochs: list[Event]) -> bool:
        """Whether training ends after these epochs, as the last ones were not better."""
        patience = training.patience
        return patience is not None and self.selecting(training).waited(epochs) >= patience
