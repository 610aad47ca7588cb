"""Pairs larger than memory: their training rows are written as ids, once.

The files are read a block of rows at a time: to count tokens and to choose the splits, to make byte
pairs where there are any, and to write ids.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from seqgen.config import strict_converter
from seqgen.data.byte_pairs import byte_pairs, usual_size
from seqgen.data.pair_tokenizer import FEATURES, PairTokenizer, frequent, normalized
from seqgen.data.pairs import Pair, Splits
from seqgen.data.ragged import Ragged
from seqgen.data.reading_bar import ReadingBar
from seqgen.data.token_store import folder_of, kept
from seqgen.data.tokenizer import Vocabulary
from seqgen.errors import UsageError
from seqgen.tasks.audit import repeat_notes, repeats_in
from seqgen.tasks.pair_counts import Counted, Source, blocks, count, numbers
from seqgen.tasks.stored_rows import Description, Sides, StoredRows, kind, opened

FORMAT = 2
"""Version of what is written; raise it to have it made again."""


def is_kept(key: str) -> bool:
    """Whether there is a store of it."""
    return folder_of(key).exists()


def stored(source: Source) -> tuple[StoredRows, Description]:
    """The store of pairs, which is made where there is none.

    Raises:
        SeqgenError: for what is no pair, and where it cannot be written.

    """
    return kept(source.key, source.name, partial(fill, source), read=opened)


def fill(source: Source, folder: Path) -> None:
    """Write a store."""
    with ExitStack() as stack:
        bar = stack.enter_context(ReadingBar(source.name))
        counted = count(source, bar)
        sides = sides_of(source, counted, bar)
        write(source, folder, counted, sides, bar=bar)


def sides_of(source: Source, counted: Counted, bar: ReadingBar) -> Sides:
    """The tokens of both sides, from the training rows alone."""
    made = []
    for side in (0, 1):
        if side and source.shared:
            made.append(made[0])
            continue
        tokens, which = source.tokens[side], ((0, 1) if source.shared else (side,))
        if tokens == "bytes":
            made.append(Vocabulary("byte"))
        elif tokens == "bpe":
            size = source.vocabulary or usual_size(sum(counted.characters[i] for i in which))
            made.append(byte_pairs(training_texts(source, counted, which, bar), size))
        else:
            total = sum((counted.counts[i] for i in which), Counter[str]())
            made.append(frequent(total, tokens, source.min_count))
    one, other = (PairTokenizer(each, source.normalization) for each in made)
    return Sides(replace(one, features=counted.features), other)


def training(source: Source, counted: Counted) -> Iterator[tuple[list[Pair], int]]:
    """The training rows, block by block, and how many rows each was chosen from."""
    bound = max(counted.bounds, default=-1)
    for block in blocks(source.pairs()):
        found = numbers(source.seed, [pair[0] for pair in block]) if bound >= 0 else None
        every = block if found is None else [block[i] for i in np.flatnonzero(found > bound)]
        yield every, len(block)


def training_texts(
    source: Source, counted: Counted, which: tuple[int, ...], bar: ReadingBar
) -> Iterator[str]:
    """The texts of sides of the training rows."""
    bar.begin("byte pairs", counted.rows)
    for block, read in training(source, counted):
        for side in which:
            for pair in block:
                text = pair[side].partition(FEATURES)[0] if not side else pair[side]
                yield normalized(text, source.normalization)
        bar.advance(read, read)


def write(source: Source, folder: Path, counted: Counted, sides: Sides, *, bar: ReadingBar) -> None:
    """Write the ids of the training rows, and what is told of them.

    Args:
        source: what is read.
        folder: where.
        counted: what the first reading found.
        sides: the tokenizers.
        bar: is told how it goes.

    """
    held, said = without_long(source, sides, counted.held_out)
    texts = {name: {a for a, _ in getattr(held, name)} for name in ("validation", "test")}
    folded = {text.casefold() for text in texts["test"]}
    met: dict[str, set[str]] = {"validation": set(), "test": set(), "folded": set()}
    of_pair, of_source, dropped, rows = list[np.ndarray](), list[np.ndarray](), 0, 0
    bar.begin("writing", counted.rows)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(open(folder / name, "wb"))
            for side in Sides._fields
            for name in (f"{side}.ids", f"{side}.starts")
        }
        ends = [0, 0]
        for side in Sides._fields:
            files[f"{side}.starts"].write(np.zeros(1, np.int64).tobytes())
        for block, read in training(source, counted):
            made = [each.encode_all([pair[i] for pair in block]) for i, each in enumerate(sides)]
            within = zip(made, source.most, strict=True)
            fits = np.all([each.lengths <= most for each, most in within], axis=0)
            if not fits.all():
                if not source.bounded:
                    raise too_long(source, block[int(np.flatnonzero(~fits)[0])])
                dropped += int((~fits).sum())
                made = [
                    Ragged(each.ids[np.repeat(fits, each.lengths)], each.lengths[fits])
                    for each in made
                ]
                block = [block[i] for i in np.flatnonzero(fits)]
            rows += len(block)
            for i, (side, each) in enumerate(zip(Sides._fields, made, strict=True)):
                files[f"{side}.ids"].write(each.ids.astype(kind(sides[i])).tobytes())
                starts = ends[i] + np.cumsum(each.lengths, dtype=np.int64)
                files[f"{side}.starts"].write(starts.tobytes())
                ends[i] = int(starts[-1]) if len(starts) else ends[i]
            of_pair.append(np.fromiter(map(hash, block), np.int64, len(block)))
            sources = [pair[0] for pair in block]
            of_source.append(np.fromiter(map(hash, sources), np.int64, len(block)))
            for name in texts:
                met[name] |= texts[name].intersection(sources)
            met["folded"] |= folded.intersection(map(str.casefold, sources))
            bar.advance(read, read)
    bar.begin("checking", None)
    for name, left in {**held._asdict(), "train": rows}.items():
        if not left and (name == "train" or getattr(counted.held_out, name)):
            raise nothing_left(source.name, name)
    again, several = repeated(np.concatenate(of_pair), np.concatenate(of_source))
    notes = left_out({"train": (dropped, rows + dropped), **said})
    both = texts["test"] & texts["validation"]
    overlaps = {
        "test sources in training": len(met["test"]),
        "test sources in training, ignoring case": sum(
            text.casefold() in met["folded"] for text in texts["test"]
        ),
        "test sources in validation": len(both),
        "validation sources in training": len(met["validation"]),
        "rows that stand twice in training": again,
        "training sources with several targets": several,
    }
    notes += repeat_notes(
        {
            "train": (again, several),
            "validation": repeats_in(held.validation),
            "test": repeats_in(held.test),
        },
        {
            "train and validation": len(met["validation"]),
            "train and test": len(met["test"]),
            "validation and test": len(both),
        },
    )
    converter = strict_converter()
    content = {
        "sides": [converter.unstructure(each) for each in sides],
        "validation": held.validation,
        "test": held.test,
        "notes": notes,
        "overlaps": overlaps,
        "ids": ends,
        "rows": rows,
    }
    (folder / "description.json").write_text(json.dumps(content))


def too_long(source: Source, pair: Pair) -> UsageError:
    """What is said where no bound was asked for."""
    return UsageError(
        f"{source.name}: a row has more than {max(source.most)} tokens, {pair[0][:40]!r}; use "
        "max_source and max_target to leave such rows out",
        fields=("data.max_source", "data.max_target"),
    )


def left_out(longer: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line for each split that has rows which are too long: how many, of how many."""
    return [
        f"{name}: {out:,} of {total:,} rows are longer, and left out"
        for name, (out, total) in longer.items()
        if out
    ]


def nothing_left(name: str, split: str) -> UsageError:
    """What is said where all rows of a split are too long."""
    return UsageError(
        f"{name}: all rows of the {split} split are longer than max_source and max_target",
        fields=("data.max_source", "data.max_target"),
    )


def without_long(
    source: Source, sides: Sides, held: Splits
) -> tuple[Splits, dict[str, tuple[int, int]]]:
    """The validation and test split without rows that are too long, and how many of how many those
    were.
    """
    said = {}
    for name in ("validation", "test"):
        pairs = getattr(held, name)
        fits = np.ones(len(pairs), bool)
        for i, each in enumerate(sides):
            fits &= each.encode_all([pair[i] for pair in pairs]).lengths <= source.most[i]
        if not fits.all() and not source.bounded:
            raise too_long(source, pairs[int(np.flatnonzero(~fits)[0])])
        said[name] = int((~fits).sum()), len(pairs)
        held = held._replace(**{name: [pairs[row] for row in np.flatnonzero(fits)]})
    return held, said


def repeated(of_pair: np.ndarray, of_source: np.ndarray) -> tuple[int, int]:
    """How many rows repeat an earlier one, and how many sources have several targets."""
    order = np.argsort(of_pair, kind="stable")
    of_pair, of_source = of_pair[order], of_source[order]
    first = np.concatenate([[True], of_pair[1:] != of_pair[:-1]])
    distinct = np.sort(of_source[first])
    same = distinct[1:] == distinct[:-1]
    begins = same & ~np.concatenate([[False], same[:-1]])
    return int((~first).sum()), int(begins.sum())
