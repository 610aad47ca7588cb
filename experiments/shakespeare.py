"""A character model of tiny Shakespeare: what half an hour on two cores gives.

Claim     an LSTM of fewer than 11 million parameters reaches 1.60 nats per character on validation
          in 30 minutes on 2 cores
Source    ours; beside it stand nanoGPT's figures: 1.88 with its CPU configuration, 1.47 with 10.7
          million parameters on a GPU
Command   seqgen sweep experiments.shakespeare, then python -m experiments.report shakespeare
Expected  1.43
Time      24 minutes on 2 cores
"""

from seqgen import presets
from seqgen.config import RunConfig
from seqgen.sweeps.spec import Sweep

SEEDS = range(1)


def base() -> RunConfig:
    """The preset of `seqgen train shakespeare char-lstm`."""
    return presets.language("shakespeare", "char-lstm")


def variants() -> Sweep:
    """As it is."""
    return {"char-lstm": {}}
