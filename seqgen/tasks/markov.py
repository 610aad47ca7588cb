"""Markov sources, plain and hidden. Entropies and losses are in nats per token."""

from bisect import bisect
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int32, Integer
from scipy.special import entr

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True)
class Markov:
    """Each token depends on the last few; how, is drawn from the seed.

    Args:
        order: how many tokens the next one depends on.
        size: symbols.
        seed: what the table of probabilities is drawn with.
        concentration: of the Dirichlet distribution that it is drawn from; the lower, the surer is
            the next token.

    Raises:
        ValueError: for settings without sense, or a table of more than 2¹⁶ probabilities.

    """

    order: int = 2
    size: int = 8
    seed: int = 0
    concentration: float = 0.3
    name: ClassVar[str] = "markov"

    def __post_init__(self) -> None:
        _check(self.size, self.seed, self.concentration)
        if self.order < 1 or self.size ** (self.order + 1) > 2**16:
            raise ValueError(
                "order must be 1 or more, with at most 2¹⁶ probabilities, not "
                f"{self.order} of size {self.size}"
            )

    @property
    def symbols(self) -> tuple[str, ...]:
        return LETTERS[: self.size]

    @cached_property
    def table(self) -> Float64[np.ndarray, "*context V"]:
        """p(token | context)."""
        generator = np.random.default_rng(self.seed)
        return _draw((self.size,) * (self.order + 1), self.concentration, generator)

    @cached_property
    def start(self) -> Float64[np.ndarray, "*context"]:
        """p(context), stationary."""
        return _stationary(self.table)

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        return _walk(self.table, self.start, generator, n)

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """From the table; for the first tokens, from the stationary distribution."""
        check_tokens(tokens, self.size)
        order, rest = self.order, max(len(tokens) - self.order, 0)
        first = [
            self.start.sum(tuple(range(t, order)))[tuple(tokens[:t])]
            for t in range(min(len(tokens), order) + 1)
        ]
        later = self.table[tuple(tokens[t : t + rest] for t in range(order + 1))]
        return -np.concatenate([np.diff(np.log(first)), np.log(later)])[1:]

    def entropy_bounds(self) -> tuple[float, float]:
        """H = -Σ π(context) Σ p(s | context) log p(s | context), twice.

        Cover & Thomas 2006, theorem 4.2.4.
        """
        rate = float((self.start[..., None] * entr(self.table)).sum())
        return rate, rate


@dataclass(frozen=True)
class HiddenMarkov:
    """Each token depends on a hidden state.

    All tokens before it tell something of that state, however far they go back.

    Args:
        states: hidden states.
        size: symbols.
        seed: what the tables of moves and tokens are drawn with.
        concentration: of the Dirichlet distribution of a state's tokens; the lower, the more they
            tell.
        stay: the probability of staying, where a state else moves as the table says (which may be
            to itself).

    Raises:
        ValueError: for settings without sense.

    """

    states: int = 3
    size: int = 5
    seed: int = 0
    concentration: float = 0.3
    stay: float = 0.7
    name: ClassVar[str] = "hmm"

    def __post_init__(self) -> None:
        _check(self.size, self.seed, self.concentration)
        if not 2 <= self.states <= 64:
            raise ValueError(f"states must be 2 to 64, not {self.states}")
        if not 0 <= self.stay < 1:
            raise ValueError(f"stay must be at least 0 and below 1, not {self.stay}")

    @property
    def symbols(self) -> tuple[str, ...]:
        return LETTERS[: self.size]

    @cached_property
    def tables(self) -> tuple[Float64[np.ndarray, "H H"], Float64[np.ndarray, "H V"]]:
        """p(next state | state) and p(token | state)."""
        generator = np.random.default_rng(self.seed)
        moves = _draw((self.states, self.states), 1.0, generator)
        emission = _draw((self.states, self.size), self.concentration, generator)
        return self.stay * np.eye(self.states) + (1 - self.stay) * moves, emission

    @cached_property
    def start(self) -> Float64[np.ndarray, " H"]:
        """p(state), stationary."""
        return _stationary(self.tables[0])

    def _steps(self) -> Float64[np.ndarray, "V H H"]:
        """p(token, next state | state)."""
        transition, emission = self.tables
        return emission.T[:, :, None] * transition

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        transition, emission = self.tables
        limits = emission.cumsum(axis=1)[_walk(transition, self.start, generator, n), :-1]
        return (generator.random((n, 1)) >= limits).sum(axis=1, dtype=np.int32)

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """By the forward filter.

        The belief is p(state t | tokens 0 to t - 1), at first the stationary distribution.
        """
        check_tokens(tokens, self.size)
        belief, steps, chances = self.start, list(self._steps()), []
        for token in tokens.tolist():
            joint = belief @ steps[token]
            chances.append(joint.sum())
            belief = joint / chances[-1]
        return -np.log(chances[1:])

    def entropy_bounds(self) -> tuple[float, float]:
        """H(Y | Y₋ₘ..Y₋₁, X₋ₘ) <= H <= H(Y | Y₋ₘ..Y₋₁), at most 1e-4 apart.

        Cover & Thomas 2006, theorem 4.5.1. A past goes on until its own two entropies are close:
        the bounds hold for any m that Y₋ₘ..Y₋₁ alone decides. Where that would take more than 2²³
        numbers at once (much to stay, many states or symbols), they are further apart.
        """
        emission, steps = self.tables[1], self._steps()
        pasts, ended = np.eye(self.states)[None], np.zeros(2)
        while True:
            # [N, H, H]: p(X₋ₘ, past, X) of the pasts that go on
            joint = self.start[:, None] * pasts
            below = _next_entropy(joint @ emission).sum(axis=1)
            bounds = np.stack([below, _next_entropy(joint.sum(axis=1) @ emission)])
            lower, upper = (ended + bounds.sum(axis=1)).tolist()
            if upper - lower <= 1e-4 or pasts.size * self.size > 2**23:
                return lower, upper
            wide = bounds[1] - bounds[0] > 5e-5 * joint.sum(axis=(1, 2))
            ended += bounds[:, ~wide].sum(axis=1)
            pasts = (steps[:, None] @ pasts[wide]).reshape(-1, self.states, self.states)


def _check(size: int, seed: int, concentration: float) -> None:
    if not 2 <= size <= len(LETTERS):
        raise ValueError(f"size must be 2 to {len(LETTERS)}, not {size}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if not 0.01 <= concentration <= 100:
        raise ValueError(f"concentration must be 0.01 to 100, not {concentration}")


def check_tokens(tokens: Integer[np.ndarray, " N"], size: int) -> None:
    """Raises `ValueError` for no tokens, and for ids that are not below `size`."""
    if not len(tokens) or tokens.min() < 0 or tokens.max() >= size:
        raise ValueError(f"there must be tokens, and all of them 0 to {size - 1}")


def _draw(
    shape: tuple[int, ...], concentration: float, generator: np.random.Generator
) -> Float64[np.ndarray, "*context V"]:
    """Dirichlet distributions, 1 % of each even.

    So a chain is irreducible and aperiodic, and does not mix too slowly.
    """
    drawn = generator.dirichlet(np.full(shape[-1], concentration), shape[:-1])
    return 0.99 * drawn + 0.01 / shape[-1]


def _stationary(table: Float64[np.ndarray, "*context V"]) -> Float64[np.ndarray, "*context"]:
    """π(b..s) = Σₐ π(a b..) p(s | a b..) over contexts, as its iteration's fixed point."""
    before, after = np.zeros(()), np.full(table.shape[:-1], table.shape[-1] / table.size)
    while abs(after - before).sum() > 1e-13:
        before, after = after, (after[..., None] * table).sum(axis=0)
    return after


def _walk(
    table: Float64[np.ndarray, "*context V"],
    start: Float64[np.ndarray, "*context"],
    generator: np.random.Generator,
    n: int,
) -> Int32[np.ndarray, " N"]:
    """`n` symbols of a chain that begins in a context drawn from `start`."""
    sums = table.cumsum(axis=-1).reshape(-1, table.shape[-1])
    limits = sums[:, :-1].tolist()  # without the last, which may be below 1
    context = int(generator.choice(start.size, p=start.ravel()))
    chain = [int(symbol) for symbol in np.unravel_index(context, start.shape)]
    for chance in generator.random(max(n - len(chain), 0)).tolist():
        chain.append(bisect(limits[context], chance))
        context = (context * table.shape[-1] + chain[-1]) % start.size
    return np.array(chain[:n], np.int32)


def _next_entropy(chances: Float64[np.ndarray, "*N V"]) -> Float64[np.ndarray, "*N"]:
    """H(token | past) p(past), from p(past, token)."""
    return entr(chances).sum(axis=-1) - entr(chances.sum(axis=-1))
