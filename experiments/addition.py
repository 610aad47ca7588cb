"""Reverse x peeky x attention on addition: all eight cells, of which the book shows three.

Claim     at the book's settings each improvement adds to exact match: baseline < reverse < reverse
          + peeky
Source    Deep Learning from Scratch 2, figures 7-22, 7-24 and 7-28
Command   seqgen sweep experiments.addition --seeds 0:10, then python -m experiments.report
Expected  after 25 epochs baseline near 15 %, reverse near 50 %, reverse + peeky above 96 %
Time      60 to 80 minutes on 2 cores: 80 runs of 8,775 steps in four compiled programs
"""

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep, product
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data

SEEDS = range(10)

REVERSE: Sweep = {"": {}, "reverse": {"reverse": True}}


def base() -> RunConfig:
    """The book's settings on data drawn as the book's: 45,000 sums to train on, 5,000 to test."""
    data = Data(Addition(), padding="book", split="book")
    return RunConfig(data, presets.model("baseline", embedding=16, hidden=128), Training(epochs=25))


def variants() -> Sweep:
    """Four decoders, each with the question as it is and reversed."""
    return product(presets.decoders(), REVERSE)
