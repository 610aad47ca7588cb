"""Layers without time: product, linear, embedding, dropout."""

from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.init import Scheme
from seqgen.types import Noise

Dtype = Literal["float32", "bfloat16"]
"""The precision of products with weight matrices. Weights, sums and all else, attention's scores with it, stay float32."""


def _narrow(x: Float[Array, "..."], dtype: Dtype) -> Float[Array, "..."]:
    return x if dtype == "float32" else x.astype(dtype)


def _matmul(x: Float[Array, "*N D"], w: Float[Array, "D G"], dtype: Dtype) -> Float[Array, "*N G"]:
    sums = None if dtype == "float32" else jnp.float32
    return jnp.matmul(_narrow(x, dtype), _narrow(w, dtype), preferred_element_type=sums)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(xs: tuple[Float[Array, "*N _"], ...], w: Float[Array, "D G"], dtype: Dtype) -> Float[Array, "*N G"]:
    return _product_forward(xs, w, dtype)[0]


def _product_forward(xs, w, dtype):
    """Keeps [x, ...] transposed, as its product with dy wants it, and W in the parts that give each x its gradient."""
    x = _narrow(jnp.concatenate(xs, axis=-1), dtype)
    parts = jnp.split(w, list(accumulate(x.shape[-1] for x in xs[:-1])))
    return _matmul(x, w, dtype), (x.reshape(-1, x.shape[-1]).T, parts)


def _product_backward(dtype, kept, dy):
    columns, parts = kept
    dw = _matmul(columns, dy.reshape(-1, dy.shape[-1]), dtype)
    return tuple(_matmul(dy, w.T, dtype) for w in parts), dw


_product.defvjp(_product_forward, _product_backward)


def product(*xs: Float[Array, "*N _"], w: Float[Array, "D G"], dtype: Dtype = "float32") -> Float[Array, "*N G"]:
    """[x, ...] W. In bfloat16 the operands are narrowed, forwards and backwards, and the sums are kept in float32.

    The backward pass is written out: autodiff's is slower on a CPU.
    """
    return _product(xs, w, dtype)


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
    return add_bias(product(x, w=params.w, dtype=dtype), params.b)


def wide_linear(params: Linear, x: Float[Array, "*N D"], *, dtype: Dtype = "float32") -> Float[Array, "*N G"]:
    """`linear` for thousands of outputs: b is one more row of W, since to add it, and to sum its gradient, goes over all y."""
    ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
    return product(x, ones, w=jnp.concatenate([params.w, params.b[None]]), dtype=dtype)


def init_embedding(scheme: Scheme, key: Key[Array, ""], vocabulary: int, width: int) -> Float[Array, "V D"]:
    """A table [V, D] from the scheme's embedding distribution."""
    return scheme.embedding(key, (vocabulary, width))


def embed(table: Float[Array, "V D"], tokens: Int[Array, "*N"]) -> Float[Array, "*N D"]:
    """The rows of `table` named by `tokens`."""
    return jnp.take(table, tokens, axis=0, mode="clip")


def dropout(x: Float[Array, "*N"], noise: Noise | None, stream: int, *, lock: bool = False) -> Float[Array, "*N"]:
    """Inverted dropout (Srivastava et al. 2014, §4); `stream` tells the places of one model apart. None: the identity.

    With `lock` all along the first axis, time, lose the same (Gal & Ghahramani 2016, §3).
    """
    if noise is None:
        return x
    shape = (1, *x.shape[1:]) if lock else x.shape
    keep = jax.random.bernoulli(jax.random.fold_in(noise.key, stream), 1 - noise.rate, shape)
    return jnp.where(jnp.broadcast_to(keep, x.shape), x / (1 - noise.rate), 0.0)
