"""Alignment scores against loops written from their definitions, controls that must come out as they must, and blinding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen import alignment
from seqgen.models import decoders, encoders, seq2seq
from seqgen.tasks.addition import Addition
from seqgen.tasks.dates import Dates
from seqgen.tasks.task import Layout, encode
from seqgen.tasks.vocabulary import Vocabulary
from seqgen.types import Batch

DATES = [
    ("9/27/94", "1994-09-27"),
    ("SEP 7, 2004", "2004-09-07"),
    ("tuesday, may 25, 1984", "1984-05-25"),
    ("October 31, 2017", "2017-10-31"),
]
WIDTH = 29


def layout(kind: str, reverse: bool = False) -> Layout:
    return Layout(kind, reverse, WIDTH, 10)


def gold(kind: str = "masked") -> alignment.Gold:
    return alignment.gold_of(Dates(), DATES, layout(kind), (11 if kind == "masked" else 10, WIDTH))


def weights(given: alignment.Gold, seed: int = 0) -> np.ndarray:
    """Random attention, none of it on padding."""
    raw = np.random.default_rng(seed).random((*next(iter(given.classes.values())).shape[:2], WIDTH)) ** 4
    raw *= given.valid[:, None]
    return raw / raw.sum(axis=2, keepdims=True)


def by_hand(a: np.ndarray, given: alignment.Gold, name: str) -> tuple:
    """One class's score, position by position."""
    rows = []
    for n in range(len(a)):
        for t in range(a.shape[1]):
            right = {s for s in range(WIDTH) if given.classes[name][n, t, s]}
            if right:
                top = max(range(WIDTH), key=lambda s: a[n, t, s])
                near = any(abs(top - s) <= 1 for s in right)
                entropy = -sum(p * np.log(p) for p in a[n, t] if p > 0)
                rows.append((sum(a[n, t, s] for s in right), top in right, near, len(right) == 1, entropy))
    mass, hit, near, sure, entropy = np.array(rows, float).T
    links, sure_links = len(rows), sure.sum()
    error = 1 - ((hit * sure).sum() + hit.sum()) / (links + sure_links)
    return links, mass.mean(), hit.mean(), near.mean(), error, entropy.mean()


@pytest.mark.parametrize("kind", ["masked", "book"])
def test_scores_are_their_definitions(kind):
    """Fails when a class takes another's positions, padding counts, "within one" looks to one side, or sure is possible."""
    given = gold(kind)
    a = weights(given)
    scores = alignment.scores(a, given)
    apart = {"separator", "end"} if kind == "masked" else {"separator"}
    assert scores.keys() == {"all", "century", "year", "month", "month word", "day", "implied-zero"} | apart
    for name in scores.keys() - {"all"} - apart:
        np.testing.assert_allclose(scores[name], by_hand(a, given, name), rtol=1e-12)
    for name in apart:
        at = [[answer[t : t + 1] == ("-" if name == "separator" else "") for t in range(a.shape[1])] for _, answer in DATES]
        logs = [np.log(p[p > 0]) @ p[p > 0] for p in a[np.array(at)]]
        assert (scores[name].positions, scores[name].entropy) == (len(logs), pytest.approx(-np.mean(logs)))
        assert np.isnan(scores[name][1:5]).all()
    own = {name: given.classes[name].any(2).sum() for name in ("year", "month", "month word", "day")}
    assert scores["all"].positions == sum(own.values()) == 2 + 12 + 1 + 6 + 7
    np.testing.assert_allclose(scores["all"].mass, sum(scores[name].mass * n for name, n in own.items()) / sum(own.values()))


def test_classes_of_one_date():
    """Fails when a month's word is taken for a digit, or a two-digit year's century for a place to look."""
    given = gold()
    assert np.flatnonzero(given.classes["month word"][2, 5]).tolist() == [9, 10, 11]  # "may"
    assert np.flatnonzero(given.classes["month"][0, 6]).tolist() == [0]
    assert not given.classes["month"][0, 5].any()  # an implied zero
    assert np.flatnonzero(given.classes["year"][0, 3]).tolist() == [6]
    assert given.valid.sum(axis=1).tolist() == [len(question) for question, _ in DATES]
    assert gold("book").valid.all()


def test_controls():
    """Fails when attention that is right scores below 1, or uniform attention anything but |gold| / |valid| and ln |valid|."""
    given = gold()
    right = alignment.scores(alignment.oracle(given), given)
    for name in ("all", "year", "month", "month word", "day"):
        assert (right[name].mass, right[name].hit, right[name].near, right[name].error_rate) == pytest.approx((1, 1, 1, 0))
    even = alignment.scores(alignment.uniform(given), given)
    lengths = [len(question) for question, _ in DATES]
    assert even["month word"].mass == pytest.approx(np.mean([3 / lengths[1], 3 / lengths[2], 7 / lengths[3]]))
    assert even["month word"].hit == pytest.approx(even["month word"].mass)
    assert even["year"].entropy == pytest.approx(np.average(np.log(lengths), weights=[2, 4, 4, 4]))


def test_shuffled_attention_is_as_sharp_and_knows_nothing():
    """Fails when the order leaves the question, weights are drawn anew, or rows are shuffled alike."""
    given = gold()
    sharp = alignment.oracle(given)
    many = [alignment.shuffled(sharp, given, np.random.default_rng(seed)) for seed in range(400)]
    np.testing.assert_array_equal(np.sort(many[0]), np.sort(sharp))
    assert not many[0][~np.broadcast_to(given.valid[:, None], sharp.shape)].any()
    assert not np.array_equal(many[0][:, 0], many[1][:, 0])
    even = alignment.Gold(given.targets, given.classes, np.ones_like(given.valid))
    steps = np.tile(np.arange(WIDTH, dtype=float), (*sharp.shape[:2], 1))
    orders = alignment.shuffled(steps, even, np.random.default_rng(0)).reshape(-1, WIDTH)
    assert len(np.unique(orders, axis=0)) == len(orders)
    found = np.mean([alignment.scores(one, given)["year"].hit for one in many])
    assert found == pytest.approx(alignment.scores(alignment.uniform(given), given)["year"].hit, abs=0.01)


def model(reader: str) -> tuple[seq2seq.Config, Vocabulary, seq2seq.Params]:
    vocabulary = Vocabulary(Addition().alphabet)
    parts = encoders.Config(7, 12), decoders.Config(7, 12, inputs=(reader,) if reader == "additive" else (), outputs=("dot",))
    cfg = seq2seq.Config(*parts, init="modern", vocabulary=len(vocabulary), delimiter=vocabulary.ids["_"])
    params = jax.tree.map(lambda leaf: 3 * leaf, seq2seq.init(cfg, jax.random.key(1)))  # sharp enough to change its mind
    return cfg, vocabulary, params


SUMS = [(f"{a}+{b}", str(a + b)) for a, b in ((1, 2), (123, 45), (999, 999), (7, 600), (31, 4), (50, 50))]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["masked", "book"])
def test_forced_attention_is_in_reading_order(kind, reverse):
    """Fails when the model is fed its own answers, rows of the fill are kept, or the reversal is not undone."""
    cfg, vocabulary, params = model("dot")
    one = Layout(kind, reverse, 7, 4)
    batch = encode(SUMS, vocabulary, one)
    made = alignment.forced_attention(seq2seq, cfg, params, batch, one)
    assert made.shape == (6, batch.targets.shape[1], 7)
    for n in range(6):
        row = Batch(*(None if leaf is None else jnp.asarray(leaf[n : n + 1]) for leaf in batch))
        _, out = seq2seq.apply(cfg, params, row, ())
        seen = np.asarray(out.aux["attention"][0, :, 0])
        width = 7 if batch.length is None else int(batch.length[n])
        expected = seen.copy()
        expected[:, :width] = seen[:, :width][:, ::-1] if reverse else seen[:, :width]
        np.testing.assert_allclose(made[n], expected, atol=1e-5)


@pytest.mark.parametrize("reader", ["dot", "additive"])
@pytest.mark.parametrize("kind", ["masked", "book"])
def test_blinding_hides_one_position_at_one_step(kind, reader):
    """Fails when another position than the top one is hidden, steps before are blind, or what changes is counted elsewhere;
    when "another" is the top one, or padding.
    """
    cfg, vocabulary, params = model(reader)
    batch = encode(SUMS, vocabulary, Layout(kind, True, 7, 4))
    changed = alignment.blinded(seq2seq, cfg, params, batch, jax.random.key(0))
    start = seq2seq.start(cfg, params, jnp.asarray(batch.source), None if batch.length is None else jnp.asarray(batch.length))
    full = np.ones(batch.source.shape, bool) if start.memory.mask is None else np.asarray(start.memory.mask)
    assert alignment.blocking(*batch.source.shape) == (1, 6)
    chances = np.array(jax.random.uniform(jax.random.split(jax.random.key(0), 1)[0], (batch.inputs.shape[1], *full.shape)))
    expected, other, carry = np.zeros_like(changed.looked_at), np.zeros_like(changed.random), start.carry
    for t in range(batch.inputs.shape[1]):
        token = jnp.asarray(batch.inputs[:, t])
        carry_on, out = seq2seq.step(cfg, params, start.memory._replace(mask=jnp.asarray(full)), carry, token)
        top = np.asarray(out.aux["attention"]).mean(axis=1).argmax(axis=1)
        drawn = [max({*np.flatnonzero(full[n])} - {top[n]}, key=lambda s: chances[t, n, s]) for n in range(6)]
        for places, found in ((top, expected), (drawn, other)):
            hidden = full.copy()
            hidden[np.arange(6), places] = False
            _, blind = seq2seq.step(cfg, params, start.memory._replace(mask=jnp.asarray(hidden)), carry, token)
            found[:, t] = np.argmax(blind.logits, axis=1) != np.argmax(out.logits, axis=1)
        carry = carry_on
    np.testing.assert_array_equal(changed.looked_at, expected)
    np.testing.assert_array_equal(changed.random, other)
    assert 0 < expected.mean() < 1
    assert 0 < other.mean() < 1
    assert not np.array_equal(other, expected)
