"""Encoder x decoder: sequence to sequence learning (Sutskever et al. 2014; the book's chapters 7 and 8)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seqgen.models import decoders, encoders
from seqgen.nn.init import SCHEMES, SchemeName
from seqgen.nn.layers import Dtype, dropout, embed
from seqgen.nn.recurrence import unroll
from seqgen.types import Batch, Carry, Memory, Noise, Out, Start


@dataclass(frozen=True)
class Config:
    """`vocabulary` and `delimiter` (the id of `_`, the first token to feed) come from the data."""

    encoder: encoders.Config = field(default_factory=encoders.Config)
    decoder: decoders.Config = field(default_factory=decoders.Config)
    passed: encoders.Passed = "h"
    init: SchemeName = "book"
    dtype: Dtype = "float32"
    vocabulary: int = 0
    delimiter: int = 0

    def __post_init__(self) -> None:
        e, d = self.encoder, self.decoder
        if self.passed == "h+c" and not e.cell == d.cell == "lstm":
            raise ValueError(f"passed='h+c' needs an LSTM on both sides, here {e.cell} and {d.cell}; 'h' would do")
        if e.hidden != d.hidden and "dot" in d.inputs + d.outputs:
            raise ValueError(f"dot attention needs equal widths, here {e.hidden} and {d.hidden}; 'general' would do")


class Params(NamedTuple):
    """The model's weights."""

    encoder: encoders.Params
    bridge: encoders.Bridge
    decoder: decoders.Params


def init(cfg: Config, key: Key[Array, ""]) -> Params:
    """| encoder | `encoders.init` | bridge | `encoders.init_bridge` | decoder | `decoders.init` |."""
    k_encoder, k_bridge, k_decoder = jax.random.split(key, 3)
    scheme, width = SCHEMES[cfg.init], cfg.encoder.hidden
    return Params(
        encoders.init(cfg.encoder, scheme, k_encoder, cfg.vocabulary),
        encoders.init_bridge(scheme, k_bridge, cfg.passed, width, cfg.decoder.hidden),
        decoders.init(cfg.decoder, scheme, k_decoder, cfg.vocabulary, width),
    )


def _encode(
    cfg: Config, params: Params, source: Int[Array, "B S"], length: Int[Array, " B"] | None, noise: Noise | None
) -> tuple[Memory, Carry]:
    memory, final = encoders.encode(cfg.encoder, params.encoder, source, length, noise, dtype=cfg.dtype)
    return memory, encoders.bridge(cfg.passed, cfg.decoder.cell, params.bridge, final, dtype=cfg.dtype)


def apply(cfg: Config, params: Params, batch: Batch, carry: Carry, noise: Noise | None = None) -> tuple[Carry, Out]:
    """Teacher forcing over a whole batch: logits [B, T, V], attention [B, T, K, S]. No carry crosses batches: `()`."""
    memory, first = _encode(cfg, params, batch.source, batch.length, noise)
    x = dropout(embed(params.decoder.embedding, batch.inputs.T), noise, 1)

    def recur(held: decoders.Params, carry: Carry, x: Array) -> tuple[Carry, decoders.Features]:
        return decoders.recur(cfg.decoder, held, memory, carry, x, dtype=cfg.dtype)

    held = decoders.hold(cfg.decoder, params.decoder, memory, dtype=cfg.dtype)
    _, features = unroll(recur, held, first, x)
    features = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), features)
    return carry, decoders.readout(cfg.decoder, params.decoder, memory, features, noise, dtype=cfg.dtype)


def start(cfg: Config, params: Params, source: Int[Array, "B S"], length: Int[Array, " B"] | None) -> Start:
    """Encode; the first token to feed is the delimiter."""
    memory, carry = _encode(cfg, params, source, length, None)
    return Start(memory, carry, jnp.full(source.shape[0], cfg.delimiter, jnp.int32))


def step(cfg: Config, params: Params, memory: Memory, carry: Carry, token: Int[Array, " B"]) -> tuple[Carry, Out]:
    """One decoding step, readout ∘ recur: logits [B, V], attention [B, K, S]."""
    x = embed(params.decoder.embedding, token)
    held = decoders.hold(cfg.decoder, params.decoder, memory, dtype=cfg.dtype)
    carry, features = decoders.recur(cfg.decoder, held, memory, carry, x, dtype=cfg.dtype)
    return carry, decoders.readout(cfg.decoder, params.decoder, memory, features, None, dtype=cfg.dtype)
