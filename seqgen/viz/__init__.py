"""Figures: attention maps and learning curves, drawn on axes that the caller gives or on a figure of their own."""

from seqgen.viz.attention import AttentionMap, attention_figure, attention_map
from seqgen.viz.curves import learning_curve, learning_figure
from seqgen.viz.figure import MissingGlyphWarning, save, use_fonts

__all__ = [
    "AttentionMap",
    "MissingGlyphWarning",
    "attention_figure",
    "attention_map",
    "learning_curve",
    "learning_figure",
    "save",
    "use_fonts",
]
