"""Learning curves, from the events in a run's metrics.jsonl."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from seqgen.viz.figure import STYLE, Figure, use_fonts

Event = Mapping[str, Any]

SIZE = (9.0, 3.4)  # inches
# Okabe and Ito 2008: told apart by colour-blind readers
GREY, BLUE, ORANGE, BLACK = "0.6", "#0072b2", "#d55e00", "0.15"
SPLITS = {"validation": ("o", True), "test": ("D", False)}  # marker, filled


def learning_curve(
    ax: Axes,
    epochs: Iterable[float | int],
    values: Iterable[float | int | None],
    *,
    label: str,
    color: str = BLUE,
    marker: str = "",
    filled: bool = True,
) -> Line2D:
    """Draws one measure against epochs: a line, or a mark where it has only one value.

    Args:
        ax: where it is drawn.
        epochs: of the values.
        values: None and what is not finite are gaps.
        label: the measure's name in the legend.
        color: of the line.
        marker: matplotlib's name of a mark at each value; empty: none.
        filled: whether the mark is.

    """
    points = np.array(list(values), dtype=float)
    points[~np.isfinite(points)] = np.nan
    (line,) = ax.plot(
        list(epochs), points, label=label, color=color, clip_on=False, zorder=3 if marker else 2
    )
    alone = np.isfinite(points).sum() == 1
    line.set(
        linewidth=1.5, linestyle="none" if alone else "-", marker=marker or ("o" if alone else "")
    )
    line.set(markersize=6.5 if alone and not filled else 3.5, markeredgewidth=1.3)
    line.set_markerfacecolor(color if filled else "white")
    return line


def learning_figure(events: Iterable[Event]) -> Figure:
    """Two panels against epochs: loss (nats per token), and exact match with token accuracy (%)."""
    events = list(events)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, wspace=0.04)
        figure = Figure(figsize=SIZE, layout=layout, facecolor="white")
        loss, match = figure.subplots(1, 2)
        _loss(loss, events)
        _matches(match, events)
        _headline(loss, events, "loss", "{:.3g}".format)
        _headline(match, events, "exact_match", _percent)
        for ax in (loss, match):
            _finish(ax)
        use_fonts(figure)
    return figure


def perplexity_figure(events: Iterable[Event], *, entropy_bound: float | None = None) -> Figure:
    """Loss (nats per token) against epochs, with a second scale for the perplexity.

    `entropy_bound` (nats per token), a lower bound of the language's entropy rate, is drawn as a
    line: no model's expected loss is below it.
    """
    events = list(events)
    with matplotlib.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
        figure = Figure(figsize=(SIZE[0] * 0.6, SIZE[1]), layout=layout, facecolor="white")
        ax = figure.subplots()
        _loss(ax, [event for event in events if not event.get("final")])
        if entropy_bound is not None:
            line = ax.axhline(entropy_bound, label="the language's own entropy")
            line.set(color=BLUE, linewidth=1.2, linestyle="--")
        _headline(ax, events, "perplexity", "{:.4g}".format)
        _finish(ax)
        both_ways = (
            lambda y: np.exp(np.minimum(y, 300)),  # or a tick would overflow
            lambda y: np.log(np.maximum(y, 1e-9)),
        )
        ax.secondary_yaxis("right", functions=both_ways).set_ylabel("perplexity")
        use_fonts(figure)
    return figure


def _loss(ax: Axes, events: Sequence[Event]) -> None:
    """Training loss as a line, evaluated losses as points; a log scale after a long fall."""
    train = [e for e in events if e.get("event") == "train"]
    if train:
        learning_curve(ax, *_series(train, "loss"), label="training", color=GREY)
    for split, evaluated in _evaluations(events):
        marker, filled = SPLITS[split]
        learning_curve(
            ax, *_series(evaluated, "loss"), label=split, color=BLACK, marker=marker, filled=filled
        )
    ax.set_ylabel("loss (nats / token)")
    drawn = np.concatenate([line.get_ydata() for line in ax.lines] or [[]])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size and 0 < 10 * drawn.min() < drawn.max():
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())


def _matches(ax: Axes, events: Sequence[Event]) -> None:
    """Exact match and token accuracy in %, each under its own name."""
    for split, evaluated in _evaluations(events):
        marker, filled = SPLITS[split]
        for name, color in (("token_accuracy", ORANGE), ("exact_match", BLUE)):
            epochs, values = _series(evaluated, name)
            percent = [None if v is None else 100 * v for v in values]
            label = f"{name.replace('_', ' ')}, {split}"
            learning_curve(
                ax, epochs, percent, label=label, color=color, marker=marker, filled=filled
            )
    ax.set(ylim=(0, 100), ylabel="correct (%)")


def _headline(ax: Axes, events: Sequence[Event], name: str, show: Callable[[float], str]) -> None:
    """The panel's title: the last evaluation's value as a number, which no curve lets one read."""
    last = [e for e in events if e.get("event") == "evaluate" and e.get("split") in SPLITS][-1:]
    for event in last:
        value = event.get(name)
        if value is not None and math.isfinite(value):
            title = f"{name.replace('_', ' ')} {show(value)} ({event['split']})"
            ax.set_title(title, loc="left", fontsize=10)


def _percent(share: float) -> str:
    """Cut, not rounded, to two decimals: 100.00 % is only what is."""
    return f"{math.floor(round(share * 10_000, 6)) / 100:.2f} %"


def _evaluations(events: Sequence[Event]) -> list[tuple[str, list[Event]]]:
    """The evaluated events of each split that has some."""
    evaluated = [e for e in events if e.get("event") == "evaluate"]
    groups = [(split, [e for e in evaluated if e.get("split") == split]) for split in SPLITS]
    return [(split, group) for split, group in groups if group]


def _series(events: Sequence[Event], name: str) -> tuple[list, list]:
    """Epochs, and the values of one field; None where an event lacks it."""
    return [e["epoch"] for e in events], [e.get(name) for e in events]


def _finish(ax: Axes) -> None:
    """What all panels share: epochs from 0, a faint grid, a legend if there is anything to name."""
    ax.set_xlabel("epoch")
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    ax.grid(axis="y", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    if ax.lines:
        ax.legend(fontsize=9, handlelength=1.6)
