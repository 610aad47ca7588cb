"""Losses as masked sums and counts, so that batches, spans and devices add up without weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from seqgen.types import Batch, Carry, DropoutState, Model, Params


def cross_entropy(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum of -log p(target) in nats over the targets that count, and their number."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses, where=mask), jnp.sum(mask, dtype=jnp.float32)


Metrics = dict[str, Array]
Loss = Callable[
    [Params, Carry, Batch, DropoutState | None], tuple[Float[Array, ""], tuple[Carry, Metrics]]
]


def smoothing_loss(logits: Float[Array, "B T V"], mask: Bool[Array, "B T"]) -> Float[Array, ""]:
    """The sum of the mean of -log p over the vocabulary, over the targets that count.

    Beside the cross entropy it is what makes label smoothing (Szegedy et al. 2016, §7).
    """
    losses = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
    return jnp.sum(losses, where=mask)


def teacher_forced(model: Model, label_smoothing: float = 0.0) -> Loss:
    """The training loss of a model in nats per token; the metrics are the sums it is made of.

    With smoothing ε it is (1 - ε) · cross entropy + ε · `smoothing_loss`; the metrics' loss stays
    the cross entropy.
    """

    def loss(
        params: Params, carry: Carry, batch: Batch, dropout_state: DropoutState | None
    ) -> tuple[Float[Array, ""], tuple[Carry, Metrics]]:
        carry, out = model.apply(params, batch, carry, dropout_state)
        total, tokens = cross_entropy(out.logits, batch.targets, batch.mask)
        objective = total
        if label_smoothing:
            uniform = smoothing_loss(out.logits, batch.mask)
            objective = (1 - label_smoothing) * total + label_smoothing * uniform
        return objective / tokens, (carry, {"loss": total, "tokens": tokens})

    return loss


def own_dropout(dropout_state: DropoutState | None, number: Array) -> DropoutState | None:
    """The dropout of one part of a batch."""
    if dropout_state is None:
        return None
    return DropoutState(jax.random.fold_in(dropout_state.key, number), dropout_state.rate)


def rematerialised(loss: Loss, span: int) -> Loss:
    """The same loss over windows of T = n · span tokens in the memory of one span.

    A span's activations, logits with them, are recomputed in the backward pass; the spans' carries
    are kept (Chen et al. 2016; Gruslys et al. 2016). Each span draws its own dropout.
    """

    def whole(
        params: Params, carry: Carry, batch: Batch, dropout_state: DropoutState | None
    ) -> tuple[Float[Array, ""], tuple[Carry, Metrics]]:
        spans = jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1, span).swapaxes(0, 1), batch)

        @jax.checkpoint
        def one(carry: Carry, item: tuple[Array, Batch]) -> tuple[Carry, tuple[Array, Metrics]]:
            number, part = item
            value, (carry, sums) = loss(params, carry, part, own_dropout(dropout_state, number))
            return carry, (value * sums["tokens"], sums)

        numbered = jnp.arange(len(spans.inputs)), spans
        carry, (objective, sums) = jax.lax.scan(one, carry, numbered)
        sums = jax.tree.map(jnp.sum, sums)
        return jnp.sum(objective) / sums["tokens"], (carry, sums)

    return whole


def value_and_gradients(loss: Loss, parts: int) -> Callable:
    """`jax.value_and_grad` of a loss, of a batch's rows part by part, in the memory of one part.

    Each part's gradient is weighted by its share of the targets that count: their sum is the
    gradient of the whole batch.
    """
    gradient = jax.value_and_grad(loss, has_aux=True)
    if parts == 1:
        return gradient

    def accumulated(params: Params, carry: Carry, batch: Batch, dropout_state: DropoutState | None):
        rows = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), (carry, batch))
        tokens = jnp.sum(batch.mask, dtype=jnp.float32)

        def add(
            total: Params, item: tuple[Array, tuple[Carry, Batch]]
        ) -> tuple[Params, tuple[Carry, Metrics]]:
            number, (carry, part) = item
            own = own_dropout(dropout_state, number)
            (_, (carry, sums)), grads = gradient(params, carry, part, own)
            share = sums["tokens"] / tokens
            return jax.tree.map(lambda t, g: t + share * g, total, grads), (carry, sums)

        zero = jax.tree.map(jnp.zeros_like, params)
        grads, (carries, sums) = jax.lax.scan(add, zero, (jnp.arange(parts), rows))
        carry = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), carries)
        sums = jax.tree.map(jnp.sum, sums)
        return (sums["loss"] / sums["tokens"], (carry, sums)), grads

    return accumulated
