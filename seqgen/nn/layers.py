"""Layers without time: product, linear, embedding, dropout."""

from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.init import Scheme
from seqgen.types import DropoutState

Dtype = Literal["float32", "bfloat16"]
"""The precision of the operands of products with weight matrices.

Weights, sums, attention's scores and all else stay float32.
"""


def _narrow(x: Float[Array, "..."], dtype: Dtype) -> Float[Array, "..."]:
    return x if dtype == "float32" else x.astype(dtype)


def _matmul(x: Float[Array, "*N D"], w: Float[Array, "D G"], dtype: Dtype) -> Float[Array, "*N G"]:
    sums = None if dtype == "float32" else jnp.float32
    return jnp.matmul(_narrow(x, dtype), _narrow(w, dtype), preferred_element_type=sums)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(
    xs: tuple[Float[Array, "*N _"], ...], w: Float[Array, "D G"], dtype: Dtype
) -> Float[Array, "*N G"]:
    return _product_forward(xs, w, dtype)[0]


def _product_forward(xs, w, dtype):
    """Keeps [x, ...] transposed, as its product with dy needs it, and W in one part for each x.

    XLA's CPU products are faster without a transposed operand, most of all in bfloat16; and H rows
    divide into tiles, D + H rows do not.
    """
    x = _narrow(jnp.concatenate(xs, axis=-1), dtype)
    parts = jnp.split(w, list(accumulate(x.shape[-1] for x in xs[:-1])))
    return _matmul(x, w, dtype), (x.reshape(-1, x.shape[-1]).T, parts)


def _product_backward(dtype, residuals, dy):
    columns, parts = residuals
    dw = _matmul(columns, dy.reshape(-1, dy.shape[-1]), dtype)
    return tuple(_matmul(dy, w.T, dtype) for w in parts), dw


_product.defvjp(_product_forward, _product_backward)


def product(
    *xs: Float[Array, "*N _"], w: Float[Array, "D G"], dtype: Dtype = "float32"
) -> Float[Array, "*N G"]:
    """[x, ...] W, the xs joined along their last axis.

    In bfloat16 the operands are narrowed, in the forward and the backward pass, and the sums are
    float32. The backward pass is hand-written: autodiff's is slower on a CPU.
    """
    return _product(xs, w, dtype)


def add_bias(x: Float[Array, "*N G"], b: Float[Array, "*M G"]) -> Float[Array, "*N G"]:
    """x + b, one b for all rows or one for each row: the only place where a bias is broadcast."""
    return x + lax.broadcast_in_dim(b, x.shape, range(x.ndim - b.ndim, x.ndim))


class Linear(NamedTuple):
    """y = x W + b."""

    w: Float[Array, "D G"]
    b: Float[Array, " G"]


def init_linear(scheme: Scheme, key: Key[Array, ""], inputs: int, outputs: int) -> Linear:
    """w: the scheme's matrix; b: zero.

    Args:
        scheme: the initial distributions.
        key: decides the draw.
        inputs: the width of x.
        outputs: the width of y.

    """
    return Linear(scheme.matrix(key, (inputs, outputs)), jnp.zeros(outputs))


def linear(
    params: Linear, x: Float[Array, "*N D"], *, dtype: Dtype = "float32"
) -> Float[Array, "*N G"]:
    """y = x W + b."""
    return add_bias(product(x, w=params.w, dtype=dtype), params.b)


def wide_linear(
    params: Linear, x: Float[Array, "*N D"], *, dtype: Dtype = "float32"
) -> Float[Array, "*N G"]:
    """`linear` for thousands of outputs: b is one more row of W.

    Adding b, and summing its gradient, would each pass over the whole of y once more.
    """
    ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
    return product(x, ones, w=jnp.concatenate([params.w, params.b[None]]), dtype=dtype)


def init_embedding(
    scheme: Scheme, key: Key[Array, ""], vocabulary: int, width: int
) -> Float[Array, "V D"]:
    """A table from the scheme's embedding distribution.

    Args:
        scheme: the initial distributions.
        key: decides the draw.
        vocabulary: V, the number of rows.
        width: D.

    """
    return scheme.embedding(key, (vocabulary, width))


def embed(table: Float[Array, "V D"], tokens: Int[Array, "*N"]) -> Float[Array, "*N D"]:
    """The rows of `table` named by `tokens`."""
    return jnp.take(table, tokens, axis=0, mode="clip")


def dropout(
    x: Float[Array, "*N"],
    dropout_state: DropoutState | None,
    stream: int,
    *,
    variational: bool = False,
) -> Float[Array, "*N"]:
    """Inverted dropout (Srivastava et al. 2014, §4).

    Args:
        x: what is dropped from.
        dropout_state: key and rate; None: the identity.
        stream: tells the places of one model apart, which then drop independently.
        variational: one mask for the whole first axis, time (Gal & Ghahramani 2016, §3).

    """
    if dropout_state is None:
        return x
    key, rate = dropout_state
    shape = (1, *x.shape[1:]) if variational else x.shape
    keep = jax.random.bernoulli(jax.random.fold_in(key, stream), 1 - rate, shape)
    return jnp.where(jnp.broadcast_to(keep, x.shape), x / (1 - rate), 0.0)
