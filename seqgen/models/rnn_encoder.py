"""Source -> (Memory, final carry), and the projection of the final carry to a decoder's state."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.cells import CELLS, CellName, CellParams, LstmCarry, init_cell
from seqgen.nn.init import Scheme, check_sizes
from seqgen.nn.layers import Dtype, Linear, dropout, embed, init_embedding, init_linear, linear
from seqgen.nn.recurrence import unroll
from seqgen.types import Carry, DropoutState, Memory

InitialState = Literal["h", "h+c"]
"""What the decoder's state is made of: h alone, its c zero (the book's §7.3), or h and c
(Sutskever et al. 2014)."""


@dataclass(frozen=True)
class Config:
    """One recurrent layer over embedded tokens."""

    embedding: int = 16
    hidden: int = 128
    cell: CellName = "lstm"

    def __post_init__(self) -> None:
        check_sizes(embedding=self.embedding, hidden=self.hidden)


class Params(NamedTuple):
    """The encoder's weights."""

    embedding: Float[Array, "V D"]
    cell: CellParams


def init(cfg: Config, scheme: Scheme, key: Key[Array, ""], *, vocabulary: int) -> Params:
    """The scheme's embedding; a cell as of `init_cell`.

    Args:
        cfg: the encoder's settings.
        scheme: of initial values.
        key: what they are drawn from.
        vocabulary: how many tokens there are.

    """
    k_embedding, k_cell = jax.random.split(key)
    table = init_embedding(scheme, k_embedding, vocabulary, cfg.embedding)
    return Params(table, init_cell(cfg.cell, scheme, k_cell, cfg.embedding, cfg.hidden))


def encode(
    cfg: Config,
    params: Params,
    source: Int[Array, "B S"],
    *,
    length: Int[Array, " B"] | None,
    dropout_state: DropoutState | None,
    dtype: Dtype = "float32",
) -> tuple[Memory, Carry]:
    """Every state as memory, the last one as summary; the final carry is at each row's own length.

    Args:
        cfg: the encoder's settings.
        params: its weights.
        source: tokens.
        length: how many of a row's tokens count; None: all.
        dropout_state: None in evaluation.
        dtype: the precision of products.

    """
    x = dropout(embed(params.embedding, source.T), dropout_state, 0)
    cell = CELLS[cfg.cell]
    carry = cell.carry(jnp.zeros((source.shape[0], cfg.hidden)))
    final, states = unroll(partial(cell.step, dtype=dtype), params.cell, carry, x, length)
    mask = None if length is None else jnp.arange(source.shape[1])[None, :] < length[:, None]
    return Memory(states.swapaxes(0, 1), mask, final.h), final


class StateProjection(NamedTuple):
    """Projections of h and c; None where the state is not used or the widths agree."""

    h: Linear | None
    c: Linear | None


def init_projection(
    scheme: Scheme,
    key: Key[Array, ""],
    initial_state: InitialState,
    *,
    width: int,
    hidden: int,
) -> StateProjection:
    """For h and c the scheme's matrix and a zero bias, where the widths differ.

    Args:
        scheme: of initial values.
        key: what they are drawn from.
        initial_state: whether the decoder's c is made from the encoder's, too.
        width: the encoder's.
        hidden: the decoder's.

    """
    if width == hidden:
        return StateProjection(None, None)
    k_h, k_c = jax.random.split(key)
    c = init_linear(scheme, k_c, width, hidden) if initial_state == "h+c" else None
    return StateProjection(init_linear(scheme, k_h, width, hidden), c)


def project_state(
    params: StateProjection,
    final: Carry,
    initial_state: InitialState,
    *,
    cell: CellName,
    dtype: Dtype = "float32",
) -> Carry:
    """The decoder's initial state from the encoder's final one.

    Args:
        params: the projection.
        final: the encoder's final carry.
        initial_state: whether the decoder's c is made from the encoder's, too.
        cell: the decoder's.
        dtype: the precision of products.

    """
    h = final.h if params.h is None else linear(params.h, final.h, dtype=dtype)
    if initial_state == "h":
        return CELLS[cell].carry(h)
    return LstmCarry(h, final.c if params.c is None else linear(params.c, final.c, dtype=dtype))
