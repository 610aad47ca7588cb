"""How good a model is: exact match, token accuracy (both free running) and the teacher-forced loss."""

from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from seqgen.decoding import generate
from seqgen.tasks.task import Layout
from seqgen.tasks.vocabulary import BLANK, Vocabulary
from seqgen.training.objective import cross_entropy
from seqgen.types import Batch, Config, Params

BLOCK_TOKENS = 8192
"""Source tokens decoded at a time: wide enough for the products, small enough that a memory stays in the cache."""


def block_rows(width: int) -> int:
    """At most so many questions of `width` tokens are decoded at a time: a power of two."""
    return 1 << max(BLOCK_TOKENS // width, 1).bit_length() - 1


def blocking(rows: int, width: int) -> tuple[int, int]:
    """How many blocks, and of how many questions of `width` tokens, hold `rows`: all alike, so that few are filled up."""
    count = -(-rows // block_rows(width))
    return count, -(-rows // count)


class Scores(NamedTuple):
    """Exact match and token accuracy are fractions of 1; `loss` is in nats a token."""

    exact_match: float
    token_accuracy: float
    loss: float
    examples: int


def exact_match(
    tokens: Int[np.ndarray, "N T"], targets: Int[np.ndarray, "N T"], mask: Bool[np.ndarray, "N T"]
) -> Bool[np.ndarray, " N"]:
    """Rows whose every valid target is met, the end symbol (masked layout) or the blanks (book layout) with them."""
    return np.all((tokens == targets) | ~mask, axis=1)


def scored_positions(batch: Batch, vocabulary: Vocabulary, layout: Layout) -> Bool[np.ndarray, "N T"]:
    """The true answer's positions and the one that ends it: the end symbol, or the first blank where the field has one."""
    if layout.kind == "masked":
        return np.asarray(batch.mask)
    answer = np.sum(np.asarray(batch.targets) != vocabulary.ids.get(BLANK, -1), axis=1, keepdims=True)
    return np.arange(batch.targets.shape[1]) <= answer


def token_accuracy(tokens: Int[np.ndarray, "N T"], targets: Int[np.ndarray, "N T"], scored: Bool[np.ndarray, "N T"]) -> float:
    """The fraction of scored positions at which the free-running guess is right; a missing position is wrong."""
    return float(np.sum((tokens == targets) & scored) / np.sum(scored))


def blocks(batch: Batch, count: int, block: int) -> Batch:
    """Rows [N, ...] as [count, block, ...], filled up with copies of row 0 that no target counts."""
    rows = len(batch.source)
    index = np.where(np.arange(count * block) < rows, np.arange(count * block), 0)
    filled: Batch = jax.tree.map(lambda leaf: np.asarray(leaf)[index], batch)
    filled = filled._replace(mask=filled.mask & (np.arange(count * block) < rows)[:, None])
    return jax.tree.map(lambda leaf: leaf.reshape(count, block, *leaf.shape[1:]), filled)


@partial(jax.jit, static_argnums=(0, 1, 2))
def decode_blocks(model: ModuleType, cfg: Config, end: int | None, params: Params, batches: Batch):
    """Greedy tokens [count, block, T] and the teacher-forced loss's sum and count, block after block in one program."""

    def one(batch: Batch):
        start = model.start(cfg, params, batch.source, batch.length)
        made = generate(partial(model.step, cfg, params), start, limit=batch.targets.shape[1], end=end)
        _, out = model.apply(cfg, params, batch, ())
        return made.tokens, cross_entropy(out.logits, batch.targets, batch.mask)

    return jax.lax.map(one, batches)


def evaluate(
    model: ModuleType, cfg: Config, params: Params, batch: Batch, vocabulary: Vocabulary, layout: Layout, *, at_least: int = 0
) -> tuple[Scores, Int[np.ndarray, "N T"]]:
    """Scores over all rows, and the tokens generated. Splits padded to `at_least` so many rows share a program."""
    shape = blocking(max(len(batch.source), at_least), batch.source.shape[1])
    made, sums = decode_blocks(model, cfg, end_symbol(cfg, layout), params, blocks(batch, *shape))
    return score(made, sums, batch, vocabulary, layout)


def end_symbol(cfg: Config, layout: Layout) -> int | None:
    """What ends an answer: the delimiter in the masked layout, nothing in the book's."""
    return cfg.delimiter if layout.kind == "masked" else None


def score(
    made: Int[Any, "count block T"], sums: tuple[Any, Any], batch: Batch, vocabulary: Vocabulary, layout: Layout
) -> tuple[Scores, Int[np.ndarray, "N T"]]:
    """Scores of what `decode_blocks` made of a batch, and the tokens row by row."""
    rows = len(batch.source)
    tokens = np.asarray(made).reshape(-1, batch.targets.shape[1])[:rows]
    targets, scored = np.asarray(batch.targets), scored_positions(batch, vocabulary, layout)
    total, valid = (np.asarray(each, np.float64).sum() for each in sums)
    right = exact_match(tokens, targets, np.asarray(batch.mask))
    return Scores(float(np.mean(right)), token_accuracy(tokens, targets, scored), float(total / valid), rows), tokens
