"""A language model's data: any text, or what is drawn from a synthetic language."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from seqgen.data.token_store import Corpus, Tokens, counted, keep, kept, opened, spool
from seqgen.data.tokenizer import UNKNOWN, Vocabulary, text_vocabulary
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import check_unchanged
from seqgen.tasks import text
from seqgen.tasks.synthetic import Synthetic
from seqgen.tasks.text import Text

FORMAT = 3
"""Version of the cached streams; raise it to have them made again."""


def load(data: Text | Synthetic) -> Corpus:
    """The streams of a corpus.

    Raises:
        SeqgenError: for a text that is unreadable, empty or changed.

    """
    if isinstance(data, Synthetic):
        fill = partial(fill_synthetic, data)
        return kept(f"{FORMAT} {data!r}", data.name, fill, read=opened)
    found, joined = text.checksum(data.path), True
    if data.sha256 not in (None, found) and data.sha256 == text.checksum(data.path, joined=False):
        found, joined = data.sha256, False  # a run that was made before files were joined
    check_unchanged(data.path or "Python's pydoc_data.topics", found, data.sha256)
    key = replace(data, path=None, sha256=found)
    fill = partial(fill_text, data, joined=joined)
    return kept(f"{FORMAT} {key!r}", data.name, fill, read=opened)


def fill_synthetic(data: Synthetic, folder: Path) -> None:
    """Draw each split from a stream of its own."""
    generators = np.random.default_rng(data.seed).spawn(3)
    sizes = {"train": data.train, "validation": data.validation, "test": data.test}
    drawn = {
        split: data.language.sample(generator, size)
        for (split, size), generator in zip(sizes.items(), generators, strict=True)
    }
    tokenizer = text_vocabulary("word", data.language.symbols)
    keep(tokenizer, folder, drawn, ids=np.arange(len(tokenizer)))


def fill_text(data: Text, folder: Path, *, joined: bool = True) -> None:
    """Read the text once, ids as they come; then give the symbols that are kept their own.

    Ids go by first appearance in the training split; `joined` as in `text.provisional`.
    """
    table: dict[str, int] = {}
    streams = cut(data, spool(text.provisional(data, table, joined=joined), folder))
    if not len(streams["train"]):
        raise SeqgenError(f"{data.path}: no text to train on")
    if data.unit == "byte":
        tokenizer, ids = text_vocabulary("byte"), np.arange(256)
    else:
        tokenizer, ids = chosen(data, list(table), streams)
    keep(tokenizer, folder, streams, ids=ids)
    for path in folder.glob("*.raw"):
        path.unlink()


def cut(data: Text, streams: dict[str, Tokens]) -> dict[str, Tokens]:
    """The three splits: as they are named, or the parts of one stream."""
    whole = streams.get("all", np.empty(0, np.uint32))
    rests = data.validation + data.test, data.test
    first, second = (int(len(whole) * (1 - rest)) for rest in rests)
    cuts = {"train": whole[:first], "validation": whole[first:second], "test": whole[second:]}
    return cuts | {split: stream for split, stream in streams.items() if split != "all"}


def chosen(
    data: Text, table: list[str], streams: dict[str, Tokens]
) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary, and for each id in the streams the one that it becomes.

    It has what is frequent enough in training, and <unk> where anything else is met.

    Raises:
        UsageError: where nothing else is left.

    """
    counts = counted([streams["train"]], len(table))
    wanted = counts >= data.min_count
    if data.most is not None:
        wanted[np.argsort(-counts, kind="stable")[data.most :]] = False
    wanted |= np.array([symbol == UNKNOWN for symbol in table])
    symbols = [symbol for symbol, keep in zip(table, wanted, strict=True) if keep]
    if UNKNOWN not in symbols and counted(streams.values(), len(table))[~wanted].any():
        symbols.append(UNKNOWN)
    if symbols == [UNKNOWN]:
        raise UsageError(
            f"{data.name}: nothing but <unk> is left of it; use a min_count below {data.min_count}",
            fields=("data.min_count",),
        )
    ids = np.full(len(table), symbols.index(UNKNOWN) if UNKNOWN in symbols else 0)
    ids[wanted] = np.arange(wanted.sum())
    return text_vocabulary(data.unit, symbols), ids
