"""Recurrent cells: parameters, carry and one step. `CELLS` is the table that configurations name."""

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
    """W has the rows of x above those of h, and the gates side by side: G = 4H (LSTM), 3H (GRU) or H (vanilla RNN).

    One product of [x, h] is faster than two. A bias may be a row's own: that of `decoders.hold`.
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


def affine(params: CellParams, x: Float[Array, "B D"], h: Float[Array, "B H"], dtype: Dtype) -> Float[Array, "B G"]:
    """[x, h] W + b, all gates at once."""
    return add_bias(product(x, h, w=params.w, dtype=dtype), params.b)


@jax.custom_vjp
def lstm_gates(z: Float[Array, "B G"], c: Float[Array, "B H"]) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
    """(h', c') of gates before their squashing; the backward pass is written out: autodiff's is slower."""
    return _gates_forward(z, c)[0]


def _gates_forward(z, c):
    f, g, i, o = jnp.split(z, 4, axis=-1)
    f, g, i, o = jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(i), jax.nn.sigmoid(o)
    new = f * c + g * i
    return (o * jnp.tanh(new), new), (f, g, i, o, c)


def _gates_backward(kept, cotangents):
    """∂c' = dc' + dh' ⊙ o ⊙ (1 - tanh²c'), and from it each gate's, times σ' = σ(1 - σ) or tanh' = 1 - tanh².

    tanh c' is computed anew: to keep it costs more. The barriers keep XLA from computing it and ∂c' anew for each gate.
    """
    f, g, i, o, c = kept
    dh, dc = cotangents
    squashed = lax.optimization_barrier(jnp.tanh(f * c + g * i))
    dc = lax.optimization_barrier(dc + dh * o * (1 - squashed**2))
    dz = [dc * c * f * (1 - f), dc * i * (1 - g**2), dc * g * i * (1 - i), dh * squashed * o * (1 - o)]
    return jnp.concatenate(dz, axis=-1), dc * f


lstm_gates.defvjp(_gates_forward, _gates_backward)


def lstm(
    params: CellParams, carry: LstmCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[LstmCarry, Float[Array, "B H"]]:
    """Long short-term memory with forget gate (Gers et al. 2000); gates in the order f, g, i, o.

    f, i, o = σ([x, h] W + b)    g = tanh([x, h] W + b)
    c' = f ⊙ c + g ⊙ i           h' = o ⊙ tanh(c')
    """
    h, c = lstm_gates(affine(params, x, carry.h, dtype), carry.c)
    return LstmCarry(h, c), h


def gru(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Gated recurrent unit (Cho et al. 2014, eq. 5-8; the book's Appendix C); gates in the order z, r, n.

    z, r = σ([x, h] W + b)    n = tanh([x, r ⊙ h] W + b)    h' = (1 - z) ⊙ h + z ⊙ n
    """
    h, split = carry.h, 2 * carry.h.shape[-1]
    update, candidate = (CellParams(params.w[:, part], params.b[..., part]) for part in (slice(split), slice(split, None)))
    z, r = jnp.split(jax.nn.sigmoid(affine(update, x, h, dtype)), 2, axis=-1)
    n = jnp.tanh(affine(candidate, x, r * h, dtype))
    h = (1 - z) * h + z * n
    return HiddenCarry(h), h


def rnn(
    params: CellParams, carry: HiddenCarry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[HiddenCarry, Float[Array, "B H"]]:
    """Vanilla recurrent network (Elman 1990): h' = tanh([x, h] W + b)."""
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


def init_cell(name: CellName, scheme: Scheme, key: Key[Array, ""], inputs: int, hidden: int) -> CellParams:
    """Gate by gate.

    | w, rows of x | the scheme's matrix | w, rows of h | its recurrent matrix | b | zero; forget gate: the scheme's |
    """
    cell = CELLS[name]
    k_x, k_h = jax.random.split(key)
    b = jnp.zeros(cell.gates * hidden)
    if cell.forget_gate:
        b = b.at[:hidden].set(scheme.forget_bias)
    wx = gates(scheme.matrix, k_x, (inputs, hidden), cell.gates)
    return CellParams(jnp.concatenate([wx, gates(scheme.recurrent, k_h, (hidden, hidden), cell.gates)]), b)


def layer(
    name: CellName,
    params: CellParams,
    carry: Carry,
    xs: Float[Array, "T B D"],
    length: Int[Array, " B"] | None = None,
    *,
    dtype: Dtype = "float32",
) -> tuple[Carry, Float[Array, "T B H"]]:
    """`unroll` of a cell, for long sequences in narrow batches: only what must wait for h stays in the loop.

    The rows of x take their product for all times before it, and the rows of h their gradient after it.
    """
    width = xs.shape[-1]
    z = add_bias(product(xs, w=params.w[:width], dtype=dtype), params.b)
    loop = _loop if name == "gru" else _deferred  # a GRU's rows of h are in two products
    return loop(name, dtype, params.w[width:], carry, z, length)


def _loop(
    name: CellName,
    dtype: Dtype,
    w: Float[Array, "H G"],
    carry: Carry,
    z: Float[Array, "T B G"],
    length: Int[Array, " B"] | None,
) -> tuple[Carry, Float[Array, "T B H"]]:
    """What x gives to the gates is a bias of each row and time."""

    def step(w: Array, carry: Carry, z: Array) -> tuple[Carry, Array]:
        return CELLS[name].step(CellParams(w, z), carry, jnp.zeros((z.shape[0], 0)), dtype=dtype)

    return unroll(step, w, carry, z, length)


_deferred = partial(jax.custom_vjp, nondiff_argnums=(0, 1))(_loop)


def _deferred_forward(name, dtype, w, carry, z, length):
    (final, hs), pull = jax.vjp(lambda carry, z: _loop(name, dtype, w, carry, z, length), carry, z)
    return (final, hs), (pull, jnp.concatenate([carry.h[None], hs[:-1]]))


def _deferred_backward(name, dtype, kept, cotangents):
    """∂W = Σ_t h_{t-1}ᵀ ∂z_t: padding's h is not the frozen one, but its ∂z is zero."""
    pull, before = kept
    dcarry, dz = pull(cotangents)
    _, dw = jax.vjp(lambda w: product(before, w=w, dtype=dtype), jnp.zeros((before.shape[-1], dz.shape[-1])))
    return *dw(dz), dcarry, dz, None


_deferred.defvjp(_deferred_forward, _deferred_backward)
