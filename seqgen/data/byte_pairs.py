"""Byte pairs: bytes, and pairs of tokens that stand together often, merged again and again
(Sennrich et al. 2016, over bytes as Radford et al. 2019 have it), by the library `tokenizers`.

Every text has tokens, and comes back from them. Within merges a byte is a printable character, as
the library has it: a blank is Ġ.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seqgen.data.tokenizer import NO_SPECIAL, Ids, UnknownSymbol
from seqgen.errors import SeqgenError
from seqgen.types import Special

PRINTED = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
"""Bytes that stand for themselves; the others are the characters from U+0100 on."""

OTHERS = [byte for byte in range(256) if byte not in PRINTED]

BYTES = {chr(byte): byte for byte in PRINTED} | {
    chr(256 + i): byte for i, byte in enumerate(OTHERS)
}
"""Printable character -> byte."""

ALPHABET = tuple(sorted(BYTES))
"""The tokens 0 to 255."""

MOST, TEXT_PER_TOKEN = 8_000, 50
"""A vocabulary has so many tokens, or beside the bytes one for so many characters, if fewer."""


@dataclass(frozen=True)
class BytePairs:
    """A tokenizer of byte pairs: the bytes, then what each merge makes.

    Args:
        merges: two tokens with a blank between them, the first merge first.

    Raises:
        ValueError: for what is no merge of tokens that are there.

    """

    merges: tuple[str, ...]

    def __post_init__(self) -> None:
        known = set(ALPHABET)
        for number, merge in enumerate(self.merges, start=1):
            parts = merge.split(" ")
            if len(parts) != 2 or not known.issuperset(parts):
                raise ValueError(f"merge {number}, {merge!r}, is not of two tokens before it")
            known.add("".join(parts))

    @property
    def special(self) -> Special:
        """None: every text has tokens."""
        return NO_SPECIAL

    @property
    def unit(self) -> str:
        """What a token is."""
        return "byte pair"

    @cached_property
    def table(self) -> tuple[str, ...]:
        """All tokens, in the order of their ids."""
        made = (merge.replace(" ", "") for merge in self.merges)
        return tuple(dict.fromkeys([*ALPHABET, *made]))

    @cached_property
    def octets(self) -> tuple[bytes, ...]:
        """The bytes of each token."""
        return tuple(bytes(map(BYTES.__getitem__, token)) for token in self.table)

    @cached_property
    def library(self) -> Any:
        """The library's own tokenizer. Raises `SeqgenError` where that is not installed."""
        tokenizers = imported()
        ids = {token: i for i, token in enumerate(self.table)}
        merges = [tuple(merge.split(" ")) for merge in self.merges]
        return untrained(tokenizers, tokenizers.models.BPE(ids, merges))

    def __len__(self) -> int:
        return len(self.table)

    def encode(self, text: str) -> list[int]:
        """Text to ids. Raises `UnknownSymbol` for half a surrogate pair, which no text has."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text. Raises as `encode`."""
        for text in texts:
            check_text(text)
        return [each.ids for each in self.library.encode_batch_fast(list(texts))]

    def decode(self, ids: Ids) -> str:
        """Ids to text; bytes that make no character are U+FFFD."""
        return b"".join(self.octets[i] for i in np.asarray(ids).tolist()).decode(errors="replace")

    def pieces(self, ids: Ids) -> list[str]:
        """The text of each id; of parts of a character the bytes in hexadecimal."""
        numbers = np.asarray(ids).tolist()
        return [self.octets[i].decode(errors="backslashreplace") for i in numbers]


def usual_size(characters: int) -> int:
    """Tokens of a vocabulary for so much text."""
    return min(MOST, len(ALPHABET) + characters // TEXT_PER_TOKEN)


def byte_pairs(texts: Iterable[str], size: int) -> BytePairs:
    """The byte pairs of texts, `size` at most, bytes with them: nothing else decides.

    Raises:
        SeqgenError: where the library is not installed, and (`UnknownSymbol`) as `encode`.

    """
    tokenizers = imported()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=[*ALPHABET]
    )
    found = untrained(tokenizers, tokenizers.models.BPE())
    found.train_from_iterator(map(check_text, texts), trainer)
    merges = json.loads(found.to_str())["model"]["merges"]
    return BytePairs(tuple(" ".join(merge) for merge in merges))


def untrained(tokenizers: Any, model: Any) -> Any:
    """The library's tokenizer of a model: words are cut as GPT-2 does, and nothing is added."""
    found = tokenizers.Tokenizer(model)
    found.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return found


def check_text(text: str) -> str:
    """A text. Raises `UnknownSymbol` for half a surrogate pair, which the library cannot take."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnknownSymbol("character", text[error.start], error.start + 1) from error
    return text


def imported() -> Any:
    """The library. Raises `SeqgenError` where it is not installed."""
    try:
        import tokenizers
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise SeqgenError(
            "byte pairs need the package tokenizers: pip install 'seqgen[data]'"
        ) from error
    return tokenizers
