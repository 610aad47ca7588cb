"""The run of a language model."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from seqgen import perplexity
from seqgen.config import RunConfig, structure
from seqgen.errors import SeqgenError, UsageError
from seqgen.models import language_model
from seqgen.runs.directory import Run
from seqgen.tasks.corpus import Corpus, Drawn, load
from seqgen.tasks.symbols import Symbols
from seqgen.tasks.task import Split
from seqgen.tasks.text import Text, checksum
from seqgen.training.source import Lanes


class LanguageModelRun(Run):
    """Writes text, and is scored by perplexity."""

    load = staticmethod(load)

    @staticmethod
    def called(config: RunConfig) -> str:
        """ptb-lstm and the like."""
        data, model = config.data, config.model
        assert isinstance(data, Text | Drawn) and isinstance(model, language_model.Config)
        return f"{data.name}-{model.cell}"

    @staticmethod
    def complete(config: RunConfig, load: Callable[[Text | Drawn], Corpus]) -> tuple[RunConfig, Corpus]:
        """With the text's checksum, and the vocabulary's size. Raises `UsageError` where there is less text than a step reads."""
        data, model, training = config.data, config.model, config.training
        assert isinstance(data, Text | Drawn) and isinstance(model, language_model.Config)
        if isinstance(data, Text) and data.path is not None:
            path = str(Path(data.path).absolute())
            data = replace(data, path=path, sha256=checksum(path))
        corpus = load(data)
        if Lanes(len(corpus.train), training.batch, training.window).steps < 1:
            wanted = f"{training.batch} lanes of {training.window}"
            raise UsageError(f"{data.name}: {len(corpus.train):,} tokens are too few for {wanted}; a smaller --batch would do")
        return replace(config, data=data, model=replace(model, vocabulary=len(corpus.symbols))), corpus

    def described(self) -> dict[str, Any]:
        """The unit and its symbols."""
        return asdict(self.dataset.symbols)

    @cached_property
    def symbols(self) -> Symbols:
        """What the run's ids stand for. Raises `SeqgenError` where that cannot be what its model was made for."""
        symbols = structure(self.path / "vocabulary.json", Symbols)
        if len(symbols) != self.config.model.vocabulary:
            raise SeqgenError(f"{self.path / 'vocabulary.json'}: {len(symbols)} symbols are not what the model was made for")
        return symbols

    @property
    def held_out(self) -> Split:
        """What the run is watched on: the test split where there are no others."""
        return "validation" if len(self.dataset.validation) > 1 else "test"

    @property
    def tested_on(self) -> Split:
        """What the run is scored on at its end: the validation split where there is no other."""
        return "test" if len(self.dataset.test) > 1 else "validation"

    def tokens(self, split: Split) -> Integer[np.ndarray, " N"]:
        """A split's ids. Raises `UsageError` where the run has none."""
        tokens = getattr(self.dataset, split)
        if len(tokens) < 2:
            others = ", ".join(name for name in ("validation", "test") if len(getattr(self.dataset, name)) > 1)
            raise UsageError(f"{self.path} has no {split} split" + (f"; --split {others} would do" if others else ""))
        return tokens

    def evaluate(self, split: Split = "test") -> perplexity.Perplexity:
        """Perplexity over a whole split in one lane, the carry kept from its first token to its last."""
        return perplexity.perplexity(self.model, self.config.model, self.params, self.tokens(split))

    def measured(self, scores: perplexity.Perplexity) -> dict[str, Any]:
        """Scores by name, with bits a character where characters are the unit."""
        bits = {"bits_per_character": scores.loss / math.log(2)} if self.symbols.unit == "character" else {}
        return {**scores._asdict(), **bits}
