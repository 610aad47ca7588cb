"""Named pairs of data and model, with default settings."""

from dataclasses import replace
from typing import Any

import numpy as np

from seqgen.config import RunConfig, Training
from seqgen.errors import check_known
from seqgen.models import rnn_decoder, rnn_encoder, rnn_language_model, rnn_seq2seq
from seqgen.nn.init import SchemeName
from seqgen.tasks import TASKS
from seqgen.tasks.dataset import Data, Dataset
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.synthetic import LANGUAGES, Synthetic
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig

DECODERS: dict[str, tuple[tuple, tuple]] = {
    "baseline": ((), ()),
    "peeky": (("context",), ("context",)),
    "attention": ((), ("dot",)),
    "peeky-attention": (("context",), ("context", "dot")),
}
"""A variant's attention mechanisms: what joins the recurrence, and what joins the readout."""


def decoders() -> dict[str, dict[str, Any]]:
    """The four variants as changes of a configuration."""
    places = ("model.decoder.inputs", "model.decoder.outputs")
    return {name: dict(zip(places, DECODERS[name], strict=True)) for name in DECODERS}


def model(
    variant: str, *, embedding: int, hidden: int, init: SchemeName = "book"
) -> rnn_seq2seq.Config:
    """One of the four variants at a size.

    Args:
        variant: one of `DECODERS`.
        embedding: its width, on both sides.
        hidden: the width of both cells.
        init: the scheme of initial values.

    """
    inputs, outputs = DECODERS[variant]
    decoder = rnn_decoder.Config(embedding, hidden, inputs=inputs, outputs=outputs)
    return rnn_seq2seq.Config(rnn_encoder.Config(embedding, hidden), decoder, init=init)


SIZES: dict[tuple[str, bool], tuple[int, int, float]] = {
    ("addition", False): (128, 25, 3e-3),
    ("addition", True): (128, 25, 3e-3),
    ("dates", False): (128, 20, 4e-3),
    ("dates", True): (64, 4, 8e-3),
}
"""A task, and whether the model attends -> hidden width, epochs and learning rate."""

OTHERS = 128, 20, 3e-3
"""The same of a task that `SIZES` does not have."""


def preset(task: str, variant: str) -> RunConfig:
    """The default run of a pair: true lengths, reversed, modern initialisation, warm-up and
    cosine. Raises `UsageError` for a name that is not known.
    """
    task, variant = check_known("task", task, TASKS), check_known("variant", variant, DECODERS)
    hidden, epochs, lr = SIZES.get((task, "attention" in variant), OTHERS)
    training = Training(epochs=epochs, schedule="cosine", warmup=0.05)
    data = Data(TASKS[task](), reverse=True)
    cfg = model(variant, embedding=16, hidden=hidden, init="modern")
    return RunConfig(data, cfg, training, HyperConfig(lr=lr))


def book(task: str, variant: str, file: str, *, reverse: bool) -> RunConfig:
    """The book's own settings on its own file and split (§7.3-7.4, §8.2).

    Adam at 1e-3, clipping at 5, batches of 128.

    Args:
        task: addition or dates.
        variant: one of `DECODERS`.
        file: the book's.
        reverse: whether questions are read backwards.

    """
    hidden, epochs = {"addition": (128, 25), "dates": (256, 10)}[task]
    data = Data(TASKS[task](), padding="book", reverse=reverse, file=file, split="book")
    cfg = model(variant, embedding=16, hidden=hidden)
    return RunConfig(data, cfg, Training(epochs=epochs), HyperConfig())


OWN_HIDDEN = (2_000, 128), (50_000, 256), (None, 512)
"""Training pairs of one's own, up to so many -> hidden width."""


def own(data: PairFile, dataset: Dataset, variant: str = "attention") -> RunConfig:
    """The default run of a person's own pairs: a width and a number of epochs by how many they are.

    Args:
        data: the files.
        dataset: what was read of them.
        variant: one of `DECODERS`.

    """
    source, target = dataset.lengths["train"]
    rows = len(source)
    hidden = next(width for most, width in OWN_HIDDEN if most is None or rows <= most)
    batch = 2 ** int(np.clip(np.log2(max(rows, 1) / 100), 3, 6))
    tokens = 2 ** round(np.log2(batch * float(np.mean(source + target))))
    epochs = int(np.clip(600_000 / max(rows, 1), 10, 60))
    training = Training(epochs, schedule="cosine", warmup=0.05, batch_tokens=tokens)
    hyper = HyperConfig(lr=2e-3, clip=1.0, dropout=0.2)
    cfg = model(variant, embedding=hidden // 4, hidden=hidden, init="modern")
    return RunConfig(data, cfg, training, hyper)


CORPORA: dict[str, Text | Synthetic] = {
    "text": Text(),
    "ptb": Text("data/ptb/ptb.zip", unit="word"),
    "shakespeare": Text("data/shakespeare/tinyshakespeare.txt", validation=0.1, test=0.0),
    **{name: Synthetic(language()) for name, language in LANGUAGES.items()},
}
"""What language models train on. `text` is any text; without one it is Python's help topics."""

BOOK_SGD = HyperConfig(lr=20.0, clip=0.25)
"""The book's step on Penn Treebank (§6.4.3, §6.5.4)."""

LANGUAGE_MODELS: dict[str, tuple[rnn_language_model.Config, Training, HyperConfig]] = {
    "language-model": (
        rnn_language_model.Config(64, 256, init="modern"),
        Training(epochs=8, batch=32, window=64, schedule="cosine", warmup=0.05),
        HyperConfig(lr=4e-3, clip=1.0),
    ),
    "char-lstm": (
        rnn_language_model.Config(128, 512, variational_dropout=True, init="modern"),
        Training(epochs=30, batch=64, window=128, schedule="cosine", warmup=0.02),
        HyperConfig(lr=3e-3, clip=1.0, dropout=0.3),
    ),
    "rnnlm": (
        rnn_language_model.Config(),
        Training(epochs=4, batch=20, window=35, optimizer="sgd"),
        BOOK_SGD,
    ),
    "better-rnnlm": (
        rnn_language_model.Config(650, 650, layers=2, tied=True),
        Training(epochs=40, batch=20, window=35, optimizer="sgd", plateau=4.0, select="best"),
        replace(BOOK_SGD, dropout=0.5),
    ),
}
"""A language model's sizes and how it is trained: one for any text, one for characters, the
book's.
"""


def language(corpus: str, name: str) -> RunConfig:
    """The default run of a corpus and a language model."""
    cfg, training, hyper = LANGUAGE_MODELS[name]
    return RunConfig(CORPORA[corpus], cfg, training, hyper)


def pairings() -> dict[str, dict[str, RunConfig]]:
    """Every task or corpus, with the models that train on it and the defaults of each."""
    pairs = {task: {name: preset(task, name) for name in DECODERS} for task in TASKS}
    texts = {name: {m: language(name, m) for m in LANGUAGE_MODELS} for name in CORPORA}
    return pairs | texts
