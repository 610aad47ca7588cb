"""Losses as masked sums and counts, so that batches, chunks and devices add up without weights."""

from types import ModuleType

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from seqgen.types import Batch, Carry, Config, Noise, Params


def cross_entropy(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum of -log p(target) in nats over the targets that count, and their number."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses, where=mask), jnp.sum(mask, dtype=jnp.float32)


def teacher_forced(model: ModuleType, cfg: Config):
    """The training loss of a model: nats a token; the metrics are the sums that it is made of."""

    def loss(
        params: Params, carry: Carry, batch: Batch, noise: Noise | None
    ) -> tuple[Float[Array, ""], tuple[Carry, dict[str, Array]]]:
        carry, out = model.apply(cfg, params, batch, carry, noise)
        total, tokens = cross_entropy(out.logits, batch.targets, batch.mask)
        return total / tokens, (carry, {"loss": total, "tokens": tokens})

    return loss
