"""What came of each example: what scores, their intervals and comparisons of runs are made of.

A score is a function of sums over examples, most often the ratio of two.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from seqgen.evaluation.statistics import middle, resampled, two_sided

Values = Float[np.ndarray, " draws"]
Sums = Float[np.ndarray, "draws K"]


def ratio(sums: Sums) -> Values:
    """The first sum over the second, or over 1 where that is 0."""
    return sums[:, 0] / np.maximum(sums[:, 1], 1)


class Statistic(NamedTuple):
    """A score: what each example adds, and `of` the sums of that.

    `form` is how it is written, `signature` names what else it depends on.
    """

    parts: Float[np.ndarray, "E K"]
    of: Callable[[Sums], Values] = ratio
    maximise: bool = False
    form: str = ".2%"
    signature: str | None = None

    @property
    def value(self) -> float:
        """The score of all examples."""
        return float(self.of(self.parts.sum(axis=0, keepdims=True))[0])


class Outcomes(NamedTuple):
    """Scores by name, of a run on a split; runs whose `examples` are equal can be compared.

    Examples of a `block` depend on each other, as neighbours in a text do.
    """

    examples: Sequence[Hashable]
    statistics: dict[str, Statistic]
    block: int = 1


def drawn(outcomes: Outcomes, seed: int = 0) -> dict[str, Values]:
    """Each score of resampled examples, draw by draw: alike for runs with as many examples."""
    statistics = outcomes.statistics
    parts = [each.parts for each in statistics.values()]
    sums = resampled(np.concatenate(parts, axis=1), block=outcomes.block, seed=seed)
    columns = np.split(sums, np.cumsum([each.shape[1] for each in parts])[:-1], axis=1)
    return {name: statistics[name].of(each) for name, each in zip(statistics, columns, strict=True)}


def intervals(outcomes: Outcomes) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each score for a split of this size: the percentile bootstrap."""
    return {name: middle(draws) for name, draws in drawn(outcomes).items()}


class Comparison(NamedTuple):
    """A score of two runs; `low` and `high` end the 95 % interval of first - second.

    `better` is the share of draws in which the first run is; `p`, two-sided, is of no difference.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    better: float
    p: float


def compared(first: Outcomes, second: Outcomes) -> dict[str, Comparison]:
    """Each score of two runs by the paired bootstrap (Koehn 2004): both on the same draws."""
    found, others = {}, drawn(second)
    for name, draws in drawn(first).items():
        one, other = first.statistics[name], second.statistics[name]
        differences = draws - others[name]
        better = differences > 0 if one.maximise else differences < 0
        found[name] = Comparison(
            one.value,
            other.value,
            one.value - other.value,
            *middle(differences),
            float(np.mean(better)),
            two_sided(differences),
        )
    return found
