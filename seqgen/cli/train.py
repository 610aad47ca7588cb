"""seqgen train: a new run of a task or corpus and a model."""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from seqgen import presets, runs
from seqgen.cli.parse import parse
from seqgen.cli.terminal import prepare_devices, run_to_end
from seqgen.config import RunConfig, Training
from seqgen.errors import UsageError
from seqgen.fit.common import mesh_of
from seqgen.models import language_model, seq2seq
from seqgen.tasks import TASKS
from seqgen.tasks.addition import Addition
from seqgen.tasks.corpus import Drawn
from seqgen.tasks.dates import Dates
from seqgen.tasks.language import Grammar, HiddenMarkov, Markov
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig

USAGE = f"""usage: seqgen train TASK MODEL [OPTIONS]

TASK is {" or ".join(TASKS)}; then MODEL is {", ".join(presets.READERS)}.
TASK is {", ".join(presets.CORPORA)}; then MODEL is {", ".join(presets.LANGUAGE_MODELS)}.
Each pair has its own defaults: `seqgen train dates attention --help` shows them."""

Flat = tyro.conf.arg(name="")


@dataclass(frozen=True)
class Seq2seqModel(seq2seq.Config):
    """The model's parts; what comes from the data is not asked for."""

    vocabulary: tyro.conf.Suppress[int] = 0
    delimiter: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class Seq2seqTraining(Training):
    __doc__ = Training.__doc__
    window: tyro.conf.Suppress[int] = 35
    remat: tyro.conf.Suppress[int | None] = None


@dataclass(frozen=True)
class LanguageModel(language_model.Config):
    """The model's parts."""

    vocabulary: tyro.conf.Suppress[int] = 0


@dataclass(frozen=True)
class TextData(Text):
    __doc__ = Text.__doc__
    path: Annotated[str | None, tyro.conf.arg(name="data", metavar="PATH")] = None
    sha256: tyro.conf.Suppress[str | None] = None


@dataclass(frozen=True)
class DrawnData(Drawn):
    __doc__ = Drawn.__doc__
    language: Annotated[Markov | HiddenMarkov | Grammar, tyro.conf.AvoidSubcommands] = field(default_factory=Grammar)
    seed: Annotated[int, tyro.conf.arg(name="data-seed")] = 0


@dataclass(frozen=True)
class Place:
    """Where a run is made.

    Args:
        seed: what the run is made from: weights, order of examples, dropout.
        name: the run's name under --runs, or a path; without it a free one is made.
        runs: the folder of runs.

    """

    seed: int = 0
    name: str | None = None
    runs: Path = Path("runs")


@dataclass(frozen=True)
class Options:
    """Train one model on one task and write a run directory.

    Args:
        data: train on a file in the book's format, by default with the book's split.
        draws: examples drawn, before duplicates are dropped.
        data_seed: what the data are made from.
        layout: book (fixed width, blanks are tokens) or masked (true lengths, an end symbol).
        reverse: feed the question backwards.
        split: leak-free (by key, 80/10/10) or book (its permutation, 90/10, no validation rows).
        task: the task's own parameters.
        model: the model's parts.

    """

    task: Annotated[Addition | Dates, tyro.conf.AvoidSubcommands]
    model: Seq2seqModel
    training: Annotated[Seq2seqTraining, Flat]
    hyper: Annotated[HyperConfig, Flat]
    place: Annotated[Place, Flat]
    draws: int
    data_seed: int
    layout: Literal["book", "masked"]
    reverse: bool
    split: Literal["leak-free", "book"] | None = None
    data: Path | None = None


@dataclass(frozen=True)
class LanguageOptions:
    """Train one language model on one corpus and write a run directory.

    Args:
        model: the model's parts.

    """

    corpus: Annotated[TextData | DrawnData, Flat, tyro.conf.AvoidSubcommands]
    model: LanguageModel
    training: Annotated[Training, Flat]
    hyper: Annotated[HyperConfig, Flat]
    place: Annotated[Place, Flat]


def main(arguments: list[str]) -> None:
    """Parse, make the run directory, train."""
    if {"-h", "--help"} & {*arguments[:2]}:
        print(USAGE)
        return
    task = one_of("task", arguments[:1], [*TASKS, *presets.CORPORA])
    variant = one_of("model", arguments[1:2], presets.READERS if task in TASKS else presets.LANGUAGE_MODELS)
    preset = presets.preset(task, variant) if task in TASKS else presets.language(task, variant)
    default: Any = defaults(preset) if task in TASKS else language_defaults(preset)
    options = parse(type(default), f"seqgen train {task} {variant}", arguments[2:], default=default)
    wanted = config(options) if task in TASKS else language_config(options)
    prepare_devices(wanted.training.devices)
    mesh_of(wanted.training)  # before there is a directory
    run_to_end(runs.create(wanted, options.place.name, options.place.runs))


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
    return Options(
        data.task,
        Seq2seqModel(**vars(preset.model)),
        Seq2seqTraining(**vars(preset.training)),
        preset.hyper,
        Place(preset.seed),
        data.draws,
        data.seed,
        data.layout,
        data.reverse,
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
    model, training = seq2seq.Config(**vars(options.model)), Training(**vars(options.training))
    return RunConfig(data, model, training, options.hyper, options.place.seed)


def language_defaults(preset: RunConfig) -> LanguageOptions:
    """A preset as options."""
    corpus = TextData(**vars(preset.data)) if isinstance(preset.data, Text) else DrawnData(**vars(preset.data))
    return LanguageOptions(corpus, LanguageModel(**vars(preset.model)), preset.training, preset.hyper, Place(preset.seed))


def language_config(options: LanguageOptions) -> RunConfig:
    """The options as a run's configuration."""
    data = Text(**vars(options.corpus)) if isinstance(options.corpus, TextData) else Drawn(**vars(options.corpus))
    model = language_model.Config(**vars(options.model))
    return RunConfig(data, model, options.training, options.hyper, options.place.seed)
