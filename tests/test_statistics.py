"""Intervals and tests: the values that published tables were made with, and other ways to them."""

import itertools

import numpy as np
import pytest
from scipy.signal import lfilter

from seqgen.evaluation.statistics import bootstrap, over_seeds, paired, wilson

WALK = np.cumsum(np.random.default_rng(7).normal(size=3000)).tolist()


def close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# Means over seeds


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.91, 0.94, 0.955, 0.99], (0.94875, 0.8958253821160396, 1.0016746178839604)),
        (
            [98.7, 99.16, 97.94, 98.42, 99.02, 99.3],
            (98.75666666666666, 98.21935288614155, 99.29398044719177),
        ),
        ([1.5, 1.5, 1.5], (1.5, 1.5, 1.5)),
        ([0.0, 1.0], (0.5, -5.853102368087347, 6.853102368087347)),
    ],
)
def test_interval_over_seeds_is_students(values, expected):
    """Fails when the deviation is divided by n and not n - 1, the normal stands for the t, a tail
    is taken for two, or values that are all alike have no interval.
    """
    close(over_seeds(values), expected)


def test_one_seed_has_no_interval():
    """Fails when a single run is called certain."""
    with pytest.raises(ValueError, match="two runs"):
        over_seeds([0.5])


# Shares of one test set


@pytest.mark.parametrize(
    ("right", "total", "expected"),
    [
        (0, 7, (0.0, 0.0, 0.3543304350666875)),
        (3, 7, (0.42857142857142855, 0.15821985525146975, 0.7495416354723428)),
        (7, 7, (1.0, 0.6456695649333126, 1.0)),
        (1, 1, (1.0, 0.20654931437723745, 1.0)),
        (4217, 4218, (0.9997629208155524, 0.9986582233418633, 0.9999581484765314)),
        (12345, 50000, (0.2469, 0.24313990330764326, 0.25069898463372897)),
    ],
)
def test_wilsons_interval(right, total, expected):
    """Fails when the interval is Wald's, which has no width at 0 and at 1, or is corrected for
    continuity.
    """
    close(wilson(right, total), expected)


def test_wilsons_interval_is_solved_from_its_definition():
    """Fails when the ends are not where (p - share)² = z² p (1 - p) / n (Wilson 1927)."""
    share, *ends = wilson(83, 120)
    for p in ends:
        close((p - share) ** 2, 1.959963984540054**2 * p * (1 - p) / 120)


def test_wilsons_interval_stays_between_0_and_1():
    """Fails when rounding leaves it, or a share of nothing or above 1 has an interval."""
    for n in range(1, 200):
        assert wilson(0, n).low >= 0
        assert wilson(n, n).high <= 1
    for right, total in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="no fraction"):
            wilson(right, total)


# Paired differences


@pytest.mark.parametrize(
    ("first", "second", "difference", "p"),
    [
        (
            [0.42, 0.51, 0.39, 0.44, 0.47, 0.40, 0.55],
            [0.40, 0.45, 0.41, 0.43, 0.40, 0.41, 0.50],
            (0.02571428571428572, -0.006702467142322404, 0.05813103857089384),
            0.15625,
        ),
        (
            [91.2, 93.4, 90.1],
            [88.0, 89.5, 90.4],
            (2.2666666666666657, -3.3231031913442433, 7.856436524677575),
            0.5,
        ),
    ],
)
def test_paired_differences(first, second, difference, p):
    """Fails when the pairs are not subtracted first, or second - first is what comes back."""
    found = paired(first, second)
    close(found.difference, difference)
    close(found.p, p)


@pytest.mark.parametrize("n", [2, 3, 6, 10])
def test_the_sign_flips_are_counted_exactly(n):
    """Fails when the test has one side, leaves out the signs as they are, samples some of them, or
    rounding parts sums that are equal: counted here in whole numbers, on a grid full of ties.
    """
    random = np.random.default_rng(n)
    signs = np.array(list(itertools.product((1, -1), repeat=n)))
    for scale in (3, 10, 500, 1e13) * 10:
        first, second = random.integers(0, 9, n), random.integers(0, 9, n)
        flipped = np.abs(signs @ (first - second))
        found = paired((first / scale).tolist(), (second / scale).tolist())
        close(found.p, np.mean(flipped >= flipped[0]))


def test_paired_at_its_ends():
    """Fails when equal pairs are significant, the smallest p is not 2 / 2ⁿ, some signs are left
    out, or unequal lengths are cut.
    """
    assert paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p == 1
    assert paired([2.0, 3.0, 4.0, 5.0], [1.0] * 4).p == 2 / 2**4
    assert paired([float(i) for i in range(1, 17)], [0.0] * 16).p == 2 / 2**16
    for first, second in (([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([0.0] * 21, [0.0] * 21)):
        with pytest.raises(ValueError, match="2 to 20 pairs"):
            paired(first, second)


# Means of dependent values


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        (WALK, {}, (-72.5952772133506, -79.48930414799653, -64.10846343303837)),
        (
            WALK,
            {"block": 50, "draws": 300, "seed": 3},
            (-72.5952772133506, -77.40114780995053, -67.29717690905278),
        ),
        (WALK[:41], {}, (-7.566948160110503, -10.091708814973922, -5.080540212073514)),
    ],
)
def test_bootstrap_of_a_walk(values, options, expected):
    """Fails when blocks are drawn otherwise: a published interval could not be made again."""
    close(bootstrap(values, **options), expected)


def covered(series: np.ndarray, **options) -> float:
    """How often the interval holds the true mean, 0."""
    found = [bootstrap(values, **options) for values in series]
    return float(np.mean([low <= 0 <= high for _, low, high in found]))


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Fails when an interval is too narrow for dependent values, as it is where each is drawn by
    itself, or too wide.
    """
    noise = np.random.default_rng(0).normal(size=(400, 5000))
    # AR(1): three times the error of independent values
    series = lfilter([1], [1, -0.8], noise)[:, 1000:]
    assert 0.91 <= covered(series) <= 0.975
    assert 0.91 <= covered(noise[:, 1000:]) <= 0.975
    assert covered(series[:100], block=1, draws=200) < 0.7


def quantiles(series: list[int], length: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the interval's ends must be, each between two numbers: sums of blocks of a circle,
    drawn as often as they fill the series, by convolution of their probabilities.
    """
    n = len(series)
    sums = [sum(series[(first + i) % n] for i in range(length)) for first in range(n)]
    blocks = -(-n // length)
    one, all_ = np.bincount(sums) / n, np.ones(1)
    for _ in range(blocks):
        all_ = np.convolve(all_, one)
    cdf, scale = np.cumsum(all_), blocks * length
    return tuple(
        tuple(np.searchsorted(cdf, q + side) / scale for side in (-0.01, 0.01))
        for q in (0.025, 0.975)
    )


@pytest.mark.parametrize(
    ("n", "block", "length"),
    [(60, 200, 3), (59, 200, 2), (100, 2, 2), (19, 200, 1), (400, 7, 7), (2, 200, 1)],
)
def test_intervals_are_those_of_all_blocks(n, block, length):
    """Fails when a short series has fewer than 20 blocks, the last block is forgotten, blocks do
    not go round the series' end, or the ends are not 2.5 and 97.5 %.
    """
    random = np.random.default_rng(n)
    series = [int(value) for value in np.cumsum(random.integers(-1, 2, size=n))]
    series = [value - min(series) + 50 * (i in (0, n - 1)) for i, value in enumerate(series)]
    mean, low, high = bootstrap(series, block=block)
    assert mean == pytest.approx(np.mean(series))
    expected = quantiles(series, length)
    for found, (least, most) in zip((low, high), expected, strict=True):
        assert least - 1e-9 <= found <= most + 1e-9
    assert quantiles(series, length + 1) != expected or n == 2
    whole = (
        np.array([bootstrap(series, block=block, draws=1, seed=seed).low for seed in range(5)])
        * -(-n // length)
        * length
    )
    np.testing.assert_allclose(whole, whole.round(), atol=1e-6)


def test_what_repeats_with_every_block_is_certain():
    """Fails when blocks are not whole stretches of the series: here all have one mean."""
    mean, low, high = bootstrap(np.tile(np.arange(20.0), 20))
    assert (mean, low, high) == pytest.approx((9.5, 9.5, 9.5))
    assert bootstrap(np.full(50, 2.5)) == pytest.approx((2.5, 2.5, 2.5))


def test_intervals_are_the_same_each_time():
    """Fails when a number in a README changes with each reading, or single precision rounds the
    mean of a long series.
    """
    series = np.random.default_rng(0).normal(size=200_000).astype(np.float32) + np.float32(1000)
    assert bootstrap(series) == bootstrap(series)
    assert bootstrap(series, seed=1)[1:] != bootstrap(series)[1:]
    assert bootstrap(series).mean == pytest.approx(np.float64(series).mean(), rel=1e-12)
    assert bootstrap(series[:2000].tolist()) == bootstrap(series[:2000])


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_value_has_no_interval(values):
    """Fails when a single value is called certain."""
    with pytest.raises(ValueError, match=f"two values or more, not {len(values)}"):
        bootstrap(values)
