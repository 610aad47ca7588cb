"""Source -> (Memory, final carry), and the bridge that hands the final carry to a decoder."""

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
from seqgen.types import Carry, Memory, Noise

Passed = Literal["h", "h+c"]
"""What the decoder starts from: h alone, its c zero (the book's §7.3), or h and c (Sutskever et al. 2014)."""


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


def init(cfg: Config, scheme: Scheme, key: Key[Array, ""], vocabulary: int) -> Params:
    """| embedding | the scheme's embedding | cell | `init_cell` |."""
    k_embedding, k_cell = jax.random.split(key)
    table = init_embedding(scheme, k_embedding, vocabulary, cfg.embedding)
    return Params(table, init_cell(cfg.cell, scheme, k_cell, cfg.embedding, cfg.hidden))


def encode(
    cfg: Config,
    params: Params,
    source: Int[Array, "B S"],
    length: Int[Array, " B"] | None,
    noise: Noise | None,
    *,
    dtype: Dtype = "float32",
) -> tuple[Memory, Carry]:
    """Every state as memory, the last one as summary; the final carry is each row's own, at its own length."""
    x = dropout(embed(params.embedding, source.T), noise, 0)
    cell = CELLS[cfg.cell]
    carry = cell.carry(jnp.zeros((source.shape[0], cfg.hidden)))
    final, states = unroll(partial(cell.step, dtype=dtype), params.cell, carry, x, length)
    mask = None if length is None else jnp.arange(source.shape[1])[None, :] < length[:, None]
    return Memory(states.swapaxes(0, 1), mask, final.h), final


class Bridge(NamedTuple):
    """Projections of h and c; None where nothing passes or the widths agree."""

    h: Linear | None
    c: Linear | None


def init_bridge(scheme: Scheme, key: Key[Array, ""], passed: Passed, width: int, hidden: int) -> Bridge:
    """| h, c | the scheme's matrix, zero bias, where the widths differ |."""
    if width == hidden:
        return Bridge(None, None)
    k_h, k_c = jax.random.split(key)
    return Bridge(init_linear(scheme, k_h, width, hidden), init_linear(scheme, k_c, width, hidden) if passed == "h+c" else None)


def bridge(passed: Passed, cell: CellName, params: Bridge, final: Carry, *, dtype: Dtype = "float32") -> Carry:
    """The decoder's first carry from the encoder's final one."""
    h = final.h if params.h is None else linear(params.h, final.h, dtype=dtype)
    if passed == "h":
        return CELLS[cell].carry(h)
    return LstmCarry(h, final.c if params.c is None else linear(params.c, final.c, dtype=dtype))
