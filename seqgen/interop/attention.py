"""Attention maps for other programs: JSON, JSON lines, or one NPZ with the same arrays.

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
answers were chosen. JSON lines: the items alone, one a line. NPZ: `format`, `version`, `run` and
(as JSON) `about`, and for item i the arrays `i.question`, `i.source`, `i.target`, `i.answer`,
`i.logprob` and `i.maps.attention`.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float

from seqgen.errors import UsageError
from seqgen.storage.files import writing

FORMAT, VERSION = "seqgen-attention", 1

DECIMALS = 6


ELSEWHERE = ("decoder.self", "memory")
"""Beginnings of the places of maps whose columns are not the source's."""


def on_source(place: str) -> bool:
    """Whether the map of a place is of weights on the source."""
    return not place.startswith(ELSEWHERE)


class Attention(NamedTuple):
    """Where a model looked while it wrote one answer; `weights` are in reading order of the source.

    `maps` has further maps [K, T, ...] by their place. `logprob` is in nats. `unknown` are the
    pieces of the question that the model reads as <unk>.
    """

    question: str
    answer: str
    weights: Float[np.ndarray, "K T S"]
    source: list[str]
    target: list[str]
    logprob: float
    maps: Mapping[str, Float[np.ndarray, "..."]] = {}
    unknown: Sequence[str] = ()

    def every_map(self) -> dict[str, Float[np.ndarray, "..."]]:
        """All maps by their place."""
        return {"attention": self.weights, **self.maps}


def as_json(item: Attention) -> dict[str, Any]:
    """One item of a JSON file."""
    return {
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


def as_arrays(item: Attention) -> dict[str, Any]:
    """The arrays of one item of an NPZ file."""
    pieces = {"source": item.source, "target": item.target}
    arrays: dict[str, Any] = {name: np.array(each, str) for name, each in pieces.items()}
    arrays |= {"question": item.question, "answer": item.answer, "logprob": item.logprob}
    return arrays | {f"maps.{name}": weights for name, weights in item.every_map().items()}


def write_json(file: BinaryIO, items: Iterable[Attention], head: Mapping[str, Any]) -> None:
    """One object: the head, and the items one by one."""
    file.write(json.dumps(head, ensure_ascii=False)[:-1].encode() + b', "items": [')
    for i, item in enumerate(items):
        file.write(b", " * (i > 0) + json.dumps(as_json(item), ensure_ascii=False).encode())
    file.write(b"]}\n")


def write_json_lines(file: BinaryIO, items: Iterable[Attention], head: Mapping[str, Any]) -> None:
    """An object per item, without the head."""
    for item in items:
        file.write(json.dumps(as_json(item), ensure_ascii=False).encode() + b"\n")


def write_npz(file: BinaryIO, items: Iterable[Attention], head: Mapping[str, Any]) -> None:
    """The head's arrays, then each item's, one by one into the archive."""
    about = json.dumps(head["about"], ensure_ascii=False)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, value: Any) -> None:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)

        for name, value in {**head, "about": about}.items():
            add(name, value)
        for i, item in enumerate(items):
            for name, value in as_arrays(item).items():
                add(f"{i}.{name}", value)


WRITERS = {".json": write_json, ".npz": write_npz, ".jsonl": write_json_lines}
"""How a file is written, by its ending."""


def export(
    items: Iterable[Attention], path: Path, *, run: str, about: Mapping[str, Any] | None = None
) -> None:
    """Write a .json, an .npz or a .jsonl, whole or not at all; items are taken one by one.

    Args:
        items: the maps.
        path: the file; its ending says which.
        run: what they are of.
        about: what its ids stand for, and how the answers were chosen.

    Raises:
        UsageError: for another ending.
        SeqgenError: where the disk refuses.

    """
    if (writer := WRITERS.get(path.suffix.lower())) is None:
        raise UsageError(
            f"cannot export attention as {path}: its name must end in one of {', '.join(WRITERS)}"
        )
    head = {"format": FORMAT, "version": VERSION, "run": run, "about": about or {}}
    with writing(path) as file:
        writer(file, items, head)
