"""The alphabet of shapes and the containers that cross module borders, each defined once.

B batch · S source time · T target time · D embedding · E memory width · H hidden · V vocabulary
K attention heads · N examples or layers · M members of a grid · W beam width

Padding is defined here, once. `length=None` says that every row is full and no mask is computed (the book's
fixed-width layout, in which blanks are ordinary tokens). With a `length`, positions at or past it are padding:
the recurrence freezes its carry and puts out zeros there, attention gives them no weight, losses leave them out.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, Key

Tree = Any
"""Any pytree of arrays."""

Config = Any
"""A model's frozen, hashable dataclass: every field changes a shape or the program."""

Params = Any
"""The weights of one module: a NamedTuple of arrays or of further `Params`."""

Carry = Any
"""What a recurrence hands to its next step. Every leaf is [B, ...]: beams gather it, prompts freeze it."""


class Noise(NamedTuple):
    """Dropout for one training step; `None` in its place means evaluation."""

    key: Key[Array, ""]
    rate: Float[Array, ""]


class Hyper(NamedTuple):
    """What may differ between two runs of one compiled program: traced, so a change never recompiles.

    `dropout` and `decay` None are no leaves: they leave dropout and weight decay out of the program.
    """

    lr: Float[Array, ""]
    clip: Float[Array, ""]
    dropout: Float[Array, ""] | None
    init_scale: Float[Array, ""]
    decay: Float[Array, ""] | None = None


class Member(NamedTuple):
    """All that tells two runs of one program apart: the root of every random stream, and the traced numbers."""

    key: Key[Array, ""]
    hyper: Hyper


class Memory(NamedTuple):
    """The encoder's legacy: decoders read it and never write it.

    `values` is [B, S, E] for the recurrent encoders; `summary` is the last layer's final h.
    """

    values: Tree
    mask: Bool[Array, "B S"] | None
    summary: Float[Array, "B E"]


class Start(NamedTuple):
    """Where decoding begins: `token` is the first one to feed."""

    memory: Memory
    carry: Carry
    token: Int[Array, " B"]


class Out(NamedTuple):
    """`aux["attention"]` is [B, *T, K, S] where something attends."""

    logits: Float[Array, "B *T V"]
    aux: dict[str, Array]


class Batch(NamedTuple):
    """Teacher forcing: `targets` is `inputs` one step later; `mask` marks the targets that count. NumPy's or jax's arrays.

    A language model has no `source`: it reads its lanes from where its carry stands.
    """

    source: Tree
    length: Int[Any, " B"] | None
    inputs: Int[Any, "B T"]
    targets: Int[Any, "B T"]
    mask: Bool[Any, "B T"]
