"""Rows of like length together: each bucket is a shape, so that little of a batch is padding."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Lengths = Int[np.ndarray, " N"]

MOST_LENGTHS = 96
"""Sums of two lengths among which the bounds of buckets are looked for."""

LEAST_GAIN = 0.02
"""A further bucket, and compilation, saves at least this part of all tokens."""


class Bucket(NamedTuple):
    """The most tokens of its rows; later buckets are as wide or wider on both sides."""

    source: int
    target: int


def buckets_of(
    source: Lengths, target: Lengths, most: int, batch: Callable[[Bucket], int]
) -> tuple[Bucket, ...]:
    """At most `most` buckets that leave the least padding, each with a batch of rows or more.

    Args:
        source: tokens of each row's source.
        target: tokens of each row's target.
        most: how many buckets there may be.
        batch: how many rows of a bucket are a batch.

    """
    buckets = list(least_padding(source, target, most))
    while len(buckets) > 1:
        rows = np.bincount(bucket_of(buckets, source, target), minlength=len(buckets))
        small = [i for i, bucket in enumerate(buckets) if rows[i] < batch(bucket)]
        if not small:
            break
        del buckets[min(small[0], len(buckets) - 2)]  # its rows join the next; the last one's stay
    return tuple(buckets)


def least_padding(source: Lengths, target: Lengths, most: int) -> tuple[Bucket, ...]:
    """Rows in the order of the sum of their lengths, cut by dynamic programming.

    Args:
        source: tokens of each row's source.
        target: tokens of each row's target.
        most: how many buckets there may be.

    """
    total = source + target
    sums = np.unique(total)
    if len(sums) > MOST_LENGTHS:
        parts = np.linspace(0, 1, MOST_LENGTHS + 1)[1:]
        sums = np.unique(np.quantile(total, parts, method="higher"))
    group, count = np.searchsorted(sums, total), len(sums)
    wide, long = np.zeros(count, int), np.zeros(count, int)
    np.maximum.at(wide, group, source)
    np.maximum.at(long, group, target)
    wide, long = np.maximum.accumulate(wide), np.maximum.accumulate(long)
    before = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=count))])
    begin, end = np.ogrid[: count + 1, : count + 1]
    tokens = np.concatenate([[0], wide + long])  # of a row in a bucket that ends there
    cost = np.where(begin < end, (before[end] - before[begin]) * tokens[end], np.inf)
    best, cuts = cost[0], [np.zeros(count + 1, int)]
    for _ in range(min(most, count) - 1):
        longer = best[:, None] + cost
        if longer[:, -1].min() > (1 - LEAST_GAIN) * best[-1]:
            break
        cuts.append(longer.argmin(axis=0))
        best = longer.min(axis=0)
    ends = list(accumulate(reversed(cuts), lambda end, cut: int(cut[end]), initial=count))
    return tuple(Bucket(int(wide[end - 1]), int(long[end - 1])) for end in reversed(ends[:-1]))


def bucket_of(buckets: Sequence[Bucket], source: Lengths, target: Lengths) -> Lengths:
    """The first bucket that holds each row; `len(buckets)` for a row that none holds."""
    fits = [(source <= bucket.source) & (target <= bucket.target) for bucket in buckets]
    return np.argmax([*fits, np.ones(len(source), bool)], axis=0)
