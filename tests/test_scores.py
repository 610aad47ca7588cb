"""Scores of answers: edits by the recursive definition, metrics by sacrebleu from the texts."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from seqgen.cli.compare import agreement, difference
from seqgen.data.padding import Padding, encode, pair_vocabulary
from seqgen.data.pair_tokenizer import PairTokenizer, vocabulary_of
from seqgen.evaluation import outcomes
from seqgen.evaluation.edit_distance import edit_distance, words_of
from seqgen.evaluation.outcomes import Outcomes, Statistic, compared, intervals, ratio
from seqgen.evaluation.scores import Scores, score, statistics_of
from seqgen.evaluation.statistics import mcnemar, resampled, two_sided
from seqgen.evaluation.text_metrics import text_metrics


def edits(guess, truth) -> int:
    """Levenshtein's distance by its definition."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        replaced = distance(i - 1, j - 1) + (guess[i - 1] != truth[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, replaced)

    return distance(len(guess), len(truth))


TEXTS = st.text("ab ", max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6))
def test_edit_distance(pairs):
    """Fails when an edit is missed or counted twice, or rows of other lengths change a row's."""
    guesses, truths = ([text for text, _ in pairs], [text for _, text in pairs])
    found = edit_distance(*words_of(guesses, truths))
    assert found.tolist() == [edits(a.split(), b.split()) for a, b in pairs]


REFERENCES = {
    "a": ("abcc", ["ab c", "ab"], (1, 4), (1, 1)),
    "b": ("", ["b"], (1, 1), (1, 1)),
    "c": ("ba c", ["ca ca", "ca c"], (1, 4), (1, 2)),
    "d": ("?b a", ["zb a"], (1, 4), (1, 2)),  # ? and z are no tokens: both are <unk>
    "e": ("ab", ["a", "abc"], (1, 3), (1, 1)),
    "f": ("ba", ["ba"], (0, 2), (0, 1)),
}
"""A source: the guess, its references, edits and length of the best by characters, by words."""


def test_scores_of_several_references():
    """Fails when a row counts as an example, another than the best reference does, the shorter of
    two that are equally near, an <unk> meets what is no token, or what ends an answer.
    """
    tokenizer = PairTokenizer(vocabulary_of(["abc "], "characters"))
    padding = Padding("masked", False, 1, 5)
    rows = [(source, truth) for source, each in REFERENCES.items() for truth in each[1]]
    batch = encode(rows, tokenizer, padding)
    guesses = [(source, REFERENCES[source][0]) for source, _ in rows]
    made = score(
        encode(guesses, tokenizer, padding).targets,
        0.5,
        batch,
        tokenizer=tokenizer,
        padding=padding,
        truths=[truth for _, truth in rows],
        sources=[source for source, _ in rows],
    )
    for name, place in {"token_error_rate": 2, "word_error_rate": 3}.items():
        distance, length = np.sum([each[place] for each in REFERENCES.values()], axis=0)
        assert getattr(made, name) == distance / length, name
    assert (made.examples, made.exact_match, made.sequence_error_rate) == (6, 1 / 6, 5 / 6)


@pytest.mark.parametrize("kind", ["masked", "book"])
def test_no_edits_are_an_exact_match(kind):
    """Fails when what fills a field or stands after the end is an edit, or a lost token is none."""
    random = np.random.default_rng(0)
    tokenizer, padding = pair_vocabulary("12 _", kind), Padding(kind, False, 3, 3)
    texts = ["", "1", "2", "12", "21", "111", "122"]
    rows = [(str(random.choice(texts[1:])), guess) for guess in texts for _ in range(20)]
    batch = encode([("1", truth) for truth, _ in rows], tokenizer, padding)
    tokens = encode([("1", guess) for _, guess in rows], tokenizer, padding).targets.copy()
    if kind == "masked":
        ends = np.argmax(tokens == tokenizer.special.eos, axis=1)[:, None]
        tokens = np.where(np.arange(tokens.shape[1]) > ends, -1, tokens)
    found = statistics_of(tokens, batch, tokenizer=tokenizer, padding=padding)
    distance, length = found["token_error_rate"].parts.T
    assert distance.tolist() == [edits(guess, truth) for truth, guess in rows]
    assert length.tolist() == [len(truth) for truth, _ in rows]
    assert np.array_equal(distance == 0, found["exact_match"].parts[:, 0] == 1)
    made = Scores.of(found, 0.5)
    assert made.exact_match == np.mean([guess == truth for truth, guess in rows])


def drawn_rows(n: int, draws: int, seed: int = 0) -> np.ndarray:
    """The examples of each draw, as `resampled` takes them."""
    return np.random.default_rng(seed).integers(n, size=(draws, n))


def test_resampled_examples():
    """Fails when a draw misses an example, or two runs' draws are not alike, or blocks are not of
    neighbours.
    """
    parts = np.random.default_rng(1).normal(size=(50, 3))
    expected = parts[drawn_rows(50, 20)].sum(axis=1)
    np.testing.assert_allclose(resampled(parts, draws=20), expected, rtol=1e-9, atol=1e-9)
    starts = np.random.default_rng(0).integers(100, size=(20, 20))
    series = np.random.default_rng(2).normal(size=(100, 1))
    rows = (starts[..., None] + np.arange(5)) % 100
    found = resampled(series, block=5, draws=20)
    np.testing.assert_allclose(found[:, 0], series[rows, 0].sum(axis=(1, 2)), atol=1e-9)


WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", ",", ".", "house"]


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[list[str]]]:
    """Guesses, some of them right or empty, and one to three references of each."""
    random = np.random.default_rng(3)

    def said() -> str:
        return " ".join(random.choice(WORDS, random.integers(3, 12)))

    references = [[said() for _ in range(random.integers(1, 4))] for _ in range(30)]
    guesses = [each[-1] + " ." if i % 3 else said() for i, each in enumerate(references)]
    return ["", *guesses[1:]], references


@pytest.mark.parametrize(("name", "metric"), [("bleu", BLEU()), ("chrf", CHRF())])
def test_metrics_are_sacrebleu_s(name, metric, texts):
    """Fails when a reference is lost, a draw sums others' counts, or the signature is another."""
    guesses, references = texts

    def scored(rows: np.ndarray) -> float:
        most = max(map(len, references))
        streams = [[dict(enumerate(references[row])).get(i) for row in rows] for i in range(most)]
        return metric.corpus_score([guesses[row] for row in rows], streams).score

    found = text_metrics([name], guesses, references)[name]
    assert found.value == scored(np.arange(len(guesses)))
    assert found.signature == str(metric.get_signature())
    assert "nrefs:var" in found.signature
    draws = found.of(resampled(found.parts, draws=5))
    assert draws.tolist() == pytest.approx([scored(rows) for rows in drawn_rows(30, 5)])


def statistic(values: np.ndarray, maximise: bool) -> Statistic:
    return Statistic(np.stack([values, np.full(len(values), 2.0)], axis=1), maximise=maximise)


def test_compared_runs():
    """Fails when two runs are drawn apart, the better one is told by the wrong sign, or the ends of
    an interval are another run's.
    """
    random = np.random.default_rng(4)
    one, other = random.random(40), random.random(40) + 0.1
    runs = [
        Outcomes(range(40), {name: statistic(values, name == "up") for name in ("up", "down")})
        for values in (one, other)
    ]
    found = compared(*runs)
    rows = drawn_rows(40, 2000)
    differences = (one[rows].mean(axis=1) - other[rows].mean(axis=1)) / 2
    for name, better in {"up": differences > 0, "down": differences < 0}.items():
        each = found[name]
        expected = one.mean() / 2, other.mean() / 2, (one - other).mean() / 2
        np.testing.assert_allclose(each[:3], expected)
        np.testing.assert_allclose(each[3:5], np.quantile(differences, (0.025, 0.975)))
        assert each.better == better.mean()
        assert each.p == two_sided(differences)
    ends = np.quantile(one[rows].mean(axis=1) / 2, (0.025, 0.975))
    np.testing.assert_allclose(intervals(runs[0])["up"], ends)
    assert outcomes.compared(runs[0], runs[0])["up"] == (one.mean() / 2,) * 2 + (0, 0, 0, 0, 1)


def test_agreement():
    """Fails when an example is counted for another run, or a run's rows are taken for equal to
    others.
    """
    right = [1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    runs = [Outcomes(range(11), {"exact_match": statistic(np.array(each), True)}) for each in right]
    found = agreement(*runs)["right"]
    assert found == {"both": 2, "first": 5, "second": 3, "neither": 1, "p": mcnemar(5, 3)}
    assert difference(*runs) is None
    others = [runs[0]._replace(examples=[("q", ("a",))] * n) for n in (2, 3)]
    assert difference(*others) == "there are 2, and 3"
    assert difference(runs[0], others[0]) == "row 1 is 0, and ('q', ('a',))"


def test_probabilities_of_no_difference():
    """Fails when a tail is not doubled, a p is 0 or above 1, or equal runs are no tie."""
    assert two_sided(np.array([1.0] * 99)) == 2 / 100
    assert two_sided(np.array([-1.0] * 9 + [1.0] * 90)) == 2 * 10 / 100
    assert two_sided(np.zeros(99)) == 1
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 3) == mcnemar(3, 0) == pytest.approx(2 / 8)
    assert ratio(np.array([[3.0, 4.0], [2.0, 0.0]])).tolist() == [0.75, 2.0]
