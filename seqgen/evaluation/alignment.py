"""How well attention agrees with what a task says each character is read from, by class of
character.

All is over target positions whose answer is forced (as Luong et al. 2015, §4.2.3, align), so that
a wrong character before costs nothing. Weights and gold positions are in reading order.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from seqgen.data.padding import Padding, gold_targets, reading_order
from seqgen.data.pairs import Pair, Task
from seqgen.evaluation.answers import blocking, blocks
from seqgen.nn.recurrence import unroll
from seqgen.nn.switches import fixed
from seqgen.types import Batch, Carry, Memory, Model, Out, Params

Weights = Float[np.ndarray, "N T S"]

APART = frozenset({"implied-zero", "century", "separator", "end", "blank", "carry"})
"""Classes without one right place to look, or without any: reported, but not in `all`."""


class Score(NamedTuple):
    """Means over the target positions of a class.

    Of a class without a place to look, like `separator`, only the entropy is a number.

    `mass` is the weight on gold positions, `hit` the part of the largest weights (one, but for
    ties) that is on gold, `near` the part within one character of gold; `error_rate` is the
    alignment error rate (Och & Ney 2003, §6) of the largest weight's link, a gold position being
    sure where it is the only one, else possible, so that it differs from 1 - hit only in how words
    count; `entropy` is in nats.
    """

    positions: int
    mass: float
    hit: float
    near: float
    error_rate: float
    entropy: float


class Gold(NamedTuple):
    """By class the target positions that it has, and the source positions to look at from
    there; all that may be looked at.
    """

    targets: dict[str, Bool[np.ndarray, "N T"]]
    classes: dict[str, Bool[np.ndarray, "N T S"]]
    valid: Bool[np.ndarray, "N S"]


def gold_of(task: Task, pairs: Sequence[Pair], padding: Padding, shape: tuple[int, int]) -> Gold:
    """The gold of some pairs as arrays. A month that is written out is a class of its own.

    Args:
        task: says what each character is read from.
        pairs: questions and true answers.
        padding: how they are padded.
        shape: (T, S) of the arrays.

    """
    targets: dict[str, np.ndarray] = {}
    classes: dict[str, np.ndarray] = {}
    for row, (question, answer) in enumerate(pairs):
        for time, found in enumerate(gold_targets(task.gold(question, answer), padding)):
            for name, positions in found.items():
                label = f"{name} word" if name == "month" and len(positions) > 1 else name
                targets.setdefault(label, np.zeros((len(pairs), shape[0]), bool))[row, time] = True
                classes.setdefault(label, np.zeros((len(pairs), *shape), bool))[
                    row, time, list(positions)
                ] = True
    width = (
        np.array([len(question) for question, _ in pairs])
        if padding.kind == "masked"
        else np.full(len(pairs), shape[1])
    )
    return Gold(targets, classes, np.arange(shape[1]) < width[:, None])


def scores(weights: Weights, gold: Gold) -> dict[str, Score]:
    """A score for each class, and `all` for those that are not `APART`, taken together."""
    found = {
        name: score(weights, mask, gold.valid)
        if mask.any()
        else unscored(weights[gold.targets[name]])
        for name, mask in gold.classes.items()
    }
    own = own_gold(gold)
    return {"all": score(weights, own, gold.valid), **found} if own.any() else found


def unscored(a: Float[np.ndarray, "K S"]) -> Score:
    """Of target positions without a place to look."""
    return Score(len(a), *[float("nan")] * 4, entropy(a))


def entropy(a: Float[np.ndarray, "K S"]) -> float:
    """Mean over rows of weights, in nats."""
    return float(-(a * np.log(np.where(a > 0, a, 1))).sum(axis=1).mean())


def score(
    weights: Weights, gold: Bool[np.ndarray, "N T S"], valid: Bool[np.ndarray, "N S"]
) -> Score:
    """The score of the target positions that have gold ones."""
    rows, times = np.nonzero(gold.any(axis=2))
    a, g, v = weights[rows, times], gold[rows, times], valid[rows]
    best = (a == np.max(a, axis=1, where=v, initial=-1, keepdims=True)) & v
    links = best / best.sum(axis=1, keepdims=True)
    reach = g.copy()
    reach[:, 1:] |= g[:, :-1]
    reach[:, :-1] |= g[:, 1:]
    hit = (links * g).sum(axis=1)
    sure = g.sum(axis=1) == 1
    return Score(
        len(rows),
        float((a * g).sum(axis=1).mean()),
        float(hit.mean()),
        float((links * reach).sum(axis=1).mean()),
        float(1 - (hit[sure].sum() + hit.sum()) / (len(rows) + sure.sum())),
        entropy(a),
    )


def own_gold(gold: Gold) -> Bool[np.ndarray, "N T S"]:
    """The gold positions of all classes that are not `APART`."""
    return np.logical_or.reduce([mask for name, mask in gold.classes.items() if name not in APART])


def oracle(gold: Gold) -> Weights:
    """Attention that is spread over the gold positions of each class that is not `APART`,
    else over all valid ones.
    """
    own = own_gold(gold)
    return _spread(np.where(own.any(axis=2, keepdims=True), own, gold.valid[:, None]))


def uniform(gold: Gold) -> Weights:
    """The same weight on every valid position: mass and hit are then |gold| / |valid|, the
    entropy ln |valid|.
    """
    times = next(iter(gold.classes.values())).shape[1]
    return _spread(np.repeat(gold.valid[:, None], times, axis=1))


def shuffled(weights: Weights, gold: Gold, generator: np.random.Generator) -> Weights:
    """Each row's weights over its valid positions in a random order: as sharp as before, and
    looking anywhere.
    """
    order = np.argsort(np.where(gold.valid[:, None], generator.random(weights.shape), 2), axis=2)
    return np.take_along_axis(weights, order, axis=2)


def _spread(mask: Bool[np.ndarray, "N T S"]) -> Weights:
    return mask / mask.sum(axis=2, keepdims=True)


@fixed()
def forced_attention(model: Model, params: Params, batch: Batch, padding: Padding) -> Weights:
    """Where a model looks before each character of the true answers; the mean of several heads.

    Args:
        model: what attends.
        params: its weights.
        batch: questions and true answers.
        padding: says whether the weights must be brought into reading order.

    """
    rows, shape = len(batch.source), blocking(*batch.source.shape)
    looked = np.asarray(_attend_blocks(model, params, blocks(batch, *shape)))
    looked = looked.reshape(-1, *looked.shape[2:])[:rows]
    return reading_order(looked, batch.length, padding)


@partial(jax.jit, static_argnums=0)
def _attend_blocks(model: Model, params: Params, batches: Batch) -> Float[Array, "count block T S"]:
    def attend(batch: Batch) -> Float[Array, "block T S"]:
        carry = model.initial_state(params, len(batch.inputs))
        return model.apply(params, batch, carry, None)[1].aux["attention"].mean(axis=2)

    return jax.lax.map(attend, batches)


class Changed(NamedTuple):
    """Whether the character that a model writes is another one when it cannot look at one
    position of its source.
    """

    looked_at: Bool[Any, "N T"]
    random: Bool[Any, "N T"]


@fixed()
def blinded(model: Model, params: Params, batch: Batch, key: Key[Array, ""]) -> Changed:
    """Hide from attention, at each target position, the source position that got most of it, or
    another one at random.

    Positions before saw all, and the encoder has read the whole source: what is cut is one look,
    not the character.

    Args:
        model: what attends.
        params: its weights.
        batch: questions and true answers.
        key: the random positions are drawn from it.

    """
    rows, (count, block) = len(batch.source), blocking(*batch.source.shape)
    keys = jax.random.split(key, count)
    made = _blind_blocks(model, params, blocks(batch, count, block), keys)
    return Changed(*(np.asarray(leaf).reshape(count * block, -1)[:rows] for leaf in made))


@partial(jax.jit, static_argnums=0)
def _blind_blocks(
    model: Model, params: Params, batches: Batch, keys: Key[Array, " count"]
) -> Changed:
    return jax.lax.map(lambda each: _blind(model, params, *each), (batches, keys))


def _blind(model: Model, params: Params, batch: Batch, key: Key[Array, ""]) -> Changed:
    """Each step is taken three times: with open eyes, which goes on, and twice with one
    position hidden.
    """
    start = model.start(params, batch.source, batch.length, capacity=batch.inputs.shape[1])
    full = jnp.ones(batch.source.shape, bool) if start.memory.mask is None else start.memory.mask
    chances = jax.random.uniform(key, (batch.inputs.shape[1], *full.shape))

    def look(
        memory: Memory, carry: Carry, item: tuple[Int[Array, " B"], Float[Array, "B S"]]
    ) -> tuple[Carry, Changed]:
        token, chance = item

        def write(mask: Bool[Array, "B S"]) -> tuple[Carry, Out]:
            return model.step(params, memory._replace(mask=mask), carry, token)

        def changes(weights: Float[Array, "B S"]) -> Bool[Array, " B"]:
            _, blind = write(full & ~hot(weights))
            return jnp.argmax(blind.logits, axis=-1) != jnp.argmax(out.logits, axis=-1)

        def hot(weights: Float[Array, "B S"]) -> Bool[Array, "B S"]:
            return jax.nn.one_hot(jnp.argmax(weights, axis=-1), full.shape[1], dtype=bool)

        carry_on, out = write(full)
        looked = out.aux["attention"].mean(axis=1)
        return carry_on, Changed(
            changes(looked), changes(jnp.where(full & ~hot(looked), chance, -1))
        )

    _, changed = unroll(look, start.memory, start.carry, (jnp.asarray(batch.inputs).T, chances))
    return jax.tree.map(jnp.transpose, changed)
