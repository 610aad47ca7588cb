"""What training carries from step to step, the streams of randomness, and the optimiser."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, Key

from seqgen.types import Carry, Hyper, Member, Params, Tree

FLOAT32_MAX = float(np.finfo(np.float32).max)


class TrainState(NamedTuple):
    """All that a step reads and writes; `carry` crosses batches (`()` for seq2seq)."""

    step: Int[Array, ""]
    params: Params
    opt_state: Tree
    carry: Carry


class Streams(NamedTuple):
    """The named streams of a run; each use folds its own counter in."""

    init: Key[Array, ""]
    train: Key[Array, ""]
    data: Key[Array, ""]
    eval: Key[Array, ""]


def streams(key: Key[Array, ""]) -> Streams:
    """The streams that a member's key is the root of."""
    return Streams(*(jax.random.fold_in(key, i) for i in range(4)))


@dataclass(frozen=True)
class HyperConfig:
    """Numbers that a compiled program takes as arguments.

    Args:
        lr: the learning rate, of a schedule its peak.
        clip: gradients with a longer norm are scaled down to this one.
        dropout: the part of the features that is zeroed in training; None leaves dropout out of the program.
        init_scale: initial matrices are multiplied by it.
        decay: matrices shrink by this part of the learning rate at every step; None leaves weight decay out of the program.

    """

    lr: float = 1e-3
    clip: float = 5.0
    dropout: float | None = None
    init_scale: float = 1.0
    decay: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("lr", self.lr), ("clip", self.clip), ("init_scale", self.init_scale)):
            if not 0 < value <= FLOAT32_MAX:
                raise ValueError(f"{name} must be above 0 and finite in float32, not {value}")
        if self.dropout is not None and not 0 <= np.float32(self.dropout) < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.decay is not None and not 0 <= self.decay <= FLOAT32_MAX:
            raise ValueError(f"decay must be at least 0 and finite in float32, not {self.decay}")

    def traced(self) -> Hyper:
        """The same numbers as float32 leaves."""
        dropout, decay = (None if part is None else jnp.float32(part) for part in (self.dropout, self.decay))
        return Hyper(jnp.float32(self.lr), jnp.float32(self.clip), dropout, jnp.float32(self.init_scale), decay)


ScheduleName = Literal["constant", "cosine"]

Optimizer = Callable[[Hyper], optax.GradientTransformation]


def scheduled(rule: list[optax.GradientTransformation], shape: ScheduleName, warmup: float, steps: int) -> Optimizer:
    """A rule behind gradient-norm clipping (Pascanu et al. 2013), built from the traced `hyper`.

    lr_t = lr · s(t): s is 1, or rises linearly over the first `warmup` of all steps and falls to 0 as a cosine by `steps`
    (Loshchilov & Hutter 2017, eq. 5). The shape is static and peaks at 1; the rate is traced. With `hyper.decay` matrices
    also lose lr_t · decay of themselves (AdamW: Loshchilov & Hutter 2019, algorithm 2).
    """
    scale: Any = optax.constant_schedule(1.0)
    if shape == "cosine":
        scale = optax.warmup_cosine_decay_schedule(0.0, 1.0, int(warmup * steps), steps)

    def optimizer(hyper: Hyper) -> optax.GradientTransformation:
        decay = [] if hyper.decay is None else [optax.add_decayed_weights(hyper.decay, lambda p: jax.tree.map(is_matrix, p))]
        return optax.chain(
            optax.clip_by_global_norm(hyper.clip),
            *rule,
            *decay,
            optax.scale_by_learning_rate(lambda step: hyper.lr * scale(step)),
        )

    return optimizer


def adam(shape: ScheduleName, warmup: float, steps: int) -> Optimizer:
    """Adam (Kingma & Ba 2015)."""
    return scheduled([scale_by_adam()], shape, warmup, steps)


def sgd(shape: ScheduleName, warmup: float, steps: int) -> Optimizer:
    """Plain gradient descent, as the book trains its language models."""
    return scheduled([], shape, warmup, steps)


OptimizerName = Literal["adam", "sgd"]
OPTIMIZERS: dict[OptimizerName, Callable[[ScheduleName, float, int], Optimizer]] = {"adam": adam, "sgd": sgd}


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-7) -> optax.GradientTransformation:
    """optax's Adam with ε where the book has it: m / (√v + ε), before the bias is corrected (Kingma & Ba 2015, §2, ε̂).

    At the book's initial values gradients are so small that the place of ε decides what the first steps do.
    """

    def update(updates: Tree, state: Any, params: Params | None = None) -> tuple[Tree, Any]:
        corrected = epsilon / jnp.sqrt(1 - b2 ** jnp.asarray(state.count + 1, jnp.float32))
        return optax.scale_by_adam(b1, b2, corrected).update(updates, state, params)

    return optax.GradientTransformation(optax.scale_by_adam(b1, b2).init, update)


def is_matrix(leaf: Array) -> bool:
    """Whether a parameter is a matrix: biases are neither scaled at the start nor decayed."""
    return leaf.ndim > 1


def create(init: Callable[[Key[Array, ""]], Params], optimizer: Callable, member: Member, carry: Carry = ()) -> TrainState:
    """The state before the first step; matrices are scaled by `hyper.init_scale`. `carry` is what a stream begins with."""
    params = init(streams(member.key).init)
    params = jax.tree.map(lambda p: p * member.hyper.init_scale if is_matrix(p) else p, params)
    return TrainState(jnp.int32(0), params, optimizer(member.hyper).init(params), carry)
