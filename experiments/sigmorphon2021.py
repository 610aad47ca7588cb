"""How words of eleven languages are said: SIGMORPHON 2021, task 1, one configuration for all.

Claim     one layer of attention averages fewer than 15.05 % of the words wrong over ten languages,
          five of them together fewer than 12 %
Source    Ashby et al. 2021: the task's ensemble averages 10.64 % over the ten; one Transformer of
          4+4 layers 15.05 %
Command   python data/sigmorphon2021/prepare.py, then seqgen sweep experiments.sigmorphon2021
Expected  not measured yet
Time      not measured yet
"""

from dataclasses import replace

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep
from seqgen.tasks.pair_file import PairFile
from seqgen.training.state import HyperConfig

SEEDS = range(5)

ARCHIVE = "data/sigmorphon2021/sigmorphon2021.zip"

LANGUAGES = ("arm", "bul", "dut", "fre", "geo", "hbs", "hun", "jpn", "kor", "vie")
"""Those of 8,000 words; English has 33,344."""


def files(language: str) -> dict[str, tuple[str, ...]]:
    """The three parts of a language."""
    parts = "train", "validation", "test"
    return {name: (f"{ARCHIVE}/{language}/{name}.tsv",) for name in parts}


def base() -> RunConfig:
    """One layer of 256 on both sides; letters are taken apart into base and marks, Hangul into
    jamo.
    """
    data = replace(
        PairFile((), target_tokens="symbols", normalization="NFD"), **files(LANGUAGES[0])
    )
    cfg = presets.model("attention", embedding=128, hidden=256, init="modern")
    training = Training(
        epochs=60, batch_tokens=512, schedule="cosine", warmup=0.05, label_smoothing=0.1
    )
    return RunConfig(data, cfg, training, HyperConfig(lr=2e-3, clip=1.0, dropout=0.4))


def variants() -> Sweep:
    """The languages."""
    return {
        name: {f"data.{part}": list(of) for part, of in files(name).items()}
        for name in (*LANGUAGES, "eng")
    }
