"""A language model's data: streams of ids in memory-mapped files, made once from text or drawn from a language.

<cache>/corpora/<digest>/train.npy  validation.npy  test.npy  symbols.json
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from seqgen.errors import SeqgenError, UsageError
from seqgen.tasks import text
from seqgen.tasks.language import Grammar, HiddenMarkov, Language, Markov
from seqgen.tasks.symbols import UNKNOWN, Symbols
from seqgen.tasks.text import Text

BLOCK = 1 << 22
"""Tokens that are written at a time."""

Tokens = Integer[np.ndarray, " _"]


class Corpus(NamedTuple):
    """Streams of ids, uint16 or uint32, and what they stand for. A split that there is none of is empty."""

    symbols: Symbols
    train: Tokens
    validation: Tokens
    test: Tokens


@dataclass(frozen=True)
class Drawn:
    """A language whose entropy is known, and how many tokens of each split are drawn from it.

    Args:
        language: what they are drawn from.
        train: tokens to train on.
        validation: tokens that watch the training.
        test: tokens that are kept for the last.
        seed: what they are drawn with.

    """

    language: Language = field(default_factory=Grammar)
    train: int = 1_000_000
    validation: int = 50_000
    test: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.train, self.validation, self.test) < 2:
            raise UsageError(f"a split has 2 tokens or more, not {self.train}, {self.validation} and {self.test}")
        if self.seed < 0:
            raise UsageError(f"the data's seed must be 0 or more, not {self.seed}")

    @property
    def name(self) -> str:
        return self.language.name


LANGUAGES: dict[str, type] = {"markov": Markov, "hmm": HiddenMarkov, "grammar": Grammar}
"""The name under which a run's config.json has a language -> its class."""


def load(data: Text | Drawn) -> Corpus:
    """The streams of a corpus. Raises `SeqgenError` for a text that is unreadable, empty or changed."""
    key: object = data
    if isinstance(data, Text):
        found = text.checksum(data.path)
        if data.sha256 not in (None, found):
            what = data.path or "Python's pydoc_data.topics"
            raise SeqgenError(f"{what} has changed since the run was made: its SHA-256 is no longer {data.sha256}")
        key = replace(data, path=None, sha256=found)
    folder = cache_folder() / hashlib.sha256(f"1 {key!r}".encode()).hexdigest()[:16]
    try:
        return opened(folder)
    except (OSError, EOFError, ValueError, TypeError, KeyError):  # not made yet, or damaged
        shutil.rmtree(folder, ignore_errors=True)
    try:
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            if isinstance(data, Text):
                fill_text(data, partial)
            else:
                fill_drawn(data, partial)
            try:
                partial.rename(folder)
            except OSError:  # unless another process was faster
                opened(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return opened(folder)
    except OSError as error:
        raise SeqgenError(f"cannot write the tokens of {data.name} to {folder}: {error.strerror}") from error


@cache
def cache_folder() -> Path:
    """Where streams are kept: the user's own cache, or where that cannot be written a folder that goes with the process."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqgen" / "corpora"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    folder = Path(tempfile.mkdtemp(prefix="seqgen-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def opened(folder: Path) -> Corpus:
    """A corpus that was kept."""
    found = json.loads((folder / "symbols.json").read_text())
    streams = {split: np.empty(0, np.uint16) for split in ("train", "validation", "test")}
    for split, size in found["tokens"].items():
        streams[split] = np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False)
        if streams[split].shape != (size,):
            raise ValueError(f"{split} is not whole")
    return Corpus(Symbols(found["unit"], tuple(found["table"])), **streams)


def keep(symbols: Symbols, folder: Path, streams: dict[str, Tokens], ids: np.ndarray) -> None:
    """Write streams with `ids` in the place of theirs; symbols.json comes last."""
    for split, stream in streams.items():
        if len(stream):
            kind = np.dtype(np.uint16 if len(symbols) <= 1 << 16 else np.uint32)
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": (len(stream),)}
            with open(folder / f"{split}.npy", "wb") as file:  # a memory map would die of a full disk
                np.lib.format.write_array_header_2_0(file, header)
                for i in range(0, len(stream), BLOCK):
                    file.write(ids[stream[i : i + BLOCK]].astype(kind).tobytes())
    sizes = {split: len(stream) for split, stream in streams.items() if len(stream)}
    (folder / "symbols.json").write_text(json.dumps({**asdict(symbols), "tokens": sizes}))


def fill_drawn(data: Drawn, folder: Path) -> None:
    """Draw each split from a stream of its own."""
    generators = np.random.default_rng(data.seed).spawn(3)
    sizes = {"train": data.train, "validation": data.validation, "test": data.test}
    drawn = {split: data.language.sample(g, n) for (split, n), g in zip(sizes.items(), generators, strict=True)}
    symbols = Symbols("word", data.language.symbols)
    keep(symbols, folder, drawn, np.arange(len(symbols)))


def fill_text(data: Text, folder: Path) -> None:
    """Read the text once, ids as they come, then give the symbols that are kept their own, by first appearance."""
    table: dict[str, int] = {}
    streams = cut(data, spool(text.provisional(data, table), folder))
    if not len(streams["train"]):
        raise SeqgenError(f"{data.path}: no text to train on")
    if data.unit == "byte":
        keep(Symbols("byte"), folder, streams, np.arange(256))
    else:
        keep(*chosen(data, list(table), streams, folder))
    for path in folder.glob("*.raw"):
        path.unlink()


def spool(parts: Iterable[tuple[str, np.ndarray]], folder: Path) -> dict[str, Tokens]:
    """What comes piece by piece as one stream a split, on the disk."""
    sizes: dict[str, int] = {}
    for split, piece in parts:
        with open(folder / f"{split}.raw", "ab") as file:
            file.write(piece.astype(np.uint32).tobytes())
        sizes[split] = sizes.get(split, 0) + len(piece)
    return {split: np.memmap(folder / f"{split}.raw", np.uint32, "r") for split, size in sizes.items() if size}


def cut(data: Text, streams: dict[str, Tokens]) -> dict[str, Tokens]:
    """The three splits: as they are named, or the parts of one stream."""
    whole = streams.get("all", np.empty(0, np.uint32))
    first, second = (int(len(whole) * (1 - rest)) for rest in (data.validation + data.test, data.test))
    cuts = {"train": whole[:first], "validation": whole[first:second], "test": whole[second:]}
    return cuts | {split: stream for split, stream in streams.items() if split != "all"}


def chosen(
    data: Text, table: list[str], streams: dict[str, Tokens], folder: Path
) -> tuple[Symbols, Path, dict[str, Tokens], np.ndarray]:
    """The vocabulary: what is frequent enough in training, and <unk> where anything else is met.

    Raises `UsageError` where nothing else is left.
    """
    counts, elsewhere = (np.zeros(len(table), np.int64) for _ in range(2))
    for split, stream in streams.items():
        into = counts if split == "train" else elsewhere
        for i in range(0, len(stream), BLOCK):
            into += np.bincount(stream[i : i + BLOCK], minlength=len(table))
    wanted = counts >= data.min_count
    if data.most is not None:
        wanted[np.argsort(-counts, kind="stable")[data.most :]] = False
    wanted |= np.array([symbol == UNKNOWN for symbol in table])
    kept = [symbol for symbol, keep in zip(table, wanted, strict=True) if keep]
    if UNKNOWN not in kept and (counts + elsewhere)[~wanted].any():
        kept.append(UNKNOWN)
    if kept == [UNKNOWN]:
        raise UsageError(f"{data.name}: nothing but <unk> is left of it; a --min-count below {data.min_count} may do")
    ids = np.full(len(table), kept.index(UNKNOWN) if UNKNOWN in kept else 0)
    ids[wanted] = np.arange(wanted.sum())
    return Symbols(data.unit, tuple(kept)), folder, streams, ids
