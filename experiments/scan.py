"""What a model generalises to: SCAN's commands, drawn at random, longer, and newly combined.

Claim     one layer of attention answers random commands like those of training (99.8 %) and, as
          every plain encoder-decoder, fails on longer ones and on new combinations
Source    Lake & Baroni 2018: simple 99.8, length 13.8 (best, with attention, 20.8), jump 0.08 to
          1.2; around right 8.65 ± 4.52, jump 0.41 ± 0.34 as LexSym quotes LSTMs
Command   python data/scan/prepare.py, then seqgen sweep experiments.scan
Expected  not measured yet
Time      not measured yet
"""

from collections.abc import Iterator

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep
from seqgen.tasks.pair_file import PairFile
from seqgen.training.state import HyperConfig

SEEDS = range(5)

PUBLISHED = {
    "simple": "99.8 (Lake & Baroni 2018)",
    "length": "13.8, with attention 20.8 (Lake & Baroni 2018)",
    "jump": "0.08 to 1.2 (Lake & Baroni 2018), 0.41 ± 0.34 (LexSym, table 1)",
    "around-right": "8.65 ± 4.52 (LexSym, table 1)",
}
"""Exact match of LSTMs in percent."""

ARCHIVE = "data/scan/scan.zip"

PARTS = ("train", "validation", "test")

FIELDS = [f"data.{part}" for part in PARTS]

SPLITS = ("simple", "length", "jump", "around-right")


def files(split: str) -> Iterator[tuple[str, ...]]:
    """The three parts of a split."""
    return ((f"{ARCHIVE}/{split}/{name}.tsv",) for name in PARTS)


def base() -> RunConfig:
    """One layer of 256 on both sides, from words to actions, nothing chosen by the hard splits."""
    train, validation, test = files(SPLITS[0])
    data = PairFile(train, validation, test, source_tokens="words", target_tokens="symbols")
    cfg = presets.model("attention", embedding=64, hidden=256, init="modern")
    training = Training(epochs=40, batch_tokens=2048, schedule="cosine", warmup=0.05)
    return RunConfig(data, cfg, training, HyperConfig(lr=2e-3, clip=1.0, dropout=0.2, ema=0.998))


def variants() -> Sweep:
    """The splits."""
    return {name: dict(zip(FIELDS, map(list, files(name)), strict=True)) for name in SPLITS}
