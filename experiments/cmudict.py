"""How words are said: letters to phones on CMUdict, one single-layer attention model.

Claim     one layer of attention, 30 minutes on 2 cores, has fewer than 29 % of the words wrong
Source    published word error rates: LSTM 2x64 31.3, LSTM 2x512 23.3, Transformer 3x256 20.6
          (cmusphinx g2p-seq2seq); WFST 24.4; an ensemble with attention 20.24 (Toshniwal & Livescu
          2016)
Command   python data/cmudict/prepare.py, then seqgen sweep experiments.cmudict
Expected  not measured yet
Time      not measured yet
"""

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep
from seqgen.tasks.pair_file import PairFile
from seqgen.training.state import HyperConfig

SEEDS = range(5)

PUBLISHED = {
    "LSTM, 2 layers of 64 (cmusphinx g2p-seq2seq)": 31.3,
    "WFST (Phonetisaurus)": 24.4,
    "LSTM, 2 layers of 512 (cmusphinx g2p-seq2seq)": 23.3,
    "Transformer, 3 layers of 256 (cmusphinx g2p-seq2seq)": 20.6,
    "attention, an ensemble (Toshniwal & Livescu 2016)": 20.24,
}
"""Word error rates in percent."""

ARCHIVE = "data/cmudict/cmudict.zip"


def base() -> RunConfig:
    """One layer of 256 on both sides; a word's letters are read backwards."""
    train, validation, test = (
        (f"{ARCHIVE}/{name}.tsv",) for name in ("train", "validation", "test")
    )
    data = PairFile(train, validation, test, target_tokens="symbols")
    cfg = presets.model("attention", embedding=64, hidden=256, init="modern")
    training = Training(epochs=20, batch_tokens=2048, schedule="cosine", warmup=0.05)
    return RunConfig(data, cfg, training, HyperConfig(lr=2e-3, clip=1.0, dropout=0.3))


def variants() -> Sweep:
    """As it is."""
    return {"attention": {}}
