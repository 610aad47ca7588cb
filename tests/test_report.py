"""The READMEs' tables are the committed results, and statistics agree with other implementations."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.report import COLLECTORS, PAGES, collect, filled
from seqgen.statistics import over_seeds, paired, wilson

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_generated(page):
    """Fails when a result was committed without `make figures`, or a number in a table was written by hand."""
    text = (ROOT / page).read_text(encoding="utf-8")
    assert filled(text) == text


def test_figures_without_runs(tmp_path, capsys):
    """Every result is left as it is, in a line that says why: catches a collector that asks nothing of a folder."""
    collect(COLLECTORS, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": left as it is, since ")[0] for line in said] == list(COLLECTORS)
    assert all("holds no sweep" in line for line in said)


def test_interval_over_seeds_is_students():
    """Fails when the deviation is divided by n and not n - 1, the normal stands for the t, or a tail is taken for two."""
    values = [0.91, 0.94, 0.955, 0.99]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    np.testing.assert_allclose(over_seeds(values), (np.mean(values), low, high), rtol=1e-12)
    with pytest.raises(ValueError, match="two runs"):
        over_seeds([0.5])


@pytest.mark.parametrize(("right", "total"), [(0, 7), (3, 7), (4217, 4218), (7, 7)])
def test_wilson_is_scipys(right, total):
    """Fails when the interval is Wald's, which has no width at 0 and at 1, or is corrected for continuity."""
    theirs = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(right, total), (right / total, theirs.low, theirs.high), rtol=1e-9, atol=1e-12)
    for n in range(1, 200):  # rounding must not leave [0, 1]
        assert wilson(0, n).low >= 0
        assert wilson(n, n).high <= 1
    with pytest.raises(ValueError, match="no fraction"):
        wilson(total + 1, total)


@pytest.mark.parametrize("shift", [0.0, 0.3, -2.0])
def test_paired_sign_flips_are_scipys(shift):
    """Fails when the test has one side, leaves out the signs as they are, or compares sums of other pairs."""
    random = np.random.default_rng(0)
    first, second = random.normal(shift, 1, 9).tolist(), random.normal(0, 1, 9).tolist()
    found = paired(first, second)
    theirs = stats.permutation_test(
        (np.subtract(first, second),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert found.p == pytest.approx(theirs.pvalue)
    assert found.difference == over_seeds(np.subtract(first, second).tolist())


def test_paired_at_its_ends():
    """Fails when equal pairs are significant, the smallest p is not 2 / 2ⁿ, or unequal lengths are cut."""
    assert paired([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]).p == 1
    assert paired([2.0, 3.0, 4.0, 5.0], [1.0] * 4).p == 2 / 2**4
    for first, second in (([1.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0]), ([0.0] * 21, [0.0] * 21)):
        with pytest.raises(ValueError, match="2 to 20 pairs"):
            paired(first, second)
