"""Languages: what they draw, their losses and their entropy bounds are those of brute force."""

import re
from collections import Counter
from dataclasses import asdict
from functools import cache
from itertools import groupby, pairwise, product
from math import exp, inf, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr
from scipy.stats import chisquare

from seqgen.tasks.grammar import LEXICON, Grammar
from seqgen.tasks.markov import HiddenMarkov, Markov
from seqgen.tasks.synthetic import Language

LANGUAGES = [
    Markov(),
    Markov(3, 3, 5, 0.7),
    HiddenMarkov(),
    HiddenMarkov(2, 3, 1, 0.5, 0.2),
    Grammar(),
    Grammar(0.6, 0.2),
]
CHAINS = [
    Markov(1, 2, 3),
    Markov(2, 3, 1),
    Markov(3, 2),
    HiddenMarkov(2, 3),
    HiddenMarkov(3, 2, 4, 1.0, 0.0),
]


def random(seed=0):
    return np.random.default_rng(seed)


@cache
def long_run(chain):
    """The stationary distribution over a hidden chain's states or a plain one's contexts, by powers
    of their transitions.
    """
    if isinstance(chain, HiddenMarkov):
        return np.linalg.matrix_power(chain.tables[0], 5000)[0]
    contexts = list(product(range(chain.size), repeat=chain.order))
    step = [
        [chain.table[(*a, b[-1])] if a[1:] == b[:-1] else 0.0 for b in contexts] for a in contexts
    ]
    return np.linalg.matrix_power(np.array(step), 5000)[0]


def probability(chain, tokens):
    """p(tokens) in loops: over every path of states, or over what may have stood before a plain
    chain's first token.
    """
    total = 0.0
    if isinstance(chain, HiddenMarkov):
        transition, emission = chain.tables
        for path in product(range(chain.states), repeat=len(tokens)):
            p = long_run(chain)[path[0]]
            for t, token in enumerate(tokens):
                p *= emission[path[t], token] * (transition[path[t - 1], path[t]] if t else 1)
            total += p
        return total
    for context, p in zip(
        product(range(chain.size), repeat=chain.order), long_run(chain), strict=True
    ):
        history = list(context)
        for token in tokens:
            p *= chain.table[(*history[-chain.order :], token)]
            history.append(token)
        total += p
    return total


# What holds for every language


@pytest.mark.parametrize("language", LANGUAGES, ids=repr)
def test_draws_are_the_generators(language):
    """Fails if a global decides a draw, the tables change from instance to instance, `n` is not
    kept or ids are no int32.
    """
    stream = language.sample(random(3), 500)
    np.testing.assert_array_equal(stream, type(language)(**asdict(language)).sample(random(3), 500))
    assert stream.tolist() != language.sample(random(4), 500).tolist()
    assert stream.dtype == np.int32
    assert set(stream.tolist()) <= set(range(len(language.symbols)))
    assert len(set(language.symbols)) == len(language.symbols)
    assert isinstance(language, Language)
    for n in (1, 2, 3, 500):
        drawn = [language.symbols[i] for i in language.sample(random(), n)]
        if language.name == "grammar":
            assert (drawn[0], drawn[-1], "." in drawn[n - 1 : -1]) == (".", ".", False)
        else:
            assert len(drawn) == n


@pytest.mark.parametrize("language", LANGUAGES, ids=repr)
def test_mean_loss_on_a_long_stream_is_the_entropy_rate(language):
    """Fails if the bounds, the losses and the draws are not of one source: a rule's weight, a base
    of 2, a token uncounted.
    """
    stream = language.sample(random(1), 60_000)
    losses = language.losses(stream)
    assert losses.shape == (len(stream) - 1,)
    lower, upper = language.entropy_bounds()
    assert lower <= upper <= lower + 1e-4
    blocks = (
        np.cumsum(stream[:-1] == 0) if language.name == "grammar" else np.arange(len(losses)) // 300
    )
    excess = np.bincount(blocks, losses - lower)
    error = excess.std() * len(excess) ** 0.5 / len(losses)
    assert abs(excess.sum()) / len(losses) < 3 * error < 0.02


@pytest.mark.parametrize("language", LANGUAGES, ids=repr)
def test_losses_look_back_only(language):
    """Fails if a token's loss depends on what follows, or ids as they are kept on the disk, uint16,
    give other losses.
    """
    stream = language.sample(random(2), 30)
    losses = language.losses(stream)
    for n in (1, 2, 3, 4, 17):
        np.testing.assert_array_equal(language.losses(stream[:n]), losses[: n - 1])
    np.testing.assert_array_equal(language.losses(stream.astype(np.uint16)), losses)


@pytest.mark.parametrize("language", LANGUAGES, ids=repr)
def test_what_may_come_next_sums_to_one(language):
    """Fails if a belief is not normalised, or a way to go on is lost or counted twice: in a prefix
    of any length.
    """
    stream = language.sample(random(5), 12)[:14]
    for t in range(1, len(stream)):
        chances = []
        for token in range(len(language.symbols)):
            try:
                chances.append(exp(-language.losses(np.append(stream[:t], np.int32(token)))[-1]))
            except ValueError:
                chances.append(0.0)
        assert sum(chances) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("language", [Markov(), HiddenMarkov(), Grammar()], ids=repr)
def test_foreign_tokens_are_refused(language):
    """Fails if an id below 0 counts from the end, one past the last is an IndexError, or there is a
    loss of nothing.
    """
    for tokens in ([0, -1], [0, len(language.symbols)], []):
        with pytest.raises(ValueError, match=f"all of them 0 to {len(language.symbols) - 1}"):
            language.losses(np.array(tokens, np.int32))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Markov(0), "order must be 1 or more, .* not 0"),
        (lambda: Markov(8, 4), "at most 2¹⁶ probabilities, not 8 of size 4"),
        (lambda: Markov(size=1), "size must be 2 to 26, not 1"),
        (lambda: HiddenMarkov(size=27), "size must be 2 to 26, not 27"),
        (lambda: Markov(seed=-1), "seed must be 0 or more, not -1"),
        (lambda: Markov(concentration=0.0), "concentration must be 0.01 to 100, not 0.0"),
        (lambda: HiddenMarkov(concentration=inf), "concentration must be 0.01 to 100, not inf"),
        (lambda: HiddenMarkov(states=1), "states must be 2 to 64, not 1"),
        (lambda: HiddenMarkov(stay=1.0), "stay must be at least 0 and below 1, not 1.0"),
        (lambda: HiddenMarkov(stay=-0.1), "not -0.1"),
        (lambda: Grammar(nesting=-0.1), "nesting must be 0 to 1, not -0.1"),
        (lambda: Grammar(clauses=float("nan")), "clauses must be 0 to 1, not nan"),
        (lambda: Grammar(0.9, 0.6), "would not end: nesting 0.9, clauses 0.6"),
        (lambda: Grammar(0.0, 1.0), "would not end: nesting 0.0, clauses 1.0"),
    ],
)
def test_parameters_are_checked(make, message):
    """Fails if a senseless parameter is taken in silence, and shows only as a loop without end or a
    table that fills memory.
    """
    with pytest.raises(ValueError, match=message):
        make()


# Markov sources, plain and hidden


def test_two_symbols_by_hand():
    """Fails if the stationary distribution weighs the wrong rows, or the first token's loss is
    there.
    """
    chain = Markov(1, 2, seed=3)
    (stay, p), (q, _) = chain.table
    first, second = q / (p + q), p / (p + q)
    rate = first * (-p * log(p) - (1 - p) * log(1 - p)) + second * (
        -q * log(q) - (1 - q) * log(1 - q)
    )
    assert chain.entropy_bounds() == (pytest.approx(rate, abs=1e-12),) * 2
    assert chain.losses(np.array([0, 0, 1, 0])).tolist() == pytest.approx(
        [-log(stay), -log(p), -log(q)], abs=1e-12
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(CHAINS), st.data())
def test_losses_are_those_of_brute_force(chain, data):
    """Fails if a context is read in the wrong order, the first tokens have another law, or a filter
    forgets or is late.
    """
    tokens = data.draw(st.lists(st.integers(0, chain.size - 1), min_size=1, max_size=6))
    logs = [log(probability(chain, tokens[:n])) for n in range(1, len(tokens) + 1)]
    np.testing.assert_allclose(chain.losses(np.array(tokens)), -np.diff(logs), rtol=0, atol=1e-10)


@pytest.mark.parametrize("chain", CHAINS, ids=repr)
def test_streams_are_drawn_as_probably_as_they_are(chain):
    """Fails if a draw does not begin in the stationary distribution, a limit is off by one, or
    contexts are shifted wrongly.
    """
    generator = random(7)
    drawn = [tuple(chain.sample(generator, 5).tolist()) for _ in range(3000)]
    frequent, expected = [], []
    for stream in product(range(chain.size), repeat=5):
        if (mean := 3000 * probability(chain, stream)) >= 5:
            frequent.append(drawn.count(stream))
            expected.append(mean)
    frequent, expected = [*frequent, 3000 - sum(frequent)], [*expected, 3000 - sum(expected)]
    assert chisquare(frequent, expected).pvalue > 0.01


def test_the_tables_are_the_seeds():
    """Fails if the seed or the concentration does not reach the tables, or a probability may be
    zero.
    """
    tables = [
        table
        for seed in range(5)
        for table in (Markov(seed=seed).table, *HiddenMarkov(seed=seed).tables)
    ]
    assert len({table.tobytes() for table in tables}) == 15
    assert (
        Markov(concentration=0.05).entropy_bounds()
        < Markov().entropy_bounds()
        < Markov(concentration=5.0).entropy_bounds()
        < (log(8), log(8))
    )
    for tables in (
        Markov(concentration=0.01).table,
        *HiddenMarkov(concentration=0.01, stay=0.0).tables,
    ):
        np.testing.assert_allclose(tables.sum(axis=-1), 1)
        assert tables.min() >= 0.01 / 8 * (1 - 1e-9)
    assert min(np.diagonal(HiddenMarkov(stay=0.9).tables[0])) >= 0.9


@pytest.mark.parametrize(
    "source",
    [
        HiddenMarkov(2, 2, 2, 0.5, 0.7),
        HiddenMarkov(2, 2, 5, 0.5, 0.7),
        HiddenMarkov(3, 2, 1, 0.5, 0.5),
        HiddenMarkov(2, 3, 2, 0.5, 0.6),
    ],
    ids=repr,
)
def test_hidden_entropy_is_between_the_textbooks_bounds(source):
    """Fails if a past that has ended loses its share, the future grows in its place, or the state
    known is not the first.
    """
    transition, emission = source.tables
    n = 10 if source.size == 2 else 7

    def entropies(n):
        """H(Y₁..Yₙ) and H(Y₁..Yₙ, X₁)."""
        plain = known = 0.0
        for tokens in product(range(source.size), repeat=n):
            forward = np.diag(long_run(source))  # p(X₁, tokens so far, Xₜ)
            for t, token in enumerate(tokens):
                forward = (forward @ transition if t else forward) * emission[:, token]
            plain += entr(forward.sum())
            known += entr(forward.sum(axis=1)).sum()
        return plain, known

    (plain, known), (shorter, shorter_known) = entropies(n), entropies(n - 1)
    lower, upper = source.entropy_bounds()
    assert 0 <= plain - shorter - (known - shorter_known) < 1e-4
    assert lower < upper <= lower + 1e-4
    assert lower <= plain - shorter
    assert known - shorter_known <= upper


def test_bounds_that_do_not_close_are_still_bounds():
    """Fails if bounds of a source with a long memory take all memory, or what had not ended is left
    out of them.
    """
    source = HiddenMarkov(4, 12, stay=0.95)
    lower, upper = source.entropy_bounds()
    losses = source.losses(source.sample(random(), 60_001))
    error = 3 * losses.reshape(-1, 500).mean(axis=1).std() / (len(losses) / 500) ** 0.5
    assert lower + 1e-4 < upper
    assert lower - error < losses.mean() < upper + error


# The grammar


def sentences(language, n, seed=0):
    """Sentences of a stream, each without its stop."""
    words = [language.symbols[i] for i in language.sample(random(seed), n)]
    return [list(group) for stop, group in groupby(words, lambda word: word == ".") if not stop]


def chart(rules, words):
    """How many derivations a sentence has, their probability and the best one's: by CKY, [i, j] ->
    symbol -> the three.
    """
    pairs, singles = {}, {}
    for left, rights in rules.items():
        for p, right in rights:
            if len(right) == 1:
                singles.setdefault(right[0], []).append((left, p))
            for start in range(
                len(right) - 1
            ):  # what is left of a rule is a symbol of its own, made in one way
                parts = right[start], right[start + 1 :] if start < len(right) - 2 else right[-1]
                made = (right[start:], 1.0) if start else (left, p)
                if made not in pairs.setdefault(parts, []):
                    pairs[parts].append(made)
    cells = {}

    def add(cell, symbol, count, inside, best):
        before = cell.get(symbol, (0, 0.0, 0.0))
        cell[symbol] = before[0] + count, before[1] + inside, max(before[2], best)
        for left, p in singles.get(symbol, ()):
            add(cell, left, count, p * inside, p * best)

    for width in range(1, len(words) + 1):
        for i in range(len(words) - width + 1):
            cell = cells[i, i + width] = {}
            if width == 1:
                add(cell, words[i], 1, 1.0, 1.0)
            for middle in range(i + 1, i + width):
                for (a, of_a), (b, of_b) in product(
                    cells[i, middle].items(), cells[middle, i + width].items()
                ):
                    for left, p in pairs.get((a, b), ()):
                        add(
                            cell,
                            left,
                            of_a[0] * of_b[0],
                            p * of_a[1] * of_b[1],
                            p * of_a[2] * of_b[2],
                        )
    return cells[0, len(words)].get("S", (0, 0.0, 0.0))


@pytest.mark.parametrize("language", [Grammar(), Grammar(0.7, 0.15)], ids=repr)
def test_a_sentence_has_one_derivation_whose_probability_its_losses_are(language):
    """Fails if a phrase may attach to two nouns or to a verb, or a stack loses a way, or its
    weight, within a sentence.
    """
    stream = language.sample(random(11), 16_000)
    losses, stops = language.losses(stream), np.flatnonzero(stream == 0)
    seen = {}
    for start, end in pairwise(stops.tolist()):
        words = tuple(language.symbols[i] for i in stream[start + 1 : end + 1])
        if len(words) <= 22 and words not in seen:
            seen[words] = losses[start:end].sum()
    assert len(seen) > 400
    assert max(map(len, seen)) > 20
    for words, loss in seen.items():
        count, inside, best = chart(language.rules, words)
        assert (count, best) == (1, inside)
        assert loss == pytest.approx(-log(inside), abs=1e-9)


def test_the_chart_sees_two_derivations():
    """Fails if the CKY above cannot tell an ambiguous grammar from one that is not."""
    rules = {"S": [(0.4, ("S", "S")), (0.6, ("a",))]}
    assert chart(rules, ("a", "a", "a")) == (
        2,
        pytest.approx(2 * 0.4**2 * 0.6**3),
        pytest.approx(0.4**2 * 0.6**3),
    )


def read(words):
    """What a sentence consists of, by recursive descent apart from the rules. Raises
    `AssertionError` if it is not English.
    """
    rest, found = [*words, "."], Counter()

    def begins(*kinds):
        return next(
            (kind for kind in kinds if rest and rest[0] in LEXICON.get(kind, kind).split()), None
        )

    def take(*kinds):
        kind = begins(*kinds)
        assert kind, f"{rest} after {words}, not {kinds}"
        found[kind] += 1
        rest.pop(0)
        return kind

    def phrase():
        found["phrase"] += 1
        determiner = rest[0]
        take("Det1", "Det2")
        if begins("Adj"):
            take("Adj")
        number = take("Noun1", "Noun2")[-1]
        assert determiner in LEXICON[f"Det{number}"].split()
        if begins("P", "that"):
            found["modifier"] += 1
            if take("P", "that") == "P":
                phrase()
            elif begins("Det1", "Det2"):
                take(f"T{phrase()}")
            else:
                verb(number)
        return number

    def verb(number):
        found["verb"] += 1
        kind = take(*[kind + number for kind in "ITK"])
        if kind[0] == "T":
            phrase()
        if kind[0] == "K":
            found["clause"] += 1
            take("that")
            verb(phrase())

    verb(phrase())
    take(".")
    assert not rest
    return found


@pytest.mark.parametrize("language", [Grammar(), Grammar(0.5, 0.3), Grammar(0.0, 0.0)], ids=repr)
def test_sentences_are_english(language):
    """Fails if a verb has another number than its subject, "a" is before a vowel, or a parameter is
    not the part it says.
    """
    drawn = sentences(language, 40_000)
    found = sum(map(read, drawn), Counter())
    assert found["modifier"] / found["phrase"] == pytest.approx(language.nesting, abs=0.01)
    assert found["clause"] / found["verb"] == pytest.approx(language.clauses, abs=0.01)
    assert {word for words in drawn for word in words} <= set(language.symbols)
    assert not any(re.search(r"\ba [aeiou]", " ".join(words)) for words in drawn)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (". the dog that the cats chase sees a bird .", None),
        (". the girls near a boy that sees the dogs say that the", None),
        (". the dog sleeps . the dog sleeps", None),
        ("the dog sleeps .", 0),
        (". the dog sleep .", 3),
        (". a dogs sleep .", 2),
        (". the dog that the cats chase see a bird .", 7),
        (". the dog sees .", 4),
        (". the dog near the cat near the bird sings with a boy .", 10),
        (". the dog sees a cat sleeps .", 6),
        (". . the", 1),
    ],
)
def test_only_sentences_have_losses(text, wrong):
    """Fails if a sentence is refused, a stream may begin anywhere, or what is no sentence has a
    loss at all.
    """
    words = text.split()
    tokens = np.array([Grammar().symbols.index(word) for word in words])
    if wrong is None:
        assert np.isfinite(Grammar().losses(tokens)).all()
    else:
        with pytest.raises(
            ValueError, match=f"^'{re.escape(words[wrong])}' cannot stand at position {wrong}$"
        ):
            Grammar().losses(tokens)


def test_what_has_no_probability_cannot_stand():
    """Fails if a rule of probability 0 leaves a loss that is not finite instead of an error."""
    with pytest.raises(ValueError, match="'that' cannot stand at position 3"):
        Grammar(nesting=0.0).losses(
            np.array([Grammar().symbols.index(word) for word in [".", "the", "dog", "that"]])
        )


def test_sentences_are_drawn_as_probably_as_they_are():
    """Fails if a choice is drawn with the next one's probability, or a loss has a rule's weight
    twice.
    """
    language = Grammar()
    stream = language.sample(random(3), 60_000)
    stops, losses = np.flatnonzero(stream == 0)[:-1], language.losses(stream)
    beginnings = stream[stops[:, None] + [1, 2, 3]].tolist()
    total, drawn = len(stops), Counter(map(tuple, beginnings))
    means = {
        tuple(first): total * exp(-losses[stop : stop + 3].sum())
        for stop, first in zip(stops, beginnings, strict=True)
    }
    means = {first: mean for first, mean in means.items() if mean >= 8}
    frequent = [drawn[first] for first in means]
    assert len(means) > 100
    assert (
        chisquare(
            [*frequent, total - sum(frequent)], [*means.values(), total - sum(means.values())]
        ).pvalue
        > 0.01
    )


def test_entropy_of_a_grammar_without_nesting_by_enumeration():
    """Fails if a rule's entropy is weighted by anything but how often it is used, or "." is not a
    token.
    """
    language = Grammar(0.0, 0.0)

    @cache
    def derive(symbol):
        """Probability and length of all that a symbol may become."""
        if symbol not in language.rules:
            return np.ones(1), np.ones(1)
        ways = []
        for p, right in language.rules[symbol]:
            chances, lengths = np.full(1, p), np.zeros(1)
            for part in map(derive, right):
                chances, lengths = (
                    np.outer(chances, part[0]).ravel(),
                    np.add.outer(lengths, part[1]).ravel(),
                )
            ways.append((chances, lengths))
        return np.concatenate([way[0] for way in ways]), np.concatenate([way[1] for way in ways])

    chances, lengths = derive("S")
    assert len(chances) == 2 * 144 * (4 + 5 * 288)
    assert chances.sum() == pytest.approx(1, abs=1e-9)
    assert (
        language.entropy_bounds()
        == (pytest.approx(entr(chances).sum() / (chances @ lengths), abs=1e-9),) * 2
    )


def test_sentences_end():
    """Fails if parameters are taken with which the rules are not subcritical, or refused with which
    they are.

    By hand: a noun phrase brings 0.7 nesting noun phrases and 0.3 nesting verb phrases, a verb
    phrase 0.6 + 0.4 clauses noun phrases and as many verb phrases as it has clauses.
    """
    taken = 0
    for nesting, clauses in product(np.linspace(0, 1, 11).tolist(), repeat=2):
        if (1 - 0.7 * nesting) * (1 - clauses) - 0.3 * nesting * (0.6 + 0.4 * clauses) > 1e-6:
            taken += 1
            for rights in Grammar(nesting, clauses).rules.values():
                assert sum(p for p, _ in rights) == pytest.approx(1, abs=1e-12)
        else:
            with pytest.raises(ValueError, match="would not end"):
                Grammar(nesting, clauses)
    assert 60 < taken < 100
