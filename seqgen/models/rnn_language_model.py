"""Recurrent language models: p(token | all before it) (Mikolov et al. 2010; the book's chapters 5,
6).

Rnnlm is one LSTM (the book's §6.4); BetterRnnlm two, with dropout and a tied output (§6.5; Zaremba
et al. 2014).
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from seqgen.nn.cells import CELLS, CellName, CellParams, init_cell, layer
from seqgen.nn.init import SCHEMES, SchemeName, check_sizes
from seqgen.nn.layers import (
    Dtype,
    Linear,
    add_bias,
    dropout,
    embed,
    init_embedding,
    product,
    wide_linear,
)
from seqgen.types import Batch, Carry, DropoutState, Memory, Model, Out, Sizes, Start


@dataclass(frozen=True)
class Config:
    """`tied`: the output matrix is the embedding's (Press & Wolf 2017).

    `variational_dropout` drops the same features at all times of a sequence (Gal & Ghahramani 2016,
    §3), without it others at every time (Srivastava et al. 2014).
    """

    embedding: int = 100
    hidden: int = 100
    layers: int = 1
    cell: CellName = "lstm"
    tied: bool = False
    variational_dropout: bool = False
    init: SchemeName = "book"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        check_sizes(embedding=self.embedding, hidden=self.hidden, layers=self.layers)
        if self.tied and self.embedding != self.hidden:
            raise ValueError(
                "a tied output needs embedding and hidden alike, not "
                f"{self.embedding} and {self.hidden}"
            )


class Params(NamedTuple):
    """The model's weights; `w` is None where the output is tied."""

    embedding: Float[Array, "V D"]
    cells: tuple[CellParams, ...]
    w: Float[Array, "H V"] | None
    b: Float[Array, " V"]


def build(cfg: Config, sizes: Sizes) -> Model:
    """The model's functions over tokens of these sizes."""
    return Model(
        partial(init, cfg, sizes),
        lambda params, rows: initial_state(cfg, rows),
        partial(apply, cfg),
        partial(start, cfg),
        partial(step, cfg),
    )


def label(cfg: Config) -> str:
    """The name of its cell."""
    return cfg.cell


def unused(cfg: Config, dropout: float | None) -> dict[str, str]:
    """How features are dropped, where none are."""
    return {} if dropout else {"variational_dropout": "there is no dropout"}


def init(cfg: Config, sizes: Sizes, key: Key[Array, ""]) -> Params:
    """The scheme's embedding, cells as of `init_cell`, the scheme's matrix w, a zero b."""
    k_embedding, k_cells, k_output = jax.random.split(key, 3)
    scheme, keys = SCHEMES[cfg.init], jax.random.split(k_cells, cfg.layers)
    widths = [cfg.embedding] + [cfg.hidden] * (cfg.layers - 1)
    cells = zip(keys, widths, strict=True)
    return Params(
        init_embedding(scheme, k_embedding, sizes.target, cfg.embedding),
        tuple(init_cell(cfg.cell, scheme, k, width, cfg.hidden) for k, width in cells),
        None if cfg.tied else scheme.matrix(k_output, (cfg.hidden, sizes.target)),
        jnp.zeros(sizes.target),
    )


def initial_state(cfg: Config, rows: int) -> tuple[Carry, ...]:
    """The carry before the first token of a stream."""
    carry = CELLS[cfg.cell].carry  # a layer's own arrays, none shared: all are donated
    return tuple(carry(jnp.zeros((rows, cfg.hidden))) for _ in range(cfg.layers))


def unroll_layers(
    cfg: Config,
    params: Params,
    tokens: Int[Array, "B T"],
    carry: Carry,
    *,
    length: Int[Array, " B"] | None,
    dropout_state: DropoutState | None,
) -> tuple[Carry, Float[Array, "B T H"]]:
    """All layers over all times. Dropout after the embedding and every cell: Zaremba et al. 2014,
    §3.1.

    Args:
        cfg: the model's settings.
        params: its weights.
        tokens: what it reads.
        carry: its state before them.
        length: how many of a row's tokens count; None: all.
        dropout_state: None in evaluation.

    """

    def drop(x: Float[Array, "T B D"], place: int) -> Float[Array, "T B D"]:
        return dropout(x, dropout_state, place, variational=cfg.variational_dropout)

    x, carries = drop(embed(params.embedding, tokens.T), 0), []
    for place, (cell, before) in enumerate(zip(params.cells, carry, strict=True), start=1):
        after, x = layer(cfg.cell, cell, before, x, length, dtype=cfg.dtype)
        carries.append(after)
        x = drop(x, place)
    return tuple(carries), x.swapaxes(0, 1)


def readout(cfg: Config, params: Params, h: Float[Array, "B *T H"]) -> Float[Array, "B *T V"]:
    """Logits."""
    w = params.embedding.T if params.w is None else params.w
    return wide_linear(Linear(w, params.b), h, dtype=cfg.dtype)


def apply(
    cfg: Config,
    params: Params,
    batch: Batch,
    carry: Carry,
    dropout_state: DropoutState | None = None,
) -> tuple[Carry, Out]:
    """Logits [B, T, V] of the token after each of `batch.inputs`, and the carry to go on with.

    `aux["states"]` [B, T, H] is what the last cell puts out after each token.

    Args:
        cfg: the model's settings.
        params: its weights.
        batch: a window of a stream.
        carry: the state before it.
        dropout_state: None in evaluation.

    """
    carry, h = unroll_layers(
        cfg, params, batch.inputs, carry, length=None, dropout_state=dropout_state
    )
    return carry, Out(readout(cfg, params, h), {"states": h})


def start(
    cfg: Config,
    params: Params,
    source: Int[Array, "B S"],
    length: Int[Array, " B"] | None,
    *,
    capacity: int | None = None,
) -> Start:
    """Read a prompt of one token or more but its last one, which is the first to feed.

    Args:
        cfg: the model's settings.
        params: its weights.
        source: prompts.
        length: theirs; None: all are full.
        capacity: how many tokens can follow; a recurrent state has room for any number.

    """
    rows, width = source.shape
    last = jnp.full(rows, width - 1, jnp.int32) if length is None else length - 1
    first = initial_state(cfg, rows)
    carry, _ = unroll_layers(cfg, params, source, first, length=last, dropout_state=None)
    token = jnp.take_along_axis(source, last[:, None], axis=1)[:, 0].astype(jnp.int32)
    return Start(Memory((), None, jnp.zeros((rows, 0))), carry, token)


FEW = 256
"""Up to this vocabulary size the first product is taken for all tokens.

XLA then moves it out of the loop.
"""


def step(
    cfg: Config, params: Params, memory: Memory, carry: Carry, token: Int[Array, " B"]
) -> tuple[Carry, Out]:
    """One token further: logits [B, V].

    Args:
        cfg: the model's settings.
        params: its weights.
        memory: empty.
        carry: the layers' states.
        token: the last one.

    """
    cells, vocabulary = list(params.cells), len(params.embedding)
    if vocabulary <= FEW:
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
    return tuple(carries), Out(readout(cfg, params, x), {})
