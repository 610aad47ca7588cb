"""Figures of sweeps: curves with bands over seeds, and points with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from seqgen.evaluation.statistics import Interval, over_seeds
from seqgen.viz.figure import STYLE, Figure, use_fonts

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999")
"""Okabe and Ito 2008: told apart by colour-blind readers."""

PANEL = (4.8, 3.9)  # inches


class Published(NamedTuple):
    """A value that others report: at which x, and of which line."""

    line: str
    x: float
    value: float


class Panel(NamedTuple):
    """One set of axes: a title, and for each line its values, one row a seed, in percent."""

    title: str
    lines: Mapping[str, Float[np.ndarray, "seeds X"]]
    published: Sequence[Published] = ()


def line_styles(lines: int) -> list[tuple[str, str]]:
    """A colour and a dash for each line, no two alike up to four times as many as `COLORS`."""
    pairs = [(color, dash) for dash in ("-", "--", ":", "-.") for color in COLORS]
    return [pairs[i % len(pairs)] for i in range(lines)]


def band(
    ax: Axes,
    x: Sequence[float | int],
    runs: Float[np.ndarray, "seeds X"],
    *,
    label: str,
    style: tuple[str, str],
) -> None:
    """Draws the mean over seeds as a line, and its 95 % interval as a band, cut to 0 to 100 %.

    A single column is a mark and a bar.

    Args:
        ax: where it is drawn.
        x: one value for each column of `runs`.
        runs: percentages, one row a seed; of one seed only its line is drawn.
        label: the line's name in the legend.
        style: its colour and its dash.

    """
    color, dash = style
    mark = "o" if len(x) == 1 else ""
    line: Any = {"color": color, "linewidth": 1.6, "linestyle": dash}
    ax.plot(x, runs.mean(axis=0), label=label, marker=mark, **line)
    if len(runs) > 1:
        ends = np.clip([over_seeds(column.tolist())[1:] for column in runs.T], 0, 100).T
        if mark:
            ax.vlines(x, *ends, **line)
        else:
            ax.fill_between(x, *ends, color=color, alpha=0.18, linewidth=0)


def curves_figure(panels: Sequence[Panel], *, xlabel: str) -> Figure:
    """Exact match (%) against what `xlabel` names, counted from 1, the panels side by side.

    Values that others published are marks of the line's colour.
    """
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.04)
        size = (PANEL[0] * len(panels), PANEL[1])
        figure = Figure(figsize=size, layout=layout, facecolor="white")
        axes = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
        for ax, panel in zip(axes, panels, strict=True):
            _curves(ax, panel)
            ax.set(xlabel=xlabel, ylim=(0, 100))
            ax.set_title(panel.title, loc="left", fontsize=10)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            ax.grid(axis="y", color="0.9", linewidth=0.7)
            below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
            ax.legend(fontsize=8, handlelength=1.6, ncols=3, **below)
        figure.axes[0].set_ylabel("exact match (%)")
        use_fonts(figure)
    return figure


def _curves(ax: Axes, panel: Panel) -> None:
    """The lines of one panel, and the marks of what others published."""
    styles = dict(zip(panel.lines, line_styles(len(panel.lines)), strict=True))
    for label, runs in panel.lines.items():
        band(ax, range(1, 1 + runs.shape[1]), runs, label=label, style=styles[label])
    diamond: dict[str, Any] = {
        "marker": "D",
        "linestyle": "none",
        "fillstyle": "none",
        "markersize": 5,
    }
    for mark in panel.published:
        ax.plot(mark.x, mark.value, color=styles[mark.line][0], clip_on=False, **diamond)
    if panel.published:
        ax.plot([], [], color="0.3", label="published", **diamond)


def intervals_figure(groups: Mapping[str, Mapping[str, Interval]], *, ylabel: str) -> Figure:
    """Points with their intervals: a colour for each group, the categories along x in the order in
    which they first occur.
    """
    with matplotlib.rc_context(STYLE):
        categories = list(dict.fromkeys(name for group in groups.values() for name in group))
        size = (1.6 + 0.95 * len(categories), PANEL[1])
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        ax = figure.subplots()
        step = min(0.16, 0.8 / len(groups))
        for i, (name, group) in enumerate(groups.items()):
            offset = step * (i - (len(groups) - 1) / 2)
            x = [categories.index(category) + offset for category in group]
            color, _ = line_styles(len(groups))[i]
            _points(ax, x, list(group.values()), label=name, color=color)
        ax.set_xticks(range(len(categories)), categories)
        ax.set(ylabel=ylabel, ylim=(0, 1.03))
        ax.grid(axis="y", color="0.9", linewidth=0.7)
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        use_fonts(figure)
    return figure


def _points(
    ax: Axes, x: Sequence[float], intervals: Sequence[Interval], *, label: str, color: str
) -> None:
    """One group of points with its intervals."""
    means = np.array([interval.mean for interval in intervals])
    below = means - [interval.low for interval in intervals]
    above = np.array([interval.high for interval in intervals]) - means
    marks: dict[str, Any] = {"fmt": "o", "markersize": 4.5, "capsize": 2, "linewidth": 1.2}
    ax.errorbar(x, means, np.array([below, above]), color=color, label=label, **marks)
