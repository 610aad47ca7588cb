"""Alignment scores against loops written from their definitions, controls that must come out as
they must, and blinding.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.data.padding import Padding, encode, pair_vocabulary
from seqgen.data.tokenizer import Vocabulary
from seqgen.evaluation import alignment
from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.tasks.addition import Addition
from seqgen.tasks.dates import Dates
from seqgen.types import Batch, Model, Sizes

DATES = [
    ("9/27/94", "1994-09-27"),
    ("SEP 7, 2004", "2004-09-07"),
    ("tuesday, may 25, 1984", "1984-05-25"),
    ("October 31, 2017", "2017-10-31"),
]
WIDTH = 29


def padding(kind: str, reverse: bool = False) -> Padding:
    return Padding(kind, reverse, WIDTH, 10)


def gold(kind: str = "masked") -> alignment.Gold:
    return alignment.gold_of(Dates(), DATES, padding(kind), (11 if kind == "masked" else 10, WIDTH))


def weights(given: alignment.Gold, seed: int = 0) -> np.ndarray:
    """Random attention, none of it on padding."""
    rows, times = next(iter(given.classes.values())).shape[:2]
    raw = np.random.default_rng(seed).random((rows, times, WIDTH)) ** 4
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
                mass = sum(a[n, t, s] for s in right)
                rows.append((mass, top in right, near, len(right) == 1, entropy))
    mass, hit, near, sure, entropy = np.array(rows, float).T
    links, sure_links = len(rows), sure.sum()
    error = 1 - ((hit * sure).sum() + hit.sum()) / (links + sure_links)
    return links, mass.mean(), hit.mean(), near.mean(), error, entropy.mean()


@pytest.mark.parametrize("kind", ["masked", "book"])
def test_scores_are_their_definitions(kind):
    """Fails when a class takes another's positions, padding counts, "within one" looks to one side,
    or sure is possible.
    """
    given = gold(kind)
    a = weights(given)
    scores = alignment.scores(a, given)
    apart = {"separator", "end"} if kind == "masked" else {"separator"}
    forced = {"all", "century", "year", "month", "month word", "day", "implied-zero"}
    assert scores.keys() == forced | apart
    for name in scores.keys() - {"all"} - apart:
        np.testing.assert_allclose(scores[name], by_hand(a, given, name), rtol=1e-12)
    for name in apart:
        at = [
            [answer[t : t + 1] == ("-" if name == "separator" else "") for t in range(a.shape[1])]
            for _, answer in DATES
        ]
        logs = [np.log(p[p > 0]) @ p[p > 0] for p in a[np.array(at)]]
        assert scores[name].positions == len(logs)
        assert scores[name].entropy == pytest.approx(-np.mean(logs))
        assert np.isnan(scores[name][1:5]).all()
    own = {
        name: given.classes[name].any(2).sum() for name in ("year", "month", "month word", "day")
    }
    assert scores["all"].positions == sum(own.values()) == 2 + 12 + 1 + 6 + 7
    mean = sum(scores[name].mass * n for name, n in own.items()) / sum(own.values())
    np.testing.assert_allclose(scores["all"].mass, mean)


def test_classes_of_one_date():
    """Fails when a month's word is taken for a digit, or a two-digit year's century for a place to
    look.
    """
    given = gold()
    assert np.flatnonzero(given.classes["month word"][2, 5]).tolist() == [9, 10, 11]  # "may"
    assert np.flatnonzero(given.classes["month"][0, 6]).tolist() == [0]
    assert not given.classes["month"][0, 5].any()  # an implied zero
    assert np.flatnonzero(given.classes["year"][0, 3]).tolist() == [6]
    assert given.valid.sum(axis=1).tolist() == [len(question) for question, _ in DATES]
    assert gold("book").valid.all()


def test_controls():
    """Fails when attention that is right scores below 1, or uniform attention anything but |gold| /
    |valid| and ln |valid|.
    """
    given = gold()
    right = alignment.scores(alignment.oracle(given), given)
    for name in ("all", "year", "month", "month word", "day"):
        score = right[name]
        found = score.mass, score.hit, score.near, score.error_rate
        assert found == pytest.approx((1, 1, 1, 0))
    even = alignment.scores(alignment.uniform(given), given)
    lengths = [len(question) for question, _ in DATES]
    mean = np.mean([3 / lengths[1], 3 / lengths[2], 7 / lengths[3]])
    assert even["month word"].mass == pytest.approx(mean)
    assert even["month word"].hit == pytest.approx(even["month word"].mass)
    assert even["year"].entropy == pytest.approx(np.average(np.log(lengths), weights=[2, 4, 4, 4]))


def test_shuffled_attention_is_as_sharp_and_knows_nothing():
    """Fails when the order leaves the question, weights are others, or rows are shuffled alike."""
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
    expected = alignment.scores(alignment.uniform(given), given)["year"].hit
    assert found == pytest.approx(expected, abs=0.01)


def model_of(mechanism: str, kind: str) -> tuple[Model, Vocabulary, rnn_seq2seq.Params]:
    vocabulary = pair_vocabulary(Addition().alphabet, kind)
    inputs = (mechanism,) if mechanism == "additive" else ()
    sides = rnn_encoder.Config(7, 12), rnn_decoder.Config(7, 12, inputs=inputs, outputs=("dot",))
    sizes = Sizes(len(vocabulary), len(vocabulary), vocabulary.special)
    model = build(rnn_seq2seq.Config(*sides, init="modern"), sizes)
    sharp = jax.tree.map(lambda leaf: 3 * leaf, model.init(jax.random.key(1)))
    return model, vocabulary, sharp  # enough to change its mind


SUMS = [
    (f"{a}+{b}", str(a + b))
    for a, b in ((1, 2), (123, 45), (999, 999), (7, 600), (31, 4), (50, 50))
]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", ["masked", "book"])
def test_forced_attention_is_in_reading_order(kind, reverse):
    """Fails when the model is fed its own answers, rows of the fill are kept, or the reversal is
    not undone.
    """
    model, vocabulary, params = model_of("dot", kind)
    one = Padding(kind, reverse, 7, 4)
    batch = encode(SUMS, vocabulary, one)
    made = alignment.forced_attention(model, params, batch, one)
    assert made.shape == (6, batch.targets.shape[1], 7)
    for n in range(6):
        row = Batch(*(None if leaf is None else jnp.asarray(leaf[n : n + 1]) for leaf in batch))
        _, out = model.apply(params, row, (), None)
        seen = np.asarray(out.aux["attention"][0, :, 0])
        width = 7 if batch.length is None else int(batch.length[n])
        expected = seen.copy()
        expected[:, :width] = seen[:, :width][:, ::-1] if reverse else seen[:, :width]
        np.testing.assert_allclose(made[n], expected, atol=1e-5)


def test_forced_attention_begins_in_the_initial_state():
    """Fails when a model whose carry crosses batches is given another one at first."""
    model, vocabulary, params = model_of("dot", "masked")

    def apply(params, batch, carry, dropout_state):
        assert carry.shape == (len(batch.inputs), 3)
        return carry, model.apply(params, batch, (), dropout_state)[1]

    carrying = model._replace(initial_state=lambda params, rows: jnp.zeros((rows, 3)), apply=apply)
    one = Padding("masked", False, 7, 4)
    batch = encode(SUMS, vocabulary, one)
    made = (alignment.forced_attention(each, params, batch, one) for each in (model, carrying))
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("mechanism", ["dot", "additive"])
@pytest.mark.parametrize("kind", ["masked", "book"])
def test_blinding_hides_one_position_at_one_step(kind, mechanism):
    """Fails when another position than the top one is hidden, steps before are blind, or what
    changes is counted elsewhere; when "another" is the top one, or padding.
    """
    model, vocabulary, params = model_of(mechanism, kind)
    batch = encode(SUMS, vocabulary, Padding(kind, True, 7, 4))
    changed = alignment.blinded(model, params, batch, jax.random.key(0))
    given = jax.tree.map(jnp.asarray, batch)
    start = model.start(params, given.source, given.length, capacity=batch.inputs.shape[1])
    mask = start.memory.mask
    full = np.ones(batch.source.shape, bool) if mask is None else np.asarray(mask)
    assert alignment.blocking(*batch.source.shape) == (1, 6)
    (key,) = jax.random.split(jax.random.key(0), 1)
    chances = np.array(jax.random.uniform(key, (batch.inputs.shape[1], *full.shape)))
    expected, other = np.zeros_like(changed.looked_at), np.zeros_like(changed.random)

    def step(mask: np.ndarray, carry, token):
        memory = start.memory._replace(mask=jnp.asarray(mask))
        return model.step(params, memory, carry, token)

    carry = start.carry
    for t in range(batch.inputs.shape[1]):
        token = jnp.asarray(batch.inputs[:, t])
        carry_on, out = step(full, carry, token)
        top = np.asarray(out.aux["attention"]).mean(axis=1).argmax(axis=1)
        drawn = [
            max({*np.flatnonzero(full[n])} - {top[n]}, key=lambda s: chances[t, n, s])
            for n in range(6)
        ]
        for places, found in ((top, expected), (drawn, other)):
            hidden = full.copy()
            hidden[np.arange(6), places] = False
            _, blind = step(hidden, carry, token)
            found[:, t] = np.argmax(blind.logits, axis=1) != np.argmax(out.logits, axis=1)
        carry = carry_on
    np.testing.assert_array_equal(changed.looked_at, expected)
    np.testing.assert_array_equal(changed.random, other)
    assert 0 < expected.mean() < 1
    assert 0 < other.mean() < 1
    assert not np.array_equal(other, expected)
