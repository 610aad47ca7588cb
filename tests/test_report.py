"""The READMEs' tables are the committed results."""

from pathlib import Path

import pytest

from experiments.report import COLLECTORS, PAGES, collect, filled

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_generated(page):
    """Fails when a result was committed without `make figures`, or a number in a table was written
    by hand.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    assert filled(text) == text


def test_figures_without_runs(tmp_path, capsys):
    """Every result is left as it is, in a line that says why: catches a collector that asks nothing
    of a folder.
    """
    collect(COLLECTORS, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": left as it is, since ")[0] for line in said] == list(COLLECTORS)
    assert all("holds no sweep" in line for line in said)
