"""Readers: what a decoder looks up in its memory. Each is `(params, memory, query) -> (context, aux)`, and tells with
`init` which parameters it needs and with `width` how wide a context it gives.

A query may have any leading axes before [B, H]; the scores of a whole target [T, B] are one batched product.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from seqgen.nn.init import Scheme
from seqgen.nn.layers import Dtype, product
from seqgen.types import Memory, Params

ReaderName = Literal["summary", "dot", "general", "additive"]
Read = tuple[Float[Array, "*T B E"], dict[str, Array]]


def masked_softmax(scores: Float[Array, "*T B S"], mask: Bool[Array, "B S"] | None) -> Float[Array, "*T B S"]:
    """softmax over S with exactly zero weight on padding; mask=None: every position counts."""
    if mask is None:
        return jax.nn.softmax(scores)
    mask = jnp.broadcast_to(mask.reshape((1,) * (scores.ndim - 2) + mask.shape), scores.shape)
    return jax.nn.softmax(scores, where=mask)


def weighted_sum(memory: Memory, scores: Float[Array, "*T B S"]) -> Read:
    """context = Σ_s a_s · values_s with a = softmax(scores); aux["attention"] is a, [*T, B, K=1, S]."""
    weights = masked_softmax(scores, memory.mask)
    return jnp.einsum("...bs,bse->...be", weights, memory.values), {"attention": weights[..., None, :]}


def summary(params: None, memory: Memory, query: Float[Array, "*T B H"], *, dtype: Dtype = "float32") -> Read:
    """The encoder's final h, at every step: peeky (Cho et al. 2014; the book's §7.4.2)."""
    return jnp.broadcast_to(memory.summary, query.shape[:-1] + memory.summary.shape[-1:]), {}


def dot(params: None, memory: Memory, query: Float[Array, "*T B H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = values_s · query (Luong et al. 2015, §3.1, eq. 8 "dot"; the book's §8.1)."""
    return weighted_sum(memory, jnp.einsum("...be,bse->...bs", query, memory.values))


class General(NamedTuple):
    """The bilinear form of `general`."""

    w: Float[Array, "H E"]


def general(params: General, memory: Memory, query: Float[Array, "*T B H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = values_s · (query W) (Luong et al. 2015, §3.1, eq. 8 "general")."""
    return dot(None, memory, product(query, params.w, dtype=dtype))


class Additive(NamedTuple):
    """The one-layer network of `additive`."""

    wq: Float[Array, "H A"]
    wm: Float[Array, "E A"]
    v: Float[Array, "A 1"]


def additive(params: Additive, memory: Memory, query: Float[Array, "*T B H"], *, dtype: Dtype = "float32") -> Read:
    """score_s = v · tanh(query Wq + values_s Wm) (Bahdanau et al. 2015, §A.1.2)."""
    asked = product(query, params.wq, dtype=dtype)[..., None, :]
    held = product(memory.values, params.wm, dtype=dtype)
    joined = jnp.tanh(asked + held.reshape((1,) * (query.ndim - 2) + held.shape))
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
