"""Figures: attention maps, learning curves, sweeps.

What draws on axes takes them from the caller; the others return a figure of their own.
"""

from seqgen.viz.attention import AttentionMap, attention_figure, attention_map
from seqgen.viz.curves import learning_curve, learning_figure, perplexity_figure
from seqgen.viz.figure import MissingGlyphWarning, save, save_both, use_fonts
from seqgen.viz.sweeps import Panel, Published, band, curves_figure, intervals_figure

__all__ = [
    "AttentionMap",
    "MissingGlyphWarning",
    "Panel",
    "Published",
    "attention_figure",
    "attention_map",
    "band",
    "curves_figure",
    "intervals_figure",
    "learning_curve",
    "learning_figure",
    "perplexity_figure",
    "save",
    "save_both",
    "use_fonts",
]
