"""Named pairs of data and model with sensible defaults: the only library file where a task meets a model."""

from dataclasses import replace

from seqgen.config import RunConfig, Training
from seqgen.models import decoders, encoders, language_model, seq2seq
from seqgen.nn.init import SchemeName
from seqgen.sweep import Sweep
from seqgen.tasks import TASKS
from seqgen.tasks.corpus import LANGUAGES, Drawn
from seqgen.tasks.dataset import Data
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig

READERS: dict[str, tuple[tuple, tuple]] = {
    "baseline": ((), ()),
    "peeky": (("summary",), ("summary",)),
    "attention": ((), ("dot",)),
    "peeky-attention": (("summary",), ("summary", "dot")),
}
"""A variant's readers: what joins the recurrence, and what joins the readout."""


def readers() -> Sweep:
    """The four variants as changes of a configuration."""
    places = ("model.decoder.inputs", "model.decoder.outputs")
    return {variant: dict(zip(places, READERS[variant], strict=True)) for variant in READERS}


def model(variant: str, *, embedding: int, hidden: int, init: SchemeName = "book") -> seq2seq.Config:
    """One of the four variants at a size."""
    inputs, outputs = READERS[variant]
    decoder = decoders.Config(embedding, hidden, inputs=inputs, outputs=outputs)
    return seq2seq.Config(encoders.Config(embedding, hidden), decoder, init=init)


def preset(task: str, variant: str) -> RunConfig:
    """The default run of a pair: true lengths, reversed, modern initialisation, warm-up and cosine."""
    attends = "attention" in variant
    hidden, epochs, lr = {
        ("addition", False): (128, 25, 3e-3),
        ("addition", True): (128, 25, 3e-3),
        ("dates", False): (128, 20, 4e-3),
        ("dates", True): (64, 4, 8e-3),
    }[task, attends]
    training = Training(epochs=epochs, schedule="cosine", warmup=0.05)
    data = Data(TASKS[task](), reverse=True)
    return RunConfig(data, model(variant, embedding=16, hidden=hidden, init="modern"), training, HyperConfig(lr=lr))


def book(task: str, variant: str, file: str, *, reverse: bool) -> RunConfig:
    """The book's own settings on its own file and split (§7.3-7.4, §8.2): Adam 1e-3, clip 5, batch 128."""
    hidden, epochs = {"addition": (128, 25), "dates": (256, 10)}[task]
    data = Data(TASKS[task](), layout="book", reverse=reverse, file=file, split="book")
    return RunConfig(data, model(variant, embedding=16, hidden=hidden), Training(epochs=epochs), HyperConfig())


CORPORA: dict[str, Text | Drawn] = {
    "text": Text(),
    "ptb": Text("data/ptb/ptb.zip", unit="word"),
    "shakespeare": Text("data/shakespeare/tinyshakespeare.txt", validation=0.1, test=0.0),
    **{name: Drawn(language()) for name, language in LANGUAGES.items()},
}
"""What language models train on. `text` is any text; without one it is Python's help topics."""

BOOK_SGD = HyperConfig(lr=20.0, clip=0.25)
"""The book's step on Penn Treebank (§6.4.3, §6.5.4)."""

LANGUAGE_MODELS: dict[str, tuple[language_model.Config, Training, HyperConfig]] = {
    "language-model": (
        language_model.Config(64, 256, init="modern"),
        Training(epochs=8, batch=32, window=64, schedule="cosine", warmup=0.05),
        HyperConfig(lr=4e-3, clip=1.0),
    ),
    "char-lstm": (
        language_model.Config(128, 512, mask="locked", init="modern"),
        Training(epochs=30, batch=64, window=128, schedule="cosine", warmup=0.02),
        HyperConfig(lr=3e-3, clip=1.0, dropout=0.3),
    ),
    "rnnlm": (language_model.Config(), Training(epochs=4, batch=20, window=35, optimizer="sgd"), BOOK_SGD),
    "better-rnnlm": (
        language_model.Config(650, 650, layers=2, tied=True),
        Training(epochs=40, batch=20, window=35, optimizer="sgd", plateau=4.0, select="best"),
        replace(BOOK_SGD, dropout=0.5),
    ),
}
"""A language model's sizes and how it is trained: one for any text, a larger one for characters, and the book's two."""


def language(corpus: str, model: str) -> RunConfig:
    """The default run of a corpus and a language model."""
    cfg, training, hyper = LANGUAGE_MODELS[model]
    return RunConfig(CORPORA[corpus], cfg, training, hyper)
