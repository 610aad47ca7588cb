"""The tokens of one side of a person's own pairs: pad, bos and eos, then those of its text."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from seqgen.data.byte_pairs import BytePairs, byte_pairs, usual_size
from seqgen.data.ragged import Ragged, character_ids, character_table, ragged
from seqgen.data.tokenizer import UNKNOWN, Ids, Unit, UnknownSymbol, Vocabulary, units_of
from seqgen.errors import UsageError
from seqgen.types import Special

TokensName = Literal["characters", "words", "symbols", "bytes", "bpe"]
"""What the tokens of a side are, as a configuration names it."""

UNITS: dict[str, Unit] = {"characters": "character", "words": "word", "symbols": "symbol"}
"""Tokens that are counted, and what one of them is."""

Normalization = Literal["none", "NFC", "NFD", "NFKC"]
"""A Unicode normalisation form; NFD takes Hangul syllables apart, into jamo."""

OWN = ("<pad>", "<bos>", "<eos>")
"""The tokens that stand before those of the text."""

FEATURES = "\t"
"""What stands between a source and its features, in text."""


@dataclass(frozen=True)
class PairTokenizer:
    """A side's tokens: `OWN`, then those of its text, then its features.

    Args:
        text: what the text's own tokens are; its <unk>, if it has one, is the side's.
        normalization: the form that text is brought into; an answer in NFD is composed again.
        features: symbols of a further column, which follow the text's tokens.

    """

    text: Vocabulary | BytePairs
    normalization: Normalization = "none"
    features: tuple[str, ...] = ()

    @property
    def special(self) -> Special:
        """Pad, bos and eos are 0, 1 and 2."""
        unk = self.text.special.unk
        return Special(0, 1, 2, None if unk is None else len(OWN) + unk)

    @property
    def unit(self) -> str:
        """What a token of the text is."""
        return self.text.unit

    def __len__(self) -> int:
        return len(OWN) + len(self.text) + len(self.features)

    @cached_property
    def feature_ids(self) -> dict[str, int]:
        """Feature -> id."""
        first = len(OWN) + len(self.text)
        return {feature: first + i for i, feature in enumerate(self.features)}

    @cached_property
    def table(self) -> tuple[str, ...]:
        """All tokens, in the order of their ids."""
        return (*OWN, *self.text.pieces(range(len(self.text))), *self.features)

    def encode(self, text: str) -> list[int]:
        """Text to ids; features stand after a tab. What is not known is <unk>.

        Raises `UnknownSymbol` for a feature beside bytes or byte pairs, which have no <unk>.
        """
        text, _, features = text.partition(FEATURES) if self.features else (text, "", "")
        ids = [len(OWN) + i for i in self.text.encode(normalized(text, self.normalization))]
        for number, feature in enumerate(features_of(features), start=1):
            if (found := self.feature_ids.get(feature, self.special.unk)) is None:
                raise UnknownSymbol("feature", feature, number)
            ids.append(found)
        return ids

    def units(self, text: str) -> list[str]:
        """The units of a text, as they are; none of its features."""
        text = text.partition(FEATURES)[0] if self.features else text
        text = normalized(text, self.normalization)
        if isinstance(self.text, Vocabulary) and self.text.unit != "byte":
            return list(units_of(text, self.text.unit))
        return self.text.pieces(self.text.encode(text))

    def encode_all(self, texts: Sequence[str]) -> Ragged:
        """The ids of many texts, those of characters and of byte pairs many times as fast."""
        if self.features:
            return ragged([self.encode(text) for text in texts])
        texts = [normalized(text, self.normalization) for text in texts]
        if isinstance(self.text, BytePairs):
            found = ragged(self.text.encode_all(texts))
        elif self.text.unit == "character":
            found = character_ids(texts, self.characters)
        else:
            found = ragged([self.text.encode(text) for text in texts])
        return found._replace(ids=found.ids + np.int32(len(OWN)))

    @cached_property
    def characters(self) -> np.ndarray:
        """For each code point its id among the text's."""
        assert isinstance(self.text, Vocabulary)
        unk = self.text.special.unk
        assert unk is not None  # of characters there always is one
        return character_table(self.text.ids.items(), unk)

    def unknown(self, text: str) -> list[str]:
        """The units of a text that become <unk>."""
        features = text.partition(FEATURES)[2] if self.features else ""
        lost = []
        if self.text.special.unk is not None and isinstance(self.text, Vocabulary):
            lost = [unit for unit in self.units(text) if unit not in self.text.ids]
        return lost + [each for each in features_of(features) if each not in self.feature_ids]

    def decode(self, ids: Ids, *, copies: Sequence[str] | None = None) -> str:
        """Ids to text, without the tokens that are none of it; `copies` stand for each <unk>."""
        numbers = np.asarray(ids, np.int64) - len(OWN)
        numbers = numbers[(numbers >= 0) & (numbers < len(self.text))]
        text = self.text.decode(numbers)
        if copies is not None and isinstance(self.text, Vocabulary):
            rest, unk = iter(copies), self.text.special.unk
            pieces = zip(numbers, self.text.pieces(numbers), strict=True)
            text = self.text.join([next(rest) if i == unk else piece for i, piece in pieces])
        return normalized(text, "NFC") if self.normalization == "NFD" else text

    def pieces(self, ids: Ids) -> list[str]:
        """What each id stands for."""
        return [self.table[i] for i in np.asarray(ids).tolist()]


def normalized(text: str, form: Normalization) -> str:
    """A text in a normalisation form."""
    return text if form == "none" else unicodedata.normalize(form, text)


def features_of(column: str) -> list[str]:
    """The symbols of a column of features, with blanks or semicolons between them."""
    return column.replace(";", " ").split()


def vocabulary_of(
    texts: Sequence[str], tokens: TokensName, min_count: int = 1, *, size: int | None = None
) -> Vocabulary | BytePairs:
    """The vocabulary of texts: <unk>, then units by their frequency; bytes and pairs need neither.

    Args:
        texts: normalised, of the training split.
        tokens: what their tokens are.
        min_count: units that are rarer become <unk>.
        size: the most byte pairs; None: by how much text there is.

    Raises:
        UsageError: where nothing is left.

    """
    if tokens == "bytes":
        return Vocabulary("byte")
    if tokens == "bpe":
        return byte_pairs(texts, size or usual_size(sum(map(len, texts))))
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(units_of(text, UNITS[tokens]))
    return frequent(counts, tokens, min_count)


def frequent(counts: Counter[str], tokens: TokensName, min_count: int) -> Vocabulary:
    """<unk>, then what is there `min_count` times. Raises `UsageError` where nothing is."""
    unit = UNITS[tokens]
    counts.pop(UNKNOWN, None)
    kept = [each for each, count in counts.items() if count >= min_count]
    if not kept:
        raise UsageError(
            f"no {unit} stands {min_count} times in the training rows; use a lower min_count",
            fields=("data.min_count",),
        )
    table = sorted(kept, key=lambda each: (-counts[each], each))
    return Vocabulary(unit, (UNKNOWN, *table), Special(unk=0))
