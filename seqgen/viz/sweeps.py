"""Figures of sweeps: curves with bands over seeds, and points with intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from seqgen.statistics import Interval, over_seeds
from seqgen.viz.figure import STYLE, use_fonts

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
    """A colour and a dash for each line; no two are alike up to four times as many as there are colours."""
    pairs = [(color, dash) for dash in ("-", "--", ":", "-.") for color in COLORS]
    return [pairs[i % len(pairs)] for i in range(lines)]


def band(ax: Axes, x: Sequence[float | int], runs: Float[np.ndarray, "seeds X"], *, label: str, style: tuple[str, str]) -> None:
    """Draws the mean over seeds as a line, and its 95 % interval as a band within 0 to 100; of one seed, its line."""
    color, dash = style
    ax.plot(x, runs.mean(axis=0), label=label, color=color, linewidth=1.6, linestyle=dash)
    if len(runs) > 1:
        ends = np.array([over_seeds(column.tolist())[1:] for column in runs.T]).T
        ax.fill_between(x, *np.clip(ends, 0, 100), color=color, alpha=0.18, linewidth=0)


def curves_figure(panels: Sequence[Panel], *, xlabel: str) -> Figure:
    """Exact match by what `xlabel` says, from 1, panels side by side; what others published as marks of the line's colour."""
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.04)
        figure = Figure(figsize=(PANEL[0] * len(panels), PANEL[1]), layout=layout, facecolor="white")
        for ax, panel in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True):
            _curves(ax, panel)
            ax.set(xlabel=xlabel, ylim=(0, 100))
            ax.set_title(panel.title, loc="left", fontsize=10)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            ax.grid(axis="y", color="0.9", linewidth=0.7)
            ax.legend(fontsize=8, handlelength=1.6, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3)
        figure.axes[0].set_ylabel("exact match (%)")
        use_fonts(figure)
    return figure


def _curves(ax: Axes, panel: Panel) -> None:
    known = dict(zip(panel.lines, line_styles(len(panel.lines)), strict=True))
    for label, runs in panel.lines.items():
        band(ax, range(1, 1 + runs.shape[1]), runs, label=label, style=known[label])
    for mark in panel.published:
        ax.plot(mark.x, mark.value, "D", color=known[mark.line][0], fillstyle="none", markersize=5, clip_on=False)
    if panel.published:
        ax.plot([], [], "D", color="0.3", fillstyle="none", markersize=5, label="published")


def intervals_figure(groups: Mapping[str, Mapping[str, Interval]], *, ylabel: str) -> Figure:
    """For each group (a colour) a point with its interval in each category, the categories along x in their first order."""
    with matplotlib.rc_context(STYLE):
        categories = list(dict.fromkeys(name for group in groups.values() for name in group))
        figure = Figure(figsize=(1.6 + 0.95 * len(categories), PANEL[1]), layout="constrained", facecolor="white")
        ax = figure.subplots()
        for i, ((name, group), (color, _)) in enumerate(zip(groups.items(), line_styles(len(groups)), strict=True)):
            x = [categories.index(category) + min(0.16, 0.8 / len(groups)) * (i - (len(groups) - 1) / 2) for category in group]
            means = np.array([interval.mean for interval in group.values()])
            ends = np.array([[interval.mean - interval.low, interval.high - interval.mean] for interval in group.values()]).T
            ax.errorbar(x, means, ends, fmt="o", color=color, markersize=4.5, capsize=2, linewidth=1.2, label=name)
        ax.set_xticks(range(len(categories)), categories)
        ax.set(ylabel=ylabel, ylim=(0, 1.03))
        ax.grid(axis="y", color="0.9", linewidth=0.7)
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        use_fonts(figure)
    return figure
