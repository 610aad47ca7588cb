"""Figures in tests: drawing takes half of a tiny run's time, so that most tests do without.

Their files are made as ever, and are empty.
"""

from matplotlib.figure import Figure

from seqgen.viz import figure

render = figure._render


def blank(_: Figure, kind: str) -> bytes:
    """The content of a figure that nobody looks at."""
    return b""
