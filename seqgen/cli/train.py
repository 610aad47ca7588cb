"""seqgen train: a new run of a task or corpus and a model."""

from collections.abc import Collection
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from seqgen import families, presets
from seqgen.cli.flags import Flat, answered, asked, flag
from seqgen.cli.pair_files import checked, names_files, parted, spelled_out
from seqgen.cli.parse import parse, refusing, showing, split_for, until
from seqgen.cli.terminal import note, prepare_devices, run_to_end, tell_splits
from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError, check_known
from seqgen.storage import sinks
from seqgen.tasks.pair_file import PairFile, load
from seqgen.training.sharding import mesh_of
from seqgen.training.state import HyperConfig


def usage() -> str:
    """What `seqgen train --help` prints."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for task, models in presets.pairings().items():
        kinds.setdefault(tuple(models), []).append(task)
    lines = [
        f"TASK is {', '.join(tasks)}; then MODEL is {', '.join(models)}."
        for models, tasks in kinds.items()
    ]
    return "\n".join(
        [
            "usage: seqgen train TASK MODEL [OPTIONS]",
            "       seqgen train FILE [MODEL] [OPTIONS]",
            "       seqgen train --source FILE --target FILE [OPTIONS]",
            "",
            "FILE has two columns, with a tab between them, of your own pairs; MODEL is "
            f"{', '.join(presets.DECODERS)}, by default attention.",
            *lines,
            "Each pair has its own defaults: `seqgen train dates attention --help` shows them.",
        ]
    )


@dataclass(frozen=True)
class Place:
    """Where a run is made, and for how long at a time.

    Args:
        seed: weights, order of examples and dropout come from it.
        name: the run's name under --runs, or a path; without it a free one is made.
        runs: the folder of runs.
        max_time: end well after so long, like 40m or 1h30m: evaluated, saved, and able to go on.
        log: where its log goes besides metrics.jsonl, in the run's folder.

    """

    seed: int = 0
    name: str | None = None
    runs: Path = Path("runs")
    max_time: str | None = None
    log: tuple[sinks.SinkName, ...] | None = None


def main(arguments: list[str]) -> None:
    """Parse, make the run directory, train."""
    if {"-h", "--help"} & {*arguments[:2]}:
        print(usage())
        return
    if names_files(arguments):
        train_own(arguments)
        return
    pairings = presets.pairings()
    task = one_of("task", arguments[:1], pairings)
    name = one_of("model", arguments[1:2], pairings[task])
    with showing(flag):
        config, place = read(pairings[task][name], f"seqgen train {task} {name}", arguments[2:])
        check_preset_text(pairings[task][name].data, config.data)
        prepare_devices(config.training.devices)
        mesh_of(config.training.devices)  # before there is a directory
        train(config, place)


def train(
    config: RunConfig, place: Place, *, dataset: Any = None, end: float | None = None
) -> None:
    """Make a run, and train it to its end, or well before it at the time `end`."""
    sinks.check(place.log)
    end = until(place.max_time) if end is None else end
    run = families.create(config, place.name, place.runs, dataset=dataset)
    tell_splits([(run.config, run.dataset)])
    run_to_end(run, until=end, sinks=place.log)


def train_own(arguments: list[str]) -> None:
    """`seqgen train FILE [MODEL] [OPTIONS]`: one file with two columns, or two parallel ones."""
    file, rest = parted(arguments)
    named = bool(rest) and not rest[0].startswith("-")
    variant = check_known("model", rest[0], presets.DECODERS) if named else "attention"
    words = spelled_out(file, rest[1:] if named else rest)
    prog = "seqgen train FILE" + f" {variant}" * named
    with showing(flag):
        first = RunConfig(PairFile(()), presets.model(variant, embedding=32, hidden=128))
        asked_for, place = read(first, prog, words)
        sinks.check(place.log)
        data, end = checked(asked_for.data), until(place.max_time)
        dataset = load(data)
        preset = presets.own(data, dataset, variant)
        if given("--batch", words) and not given("--batch-tokens", words):
            preset = replace(preset, training=replace(preset.training, batch_tokens=None))
        config, place = read(preset, prog, words)
        prepare_devices(config.training.devices)
        mesh_of(config.training.devices)
        note(chosen(config))
        train(config, place, dataset=dataset, end=end)


def chosen(config: RunConfig) -> str:
    """What was chosen for the data, with the flags that change it."""
    data, training, decoder = config.data, config.training, config.model.decoder
    return (
        f"chosen for these data: {data.source_tokens} to {data.target_tokens} (--tokens), "
        f"{decoder.hidden} hidden (--model.decoder.hidden), {training.epochs} epochs (--epochs), "
        f"batches of {training.batch_tokens or training.batch:,} "
        f"{'tokens (--batch-tokens)' if training.batch_tokens else 'pairs (--batch)'}"
    )


def check_preset_text(own: Any, chosen: Any) -> None:
    """Raises `SeqgenError` for a preset's own text where there is none, outside a clone."""
    path = getattr(own, "path", None)
    if path is None or path != chosen.path or Path(path).exists():
        return
    script = Path(path).parent / "prepare.py"
    if not script.exists():  # else what reads the text says it
        raise SeqgenError(
            f"there is no {path} here: in a clone of seqgen's repository `python {script}` gets "
            "it; elsewhere use a copy of yours",
            fields=("data.path",),
        )


def one_of(kind: str, words: list[str], known: Collection[str]) -> str:
    """The first word, if it is known. Raises `UsageError` that suggests the nearest."""
    word = words[0] if words else "-"
    if word.startswith("-"):
        raise UsageError(f"train needs a {kind}: {', '.join(known)}")
    return check_known(kind, word, known)


def read(preset: RunConfig, prog: str, arguments: list[str]) -> tuple[RunConfig, Place]:
    """The options of a preset, as its configuration with what was asked for, and where it goes."""
    family = families.family_of(preset)
    data: Any = asked(preset.data, "data", concrete=family.unions)
    training: Any = asked(preset.training, "training")
    options = make_dataclass(
        "Options",
        [
            ("data", Annotated[data, Flat]),
            ("model", type(preset.model)),
            ("training", Annotated[training, Flat]),
            ("hyper", Annotated[HyperConfig, Flat]),
            ("place", Annotated[Place, Flat]),
        ],
        frozen=True,
    )
    options.__doc__ = "Train one model on one task or corpus and write a run directory."
    defaults = preset.model, training(), preset.hyper, Place(preset.seed)
    read = parse(options, prog, arguments, default=options(data(), *defaults))
    if given("--steps", arguments) and given("--epochs", arguments):
        raise UsageError("--steps and --epochs both say how long to train: give one of the two")
    with refusing():
        chosen = answered(split_of_file(read.data, arguments), type(preset.data))
        parts = read.model, answered(read.training, Training), read.hyper
        return RunConfig(chosen, *parts, read.place.seed), read.place


def split_of_file(data: Any, arguments: list[str]) -> Any:
    """The data with the split that `split_for` gives."""
    file = None if given("--split", arguments) else getattr(data, "file", None)
    split = split_for(file, None)
    return data if split is None else replace(data, split=split)


def given(option: str, arguments: list[str]) -> bool:
    """Whether a flag is among the words."""
    return any(word.partition("=")[0] == option for word in arguments)
