"""Intervals: of a mean over seeds, of a share of one test set, of the difference of paired runs.

SciPy's whole procedures, but for the bootstrap. In the sign-flip test means are rounded to 12
digits of the largest difference before they are compared: rounding would part sums that are equal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


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


def bootstrap(values: ArrayLike, *, block: int = 200, draws: int = 2000, seed: int = 0) -> Interval:
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
    length = max(1, min(block, len(series) // 20))
    sums = np.cumsum(np.concatenate([[0.0], series, series[:length]]))
    means = (sums[length:] - sums[:-length]) / length  # of the block that begins at each value
    blocks = -(-len(series) // length)
    starts = np.random.default_rng(seed).integers(len(series), size=(draws, blocks))
    low, high = np.quantile(np.mean(means[starts], axis=1), (0.025, 0.975))
    return Interval(float(np.mean(series)), float(low), float(high))
