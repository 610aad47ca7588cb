"""A decoder is what is read and where it enters: `inputs` join the recurrence, `outputs` join the readout.

| variant          | inputs       | outputs          | source                          |
|------------------|--------------|------------------|---------------------------------|
| baseline         |              |                  | Sutskever et al. 2014           |
| peeky            | summary      | summary          | Cho et al. 2014; the book §7.4.2|
| attention        |              | dot              | Luong et al. 2015; the book §8.1|
| peeky-attention  | summary      | summary, dot     |                                 |
| Bahdanau         | additive     |                  | Bahdanau et al. 2015            |

`recur` is all that feeds back, `readout` all that does not: decoding composes them, training reads out all times at once.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqgen.nn.attention import READERS, ReaderName
from seqgen.nn.cells import CELLS, CellName, CellParams, init_cell
from seqgen.nn.init import Scheme, check_sizes
from seqgen.nn.layers import Dtype, Linear, add_bias, dropout, init_embedding, init_linear, linear, product
from seqgen.types import Carry, Memory, Noise, Out


@dataclass(frozen=True)
class Config:
    """One recurrent layer, and the readers at its two places."""

    embedding: int = 16
    hidden: int = 128
    cell: CellName = "lstm"
    inputs: tuple[ReaderName, ...] = ()
    outputs: tuple[ReaderName, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(embedding=self.embedding, hidden=self.hidden)


class Params(NamedTuple):
    """The decoder's weights; one entry a reader, None for a reader without any."""

    embedding: Float[Array, "V D"]
    inputs: tuple[Any, ...]
    cell: CellParams
    outputs: tuple[Any, ...]
    affine: Linear


class Features(NamedTuple):
    """What `recur` hands to `readout`: the cell's output and what the input readers looked at."""

    h: Float[Array, "B *T H"]
    aux: dict[str, Array]


def init(cfg: Config, scheme: Scheme, key: Key[Array, ""], vocabulary: int, width: int) -> Params:
    """For a memory of `width`.

    | embedding | the scheme's embedding | cell | `init_cell` | affine | the scheme's matrix, zero bias |
    """
    k_embedding, k_inputs, k_cell, k_outputs, k_affine = jax.random.split(key, 5)

    def readers(names: tuple[ReaderName, ...], key: Key[Array, ""]) -> tuple[Any, ...]:
        keys = [jax.random.fold_in(key, i) for i in range(len(names))]
        return tuple(READERS[name].init(scheme, k, cfg.hidden, width) for name, k in zip(names, keys, strict=True))

    return Params(
        init_embedding(scheme, k_embedding, vocabulary, cfg.embedding),
        readers(cfg.inputs, k_inputs),
        init_cell(cfg.cell, scheme, k_cell, cfg.embedding + width * len(cfg.inputs), cfg.hidden),
        readers(cfg.outputs, k_outputs),
        init_linear(scheme, k_affine, cfg.hidden + width * len(cfg.outputs), vocabulary),
    )


def read(
    names: tuple[ReaderName, ...], params: tuple[Any, ...], memory: Memory, query: Float[Array, "B *T H"], dtype: Dtype
) -> tuple[list[Float[Array, "B *T E"]], dict[str, Array]]:
    """The context of each reader, and the attention of those that attend, joined along the heads."""
    reads = [READERS[name].read(p, memory, query, dtype=dtype) for name, p in zip(names, params, strict=True)]
    return [context for context, _ in reads], join_aux(*(aux for _, aux in reads))


def join_aux(*parts: dict[str, Array]) -> dict[str, Array]:
    """One aux of several: "attention" [B, *T, K, S] is joined along K."""
    maps = [aux["attention"] for aux in parts if "attention" in aux]
    return {"attention": jnp.concatenate(maps, axis=-2)} if maps else {}


def hold(cfg: Config, params: Params, memory: Memory, *, dtype: Dtype = "float32") -> Params:
    """What `recur` needs of the weights once the memory is known: a context that no query changes becomes a row's bias.

    Then its product is taken once a source, not once a step.
    """
    width, (w, b) = memory.summary.shape[-1], params.cell
    constant = [slice(i * width, (i + 1) * width) for i, name in enumerate(cfg.inputs) if READERS[name].constant]
    for rows in constant:
        b = add_bias(product(memory.summary, w=w[rows], dtype=dtype), b)
    for rows in reversed(constant):
        w = jnp.concatenate([w[: rows.start], w[rows.stop :]])
    return params._replace(cell=CellParams(w, b))


def recur(
    cfg: Config, held: Params, memory: Memory, carry: Carry, x: Float[Array, "B D"], *, dtype: Dtype = "float32"
) -> tuple[Carry, Features]:
    """One step of all that feeds back: the cell over the input readers' contexts (asked by the last h) and x."""
    asked = [(name, p) for name, p in zip(cfg.inputs, held.inputs, strict=True) if not READERS[name].constant]
    contexts, aux = read(tuple(name for name, _ in asked), tuple(p for _, p in asked), memory, carry.h, dtype)
    carry, h = CELLS[cfg.cell].step(held.cell, carry, jnp.concatenate([*contexts, x], axis=-1), dtype=dtype)
    return carry, Features(h, aux)


def readout(
    cfg: Config, params: Params, memory: Memory, features: Features, noise: Noise | None, *, dtype: Dtype = "float32"
) -> Out:
    """Logits of all that does not feed back, over any axes after the batch: affine of the output readers' contexts and h."""
    contexts, aux = read(cfg.outputs, params.outputs, memory, features.h, dtype)
    joined = dropout(jnp.concatenate([*contexts, features.h], axis=-1), noise, 2)
    return Out(linear(params.affine, joined, dtype=dtype), join_aux(features.aux, aux))
