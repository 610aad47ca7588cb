"""Whole decodings as compiled programs, one for each model, setting and shape."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqgen.decoding.beam import Beams, beam, coverage_penalty, length_penalty
from seqgen.decoding.generate import generate
from seqgen.decoding.logits import GenerationConfig
from seqgen.nn.switches import fixed
from seqgen.types import Model, Out, Params, Start


class Answers(NamedTuple):
    """W answers a row, the best first, as `Beams` has them; W is 1 where there is no beam."""

    tokens: Any
    logprob: Any
    logprobs: Any
    aux: dict[str, Any]


@fixed()
@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def answer(
    model: Model,
    generation: GenerationConfig,
    limit: int,
    end: int | None,
    params: Params,
    source: Any,
    length: Any,
    key: Any,
    prefix: Any = None,
) -> Answers:
    """Answers to sources.

    All rows are sampled with the same numbers.

    Args:
        model: what answers.
        generation: how tokens are chosen.
        limit: the most tokens of an answer.
        end: the token that ends one; None: there is none.
        params: the weights.
        source: questions.
        length: theirs.
        key: what is sampled with; None: nothing is sampled.
        prefix: what all answers begin with, -1 from where they are free; None: they all are.

    """
    start = model.start(params, source, length, capacity=limit)
    if generation.beam is not None:
        found = _searched(model, generation, (), end, limit, params, start, prefix)
        return Answers(found.tokens, found.logprob, found.logprobs, found.aux)
    step, processors = partial(model.step, params), generation.processors(end=end)
    keys = None if key is None else jnp.broadcast_to(key, source.shape[0])
    made = generate(
        step, start, limit=limit, end=end, processors=processors, keys=keys, prefix=prefix
    )
    one = Answers(made.tokens, made.logprob, made.logprobs, made.aux)
    return jax.tree.map(lambda leaf: leaf[:, None], one)


@fixed()
@partial(jax.jit, static_argnums=(0, 1))
def read(model: Model, capacity: int, params: Params, source: Any, length: Any) -> Start:
    """Read prompts, with room for `capacity` tokens after them.

    Args:
        model: what reads.
        capacity: how many tokens can follow.
        params: the weights.
        source: prompts.
        length: theirs.

    """
    return model.start(params, source, length, capacity=capacity)


@fixed()
@partial(jax.jit, static_argnums=0)
def next_token(model: Model, params: Params, start: Start) -> Out:
    """Logits of the first token to come."""
    return model.step(params, start.memory, start.carry, start.token)[1]


@fixed()
@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def write(
    model: Model,
    generation: GenerationConfig,
    banned: tuple[int, ...],
    end: int | None,
    limit: int,
    params: Params,
    start: Start,
    keys: Any,
    history: Any,
    first: Any,
) -> tuple[Any, Any, Start]:
    """The next tokens of each row, their log p in nats, and from where to go on.

    Args:
        model: what writes.
        generation: how tokens are chosen.
        banned: tokens that are never written.
        end: the token that ends a text; None: there is none.
        limit: how many tokens to write.
        params: the weights.
        start: from where.
        keys: one per row; None: nothing is sampled.
        history: the tokens so far, with room for more.
        first: how many they are.

    """
    made = generate(
        partial(model.step, params),
        start,
        limit=limit,
        end=end,
        processors=generation.processors(banned, end),
        keys=keys,
        history=history,
        first=first,
    )
    return made.tokens, made.logprob, made.next


@fixed()
@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def search(
    model: Model,
    generation: GenerationConfig,
    banned: tuple[int, ...],
    end: int | None,
    limit: int,
    params: Params,
    start: Start,
) -> tuple[Any, Any]:
    """The best texts [B, W, T] that a beam finds, and their log p in nats.

    Args:
        model: what writes.
        generation: how tokens are chosen.
        banned: tokens that are never written.
        end: the token that ends a text; None: there is none.
        limit: how many tokens to write.
        params: the weights.
        start: from where.

    """
    found = _searched(model, generation, banned, end, limit, params, start)
    return found.tokens, found.logprob


def _searched(
    model: Model,
    generation: GenerationConfig,
    banned: tuple[int, ...],
    end: int | None,
    limit: int,
    params: Params,
    start: Start,
    prefix: Any = None,
) -> Beams:
    assert generation.beam is not None
    score = length_penalty(generation.length_penalty)
    if generation.coverage_penalty:
        score = coverage_penalty(score, generation.coverage_penalty, start.memory.mask)
    return beam(
        partial(model.step, params),
        start,
        limit=limit,
        end=end,
        width=generation.beam,
        score=score,
        processors=generation.processors(banned, end),
        prefix=prefix,
    )
