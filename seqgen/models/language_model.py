"""Recurrent language models: p(token | all tokens before it) (Mikolov et al. 2010; the book's chapters 5 and 6).

Rnnlm is one LSTM (the book's §6.4); BetterRnnlm two, with dropout and a tied output (§6.5; Zaremba et al. 2014).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.cells import CELLS, CellName, CellParams, init_cell, layer
from seqgen.nn.init import SCHEMES, SchemeName, check_sizes
from seqgen.nn.layers import Dtype, Linear, add_bias, dropout, embed, init_embedding, product, wide_linear
from seqgen.types import Batch, Carry, Memory, Noise, Out, Start

Mask = Literal["plain", "locked"]
"""Dropout drawn anew at every time step (Srivastava et al. 2014), or once a sequence (Gal & Ghahramani 2016, §3)."""


@dataclass(frozen=True)
class Config:
    """`tied`: the output matrix is the embedding's (Press & Wolf 2017). `vocabulary` comes from the data."""

    embedding: int = 100
    hidden: int = 100
    layers: int = 1
    cell: CellName = "lstm"
    tied: bool = False
    mask: Mask = "plain"
    init: SchemeName = "book"
    dtype: Dtype = "float32"
    vocabulary: int = 0

    def __post_init__(self) -> None:
        check_sizes(embedding=self.embedding, hidden=self.hidden, layers=self.layers)
        if self.tied and self.embedding != self.hidden:
            raise ValueError(f"a tied output needs embedding and hidden alike, not {self.embedding} and {self.hidden}")


class Params(NamedTuple):
    """The model's weights; `w` is None where the output is tied."""

    embedding: Float[Array, "V D"]
    cells: tuple[CellParams, ...]
    w: Float[Array, "H V"] | None
    b: Float[Array, " V"]


def init(cfg: Config, key: Key[Array, ""]) -> Params:
    """| embedding | the scheme's embedding | cells | `init_cell` | w | the scheme's matrix | b | zero |."""
    k_embedding, k_cells, k_output = jax.random.split(key, 3)
    scheme, keys = SCHEMES[cfg.init], jax.random.split(k_cells, cfg.layers)
    widths = [cfg.embedding] + [cfg.hidden] * (cfg.layers - 1)
    return Params(
        init_embedding(scheme, k_embedding, cfg.vocabulary, cfg.embedding),
        tuple(init_cell(cfg.cell, scheme, k, width, cfg.hidden) for k, width in zip(keys, widths, strict=True)),
        None if cfg.tied else scheme.matrix(k_output, (cfg.hidden, cfg.vocabulary)),
        jnp.zeros(cfg.vocabulary),
    )


def blank(cfg: Config, rows: int) -> tuple[Carry, ...]:
    """The carry before the first token of a stream."""
    return tuple(CELLS[cfg.cell].carry(jnp.zeros((rows, cfg.hidden))) for _ in range(cfg.layers))  # none shared: all donated


def _unroll(
    cfg: Config, params: Params, tokens: Int[Array, "B T"], carry: Carry, length: Int[Array, " B"] | None, noise: Noise | None
) -> tuple[Carry, Float[Array, "B T H"]]:
    """Dropout after the embedding and after every cell: Zaremba et al. 2014, §3.1."""

    def drop(x: Float[Array, "T B D"], place: int) -> Float[Array, "T B D"]:
        return dropout(x, noise, place, lock=cfg.mask == "locked")

    x, carries = drop(embed(params.embedding, tokens.T), 0), []
    for place, (cell, before) in enumerate(zip(params.cells, carry, strict=True), start=1):
        after, x = layer(cfg.cell, cell, before, x, length, dtype=cfg.dtype)
        carries.append(after)
        x = drop(x, place)
    return tuple(carries), x.swapaxes(0, 1)


def _readout(cfg: Config, params: Params, h: Float[Array, "B *T H"]) -> Out:
    w = params.embedding.T if params.w is None else params.w
    return Out(wide_linear(Linear(w, params.b), h, dtype=cfg.dtype), {})


def states(cfg: Config, params: Params, tokens: Int[Array, "B T"]) -> Float[Array, "B T H"]:
    """What the last cell puts out after each token, from a blank carry."""
    return _unroll(cfg, params, tokens, blank(cfg, tokens.shape[0]), None, None)[1]


def apply(cfg: Config, params: Params, batch: Batch, carry: Carry, noise: Noise | None = None) -> tuple[Carry, Out]:
    """Logits [B, T, V] of the token after each of `batch.inputs`, and the carry with which the lanes go on."""
    carry, h = _unroll(cfg, params, batch.inputs, carry, None, noise)
    return carry, _readout(cfg, params, h)


def start(cfg: Config, params: Params, source: Int[Array, "B S"], length: Int[Array, " B"] | None) -> Start:
    """Read a prompt of one token or more but its last one, which is the first to feed."""
    rows, width = source.shape
    last = jnp.full(rows, width - 1, jnp.int32) if length is None else length - 1
    carry, _ = _unroll(cfg, params, source, blank(cfg, rows), last, None)
    token = jnp.take_along_axis(source, last[:, None], axis=1)[:, 0].astype(jnp.int32)
    return Start(Memory((), None, jnp.zeros((rows, 0))), carry, token)


FEW = 256
"""Symbols, bytes say, of which the first product is taken for all: in a loop that is once, before it."""


def step(cfg: Config, params: Params, memory: Memory, carry: Carry, token: Int[Array, " B"]) -> tuple[Carry, Out]:
    """One token further: logits [B, V]."""
    cells = list(params.cells)
    if cfg.vocabulary <= FEW:
        first, width = cells[0], cfg.embedding
        every = add_bias(product(params.embedding, w=first.w[:width], dtype=cfg.dtype), first.b)
        cells[0] = CellParams(first.w[width:], embed(every, token))
        x = jnp.zeros((token.shape[0], 0))
    else:
        x = embed(params.embedding, token)
    carries = []
    for cell, before in zip(cells, carry, strict=True):
        after, x = CELLS[cfg.cell].step(cell, before, x, dtype=cfg.dtype)
        carries.append(after)
    return tuple(carries), _readout(cfg, params, x)
