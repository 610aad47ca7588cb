"""Attention maps: which pieces of the source each piece of the output attended to."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from seqgen.viz.figure import STYLE, Figure, use_fonts

Pieces = str | Sequence[str]
"""One label a position: the characters of a string, or what `Tokenizer.pieces` gives."""

Gold = list[dict[str, frozenset[int]]]
"""For each piece of the output: class -> the source positions that it is made from."""

MARKS = {"\n": "⏎", "\t": "⇥"}
BLANK = "␣"
FAINT, RULE, GOLD = "0.6", "0.2", "#ff9500"

WIDTH = 8.1  # inches for the cells of one row of maps: with the margins, a README's width
CELL = (0.2, 0.36)  # inches, least and most
LEFT, TOP, TITLE, BETWEEN, BAR_GAP, BAR = 0.62, 0.62, 0.34, 0.3, 0.2, 0.85  # inches
LETTER = 0.12  # inches of LEFT and of TOP that are there for one character


class AttentionMap(NamedTuple):
    """One map of an `attention_figure`: the arguments of `attention_map`, and a line above it."""

    weights: Float[np.ndarray, "T S"]
    source: Pieces
    output: Pieces
    gold: Gold | None = None
    title: str = ""


def attention_map(
    ax: Axes,
    weights: Float[np.ndarray, "T S"],
    source: Pieces,
    output: Pieces,
    *,
    gold: Gold | None = None,
) -> AxesImage:
    """Draws the weights of one map: the source along x in reading order, the output down y.

    Args:
        ax: where it is drawn.
        weights: 0 is black, 1 white.
        source: the labels along x; they stand upright if any has more than one character.
        output: the labels down y.
        gold: source positions that are outlined, for each piece of the output.

    Raises:
        ValueError: the weights, the pieces and the gold positions do not fit each other.

    """
    if np.shape(weights) != (len(output), len(source)) or not np.size(weights):
        raise ValueError(
            f"weights {np.shape(weights)} for an output of {len(output)} and a source of "
            f"{len(source)} pieces"
        )
    weights = np.asarray(weights, dtype=float)
    image = ax.imshow(
        weights, cmap="gray", vmin=0, vmax=1, interpolation="none", aspect="equal", origin="upper"
    )
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    _label(ax.xaxis, source, upright=_are_words(source))
    _label(ax.yaxis, output)
    ax.set_xlabel("source", labelpad=6)
    ax.set_ylabel("output", labelpad=6)
    ax.spines[:].set_visible(False)
    _rule(ax, weights.shape)
    if gold is not None:
        _outline(ax, gold, weights.shape)
    use_fonts(ax)
    return image


def attention_figure(maps: Iterable[AttentionMap]) -> Figure:
    """One or several maps, all cells of one size, beside one scale.

    Raises:
        ValueError: there is no map, or one does not fit its pieces.

    """
    maps = list(maps)
    if not maps:
        raise ValueError("no attention map to draw")
    with matplotlib.rc_context(STYLE):
        return _lay_out(maps)


def _lay_out(maps: Sequence[AttentionMap]) -> Figure:
    """The figure, laid out in inches: matplotlib's own layouts leave gaps around square cells."""
    cell = float(np.clip(WIDTH / max(np.shape(m.weights)[1] for m in maps), *CELL))
    left = LEFT + max(_extra_length(m.output) for m in maps)
    top = TOP + max(_extra_length(m.source) for m in maps) + TITLE * any(m.title for m in maps)
    sizes = [(np.shape(m.weights)[1] * cell, np.shape(m.weights)[0] * cell) for m in maps]
    blocks = [(left + w + BETWEEN, top + h + BETWEEN) for w, h in sizes]
    corners = _flow(blocks, WIDTH + left + BETWEEN)
    right, bottom = np.add(np.add(corners, sizes).max(axis=0), (left, top))
    figure = Figure(figsize=(right + BAR, bottom + BETWEEN), facecolor="white")
    for one, (x, y), size in zip(maps, corners, sizes, strict=True):
        ax = _place(figure, (x + left, y + top), size)
        image = attention_map(ax, one.weights, one.source, one.output, gold=one.gold)
        ax.set_title(one.title, loc="left", pad=10, parse_math=False)
    _scale(_place(figure, (right + BAR_GAP, top), (0.13, sizes[0][1])), image)
    use_fonts(figure)
    return figure


def _flow(blocks: Sequence[tuple[float, float]], width: float) -> list[tuple[float, float]]:
    """The upper left corners of blocks (width, height), set in rows like words in lines."""
    corners: list[tuple[float, float]] = []
    x = y = height = 0.0
    for block_width, block_height in blocks:
        if x and x + block_width > width + 1e-6:
            x, y, height = 0.0, y + height, 0.0
        corners.append((x, y))
        x, height = x + block_width, max(height, block_height)
    return corners


def _place(figure: Figure, corner: tuple[float, float], size: tuple[float, float]) -> Axes:
    """Axes of a size in inches; `corner` is their upper left one, from the figure's own."""
    width, height = figure.get_size_inches()
    left, bottom = corner[0] / width, 1 - (corner[1] + size[1]) / height
    return figure.add_axes((left, bottom, size[0] / width, size[1] / height))


def _scale(ax: Axes, image: AxesImage) -> None:
    """The colour bar."""
    bar = ax.figure.colorbar(image, cax=ax, ticks=[0, 0.5, 1], label="attention weight")
    bar.outline.set(linewidth=0.6, edgecolor=FAINT)
    ax.tick_params(length=2, labelsize=9)


def _are_words(pieces: Pieces) -> bool:
    return any(len(piece) > 1 for piece in pieces)


def _marked(piece: str) -> str:
    """A piece with marks in the place of its blanks."""
    return "".join(MARKS.get(c, BLANK if c.isspace() else c) for c in piece)


def _label(axis: Axis, pieces: Pieces, *, upright: bool = False) -> None:
    """One piece a cell; blanks are marks, faint where there is nothing else."""
    axis.set_ticks(range(len(pieces)), [_marked(piece) for piece in pieces])
    axis.set_tick_params(length=0, pad=4, labelrotation=90 if upright else 0)
    for piece, label in zip(pieces, axis.get_ticklabels(), strict=True):
        label.set(color=FAINT if piece.isspace() else "0.1", parse_math=False)


def _extra_length(pieces: Pieces) -> float:
    """The inches that the longest piece takes beyond one character; none where all have one."""
    if not _are_words(pieces):
        return 0.0
    figure = Figure()
    for piece in set(pieces):
        figure.text(0, 0, _marked(piece), parse_math=False)
    use_fonts(figure)
    longest = max(text.get_window_extent().width for text in figure.texts)
    return max(0.0, longest / figure.dpi - LETTER)


def _rule(ax: Axes, shape: tuple[int, int]) -> None:
    """Faint lines between the cells, so that the eye keeps its row and its column on black."""
    count_t, count_s = shape
    ax.hlines(np.arange(1, count_t) - 0.5, -0.5, count_s - 0.5, color=RULE, linewidth=0.5)
    ax.vlines(np.arange(1, count_s) - 0.5, -0.5, count_t - 0.5, color=RULE, linewidth=0.5)


def _outline(ax: Axes, gold: Gold, shape: tuple[int, int]) -> None:
    """A frame around each run of gold positions in a row."""
    count_t, count_s = shape
    if len(gold) != count_t:
        raise ValueError(f"gold positions for {len(gold)} pieces, and an output of {count_t}")
    for t, classes in enumerate(gold):
        positions = sorted(frozenset().union(*classes.values()))
        if positions and not 0 <= positions[0] <= positions[-1] < count_s:
            raise ValueError(
                f"gold positions {positions} of output piece {t}: the source has {count_s}"
            )
        for first, last in _runs(positions):
            frame = Rectangle((first - 0.5, t - 0.5), last - first + 1, 1, fill=False)
            frame.set(edgecolor=GOLD, linewidth=1.3, zorder=3, clip_on=False)
            ax.add_patch(frame)


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """The first and last of each run of neighbours in sorted positions."""
    firsts = [p for p in positions if p - 1 not in positions]
    lasts = [p for p in positions if p + 1 not in positions]
    return list(zip(firsts, lasts, strict=True))
