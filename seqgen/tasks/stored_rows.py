"""Training rows of pairs as ids on the disk, memory-mapped, and what describes them.

<cache>/corpora/<digest>/source.ids  source.starts  target.ids  target.starts
                         description.json  SHA256SUMS
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Integer

from seqgen.config import strict_converter
from seqgen.data.buckets import Lengths
from seqgen.data.padding import Padding, masked_batch, masked_source
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.data.pairs import Pair, Splits
from seqgen.data.ragged import Ragged
from seqgen.data.tokenizer import Tokenizer
from seqgen.errors import UsageError
from seqgen.types import Batch


class Sides(NamedTuple):
    """The tokenizers of both sides; equal where they are shared."""

    source: PairTokenizer
    target: PairTokenizer


class Description(NamedTuple):
    """What a store has beside its ids."""

    sides: Sides
    held_out: Splits
    """Without the training rows."""
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class StoredRows:
    """Training rows as ids on the disk; their text is not there.

    Args:
        digest: names the store.
        source: ids of all sources, one after another, and where each starts and the last one ends.
        target: the same of targets.
        overlaps: what an audit counts.

    """

    digest: str
    source: tuple[np.memmap, np.memmap]
    target: tuple[np.memmap, np.memmap]
    overlaps: dict[str, int]

    def __len__(self) -> int:
        return len(self.source[1]) - 1

    def __iter__(self) -> Iterator[Pair]:
        """Raises `UsageError`: there is no text."""
        raise UsageError(
            "of so many pairs the training rows are kept as ids, not as text; "
            "use the validation or the test split"
        )

    def lengths(self) -> tuple[Lengths, Lengths]:
        """Tokens of sources, and of targets with their end."""
        read = (np.fromfile(str(starts.filename), np.int64) for _, starts in self.sides())
        source, target = (np.diff(starts).astype(np.int32) for starts in read)  # no pages stay
        return source, target + np.int32(1)

    def sides(self) -> tuple[tuple[np.memmap, np.memmap], ...]:
        """Source and target."""
        return self.source, self.target

    def read(
        self,
        rows: Integer[np.ndarray, "..."],
        padding: Padding,
        source: Tokenizer,
        target: Tokenizer,
    ) -> Batch:
        """Rows as `encode` makes them of their text.

        Args:
            rows: their numbers.
            padding: how wide they are.
            source: the tokenizer of sources.
            target: and of targets.

        """
        asked, answers = (gathered(*side, rows.reshape(-1)) for side in self.sides())
        questions, length = masked_source(asked, padding, source.special.pad or 0)
        made: Any = masked_batch(questions, length, answers, padding=padding, tokenizer=target)
        return Batch(*(leaf.reshape(*rows.shape, *leaf.shape[1:]) for leaf in made))


def gathered(ids: np.ndarray, starts: np.ndarray, rows: Int[np.ndarray, " N"]) -> Ragged:
    """Some rows of a stream."""
    begin, lengths = starts[rows], starts[rows + 1] - starts[rows]
    first = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) + np.repeat(begin - first, lengths)
    return Ragged(ids[places].astype(np.int32), lengths)


def opened(folder: Path) -> tuple[StoredRows, Description]:
    """A store that was kept. Raises `ValueError` for one that is not whole."""
    content = json.loads((folder / "description.json").read_text())
    converter = strict_converter()
    sides = Sides(*(converter.structure(each, PairTokenizer) for each in content["sides"]))
    held = {name: [(a, b) for a, b in content[name]] for name in ("validation", "test")}
    streams = []
    for side, tokenizer, size in zip(Sides._fields, sides, content["ids"], strict=True):
        ids = np.memmap(folder / f"{side}.ids", kind(tokenizer), "r", shape=(size,))
        starts = np.memmap(folder / f"{side}.starts", np.int64, "r", shape=(content["rows"] + 1,))
        streams.append((ids, starts))
    rows = StoredRows(folder.name, *streams, content["overlaps"])
    notes = *content["notes"], f"train: more than memory is to hold, kept as ids in {folder}"
    return rows, Description(sides, Splits([], **held), notes)


def kind(tokenizer: PairTokenizer) -> type:
    """How wide an id is."""
    return np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
