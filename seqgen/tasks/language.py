"""Corpora whose entropy is known: how good can any model be here? Losses and entropies are in nats a token."""

from bisect import bisect
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int32, Integer
from scipy.special import entr

Stack = tuple[str, ...]
"""What a sentence has still to become, leftmost first: words and nonterminals of a grammar."""

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")

LEXICON = {
    "Det1": "the a every",
    "Det2": "the some many",
    "Adj": "little big happy hungry tired",
    "Noun1": "dog cat girl boy bird horse child farmer",
    "Noun2": "dogs cats girls boys birds horses children farmers",
    "P": "near behind with",
    "I1": "sleeps runs sings waits",
    "I2": "sleep run sing wait",
    "T1": "sees likes chases hears follows",
    "T2": "see like chase hear follow",
    "K1": "says thinks knows",
    "K2": "say think know",
}
"""Words by class, most probable first (as 1 / rank); 1 is singular, 2 plural. No word but "the" is in two classes."""


@runtime_checkable
class Language(Protocol):
    """A source of tokens that knows its own probabilities. Its fields are numbers, which a run's config.json holds."""

    @property
    def name(self) -> str: ...

    @property
    def symbols(self) -> tuple[str, ...]:
        """The tokens' spellings, in order of their ids."""

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        """A stream of `n` tokens, or of a few more where it would else end within a sentence."""

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """-log p(token t | tokens 0 to t - 1), t = 1, 2, ... Raises `ValueError` for what the source cannot emit."""

    def floor(self) -> tuple[float, float]:
        """Lower and upper bound of the entropy rate, below which no model's mean loss on an endless stream can be."""


@dataclass(frozen=True)
class Markov:
    """Each token depends on the last few; how, is drawn from the seed.

    Args:
        order: how many tokens the next one depends on.
        size: symbols.
        seed: what the table of probabilities is drawn with.
        concentration: of the Dirichlet distribution that it is drawn from; the lower, the surer is the next token.

    """

    order: int = 2
    size: int = 8
    seed: int = 0
    concentration: float = 0.3
    name: ClassVar[str] = "markov"

    def __post_init__(self) -> None:
        _check(self.size, self.seed, self.concentration)
        if self.order < 1 or self.size ** (self.order + 1) > 2**16:
            raise ValueError(f"order must be 1 or more, with at most 2¹⁶ probabilities, not {self.order} of size {self.size}")

    @property
    def symbols(self) -> tuple[str, ...]:
        return LETTERS[: self.size]

    @cached_property
    def table(self) -> Float64[np.ndarray, "*context V"]:
        """p(token | context)."""
        return _draw((self.size,) * (self.order + 1), self.concentration, np.random.default_rng(self.seed))

    @cached_property
    def start(self) -> Float64[np.ndarray, "*context"]:
        """p(context), stationary."""
        return _stationary(self.table)

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        return _walk(self.table, self.start, generator, n)

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """From the table; for the first tokens, from the stationary distribution."""
        _check_tokens(tokens, self.size)
        order, rest = self.order, max(len(tokens) - self.order, 0)
        first = [self.start.sum(tuple(range(t, order)))[tuple(tokens[:t])] for t in range(min(len(tokens), order) + 1)]
        later = self.table[tuple(tokens[t : t + rest] for t in range(order + 1))]
        return -np.concatenate([np.diff(np.log(first)), np.log(later)])[1:]

    def floor(self) -> tuple[float, float]:
        """H = -Σ π(context) Σ p(s | context) log p(s | context) (Cover & Thomas 2006, theorem 4.2.4), twice."""
        rate = float((self.start[..., None] * entr(self.table)).sum())
        return rate, rate


@dataclass(frozen=True)
class HiddenMarkov:
    """Each token depends on a hidden state, of which the tokens before tell something, however far they go back.

    Args:
        states: hidden states.
        size: symbols.
        seed: what the tables of moves and tokens are drawn with.
        concentration: of the Dirichlet distribution of a state's tokens; the lower, the more they tell.
        stay: the probability of staying, where a state else moves as the table says (which may be to itself).

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
        """By the forward filter: the belief is p(state t | tokens 0 to t - 1), at first the stationary distribution."""
        _check_tokens(tokens, self.size)
        belief, steps, chances = self.start, list(self._steps()), []
        for token in tokens.tolist():
            joint = belief @ steps[token]
            chances.append(joint.sum())
            belief = joint / chances[-1]
        return -np.log(chances[1:])

    def floor(self) -> tuple[float, float]:
        """H(Y | Y₋ₘ..Y₋₁, X₋ₘ) <= H <= H(Y | Y₋ₘ..Y₋₁) (Cover & Thomas 2006, theorem 4.5.1), at most 1e-4 apart.

        A past goes on until its own two entropies are close: the bounds hold for any m that Y₋ₘ..Y₋₁ alone decides. Where
        that would take more than 2²³ numbers at once (much to stay, many states or symbols), they are further apart.
        """
        emission, steps = self.tables[1], self._steps()
        pasts, ended = np.eye(self.states)[None], np.zeros(2)
        while True:
            joint = self.start[:, None] * pasts  # [N, H, H]: p(X₋ₘ, past, X) of the pasts that go on
            bounds = np.stack([_next_entropy(joint @ emission).sum(axis=1), _next_entropy(joint.sum(axis=1) @ emission)])
            lower, upper = (ended + bounds.sum(axis=1)).tolist()
            if upper - lower <= 1e-4 or pasts.size * self.size > 2**23:
                return lower, upper
            wide = bounds[1] - bounds[0] > 5e-5 * joint.sum(axis=(1, 2))
            ended += bounds[:, ~wide].sum(axis=1)
            pasts = (steps[:, None] @ pasts[wide]).reshape(-1, self.states, self.states)


@dataclass(frozen=True)
class Grammar:
    """Sentences of a probabilistic context-free grammar, "the dog that the cats chase sees a bird .", after a first ".".

    It is unambiguous, since the words to come tell which rule was taken. A modifier begins with a preposition or "that",
    what may follow a noun phrase with a verb or ".": so a modifier belongs to the noun just before it, and no noun has two.
    After "that" a modifier has a verb or a determiner, a verb's class tells what follows it, a noun the number of its phrase.

    Args:
        nesting: the part of the noun phrases that have a modifier.
        clauses: the part of the verb phrases that report a clause, like "says that ...".

    """

    nesting: float = 0.3
    clauses: float = 0.1
    name: ClassVar[str] = "grammar"

    def __post_init__(self) -> None:
        for name, value in (("nesting", self.nesting), ("clauses", self.clauses)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {value}")
        radius = abs(np.linalg.eigvals(self._expansions[0])).max()
        if radius > 1 - 1e-9:  # at 1 or above, their expected length is infinite (Booth & Thompson 1973)
            raise ValueError(f"sentences would not end: nesting {self.nesting}, clauses {self.clauses}")

    @cached_property
    def rules(self) -> dict[str, list[tuple[float, Stack]]]:
        """What each nonterminal becomes and how probably, the sentence first; it never becomes nothing, or begins itself."""
        nesting, clauses = self.nesting, self.clauses
        rules = {"S": {"C .": 1.0}, "C": {"NP1 VP1": 0.6, "NP2 VP2": 0.4}, "NP": {"NP1": 0.6, "NP2": 0.4}, "PP": {"P NP": 1.0}}
        for n in "12":
            noun = f"Det{n} N{n}"
            rules |= {
                f"NP{n}": {noun: 1 - nesting, f"{noun} PP": 0.4 * nesting, f"{noun} R{n}": 0.6 * nesting},
                f"N{n}": {f"Noun{n}": 0.7, f"Adj Noun{n}": 0.3},
                f"R{n}": {f"that VP{n}": 0.5, "that NP1 T1": 0.3, "that NP2 T2": 0.2},
                f"VP{n}": {f"I{n}": 0.4 * (1 - clauses), f"T{n} NP": 0.6 * (1 - clauses), f"K{n} that C": clauses},
            }
        for kind, words in LEXICON.items():
            weights = {word: 1 / rank for rank, word in enumerate(words.split(), start=1)}
            rules[kind] = {word: weight / sum(weights.values()) for word, weight in weights.items()}
        return {left: [(p, tuple(right.split())) for right, p in rights.items() if p] for left, rights in rules.items()}

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([".", "that", *" ".join(LEXICON.values()).split()]))

    @cached_property
    def _expansions(self) -> tuple[Float64[np.ndarray, "N N"], Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """Of each nonterminal, expanded once: how many of each and how many words it becomes, and the choice's entropy."""
        children = [
            [sum(p * right.count(each) for p, right in rights) for each in self.rules] for rights in self.rules.values()
        ]
        lengths = [sum(p * len(right) for p, right in rights) for rights in self.rules.values()]
        entropy = [entr([p for p, _ in rights]).sum() for rights in self.rules.values()]
        return np.array(children), np.array(lengths) - np.sum(children, axis=1), np.array(entropy)

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        limits = {left: list(accumulate(p for p, _ in rights))[:-1] for left, rights in self.rules.items()}
        tokens, stack = [ids["."]], []
        while stack or len(tokens) < n:
            symbol = stack.pop() if stack else "S"
            if symbol in ids:
                tokens.append(ids[symbol])
            else:
                stack += self.rules[symbol][bisect(limits[symbol], generator.random())][1][::-1]
        return np.array(tokens, np.int32)

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """From ratios of prefix probabilities (Jelinek & Lafferty 1991); the belief is p(stack | tokens 0 to t - 1)."""

        @cache
        def begin(symbol: str) -> dict[str, list[tuple[float, Stack]]]:
            """By the word that `symbol` begins with: how probably, and what of it is then still to come."""
            if symbol not in self.rules:
                return {symbol: [(1.0, ())]}
            found = defaultdict(list)
            for p, (first, *rest) in self.rules[symbol]:
                for word, ways in begin(first).items():
                    found[word] += [(p * q, (*more, *rest)) for q, more in ways]
            return found

        _check_tokens(tokens, len(symbols := self.symbols))
        belief: list[tuple[float, Stack]] = [(1.0, (".",))]
        chances = []
        for position, token in enumerate(tokens.tolist()):
            ways = [(p * q, (*more, *rest)) for p, (top, *rest) in belief for q, more in begin(top).get(symbols[token], ())]
            if not ways:
                raise ValueError(f"{symbols[token]!r} cannot stand at position {position}")
            chances.append(sum(p for p, _ in ways))
            belief = [(p / chances[-1], stack or ("S",)) for p, stack in ways]
        return -np.log(chances[1:])

    def floor(self) -> tuple[float, float]:
        """The entropy of a sentence's derivation over its expected length (Grenander 1976; Booth & Thompson 1973), twice.

        Both are sums over nonterminals, weighted by how often a sentence has each: e (I - M)⁻¹, with M their mean children.
        """
        children, words, entropy = self._expansions
        times = np.linalg.solve(np.eye(len(words)) - children.T, np.eye(len(words))[0])
        rate = float(times @ entropy / (times @ words))
        return rate, rate


def _check(size: int, seed: int, concentration: float) -> None:
    if not 2 <= size <= len(LETTERS):
        raise ValueError(f"size must be 2 to {len(LETTERS)}, not {size}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if not 0.01 <= concentration <= 100:
        raise ValueError(f"concentration must be 0.01 to 100, not {concentration}")


def _check_tokens(tokens: Integer[np.ndarray, " N"], size: int) -> None:
    if not len(tokens) or tokens.min() < 0 or tokens.max() >= size:
        raise ValueError(f"there must be tokens, and all of them 0 to {size - 1}")


def _draw(shape: tuple[int, ...], concentration: float, generator: np.random.Generator) -> Float64[np.ndarray, "*context V"]:
    """Dirichlet distributions, 1 % of each even: so a chain is irreducible and aperiodic, and does not mix too slowly."""
    return 0.99 * generator.dirichlet(np.full(shape[-1], concentration), shape[:-1]) + 0.01 / shape[-1]


def _stationary(table: Float64[np.ndarray, "*context V"]) -> Float64[np.ndarray, "*context"]:
    """π(b..s) = Σₐ π(a b..) p(s | a b..) over contexts, as its iteration's fixed point."""
    before, after = np.zeros(()), np.full(table.shape[:-1], table.shape[-1] / table.size)
    while abs(after - before).sum() > 1e-13:
        before, after = after, (after[..., None] * table).sum(axis=0)
    return after


def _walk(
    table: Float64[np.ndarray, "*context V"], start: Float64[np.ndarray, "*context"], generator: np.random.Generator, n: int
) -> Int32[np.ndarray, " N"]:
    """`n` symbols of a chain that begins in a context drawn from `start`."""
    limits = table.cumsum(axis=-1).reshape(-1, table.shape[-1])[:, :-1].tolist()  # without the last, which may be below 1
    context = int(generator.choice(start.size, p=start.ravel()))
    chain = [int(symbol) for symbol in np.unravel_index(context, start.shape)]
    for chance in generator.random(max(n - len(chain), 0)).tolist():
        chain.append(bisect(limits[context], chance))
        context = (context * table.shape[-1] + chain[-1]) % start.size
    return np.array(chain[:n], np.int32)


def _next_entropy(chances: Float64[np.ndarray, "*N V"]) -> Float64[np.ndarray, "*N"]:
    """H(token | past) p(past), from p(past, token)."""
    return entr(chances).sum(axis=-1) - entr(chances.sum(axis=-1))
