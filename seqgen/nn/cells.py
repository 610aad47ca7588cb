"""Recurrent cells: parameters, carry and one step. Configurations name the entries of `CELLS`."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.init import Scheme, gates
from seqgen.nn.layers import Dtype, add_bias, product
from seqgen.nn.recurrence import unroll
from seqgen.types import Carry

CellName = Literal["lstm", "gru", "rnn"]


class CellParams(NamedTuple):
    """W has the rows of x above those of h, and the gates side by side.

    G = 4H (LSTM), 3H (GRU) or H (vanilla RNN). One product of [x, h] is faster than two. The bias
    may differ between the rows of a batch: `rnn_decoder.precompute` makes such a bias.
    """

    w: Float[Array, "D+H G"]
    b: Float[Array, " G"] | Float[Array, "B G"]


class LstmCarry(NamedTuple):
    """h is what the cell puts out; c is its memory."""

    h: Float[Array, "B H"]
    c: Float[Array, "B H"]


class HiddenCarry(NamedTuple):
    """The carry of a cell without a memory of its own."""

    h: Float[Array, "B H"]


def affine(
    params: CellParams, x: Float[Array, "B D"], h: Float[Array, "B H"], dtype: Dtype
) -> Float[Array, "B G"]:
    """[x, h] W + b, all gates at once.

    Args:
        params: W and b.
        x: this step's input.
        h: of the last step.
        dtype: of the product.

    """
    return add_bias(product(x, h, w=params.w, dtype=dtype), params.b)


@jax.custom_vjp
def lstm_gates(
    z: Float[Array, "B G"], c: Float[Array, "B H"]
) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
    """(h', c') of gates before their nonlinearities.

    The backward pass is hand-written: autodiff's is slower.
    """
    return _gates_forward(z, c)[0]


def _gates_forward(z, c):
    f, g, i, o = jnp.split(z, 4, axis=-1)
    f, g, i, o = jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(i), jax.nn.sigmoid(o)
    new = f * c + g * i
    return (o * jnp.tanh(new), new), (f, g, i, o, c)


def _gates_backward(residuals, cotangents):
    """∂c' = dc' + dh' ⊙ o ⊙ (1 - tanh²c'), and from it each gate's gradient, with σ' = σ(1 - σ) and
    tanh' = 1 - tanh².

    tanh c' is recomputed, since storing it costs more. The barriers keep XLA from recomputing it
    and ∂c' for each gate.
    """
    f, g, i, o, c = residuals
    dh, dc = cotangents
    tanh_c = lax.optimization_barrier(jnp.tanh(f * c + g * i))
    dc = lax.optimization_barrier(dc + dh * o * (1 - tanh_c**2))
    dz = [
        dc * c * f * (1 - f),
        dc * i * (1 - g**2),
        dc * g * i * (1 - i),
        dh * tanh_c * o * (1 - o),
    ]
    return jnp.concatenate(dz, axis=-1), dc * f


lstm_gates.defvjp(_gates_forward, _gates_backward)


def lstm(
    params: CellParams, carry: LstmCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[LstmCarry, Float[Array, "B H"]]:
    """Long short-term memory with forget gate (Gers et al. 2000); gates in the order f, g, i, o.

    f, i, o = σ([x, h] W + b)    g = tanh([x, h] W + b)
    c' = f ⊙ c + g ⊙ i           h' = o ⊙ tanh(c')

    Args:
        params: W and b.
        carry: of the last step.
        x: this step's input.
        dtype: of the product with W.

    """
    h, c = lstm_gates(affine(params, x, carry.h, dtype), carry.c)
    return LstmCarry(h, c), h


def gru(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8; the book's Appendix C); gates z, r, n.

    z, r = σ([x, h] W + b)    n = tanh([x, r ⊙ h] W + b)    h' = (1 - z) ⊙ h + z ⊙ n

    Args:
        params: W and b.
        carry: of the last step.
        x: this step's input.
        dtype: of the product with W.

    """
    h, split = carry.h, 2 * carry.h.shape[-1]
    update, candidate = (
        CellParams(params.w[:, part], params.b[..., part])
        for part in (slice(split), slice(split, None))
    )
    z, r = jnp.split(jax.nn.sigmoid(affine(update, x, h, dtype)), 2, axis=-1)
    n = jnp.tanh(affine(candidate, x, r * h, dtype))
    h = (1 - z) * h + z * n
    return HiddenCarry(h), h


def rnn(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Vanilla recurrent network (Elman 1990): h' = tanh([x, h] W + b).

    Args:
        params: W and b.
        carry: of the last step.
        x: this step's input.
        dtype: of the product with W.

    """
    h = jnp.tanh(affine(params, x, carry.h, dtype))
    return HiddenCarry(h), h


class Cell(NamedTuple):
    """`carry(h)` makes a carry around a given h, its memory zero."""

    step: Callable
    gates: int
    carry: Callable[[Float[Array, "B H"]], Carry]
    forget_gate: bool = False


CELLS: dict[CellName, Cell] = {
    "lstm": Cell(lstm, 4, lambda h: LstmCarry(h, jnp.zeros_like(h)), forget_gate=True),
    "gru": Cell(gru, 3, HiddenCarry),
    "rnn": Cell(rnn, 1, HiddenCarry),
}


def init_cell(
    name: CellName, scheme: Scheme, key: Key[Array, ""], inputs: int, hidden: int
) -> CellParams:
    """Parameters of a cell, each gate drawn by itself.

    | w, rows of x        | w, rows of h         | b                              |
    |---------------------|----------------------|--------------------------------|
    | the scheme's matrix | its recurrent matrix | zero; forget gate: the scheme's|

    Args:
        name: of the cell.
        scheme: the initial distributions.
        key: decides all draws.
        inputs: the width of x.
        hidden: the width of h.

    """
    cell = CELLS[name]
    k_x, k_h = jax.random.split(key)
    b = jnp.zeros(cell.gates * hidden)
    if cell.forget_gate:
        b = b.at[:hidden].set(scheme.forget_bias)
    wx = gates(scheme.matrix, k_x, (inputs, hidden), cell.gates)
    return CellParams(
        jnp.concatenate([wx, gates(scheme.recurrent, k_h, (hidden, hidden), cell.gates)]), b
    )


def layer(
    name: CellName,
    params: CellParams,
    carry: Carry,
    xs: Float[Array, "T B D"],
    length: Int[Array, " B"] | None = None,
    *,
    dtype: Dtype = "float32",
) -> tuple[Carry, Float[Array, "T B H"]]:
    """`unroll` of a cell, for long sequences in narrow batches: fewer products inside the loop.

    The product with the rows of x is taken for all times before the loop, and the gradient of the
    rows of h for all times after it. Seq2seq's cells, at 128 rows and 30 times, gained nothing.

    Args:
        name: of the cell.
        params: its W and b.
        carry: before the first step.
        xs: the inputs of all times.
        length: of each row; None: every row is full.
        dtype: of the products with W.

    """
    width = xs.shape[-1]
    z = add_bias(product(xs, w=params.w[:width], dtype=dtype), params.b)
    loop = _loop if name == "gru" else _deferred  # a GRU's h and r ⊙ h are in two products
    return loop(name, dtype, params.w[width:], carry, z, length)


def _loop(
    name: CellName,
    dtype: Dtype,
    w: Float[Array, "H G"],
    carry: Carry,
    z: Float[Array, "T B G"],
    length: Int[Array, " B"] | None,
) -> tuple[Carry, Float[Array, "T B H"]]:
    """The time loop: what x contributes to the gates, z, is a bias of each row and time."""

    def step(w: Array, carry: Carry, z: Array) -> tuple[Carry, Array]:
        return CELLS[name].step(CellParams(w, z), carry, jnp.zeros((z.shape[0], 0)), dtype=dtype)

    return unroll(step, w, carry, z, length)


_deferred = partial(jax.custom_vjp, nondiff_argnums=(0, 1))(_loop)


def _deferred_forward(name, dtype, w, carry, z, length):
    (final, hs), pull = jax.vjp(lambda carry, z: _loop(name, dtype, w, carry, z, length), carry, z)
    return (final, hs), (pull, jnp.concatenate([carry.h[None], hs[:-1]]))


def _deferred_backward(name, dtype, residuals, cotangents):
    """∂W = Σ_t h_{t-1}ᵀ ∂z_t. Padding's h is zero, not the frozen one, but its ∂z is zero too."""
    pull, before = residuals
    dcarry, dz = pull(cotangents)
    _, dw = jax.vjp(
        lambda w: product(before, w=w, dtype=dtype), jnp.zeros((before.shape[-1], dz.shape[-1]))
    )
    return *dw(dz), dcarry, dz, None


_deferred.defvjp(_deferred_forward, _deferred_backward)
