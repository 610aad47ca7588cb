"""Readers: what a decoder looks up in its memory. Each is `(params, memory, query) -> (context, aux)`, and tells with
`init` which parameters it needs and with `width` how wide a context it gives.

A query may have any axes between B and H; the scores of a whole target [B, T] are one batched product.
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

ReaderName = Literal["summary", "dot", "general", "additive"]
Read = tuple[Float[Array, "B *T E"], dict[str, Array]]


def masked_softmax(scores: Float[Array, "B *T S"], mask: Bool[Array, "B S"] | None) -> Float[Array, "B *T S"]:
    """softmax over S with exactly zero weight on padding; mask=None: every position counts."""
    if mask is None:
        return jax.nn.softmax(scores)
    return jax.nn.softmax(scores, where=jnp.broadcast_to(every_time(mask, scores.ndim), scores.shape))


def every_time(x: Shaped[Array, "B *N"], ndim: int) -> Shaped[Array, "B ..."]:
    """x with axes of length 1 after B, to stand beside an array of `ndim` axes."""
    return x.reshape(x.shape[:1] + (1,) * (ndim - x.ndim) + x.shape[1:])


def weighted_sum(memory: Memory, scores: Float[Array, "B *T S"]) -> Read:
    """context = Σ_s a_s · values_s with a = softmax(scores); aux["attention"] is a, [B, *T, K=1, S]."""
    weights = masked_softmax(scores, memory.mask)
    return jnp.einsum("b...s,bse->b...e", weights, memory.values), {"attention": weights[..., None, :]}


def summary(params: None, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32") -> Read:
    """The encoder's final h, at every step: peeky (Cho et al. 2014; the book's §7.4.2)."""
    return jnp.broadcast_to(every_time(memory.summary, query.ndim), query.shape[:-1] + memory.summary.shape[-1:]), {}


@jax.custom_vjp
def attend(
    query: Float[Array, "B T E"], values: Float[Array, "B S E"], mask: Bool[Array, "B S"] | None
) -> tuple[Float[Array, "B T E"], Float[Array, "B T S"]]:
    """Contexts and weights of `dot`; the backward pass is written out: autodiff's is slower on a CPU.

    A decoder, which asks once a step, does not transpose the memory first: it would do so at every step.
    """
    weights = masked_softmax(jnp.einsum("bte,bse->bts", query, values), mask)
    return weights @ values, weights


def _attend_forward(query, values, mask):
    """The barrier keeps XLA from taking products of a memory that is still to be transposed: both passes need it so."""
    columns = lax.optimization_barrier(values.swapaxes(1, 2))
    weights = masked_softmax(query @ columns, mask)
    return (weights @ values, weights), (query, values, columns, weights)


def _attend_backward(kept, cotangents):
    """∂s = a ⊙ (∂a - Σ ∂a ⊙ a); what a memory hears as keys and as values is one product."""
    query, values, columns, weights = kept
    dcontext, dweights = cotangents
    dweights = dweights + dcontext @ columns
    dscores = weights * (dweights - jnp.sum(dweights * weights, axis=-1, keepdims=True))
    both = jnp.concatenate([weights, dscores], axis=1), jnp.concatenate([dcontext, query], axis=1)
    return dscores @ values, jnp.einsum("bts,bte->bse", *both), None


attend.defvjp(_attend_forward, _attend_backward)


def dot(params: None, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = values_s · query (Luong et al. 2015, §3.1, eq. 8 "dot"; the book's §8.1)."""
    rows, *times, width = query.shape
    context, weights = attend(query.reshape(rows, -1, width), memory.values, memory.mask)
    return context.reshape(query.shape), {"attention": weights.reshape(rows, *times, 1, -1)}


class General(NamedTuple):
    """The bilinear form of `general`."""

    w: Float[Array, "H E"]


def general(params: General, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = values_s · (query W) (Luong et al. 2015, §3.1, eq. 8 "general")."""
    return dot(None, memory, product(query, w=params.w, dtype=dtype))


class Additive(NamedTuple):
    """The one-layer network of `additive`."""

    wq: Float[Array, "H A"]
    wm: Float[Array, "E A"]
    v: Float[Array, "A 1"]


def additive(params: Additive, memory: Memory, query: Float[Array, "B *T H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = v · tanh(query Wq + values_s Wm) (Bahdanau et al. 2015, §A.1.2)."""
    asked = product(query, w=params.wq, dtype=dtype)[..., None, :]
    held = product(memory.values, w=params.wm, dtype=dtype)
    joined = jnp.tanh(asked + every_time(held, asked.ndim))
    return weighted_sum(memory, (joined @ params.v)[..., 0])


class Reader(NamedTuple):
    """`init(scheme, key, hidden, width)`: hidden is the query's width, width the memory's.

    A `constant` reader gives the memory's summary, whatever the query.
    """

    read: Callable[..., Read]
    init: Callable[[Scheme, Key[Array, ""], int, int], Params]
    constant: bool = False


def _no_parameters(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> None:
    return None


def _init_general(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> General:
    return General(scheme.matrix(key, (hidden, width)))


def _init_additive(scheme: Scheme, key: Key[Array, ""], hidden: int, width: int) -> Additive:
    k_q, k_m, k_v = jax.random.split(key, 3)
    return Additive(scheme.matrix(k_q, (hidden, hidden)), scheme.matrix(k_m, (width, hidden)), scheme.matrix(k_v, (hidden, 1)))


READERS: dict[ReaderName, Reader] = {
    "summary": Reader(summary, _no_parameters, constant=True),
    "dot": Reader(dot, _no_parameters),
    "general": Reader(general, _init_general),
    "additive": Reader(additive, _init_additive),
}
