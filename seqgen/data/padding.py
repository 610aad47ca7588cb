"""How questions and answers become rows of ids, and come back: a padding scheme."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, Int32
from numpy.typing import ArrayLike

from seqgen.data.pairs import Gold, Pair
from seqgen.data.ragged import Ragged, character_ids, character_table, filled, ragged
from seqgen.data.tokenizer import BLANK, DELIMITER, Tokenizer, UnknownSymbol, Vocabulary
from seqgen.errors import UsageError
from seqgen.types import Batch, Special

Scheme = Literal["book", "masked"]
"""The book's rows have a fixed width, blanks are tokens; masked rows have a length and an end."""


@dataclass(frozen=True)
class Padding:
    """How text becomes rows of ids.

    Args:
        kind: "book" (fixed width, blanks are tokens) or "masked" (rows have lengths and an end).
        reverse: questions are read backwards: the book's whole field, or the masked row's tokens.
        question_width: tokens of a question; a longer one fits a masked row only. 1: rows are as
            wide as the power of two that holds them, since each width is a compilation.
        answer_width: most tokens of an answer.

    """

    kind: Scheme
    reverse: bool
    question_width: int
    answer_width: int

    def __post_init__(self) -> None:
        widths = self.question_width, self.answer_width
        if min(widths) < 1:
            raise ValueError(f"widths must be 1 or more, not {widths[0]} and {widths[1]}")

    def end(self, special: Special) -> int | None:
        """The id at which an answer ends; None in the book's scheme, whose answers fill a field."""
        return special.eos if self.kind == "masked" else None


def pair_vocabulary(characters: str, kind: Scheme) -> Vocabulary:
    """The characters of questions and answers in the order of their ids.

    `_` opens every answer, and closes it in the masked scheme: so both have the book's vocabulary
    and its parameter counts. What fills rows up is the blank in the book's scheme, and id 0 in the
    masked one.
    """
    table = tuple(characters)
    bos = table.index(DELIMITER) if DELIMITER in table else None
    blank = table.index(BLANK) if BLANK in table else None
    return Vocabulary("character", table, Special(blank if kind == "book" else 0, bos, bos))


def text_ids(texts: Sequence[str], tokenizer: Tokenizer, width: int | None = None) -> Ragged:
    """The ids of each text.

    Raises:
        UsageError: for a text of more than `width` tokens, and (`UnknownSymbol`) for one that the
            tokenizer cannot encode.

    """
    rows = _characters(texts, tokenizer)
    if rows is None:
        rows = ragged([_encoded(text, tokenizer) for text in texts])
    for row in np.flatnonzero(rows.lengths > width)[:1] if width is not None else ():
        unit = getattr(tokenizer, "unit", "token")
        raise UsageError(
            f"{texts[row]!r} has {rows.lengths[row]} {unit}s, and there is room for {width}"
        )
    return rows


def _encoded(text: str, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(text)
    except UnknownSymbol as error:
        raise error.shown_in(text) from None


def _characters(texts: Sequence[str], tokenizer: Tokenizer) -> Ragged | None:
    """Characters all at once, many times as fast; None for other tokens, and unknown ones."""
    if not isinstance(tokenizer, Vocabulary) or tokenizer.unit != "character":
        return None
    rows = character_ids(texts, character_table(tokenizer.ids.items(), -1))
    return None if (rows.ids < 0).any() else rows


def reading_order(weights: ArrayLike, length: ArrayLike | None, padding: Padding) -> np.ndarray:
    """Undo (or do) the reversal along the last axis S.

    Args:
        weights: [B, ..., S] with lengths [B], or one [..., S] with a number.
        length: how many positions are no padding; None where all are read.
        padding: says whether there is a reversal.

    """
    weights = np.asarray(weights)
    if not padding.reverse:
        return weights
    if length is None:
        return weights[..., ::-1]
    length = np.asarray(length)
    length = length.reshape(length.shape + (1,) * (weights.ndim - length.ndim))
    position = np.arange(weights.shape[-1])
    order = np.where(position < length, length - 1 - position, position)
    return np.take_along_axis(weights, order, axis=-1)


def encode_questions(
    questions: Sequence[str], tokenizer: Tokenizer, padding: Padding
) -> tuple[Int32[np.ndarray, "N S"], Int32[np.ndarray, " N"] | None]:
    """Questions to source and length; a length of None says that every row is full.

    Raises:
        UsageError: for an empty question, and what the padding or the tokenizer cannot hold.

    """
    for number, question in enumerate(questions, start=1):
        if not question.strip():
            raise UsageError(f"question {number} is empty")
    width = padding.question_width
    if padding.kind == "book":
        source = filled(*_fields(questions, tokenizer, width))
        return np.ascontiguousarray(reading_order(source, None, padding)), None
    return masked_source(text_ids(questions, tokenizer), padding, _needed(tokenizer, "pad"))


def masked_source(
    rows: Ragged, padding: Padding, pad: int
) -> tuple[Int32[np.ndarray, "N S"], Int32[np.ndarray, " N"]]:
    """Masked rows of questions, filled up, and their lengths."""
    length, width = rows.lengths.astype(np.int32), padding.question_width
    longest = int(length.max(initial=width))
    longest = 1 << (longest - 1).bit_length() if width == 1 else longest
    source = filled(rows, longest, pad)
    return np.ascontiguousarray(reading_order(source, length, padding)), length


def encode(
    pairs: Sequence[Pair],
    tokenizer: Tokenizer,
    padding: Padding,
    *,
    source_tokenizer: Tokenizer | None = None,
) -> Batch:
    """Pairs to a batch for teacher forcing.

    The bos opens the inputs; in the masked scheme, the eos closes the targets.

    Args:
        pairs: questions and answers.
        tokenizer: what the answers' ids stand for.
        padding: how rows are filled up.
        source_tokenizer: the same of the questions; None: `tokenizer`.

    Raises:
        UsageError: as `encode_questions`.

    """
    questions = [question for question, _ in pairs]
    source, length = encode_questions(questions, source_tokenizer or tokenizer, padding)
    answers, width = [answer for _, answer in pairs], padding.answer_width
    bos = _needed(tokenizer, "bos")
    if padding.kind == "book":
        targets = filled(*_fields(answers, tokenizer, width))
        inputs = np.insert(targets, 0, bos, axis=1)[:, :-1]
        return Batch(source, length, inputs, targets, np.ones(targets.shape, bool))
    rows = text_ids(answers, tokenizer, width)
    return masked_batch(source, length, rows, padding=padding, tokenizer=tokenizer)


def masked_batch(
    source: Int32[np.ndarray, "N S"],
    length: Int32[np.ndarray, " N"] | None,
    answers: Ragged,
    *,
    padding: Padding,
    tokenizer: Tokenizer,
) -> Batch:
    """Masked rows of questions with their answers.

    Args:
        source: the questions.
        length: their lengths.
        answers: without bos and eos.
        padding: how wide they are.
        tokenizer: of the answers.

    """
    width = padding.answer_width
    targets = filled(answers, width + 1, _needed(tokenizer, "pad"))
    inputs = np.insert(targets, 0, _needed(tokenizer, "bos"), axis=1)[:, :-1]
    targets[np.arange(len(targets)), answers.lengths] = _needed(tokenizer, "eos")
    mask = np.arange(width + 1) <= answers.lengths[:, None]
    return Batch(source, length, inputs, targets, mask)


def answer_lengths(
    tokens: Int[np.ndarray, "*N T"], tokenizer: Tokenizer, padding: Padding
) -> Int[np.ndarray, "*N"]:
    """How many ids of generated answers stand before what ends them or fills their fields up."""
    if (end := padding.end(tokenizer.special)) is not None:
        return np.where((tokens == end).any(-1), (tokens == end).argmax(-1), tokens.shape[-1])
    text = tokens != (-1 if tokenizer.special.pad is None else tokenizer.special.pad)
    return np.asarray(np.max(text * np.arange(1, tokens.shape[-1] + 1), axis=-1, initial=0))


def answer_ids(tokens: ArrayLike, tokenizer: Tokenizer, padding: Padding) -> np.ndarray:
    """The ids of one generated answer without what ends it or fills its field up."""
    tokens = np.asarray(tokens)
    return tokens[: answer_lengths(tokens, tokenizer, padding)]


def render(tokens: ArrayLike, tokenizer: Tokenizer, padding: Padding) -> str:
    """The ids of one generated answer back to text."""
    return tokenizer.decode(answer_ids(tokens, tokenizer, padding))


def prefix_ids(
    text: str, tokenizer: Tokenizer, padding: Padding, limit: int
) -> Int32[np.ndarray, " T"]:
    """The ids that answers begin with, and -1 for the rest of at most `limit` tokens.

    Args:
        text: what they begin with.
        tokenizer: what the answers' ids stand for.
        padding: how long they may be, and what ends them.
        limit: the most tokens of an answer.

    Raises:
        UsageError: for a text that no answer can begin with.

    """
    try:
        ids = text_ids([text], tokenizer).ids
        special, room = tokenizer.special, padding.answer_width
        if not 1 <= len(ids) <= room:
            raise UsageError(f"it has {len(ids)} tokens, and there is room for 1 to {room}")
        for word, banned in (("unknown", special.unk), ("the end", padding.end(special))):
            if banned is not None and banned in ids:
                raise UsageError(f"its token {ids.tolist().index(banned) + 1} is {word}")
    except UsageError as error:
        line = f"no answer begins with prefix {text!r}: {error}"
        raise UsageError(line, fields=("prefix",)) from error
    return np.pad(ids, (0, limit - len(ids)), constant_values=-1)


def gold_targets(gold: Gold, padding: Padding) -> Gold:
    """An answer's gold over all its valid targets.

    An `end` closes it in the masked scheme, `blank`s fill its field in the book's.
    """
    if padding.kind == "masked":
        return [*gold, {"end": frozenset()}]
    return gold + [{"blank": frozenset()}] * (padding.answer_width - len(gold))


def _fields(texts: Sequence[str], tokenizer: Tokenizer, width: int) -> tuple[Ragged, int, int]:
    """The book's fields, as `filled` takes them. Raises `UnknownSymbol` where no blank fills."""
    rows, pad = text_ids(texts, tokenizer, width), tokenizer.special.pad
    for row in np.flatnonzero(rows.lengths < width)[:1] if pad is None else ():
        length = int(rows.lengths[row])
        shown = texts[row] + BLANK * (width - length)
        raise UnknownSymbol("character", BLANK, length + 1).shown_in(shown)
    return rows, width, 0 if pad is None else pad


def _needed(tokenizer: Tokenizer, name: Literal["pad", "bos", "eos"]) -> int:
    """A special token's id. Raises `UsageError` where the tokenizer has none."""
    if (found := getattr(tokenizer.special, name)) is None:
        raise UsageError(f"questions and answers need a token as {name}, and there is none")
    return found
