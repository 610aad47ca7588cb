"""How good a model is: exact match, token accuracy (both free running) and teacher-forced loss."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from seqgen.data.padding import Padding
from seqgen.data.tokenizer import Tokenizer
from seqgen.decoding.generate import generate
from seqgen.nn.switches import fixed
from seqgen.training.objective import cross_entropy
from seqgen.types import Batch, Model, Params

BLOCK_TOKENS = 8192
"""Source tokens decoded at a time: wide enough for the products, small enough that a memory stays
in the cache.
"""


def block_rows(width: int) -> int:
    """How many questions of `width` tokens are decoded at a time at most: a power of two."""
    return 1 << max(BLOCK_TOKENS // width, 1).bit_length() - 1


def blocking(rows: int, width: int) -> tuple[int, int]:
    """How many blocks, and of how many questions of `width` tokens, hold `rows`: all alike, so
    that few are filled up.
    """
    count = -(-rows // block_rows(width))
    return count, -(-rows // count)


class Scores(NamedTuple):
    """Exact match and token accuracy are fractions of 1; `loss` is in nats per token."""

    exact_match: float
    token_accuracy: float
    loss: float
    examples: int


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


def token_accuracy(
    tokens: Int[np.ndarray, "N T"], targets: Int[np.ndarray, "N T"], scored: Bool[np.ndarray, "N T"]
) -> float:
    """The fraction of scored positions at which the free-running guess is right; a missing
    position is wrong.
    """
    return float(np.sum((tokens == targets) & scored) / np.sum(scored))


def blocks(batch: Batch, count: int, block: int) -> Batch:
    """Rows [N, ...] as [count, block, ...], filled up with copies of row 0 that no target
    counts.
    """
    rows = len(batch.source)
    index = np.where(np.arange(count * block) < rows, np.arange(count * block), 0)
    filled: Batch = jax.tree.map(lambda leaf: np.asarray(leaf)[index], batch)
    filled = filled._replace(mask=filled.mask & (np.arange(count * block) < rows)[:, None])
    return jax.tree.map(lambda leaf: leaf.reshape(count, block, *leaf.shape[1:]), filled)


class Decoded(NamedTuple):
    """Greedy tokens of blocks, and the teacher-forced loss's sum and count of each."""

    tokens: Int[Any, "count block T"]
    sums: tuple[Any, Any]


@fixed()
@partial(jax.jit, static_argnums=(0, 1, 2))
def decode_blocks(
    model: Model, end: int | None, limit: int, params: Params, batches: Batch
) -> Decoded:
    """Answers and loss, block by block.

    Args:
        model: what answers.
        end: the token that ends an answer.
        limit: the most tokens of one, however long the true one is.
        params: its weights.
        batches: what `blocks` gives.

    """

    def one(batch: Batch) -> Decoded:
        start = model.start(params, batch.source, batch.length, capacity=limit)
        made = generate(partial(model.step, params), start, limit=limit, end=end)
        _, out = model.apply(params, batch, model.initial_state(params, len(batch.inputs)), None)
        return Decoded(made.tokens, cross_entropy(out.logits, batch.targets, batch.mask))

    return jax.lax.map(one, batches)


def gathered(
    made: Sequence[Decoded], places: Sequence[Int[np.ndarray, " _"]]
) -> tuple[Int[np.ndarray, "N T"], float]:
    """The tokens of all rows, in their order, and the loss in nats per token.

    Args:
        made: of one bucket of rows after another.
        places: the rows of each bucket.

    """
    parts = [
        np.asarray(each.tokens).reshape(-1, each.tokens.shape[-1])[: len(rows)]
        for each, rows in zip(made, places, strict=True)
    ]
    order = np.argsort(np.concatenate(places), kind="stable")
    sums = [[np.asarray(part, np.float64).sum() for part in each.sums] for each in made]
    total, valid = np.sum(sums, axis=0)
    return np.concatenate(parts)[order], float(total / valid)


def evaluate(
    model: Model,
    params: Params,
    batch: Batch,
    *,
    tokenizer: Tokenizer,
    padding: Padding,
) -> Scores:
    """Scores over all rows.

    Args:
        model: what answers.
        params: its weights.
        batch: questions and true answers.
        tokenizer: what the answers' ids stand for.
        padding: how they are padded.

    """
    shape = blocking(len(batch.source), batch.source.shape[1])
    end, limit = padding.end(tokenizer.special), batch.targets.shape[1]
    made = decode_blocks(model, end, limit, params, blocks(batch, *shape))
    tokens, loss = gathered([made], [np.arange(len(batch.source))])
    return score(tokens, loss, batch, tokenizer=tokenizer, padding=padding)


def score(
    tokens: Int[np.ndarray, "N T"],
    loss: float,
    batch: Batch,
    *,
    tokenizer: Tokenizer,
    padding: Padding,
    sources: Sequence[str] | None = None,
) -> Scores:
    """Scores of the answers to a batch.

    Args:
        tokens: the answers.
        loss: teacher-forced, in nats per token.
        batch: questions and true answers.
        tokenizer: what the answers' ids stand for.
        padding: how they are padded.
        sources: the text of each row's source, where rows of one source are one example, whose
            answer is right if it is that of any of them; None: every row is an example.

    """
    targets, scored = np.asarray(batch.targets), scored_positions(batch, tokenizer, padding)
    right = exact_match(tokens, targets, np.asarray(batch.mask))
    accuracy = token_accuracy(tokens, targets, scored)
    if sources is not None:
        _, example = np.unique(np.asarray(sources, object), return_inverse=True)
        right = np.bincount(example, weights=right) > 0
    return Scores(float(np.mean(right)), accuracy, loss, len(right))
