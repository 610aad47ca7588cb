"""What tying, dropout and depth each give a language model of Penn Treebank, at a size that a CPU trains.

Claim     each of BetterRnnlm's three improvements lowers validation perplexity: the whole model without any of them is worse
Source    Deep Learning from Scratch 2, §6.5
Command   seqgen sweep experiments.language_ablation, then python -m experiments.report language_ablation
Expected  plain worst, all three best, each one left out in between
Time      about 100 minutes on 2 cores: five variants, three seeds, ten epochs
"""

from dataclasses import replace

from seqgen import presets
from seqgen.config import RunConfig
from seqgen.sweep import Sweep

SEEDS = range(3)


def base() -> RunConfig:
    """BetterRnnlm at 200 units for ten epochs, with a lighter dropout; its rate is divided by four where validation stalls."""
    config = presets.language("ptb", "better-rnnlm")
    return replace(
        config,
        model=replace(config.model, embedding=200, hidden=200),
        training=replace(config.training, epochs=10),
        hyper=replace(config.hyper, dropout=0.3),
    )


def variants() -> Sweep:
    """All three, each left out, and none."""
    no_tying, no_dropout, no_depth = {"tied": False}, {"hyper.dropout": None}, {"layers": 1}
    return {
        "all": {},
        "no-tying": no_tying,
        "no-dropout": no_dropout,
        "no-depth": no_depth,
        "none": no_tying | no_dropout | no_depth,
    }
