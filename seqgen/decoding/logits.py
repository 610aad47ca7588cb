"""Logits processors: pure functions `(logits, history, t) -> logits`, applied in turn.

They change what a token is chosen from. `history` has a row's tokens so far, -1 elsewhere; t is
how many they are. The prompt is not among them. `GenerationConfig` is what a person chooses.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from seqgen.errors import UsageError
from seqgen.ranges import INT32_MAX, check_count, in_float32

Logits = Float[Array, "B V"]
LogitsProcessor = Callable[
    [Float[Array, "B V"], Int[Array, "B T"], Int[Array, ""]], Float[Array, "B V"]
]


def apply_processors(
    processors: Sequence[LogitsProcessor],
    logits: Float[Array, "B V"],
    history: Int[Array, "B T"],
    t: Int[Array, ""],
) -> Logits:
    """The logits after all processors, in turn.

    Args:
        processors: each gets what the one before it gave.
        logits: what the model says of the next token.
        history: the tokens of each row so far, -1 elsewhere.
        t: how many they are.

    """
    for process in processors:
        logits = process(logits, history, t)
    return logits


def temperature(value: float) -> LogitsProcessor:
    """Logits / value: below 1 surer, above 1 more daring (Ackley et al. 1985)."""
    return lambda logits, history, t: logits / value


def ban(ids: Sequence[int]) -> LogitsProcessor:
    """These tokens never."""
    return lambda logits, history, t: logits.at[:, jnp.array(ids, jnp.int32)].set(-jnp.inf)


def minimum_length(length: int, end: int) -> LogitsProcessor:
    """No end before `length` other tokens."""
    return lambda logits, history, t: logits.at[:, end].set(
        jnp.where(t < length, -jnp.inf, logits[:, end])
    )


def repetition_penalty(penalty: float) -> LogitsProcessor:
    """Logits of tokens that the text has are divided by the penalty, negative ones multiplied.

    Keskar et al. 2019, §4.1.
    """

    def process(logits: Logits, history: Int[Array, "B T"], t: Int[Array, ""]) -> Logits:
        worse = jnp.where(logits > 0, logits / penalty, logits * penalty)
        return jnp.where(_seen(history, history >= 0, logits.shape[1]), worse, logits)

    return process


def no_repeat_ngram(n: int) -> LogitsProcessor:
    """No n tokens in a row that the text has already (Paulus et al. 2018, §2.5)."""

    def process(logits: Logits, history: Int[Array, "B T"], t: Int[Array, ""]) -> Logits:
        width = history.shape[1]
        if width < n:
            return logits
        begins = jnp.arange(width - n + 1)
        last = jnp.take(history, t - (n - 1) + jnp.arange(n - 1), axis=1, mode="clip")
        same = jnp.ones((len(history), len(begins)), bool)
        for i in range(n - 1):
            same &= history[:, i : i + len(begins)] == last[:, i, None]
        repeated = _seen(history[:, n - 1 :], same & (begins + n <= t)[None, :], logits.shape[1])
        return jnp.where(repeated, -jnp.inf, logits)

    return process


def _seen(
    tokens: Int[Array, "B N"], where: Bool[Array, "B N"], vocabulary: int
) -> Bool[Array, "B V"]:
    """Which tokens stand in a row at the places that count."""
    rows = jnp.arange(len(tokens))[:, None]
    places = jnp.where(where, tokens, vocabulary)
    return jnp.zeros((len(tokens), vocabulary), bool).at[rows, places].set(True, mode="drop")


def top_k(k: int) -> LogitsProcessor:
    """Only the k best (Fan et al. 2018, §5.4), and what is as good as the last of them."""

    def process(logits: Logits, history: Int[Array, "B T"], t: Int[Array, ""]) -> Logits:
        last = lax.top_k(logits, min(k, logits.shape[1]))[0][:, -1:]
        return jnp.where(logits >= last, logits, -jnp.inf)

    return process


def min_p(p: float) -> LogitsProcessor:
    """Only tokens at least p times as likely as the best (Nguyen et al. 2025, §3)."""
    return lambda logits, history, t: jnp.where(
        logits >= logits.max(axis=1, keepdims=True) + jnp.log(p), logits, -jnp.inf
    )


def top_p(p: float) -> LogitsProcessor:
    """Only the fewest best tokens whose probabilities sum up to p or more.

    Holtzman et al. 2020, §3.1. The lowest one's probability is found by bisection over the bits of
    a float, which are ordered like it: no sort.
    """

    def process(logits: Logits, history: Int[Array, "B T"], t: Int[Array, ""]) -> Logits:
        weights = jnp.exp(logits - logits.max(axis=1, keepdims=True))
        wanted = p * jnp.sum(weights, axis=1)

        def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bounds  # with `low` as the least there is enough, with `high` there is not
            middle = low + (high - low) // 2
            least = lax.bitcast_convert_type(middle, jnp.float32)
            enough = jnp.sum(weights, axis=1, where=weights >= least[:, None]) >= wanted
            return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

        above_one = jnp.full(len(logits), lax.bitcast_convert_type(jnp.float32(1), jnp.int32) + 1)
        low, _ = lax.fori_loop(0, 30, halve, (jnp.zeros_like(above_one), above_one))
        least = lax.bitcast_convert_type(low, jnp.float32)[:, None]
        return jnp.where(weights >= least, logits, -jnp.inf)

    return process


IN_TURN: dict[str, Callable[[Any], LogitsProcessor]] = {
    "no_repeat_ngram": no_repeat_ngram,
    "repetition_penalty": repetition_penalty,
    "temperature": temperature,
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
}
"""What a field's number makes: what is barred, how the rest is weighed, then what is cut off."""


COUNTS = {"top_k": INT32_MAX, "no_repeat_ngram": INT32_MAX, "min_length": INT32_MAX, "beam": 1000}
"""Fields of a GenerationConfig that count from 1, and the most of each."""

RANGES: dict[str, tuple[float, float, str]] = {
    "top_p": (1e-6, 1, "from 1e-6 to 1"),
    "min_p": (1e-6, 1, "from 1e-6 to 1"),
    "temperature": (0.01, 100, "from 0.01 to 100"),
    "repetition_penalty": (0.1, 10, "from 0.1 to 10"),
    "length_penalty": (-5, 5, "from -5 to 5"),
    "coverage_penalty": (0, 10, "from 0 to 10"),
}
"""The others, least and most, and that in words: beyond them float32 no longer tells the best
logit from those beside it, a probability is 0, or a score of a million tokens is not finite.
"""


@dataclass(frozen=True)
class GenerationConfig:
    """How texts are chosen: greedily, unless tokens are sampled or a beam is searched.

    Args:
        temperature: sample; below 1 surer, above 1 more daring.
        top_k: sample among the k best tokens.
        top_p: sample among the fewest tokens whose probabilities sum up to p.
        min_p: sample among tokens at least p times as likely as the best.
        repetition_penalty: make tokens that the text has less likely, by this factor.
        no_repeat_ngram: no n tokens in a row that the text has already.
        min_length: no end symbol before this many tokens.
        beam: search with this many hypotheses instead.
        length_penalty: how much a beam favours long texts: log p / ((5 + length) / 6) to this
            power.
        coverage_penalty: how much a beam minds parts of the source that a text leaves out: this
            times the sum of log min(attention they have had, 1) is added.

    Raises:
        UsageError: for a value that means nothing, and for a beam with sampling.

    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram: int | None = None
    min_length: int | None = None
    beam: int | None = None
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, most in COUNTS.items():
            check_count(f"generation.{name}", getattr(self, name), most)
        for name, (low, high, words) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not in_float32(value, low, high):
                raise UsageError(
                    f"{name} must be {words}, not {value}", fields=(f"generation.{name}",)
                )
        if self.beam is not None and self.samples:
            raise UsageError(
                "a beam searches and samples nothing: "
                "leave out temperature, top_k, top_p and min_p, or the beam",
                fields=tuple(
                    f"generation.{name}"
                    for name in ("temperature", "top_k", "top_p", "min_p", "beam")
                ),
            )
        for name in ("length_penalty", "coverage_penalty"):
            if (value := getattr(self, name)) and self.beam is None:
                raise UsageError(
                    f"{name} {value} is of a beam, and there is none",
                    fields=(f"generation.{name}", "generation.beam"),
                )

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        settings = (self.temperature, self.top_k, self.top_p, self.min_p)
        return any(value is not None for value in settings)

    def processors(
        self, banned: tuple[int, ...] = (), end: int | None = None
    ) -> tuple[LogitsProcessor, ...]:
        """The processors, in their order: bans, the shortest length, then those of `IN_TURN`."""
        found: list[LogitsProcessor] = [ban(banned)] if banned else []
        if self.min_length is not None and end is not None:
            found.append(minimum_length(self.min_length, end))
        made = ((make, getattr(self, name)) for name, make in IN_TURN.items())
        return (*found, *(make(value) for make, value in made if value is not None))


GREEDY = GenerationConfig()
