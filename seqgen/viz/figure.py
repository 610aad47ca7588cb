"""What all figures share: their style, fonts that have their characters, and saving them whole."""

import io
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import figure as matplotlib_figure
from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font
from matplotlib.text import Text

from seqgen.errors import UsageError
from seqgen.storage.files import write

STYLE: dict[Any, Any] = {
    "axes.edgecolor": "0.35",
    "axes.labelcolor": "0.25",
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "legend.frameon": False,
    "xtick.color": "0.25",
    "ytick.color": "0.25",
}
"""For `matplotlib.rc_context`, while a figure is being made: nothing global is changed."""

HANGUL_FAMILIES = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Source Han Sans K",
    "Pretendard",
    "NanumGothic",
    "Nanum Gothic",
    "NanumBarunGothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Malgun Gothic",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "UnDotum",
)
SHIPPED = (
    ("pylopdf_fonts_ko", "NotoSansKR-Regular.otf"),
    ("koreanize_matplotlib", "fonts/NanumGothic.ttf"),
)
"""Packages with a Hangul font, and its file; not imported, since one changes the global style."""

NOT_FOR_TEXT = ("Last Resort", "LastResort", "STIXSize", "STIXNonUnicode", "cm")
"""Beginnings of families that claim characters which they draw as boxes or as something else."""

DPI = 200
"""Dots an inch of a PNG."""


class Figure(matplotlib_figure.Figure):
    """A figure that every notebook shows, whatever its backend."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """A PNG, and how many pixels of a page it takes: half of its own, for sharp screens."""
        width, height = self.get_size_inches() * (DPI // 2)
        return _render(self, "png"), {"width": int(width), "height": int(height)}


class MissingGlyphWarning(UserWarning):
    """A figure has a character that no font on this machine can draw."""


def save(figure: matplotlib_figure.Figure, path: str | os.PathLike[str]) -> None:
    """Writes a PNG (200 dots an inch) or an SVG, by suffix, whole or not at all.

    The same figure gives the same bytes. Warns with `MissingGlyphWarning` of what no font can draw.

    Raises:
        UsageError: another suffix.
        SeqgenError: the file cannot be written.

    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise UsageError(f"cannot save a figure as {path}: its name must end in .png or .svg")
    if missing := use_fonts(figure):
        warnings.warn(_no_glyph(missing), MissingGlyphWarning, stacklevel=2)
    write(path, _render(figure, kind))


def save_both(stem: str | os.PathLike[str], figure: matplotlib_figure.Figure) -> None:
    """The figure as `stem`.png and `stem`.svg; the folder is made where it is missing.

    Raises:
        SeqgenError: a file cannot be written.

    """
    for kind in ("png", "svg"):
        save(figure, f"{os.fspath(stem)}.{kind}")


def use_fonts(artist: Artist) -> str:
    """Gives each text in `artist` the fonts that it needs; returns the characters that none has."""
    missing: set[str] = set()
    for text in artist.findobj(Text):
        extra, lost = fallbacks(text.get_text(), text.get_fontfamily())
        missing.update(lost)
        if extra:
            text.set_fontfamily([*text.get_fontfamily(), *extra])
    return "".join(sorted(missing))


def fallbacks(text: str, families: Sequence[str]) -> tuple[list[str], str]:
    """The font families that `text` needs after `families`, and the characters in no font."""
    missing = {c for c in text if unicodedata.category(c)[0] not in "CZ"}
    for family in families:
        missing -= _drawn_by(missing, _path(family))
    extra: list[str] = []
    candidates = _candidates()
    while missing and (candidate := next(candidates, None)):
        family, path = candidate
        if found := _drawn_by(missing, path):
            extra.append(family)
            missing -= found
    return extra, "".join(sorted(missing))


def _drawn_by(characters: set[str], path: str | None) -> set[str]:
    """Those of `characters` that a font file has a glyph for."""
    return {c for c in characters if ord(c) in _codepoints(path)} if path else set()


def _path(family: str) -> str | None:
    """The file that matplotlib takes for a family; None where it has none."""
    try:
        return findfont(FontProperties(family=[family]), fallback_to_default=False)
    except ValueError:
        return None


@cache
def _codepoints(path: str) -> frozenset[int]:
    """The Unicode codepoints that a font file has a glyph for; none where it cannot be read."""
    try:
        return frozenset(code for code, glyph in get_font(path).get_charmap().items() if glyph)
    except (OSError, RuntimeError):
        return frozenset()


def _candidates() -> Iterator[tuple[str, str]]:
    """Font families to fall back on, each with a file; the likeliest first: reading takes time."""
    listed = {entry.name: str(entry.fname) for entry in fontManager.ttflist}
    yield from ((family, listed[family]) for family in HANGUL_FAMILIES if family in listed)
    for path in _shipped():
        yield from _register(path)
    files = {os.path.realpath(entry.fname) for entry in fontManager.ttflist}
    for path in findSystemFonts():  # one installed after matplotlib wrote its list
        if os.path.realpath(path) not in files:
            yield from _register(path)
    usual = {
        entry.name: str(entry.fname)
        for entry in fontManager.ttflist
        if (entry.weight, entry.stretch) == (400, "normal")
        and not entry.name.startswith(NOT_FOR_TEXT)
    }
    yield from sorted(usual.items())


def _shipped() -> Iterator[str]:
    """The paths of the Hangul fonts inside installed packages."""
    for module, file in SHIPPED:
        spec = find_spec(module)
        folders = spec.submodule_search_locations if spec else None
        for folder in folders or ():
            if Path(folder, file).is_file():
                yield str(Path(folder, file))


@cache
def _register(path: str) -> tuple[tuple[str, str], ...]:
    """Adds a font file to matplotlib's list, in this process; returns its families, if any."""
    before = len(fontManager.ttflist)
    try:
        fontManager.addfont(path)
    except (OSError, RuntimeError):
        return ()
    names = dict.fromkeys(entry.name for entry in fontManager.ttflist[before:])
    return tuple((name, path) for name in names if not name.startswith(NOT_FOR_TEXT))


def _no_glyph(characters: str) -> str:
    """What is missing, and how to fix it."""
    names = [f"{c!r} (U+{ord(c):04X} {unicodedata.name(c, 'unnamed')})" for c in characters[:5]]
    more = f" and {len(characters) - 5} more" if len(characters) > 5 else ""
    return (
        f"no font on this machine can draw {', '.join(names)}{more}: the figure shows boxes there. "
        "Install a font that can (for Korean: pip install pylopdf-fonts-ko, or apt-get install "
        "fonts-nanum) and draw it again"
    )


def _render(figure: matplotlib_figure.Figure, kind: str) -> bytes:
    """The file's content, without a date, a version or a random identifier."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    style: dict[Any, Any] = {"svg.hashsalt": "seqgen", "svg.fonttype": "path"}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # `save` has said it once
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
