"""The book's Rnnlm on Penn Treebank, with the book's recipe.

Claim     the book's settings give the book's perplexity on the test set: 136
Source    Deep Learning from Scratch 2, §6.4.4
Command   seqgen sweep experiments.ptb --set data.path=FOLDER_OR_ZIP, then
          python -m experiments.report ptb
Expected  130 to 140 by the book's own evaluation, and the same within half a point over the whole
          stream
Time      about 2 minutes a seed on 2 cores
"""

from seqgen import presets
from seqgen.config import RunConfig
from seqgen.sweeps.spec import Sweep

SEEDS = range(3)


def base() -> RunConfig:
    """One LSTM of 100, gradient descent at rate 20 behind clipping at 0.25, four epochs."""
    return presets.language("ptb", "rnnlm")


def variants() -> Sweep:
    """As it is."""
    return {"rnnlm": {}}
