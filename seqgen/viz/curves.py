"""Learning curves, from the events in a run's metrics.jsonl."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from seqgen.viz.figure import STYLE, use_fonts

Event = Mapping[str, Any]

SIZE = (9.0, 3.4)  # inches
GREY, BLUE, ORANGE, BLACK = "0.6", "#0072b2", "#d55e00", "0.15"  # Okabe and Ito 2008: told apart by colour-blind readers
SPLITS = {"validation": ("o", 4.0, True), "test": ("D", 6.5, False)}  # marker, its size in points, filled


def learning_curve(
    ax: Axes,
    epochs: Sequence[float],
    values: Sequence[float | None],
    *,
    label: str,
    color: str = BLUE,
    marker: str = "",
    size: float = 4.0,
    filled: bool = True,
) -> Line2D:
    """Draws one measure against epochs; a value that is None or not finite leaves a gap."""
    points = np.array([np.nan if v is None else v for v in values], dtype=float)
    points[~np.isfinite(points)] = np.nan
    fill = color if filled else "white"
    (line,) = ax.plot(epochs, points, label=label, color=color, marker=marker, markersize=size, markerfacecolor=fill)
    line.set(linewidth=1.5, markeredgewidth=1.3, clip_on=False, zorder=3 if marker else 2)
    return line


def learning_figure(events: Iterable[Event]) -> Figure:
    """Two panels against epochs: loss (nats a token, log scale), and exact match with token accuracy (%)."""
    events = list(events)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1, wspace=0.04)
        loss, match = figure.subplots(1, 2)
        _loss(loss, events)
        _matches(match, events)
        for ax in (loss, match):
            _finish(ax)
        use_fonts(figure)
    return figure


def _loss(ax: Axes, events: Sequence[Event]) -> None:
    """Training loss as a line, evaluated losses as points."""
    train = [e for e in events if e.get("event") == "train"]
    if train:
        learning_curve(ax, *_series(train, "loss"), label="training", color=GREY)
    for split, evaluated in _evaluations(events):
        marker, size, filled = SPLITS[split]
        epochs, values = _series(evaluated, "loss")
        learning_curve(ax, epochs, values, label=split, color=BLACK, marker=marker, size=size, filled=filled)
    ax.set_ylabel("loss (nats / token)")
    if any(np.nanmax(line.get_ydata(), initial=0) > 0 for line in ax.lines):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _matches(ax: Axes, events: Sequence[Event]) -> None:
    """Exact match and token accuracy in %, never called plain accuracy."""
    for split, evaluated in _evaluations(events):
        marker, size, filled = SPLITS[split]
        for name, color in (("token_accuracy", ORANGE), ("exact_match", BLUE)):
            epochs, values = _series(evaluated, name)
            percent = [None if v is None else 100 * v for v in values]
            label = f"{name.replace('_', ' ')}, {split}"
            learning_curve(ax, epochs, percent, label=label, color=color, marker=marker, size=size, filled=filled)
    ax.set(ylim=(0, 100), ylabel="right answers (%)")


def _evaluations(events: Sequence[Event]) -> list[tuple[str, list[Event]]]:
    """The evaluated events of each split that has some."""
    evaluated = [e for e in events if e.get("event") == "evaluate"]
    groups = [(split, [e for e in evaluated if e.get("split") == split]) for split in SPLITS]
    return [(split, group) for split, group in groups if group]


def _series(events: Sequence[Event], name: str) -> tuple[list[float], list[float | None]]:
    """Epochs, and the values of one field; None where an event lacks it."""
    return [e["epoch"] for e in events], [e.get(name) for e in events]


def _finish(ax: Axes) -> None:
    """What both panels share: epochs from 0, a faint grid, a legend where there is something to name."""
    ax.set_xlabel("epoch")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.grid(axis="y", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    if ax.lines:
        ax.legend(fontsize=9, handlelength=1.6)
