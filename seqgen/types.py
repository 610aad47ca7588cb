"""The alphabet of shapes and the containers that cross module borders, each defined once.

B batch · S source time · T target time · D embedding · E memory width · H hidden · V vocabulary
K attention heads · N examples or layers · M members of a sweep · W beam width

Padding is defined here, once. `length=None` says that every row is full and no mask is computed
(the book's fixed-width padding scheme, in which blanks are ordinary tokens). With a `length`,
positions at or past it are padding: the recurrence freezes its carry and puts out zeros there,
attention gives them no weight, losses leave them out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int, Key

Tree = Any
"""Any pytree of arrays."""

Config = Any
"""A model's frozen, hashable dataclass, what a person chooses: every field changes the program."""

Params = Any
"""The weights of one module: a NamedTuple of arrays or of further `Params`."""

Carry = Any
"""What a recurrence hands to its next step. Every leaf is [B, ...], or one scalar clock for all
rows.
"""


class Special(NamedTuple):
    """Ids of the tokens that mean something to a model or a decoder; None where there is none."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None


class Sizes(NamedTuple):
    """What the data tells a model.

    `source` is a vocabulary's size or an image's (height, width, channels). `source_special` is
    None where the source has the target's tokens; `shared` says that both sides have one
    vocabulary.
    """

    source: int | tuple[int, int, int]
    target: int
    special: Special
    source_special: Special | None = None
    shared: bool = True


class DropoutState(NamedTuple):
    """Dropout for one training step; `None` in its place means evaluation."""

    key: Key[Array, ""]
    rate: Float[Array, ""]


class Hyper(NamedTuple):
    """Traced hyper-parameters: they differ between runs of one compiled program.

    `dropout`, `decay` and `ema` None are no leaves: dropout, weight decay and the moving average of
    the weights are then not in the program.
    """

    learning_rate: Float[Array, ""]
    clip: Float[Array, ""]
    dropout: Float[Array, ""] | None
    init_scale: Float[Array, ""]
    decay: Float[Array, ""] | None = None
    ema: Float[Array, ""] | None = None


class Member(NamedTuple):
    """All that tells two runs of one program apart: the root of every random stream, and
    `hyper`.
    """

    key: Key[Array, ""]
    hyper: Hyper


class Memory(NamedTuple):
    """What an encoder leaves: decoders read it and never write it.

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
    """`aux["attention"]` is the map that a reader wants, the decoder's on its source [B, *T, K, S].

    Further maps stand under their place: "encoder.2", "decoder.self.0", "memory.write".
    """

    logits: Float[Array, "B *T V"]
    aux: dict[str, Array]


class Batch(NamedTuple):
    """Teacher forcing: `targets` is `inputs` one step later; `mask` marks the targets that count.

    NumPy's or jax's arrays. A language model has no `source`: it reads on from where its carry
    stands.
    """

    source: Tree
    length: Int[Any, " B"] | None
    inputs: Int[Any, "B T"]
    targets: Int[Any, "B T"]
    mask: Bool[Any, "B T"]


class Model(NamedTuple):
    """A model is five pure functions, which `seqgen.models.build` makes from its settings.

    init(key) -> Params
    initial_state(params, rows) -> Carry: what crosses windows and batches at first, a language
        model's state before the first token; () where nothing does
    apply(params, batch, carry, dropout_state) -> (carry, Out): teacher-forced, all times at once
    start(params, source, length, *, capacity) -> Start: encode, or read a ragged prompt; `capacity`
        tokens can follow
    step(params, memory, carry, token) -> (carry, Out): one token further

    `apply` is `step` scanned, values and gradients.
    """

    init: Callable[[Key[Array, ""]], Params]
    initial_state: Callable[[Params, int], Carry]
    apply: Callable[[Params, Batch, Carry, DropoutState | None], tuple[Carry, Out]]
    start: Callable[..., Start]
    step: Callable[[Params, Memory, Carry, Int[Array, " B"]], tuple[Carry, Out]]
