"""How well a language model predicts a stream: nats per token, and their exponential, the
perplexity.

A perplexity is of the whole stream in one lane; during training it is an estimate on several lanes,
and says so.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Integer

from seqgen.evaluation.outcomes import Sums, Values, ratio
from seqgen.evaluation.statistics import bootstrap
from seqgen.nn.switches import fixed
from seqgen.types import Batch, Carry, Model, Params

BLOCK = 512
"""Tokens of all lanes whose logits are taken together."""

WINDOWS = 32
"""Windows that one call reads."""

Losses = Float[np.ndarray, " N"]


class Perplexity(NamedTuple):
    """`loss` is in nats per token; `low` and `high` end the 95 % interval of the perplexity for a
    stream of this length.

    `perplexity_book` is the book's own evaluation: ten lanes, windows of 35, the tail dropped.
    None: the stream is too short.
    """

    perplexity: float
    low: float | None
    high: float | None
    perplexity_book: float | None
    loss: float
    tokens: int


def exponential(loss: float) -> float:
    """The perplexity of a loss in nats per token; infinite where no float is as large."""
    with np.errstate(over="ignore"):
        return float(np.exp(loss))


def perplexities(sums: Sums) -> Values:
    """The perplexity of each draw's sum of losses and number of tokens."""
    with np.errstate(over="ignore"):
        return np.exp(ratio(sums))


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def _read(model: Model, params: Params, carry: Carry, windows: Any) -> tuple[Carry, Any]:
    """Losses [n, B, T] of windows [n, B, T + 1], one after another."""

    def one(carry: Carry, window: Any) -> tuple[Carry, Any]:
        batch = Batch(
            None, None, window[:, :-1], window[:, 1:], jnp.ones(window[:, 1:].shape, bool)
        )
        carry, out = model.apply(params, batch, carry, None)
        return carry, optax.softmax_cross_entropy_with_integer_labels(out.logits, batch.targets)

    return jax.lax.scan(one, carry, windows)


@fixed()
def lane_losses(
    model: Model, params: Params, lanes: Integer[np.ndarray, "B M"], window: int
) -> Float[np.ndarray, "B N"]:
    """-log p in nats of every token of each lane but its first.

    Args:
        model: a language model.
        params: its weights.
        lanes: tokens; the carry goes on from window to window.
        window: tokens of each lane that are read together.

    """
    rows, length = lanes.shape[0], lanes.shape[1] - 1
    count = min(-(-length // window), WINDOWS)
    page = count * window
    carry, found = model.initial_state(params, rows), []
    for first in range(0, length, page):
        part = lanes[:, first : first + page + 1].astype(np.int32)
        part = np.pad(part, ((0, 0), (0, page + 1 - part.shape[1])))  # cut off below
        index = np.arange(count)[:, None] * window + np.arange(window + 1)
        carry, losses = _read(model, params, carry, part[:, index].swapaxes(0, 1))
        found.append(np.asarray(losses).swapaxes(0, 1).reshape(rows, page))
    return np.concatenate(found, axis=1)[:, :length]


def token_losses(
    model: Model,
    params: Params,
    tokens: Integer[np.ndarray, " M"],
    *,
    lanes: int = 1,
) -> Losses:
    """-log p in nats of every token of a stream but the first, none dropped.

    In one lane each is predicted from all before it. Cut into several lanes, which are read
    side by side, it is an estimate: each begins in the initial state.

    Args:
        model: a language model.
        params: its weights.
        tokens: the stream.
        lanes: how many.

    """
    length = -(-(len(tokens) - 1) // lanes)
    index = np.minimum(np.arange(lanes)[:, None] * length + np.arange(length + 1), len(tokens) - 1)
    losses = lane_losses(model, params, np.asarray(tokens)[index], max(BLOCK // lanes, 1))
    return losses.reshape(-1)[: len(tokens) - 1]


def book_perplexity(
    model: Model, params: Params, tokens: Integer[np.ndarray, " M"]
) -> float | None:
    """The book's `eval_perplexity` (its common/util.py): a mean over windows of 10 lanes x 35
    tokens, the tail dropped.
    """
    length = (len(tokens) - 1) // 10
    kept = length - length % 35
    if not kept:
        return None
    lanes = np.asarray(tokens)[np.arange(10)[:, None] * length + np.arange(kept + 1)]
    return exponential(np.mean(lane_losses(model, params, lanes, 35), dtype=np.float64))


def perplexity(model: Model, params: Params, tokens: Integer[np.ndarray, " M"]) -> Perplexity:
    """Over a whole stream in one lane."""
    losses = token_losses(model, params, tokens)
    mean, *ends = bootstrap(losses) if len(losses) > 1 else (float(losses[0]), None, None)
    low, high = (end if end is None else exponential(end) for end in ends)
    return Perplexity(
        exponential(mean), low, high, book_perplexity(model, params, tokens), mean, len(losses)
    )
