"""Layers without time: product, linear, embedding, dropout."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.init import Scheme
from seqgen.types import Noise

Dtype = Literal["float32", "bfloat16"]
"""The precision of matrix products. Weights, sums and everything between products stay float32."""


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _narrow(x: Float[Array, "*N D"], w: Float[Array, "D G"], dtype: Dtype) -> Float[Array, "*N G"]:
    return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=jnp.float32)


def _narrow_forward(x, w, dtype):
    """Keeps x narrow and already transposed: XLA's product is then twice as fast on a CPU."""
    return _narrow(x, w, dtype), (x.reshape(-1, x.shape[-1]).T.astype(dtype), w)


def _narrow_backward(dtype, residuals, dy):
    columns, w = residuals
    return _narrow(dy, w.T, dtype), _narrow(columns, dy.reshape(-1, dy.shape[-1]), dtype)


_narrow.defvjp(_narrow_forward, _narrow_backward)


def product(x: Float[Array, "*N D"], w: Float[Array, "D G"], *, dtype: Dtype = "float32") -> Float[Array, "*N G"]:
    """x W. In bfloat16 the operands are narrowed, forwards and backwards, and the sums are kept in float32."""
    return jnp.matmul(x, w) if dtype == "float32" else _narrow(x, w, dtype)


def add_bias(x: Float[Array, "*N G"], b: Float[Array, "*M G"]) -> Float[Array, "*N G"]:
    """x + b, one b for every row or one a row: the one place where a bias is broadcast."""
    return x + lax.broadcast_in_dim(b, x.shape, range(x.ndim - b.ndim, x.ndim))


class Linear(NamedTuple):
    """y = x W + b."""

    w: Float[Array, "D G"]
    b: Float[Array, " G"]


def init_linear(scheme: Scheme, key: Key[Array, ""], inputs: int, outputs: int) -> Linear:
    """| w | the scheme's matrix | b | zero |."""
    return Linear(scheme.matrix(key, (inputs, outputs)), jnp.zeros(outputs))


def linear(params: Linear, x: Float[Array, "*N D"], *, dtype: Dtype = "float32") -> Float[Array, "*N G"]:
    """y = x W + b."""
    return add_bias(product(x, params.w, dtype=dtype), params.b)


def init_embedding(scheme: Scheme, key: Key[Array, ""], vocabulary: int, width: int) -> Float[Array, "V D"]:
    """A table [V, D] from the scheme's embedding distribution."""
    return scheme.embedding(key, (vocabulary, width))


def embed(table: Float[Array, "V D"], tokens: Int[Array, "*N"]) -> Float[Array, "*N D"]:
    """The rows of `table` named by `tokens`."""
    return jnp.take(table, tokens, axis=0, mode="clip")


def dropout(x: Float[Array, "*N"], noise: Noise | None, stream: int) -> Float[Array, "*N"]:
    """Inverted dropout (Srivastava et al. 2014, §4); `stream` tells the places of one model apart. None: the identity."""
    if noise is None:
        return x
    keep = jax.random.bernoulli(jax.random.fold_in(noise.key, stream), 1 - noise.rate, x.shape)
    return jnp.where(keep, x / (1 - noise.rate), 0.0)
