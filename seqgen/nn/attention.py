"""Attention mechanisms: what a decoder looks up in its memory.

Each one is `(params, memory, query) -> (context, aux)`; `MECHANISMS` has it beside the function
that makes its parameters. A query may have any axes between B and H: the scores of a whole target
[B, T] are one batched product. Under `jax.vmap` over hypotheses the memory need not be mapped: it
then keeps its B rows.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Key, Shaped

from seqgen.nn.init import Scheme
from seqgen.nn.layers import Dtype, product
from seqgen.types import Memory, Params

MechanismName = Literal["context", "dot", "general", "additive"]

Attended = tuple[Float[Array, "B *T E"], dict[str, Array]]
"""The context, and aux: its "attention", where a mechanism has weights, is [B, *T, K=1, S]."""


def masked_softmax(
    scores: Float[Array, "B *T S"], mask: Bool[Array, "B S"] | None
) -> Float[Array, "B *T S"]:
    """softmax over S with exactly zero weight on padding; mask=None: every position counts."""
    if mask is None:
        return jax.nn.softmax(scores)
    where = jnp.broadcast_to(at_every_time(mask, scores.ndim), scores.shape)
    return jax.nn.softmax(scores, where=where)


def at_every_time(x: Shaped[Array, "B *N"], ndim: int) -> Shaped[Array, "B ..."]:
    """x with axes of length 1 after B, to stand beside an array of `ndim` axes."""
    return x.reshape(x.shape[:1] + (1,) * (ndim - x.ndim) + x.shape[1:])


def weighted_sum(memory: Memory, scores: Float[Array, "B *T S"]) -> Attended:
    """context = Σ_s a_s · values_s with a = softmax(scores), which is aux["attention"]."""
    weights = masked_softmax(scores, memory.mask)
    context = jnp.einsum("b...s,bse->b...e", weights, memory.values)
    return context, {"attention": weights[..., None, :]}


def context_vector(
    params: None, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32"
) -> Attended:
    """The encoder's final h, at every step: peeky (Cho et al. 2014; the book's §7.4.2).

    Args:
        params: it has none.
        memory: its summary is the context.
        query: its axes alone count.
        dtype: it has no product.

    """
    shape = query.shape[:-1] + memory.summary.shape[-1:]
    return jnp.broadcast_to(at_every_time(memory.summary, query.ndim), shape), {}


@jax.custom_vjp
def dot_attention(
    query: Float[Array, "B T E"], values: Float[Array, "B S E"], mask: Bool[Array, "B S"] | None
) -> tuple[Float[Array, "B T E"], Float[Array, "B T S"]]:
    """Contexts and weights of `dot`.

    The backward pass is hand-written: autodiff's is slower on a CPU. Without a backward pass the
    memory is not transposed first: a decoder, with one query per step, would do so at every step.
    """
    weights = masked_softmax(jnp.einsum("bte,bse->bts", query, values), mask)
    return weights @ values, weights


def _dot_forward(query, values, mask):
    """Both passes need the transposed memory: the barrier has XLA transpose it once, beforehand."""
    columns = lax.optimization_barrier(values.swapaxes(1, 2))
    weights = masked_softmax(query @ columns, mask)
    return (weights @ values, weights), (query, values, columns, weights)


def _dot_backward(residuals, cotangents):
    """∂s = a ⊙ (∂a - Σ ∂a ⊙ a); the memory's gradient as keys and as values is one product."""
    query, values, columns, weights = residuals
    dcontext, dweights = cotangents
    dweights = dweights + dcontext @ columns
    dscores = weights * (dweights - jnp.sum(dweights * weights, axis=-1, keepdims=True))
    both = jnp.concatenate([weights, dscores], axis=1), jnp.concatenate([dcontext, query], axis=1)
    return dscores @ values, jnp.einsum("bts,bte->bse", *both), None


dot_attention.defvjp(_dot_forward, _dot_backward)


def dot(
    params: None, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32"
) -> Attended:
    """score_s = values_s · query (Luong et al. 2015, §3.1, eq. 8 "dot"; the book's §8.1).

    Args:
        params: it has none.
        memory: what is attended to; its width E must be the query's H.
        query: the decoder's h.
        dtype: not used: scores are products without weights, which stay float32.

    """
    rows, *times, width = query.shape
    queries = query.reshape(rows, -1, width)
    context, weights = dot_attention(queries, memory.values, memory.mask)
    return context.reshape(query.shape), {"attention": weights.reshape(rows, *times, 1, -1)}


class General(NamedTuple):
    """The bilinear form of `general`."""

    w: Float[Array, "H E"]


def general(
    params: General, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32"
) -> Attended:
    """score_s = values_s · (query W) (Luong et al. 2015, §3.1, eq. 8 "general").

    Args:
        params: W.
        memory: what is attended to.
        query: the decoder's h.
        dtype: of the product query W.

    """
    return dot(None, memory, product(query, w=params.w, dtype=dtype))


class Additive(NamedTuple):
    """The one-layer network of `additive`; A is the width of its layer."""

    wq: Float[Array, "H A"]
    wm: Float[Array, "E A"]
    v: Float[Array, "A 1"]


def additive(
    params: Additive, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32"
) -> Attended:
    """score_s = v · tanh(query Wq + values_s Wm) (Bahdanau et al. 2015, §A.1.2).

    Args:
        params: Wq, Wm and v.
        memory: what is attended to.
        query: the decoder's h.
        dtype: of the products with Wq and Wm.

    """
    queries = product(query, w=params.wq, dtype=dtype)[..., None, :]
    keys = product(memory.values, w=params.wm, dtype=dtype)
    layer = jnp.tanh(queries + at_every_time(keys, queries.ndim))
    return weighted_sum(memory, (layer @ params.v)[..., 0])


class Mechanism(NamedTuple):
    """`attend` is the function; `init(scheme, key, hidden, width)` makes its parameters.

    `hidden` is the query's width, `width` the memory's, which is the context's too. A `constant`
    mechanism gives the memory's summary, whatever the query.
    """

    attend: Callable[..., Attended]
    init: Callable[[Scheme, Key[Array, ""], int, int], Params]
    constant: bool = False


def _no_parameters(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> None:
    return None


def _init_general(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> General:
    return General(scheme.matrix(key, (hidden, width)))


def _init_additive(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> Additive:
    k_q, k_m, k_v = jax.random.split(key, 3)
    return Additive(
        scheme.matrix(k_q, (hidden, hidden)),
        scheme.matrix(k_m, (width, hidden)),
        scheme.matrix(k_v, (hidden, 1)),
    )


MECHANISMS: dict[MechanismName, Mechanism] = {
    "context": Mechanism(context_vector, _no_parameters, constant=True),
    "dot": Mechanism(dot, _no_parameters),
    "general": Mechanism(general, _init_general),
    "additive": Mechanism(additive, _init_additive),
}
