"""One file, one architecture: a module with `Config`, `init`, `apply`, `start` and `step`. `MODELS` finds it by its Config."""

from types import ModuleType

from seqgen.models import language_model, seq2seq

MODELS: dict[type, ModuleType] = {seq2seq.Config: seq2seq, language_model.Config: language_model}


def model_of(cfg: object) -> ModuleType:
    """The module whose `Config` this is."""
    return MODELS[type(cfg)]
