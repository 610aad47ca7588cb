"""All that a model says of a question: texts, their tokens' log p, and where it looked."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from seqgen.data.padding import answer_ids, reading_order
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.decoding.compiled import Answers
from seqgen.errors import UsageError
from seqgen.families.pair_tokens import Tokens
from seqgen.interop.attention import Attention, on_source

Maps = Mapping[str, Float[np.ndarray, "K T _"]]
"""Weights by their place, those of the source in reading order; rows are tokens."""


class Answer(NamedTuple):
    """One answer to a question; `tokens` are all that were chosen, what ends it with them."""

    text: str
    ids: Int[np.ndarray, " T"]
    tokens: list[str]
    logprobs: Float[np.ndarray, " T"]
    logprob: float
    maps: Maps


class Asked(NamedTuple):
    """A question, its pieces in reading order, those that are read as <unk>, and its answers."""

    question: str
    source: list[str]
    unknown: list[str]
    answers: list[Answer]


def asked(questions: Sequence[str], made: Answers, tokens: Tokens) -> list[Asked]:
    """What a model made of questions, in text and pieces."""
    return [
        Asked(question, pieces, unknown_in(question, tokens), _answers(row, len(pieces), tokens))
        for i, question in enumerate(questions)
        for pieces in [tokens.source.pieces(tokens.source.encode(question))]
        for row in [
            Answers(*(part[i] for part in made[:3]), {n: m[i] for n, m in made.aux.items()})
        ]
    ]


def _answers(row: Answers, pieces: int, tokens: Tokens) -> list[Answer]:
    """The answers to one question of so many pieces."""
    found = []
    for w, each in enumerate(row.tokens):
        ids = each[each >= 0]
        maps = {
            name: _shown(name, leaf[w, : len(ids)], pieces, tokens)
            for name, leaf in row.aux.items()
        }
        logprobs = row.logprobs[w, : len(ids)]
        text = tokens.tokenizer.decode(answer_ids(ids, tokens.tokenizer, tokens.padding))
        named = tokens.tokenizer.pieces(ids)
        found.append(Answer(text, ids, named, logprobs, float(row.logprob[w]), maps))
    return found


def _shown(name: str, weights: Any, pieces: int, tokens: Tokens) -> Float[np.ndarray, "K T _"]:
    """A map as it is shown: heads first, and the source without padding."""
    if on_source(name):
        read = weights.shape[-1] if tokens.padding.kind == "book" else pieces
        weights = reading_order(weights, np.int32(read), tokens.padding)[..., :pieces]
    return weights.swapaxes(0, 1)


def attention_of(each: Asked, answer: Answer, tokens: Tokens) -> Attention:
    """Where each piece of the answer's text looked."""
    ids = answer_ids(answer.ids, tokens.tokenizer, tokens.padding)
    maps = {name: weights[:, : len(ids)] for name, weights in answer.maps.items()}
    return Attention(
        each.question,
        answer.text,
        maps.pop("attention"),
        each.source,
        answer.tokens[: len(ids)],
        answer.logprob,
        maps,
        each.unknown,
    )


def unknown_in(question: str, tokens: Tokens) -> list[str]:
    """The pieces of a question that are read as <unk>."""
    source = tokens.source
    return source.unknown(question) if isinstance(source, PairTokenizer) else []


def check_copies(tokens: Tokens) -> None:
    """Raises `UsageError` where answers have no <unk>, or a source no pieces to put there."""
    why = None
    if not isinstance(tokens.tokenizer, PairTokenizer) or tokens.tokenizer.special.unk is None:
        why = "its answers have no <unk>"
    elif not isinstance(tokens.source, PairTokenizer) or tokens.source.special.unk is None:
        why = "pieces of its source are no words, symbols or characters"
    if why is not None:
        raise UsageError(f"there is nothing to replace: {why}", fields=("replace_unknown",))


def replaced(each: Asked, answer: Answer, tokens: Tokens) -> str:
    """The answer's text, each <unk> in it the source piece with most attention at that token.

    Luong et al. 2015, Addressing the rare word problem, §3.3; Jean et al. 2015, §3.3.
    """
    assert isinstance(tokens.tokenizer, PairTokenizer)
    assert isinstance(tokens.source, PairTokenizer)
    ids, units = answer.ids, tokens.source.units(each.question)
    if not units:  # there are features alone
        return answer.text
    weights = answer.maps["attention"].mean(0)[:, : len(units)]
    places = np.flatnonzero(ids == tokens.tokenizer.special.unk)
    return tokens.tokenizer.decode(ids, copies=[units[weights[t].argmax()] for t in places])
