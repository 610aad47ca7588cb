"""How words of eleven languages are said: SIGMORPHON 2021, task 1, one configuration for all.

Claim     one layer of attention averages fewer than 15.05 % of the words wrong over ten languages,
          five of them together fewer than 12 %
Source    Ashby et al. 2021: the task's ensemble averages 10.64 % over the ten; one Transformer of
          4+4 layers 15.05 %
Command   python data/sigmorphon2021/prepare.py, then seqgen sweep experiments.sigmorphon2021
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
    "the task's ensemble, %": {
        "arm": 7.0,
        "bul": 18.3,
        "dut": 14.7,
        "fre": 8.5,
        "geo": 0.0,
        "hbs": 32.1,
        "hun": 1.8,
        "jpn": 5.2,
        "kor": 16.3,
        "vie": 2.5,
        "eng": 41.94,
        "average": 10.64,
    },
    "one Transformer of 4+4 layers, %": {"kor": 30.2, "average": 15.05},
}
"""Word error rates."""

ARCHIVE = "data/sigmorphon2021/sigmorphon2021.zip"

PARTS = ("train", "validation", "test")

FIELDS = [f"data.{part}" for part in PARTS]

LANGUAGES = ("arm", "bul", "dut", "fre", "geo", "hbs", "hun", "jpn", "kor", "vie")
"""Those of 8,000 words; English has 33,344."""


def files(language: str) -> Iterator[tuple[str, ...]]:
    """The three parts of a language."""
    return ((f"{ARCHIVE}/{language}/{name}.tsv",) for name in PARTS)


def base() -> RunConfig:
    """One layer of 256 on both sides; letters are taken apart into base and marks, Hangul into
    jamo.
    """
    train, validation, test = files(LANGUAGES[0])
    data = PairFile(train, validation, test, target_tokens="symbols", normalization="NFD")
    cfg = presets.model("attention", embedding=128, hidden=256, init="modern")
    training = Training(
        epochs=60, batch_tokens=512, schedule="cosine", warmup=0.05, label_smoothing=0.1
    )
    return RunConfig(data, cfg, training, HyperConfig(lr=2e-3, clip=1.0, dropout=0.4))


def variants() -> Sweep:
    """The languages."""
    names = (*LANGUAGES, "eng")
    return {name: dict(zip(FIELDS, map(list, files(name)), strict=True)) for name in names}
