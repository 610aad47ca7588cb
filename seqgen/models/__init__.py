"""One file, one architecture: a `Config`, a `build(cfg, sizes)` of five functions, a `label`.

A `Config` holds what a person chooses, `Sizes` what the data tells, so that no configuration is
half empty until a file is read. Weights are plain NamedTuples; nothing at run time uses Flax, which
is the tests' independent oracle.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from seqgen.models import rnn_language_model, rnn_seq2seq
from seqgen.types import Config, Model, Sizes


class Architecture(NamedTuple):
    """`name` stands in config.json, `label(cfg)` in the names of runs; `family` is the kind
    of data it can be trained on.

    unused(cfg, dropout) -> field -> why, of fields that change nothing at this rate of dropout
    """

    name: str
    family: str
    build: Callable[[Config, Sizes], Model]
    label: Callable[[Config], str]
    unused: Callable[[Config, float | None], dict[str, str]]


def all_count(cfg: Config, dropout: float | None) -> dict[str, str]:
    """What an architecture says that has no `unused`."""
    return {}


ARCHITECTURES: dict[type, Architecture] = {
    module.Config: Architecture(
        name, family, module.build, module.label, getattr(module, "unused", all_count)
    )
    for name, family, module in (
        ("seq2seq", "pairs", rnn_seq2seq),
        ("language_model", "text", rnn_language_model),
    )
}
"""The type of a configuration -> its architecture. A new one is a file and a line here."""


@cache
def build(cfg: Config, sizes: Sizes) -> Model:
    """A model's functions; the same settings give the same functions, so nothing compiles twice."""
    return ARCHITECTURES[type(cfg)].build(cfg, sizes)


def label(cfg: Config) -> str:
    """What a model is named in the names of runs: attention, lstm, ..."""
    return ARCHITECTURES[type(cfg)].label(cfg)
