"""Recurrent cells: parameters, carry and one step. `CELLS` is the table that configurations name."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqgen.nn.init import Scheme, gates
from seqgen.nn.layers import Dtype, add_bias, product
from seqgen.types import Carry

CellName = Literal["lstm", "gru", "rnn"]


class CellParams(NamedTuple):
    """The gates side by side, G = 4H for the LSTM, 3H for the GRU, H for the vanilla RNN."""

    wx: Float[Array, "D G"]
    wh: Float[Array, "H G"]
    b: Float[Array, " G"]


class LstmCarry(NamedTuple):
    """h is what the cell puts out; c is its memory."""

    h: Float[Array, "B H"]
    c: Float[Array, "B H"]


class HiddenCarry(NamedTuple):
    """The carry of a cell without a memory of its own."""

    h: Float[Array, "B H"]


def lstm(
    params: CellParams, carry: LstmCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[LstmCarry, Float[Array, "B H"]]:
    """Long short-term memory with forget gate (Gers et al. 2000); gates in the order f, g, i, o.

    f, i, o = σ(x Wx + h Wh + b)    g = tanh(x Wx + h Wh + b)
    c' = f ⊙ c + g ⊙ i              h' = o ⊙ tanh(c')
    """
    z = add_bias(product(x, params.wx, dtype=dtype) + product(carry.h, params.wh, dtype=dtype), params.b)
    f, g, i, o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(f) * carry.c + jnp.tanh(g) * jax.nn.sigmoid(i)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return LstmCarry(h, c), h


def gru(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8; the book's Appendix C); gates in the order z, r, n.

    z, r = σ(x Wx + h Wh + b)    n = tanh(x Wx + (r ⊙ h) Wh + b)    h' = (1 - z) ⊙ h + z ⊙ n
    """
    h, hidden = carry.h, carry.h.shape[-1]
    x_z, x_r, x_n = jnp.split(add_bias(product(x, params.wx, dtype=dtype), params.b), 3, axis=-1)
    h_z, h_r = jnp.split(product(h, params.wh[:, : 2 * hidden], dtype=dtype), 2, axis=-1)
    z, r = jax.nn.sigmoid(x_z + h_z), jax.nn.sigmoid(x_r + h_r)
    n = jnp.tanh(x_n + product(r * h, params.wh[:, 2 * hidden :], dtype=dtype))
    h = (1 - z) * h + z * n
    return HiddenCarry(h), h


def rnn(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Vanilla recurrent network (Elman 1990): h' = tanh(x Wx + h Wh + b)."""
    z = add_bias(product(x, params.wx, dtype=dtype) + product(carry.h, params.wh, dtype=dtype), params.b)
    h = jnp.tanh(z)
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


def init_cell(name: CellName, scheme: Scheme, key: Key[Array, ""], inputs: int, hidden: int) -> CellParams:
    """| wx | the scheme's matrix, gate by gate | wh | its recurrent matrix, likewise | b | zero, forget gate: the scheme's |."""
    cell = CELLS[name]
    k_x, k_h = jax.random.split(key)
    b = jnp.zeros(cell.gates * hidden)
    if cell.forget_gate:
        b = b.at[:hidden].set(scheme.forget_bias)
    wx = gates(scheme.matrix, k_x, (inputs, hidden), cell.gates)
    return CellParams(wx, gates(scheme.recurrent, k_h, (hidden, hidden), cell.gates), b)
