"""Attention maps for other programs: one JSON a page can read, or one NPZ with the same arrays.

JSON, version 1:

    {"format": "seqgen-attention", "version": 1, "run": "runs/dates-attention",
     "about": {"tokenizer": {...}, "padding": {...}, "generation": {...}, "hypothesis": 0, ...},
     "items": [{"question": text,
                "source": [piece, ...],            S pieces, in reading order
                "target": [piece, ...],            T pieces, what was written
                "answer": text, "logprob": nats,
                "maps": {"attention": [K][T][S]}}, ...]}

`maps` are what the decoder's steps attended to, by place: weights of K heads at T target pieces, S
source pieces each, a row of them 1 in sum but for rounding. Only where a place begins with
"decoder.self" or "memory" are the columns not the source's, but earlier tokens or slots of a
memory, all that the model has. `about` is what the ids stand for, in their order, and how the
answers were chosen. NPZ: `format`, `version`, `run` and (as JSON) `about`, and for item i the
arrays `i.question`, `i.source`, `i.target`, `i.answer`, `i.logprob` and `i.maps.attention`.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from seqgen.errors import UsageError
from seqgen.storage.files import write

FORMAT, VERSION = "seqgen-attention", 1

DECIMALS = 6


ELSEWHERE = ("decoder.self", "memory")
"""Beginnings of the places of maps whose columns are not the source's."""


def on_source(place: str) -> bool:
    """Whether the map of a place is of weights on the source."""
    return not place.startswith(ELSEWHERE)


class Attention(NamedTuple):
    """Where a model looked while it wrote one answer; `weights` are in reading order of the source.

    `maps` has further maps [K, T, ...] by their place. `logprob` is in nats.
    """

    question: str
    answer: str
    weights: Float[np.ndarray, "K T S"]
    source: list[str]
    target: list[str]
    logprob: float
    maps: Mapping[str, Float[np.ndarray, "..."]] = {}

    def every_map(self) -> dict[str, Float[np.ndarray, "..."]]:
        """All maps by their place."""
        return {"attention": self.weights, **self.maps}


def as_json(items: Sequence[Attention], run: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the JSON file holds."""
    found = [
        {
            "question": item.question,
            "source": item.source,
            "target": item.target,
            "answer": item.answer,
            "logprob": item.logprob,
            "maps": {
                name: np.round(np.asarray(weights, np.float64), DECIMALS).tolist()
                for name, weights in item.every_map().items()
            },
        }
        for item in items
    ]
    return {"format": FORMAT, "version": VERSION, "run": run, "about": about, "items": found}


def as_npz(items: Sequence[Attention], run: str, about: Mapping[str, Any]) -> bytes:
    """What the NPZ file holds."""
    arrays: dict[str, Any] = {"format": FORMAT, "version": VERSION, "run": run}
    arrays["about"] = json.dumps(about, ensure_ascii=False)
    for i, item in enumerate(items):
        pieces = {"source": item.source, "target": item.target}
        arrays |= {f"{i}.{name}": np.array(each, str) for name, each in pieces.items()}
        arrays |= {f"{i}.question": item.question, f"{i}.answer": item.answer}
        arrays[f"{i}.logprob"] = item.logprob
        arrays |= {f"{i}.maps.{name}": weights for name, weights in item.every_map().items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def export(
    items: Sequence[Attention], path: Path, *, run: str, about: Mapping[str, Any] | None = None
) -> None:
    """Write a .json or an .npz, whole or not at all.

    Args:
        items: the maps.
        path: the file; its ending says which.
        run: what they are of.
        about: what its ids stand for, and how the answers were chosen.

    Raises:
        UsageError: for another ending.
        SeqgenError: where the disk refuses.

    """
    if path.suffix.lower() == ".json":
        write(path, json.dumps(as_json(items, run, about or {}), ensure_ascii=False) + "\n")
    elif path.suffix.lower() == ".npz":
        write(path, as_npz(items, run, about or {}))
    else:
        raise UsageError(f"cannot export attention as {path}: its name must end in .json or .npz")
