"""The book's BetterRnnlm on Penn Treebank, for as many epochs as there is time.

Claim     two LSTMs with dropout and a tied output reach the book's test perplexity, 75.76, in 40 epochs
Source    Deep Learning from Scratch 2, §6.5.6
Command   seqgen sweep experiments.better_ptb (--set epochs=N for fewer), then python -m experiments.report better_ptb
Expected  75.8 or less after 40 epochs; validation perplexity near 100 after 8
Time      4 to 8 minutes an epoch on 2 cores
"""

from seqgen import presets
from seqgen.config import RunConfig
from seqgen.sweep import Sweep

SEEDS = range(1)


def base() -> RunConfig:
    """Two LSTMs of 650, dropout 0.5, gradient descent at rate 20, divided by four where validation stalls."""
    return presets.language("ptb", "better-rnnlm")


def variants() -> Sweep:
    """As it is."""
    return {"better-rnnlm": {}}
