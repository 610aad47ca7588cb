"""Encoder x decoder: sequence to sequence learning (Sutskever et al. 2014; the book's chapters 7,
8).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seqgen.models import rnn_decoder, rnn_encoder
from seqgen.nn.init import SCHEMES, SchemeName
from seqgen.nn.layers import Dtype, dropout, embed
from seqgen.nn.recurrence import unroll
from seqgen.types import Batch, Carry, DropoutState, Memory, Model, Out, Sizes, Start


@dataclass(frozen=True)
class Config:
    """`initial_state` is what of the encoder's final state the decoder begins with."""

    encoder: rnn_encoder.Config = field(default_factory=rnn_encoder.Config)
    decoder: rnn_decoder.Config = field(default_factory=rnn_decoder.Config)
    initial_state: rnn_encoder.InitialState = "h"
    init: SchemeName = "book"
    dtype: Dtype = "float32"

    def __post_init__(self) -> None:
        e, d = self.encoder, self.decoder
        if self.initial_state == "h+c" and not e.cell == d.cell == "lstm":
            raise ValueError(
                f"initial_state='h+c' needs two LSTMs, not {e.cell} and {d.cell}; use 'h'"
            )
        if e.hidden != d.hidden and "dot" in d.inputs + d.outputs:
            raise ValueError(
                f"dot attention needs equal widths, not {e.hidden} and {d.hidden}; use 'general'"
            )


class Params(NamedTuple):
    """The model's weights."""

    encoder: rnn_encoder.Params
    projection: rnn_encoder.StateProjection
    decoder: rnn_decoder.Params


def build(cfg: Config, sizes: Sizes) -> Model:
    """The model's functions over tokens of these sizes.

    Raises:
        ValueError: where the source is no tokens, or answers begin with none.

    """
    if not isinstance(sizes.source, int) or sizes.special.bos is None:
        raise ValueError(f"an encoder-decoder needs source tokens and a bos, not {sizes}")
    return Model(
        partial(init, cfg, sizes),
        lambda params, rows: (),
        partial(apply, cfg),
        partial(start, cfg, sizes),
        partial(step, cfg),
    )


def label(cfg: Config) -> str:
    """peeky-attention and the like: what the decoder attends to."""
    names = {*cfg.decoder.inputs, *cfg.decoder.outputs}
    parts = ["peeky"] * ("context" in names) + ["attention"] * bool(names - {"context"})
    return "-".join(parts or ["baseline"])


def init(cfg: Config, sizes: Sizes, key: Key[Array, ""]) -> Params:
    """Encoder, projection and decoder, each by its own `init`."""
    k_encoder, k_projection, k_decoder = jax.random.split(key, 3)
    scheme, width, hidden = SCHEMES[cfg.init], cfg.encoder.hidden, cfg.decoder.hidden
    assert isinstance(sizes.source, int)  # see `build`
    initial = cfg.initial_state
    return Params(
        rnn_encoder.init(cfg.encoder, scheme, k_encoder, vocabulary=sizes.source),
        rnn_encoder.init_projection(scheme, k_projection, initial, width=width, hidden=hidden),
        rnn_decoder.init(cfg.decoder, scheme, k_decoder, vocabulary=sizes.target, width=width),
    )


def encode(
    cfg: Config,
    params: Params,
    source: Int[Array, "B S"],
    *,
    length: Int[Array, " B"] | None,
    dropout_state: DropoutState | None,
) -> tuple[Memory, Carry]:
    """The memory, and the decoder's initial state.

    Args:
        cfg: the model's settings.
        params: its weights.
        source: tokens.
        length: how many of a row's tokens count; None: all.
        dropout_state: None in evaluation.

    """
    memory, final = rnn_encoder.encode(
        cfg.encoder,
        params.encoder,
        source,
        length=length,
        dropout_state=dropout_state,
        dtype=cfg.dtype,
    )
    options = {"cell": cfg.decoder.cell, "dtype": cfg.dtype}
    return memory, rnn_encoder.project_state(params.projection, final, cfg.initial_state, **options)


def apply(
    cfg: Config,
    params: Params,
    batch: Batch,
    carry: Carry,
    dropout_state: DropoutState | None = None,
) -> tuple[Carry, Out]:
    """Teacher forcing: logits [B, T, V], attention [B, T, K, S]. No carry crosses batches: `()`.

    Args:
        cfg: the model's settings.
        params: its weights.
        batch: questions and answers.
        carry: `()`.
        dropout_state: None in evaluation.

    """
    memory, first = encode(
        cfg, params, batch.source, length=batch.length, dropout_state=dropout_state
    )
    x = dropout(embed(params.decoder.embedding, batch.inputs.T), dropout_state, 1)

    def recur(
        precomputed: rnn_decoder.Params, carry: Carry, x: Array
    ) -> tuple[Carry, rnn_decoder.Features]:
        return rnn_decoder.recur(cfg.decoder, precomputed, memory, carry, x, dtype=cfg.dtype)

    precomputed = rnn_decoder.precompute(cfg.decoder, params.decoder, memory, dtype=cfg.dtype)
    _, features = unroll(recur, precomputed, first, x)
    features = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), features)
    return carry, rnn_decoder.readout(
        cfg.decoder,
        params.decoder,
        memory,
        features,
        dropout_state=dropout_state,
        dtype=cfg.dtype,
    )


def start(
    cfg: Config,
    sizes: Sizes,
    params: Params,
    source: Int[Array, "B S"],
    length: Int[Array, " B"] | None,
    *,
    capacity: int | None = None,
) -> Start:
    """Encode; the first token to feed is bos. A recurrent state has room for any `capacity`.

    Args:
        cfg: the model's settings.
        sizes: what the data tells.
        params: the weights.
        source: tokens.
        length: how many of a row's tokens count; None: all.
        capacity: how many tokens can follow.

    """
    assert sizes.special.bos is not None  # see `build`
    memory, carry = encode(cfg, params, source, length=length, dropout_state=None)
    return Start(memory, carry, jnp.full(source.shape[0], sizes.special.bos, jnp.int32))


def step(
    cfg: Config, params: Params, memory: Memory, carry: Carry, token: Int[Array, " B"]
) -> tuple[Carry, Out]:
    """One decoding step, readout ∘ recur: logits [B, V], attention [B, K, S].

    Args:
        cfg: the model's settings.
        params: its weights.
        memory: what the encoder left.
        carry: the decoder's state.
        token: the last one.

    """
    x, decoder, dtype = embed(params.decoder.embedding, token), params.decoder, cfg.dtype
    precomputed = rnn_decoder.precompute(cfg.decoder, decoder, memory, dtype=dtype)
    carry, features = rnn_decoder.recur(cfg.decoder, precomputed, memory, carry, x, dtype=dtype)
    return carry, rnn_decoder.readout(
        cfg.decoder, decoder, memory, features, dropout_state=None, dtype=dtype
    )
