"""What training carries from step to step, and the streams of randomness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqgen.errors import UsageError
from seqgen.ranges import BELOW_ONE, LARGEST, TINY, in_float32
from seqgen.training.optimizer import Optimizer, is_matrix
from seqgen.types import Carry, Hyper, Member, Params, Tree


class TrainState(NamedTuple):
    """All that a step reads and writes.

    `carry` crosses batches (`()` where nothing does), `average` is the moving average of `params`
    (None, no leaf, without `hyper.ema`).
    """

    step: Int[Array, ""]
    params: Params
    opt_state: Tree
    carry: Carry
    average: Params | None = None

    @property
    def weights(self) -> Params:
        """What is evaluated and kept: the average where there is one."""
        return self.params if self.average is None else self.average


class Streams(NamedTuple):
    """The named streams of a run; each use folds its own counter in."""

    init: Key[Array, ""]
    train: Key[Array, ""]
    data: Key[Array, ""]


def streams(key: Key[Array, ""]) -> Streams:
    """The streams that a member's key is the root of."""
    return Streams(*(jax.random.fold_in(key, i) for i in range(3)))


@dataclass(frozen=True)
class HyperConfig:
    """Numbers that a compiled program takes as arguments.

    Args:
        lr: the learning rate, of a schedule its peak.
        clip: gradients with a longer norm are scaled down to this one.
        dropout: the part of the features that is zeroed in training; None: not in the program.
        init_scale: initial matrices are multiplied by it.
        decay: matrices shrink by this part of the learning rate at every step; None: not in the
            program.
        ema: the decay of a moving average of the weights, which is what is evaluated and kept:
            0.999 averages over about a thousand steps; None: not in the program.

    """

    lr: float = 1e-3
    clip: float = 5.0
    dropout: float | None = None
    init_scale: float = 1.0
    decay: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        for name in ("lr", "clip", "init_scale"):
            value = getattr(self, name)
            if not in_float32(value, TINY, LARGEST):
                raise UsageError(
                    f"{name} must be above 0 and finite in float32, not {value}",
                    fields=(f"hyper.{name}",),
                )
        if self.dropout is not None and not in_float32(self.dropout, 0, BELOW_ONE):
            raise UsageError(
                f"dropout must be at least 0 and below 1, not {self.dropout}",
                fields=("hyper.dropout",),
            )
        if self.decay is not None and not in_float32(self.decay, 0, LARGEST):
            raise UsageError(
                f"decay must be at least 0 and finite in float32, not {self.decay}",
                fields=("hyper.decay",),
            )
        if self.ema is not None and not in_float32(self.ema, TINY, BELOW_ONE):
            raise UsageError(
                f"ema must be above 0 and below 1, not {self.ema}", fields=("hyper.ema",)
            )

    def traced(self) -> Hyper:
        """The same numbers as float32 leaves."""
        return Hyper(
            jnp.float32(self.lr),
            jnp.float32(self.clip),
            None if self.dropout is None else jnp.float32(self.dropout),
            jnp.float32(self.init_scale),
            None if self.decay is None else jnp.float32(self.decay),
            None if self.ema is None else jnp.float32(self.ema),
        )


def create(
    init: Callable[[Key[Array, ""]], Params],
    carry: Callable[[Params], Carry],
    optimizer: Optimizer,
    member: Member,
) -> TrainState:
    """The state before the first step; matrices are scaled by `hyper.init_scale`.

    Args:
        init: makes the parameters.
        carry: what a stream begins with.
        optimizer: of the traced hyper-parameters.
        member: the run's key and hyper-parameters.

    """
    params = init(streams(member.key).init)
    params = jax.tree.map(lambda p: p * member.hyper.init_scale if is_matrix(p) else p, params)
    opt_state = optimizer(member.hyper).init(params)
    average = None if member.hyper.ema is None else params
    return TrainState(jnp.int32(0), params, opt_state, carry(params), average)


def with_params(state: TrainState, params: Params) -> TrainState:
    """The state with other parameters, which live where its own do.

    The optimizer's state stays: it begins alike with all parameters.
    """
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), params, state.params)
    average = None if state.average is None else jax.tree.map(jnp.copy, placed)
    return state._replace(params=placed, average=average)


def begun(
    state: TrainState,
    start: Callable[[Params], tuple[Params, str]] | None,
    note: Callable[[str], None],
) -> TrainState:
    """A fresh state, with other weights where the program's `start` has them; `note` is told."""
    if start is None:
        return state
    params, line = start(jax.device_get(state.params))
    note(line)
    return with_params(state, params)


def moving_average(
    ema: Float[Array, ""] | None, state: TrainState, params: Params
) -> Params | None:
    """The moving average of the weights after a step of `state` to `params`; None without one.

    After step t it is average + (1 - d) · (params - average), d = min(ema, (1 + t) / (10 + t)): a
    short run is not held at its initial weights (TensorFlow's ExponentialMovingAverage, with
    `num_updates`; after Polyak & Juditsky 1992).
    """
    if ema is None:
        return None
    t = jnp.float32(state.step + 1)
    d = jnp.minimum(ema, (1 + t) / (10 + t))
    return jax.tree.map(lambda old, new: old + (1 - d) * (new - old), state.average, params)
