"""Intervals: what a mean over seeds, or a fraction of one test set, says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    mean: float
    low: float
    high: float


def over_seeds(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of independent runs with Student's t interval (Student 1908). Raises `ValueError` for fewer than two."""
    if len(values) < 2:
        raise ValueError(f"an interval over seeds takes two runs or more, not {len(values)}")
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def wilson(right: int, total: int, level: float = 0.95) -> Interval:
    """The score interval of one model's fraction right on `total` examples (Wilson 1927). Raises `ValueError` for none."""
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"{right} right of {total} is no fraction")
    z, p = float(stats.norm.ppf((1 + level) / 2)), right / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    return Interval(p, middle - half, middle + half)
