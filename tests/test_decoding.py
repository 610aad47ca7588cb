"""Decoding against Python loops, one row's independence of its batch, and the scores of
what was decoded.
"""

import math
from collections import Counter
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqgen.data.padding import Padding, encode, pair_vocabulary
from seqgen.decoding.beam import beam, length_penalty
from seqgen.decoding.generate import generate
from seqgen.decoding.logits import GenerationConfig, ban, temperature
from seqgen.evaluation import answers
from seqgen.models import build, rnn_language_model
from seqgen.types import Batch, Memory, Model, Out, Start
from tests.oracles import SIZES, VARIANTS, V, beam_search, live_params, log_softmax, softmax

B, T = 5, 6
END = 3


# A scripted model: at its n-th step row b puts out script[b, n] + TABLE[the token that was fed]

TABLE = np.float32(np.random.default_rng(0).normal(size=(V, V)) * 2)


def scripted(memory, carry, token):
    logits = memory.values[jnp.arange(len(token)), carry] + jnp.asarray(TABLE)[token]
    return carry + 1, Out(logits, {"attention": logits[:, None, :4]})


def begin(script) -> Start:
    rows = len(script)
    token = jnp.arange(rows, dtype=jnp.int32) % V
    return Start(
        Memory(jnp.asarray(script), None, jnp.zeros((rows, 1))), jnp.zeros(rows, jnp.int32), token
    )


def script(seed: int = 1, rows: int = B, steps: int = 2 * T) -> np.ndarray:
    """Logits that differ everywhere; END never wins."""
    logits = np.float32(np.random.default_rng(seed).normal(size=(rows, steps, V)) * 3)
    logits[:, :, END] = -50
    return logits


def say(logits: np.ndarray, row: int, time: int, token: int) -> None:
    """Make `token` win there."""
    logits[row, time, token] = 60


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


decode = jax.jit(partial(generate, scripted), static_argnames=("limit", "end", "processors"))


@pytest.mark.parametrize("end", [END, None])
def test_greedy_is_a_loop_that_ends(end):
    """Fails when a row goes on after its end (tokens or sum), the end symbol is not counted or not
    scored, one row's end stops another, or an end is seen where there is none to see; or when the
    state is not that after the last step, whether the row has ended or not.
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
        assert (made.next.token[row], made.next.carry[row]) == (tokens[-1], T)
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
    np.testing.assert_array_equal(
        np.concatenate([first.tokens, second.tokens], axis=1), whole.tokens
    )
    np.testing.assert_allclose(first.logprob + second.logprob, whole.logprob, rtol=1e-5)
    np.testing.assert_array_equal(second.next.carry, whole.next.carry)


def ban_repeats(logits, history, t):
    """No token twice; and nothing but what the history holds may decide, so its future must be
    empty.
    """
    past = jnp.arange(history.shape[1]) < t
    seen = jax.nn.one_hot(history, V).max(1) > 0
    broken = jnp.any((history >= 0) != past[None, :], axis=1)
    return jnp.where(seen | broken[:, None], -100.0, logits)


def favour_by_time(logits, history, t):
    return logits + 30 * jax.nn.one_hot(t, V)[None, :]


def only_the_best(logits, history, t):
    return jnp.where(logits == logits.max(1, keepdims=True), logits, -1e9)


@pytest.mark.parametrize(
    "processors", [(ban_repeats,), (favour_by_time, only_the_best), (only_the_best, favour_by_time)]
)
def test_processors_are_applied_in_turn(processors):
    """Fails when processors are applied in another order, are told another history or time than
    that of the step, or change what the model says of a text.
    """
    logits = script(3)
    made = decode(begin(logits), limit=T, end=None, processors=processors)
    for row in range(B):
        token, total, history = row, 0.0, []
        for t in range(T):
            own = logits[row, t] + TABLE[token]
            scores = own.copy()
            for process in processors:
                if process is ban_repeats:
                    scores[history] = -100
                elif process is favour_by_time:
                    scores[t] += 30
                else:
                    scores = np.where(scores == scores.max(), scores, np.float32(-1e9))
            token = int(scores.argmax())
            total += log_softmax(own)[token]
            history.append(token)
        assert made.tokens[row].tolist() == history
        np.testing.assert_allclose(made.logprob[row], total, rtol=1e-4, atol=1e-4)


def test_a_rows_draws_are_its_own():
    """Fails when a row's text depends on its neighbours, on its place among them, or on how many
    they are.
    """
    logits, keys = script(4) / 3, jax.random.split(jax.random.key(0), B)
    say(logits, 1, 2, END)
    made = decode(begin(logits), limit=T, end=END, keys=keys)
    order = np.array([4, 1, 2])
    start = begin(logits)
    some = Start(
        Memory(start.memory.values[order], None, start.memory.summary[order]),
        start.carry[order],
        start.token[order],
    )
    again = decode(some, limit=T, end=END, keys=jax.random.clone(keys)[order])
    np.testing.assert_array_equal(again.tokens, made.tokens[order])
    np.testing.assert_allclose(again.logprob, made.logprob[order], rtol=1e-5)
    assert len({tuple(row) for row in made.tokens.tolist()}) == B


def test_draws_follow_the_distribution():
    """Fails when a draw is not from softmax(logits), two times of a row share their random
    number, or logprob is another's.
    """
    rows, steps = 4000, 3
    same = np.zeros((rows, steps, V), np.float32)
    same[:] = np.linspace(-1, 1, V)
    start = begin(same)._replace(token=jnp.zeros(rows, jnp.int32))
    keys = jax.random.split(jax.random.key(1), rows)

    def forget(logits, history, t):
        """What was fed back says nothing."""
        return jnp.broadcast_to(jnp.linspace(-1, 1, V), logits.shape)

    made = decode(start, limit=steps, end=None, keys=keys, processors=(forget,))
    p = softmax(np.linspace(-1, 1, V))
    tokens = np.asarray(made.tokens)
    for t in range(steps):
        share = np.bincount(tokens[:, t], minlength=V) / rows
        assert np.all(np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / rows))
    alike = (p**2).sum()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs((tokens[:, one] == tokens[:, other]).mean() - alike) < 5 * math.sqrt(
            alike / rows
        )
    fed = np.column_stack([np.zeros(rows, int), tokens[:, :-1]])
    own = np.take_along_axis(log_softmax(same + TABLE[fed]), tokens[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(made.logprob, own.sum(1), rtol=1e-4)


# Going on, being stuck, ending early


def stuck_at(row: int, time: int):
    """A processor that leaves one row nothing at one time."""

    def process(logits, history, t):
        dead = (jnp.arange(len(logits)) == row) & (t == time)
        return jnp.where(dead[:, None], -jnp.inf, logits)

    return process


ASKED = GenerationConfig(
    temperature=0.8, top_p=0.95, top_k=9, repetition_penalty=1.3, no_repeat_ngram=2, min_length=2
).processors((4,), END)
STUCK = (*ASKED, stuck_at(4, 3))
LONG = 7


@pytest.mark.parametrize("sizes", [(1,) * LONG, (3, 3, 1)])
@pytest.mark.parametrize(
    ("end", "drawn", "processors"),
    [(END, False, ASKED), (END, True, STUCK), (None, True, STUCK)],
    ids=["greedy", "drawn, a row without a token left", "the same without an end"],
)
def test_parts_are_the_whole(end, drawn, processors, sizes):
    """Fails when a text that is generated in parts is another than in one piece: processors are
    told another history or time, a token is drawn with another part's random number, or a row goes
    on that ended, or had no token left, in an earlier part.
    """
    logits = script(6) / 3
    for row, time in ((0, 0), (1, 3), (2, 4), (3, 6)):  # row 0 is not allowed to
        say(logits, row, time, END)
    keys = jax.vmap(jax.random.key)(np.arange(B)) if drawn else None
    again = partial(jax.random.clone, keys) if drawn else lambda: None
    whole = decode(begin(logits), limit=LONG, end=end, processors=processors, keys=keys)
    start, history, done = begin(logits), np.full((B, LONG + 1), -1, np.int32), 0
    length, logprob, aux = np.zeros(B), np.zeros(B), []
    for size in sizes:
        options = {
            "processors": processors,
            "keys": again(),
            "history": history.copy(),
            "first": np.int32(done),
        }
        part = decode(start, limit=size, end=end, **options)
        history[:, done : done + size] = part.tokens
        start, done = part.next, done + size
        length, logprob = length + part.length, logprob + part.logprob
        aux.append(part.aux["attention"])
    np.testing.assert_array_equal(history[:, :LONG], whole.tokens)
    np.testing.assert_array_equal(length, whole.length)
    np.testing.assert_allclose(logprob, whole.logprob, rtol=1e-5)
    on = np.asarray(whole.tokens) >= 0
    np.testing.assert_allclose(
        np.concatenate(aux, axis=1)[on], whole.aux["attention"][on], rtol=1e-5
    )
    stuck = np.isneginf(whole.logprob)
    for one, all_ in zip(start[1:], whole.next[1:], strict=True):
        np.testing.assert_array_equal(one[~stuck], all_[~stuck])
    assert stuck.tolist() == [False] * 4 + [processors is STUCK]
    assert whole.length.tolist()[:4] == ([LONG, 4, 5, LONG] if end is not None else [LONG] * 4)


@pytest.mark.parametrize("end", [END, None])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_row_without_a_token_left_ends(drawn, end):
    """Fails when a row whose every token is barred writes one all the same, or goes on after it, is
    given a number for its log-probability, or takes its neighbours with it: from the first token
    on, and later.
    """
    logits = script(7) / 3
    keys = jax.vmap(jax.random.key)(np.arange(B)) if drawn else None
    free = decode(begin(logits), limit=T, end=end, keys=keys)
    bound = (stuck_at(1, 0), stuck_at(3, 2))
    made = decode(
        begin(logits),
        limit=T,
        end=end,
        keys=jax.random.clone(keys) if drawn else None,
        processors=bound,
    )
    others = [0, 2, 4]
    for one, all_ in zip(jax.tree.leaves(made[:3]), jax.tree.leaves(free[:3]), strict=True):
        np.testing.assert_array_equal(np.asarray(one)[others], np.asarray(all_)[others])
    assert made.length[1] == 0
    assert made.tokens[1].tolist() == [-1] * T
    assert made.length[3] == 2
    assert made.tokens[3].tolist() == free.tokens[3, :2].tolist() + [-1] * (T - 2)
    np.testing.assert_array_equal(np.isneginf(made.logprob), [False, True, False, True, False])
    every = decode(
        begin(logits),
        limit=T,
        end=end,
        keys=jax.random.clone(keys) if drawn else None,
        processors=(ban(range(V)),),
    )
    np.testing.assert_array_equal(every.tokens, -1)
    np.testing.assert_array_equal(every.logprob, -np.inf)


taken: list[int] = []


def counted(memory, carry, token):
    """`scripted`, and how often it was really called."""
    jax.debug.callback(lambda: taken.append(1))
    return scripted(memory, carry, token)


def test_it_ends_when_all_rows_have_ended():
    """Fails when a step is taken that no row needs, or what stands past a row's end is not -1 and
    0: where the others have gone on and where they have not.
    """
    shout = jax.jit(partial(generate, counted, limit=T, end=END, processors=(stuck_at(2, 3),)))
    for time, steps in ((0, 3), (3, 4), (4, 5), (T, T)):
        logits = script(8)
        for row in range(B):
            say(logits, row, 2, END)
        logits[2, 2, END] = -50  # this row has no token left at 3
        logits[0, 2, END] = -50 if time else 60
        if time < T:
            say(logits, 0, time or 2, END)
        if not time:
            logits[2, 2, END] = 60
        taken.clear()
        made = jax.block_until_ready(shout(begin(logits)))
        jax.effects_barrier()
        assert len(taken) == steps
        assert made.length.tolist() == [min(time + 1, T) if time else 3, 3, 3, 3, 3]
        past = np.arange(T) >= np.asarray(made.length)[:, None]
        np.testing.assert_array_equal(made.tokens < 0, past)
        gone = np.arange(T) > np.asarray(made.length)[:, None] - (np.arange(B) != 2)[:, None]
        np.testing.assert_array_equal(np.asarray(made.aux["attention"])[gone], 0)
    taken.clear()
    history = np.full((B, 2 * T), -1, np.int32)
    history[:, 1] = END
    made = jax.block_until_ready(shout(begin(script(8)), history=history, first=np.int32(T)))
    jax.effects_barrier()
    assert (len(taken), made.length.tolist()) == (0, [0] * B)


def test_one_program_for_every_text():
    """Fails when other keys, another part of the text or another history compiles anew."""
    one = jax.jit(partial(generate, scripted, limit=2, end=END, processors=ASKED))
    texts = set()
    for seed in range(4):
        keys = jax.random.split(jax.random.key(seed), B)
        history = np.full((B, 9), -1, np.int32)
        history[:, : 2 * seed] = seed
        made = one(begin(script(9) / 3), keys=keys, history=history, first=np.int32(2 * seed))
        texts.add(str(made.tokens.tolist()))
    assert len(texts) == 4
    assert one._cache_size() == 1


# The models

POOL, S = 40, 4  # questions, and their width without needless padding
W, COOL, ALPHA = 3, 0.8, 0.6
LANGUAGE_MODELS = {
    "language model": rnn_language_model.Config(7, 12),
    "language model, two GRUs, tied": rnn_language_model.Config(12, 12, 2, "gru", tied=True),
}


class Texts(NamedTuple):
    """1 + 1 + W texts a row: greedy, drawn, and those of a beam; as in `Generated`. Only the beam's
    have a `score`.

    Where not every way to decode is tried, to save compilations, it is the first text only.
    """

    tokens: np.ndarray
    length: np.ndarray
    logprob: np.ndarray
    score: np.ndarray
    logits: np.ndarray | None = None


@partial(jax.jit, static_argnums=0, static_argnames=("end", "every"))
def decoded(model, params, source, length, seeds, *, end, every):
    step, start = partial(model.step, params), model.start(params, source, length, capacity=T)
    best = generate(step, start, limit=T, end=end)
    if not every:
        return Texts(*(leaf[:, None] for leaf in best[:3]), score=jnp.zeros((len(source), 0)))
    keys, processors = jax.vmap(jax.random.key)(seeds), (temperature(COOL),)
    drawn = generate(step, start, limit=T, end=end, keys=keys, processors=processors)
    beams = beam(step, start, limit=T, end=end, width=W, score=length_penalty(ALPHA))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), best[:3], drawn[:3])
    joined = (jnp.concatenate(pair, axis=1) for pair in zip(both, beams[:3], strict=True))
    return Texts(*joined, score=beams.score)


@partial(jax.jit, static_argnums=(0, 1))
def forced(model, pairs, params, source, length, tokens):
    """The logits of `apply` on those texts [B, N, T], each fed whole."""
    rows, each = tokens.shape[:2]
    source = jnp.repeat(source, each, axis=0)
    length = None if length is None else jnp.repeat(length, each)
    tokens = tokens.reshape(rows * each, T)
    carry = model.initial_state(params, rows * each)
    if pairs:
        first = jnp.full((rows * each, 1), SIZES.special.bos, jnp.int32)
        inputs = jnp.concatenate([first, jnp.maximum(tokens[:, :-1], 0)], axis=1)
        batch = Batch(source, length, inputs, inputs, inputs >= 0)
        logits = model.apply(params, batch, carry, None)[1].logits
    else:  # one stream: the prompt as long as it is, then the text
        width = source.shape[1]
        begins = jnp.full(rows * each, width) if length is None else length
        at = jnp.arange(width + T)[None] - begins[:, None]
        text = jnp.take_along_axis(jnp.maximum(tokens, 0), jnp.clip(at, 0, T - 1), axis=1)
        inputs = jnp.where(at < 0, jnp.pad(source, ((0, 0), (0, T))), text)
        batch = Batch((), None, inputs, inputs, inputs >= 0)
        logits = model.apply(params, batch, carry, None)[1].logits
        places = begins[:, None] - 1 + jnp.arange(T)[None]
        logits = jnp.take_along_axis(logits, places[..., None], axis=1)
    return logits.reshape(rows, each, T, V)


class Variant:
    """A model whose rows end at different times, and 40 questions (or prompts) with its texts: with
    lengths and an end symbol (`ragged`), and without either (`full`): there only the `thorough`
    ones draw and have a beam.
    """

    def __init__(self, name: str) -> None:
        self.pairs, self.cfg = name in VARIANTS, {**VARIANTS, **LANGUAGE_MODELS}[name]
        self.model = build(self.cfg, SIZES)
        self.thorough = name in ("attention", "language model")
        random = np.random.default_rng(11)
        self.source = np.int32(random.integers(V, size=(POOL, S)))
        self.length = np.int32(random.integers(1, S + 1, size=POOL))
        wide = np.pad(self.source, ((0, 0), (0, 2)))
        tried = [self.loud_params(bias) for bias in np.arange(-4, 8)]
        self.params = max(
            tried, key=lambda params: self.variety(self.texts(params, wide, self.length, END))
        )
        self.ragged = self.texts(self.params, wide, self.length, END, score=True)
        self.full = self.texts(self.params, self.source, None, None, score=True)

    def texts(self, params, source, length, end, *, score=False) -> Texts:
        """All rows in batches of B, so that every test has one shape."""
        parts = np.arange(POOL).reshape(-1, B)
        made = [
            self.answer(
                params, source[i], None if length is None else length[i], i, end, score=score
            )
            for i in parts
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *made)

    def answer(self, params, source, length, rows, end, *, score=False) -> Texts:
        """The texts of some rows, a row's number being its seed; in every way where the padding is
        wide.
        """
        every = self.thorough or source.shape[1] > S
        made = decoded(self.model, params, source, length, rows, end=end, every=every)
        if not score:
            return made
        logits = forced(self.model, self.pairs, params, source, length, made.tokens)
        return made._replace(logits=logits)

    def loud_params(self, bias: float):
        """Questions are loud, END has the given bias."""
        params = live_params(self.cfg, 5)
        end = np.float32(bias * (np.arange(V) == END))
        if not self.pairs:
            w = None if params.w is None else 3 * params.w
            embedding = (1.5 if w is None else 4) * params.embedding
            return params._replace(embedding=embedding, w=w, b=end)
        encoder = params.encoder._replace(embedding=4 * params.encoder.embedding)
        affine = params.decoder.affine._replace(w=3 * params.decoder.affine.w, b=end)
        return params._replace(encoder=encoder, decoder=params.decoder._replace(affine=affine))

    @staticmethod
    def variety(made: Texts) -> int:
        """The number of different greedy answers, if they differ in length."""
        return len(np.unique(made.tokens[:, 0], axis=0)) * (np.ptp(made.length[:, 0]) > 2)

    def plain_beam(self, row: int, *, full: bool):
        """The same search in plain Python, over `apply`."""
        source, length = self.source[[row] * B], None if full else self.length[[row] * B]
        if not full:
            source = np.pad(source, ((0, 0), (0, 2)))

        def logits_of(text):
            tokens = np.zeros((B, 2 + W, T), np.int32)
            tokens[0, 0, : len(text)] = text
            logits = forced(self.model, self.pairs, self.params, source, length, tokens)
            return np.asarray(logits[0, 0, len(text)])

        def score(logprob, length):
            return logprob / ((5 + length) / 6) ** ALPHA

        return beam_search(logits_of, limit=T, end=None if full else END, width=W, score=score)


@pytest.fixture(scope="module", params=[*VARIANTS, *LANGUAGE_MODELS])
def variant(request) -> Variant:
    return Variant(request.param)


def test_greedy_is_a_loop_over_step(variant):
    """Fails when the compiled loop hands on another state than `step` gave, or no row ends before
    another.
    """
    params = jax.tree.map(jnp.asarray, variant.params)
    tokens, length, logits = (variant.ragged[i][:B, 0] for i in (0, 1, 4))
    step = jax.jit(variant.model.step)
    source, prompt = jnp.asarray(variant.source[:B]), jnp.asarray(variant.length[:B])
    memory, carry, token = variant.model.start(params, source, prompt, capacity=T)
    for t in range(T):
        carry, out = step(params, memory, carry, token)
        token = jnp.argmax(out.logits, axis=-1).astype(jnp.int32)
        on = t < length
        np.testing.assert_array_equal(tokens[on, t], token[on])
        np.testing.assert_allclose(logits[on, t], out.logits[on], atol=1e-4)
    assert Variant.variety(variant.ragged) >= 5


def test_log_probabilities_are_those_of_teacher_forcing(variant):
    """Fails when the log-probability of a text (greedy, drawn, of a beam; with an end symbol and
    without) is not the sum of what the model gives its tokens when it is fed them: other logits,
    those of a processor, a token past the end or not counted.
    """
    for made in (variant.ragged, variant.full):
        tokens = np.maximum(made.tokens, 0)[..., None]
        scored = np.take_along_axis(log_softmax(made.logits), tokens, axis=3)[..., 0]
        np.testing.assert_allclose(
            made.logprob, np.sum(scored, axis=2, where=made.tokens >= 0), atol=1e-4
        )
        np.testing.assert_array_equal(made.length, (made.tokens >= 0).sum(2))
        np.testing.assert_array_equal(made.tokens >= 0, np.arange(T) < made.length[..., None])
        np.testing.assert_allclose(
            made.score, made.logprob[:, 2:] / ((5 + made.length[:, 2:]) / 6) ** ALPHA, rtol=1e-4
        )
        assert (np.diff(made.score, axis=1) <= 1e-6).all()
    ended = variant.ragged.tokens == END
    np.testing.assert_array_equal(ended.any(2), (variant.ragged.length < T) | ended[..., -1])
    assert (variant.full.length == T).all()
    assert np.ptp(variant.ragged.length, axis=0)[:3].min() > 2
    assert (variant.ragged.tokens[:, 1] != variant.ragged.tokens[:, 0]).any(1).mean() > 0.1


def test_a_beam_over_a_model_is_the_plain_search(variant):
    """Fails when a hypothesis goes on with the carry or the memory of another one, or of another
    row.
    """
    for full, made in ((False, variant.ragged), (True, variant.full))[: 1 + variant.thorough]:
        for row in (1, 7):
            expected, _, closest = variant.plain_beam(row, full=full)
            assert closest > 1e-5
            assert made.tokens[row, 2:].tolist() == [
                [*text, *[-1] * (T - len(text))] for *_, text in expected
            ]
            np.testing.assert_allclose(
                made.score[row], [score for score, *_ in expected], atol=1e-4
            )


def uniform(row: int, t: int) -> float:
    return float(jax.random.uniform(jax.random.fold_in(jax.random.key(row), t)))


def tied(way: int, logits: np.ndarray, ours: int, theirs: int, row: int, t: int) -> bool:
    """Whether a difference of 1e-4 decides between two tokens: of two that are best, or for a
    number at the edge of both.
    """
    if way == 0:
        best = np.sort(logits)
        return bool(best[-1] - best[-2] < 1e-4 and logits[[ours, theirs]].min() >= best[-2])
    p = softmax(np.float64(logits) / COOL)
    edge = p[: max(ours, theirs)].sum()
    return bool(
        abs(edge - uniform(row, t)) < 1e-4
        and p[min(ours, theirs) + 1 : max(ours, theirs)].sum() < 1e-4
    )


def agree(
    variant: Variant, made: Texts, expected: Texts, rows: np.ndarray, ties: Counter, *, full: bool
) -> None:
    """Tokens are equal up to a place where a tie decides; so are logits, and the sums if there is
    none.
    """
    for i, row in enumerate(rows):
        ties["rows"] += 1
        for way in range(min(2, made.tokens.shape[1])):
            ours, theirs = made.tokens[i, way], expected.tokens[i, way]
            differ = np.flatnonzero(ours != theirs)
            stop = differ[0] if len(differ) else int((theirs >= 0).sum())
            seen = slice(0, stop + bool(len(differ)))
            if made.logits is not None:
                np.testing.assert_allclose(
                    made.logits[i, way, seen], expected.logits[i, way, seen], atol=1e-4
                )
            if len(differ):
                by_a_hair = tied(
                    way,
                    expected.logits[i, way, stop],
                    ours[stop],
                    theirs[stop],
                    int(row),
                    int(stop),
                )
                assert by_a_hair, (row, ours, theirs)
                ties["broken"] += 1
            else:
                np.testing.assert_allclose(
                    made.logprob[i, way], expected.logprob[i, way], atol=1e-4
                )
        if made.tokens.shape[1] == 1:
            continue
        if np.array_equal(made.tokens[i, 2:], expected.tokens[i, 2:]):
            np.testing.assert_allclose(made.logprob[i, 2:], expected.logprob[i, 2:], atol=1e-4)
            np.testing.assert_allclose(made.score[i], expected.score[i], atol=1e-4)
        else:
            assert variant.plain_beam(int(row), full=full)[2] < 1e-4, (
                row,
                made.tokens[i, 2:],
                expected.tokens[i, 2:],
            )
            ties["broken"] += 1


def test_a_row_does_not_know_its_batch(variant):
    """Fails when any neighbours, order, or padding (as wide as it may be, whatever stands in it)
    change what a row is answered, greedily, drawn or by a beam, with lengths or without. Ties may
    fall either way; they are counted, and there must be next to none.
    """
    ties: Counter = Counter()
    lists = st.lists(st.integers(0, POOL - 1), min_size=B, max_size=B).map(np.array)

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(lists, st.integers(0, 2**32 - 1))
    def check(rows, seed):
        wide = np.int32(np.random.default_rng(seed).integers(V, size=(B, S + 2)))
        wide[:, :S] = np.where(
            np.arange(S) < variant.length[rows, None], variant.source[rows], wide[:, :S]
        )
        some = variant.answer(variant.params, wide, variant.length[rows], rows, END, score=True)
        others = variant.answer(variant.params, wide[:, :S], variant.length[rows], rows, END)
        full = variant.answer(variant.params, variant.source[rows], None, rows, None, score=True)
        for made, expected in (
            (some, variant.ragged),
            (others, variant.ragged),
            (full, variant.full),
        ):
            chosen = jax.tree.map(lambda leaf: leaf[rows], expected)
            agree(variant, jax.tree.map(np.asarray, made), chosen, rows, ties, full=made is full)

    check()
    assert ties["rows"] >= 100
    assert ties["broken"] <= ties["rows"] / 100, ties


# Evaluation

ADDITION = " +0123456789_"
TRUTHS = ["12", "345", "6", "78", "90", "12", "999"]
GUESSES = {
    # right; ends early; wrong; goes on; says nothing; and twice no end
    "masked": ["12_", "3_5_", "7_", "789_", "_", "12", "9999"],
    "book": ["12  ", "3 5 ", "7   ", "789 ", "    ", "12 1", "999 "],
}


FROM_TABLE = Model(
    init=lambda key: None,
    initial_state=lambda params, rows: (),
    apply=lambda params, batch, carry, dropout_state: (carry, Out(params[batch.source[:, 0]], {})),
    start=lambda params, source, length, *, capacity: Start(
        Memory(params[source[:, 0]], None, jnp.zeros((len(source), 1))),
        jnp.zeros(len(source), jnp.int32),
        jnp.zeros(len(source), jnp.int32),
    ),
    step=lambda params, memory, carry, token: (
        carry + 1,
        Out(memory.values[jnp.arange(len(token)), carry], {}),
    ),
)
"""A model whose parameters are its logits: row r is the question whose first token is r."""


def scores(kind: str, shape: tuple[int, int] = (1, len(TRUTHS))):
    """Scores and tokens in blocks of this shape, and the logits."""
    vocabulary, padding = pair_vocabulary(ADDITION, kind), Padding(kind, False, 7, 4)
    batch = encode([("1+2", truth) for truth in TRUTHS], vocabulary, padding)
    source = batch.source.copy()
    source[:, 0] = np.arange(len(TRUTHS))
    batch = batch._replace(source=source)
    steps = batch.targets.shape[1]
    logits = np.float32(np.random.default_rng(3).normal(size=(len(TRUTHS), steps, len(ADDITION))))
    for row, guess in enumerate(GUESSES[kind]):
        # What comes after an end is never right by chance.
        for t, character in enumerate(guess.ljust(steps, "1")):
            logits[row, t, ADDITION.index(character)] = 9
    end, options = padding.end(vocabulary.special), {"tokenizer": vocabulary, "padding": padding}
    batches = answers.blocks(batch, *shape)
    made = answers.decode_blocks(FROM_TABLE, end, steps, jnp.asarray(logits), batches)
    tokens, loss = answers.gathered([made], [np.arange(len(TRUTHS))])
    result = answers.score(tokens, loss, batch, **options)
    assert answers.evaluate(FROM_TABLE, jnp.asarray(logits), batch, **options) == pytest.approx(
        result
    )
    return result, tokens, logits


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
        loss -= sum(
            log_softmax(logits[row, t])[ADDITION.index(character)]
            for t, character in enumerate(field)
        )
    return exact / len(TRUTHS), right / positions, loss / valid


@pytest.mark.parametrize("kind", ["masked", "book"])
def test_scores_are_those_of_the_texts(kind):
    """Fails when a missing position counts as right or not at all, text after an early end counts,
    an answer that goes on is an exact match, blanks past the one that ends an answer count as
    tokens, or the loss counts padding.
    """
    made, tokens, logits = scores(kind)
    expected = scores_by_hand(kind, logits)
    np.testing.assert_allclose(
        (made.exact_match, made.token_accuracy, made.loss), expected, rtol=1e-5
    )
    assert made.examples == len(tokens) == len(TRUTHS)
    assert made.exact_match == pytest.approx({"masked": 1 / 7, "book": 2 / 7}[kind])
    assert tokens[4].tolist() == ([12, -1, -1, -1, -1] if kind == "masked" else [0] * 4)


@pytest.mark.parametrize("kind", ["masked", "book"])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3)])
def test_blocks_change_nothing(kind, shape):
    """Fails when the rows that fill up a block count, or rows come back in another order."""
    expected, tokens, _ = scores(kind)
    made, others, _ = scores(kind, shape)
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    np.testing.assert_array_equal(others, tokens)
