"""seqgen train: a new run of a task and a model."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seqgen import presets, runs
from seqgen.cli.parse import parse
from seqgen.cli.terminal import prepare_devices, run_to_end
from seqgen.config import RunConfig, Training
from seqgen.errors import UsageError
from seqgen.fit import mesh_of
from seqgen.models import seq2seq
from seqgen.tasks import TASKS
from seqgen.tasks.addition import Addition
from seqgen.tasks.dates import Dates
from seqgen.training.state import HyperConfig

USAGE = f"""usage: seqgen train TASK MODEL [OPTIONS]

TASK is {" or ".join(TASKS)}; MODEL is {", ".join(presets.READERS)}.
Each pair has its own defaults: `seqgen train dates attention --help` shows them."""

Flat = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Model(seq2seq.Config):
    """The model's parts; what comes from the data is not asked for."""

    vocabulary: tyro.conf.Suppress[int] = 0
    delimiter: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class Options:
    """Train one model on one task and write a run directory.

    Args:
        name: the run's name under --runs, or a path; without it a free one is made.
        runs: the folder of runs.
        data: train on a file in the book's format, by default with the book's split.
        draws: examples drawn, before duplicates are dropped.
        data_seed: what the data are made from.
        seed: what the run is made from: weights, order of examples, dropout.
        layout: book (fixed width, blanks are tokens) or masked (true lengths, an end symbol).
        reverse: feed the question backwards.
        split: leak-free (by key, 80/10/10) or book (its permutation, 90/10, no validation rows).
        task: the task's own parameters.
        model: the model's parts.

    """

    task: Annotated[Addition | Dates, tyro.conf.AvoidSubcommands]
    model: Model
    training: Annotated[Training, Flat]
    hyper: Annotated[HyperConfig, Flat]
    draws: int
    data_seed: int
    layout: Literal["book", "masked"]
    reverse: bool
    seed: int
    split: Literal["leak-free", "book"] | None = None
    data: Path | None = None
    name: str | None = None
    runs: Path = Path("runs")


def main(arguments: list[str]) -> None:
    """Parse, make the run directory, train."""
    if {"-h", "--help"} & {*arguments[:2]}:
        print(USAGE)
        return
    task = one_of("task", arguments[:1], TASKS)
    variant = one_of("model", arguments[1:2], presets.READERS)
    options = parse(Options, f"seqgen train {task} {variant}", arguments[2:], default=defaults(presets.preset(task, variant)))
    prepare_devices(options.training.devices)
    mesh_of(options.training)  # before there is a directory
    run = runs.create(config(options), options.name, options.runs)
    run_to_end(run)


def one_of(kind: str, words: list[str], known: Collection[str]) -> str:
    """The first word, if it is known. Raises `UsageError` that suggests the nearest."""
    word = words[0] if words else "-"
    if word.startswith("-"):
        raise UsageError(f"train needs a {kind}: {', '.join(known)}")
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, n=1)
    raise UsageError(f"no {kind} {word!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"))


def defaults(preset: RunConfig) -> Options:
    """A preset as options."""
    data = preset.data
    assert isinstance(data.task, Addition | Dates)
    return Options(
        data.task,
        Model(**vars(preset.model)),
        preset.training,
        preset.hyper,
        data.draws,
        data.seed,
        data.layout,
        data.reverse,
        preset.seed,
    )


def config(options: Options) -> RunConfig:
    """The options as a run's configuration: a file of the book's format is split as the book does, unless told otherwise."""
    file = None if options.data is None else str(options.data.absolute())
    data = presets.Data(
        options.task,
        draws=options.draws,
        seed=options.data_seed,
        layout=options.layout,
        reverse=options.reverse,
        file=file,
        split=options.split or ("leak-free" if file is None else "book"),
    )
    return RunConfig(data, seq2seq.Config(**vars(options.model)), options.training, options.hyper, options.seed)
