"""Decoding against Python loops, one row's independence of its batch, and the scores of what was decoded."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqgen import evaluation
from seqgen.decoding import generate
from seqgen.models import seq2seq
from seqgen.tasks.task import Layout, encode
from seqgen.tasks.vocabulary import Vocabulary
from seqgen.types import Batch, Memory, Out, Start
from tests import oracles
from tests.oracles import VARIANTS, V, live_params

B, T = 5, 6
END = 3

quick_compilation = pytest.fixture(oracles.quick_compilation, scope="module", autouse=True)


# A scripted model: at its n-th step row b puts out script[b, n] + TABLE[the token that was fed]

TABLE = np.float32(np.random.default_rng(0).normal(size=(V, V)) * 2)


def scripted(memory, carry, token):
    logits = memory.values[jnp.arange(len(token)), carry] + jnp.asarray(TABLE)[token]
    return carry + 1, Out(logits, {"attention": logits[:, None, :4]})


def begin(script) -> Start:
    rows = len(script)
    token = jnp.arange(rows, dtype=jnp.int32) % V
    return Start(Memory(jnp.asarray(script), None, jnp.zeros((rows, 1))), jnp.zeros(rows, jnp.int32), token)


def script(seed: int = 1, rows: int = B, steps: int = 2 * T) -> np.ndarray:
    """Logits that differ everywhere; END never wins."""
    logits = np.float32(np.random.default_rng(seed).normal(size=(rows, steps, V)) * 3)
    logits[:, :, END] = -50
    return logits


def say(logits: np.ndarray, row: int, time: int, token: int) -> None:
    """Make `token` win there."""
    logits[row, time, token] = 60


def log_softmax(a: np.ndarray) -> np.ndarray:
    a = np.float64(a) - a.max(-1, keepdims=True)
    return a - np.log(np.exp(a).sum(-1, keepdims=True))


def by_hand(logits: np.ndarray, token: int, limit: int, end: int | None) -> tuple[list[int], float]:
    """One row of `scripted`, in plain Python."""
    tokens, total = [], 0.0
    for t in range(limit):
        scores = log_softmax(logits[t] + TABLE[token])
        token = int(np.argmax(scores))
        tokens.append(token)
        total += scores[token]
        if token == end:
            break
    return tokens, total


decode = jax.jit(partial(generate, scripted), static_argnames=("limit", "end", "rules"))


@pytest.mark.parametrize("end", [END, None])
def test_greedy_is_a_loop_that_ends(end):
    """Fails when a row goes on after its end (tokens, sum or state), the end symbol is not counted or not scored, one row's end
    stops another, or an end is seen where there is none to see.
    """
    logits = script()
    for row, time in ((0, 0), (2, 2), (3, T - 1)):
        say(logits, row, time, END)
    for row, time in ((0, 1), (2, 4), (4, 3)):
        say(logits, row, time, 8)
    made = decode(begin(logits), limit=T, end=end)
    for row in range(B):
        tokens, total = by_hand(logits[row], row, T, end)
        assert made.tokens[row].tolist() == tokens + [-1] * (T - len(tokens))
        assert made.length[row] == len(tokens)
        np.testing.assert_allclose(made.logprob[row], total, rtol=1e-5, atol=1e-5)
        assert (made.next.token[row], made.next.carry[row]) == (tokens[-1], len(tokens))
    assert made.length.tolist() == ([1, T, 3, T, T] if end == END else [T] * B)
    assert made.aux["attention"].shape == (B, T, 1, 4)
    seen = logits[1, np.arange(T), :4] + TABLE[[1, *made.tokens[1, :-1].tolist()], :4]
    np.testing.assert_allclose(made.aux["attention"][1, :, 0], seen, atol=1e-5)


def test_going_on_is_one_longer_text():
    """Fails when `next` feeds the last token twice or not at all, or hands on an older state."""
    logits = script(2)
    whole = decode(begin(logits), limit=7, end=END)
    first = decode(begin(logits), limit=3, end=END)
    second = decode(first.next, limit=4, end=END)
    np.testing.assert_array_equal(np.concatenate([first.tokens, second.tokens], axis=1), whole.tokens)
    np.testing.assert_allclose(first.logprob + second.logprob, whole.logprob, rtol=1e-5)
    np.testing.assert_array_equal(second.next.carry, whole.next.carry)


def ban_repeats(logits, history, t):
    """No token twice; and nothing but what the history holds may decide, so its future must be empty."""
    past = jnp.arange(history.shape[1]) < t
    seen = jax.nn.one_hot(history, V).max(1) > 0
    broken = jnp.any((history >= 0) != past[None, :], axis=1)
    return jnp.where(seen | broken[:, None], -100.0, logits)


def favour_by_time(logits, history, t):
    return logits + 30 * jax.nn.one_hot(t, V)[None, :]


def only_the_best(logits, history, t):
    return jnp.where(logits == logits.max(1, keepdims=True), logits, -1e9)


@pytest.mark.parametrize("rules", [(ban_repeats,), (favour_by_time, only_the_best), (only_the_best, favour_by_time)])
def test_rules_are_applied_in_turn(rules):
    """Fails when rules are applied in another order, are told another history or time than that of the step, or change what
    the model says of a text.
    """
    logits = script(3)
    made = decode(begin(logits), limit=T, end=None, rules=rules)
    for row in range(B):
        token, total, history = row, 0.0, []
        for t in range(T):
            own = logits[row, t] + TABLE[token]
            scores = own.copy()
            for rule in rules:
                if rule is ban_repeats:
                    scores[history] = -100
                elif rule is favour_by_time:
                    scores[t] += 30
                else:
                    scores = np.where(scores == scores.max(), scores, np.float32(-1e9))
            token = int(scores.argmax())
            total += log_softmax(own)[token]
            history.append(token)
        assert made.tokens[row].tolist() == history
        np.testing.assert_allclose(made.logprob[row], total, rtol=1e-4, atol=1e-4)


def test_a_rows_draws_are_its_own():
    """Fails when a row's text depends on its neighbours, on its place among them, or on how many they are."""
    logits, keys = script(4) / 3, jax.random.split(jax.random.key(0), B)
    say(logits, 1, 2, END)
    made = decode(begin(logits), limit=T, end=END, keys=keys)
    order = np.array([4, 1, 2])
    start = begin(logits)
    some = Start(Memory(start.memory.values[order], None, start.memory.summary[order]), start.carry[order], start.token[order])
    again = decode(some, limit=T, end=END, keys=jax.random.clone(keys)[order])
    np.testing.assert_array_equal(again.tokens, made.tokens[order])
    np.testing.assert_allclose(again.logprob, made.logprob[order], rtol=1e-5)
    assert len({tuple(row) for row in made.tokens.tolist()}) == B


def test_draws_follow_the_distribution():
    """Fails when a draw is not from softmax(logits), two times of a row share their noise, or logprob is another's."""
    rows, steps = 4000, 3
    same = np.zeros((rows, steps, V), np.float32)
    same[:] = np.linspace(-1, 1, V)
    start = begin(same)._replace(token=jnp.zeros(rows, jnp.int32))
    keys = jax.random.split(jax.random.key(1), rows)

    def forget(logits, history, t):
        """What was fed back says nothing."""
        return jnp.broadcast_to(jnp.linspace(-1, 1, V), logits.shape)

    made = decode(start, limit=steps, end=None, keys=keys, rules=(forget,))
    p = oracles.softmax(np.linspace(-1, 1, V))
    tokens = np.asarray(made.tokens)
    for t in range(steps):
        share = np.bincount(tokens[:, t], minlength=V) / rows
        assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / rows))
    alike = (p**2).sum()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((tokens[:, one] == tokens[:, other]).mean() - alike) < 5 * math.sqrt(alike / rows)
    fed = np.column_stack([np.zeros(rows, int), tokens[:, :-1]])
    own = np.take_along_axis(log_softmax(same + TABLE[fed]), tokens[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(made.logprob, own.sum(1), rtol=1e-4)


# The models

POOL, S = 40, 4  # questions, and their width without needless padding


@partial(jax.jit, static_argnums=0)
def answer(cfg, params, source, length):
    """Greedy tokens, their log-probability, and the teacher-forced logits on those tokens."""
    made = generate(partial(seq2seq.step, cfg, params), seq2seq.start(cfg, params, source, length), limit=T, end=END)
    first = jnp.full((len(source), 1), cfg.delimiter, jnp.int32)
    inputs = jnp.concatenate([first, jnp.maximum(made.tokens[:, :-1], 0)], axis=1)
    batch = Batch(source, length, inputs, inputs, inputs >= 0)
    return made.tokens, made.length, made.logprob, seq2seq.apply(cfg, params, batch, ())[1].logits


class Variant:
    """A model whose rows end at different times, and 40 questions with their answers."""

    def __init__(self, name: str) -> None:
        self.cfg = VARIANTS[name]
        random = np.random.default_rng(11)
        self.source = np.int32(random.integers(V, size=(POOL, S)))
        self.length = np.int32(random.integers(1, S + 1, size=POOL))
        self.params, self.ragged = max((self.try_bias(bias) for bias in np.arange(-4, 8)), key=self.variety)
        self.full = self.answers(self.params, self.source, None)

    def answers(self, params, source, length):
        """All rows in batches of B, so that every test has one shape."""
        parts = [slice(i, i + B) for i in range(0, POOL, B)]
        made = [answer(self.cfg, params, source[part], None if length is None else length[part]) for part in parts]
        return [np.concatenate(leaves) for leaves in zip(*made, strict=True)]

    def try_bias(self, bias: float):
        """Questions are loud, END has the given bias: the parameters, and what they answer."""
        params = live_params(self.cfg, 5)
        encoder = params.encoder._replace(embedding=4 * params.encoder.embedding)
        affine = params.decoder.affine._replace(w=3 * params.decoder.affine.w, b=np.float32(bias * (np.arange(V) == END)))
        params = params._replace(encoder=encoder, decoder=params.decoder._replace(affine=affine))
        return params, self.answers(params, np.pad(self.source, ((0, 0), (0, 2))), self.length)

    @staticmethod
    def variety(tried) -> int:
        """The number of different answers, if they differ in length."""
        _, (tokens, length, _, _) = tried
        return len(np.unique(tokens, axis=0)) * (np.ptp(length) > 2)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request) -> Variant:
    return Variant(request.param)


def test_greedy_is_a_loop_over_step(variant):
    """Fails when the compiled loop hands on another state than `step` gave, or its sum is not that of the teacher-forced
    log-probabilities of what it wrote.
    """
    cfg, params = variant.cfg, jax.tree.map(jnp.asarray, variant.params)
    tokens, length, _, logits = (x[:B] for x in variant.ragged)
    step = jax.jit(partial(seq2seq.step, cfg))
    memory, carry, token = seq2seq.start(cfg, params, jnp.asarray(variant.source[:B]), jnp.asarray(variant.length[:B]))
    for t in range(T):
        carry, out = step(params, memory, carry, token)
        token = jnp.argmax(out.logits, axis=-1).astype(jnp.int32)
        on = t < length
        np.testing.assert_array_equal(tokens[on, t], token[on])
        np.testing.assert_allclose(logits[on, t], out.logits[on], atol=1e-4)
    scored = np.take_along_axis(log_softmax(variant.ragged[3]), np.maximum(variant.ragged[0], 0)[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(variant.ragged[2], np.sum(scored, axis=1, where=variant.ragged[0] >= 0), atol=1e-4)
    np.testing.assert_array_equal(variant.ragged[1], (variant.ragged[0] >= 0).sum(1))
    assert Variant.variety((None, variant.ragged)) >= 5


def agree(made, expected, ties: Counter) -> None:
    """Tokens are equal up to a place where the two best scores lie within 1e-4; so are logits, and the sum if there is none."""
    tokens, _, logprob, logits = (np.asarray(x) for x in made)
    for row in range(len(tokens)):
        ours, theirs = tokens[row], expected[0][row]
        differ = np.flatnonzero(ours != theirs)
        stop = differ[0] if len(differ) else int((theirs >= 0).sum())
        seen = slice(0, stop + bool(len(differ)))
        np.testing.assert_allclose(logits[row, seen], expected[3][row, seen], atol=1e-4)
        ties["rows"] += 1
        if len(differ):
            best = np.sort(expected[3][row, stop])
            assert best[-1] - best[-2] < 1e-4, (row, ours, theirs)
            ties["broken"] += 1
        else:
            np.testing.assert_allclose(logprob[row], expected[2][row], atol=1e-4)


def test_a_row_does_not_know_its_batch(variant):
    """Fails when any neighbours, order, or padding (as wide as it may be, whatever stands in it) change what a row is answered,
    with lengths or without. Ties may fall either way; they are counted, and there must be next to none.
    """
    ties: Counter = Counter()
    rows = st.lists(st.integers(0, POOL - 1), min_size=B, max_size=B).map(np.array)

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(rows, st.integers(0, 2**32 - 1))
    def check(chosen, seed):
        wide = np.int32(np.random.default_rng(seed).integers(V, size=(B, S + 2)))
        wide[:, :S] = np.where(np.arange(S) < variant.length[chosen, None], variant.source[chosen], wide[:, :S])
        made = answer(variant.cfg, variant.params, wide, variant.length[chosen])
        agree(made, [x[chosen] for x in variant.ragged], ties)
        made = answer(variant.cfg, variant.params, variant.source[chosen], None)
        agree(made, [x[chosen] for x in variant.full], ties)

    check()
    assert ties["rows"] >= 100
    assert ties["broken"] <= ties["rows"] / 100, ties


# Evaluation

ADDITION = Vocabulary(" +0123456789_")
TRUTHS = ["12", "345", "6", "78", "90", "12", "999"]
GUESSES = {
    # right; ends early; wrong; goes on; says nothing; and twice no end
    "masked": ["12_", "3_5_", "7_", "789_", "_", "12", "9999"],
    "book": ["12  ", "3 5 ", "7   ", "789 ", "    ", "12 1", "999 "],
}


@dataclass(frozen=True)
class Scripted:
    """The configuration of a model whose parameters are its logits: row r is the question whose first token is r."""

    delimiter: int


MODEL = ModuleType("scripted")
MODEL.start = lambda cfg, params, source, length: Start(
    Memory(params[source[:, 0]], None, jnp.zeros((len(source), 1))),
    jnp.zeros(len(source), jnp.int32),
    jnp.full(len(source), cfg.delimiter, jnp.int32),
)
MODEL.step = lambda cfg, params, memory, carry, token: (
    carry + 1,
    Out(memory.values[jnp.arange(len(token)), carry], {}),
)
MODEL.apply = lambda cfg, params, batch, carry: (carry, Out(params[batch.source[:, 0]], {}))


def scores(kind: str, *, at_least: int = 0):
    layout = Layout(kind, False, 7, 4)
    batch = encode([("1+2", truth) for truth in TRUTHS], ADDITION, layout)
    source = batch.source.copy()
    source[:, 0] = np.arange(len(TRUTHS))
    steps = batch.targets.shape[1]
    logits = np.float32(np.random.default_rng(3).normal(size=(len(TRUTHS), steps, len(ADDITION))))
    for row, guess in enumerate(GUESSES[kind]):
        for t, character in enumerate(guess.ljust(steps, "1")):  # what comes after an end is never right by chance
            logits[row, t, ADDITION.ids[character]] = 9
    batch, cfg = batch._replace(source=source), Scripted(ADDITION.ids["_"])
    return *evaluation.evaluate(MODEL, cfg, jnp.asarray(logits), batch, ADDITION, layout, at_least=at_least), logits


def scores_by_hand(kind: str, logits: np.ndarray) -> tuple[float, float, float]:
    """Exact match, token accuracy and loss from texts."""
    right = positions = exact = valid = 0
    loss = 0.0
    for row, (truth, guess) in enumerate(zip(TRUTHS, GUESSES[kind], strict=True)):
        if kind == "masked":
            truth, field = truth + "_", truth + "_"
            guess = guess.ljust(5, "1")
            guess = guess[: guess.index("_") + 1] if "_" in guess else guess
            exact += guess == truth
        else:
            field = truth.ljust(4)
            truth = field[: len(truth) + 1]
            exact += guess == field
        positions += len(truth)
        right += sum(t < len(guess) and guess[t] == character for t, character in enumerate(truth))
        valid += len(field)
        loss -= sum(log_softmax(logits[row, t])[ADDITION.ids[character]] for t, character in enumerate(field))
    return exact / len(TRUTHS), right / positions, loss / valid


@pytest.mark.parametrize("kind", ["masked", "book"])
def test_scores_are_those_of_the_texts(kind):
    """Fails when a missing position counts as right or not at all, text after an early end counts, an answer that goes on is an
    exact match, blanks past the one that ends an answer count as tokens, or the loss counts padding.
    """
    made, tokens, logits = scores(kind)
    expected = scores_by_hand(kind, logits)
    np.testing.assert_allclose((made.exact_match, made.token_accuracy, made.loss), expected, rtol=1e-5)
    assert made.examples == len(tokens) == len(TRUTHS)
    assert made.exact_match == pytest.approx({"masked": 1 / 7, "book": 2 / 7}[kind])
    assert tokens[4].tolist() == ([12, -1, -1, -1, -1] if kind == "masked" else [0] * 4)


@pytest.mark.parametrize("kind", ["masked", "book"])
@pytest.mark.parametrize("at_least", [0, 15])
def test_blocks_change_nothing(kind, at_least, monkeypatch):
    """Fails when the rows that fill up a block count, or rows come back in another order."""
    expected, tokens, _ = scores(kind)
    monkeypatch.setattr(evaluation, "block_rows", lambda width: 3)
    made, others, _ = scores(kind, at_least=at_least)
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    np.testing.assert_array_equal(others, tokens)
