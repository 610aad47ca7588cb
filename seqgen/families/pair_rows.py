"""The rows of pairs as arrays: all of one width, or sorted into buckets by length."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from seqgen.config import RunConfig, Training
from seqgen.data.buckets import Bucket, bucket_of, buckets_of, least_padding
from seqgen.data.padding import Padding, encode
from seqgen.data.pairs import Pair, Split
from seqgen.evaluation.answers import blocking, blocks
from seqgen.tasks.dataset import Dataset
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.stored_rows import StoredRows
from seqgen.training.batches import Batches, Buckets, Rows, Stored
from seqgen.types import Batch


def rows_of(dataset: Dataset, pairs: Sequence[Pair], padding: Padding | None = None) -> Batch:
    """Pairs as a batch, as wide as the data set, or another `padding`, has it."""
    source = dataset.source_tokenizer
    return encode(pairs, dataset.tokenizer, padding or dataset.padding, source_tokenizer=source)


def batch_size(training: Training) -> Callable[[Bucket], int]:
    """How many rows of a bucket are a batch: so many, or what makes so many tokens, with padding,
    in a multiple of the parts that a batch is split into.
    """
    if training.batch_tokens is None:
        return lambda bucket: training.batch
    tokens, parts = training.batch_tokens, training.devices * training.accumulate
    return lambda bucket: max(tokens // (bucket.source + bucket.target) // parts, 1) * parts


def buckets_for(config: RunConfig, dataset: Dataset) -> tuple[Bucket, ...]:
    """The shapes of a run's batches."""
    return buckets_of(*dataset.lengths["train"], dataset.buckets or 1, batch_size(config.training))


def batches(config: RunConfig, dataset: Dataset) -> Batches:
    """What trains: the rows of the training split."""
    pairs = dataset.splits.train
    if dataset.buckets is None:
        return Rows(rows_of(dataset, pairs), config.training.batch)
    assert isinstance(config.data, PairFile)
    buckets, size = buckets_for(config, dataset), batch_size(config.training)
    each = sorted_into(dataset, "train", buckets)
    sizes = tuple(map(size, buckets))
    if isinstance(pairs, StoredRows):
        paddings = [padding_of(dataset, bucket) for bucket in buckets]

        def fetch(bucket: int, rows: Int[np.ndarray, "..."]) -> Batch:
            sides = dataset.source_tokenizer or dataset.tokenizer, dataset.tokenizer
            return pairs.read(each[bucket][rows], paddings[bucket], *sides)

        return Buckets((), sizes, config.data.split_seed, Stored(tuple(map(len, each)), fetch))
    data = tuple(
        rows_of(dataset, [pairs[row] for row in rows], padding_of(dataset, bucket))
        for bucket, rows in zip(buckets, each, strict=True)
    )
    return Buckets(data, sizes, config.data.split_seed)


def epoch_steps(config: RunConfig, dataset: Dataset) -> int:
    """Steps per epoch, without a row being put into an array."""
    if dataset.buckets is None:
        return len(dataset.splits.train) // config.training.batch
    buckets, size = buckets_for(config, dataset), batch_size(config.training)
    each = sorted_into(dataset, "train", buckets)
    return sum(len(rows) // size(bucket) for bucket, rows in zip(buckets, each, strict=True))


def described(config: RunConfig, dataset: Dataset) -> str:
    """The buckets, in a line."""
    buckets, size = buckets_for(config, dataset), batch_size(config.training)
    each = [len(rows) for rows in sorted_into(dataset, "train", buckets)]
    shapes = ", ".join(
        f"{bucket.source}+{bucket.target} ({rows:,} rows, {size(bucket)} at a time)"
        for bucket, rows in zip(buckets, each, strict=True)
    )
    return f"buckets of source + target tokens, each a compilation: {len(buckets)}: {shapes}"


def padding_of(dataset: Dataset, bucket: Bucket) -> Padding:
    """The data set's padding at a bucket's widths."""
    return replace(
        dataset.padding, question_width=bucket.source, answer_width=max(bucket.target - 1, 1)
    )


def sorted_into(
    dataset: Dataset, split: Split, buckets: Sequence[Bucket]
) -> list[Int[np.ndarray, " _"]]:
    """The rows of each bucket; the last one takes what none holds."""
    found = np.minimum(bucket_of(buckets, *dataset.lengths[split]), len(buckets) - 1)
    return [np.flatnonzero(found == i).astype(np.int32) for i in range(len(buckets))]


def evaluation_buckets(dataset: Dataset) -> list[Bucket]:
    """The shapes of evaluations: the training rows' buckets, the last as wide as any row."""
    *others, last = least_padding(*dataset.lengths["train"], dataset.buckets or 1)
    for split in ("validation", "test"):
        source, target = dataset.lengths[split]
        last = Bucket(int(source.max(initial=last.source)), int(target.max(initial=last.target)))
    return [*others, last]


def places(dataset: Dataset, split: Split) -> list[Int[np.ndarray, " _"]]:
    """The rows of a split in the order of `split_blocks`, bucket by bucket."""
    if dataset.buckets is None:
        return [np.arange(len(getattr(dataset.splits, split)))]
    return sorted_into(dataset, split, evaluation_buckets(dataset))


def split_blocks(dataset: Dataset, split: Split) -> tuple[Batch, ...]:
    """A split as [count, block, ...], bucket by bucket: validation and test share programs."""
    pairs, splits = getattr(dataset.splits, split), dataset.splits
    if dataset.buckets is None:
        batch = rows_of(dataset, pairs)
        rows = max(len(splits.validation), len(splits.test), len(batch.source))
        return (blocks(batch, *blocking(rows, batch.source.shape[1])),)
    buckets = evaluation_buckets(dataset)
    names: set[Split] = {"validation", "test", split}
    each = {name: sorted_into(dataset, name, buckets) for name in names}
    found = []
    for i, bucket in enumerate(buckets):
        rows = max(1, *(len(of[i]) for of in each.values()))
        mine = [pairs[row] for row in each[split][i]]
        batch = rows_of(dataset, mine, padding_of(dataset, bucket)) if mine else nothing(bucket)
        found.append(blocks(batch, *blocking(rows, bucket.source)))
    return tuple(found)


def capped(dataset: Dataset, split: Split, most: int) -> Dataset:
    """At most so many rows of a split, from anywhere in it, and none of the other evaluated one.

    A source comes with all of its rows, for all of its targets are right answers.
    """
    pairs = getattr(dataset.splits, split)
    sources = np.array([source for source, _ in pairs], object)
    _, example, counts = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(counts))
    count = np.sum(np.cumsum(counts[order]) <= most)
    kept = np.flatnonzero(np.isin(example, order[: max(count, 1)]))
    chosen: dict[str, list[Pair]] = {"validation": [], "test": []}
    chosen[split] = [pairs[row] for row in kept]
    lengths = dict(dataset.lengths)
    for name in lengths.keys() - {"train"}:
        rows = kept if name == split else kept[:0]
        source, target = lengths[name]
        lengths[name] = source[rows], target[rows]
    return dataset._replace(splits=dataset.splits._replace(**chosen), lengths=lengths)


def nothing(bucket: Bucket) -> Batch:
    """A row that does not count, where a split has none of a bucket."""
    source, target = (np.zeros((1, width), np.int32) for width in bucket)
    return Batch(source, np.ones(1, np.int32), target, target, np.zeros(target.shape, bool))
