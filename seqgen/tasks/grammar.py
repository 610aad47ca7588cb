"""A probabilistic grammar of English sentences. Entropies and losses are in nats per token."""

from bisect import bisect
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int32, Integer
from scipy.special import entr

from seqgen.tasks.markov import check_tokens

Stack = tuple[str, ...]
"""What a sentence has still to become, leftmost first: words and nonterminals of a grammar."""

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
"""Words by class, most probable first (as 1 / rank); 1 is singular, 2 plural.

No word but "the" is in two classes.
"""


@dataclass(frozen=True)
class Grammar:
    """Sentences of a probabilistic context-free grammar, after a first ".".

    One is "the dog that the cats chase sees a bird ."

    It is unambiguous, since the words to come tell which rule was taken. A modifier begins with a
    preposition or "that", what may follow a noun phrase with a verb or ".": so a modifier belongs
    to the noun just before it, and no noun has two. After "that" a modifier has a verb or a
    determiner, a verb's class tells what follows it, a noun the number of its phrase.

    Args:
        nesting: the part of the noun phrases that have a modifier.
        clauses: the part of the verb phrases that report a clause, like "says that ...".

    Raises:
        ValueError: for parts that are none, or with which sentences would not end.

    """

    nesting: float = 0.3
    clauses: float = 0.1
    name: ClassVar[str] = "grammar"

    def __post_init__(self) -> None:
        for name, value in (("nesting", self.nesting), ("clauses", self.clauses)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be 0 to 1, not {value}")
        radius = abs(np.linalg.eigvals(self._expansions[0])).max()
        if radius > 1 - 1e-9:  # else their expected length is infinite (Booth & Thompson 1973)
            raise ValueError(
                f"sentences would not end: nesting {self.nesting}, clauses {self.clauses}"
            )

    @cached_property
    def rules(self) -> dict[str, list[tuple[float, Stack]]]:
        """What each nonterminal becomes and how probably, the sentence first.

        It never becomes nothing, or begins itself.
        """
        nesting, clauses = self.nesting, self.clauses
        rules = {
            "S": {"C .": 1.0},
            "C": {"NP1 VP1": 0.6, "NP2 VP2": 0.4},
            "NP": {"NP1": 0.6, "NP2": 0.4},
            "PP": {"P NP": 1.0},
        }
        for n in "12":
            noun = f"Det{n} N{n}"
            rules |= {
                f"NP{n}": {
                    noun: 1 - nesting,
                    f"{noun} PP": 0.4 * nesting,
                    f"{noun} R{n}": 0.6 * nesting,
                },
                f"N{n}": {f"Noun{n}": 0.7, f"Adj Noun{n}": 0.3},
                f"R{n}": {f"that VP{n}": 0.5, "that NP1 T1": 0.3, "that NP2 T2": 0.2},
                f"VP{n}": {
                    f"I{n}": 0.4 * (1 - clauses),
                    f"T{n} NP": 0.6 * (1 - clauses),
                    f"K{n} that C": clauses,
                },
            }
        for kind, words in LEXICON.items():
            weights = {word: 1 / rank for rank, word in enumerate(words.split(), start=1)}
            rules[kind] = {word: weight / sum(weights.values()) for word, weight in weights.items()}
        return {
            left: [(p, tuple(right.split())) for right, p in rights.items() if p]
            for left, rights in rules.items()
        }

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([".", "that", *" ".join(LEXICON.values()).split()]))

    @cached_property
    def _expansions(
        self,
    ) -> tuple[Float64[np.ndarray, "N N"], Float64[np.ndarray, " N"], Float64[np.ndarray, " N"]]:
        """Of each nonterminal, expanded once.

        How many of each it becomes, how many words, and the entropy of the choice.
        """
        children = [
            [sum(p * right.count(each) for p, right in rights) for each in self.rules]
            for rights in self.rules.values()
        ]
        lengths = [sum(p * len(right) for p, right in rights) for rights in self.rules.values()]
        entropy = [entr([p for p, _ in rights]).sum() for rights in self.rules.values()]
        return np.array(children), np.array(lengths) - np.sum(children, axis=1), np.array(entropy)

    def sample(self, generator: np.random.Generator, n: int) -> Int32[np.ndarray, " N"]:
        ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        limits = {
            left: list(accumulate(p for p, _ in rights))[:-1] for left, rights in self.rules.items()
        }
        tokens, stack = [ids["."]], []
        while stack or len(tokens) < n:
            symbol = stack.pop() if stack else "S"
            if symbol in ids:
                tokens.append(ids[symbol])
            else:
                stack += self.rules[symbol][bisect(limits[symbol], generator.random())][1][::-1]
        return np.array(tokens, np.int32)

    def losses(self, tokens: Integer[np.ndarray, " N"]) -> Float64[np.ndarray, " N-1"]:
        """From ratios of prefix probabilities (Jelinek & Lafferty 1991).

        The belief is p(stack | tokens 0 to t - 1).
        """

        @cache
        def begin(symbol: str) -> dict[str, list[tuple[float, Stack]]]:
            """By its first word: how probably, and what of `symbol` is then still to come."""
            if symbol not in self.rules:
                return {symbol: [(1.0, ())]}
            found = defaultdict(list)
            for p, (first, *rest) in self.rules[symbol]:
                for word, ways in begin(first).items():
                    found[word] += [(p * q, (*more, *rest)) for q, more in ways]
            return found

        check_tokens(tokens, len(symbols := self.symbols))
        belief: list[tuple[float, Stack]] = [(1.0, (".",))]
        chances = []
        for position, token in enumerate(tokens.tolist()):
            ways = [
                (p * q, (*more, *rest))
                for p, (top, *rest) in belief
                for q, more in begin(top).get(symbols[token], ())
            ]
            if not ways:
                raise ValueError(f"{symbols[token]!r} cannot stand at position {position}")
            chances.append(sum(p for p, _ in ways))
            belief = [(p / chances[-1], stack or ("S",)) for p, stack in ways]
        return -np.log(chances[1:])

    def entropy_bounds(self) -> tuple[float, float]:
        """The entropy of a sentence's derivation over its expected length, twice.

        Grenander 1976; Booth & Thompson 1973. Both are sums over nonterminals, weighted by how
        often a sentence has each: e (I - M)⁻¹, with M their mean children.
        """
        children, words, entropy = self._expansions
        times = np.linalg.solve(np.eye(len(words)) - children.T, np.eye(len(words))[0])
        rate = float(times @ entropy / (times @ words))
        return rate, rate
