"""results/*.json as figures: PNG and SVG beside them."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.alignment_tables import CLASSES
from experiments.records import FOLDER, load
from experiments.tables import DATES, DECODERS, PUBLISHED, display_name
from seqgen import viz
from seqgen.evaluation.statistics import Interval, over_seeds

PUBLISHED_DATES = [
    *(("attention-reverse", *at) for at in ((1, 0.0), (2, 51.6), (3, 99.9), (7, 100.0))),
    *(("peeky-reverse", *at) for at in ((4, 82.9), (5, 99.7), (7, 100.0))),
]
"""Exact match on the book's split: the book's code; attention before epoch 7 is a reader's."""


def curves(name: str, cells: Sequence[str]) -> dict[str, np.ndarray]:
    """Line -> exact match in percent, one row a seed, one column an epoch."""
    found = load(name)["cells"]
    unbroken = {
        cell: [run["exact_match"] for run in found[cell].values() if "test" in run]
        for cell in cells
    }
    return {display_name(cell): 100 * np.array(rows) for cell, rows in unbroken.items()}


DIRECTIONS = {"question as it is": "", "question reversed": "-reverse"}
"""A panel's title -> how the names of its cells end."""


def addition() -> Figure:
    """Figures 7-22, 7-24 and 7-28 with seeds: as it is, and reversed."""
    panels = []
    for title, end in DIRECTIONS.items():
        cells = [decoder + end for decoder in DECODERS]
        known = {cell: PUBLISHED[cell] for cell in cells if cell in PUBLISHED}
        marks = [
            viz.Published(display_name(cell), 25, value)
            for cell, (own, others) in known.items()
            for value in (own, *others)
        ]
        panels.append(viz.Panel(f"addition, {title}", curves("addition", cells), marks))
    return viz.curves_figure(panels, xlabel="epoch")


def dates() -> Figure:
    """Figure 8-26 with seeds, on both splits."""
    marks = [
        viz.Published(display_name(cell), epoch, value) for cell, epoch, value in PUBLISHED_DATES
    ]
    panels = [
        viz.Panel("dates, leak-free split (validation)", curves("dates", DATES)),
        viz.Panel("dates, the book's split (test)", curves("dates-book", DATES), marks),
    ]
    return viz.curves_figure(panels, xlabel="epoch")


def alignment() -> Figure:
    """hit@1 by class of character."""
    models = load("alignment")["models"]
    groups: dict[str, dict[str, Interval]] = {
        name: {
            label: over_seeds([seed["trained"][label]["hit"] for seed in model["seeds"].values()])
            for label in CLASSES
        }
        for name, model in models.items()
    }
    control = next(iter(models.values()))["controls"]["uniform"]
    groups["uniform"] = {label: Interval(*[control[label]["hit"]] * 3) for label in CLASSES}
    return viz.intervals_figure(groups, ylabel="hit@1")


def length() -> Figure:
    """Exact match by length, up to the training's and beyond."""
    cells = load("length")["by_digits"]
    panels = []
    for title, end in DIRECTIONS.items():
        counts = {
            name: np.array([list(seed.values()) for seed in cells[name].values()])
            for name in (decoder + end for decoder in DECODERS)
        }
        lines = {
            display_name(name): 100 * right_of[..., 0] / right_of[..., 1]
            for name, right_of in counts.items()
        }
        panels.append(viz.Panel(f"1 to 3 digits trained, {title}", lines))
    return viz.curves_figure(panels, xlabel="digits of the longer operand")


FIGURES: dict[str, Callable[[], Figure]] = {
    "addition": addition,
    "dates": dates,
    "alignment": alignment,
    "length": length,
}


def draw() -> None:
    """All figures."""
    for name, figure in FIGURES.items():
        viz.save_both(FOLDER / name, figure())
