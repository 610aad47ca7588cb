"""Gradients to updates: an update rule after clipping, with a scheduled, traced rate."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from seqgen.types import Hyper, Params, Tree

ScheduleName = Literal["constant", "cosine", "inverse_sqrt"]
OptimizerName = Literal["adam", "sgd"]

Optimizer = Callable[[Hyper], optax.GradientTransformation]


def scheduled(
    update_rule: list[optax.GradientTransformation],
    shape: ScheduleName,
    warmup: float,
    steps: int,
) -> Optimizer:
    """An update rule after gradient-norm clipping (Pascanu et al. 2013), of the traced `hyper`.

    lr_t = lr · s(t): s is 1, or rises linearly over the first w steps, `warmup` of all, and falls
    to 0 as a cosine by `steps` (Loshchilov & Hutter 2017, eq. 5), or as √(w / t) (Vaswani et al.
    2017, eq. 3). The shape is static and peaks at 1; the rate is traced. With `hyper.decay`
    matrices also lose lr_t · decay of themselves (AdamW: Loshchilov & Hutter 2019, algorithm 2).

    Args:
        update_rule: what makes an update of a clipped gradient.
        shape: the schedule's.
        warmup: the part of all steps over which the rate rises.
        steps: all steps.

    """
    scale: Any = optax.constant_schedule(1.0)
    if shape == "cosine":
        scale = optax.warmup_cosine_decay_schedule(0.0, 1.0, int(warmup * steps), steps)

    if shape == "inverse_sqrt":
        first = max(int(warmup * steps), 1)
        scale = lambda t: jnp.minimum((t + 1) / first, jnp.sqrt(first / (t + 1)))  # noqa: E731

    def optimizer(hyper: Hyper) -> optax.GradientTransformation:
        decay = []
        if hyper.decay is not None:
            decay = [optax.add_decayed_weights(hyper.decay, lambda p: jax.tree.map(is_matrix, p))]
        return optax.chain(
            optax.clip_by_global_norm(hyper.clip),
            *update_rule,
            *decay,
            optax.scale_by_learning_rate(lambda step: hyper.learning_rate * scale(step)),
        )

    return optimizer


def adam(shape: ScheduleName, warmup: float, steps: int) -> Optimizer:
    """Adam (Kingma & Ba 2015)."""
    return scheduled([scale_by_adam()], shape, warmup, steps)


def sgd(shape: ScheduleName, warmup: float, steps: int) -> Optimizer:
    """Plain gradient descent, as the book trains its language models."""
    return scheduled([], shape, warmup, steps)


OPTIMIZERS: dict[OptimizerName, Callable[[ScheduleName, float, int], Optimizer]] = {
    "adam": adam,
    "sgd": sgd,
}


def scale_by_adam(
    b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-7
) -> optax.GradientTransformation:
    """optax's Adam with ε where the book has it: m / (√v + ε), before the bias is corrected.

    That is ε̂ of Kingma & Ba 2015, §2. At the book's initial values gradients are so small that the
    place of ε decides what the first steps do.
    """

    def update(updates: Tree, state: Any, params: Params | None = None) -> tuple[Tree, Any]:
        corrected = epsilon / jnp.sqrt(1 - b2 ** jnp.asarray(state.count + 1, jnp.float32))
        return optax.scale_by_adam(b1, b2, corrected).update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)


def is_matrix(leaf: Array) -> bool:
    """Whether a parameter is a matrix: biases are neither scaled at the start nor decayed."""
    return leaf.ndim > 1
