"""seqgen import-book: a run from the weights that the book's code saved."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from seqgen import presets
from seqgen.cli.parse import call
from seqgen.cli.terminal import tell_splits
from seqgen.config import RunConfig
from seqgen.errors import SeqgenError
from seqgen.families import adopt, complete, create
from seqgen.interop.book import ModelName, names, to_params
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
        reverse: whether its questions were reversed, as the book does for attention and improves
            the others.

    """
    cfg, params, vocabulary = to_params(model, read_pickle(pickle, names(model)))
    texts = model in presets.LANGUAGE_MODELS
    config = language(model, data) if texts else questions(model, data, reverse)
    config, dataset = complete(replace(config, model=cfg))
    if dataset.sizes.target != vocabulary:
        raise SeqgenError(
            f"{pickle} was trained on {vocabulary:,} symbols, "
            f"and {data} has {dataset.sizes.target:,} symbols: it is not its data"
        )
    made = create(config, run)
    try:
        adopt(made, params)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    tell_splits([(config, dataset)])
    print(made.path)


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
