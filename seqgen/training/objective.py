"""Losses as masked sums and counts, so that batches, chunks and devices add up without weights."""

from collections.abc import Callable
from types import ModuleType

import jax
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


Loss = Callable[[Params, Carry, Batch, Noise | None], tuple[Float[Array, ""], tuple[Carry, dict[str, Array]]]]


def teacher_forced(model: ModuleType, cfg: Config) -> Loss:
    """The training loss of a model: nats a token; the metrics are the sums that it is made of."""

    def loss(
        params: Params, carry: Carry, batch: Batch, noise: Noise | None
    ) -> tuple[Float[Array, ""], tuple[Carry, dict[str, Array]]]:
        carry, out = model.apply(cfg, params, batch, carry, noise)
        total, tokens = cross_entropy(out.logits, batch.targets, batch.mask)
        return total / tokens, (carry, {"loss": total, "tokens": tokens})

    return loss


def rematerialised(loss: Loss, span: int) -> Loss:
    """The same loss over windows of T = n · span tokens in the memory of one span (Chen et al. 2016; Gruslys et al. 2016).

    A span's activations, logits with them, are computed again in the backward pass; the spans' carries are kept. Each span
    draws its own dropout.
    """

    def whole(
        params: Params, carry: Carry, batch: Batch, noise: Noise | None
    ) -> tuple[Float[Array, ""], tuple[Carry, dict[str, Array]]]:
        spans = jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1, span).swapaxes(0, 1), batch)

        @jax.checkpoint
        def one(carry: Carry, item: tuple[Array, Batch]) -> tuple[Carry, dict[str, Array]]:
            number, part = item
            own = None if noise is None else Noise(jax.random.fold_in(noise.key, number), noise.rate)
            return loss(params, carry, part, own)[1]

        carry, sums = jax.lax.scan(one, carry, (jnp.arange(len(spans.inputs)), spans))
        sums = jax.tree.map(jnp.sum, sums)
        return sums["loss"] / sums["tokens"], (carry, sums)

    return whole


def value_and_gradients(loss: Loss, parts: int) -> Callable:
    """`jax.value_and_grad` of a loss, the rows of a batch in `parts` turns: the gradient of all in the memory of one."""
    gradient = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return gradient

    def accumulated(params: Params, carry: Carry, batch: Batch, noise: Noise | None):
        rows = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), (carry, batch))
        tokens = jnp.sum(batch.mask, dtype=jnp.float32)

        def turn(total: Params, item: tuple[Array, tuple[Carry, Batch]]) -> tuple[Params, tuple[Carry, dict[str, Array]]]:
            number, (carry, part) = item
            own = None if noise is None else Noise(jax.random.fold_in(noise.key, number), noise.rate)
            (_, (carry, sums)), grads = gradient(params, carry, part, own)
            share = sums["tokens"] / tokens
            return jax.tree.map(lambda t, g: t + share * g, total, grads), (carry, sums)

        zero = jax.tree.map(jnp.zeros_like, params)
        grads, (carries, sums) = jax.lax.scan(turn, zero, (jnp.arange(parts), rows))
        carry = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), carries)
        sums = jax.tree.map(jnp.sum, sums)
        return (sums["loss"] / sums["tokens"], (carry, sums)), grads

    return accumulated
