"""What a model answers, free running, and its teacher-forced loss: many questions at a time."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Int

from seqgen.data.padding import Padding
from seqgen.data.tokenizer import Tokenizer
from seqgen.decoding.generate import generate
from seqgen.evaluation.scores import Scores, score
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


@fixed()
@partial(jax.jit, static_argnums=0)
def row_losses(model: Model, params: Params, batches: Batch) -> tuple[Any, Any]:
    """-log p in nats of each row's targets [count, block], and how many there are."""

    def one(batch: Batch) -> tuple[Any, Any]:
        _, out = model.apply(params, batch, model.initial_state(params, len(batch.inputs)), None)
        losses = optax.softmax_cross_entropy_with_integer_labels(out.logits, batch.targets)
        return jnp.sum(losses, axis=1, where=batch.mask), jnp.sum(batch.mask, axis=1)

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
