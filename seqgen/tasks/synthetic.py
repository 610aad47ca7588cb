"""Corpora whose entropy is known: how good can any model be here? In nats per token."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int32, Integer

from seqgen.errors import UsageError
from seqgen.ranges import check_count
from seqgen.tasks.grammar import Grammar
from seqgen.tasks.markov import HiddenMarkov, Markov


@runtime_checkable
class Language(Protocol):
    """A source of tokens that knows its own probabilities.

    Its fields are numbers, which a run's config.json holds.
    """

    @property
    def name(self) -> str: ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """The tokens' spellings, in order of their ids."""

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        """A stream of `n` tokens; of a few more where it would else end within a sentence."""

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """-log p(token t | tokens 0 to t - 1), t = 1, 2, ..., in nats.

        Raises:
            ValueError: for what the source cannot emit.

        """

    def entropy_bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the entropy rate, in nats per token.

        Below it no model's mean loss on an endless stream can be.
        """


LANGUAGES: dict[str, type] = {"markov": Markov, "hmm": HiddenMarkov, "grammar": Grammar}
"""The name under which a run's config.json has a language -> its class."""


@dataclass(frozen=True)
class Synthetic:
    """A synthetic language, and how many tokens of each split are drawn from it.

    Args:
        language: what they are drawn from.
        train: tokens to train on.
        validation: tokens to evaluate with during training.
        test: tokens to test on at its end.
        seed: what they are drawn with.

    """

    language: Language = field(default_factory=Grammar)
    train: int = 1_000_000
    validation: int = 50_000
    test: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = self.train, self.validation, self.test
        if min(sizes) < 2:
            raise UsageError(
                f"a split has 2 tokens or more, not {sizes[0]}, {sizes[1]} and {sizes[2]}",
                fields=("data.train", "data.validation", "data.test"),
            )
        for name in ("train", "validation", "test"):
            check_count(f"data.{name}", getattr(self, name))
        if self.seed < 0:
            raise UsageError(
                f"the data's seed must be 0 or more, not {self.seed}", fields=("data.seed",)
            )

    @property
    def name(self) -> str:
        return self.language.name

    def pinned(self) -> "Synthetic":
        """Itself: there is no file that could change."""
        return self
