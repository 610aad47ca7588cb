"""Intervals: of a mean over seeds, of a share of one test set, of the difference of paired runs.

SciPy's whole procedures, but for the bootstrap. In the sign-flip test means are rounded to 12
digits of the largest difference before they are compared: rounding would part sums that are equal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import stats

BLOCK = 200
"""Neighbours in a text that are resampled together."""

COUNTS = 2**21
"""Examples of resampled draws that are counted at a time: 16 MB."""


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean of independent runs with Student's t interval (Student 1908).

    Raises:
        ValueError: fewer than two values.

    """
    if len(values) < 2:
        raise ValueError(f"an interval over seeds takes two runs or more, not {len(values)}")
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0:  # SciPy has no t distribution without a width
        return Interval(mean, mean, mean)
    low, high = stats.t.interval(0.95, len(values) - 1, mean, error)
    return Interval(mean, float(low), float(high))


def wilson(right: int, total: int) -> Interval:
    """The share of one test set that a model has right, with its score interval (Wilson 1927).

    Raises:
        ValueError: no examples, or not 0 to `total` right.

    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} right of {total} is no fraction")
    found = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    return Interval(right / total, float(found.low), float(found.high))


class Paired(NamedTuple):
    """A mean difference, and the probability of one at least as large under random signs."""

    difference: Interval
    p: float


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """first - second, pair by pair, with an exact two-sided sign-flip test (Fisher 1935, §21).

    Runs of one seed share their order of examples. The smallest p of n pairs is 2 / 2ⁿ; twenty
    pairs, a million signs, take seconds.

    Raises:
        ValueError: fewer than two pairs, more than 20, or sequences of different length.

    """
    differences = np.subtract(first, second) if len(first) == len(second) else np.empty(0)
    if not 2 <= len(differences) <= 20:
        raise ValueError(
            f"paired differences take 2 to 20 pairs, not {len(first)} and {len(second)} values"
        )
    scale = np.abs(differences).max() or 1.0

    def mean(flipped: np.ndarray, axis: int) -> np.ndarray | np.floating:
        return np.round(np.mean(flipped, axis=axis) / scale, 12)  # equal sums are equal means

    test = stats.permutation_test(
        (differences,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2 ** len(differences),  # all of them: the test is exact
        batch=2**14,
    )
    return Paired(over_seeds(differences.tolist()), float(test.pvalue))


def bootstrap(
    values: ArrayLike, *, block: int = BLOCK, draws: int = 2000, seed: int = 0
) -> Interval:
    """The mean of one long series of dependent values, its interval from resampled blocks.

    Moving blocks (Künsch 1989) of a series that is closed to a circle (Politis & Romano 1992); a
    short series has 20 blocks or more. `scipy.stats.bootstrap` draws values, not blocks.

    Args:
        values: the series.
        block: the length of a block, in values.
        draws: how many series are resampled.
        seed: of the draws.

    Raises:
        ValueError: fewer than two values.

    """
    series = np.asarray(values, np.float64)
    if len(series) < 2:
        raise ValueError(f"an interval takes two values or more, not {len(series)}")
    length, sums = block_sums(series, block)
    means = sums / length
    blocks = -(-len(series) // length)
    starts = np.random.default_rng(seed).integers(len(series), size=(draws, blocks))
    return Interval(float(np.mean(series)), *middle(np.mean(means[starts], axis=1)))


def block_sums(
    series: Float[np.ndarray, "N *K"], block: int
) -> tuple[int, Float[np.ndarray, "N *K"]]:
    """How long a block is, and the sum of the one that begins at each value of a closed series."""
    length = max(1, min(block, len(series) // 20))
    ends = np.cumsum(np.concatenate([np.zeros_like(series[:1]), series, series[:length]]), axis=0)
    return length, (ends[length:] - ends[:-length])[: len(series)]


def resampled(
    parts: Float[np.ndarray, "N K"], *, block: int = 1, draws: int = 2000, seed: int = 0
) -> Float[np.ndarray, "draws K"]:
    """Each column's sum over examples that are drawn with replacement, draw by draw (Efron 1979).

    Scores are functions of such sums; two runs of one seed and one number of examples are drawn
    alike, and their differences are those of the paired bootstrap (Koehn 2004).

    Args:
        parts: what each example adds.
        block: examples that are drawn together, where they depend on each other, as `bootstrap`.
        draws: how many.
        seed: of them.

    """
    (length, sums), random = block_sums(parts, block), np.random.default_rng(seed)
    n, size = len(parts), -(-len(parts) // length)
    found, at_once = [], max(COUNTS // n, 1)
    for first in range(0, draws, at_once):
        starts = random.integers(n, size=(min(at_once, draws - first), size))
        counts = np.stack([np.bincount(row, minlength=n) for row in starts])
        found.append(counts.astype(np.float64) @ sums)
    return np.concatenate(found)


def middle(draws: Float[np.ndarray, " N"]) -> tuple[float, float]:
    """The ends of the middle 95 % of a bootstrap's draws."""
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def two_sided(differences: Float[np.ndarray, " N"]) -> float:
    """The p of no difference, from a bootstrap's draws of one: twice the smaller tail, the estimate
    counted as a draw (Davison & Hinkley 1997, §4.2).
    """
    tails = np.sum(differences <= 0), np.sum(differences >= 0)
    return min(1.0, 2 * (1 + int(min(tails))) / (1 + len(differences)))


def mcnemar(first: int, second: int) -> float:
    """The two-sided p of examples that only one of two runs has right, as many of either being
    expected: the exact test (McNemar 1947).
    """
    return float(stats.binomtest(first, first + second).pvalue) if first + second else 1.0
