"""Initial distributions of the weights, as tables: the book's and a modern one.

| scheme | embedding  | matrix            | recurrent matrix       | bias | forget-gate bias |
|--------|------------|-------------------|------------------------|------|------------------|
| book   | N(0, 0.01²)| N(0, 1/fan_in)    | N(0, 1/fan_in)         | 0    | 0                |
| modern | N(0, 1/D)  | Glorot uniform    | orthogonal, gate by gate | 0  | 1                |

Sources: Deep Learning from Scratch 2, §6.5 and §7.3; Glorot & Bengio 2010, eq. 16; Saxe et al.
2014; forget-gate bias 1: Jozefowicz et al. 2015, §2.2.
"""

from typing import Literal, NamedTuple

import jax
from jax.nn.initializers import Initializer, glorot_uniform, normal, orthogonal, variance_scaling
from jaxtyping import Array, Float, Key

from seqgen.ranges import INT32_MAX

SchemeName = Literal["book", "modern"]


class Scheme(NamedTuple):
    """One row of the table above."""

    embedding: Initializer
    matrix: Initializer
    recurrent: Initializer
    forget_bias: float


_fan_in = variance_scaling(1.0, "fan_in", "normal")
SCHEMES: dict[SchemeName, Scheme] = {
    "book": Scheme(normal(0.01), _fan_in, _fan_in, 0.0),
    "modern": Scheme(
        variance_scaling(1.0, "fan_out", "normal"), glorot_uniform(), orthogonal(), 1.0
    ),
}


def gates(
    initializer: Initializer, key: Key[Array, ""], shape: tuple[int, int], count: int
) -> Float[Array, "D G"]:
    """`count` matrices of `shape`, each drawn by itself, side by side.

    Args:
        initializer: the distribution.
        key: split into one for each matrix.
        shape: of one matrix; its fans are those of one gate.
        count: how many.

    """
    keys = jax.random.split(key, count)
    return jax.numpy.concatenate([initializer(k, shape) for k in keys], axis=1)


def check_sizes(**sizes: int) -> None:
    """Raises `ValueError`, naming it, for a size below 1, and for more than can be traced."""
    for name, size in sizes.items():
        most = 1000 if name == "layers" else INT32_MAX
        if not 1 <= size <= most:
            words = "1 or more" if size < 1 else f"{most:,} or less"
            raise ValueError(f"{name} must be {words}, not {size}")
