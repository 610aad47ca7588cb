"""Figures: what is drawn where, in which letters, and what stands on the disk afterwards."""

import resource
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.image import imread
from scipy import stats

from seqgen import viz
from seqgen.errors import SeqgenError, UsageError
from seqgen.evaluation.statistics import Interval
from seqgen.viz import attention
from seqgen.viz import figure as module

pytestmark = pytest.mark.usefixtures("drawn_figures")

SOURCE, OUTPUT = "ab, 12", "2_1 "
WEIGHTS = np.random.default_rng(0).uniform(0.02, 0.4, (len(OUTPUT), len(SOURCE)))


def one(**fields) -> viz.AttentionMap:
    return viz.AttentionMap(**{"weights": WEIGHTS, "source": SOURCE, "output": OUTPUT, **fields})


def pixels(figure: Figure, path: Path) -> np.ndarray:
    """The saved figure as [height, width] of grey, 0 black to 1 white, from the top."""
    viz.save(figure, path)
    return imread(path)[..., :3].mean(-1)


def train(epoch: float, loss: float | None) -> dict:
    return {"event": "train", "step": round(100 * epoch), "epoch": epoch, "loss": loss}


def evaluated(split: str, epoch: int, exact: float, token: float, loss: float) -> dict:
    scores = {"exact_match": exact, "token_accuracy": token, "loss": loss}
    return {"event": "evaluate", "split": split, "step": 100 * epoch, "epoch": epoch, **scores}


EVENTS = [
    {"event": "start", "step": 0},
    train(0.5, 2.0),
    train(1.0, 1.0),
    evaluated("validation", 1, 0.25, 0.5, 0.75),
    train(1.5, 0.1),
    train(2.0, 0.05),
    evaluated("validation", 2, 0.9, 0.95, 0.06),
    evaluated("test", 2, 0.99996, 0.99999, 0.04),
]


def curves(events: list[dict]) -> list[dict[str, list]]:
    """The curves of both panels, by label."""
    return [
        {line.get_label(): np.c_[line.get_data()].tolist() for line in ax.lines}
        for ax in viz.learning_figure(events).axes
    ]


# attention maps


def test_cells_are_as_bright_as_their_weights(tmp_path):
    """Fails when axes are swapped or mirrored, or colours are inverted or scaled to the largest
    weight of a map or row.
    """
    figure = viz.attention_figure([one()])
    image = pixels(figure, tmp_path / "map.png")
    grid = [[(s, t) for s in range(len(SOURCE))] for t in range(len(OUTPUT))]
    points = figure.axes[0].transData.transform(np.reshape(grid, (-1, 2))) * module.DPI / figure.dpi
    x, y = points.round().astype(int).T
    np.testing.assert_allclose(
        image[len(image) - 1 - y, x].reshape(WEIGHTS.shape), WEIGHTS, atol=0.01
    )  # 256 shades, rounded down


def test_letters_stand_at_their_cells(tmp_path):
    """Fails when labels are off by one, an axis runs backwards, the source is not above the cells,
    or a blank is nothing.
    """
    figure = viz.attention_figure([one()])
    viz.save(figure, tmp_path / "map.png")
    (ax, _), cells = figure.axes, figure.axes[0].get_window_extent()
    for axis, characters, place in ((ax.xaxis, "ab,␣12", 0), (ax.yaxis, "2_1␣", 1)):
        labels = axis.get_ticklabels()
        assert "".join(label.get_text() for label in labels) == characters
        for i, label in enumerate(labels):
            box = label.get_window_extent()
            middle = ax.transData.inverted().transform(
                ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
            )[place]
            assert middle == pytest.approx(i, abs=0.35)
            assert box.y0 > cells.y1 if place == 0 else box.x1 < cells.x0
    assert ax.get_xlim()[0] < ax.get_xlim()[1]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_pieces_of_many_characters_are_shown_whole(tmp_path):
    """Fails when a piece is spelled over several cells or cut off, words along x lie on each other,
    a long label leaves the figure or meets another map, or a blank in a piece is nothing.
    """
    source = ["나는", " ", "internationalisation", "\t", " $x", "."]
    maps = [one(source=source, output=["a", "\n", "very much", "."], title="a title"), one()]
    figure = viz.attention_figure(maps)
    viz.save(figure, tmp_path / "map.png")
    words, letters = figure.axes[0], figure.axes[1]
    upright = words.xaxis.get_ticklabels()
    shown = ["나는", "␣", "internationalisation", "⇥", "␣$x", "."]
    assert [label.get_text() for label in upright] == shown
    assert [label.get_text() for label in words.yaxis.get_ticklabels()] == [
        "a",
        "⏎",
        "very␣much",
        ".",
    ]
    faint = [label.get_color() == attention.FAINT for label in upright]
    assert faint == [False, True, False, True, False, False]
    boxes = [label.get_window_extent() for label in upright]
    for i, box in enumerate(boxes):
        x = words.transData.inverted().transform(((box.x0 + box.x1) / 2, box.y0))[0]
        assert x == pytest.approx(i, abs=0.35)
        assert not any(box.overlaps(other) for other in boxes[:i])
    assert boxes[2].height > 3 * boxes[2].width
    assert {label.get_rotation() for label in letters.xaxis.get_ticklabels()} == {0}
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_a_string_is_its_characters(tmp_path):
    """Fails when single characters as pieces are drawn otherwise than the string of them."""
    maps = {"string": one(), "pieces": one(source=list(SOURCE), output=tuple(OUTPUT))}
    for name, drawn in maps.items():
        viz.save(viz.attention_figure([drawn]), tmp_path / f"{name}.svg")
    assert (tmp_path / "string.svg").read_bytes() == (tmp_path / "pieces.svg").read_bytes()


def test_gold_positions_are_outlined():
    """Fails when outlines are off by one, swap row and column, join runs that are apart, or miss a
    second class.
    """
    gold = [
        {"year": frozenset({0, 1, 4})},
        {},
        {"day": frozenset({5}), "month": frozenset({3})},
        {"separator": frozenset()},
    ]
    ax = viz.attention_figure([one(gold=gold)]).axes[0]
    frames = sorted((*p.get_xy(), p.get_width(), p.get_height()) for p in ax.patches)
    assert frames == [(-0.5, -0.5, 2, 1), (2.5, 1.5, 1, 1), (3.5, -0.5, 1, 1), (4.5, 1.5, 1, 1)]


@pytest.mark.parametrize(
    "fields",
    [
        {"weights": WEIGHTS.T},
        {"source": SOURCE + " "},
        {"source": ["".join(SOURCE)]},
        {"output": ""},
        {"weights": WEIGHTS[:0], "output": ""},
        {"gold": [{"year": frozenset({0})}]},
        {"gold": [{"year": frozenset({len(SOURCE)})}, {}, {}, {}]},
        {"gold": [{"year": frozenset({-1})}, {}, {}, {}]},
    ],
)
def test_what_does_not_fit_is_refused(fields):
    """Fails when a map with a wrong shape, or gold positions outside it, is drawn as if it were
    right.
    """
    with pytest.raises(ValueError, match=r"weights|gold"):
        viz.attention_figure([one(**fields)])


@pytest.mark.parametrize("lengths", [[29], [7], [7, 7, 7, 7], [8, 12, 18, 27], [70, 5]])
def test_maps_do_not_overlap(lengths):
    """Fails when maps are set over each other or out of the figure or a page, or cells are not
    squares of one size.
    """
    maps = [
        viz.AttentionMap(np.full((11, n), 0.5), "7" * n, "-" * 11, title="a title") for n in lengths
    ]
    figure = viz.attention_figure(maps)
    figure.draw_without_rendering()
    assert figure.get_figwidth() < (10 if max(lengths) < 40 else 16)
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for i, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])
    sizes = [
        ax.get_window_extent().size / (n, 11) for ax, n in zip(figure.axes, lengths, strict=False)
    ]
    np.testing.assert_allclose(sizes, sizes[0][0], rtol=1e-6)


# learning curves


def test_curves_hold_the_events():
    """Fails when measures or splits are mixed up, shares are not in %, or steps stand for
    epochs.
    """
    loss, match = curves(EVENTS)
    assert loss == {
        "training": [[0.5, 2.0], [1.0, 1.0], [1.5, 0.1], [2.0, 0.05]],
        "validation": [[1, 0.75], [2, 0.06]],
        "test": [[2, 0.04]],
    }
    assert {name: np.round(points, 9).tolist() for name, points in match.items()} == {
        "token accuracy, validation": [[1, 50.0], [2, 95.0]],
        "exact match, validation": [[1, 25.0], [2, 90.0]],
        "token accuracy, test": [[2, 99.999]],
        "exact match, test": [[2, 99.996]],
    }


def test_the_title_does_not_round_up_to_perfect():
    """Fails when 99.996 % is printed as 100.00 %, 57 % as 56.99 %, or the value is not the last
    evaluation's.
    """
    assert viz.learning_figure(EVENTS).axes[1].get_title(loc="left") == "exact match 99.99 % (test)"
    assert (
        viz.learning_figure(EVENTS[:-1]).axes[0].get_title(loc="left") == "loss 0.06 (validation)"
    )
    events = [evaluated("validation", 1, 0.57, 0.6, 1.0)]
    assert (
        viz.learning_figure(events).axes[1].get_title(loc="left")
        == "exact match 57.00 % (validation)"
    )


@pytest.mark.parametrize(
    "events",
    [
        [],
        EVENTS[:2],
        [train(1.0, None), train(2.0, float("nan"))],
        [train(1.0, 0.0), train(2.0, 1.0)],
        [train(1.0, 1.0), train(2.0, float("inf")), evaluated("test", 2, 0.0, 0.0, float("nan"))],
    ],
)
def test_a_run_that_hardly_began_or_blew_up_has_a_figure(events, tmp_path):
    """Fails when nothing, one point, zero or a loss that is not finite ends in an error or a
    warning.
    """
    assert pixels(viz.learning_figure(events), tmp_path / "curve.png").min() < 0.5


def test_a_single_value_can_be_seen():
    """Fails when a curve of one point is a line of no length, and a loss that is not finite is
    drawn.
    """
    ax = Figure().subplots()
    alone = viz.learning_curve(ax, [1, 2], [0.5, float("inf")], label="alone")
    assert alone.get_marker() not in ("", "None", None)
    assert np.isnan(alone.get_ydata()[1])


def test_perplexity_has_a_scale_of_its_own():
    """Fails when the final test is a point of the curve, the bound stands elsewhere, or the second
    scale is not e to the first one.
    """
    events = [evaluated("validation", i, 0.0, 0.0, loss) for i, loss in ((1, 0.9), (2, 0.6))]
    events.append({**evaluated("test", 2, 0.0, 0.0, 0.7), "perplexity": 2.0137, "final": True})
    figure = viz.perplexity_figure(events, entropy_bound=0.5)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in ax.lines}
    bound = lines.pop("the language's own entropy")
    assert (list(lines), list(bound)) == (["validation"], [0.5, 0.5])
    assert lines["validation"].tolist() == [0.9, 0.6]
    assert ax.get_title(loc="left") == "perplexity 2.014 (test)"
    (scale,) = ax.child_axes
    np.testing.assert_allclose(np.exp(ax.get_ylim()), scale.get_ylim())
    assert len(viz.perplexity_figure(events).axes[0].lines) == 1


# saving


def test_curves_of_a_sweep():
    """Fails when a mean is of another axis, a band is not the interval, leaves 0 to 100 or takes
    another line's place, or two of more lines than colours look alike.
    """
    random = np.random.default_rng(0)
    runs = {f"line {i}": random.uniform(60, 100, (4, 5)) for i in range(16)}
    figure = viz.curves_figure(
        [viz.Panel("a", runs, [viz.Published("line 3", 2, 50.0)])], xlabel="epoch"
    )
    ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines if line.get_label() in runs}
    assert len({(line.get_color(), line.get_linestyle()) for line in lines.values()}) == 16
    for (name, values), band in zip(runs.items(), ax.collections, strict=True):
        np.testing.assert_allclose(
            lines[name].get_xydata(), np.stack([range(1, 6), values.mean(axis=0)], axis=1)
        )
        half = stats.sem(values) * stats.t.ppf(0.975, 3)
        ends = np.clip([values.mean(axis=0) - half, values.mean(axis=0) + half], 0, 100)
        corners = {(round(x, 9), round(y, 9)) for x, y in band.get_paths()[0].vertices.tolist()}
        assert {
            (round(x, 9), round(y, 9))
            for end in ends
            for x, y in zip(range(1, 6), end.tolist(), strict=True)
        } <= corners
    (mark,) = (line for line in ax.lines if line.get_marker() == "D" and len(line.get_xdata()))
    assert (mark.get_xydata().tolist(), mark.get_color()) == (
        [[2, 50]],
        lines["line 3"].get_color(),
    )


def test_curves_of_one_epoch():
    """Fails when one value a seed leaves the axes empty, since a line has no length."""
    values = np.array([[40.0], [60.0], [50.0]])
    (ax,) = viz.curves_figure([viz.Panel("a", {"line": values})], xlabel="epoch").axes
    line = next(line for line in ax.lines if line.get_label() == "line")
    assert (line.get_xydata().tolist(), line.get_marker()) == ([[1, 50]], "o")
    half = stats.sem(values[:, 0]) * stats.t.ppf(0.975, 2)
    ((below, above),) = ax.collections[0].get_segments()
    np.testing.assert_allclose([below, above], [[1, 50 - half], [1, 50 + half]])


def test_a_notebook_shows_a_figure(tmp_path):
    """Fails when a notebook gets a figure's name instead of its picture, or twice as large."""
    figure = viz.curves_figure([viz.Panel("a", {"line": np.ones((1, 3))})], xlabel="epoch")
    content, page = figure._repr_png_()
    (tmp_path / "shown.png").write_bytes(content)
    height, width, _ = imread(tmp_path / "shown.png").shape
    assert [2 * page["width"], 2 * page["height"]] == pytest.approx([width, height], abs=2)
    assert darkness(figure, tmp_path / "saved.png") > 0


def test_intervals_side_by_side():
    """Fails when points stand at another category, an interval is upside down, or a category that
    is missing shifts others.
    """
    groups = {
        "one": {"year": Interval(0.5, 0.4, 0.7), "day": Interval(0.9, 0.8, 1.0)},
        "two": {"day": Interval(0.2, 0.1, 0.25)},
        **{f"more {i}": {"year": Interval(0.1, 0.1, 0.1)} for i in range(8)},
    }
    ax = viz.intervals_figure(groups, ylabel="hit@1").axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["year", "day"]
    for container, group in zip(ax.containers, groups.values(), strict=True):
        points, _, (bars,) = container.lines
        np.testing.assert_allclose(
            points.get_ydata(), [interval.mean for interval in group.values()]
        )
        assert [round(x) for x in points.get_xdata()] == [
            ["year", "day"].index(name) for name in group
        ]
        found = [segment[:, 1].tolist() for segment in bars.get_segments()]
        np.testing.assert_allclose(
            found, [[interval.low, interval.high] for interval in group.values()]
        )


def test_saving_twice_gives_the_same_bytes(tmp_path):
    """Fails when a date, a version or a random identifier is in the file."""
    for kind in ("svg", "png"):
        for name in ("a", "b"):
            viz.save(viz.attention_figure([one()]), tmp_path / f"{name}.{kind}")
        content = (tmp_path / f"a.{kind}").read_bytes()
        assert content == (tmp_path / f"b.{kind}").read_bytes()
        assert b"dc:date" not in content
        assert matplotlib.__version__.encode() not in content


def test_both_kinds_are_saved_under_one_stem(tmp_path):
    """Fails when what follows a dot in the stem is lost, or the folder has to be there."""
    figure = viz.learning_figure(EVENTS)
    viz.save_both(tmp_path / "figures" / "lr-0.001", figure)
    for kind in ("png", "svg"):
        viz.save(figure, tmp_path / f"a.{kind}")
        written = tmp_path / "figures" / f"lr-0.001.{kind}"
        assert written.read_bytes() == (tmp_path / f"a.{kind}").read_bytes()
    assert len(list((tmp_path / "figures").iterdir())) == 2


@pytest.mark.parametrize("name", ["map.pdf", "map", "map.png.tmp"])
def test_another_suffix_is_bad_usage(name, tmp_path):
    """Fails when a suffix that we do not write is guessed at, or the message does not say what
    would do.
    """
    with pytest.raises(UsageError, match=rf"{name}.*\.png or \.svg"):
        viz.save(Figure(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_figure(tmp_path):
    """Fails when a file is written in place: half a figure, or none, would stand where a whole one
    stood.
    """
    path = tmp_path / "curve.svg"
    path.write_text("old")
    figure = viz.learning_figure(EVENTS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SeqgenError, match=r"curve\.svg: .*[Ff]ile too large"):
            viz.save(figure, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_global_is_changed(tmp_path):
    """Fails when pyplot is imported (it keeps every figure), or a style leaks into the user's own
    figures.
    """
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy(); from seqgen import viz;"
        "viz.save(viz.learning_figure([]), sys.argv[1]);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert matplotlib.rcParams.copy() == before"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "curve.png"], check=True)


# letters


def font(path: Path, family: str, characters: str) -> Path:
    """A font file whose every character is a black square on the line."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 900), (900, 900), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square, names = pen.glyph(), [".notdef", *(f"uni{ord(c):04X}" for c in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def bare(monkeypatch):
    """A machine with matplotlib's own letters and no other."""
    monkeypatch.setattr(
        fontManager,
        "ttflist",
        [e for e in fontManager.ttflist if e.name.startswith(("DejaVu", "Last"))],
    )
    monkeypatch.setattr(module, "SHIPPED", ())
    monkeypatch.setattr(module, "findSystemFonts", list)


def darkness(figure: Figure, path: Path) -> float:
    return float((1 - pixels(figure, path)).sum())


def titled(text: str) -> Figure:
    figure = Figure(figsize=(1, 1))
    figure.text(0.2, 0.2, text, fontsize=30)
    return figure


def test_a_character_without_a_glyph_is_told_once(bare, tmp_path):
    """Fails when a box is drawn in silence, or matplotlib's own warnings, one a character, are let
    through beside ours.
    """
    figure = viz.attention_figure([one(source="한글 1한2", title="한글 $1$")])
    with pytest.warns(viz.MissingGlyphWarning) as seen:
        viz.save(figure, tmp_path / "map.png")
    assert len(seen) == 1
    for part in ("'한' (U+D55C HANGUL SYLLABLE HAN)", "'글' (U+AE00", "pip install"):
        assert part in str(seen[0].message)


def test_a_font_inside_a_package_is_used_and_the_package_not_run(bare, monkeypatch, tmp_path):
    """Fails when the shipped font is not found, its glyph not drawn, or its package imported (ours
    changes rcParams).
    """
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "__init__.py").write_text("raise SystemExit('was run')")
    font(tmp_path / "letters" / "letters.ttf", "Shipped Squares", "한글")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        module, "SHIPPED", (("no_such_package", "a.ttf"), ("letters", "letters.ttf"))
    )
    assert module.fallbacks("1한글", ["DejaVu Sans"]) == (["Shipped Squares"], "")
    square = (30 * 0.9 * module.DPI / 72) ** 2
    assert darkness(titled("한"), tmp_path / "a.png") == pytest.approx(square, rel=0.02)


def test_a_font_newer_than_the_font_list_is_found(bare, monkeypatch, tmp_path):
    """Fails when installing a font, as our warning advises, helps only after matplotlib's list is
    deleted by hand.
    """
    files = [str(font(tmp_path / "new.ttf", "New Squares", "글")), str(tmp_path / "broken.ttf")]
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    monkeypatch.setattr(module, "findSystemFonts", lambda: files[::-1])
    assert module.fallbacks("한글", ["DejaVu Sans"]) == (["New Squares"], "한")


def test_a_named_hangul_font_goes_before_any_other(bare, monkeypatch, tmp_path):
    """Fails when whichever font comes first in the list wins, or the letters that DejaVu has change
    their look.
    """
    for i, family in enumerate(("A Decorative Font", "NanumGothic")):
        fontManager.addfont(font(tmp_path / f"{i}.ttf", family, "a한"))
    figure = titled("a한")
    assert viz.use_fonts(figure) == ""
    assert figure.texts[0].get_fontfamily()[1:] == ["NanumGothic"]
    assert module.fallbacks("plain", ["DejaVu Sans"]) == ([], "")


def test_hangul_is_drawn_as_hangul(tmp_path):
    """Fails when a Korean label is boxes with the fonts that this project installs: boxes look
    alike, syllables do not.
    """
    extra, missing = module.fallbacks("한국어뷁", ["DejaVu Sans"])
    assert (len(extra), missing) == (1, ""), (
        "a font with Hangul is a dependency of seqgen, and is not installed"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [pixels(titled(c), tmp_path / f"{i}.png") for i, c in enumerate("한국어뷁")]
    for i, image in enumerate(drawn):
        assert (image < 0.5).sum() > 200
        assert all(np.abs(image - other).sum() > 200 for other in drawn[:i])
