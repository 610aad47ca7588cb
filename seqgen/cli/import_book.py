"""seqgen import-book: a run from the weights that the book's code saved."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from seqgen import presets
from seqgen.cli.parse import call
from seqgen.cli.terminal import tell_splits
from seqgen.config import RunConfig, strict_converter
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import adopt, create, family_of
from seqgen.interop.book import ModelName, names, to_params
from seqgen.interop.book_note import check_meaning, flat, read_note
from seqgen.interop.pickles import read_pickle
from seqgen.tasks.book import recognise
from seqgen.tasks.text import Text


def command(
    pickle: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PICKLE")],
    /,
    model: ModelName,
    data: Path,
    run: str,
    reverse: bool | None = None,
) -> None:
    """Make a run from a pickle of the book's parameters; nothing in the pickle is executed.

    Args:
        pickle: what the book's save_params wrote: a list of arrays.
        model: whose parameters they are.
        data: what it was trained on: the book's file, or Penn Treebank as a folder or zip.
        run: the new run's name under runs/, or a path.
        reverse: whether its questions were reversed; by default as PICKLE.json beside it says, or
            as the book does: for attention.

    """
    texts = model in presets.LANGUAGE_MODELS
    if texts and reverse is not None:
        raise UsageError(f"--reverse is of questions, and {model} is a language model")
    note = read_note(pickle, model)
    cfg, params, vocabulary = to_params(model, read_pickle(pickle, names(model)))
    if reverse is None and note is not None:
        reverse = flat(note).get("padding.reverse")
    config = language(model, data) if texts else questions(model, data, reverse)
    config = replace(config, data=config.data.pinned(), model=cfg)
    dataset = family_of(config).load(config.data)
    if dataset.sizes.target != vocabulary:
        raise SeqgenError(
            f"{pickle} was trained on {vocabulary:,} symbols, "
            f"and {data} has {dataset.sizes.target:,} symbols: it is not its data"
        )
    if note is not None:
        meaning = {"tokenizer": dataset.tokenizer, "padding": getattr(dataset, "padding", None)}
        check_meaning(pickle, note, strict_converter().unstructure(meaning), data)
    made = create(fitted(config, dataset), run, dataset=dataset)
    try:
        adopt(made, params)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    tell_splits([(config, dataset)])
    print(made.path)


def fitted(config: RunConfig, dataset: Any) -> RunConfig:
    """The recipe with batches, and windows, as small as few data need: nothing is trained here."""
    steps, training = family_of(config).epoch_steps, config.training
    while steps(config, dataset) < 1 and training.batch * training.window > 1:
        name = "batch" if training.batch > 1 else "window"
        training = replace(training, **{name: getattr(training, name) // 2})
        config = replace(config, training=training)
    return config


def language(model: str, data: Path) -> RunConfig:
    """The book's recipe for a language model."""
    config = presets.language("ptb", model)
    training = replace(config.training, select="last")
    return replace(config, data=Text(str(data), unit="word"), training=training)


def questions(model: str, data: Path, reverse: bool | None) -> RunConfig:
    """The book's recipe for a model that answers."""
    task = recognise(data)
    reverse = model == "attention" if reverse is None else reverse
    return presets.book(task.name, model, str(data), reverse=reverse)


def main(arguments: list[str]) -> None:
    """`seqgen import-book PICKLE`."""
    call(command, "seqgen import-book", arguments, shown={"name": "--run"}.get)
