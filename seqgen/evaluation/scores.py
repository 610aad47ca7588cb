"""How good answers are: how many are right, and how many edits are between them and the truth."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike

from seqgen.data.padding import Padding, answer_lengths
from seqgen.data.ragged import Ragged
from seqgen.data.tokenizer import Tokenizer
from seqgen.evaluation.edit_distance import edit_distance, words_of
from seqgen.evaluation.outcomes import Statistic
from seqgen.types import Batch

UNMET = -2
"""In the place of a true token that is <unk>: no answer has it, for it stands for other text."""


class Scores(NamedTuple):
    """`exact_match` and `token_accuracy` are fractions of 1; `loss` is in nats per token.

    An <unk> is never right: it stands for other text.

    The error rates of tokens and words are edits by what the references have of them, so they can
    be above 1; of symbols, such as phonemes, each is a word. `sequence_error_rate` is the fraction
    of examples that are not right.
    """

    exact_match: float
    token_accuracy: float
    loss: float
    examples: int
    token_error_rate: float
    word_error_rate: float
    sequence_error_rate: float

    @classmethod
    def of(cls, statistics: dict[str, Statistic], loss: float) -> "Scores":
        """The values of what `statistics_of` gives; the loss is that of an evaluation."""
        return cls(
            exact_match=statistics["exact_match"].value,
            token_accuracy=statistics["token_accuracy"].value,
            loss=loss,
            examples=len(statistics["exact_match"].parts),
            token_error_rate=statistics["token_error_rate"].value,
            word_error_rate=statistics["word_error_rate"].value,
            sequence_error_rate=statistics["sequence_error_rate"].value,
        )


def exact_match(
    tokens: Int[np.ndarray, "N T"], targets: Int[np.ndarray, "N T"], mask: Bool[np.ndarray, "N T"]
) -> Bool[np.ndarray, " N"]:
    """Rows whose every valid target is met, the end symbol (masked padding) or the blanks (book
    padding) with them.
    """
    return np.all((tokens == targets) | ~mask, axis=1)


def scored_positions(
    batch: Batch, tokenizer: Tokenizer, padding: Padding
) -> Bool[np.ndarray, "N T"]:
    """The true answer's positions and the one that ends it: the end symbol, or the first blank
    where the field has one.
    """
    if padding.kind == "masked":
        return np.asarray(batch.mask)
    blank = -1 if tokenizer.special.pad is None else tokenizer.special.pad
    answer = np.sum(np.asarray(batch.targets) != blank, axis=1, keepdims=True)
    return np.arange(batch.targets.shape[1]) <= answer


def best_references(
    example: Int[np.ndarray, " N"],
    distance: Int[np.ndarray, " N"],
    length: Int[np.ndarray, " N"],
) -> Float[np.ndarray, "E 2"]:
    """Edits and length of each example's best reference, as CMUdict's published error rates take
    it: the one with the fewest edits, and of equal ones the longest, of which they are least.
    """
    order = np.lexsort((-length, distance, example))
    best = order[np.unique(example[order], return_index=True)[1]]
    return np.stack([distance[best], length[best]], axis=1).astype(np.float64)


def texts_of(tokens: Int[np.ndarray, "N T"], tokenizer: Tokenizer, padding: Padding) -> list[str]:
    """The texts of rows of ids."""
    lengths = answer_lengths(tokens, tokenizer, padding).tolist()
    return [tokenizer.decode(row[:end]) for row, end in zip(tokens, lengths, strict=True)]


def answers_of(tokens: Int[np.ndarray, "N T"], tokenizer: Tokenizer, padding: Padding) -> Ragged:
    """Rows of ids without what ends them or fills them up."""
    lengths = answer_lengths(tokens, tokenizer, padding)
    return Ragged(tokens[np.arange(tokens.shape[1]) < lengths[:, None]], lengths)


def examples_of(rows: int, sources: Sequence[str] | None) -> Int[np.ndarray, " N"]:
    """The example that each row is of: rows of one source are one, or each row is its own."""
    if sources is None:
        return np.arange(rows)
    return np.unique(np.asarray(sources, object), return_inverse=True)[1]


def statistics_of(
    tokens: Int[np.ndarray, "N T"],
    batch: Batch,
    *,
    tokenizer: Tokenizer,
    padding: Padding,
    truths: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
) -> dict[str, Statistic]:
    """What each example adds to the scores of the answers to a batch, but for the loss.

    Args:
        tokens: the answers.
        batch: questions and true answers.
        tokenizer: what the answers' ids stand for.
        padding: how they are padded.
        truths: the true answers as text, with words that are no token of their own; None: as
            their ids are decoded.
        sources: the text of each row's source, where rows of one source are one example: it is
            right if one of them is met, and has the edits of the best; None: every row is one.

    """
    targets, scored = np.asarray(batch.targets), scored_positions(batch, tokenizer, padding)
    texts = texts_of(targets, tokenizer, padding) if truths is None else truths
    if tokenizer.special.unk is not None:
        targets = np.where(targets == tokenizer.special.unk, UNMET, targets)
    example = examples_of(len(tokens), sources)
    met = np.bincount(example, weights=exact_match(tokens, targets, np.asarray(batch.mask))) > 0
    hits = [np.sum((tokens == targets) & scored, axis=1), np.sum(scored, axis=1)]
    guess, truth = (answers_of(rows, tokenizer, padding) for rows in (tokens, targets))
    said, words = words_of(texts_of(tokens, tokenizer, padding), texts)
    edits = {
        "token_error_rate": (edit_distance(guess, truth), truth.lengths),
        "word_error_rate": (edit_distance(said, words), words.lengths),
    }
    return {
        "exact_match": Statistic(np.stack([met, np.ones(len(met))], axis=1), maximise=True),
        "token_accuracy": Statistic(summed(example, hits), maximise=True),
        **{name: Statistic(best_references(example, *each)) for name, each in edits.items()},
        "sequence_error_rate": Statistic(np.stack([~met, np.ones(len(met))], axis=1)),
    }


def summed(
    example: Int[np.ndarray, " N"], columns: Sequence[ArrayLike]
) -> Float[np.ndarray, "E K"]:
    """Columns summed over the rows of each example."""
    return np.stack([np.bincount(example, weights=column) for column in columns], axis=1)


def score(
    tokens: Int[np.ndarray, "N T"],
    loss: float,
    batch: Batch,
    *,
    tokenizer: Tokenizer,
    padding: Padding,
    truths: Sequence[str] | None = None,
    sources: Sequence[str] | None = None,
) -> Scores:
    """Scores of the answers to a batch.

    Args:
        tokens: the answers.
        loss: teacher-forced, in nats per token.
        batch: questions and true answers.
        tokenizer: what the answers' ids stand for.
        padding: how they are padded.
        truths: as `statistics_of` takes them.
        sources: the same.

    """
    options: dict[str, Any] = {"tokenizer": tokenizer, "padding": padding}
    return Scores.of(statistics_of(tokens, batch, truths=truths, sources=sources, **options), loss)
