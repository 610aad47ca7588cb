"""Characters and their ids."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from seqgen.errors import UsageError

DELIMITER = "_"
BLANK = " "


@dataclass(frozen=True)
class Vocabulary:
    """The characters in the order of their ids. `_` opens every target (and closes it in the masked layout)."""

    characters: str

    def __post_init__(self) -> None:
        twice = sorted({c for c in self.characters if self.characters.count(c) > 1})
        if twice:
            raise ValueError(f"vocabulary holds {twice[0]!r} more than once")

    @cached_property
    def ids(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> np.ndarray:
        """Text to ids [len(text)], int32. Raises `UsageError`, naming the first unknown character and its position."""
        for position, character in enumerate(text, start=1):
            if character not in self.ids:
                raise UsageError(
                    f"unknown character {character!r} at position {position} of {text!r}; known: {self.characters!r}"
                )
        return np.array([self.ids[character] for character in text], np.int32)

    def decode(self, ids: np.ndarray) -> str:
        """Ids to text, the inverse of `encode`."""
        return "".join(self.characters[i] for i in np.asarray(ids))
