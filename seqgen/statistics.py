"""What a mean over seeds, a fraction of one test set, or a difference between paired runs says."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float]) -> Interval:
    """The mean of independent runs with Student's 95 % t interval (Student 1908). Raises `ValueError` for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"an interval over seeds takes two runs or more, not {len(values)}")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def wilson(right: int, total: int) -> Interval:
    """The 95 % score interval of one model's fraction right on `total` examples (Wilson 1927). Raises `ValueError` for none."""
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} right of {total} is no fraction")
    z, p = float(stats.norm.ppf(0.975)), right / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half))


class Paired(NamedTuple):
    """The interval of a mean difference, and the chance of one at least as large if signs were thrown by a coin."""

    difference: Interval
    p: float


def paired(first: Sequence[float], second: Sequence[float]) -> Paired:
    """first - second, pair by pair, with an exact two-sided sign-flip test (Fisher 1935, §21).

    Runs of one seed share their order of examples. The smallest p of n pairs is 2 / 2ⁿ. Raises `ValueError` for fewer than
    two pairs, more than 20 (a million signs), or sequences of different length.
    """
    differences = np.subtract(first, second) if len(first) == len(second) else np.empty(0)
    if not 2 <= len(differences) <= 20:
        raise ValueError(f"paired differences take 2 to 20 pairs, not {len(first)} and {len(second)} values")
    signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    flipped = np.abs(signs @ differences)
    p = float(np.mean(flipped >= flipped[0] * (1 - 1e-9)))  # the first has all signs as they are
    return Paired(over_seeds(differences.tolist()), p)


def bootstrap(values: ArrayLike, *, block: int = 200, draws: int = 2000, seed: int = 0) -> Interval:
    """The mean of one long series of dependent values, with a 95 % interval from resampled blocks (Künsch 1989).

    Blocks begin anywhere, the series being closed to a circle (Politis & Romano 1992); a short series has 20 or more.
    Raises `ValueError` for fewer than two values.
    """
    series = np.asarray(values, np.float64)
    if len(series) < 2:
        raise ValueError(f"an interval takes two values or more, not {len(series)}")
    length = max(1, min(block, len(series) // 20))
    sums = np.cumsum(np.concatenate([[0.0], series, series[:length]]))
    means = (sums[length:] - sums[:-length]) / length  # of the block that begins at each value
    starts = np.random.default_rng(seed).integers(len(series), size=(draws, -(-len(series) // length)))
    low, high = np.quantile(np.mean(means[starts], axis=1), (0.025, 0.975))
    return Interval(float(np.mean(series)), float(low), float(high))
