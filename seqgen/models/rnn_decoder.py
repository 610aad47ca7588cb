"""A decoder is what is attended to and where it enters: `inputs` join the recurrence, `outputs`
the readout.

| variant         | inputs   | outputs      | source                             |
|-----------------|----------|--------------|------------------------------------|
| baseline        |          |              | Sutskever et al. 2014              |
| peeky           | context  | context      | Cho et al. 2014; the book §7.4.2   |
| attention       |          | dot          | Luong et al. 2015; the book §8.1   |
| peeky-attention | context  | context, dot |                                    |
| Bahdanau        | additive |              | Bahdanau et al. 2015               |

`recur` is all that feeds back, `readout` all that does not: decoding composes them, training reads
out all times at once. All is batch-first but the time loop: mechanisms take queries [B, *T, H], so
that the scores of a whole target are one product, and logits need no transposition.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seqgen.nn.attention import MECHANISMS, MechanismName
from seqgen.nn.cells import CELLS, CellName, CellParams, init_cell
from seqgen.nn.init import Scheme, check_sizes
from seqgen.nn.layers import (
    Dtype,
    Linear,
    add_bias,
    dropout,
    init_embedding,
    init_linear,
    linear,
    product,
)
from seqgen.types import Carry, DropoutState, Memory, Out


@dataclass(frozen=True)
class Config:
    """One recurrent layer, and the attention mechanisms at its two places."""

    embedding: int = 16
    hidden: int = 128
    cell: CellName = "lstm"
    inputs: tuple[MechanismName, ...] = ()
    outputs: tuple[MechanismName, ...] = ()

    def __post_init__(self) -> None:
        check_sizes(embedding=self.embedding, hidden=self.hidden)


class Params(NamedTuple):
    """The decoder's weights; one entry per mechanism, None for a mechanism without any."""

    embedding: Float[Array, "V D"]
    inputs: tuple[Any, ...]
    cell: CellParams
    outputs: tuple[Any, ...]
    affine: Linear


class Features(NamedTuple):
    """What `recur` gives `readout`: the cell's output, and where the input mechanisms attended."""

    h: Float[Array, "B *T H"]
    aux: dict[str, Array]


def init(
    cfg: Config, scheme: Scheme, key: Key[Array, ""], *, vocabulary: int, width: int
) -> Params:
    """The scheme's embedding, a cell as of `init_cell`; its matrix and a zero bias for the logits.

    Args:
        cfg: the decoder's settings.
        scheme: of initial values.
        key: what they are drawn from.
        vocabulary: how many tokens there are.
        width: the memory's.

    """
    k_embedding, k_inputs, k_cell, k_outputs, k_affine = jax.random.split(key, 5)

    def mechanisms(names: tuple[MechanismName, ...], key: Key[Array, ""]) -> tuple[Any, ...]:
        keys = [jax.random.fold_in(key, i) for i in range(len(names))]
        pairs = zip(names, keys, strict=True)
        return tuple(MECHANISMS[name].init(scheme, k, cfg.hidden, width) for name, k in pairs)

    joined = cfg.embedding + width * len(cfg.inputs)
    return Params(
        init_embedding(scheme, k_embedding, vocabulary, cfg.embedding),
        mechanisms(cfg.inputs, k_inputs),
        init_cell(cfg.cell, scheme, k_cell, joined, cfg.hidden),
        mechanisms(cfg.outputs, k_outputs),
        init_linear(scheme, k_affine, cfg.hidden + width * len(cfg.outputs), vocabulary),
    )


def attend(
    names: tuple[MechanismName, ...],
    params: tuple[Any, ...],
    memory: Memory,
    query: Float[Array, "B *T H"],
    *,
    dtype: Dtype,
) -> tuple[list[Float[Array, "B *T E"]], dict[str, Array]]:
    """The context of each mechanism, and the maps of those that have one, joined along the heads.

    Args:
        names: the mechanisms.
        params: their weights, in the same order.
        memory: what is attended to.
        query: what asks.
        dtype: the precision of products.

    """
    pairs = zip(names, params, strict=True)
    found = [MECHANISMS[name].attend(p, memory, query, dtype=dtype) for name, p in pairs]
    return [context for context, _ in found], join_aux(*(aux for _, aux in found))


def join_aux(*parts: dict[str, Array]) -> dict[str, Array]:
    """One aux of several: "attention" [B, *T, K, S] is joined along K."""
    maps = [aux["attention"] for aux in parts if "attention" in aux]
    return {"attention": jnp.concatenate(maps, axis=-2)} if maps else {}


def precompute(cfg: Config, params: Params, memory: Memory, *, dtype: Dtype = "float32") -> Params:
    """The weights as `recur` takes them: the product of a context that no query changes is a bias.

    It is then taken once per source, not once per step.

    Args:
        cfg: the decoder's settings.
        params: its weights.
        memory: what is attended to.
        dtype: the precision of products.

    """
    width, (w, b) = memory.summary.shape[-1], params.cell
    constant = [
        slice(i * width, (i + 1) * width)
        for i, name in enumerate(cfg.inputs)
        if MECHANISMS[name].constant
    ]
    for rows in constant:
        b = add_bias(product(memory.summary, w=w[rows], dtype=dtype), b)
    for rows in reversed(constant):
        w = jnp.concatenate([w[: rows.start], w[rows.stop :]])
    return params._replace(cell=CellParams(w, b))


def recur(
    cfg: Config,
    precomputed: Params,
    memory: Memory,
    carry: Carry,
    x: Float[Array, "B D"],
    *,
    dtype: Dtype = "float32",
) -> tuple[Carry, Features]:
    """One step of all that feeds back: the cell over the input contexts, asked by the last h, and
    x.

    Args:
        cfg: the decoder's settings.
        precomputed: what `precompute` gives.
        memory: what is attended to.
        carry: the cell's.
        x: embedded tokens.
        dtype: the precision of products.

    """
    asked = [
        (name, p)
        for name, p in zip(cfg.inputs, precomputed.inputs, strict=True)
        if not MECHANISMS[name].constant
    ]
    names, params = tuple(name for name, _ in asked), tuple(p for _, p in asked)
    contexts, aux = attend(names, params, memory, carry.h, dtype=dtype)
    joined = jnp.concatenate([*contexts, x], axis=-1)
    carry, h = CELLS[cfg.cell].step(precomputed.cell, carry, joined, dtype=dtype)
    return carry, Features(h, aux)


def readout(
    cfg: Config,
    params: Params,
    memory: Memory,
    features: Features,
    *,
    dropout_state: DropoutState | None,
    dtype: Dtype = "float32",
) -> Out:
    """Logits: an affine map of the output contexts and h, over any axes after the batch.

    Args:
        cfg: the decoder's settings.
        params: its weights.
        memory: what is attended to.
        features: what `recur` gave.
        dropout_state: None in evaluation.
        dtype: the precision of products.

    """
    contexts, aux = attend(cfg.outputs, params.outputs, memory, features.h, dtype=dtype)
    joined = dropout(jnp.concatenate([*contexts, features.h], axis=-1), dropout_state, 2)
    return Out(linear(params.affine, joined, dtype=dtype), join_aux(features.aux, aux))
