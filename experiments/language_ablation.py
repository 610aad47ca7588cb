"""What tying, dropout and depth each give a language model of Penn Treebank, at a size that a CPU
trains to its end.

Claim     each of BetterRnnlm's three improvements lowers validation perplexity: the whole model
          without one of them is worse
Source    Deep Learning from Scratch 2, §6.5
Command   seqgen sweep experiments.language_ablation, then
          python -m experiments.report language_ablation
Expected  none of the three worst, all of them best, each one left out in between
Time      about 2 hours on 2 cores: five variants, five seeds, 24 epochs; 5 to 15 minutes a run on
          one core
"""

from dataclasses import replace

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep
from seqgen.training.state import HyperConfig

SEEDS = range(5)


def base() -> RunConfig:
    """BetterRnnlm at 96 units over the 2,000 most frequent words, with a light dropout and Adam."""
    config = presets.language("ptb", "better-rnnlm")
    return replace(
        config,
        data=replace(config.data, most=2000),
        model=replace(config.model, embedding=96, hidden=96, init="modern"),
        training=Training(epochs=24, batch=32, window=35, schedule="cosine", warmup=0.05),
        hyper=HyperConfig(lr=4e-3, clip=1.0, dropout=0.1),
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
