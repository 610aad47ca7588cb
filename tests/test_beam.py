"""Beam search against every text there is, and against the same search in plain Python."""

from collections import Counter
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.decoding.beam import beam, coverage_penalty, length_penalty
from seqgen.decoding.generate import generate
from seqgen.types import Memory, Out, Start
from tests.oracles import beam_search, log_softmax

# A model with a row of logits for every text: a text is a node of a tree, and node n has the
# children n V + 1 to n V + V


def tree(vocabulary: int, depth: int, *, rows: int, seed: int = 0, loud: float = 1.5) -> np.ndarray:
    """Logits [B, nodes, V]."""
    nodes = sum(vocabulary**t for t in range(depth))
    return np.float32(np.random.default_rng(seed).normal(size=(rows, nodes, vocabulary)) * loud)


def walk(memory, carry, token):
    vocabulary = memory.values.shape[-1]
    node = jnp.where(carry < 0, 0, carry * vocabulary + token + 1)
    logits = memory.values[jnp.arange(len(token)), node]
    return node, Out(logits, {"attention": 3 * logits[:, None, :2], "node": node})


def node_of(text, vocabulary: int) -> int:
    node = 0
    for token in text:
        node = node * vocabulary + token + 1
    return node


def begin(logits) -> Start:
    rows = len(logits)
    return Start(
        Memory(jnp.asarray(logits), None, jnp.zeros((rows, 1))),
        jnp.full(rows, -1),
        jnp.zeros(rows, jnp.int32),
    )


@partial(jax.jit, static_argnames=("limit", "end", "width", "alpha", "processors"))
def search(logits, *, limit, end, width, alpha=0.0, processors=()):
    return beam(
        walk,
        begin(logits),
        limit=limit,
        end=end,
        width=width,
        score=length_penalty(alpha),
        processors=processors,
    )


@partial(jax.jit, static_argnames=("limit", "end"))
def greedy(logits, *, limit, end):
    return generate(walk, begin(logits), limit=limit, end=end)


def penalised(alpha):
    """Wu et al. 2016, eq. 14: its lp(Y) divides log p."""
    return lambda logprob, length: logprob / (((5 + length) ** alpha) / ((5 + 1) ** alpha))


def same(made, row: int, expected, limit: int) -> None:
    """The texts of a row are the expected (score, log p, text), in this order, and no others."""
    for rank, (score, logprob, text) in enumerate(expected):
        assert made.tokens[row, rank].tolist() == [*text, *[-1] * (limit - len(text))], rank
        assert made.length[row, rank] == len(text)
        np.testing.assert_allclose(made.score[row, rank], score, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(made.logprob[row, rank], logprob, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(made.score[row, len(expected) :], -np.inf)


def every_text(logits, limit: int, end: int | None, score):
    """(score, log p, text) of all texts, the best first."""
    vocabulary, texts = logits.shape[-1], {}
    for full in product(range(vocabulary), repeat=limit):
        text = full[: full.index(end) + 1] if end in full else full
        texts[text] = sum(
            log_softmax(logits[node_of(text[:t], vocabulary)])[token]
            for t, token in enumerate(text)
        )
    return sorted(
        ((score(logprob, len(text)), logprob, text) for text, logprob in texts.items()),
        reverse=True,
    )


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize(("end", "texts"), [(None, 27), (1, 15)])
def test_a_wide_beam_finds_every_text(end, texts, alpha):
    """Fails when a text is lost, stands there twice, is out of order, goes on after its end, or is
    scored by another length or another sum than its own; or when a place that no text fills looks
    like one.
    """
    logits = tree(3, 3, rows=6, loud=1.0)
    made = search(logits, limit=3, end=end, width=27, alpha=alpha)
    orders = []
    for row in range(6):
        expected = every_text(logits[row], 3, end, penalised(alpha))
        assert len(expected) == texts
        assert np.diff([score for score, *_ in expected]).max() < -1e-5
        same(made, row, expected, 3)
        orders.append([len(text) for *_, text in expected])
        assert sum(np.exp(logprob) for _, logprob, _ in expected) == pytest.approx(1)
    if end is not None:
        assert len(set(map(tuple, orders))) > 1


def test_the_length_penalty_matters():
    """Fails when no row of the test above is decided by α."""
    logits = tree(3, 3, rows=6, loud=1.0)
    one, other = (search(logits, limit=3, end=1, width=27, alpha=alpha) for alpha in (0.0, 0.6))
    assert (np.asarray(one.tokens) != np.asarray(other.tokens)).any(axis=(1, 2)).sum() >= 3
    np.testing.assert_allclose(
        length_penalty(0.6)(jnp.float32(-2.0), jnp.int32(7), None), -2 / 2**0.6, rtol=1e-6
    )


V, T, ROWS, END = 5, 5, 12, 2
CASES = [(1, None, 0.0), (2, END, 0.0), (3, END, 0.6), (4, END, 2.0), (8, None, 0.6)]


@pytest.mark.parametrize(("width", "end", "alpha"), CASES)
def test_a_beam_is_the_plain_search(width, end, alpha):
    """Fails when a hypothesis goes on with another's state, sum, length or text, the first step
    counts one hypothesis `width` times, one that has ended is dropped, favoured or copied, or rows
    exchange theirs.
    """
    logits = tree(V, T, rows=ROWS, seed=width)
    made = search(logits, limit=T, end=end, width=width, alpha=alpha)
    lengths, lost = Counter(), 0
    for row in range(ROWS):
        expected, _, closest = beam_search(
            lambda text, row=row: logits[row, node_of(text, V)],
            limit=T,
            end=end,
            width=width,
            score=penalised(alpha),
        )
        assert closest > 1e-5
        same(made, row, expected, T)
        lengths.update(len(text) for *_, text in expected)
        if row < 2:
            lost += every_text(logits[row], T, end, penalised(alpha))[: len(expected)] != expected
    assert lost > 0  # it is a search that prunes
    assert (len(lengths) > 2) == (end is not None)


@pytest.mark.parametrize("end", [None, END])
def test_a_beam_of_one_is_greedy(end):
    """Fails when a beam of one chooses, scores or ends otherwise than the best token at every step
    does.
    """
    logits = tree(V, T, rows=ROWS, seed=1)
    one, best = search(logits, limit=T, end=end, width=1), greedy(logits, limit=T, end=end)
    np.testing.assert_array_equal(one.tokens[:, 0], best.tokens)
    np.testing.assert_array_equal(one.length[:, 0], best.length)
    np.testing.assert_allclose(one.logprob[:, 0], best.logprob, rtol=1e-5)
    np.testing.assert_allclose(one.score[:, 0], best.logprob, rtol=1e-5)
    assert (len(set(best.length.tolist())) > 2) == (end is not None)


def test_aux_is_each_texts_own():
    """Fails when what a hypothesis looked at stays behind when it moves to another place, or stands
    past its end.
    """
    logits = tree(V, T, rows=ROWS, seed=3)
    made = search(logits, limit=T, end=END, width=3, alpha=0.6)
    assert made.aux["attention"].shape == (ROWS, 3, T, 1, 2)
    for row, rank, t in product(range(ROWS), range(3), range(T)):
        text = made.tokens[row, rank, : made.length[row, rank]].tolist()
        node = node_of(text[:t], V) if t < len(text) else 0
        assert made.aux["node"][row, rank, t] == node, (text, t)
        seen = 3 * logits[row, node, :2] if t < len(text) else [0, 0]
        np.testing.assert_array_equal(made.aux["attention"][row, rank, t, 0], np.float32(seen))


def test_a_row_alone():
    """Fails when a row's beam depends on its neighbours or on how long they go on."""
    logits = tree(V, T, rows=ROWS, seed=4)
    logits[0, :, END] += 9
    made = search(logits, limit=T, end=END, width=3, alpha=0.6)
    for row in (0, 5):
        alone = search(logits[[row]], limit=T, end=END, width=3, alpha=0.6)
        for one, all_ in zip(jax.tree.leaves(alone), jax.tree.leaves(made), strict=True):
            np.testing.assert_allclose(one[0], all_[row], rtol=1e-5, atol=1e-5)


# Processors


def no_token_twice(logits, history, t):
    """And nothing at all where the history is not the text: as many tokens as t says, and then
    none.
    """
    past = jnp.arange(history.shape[1]) < t
    seen = jax.nn.one_hot(history, logits.shape[1]).max(1) > 0
    broken = jnp.any((history >= 0) != past[None], axis=1)
    return jnp.where(seen | broken[:, None], -jnp.inf, logits)


def louder(logits, history, t):
    return logits * (1 + t)


def in_plain_python(logits, text):
    left = np.float64(logits)
    left[list(text)] = -np.inf
    return left * (1 + len(text))


@pytest.mark.parametrize("end", [None, END])
def test_processors_rank_and_do_not_score(end):
    """Fails when a hypothesis is shown another's history or another time, processors do not decide,
    or they change log p.
    """
    logits = tree(V, T, rows=ROWS, seed=5)
    made = search(logits, limit=4, end=end, width=3, alpha=0.6, processors=(no_token_twice, louder))
    for row in range(ROWS):
        expected, _, closest = beam_search(
            lambda text, row=row: logits[row, node_of(text, V)],
            limit=4,
            end=end,
            width=3,
            score=penalised(0.6),
            rule=in_plain_python,
        )
        assert closest > 1e-5
        same(made, row, expected, 4)
    assert (np.abs(made.score - made.logprob) > 0.1).any()


def test_a_text_that_cannot_go_on_is_lost():
    """Fails when a hypothesis without any token left wins, passes on what is no number, or takes
    its neighbours with it; or when none of a row's has one left, and its texts still have a score.
    """
    logits = tree(3, 5, rows=8, seed=6)

    def dead_ends(logits, history, t):
        """Nothing after a 1 as the second token; nothing at all as the third token of row 3, or as
        the first of row 5.
        """
        row = jnp.repeat(jnp.arange(8), 4)
        dead = (history[:, 1] == 1) | ((row == 3) & (t == 2)) | ((row == 5) & (t == 0))
        return jnp.where(dead[:, None], -jnp.inf, logits)

    made = search(logits, limit=5, end=None, width=4, processors=(dead_ends,))
    for row in range(8):
        expected, *_ = beam_search(
            lambda text, row=row: logits[row, node_of(text, 3)],
            limit=5,
            end=None,
            width=4,
            score=penalised(0),
            rule=lambda logits, text, row=row: np.where(
                text[1:2] == (1,) or (row, len(text)) in ((3, 2), (5, 0)),
                -np.inf,
                np.float64(logits),
            ),
        )
        assert len(expected) == (0 if row in (3, 5) else 4)
        same(made, row, expected, 5)
    np.testing.assert_array_equal(made.logprob[3], -np.inf)
    np.testing.assert_array_equal(made.tokens[3, :, 2:], -1)
    np.testing.assert_array_equal(made.length[3], (made.tokens[3] >= 0).sum(1))
    np.testing.assert_array_equal(made.tokens[5], -1)
    np.testing.assert_array_equal(made.length[5], 0)
    np.testing.assert_array_equal(made.logprob[5], -np.inf)


# Early exit


def test_it_ends_when_all_have_ended():
    """Fails when steps are taken that no hypothesis needs, or one is left out that one needs; or
    when the texts are not those of the steps that were taken.
    """
    taken = []

    def counted(memory, carry, token):
        jax.debug.callback(lambda: taken.append(1))
        return walk(memory, carry, token)

    @jax.jit
    def found(logits):
        return beam(counted, begin(logits), limit=T, end=END, width=3, score=length_penalty(0.0))

    needed = []
    for bias in (30.0, 5.0, 3.0, -30.0):
        logits = tree(V, T, rows=3, seed=7)
        logits[:, :, END] += bias
        if bias == 30.0:
            logits[:, 1:, END] += 300  # what else there is ends at once
        expected = [
            beam_search(
                lambda text, row=row, logits=logits: logits[row, node_of(text, V)],
                limit=T,
                end=END,
                width=3,
                score=penalised(0),
            )
            for row in range(3)
        ]
        steps = [steps for _, steps, _ in expected]
        taken.clear()
        made = jax.block_until_ready(found(logits))
        jax.effects_barrier()
        assert len(taken) == max(steps)
        needed.append(max(steps))
        for row in range(3):
            same(made, row, expected[row][0], T)
    assert needed[0] == 2
    assert needed[-1] == T
    assert len(set(needed)) >= 3


# Coverage


def two_heads(memory, carry, token):
    """`walk`, with a second head that looks at the other position, and less."""
    carry, out = walk(memory, carry, token)
    first = out.aux["attention"]
    both = jnp.concatenate([first, first[:, :, ::-1] / 3], axis=1)
    return carry, out._replace(aux={"attention": both})


def covered_search(logits, width: int, beta: float):
    """The best texts of one row by log p + β times the coverage of source position 1, as (score,
    text), best first, in plain Python.
    """
    beams = [(0.0, 0.0, ())]
    for _ in range(T):
        found = [beam for beam in beams if END in beam[2]]
        for logprob, covered, text in beams:
            if END not in text:
                own = np.float64(logits[node_of(text, V)])
                looked = covered + (3 * own[1] + own[0]) / 2
                gains = enumerate(log_softmax(own))
                found += [(logprob + gain, looked, (*text, token)) for token, gain in gains]
        beams = sorted(found, key=lambda beam: -beam[0] - beta * beam[1])[:width]
    return [(logprob + beta * covered, text) for logprob, covered, text in beams]


@pytest.mark.parametrize("beta", [0.3, -0.5])
def test_coverage_is_what_a_text_has_looked_at(beta):
    """Fails when coverage lacks the look for the token that is being chosen, stays behind when its
    hypothesis moves, grows after the end, is summed over heads or is that of another position; or
    when a score is not told [B, W] and [B, W, S].
    """
    logits, width = tree(V, T, rows=ROWS, seed=8), 3

    def score(logprob, length, coverage):
        shapes = {logprob.shape, length.shape, coverage.shape[:-1]}
        assert (shapes, coverage.shape[-1]) == ({(ROWS, width)}, 2)
        return logprob + beta * coverage[..., 1]

    @jax.jit
    def found(logits):
        return beam(two_heads, begin(logits), limit=T, end=END, width=width, score=score)

    made, lengths = found(logits), Counter()
    for row in range(ROWS):
        for rank, (score_, text) in enumerate(covered_search(logits[row], width, beta)):
            assert made.tokens[row, rank].tolist() == [*text, *[-1] * (T - len(text))]
            np.testing.assert_allclose(made.score[row, rank], score_, rtol=1e-4, atol=1e-4)
            lengths.update([len(text)])
    assert len(lengths) > 2
    assert (np.asarray(made.tokens) != search(logits, limit=T, end=END, width=width).tokens).any()


SOURCE = np.array([[True, True], [True, False]] * (ROWS // 2))
"""Every other row has one position alone; the other is padding."""


def looking(memory, carry, token):
    """`walk`, with weights that sum up to 1 over what is no padding, now and then all on one."""
    carry, out = walk(memory, carry, token)
    scores = jnp.where(SOURCE[:, None], 25 * out.logits[:, None, :2], -jnp.inf)
    return carry, out._replace(aux={"attention": jax.nn.softmax(scores)})


def every_covered_text(logits, mask, alpha: float, beta: float):
    """(score, log p, text) of all texts of three tokens, by Wu et al. 2016, eq. 14, best first."""
    found = set()
    for full in product(range(3), repeat=3):
        text = full[: full.index(1) + 1] if 1 in full else full
        logprob, covered = 0.0, np.zeros(2)
        for t, token in enumerate(text):
            own = np.float64(logits[node_of(text[:t], 3)])
            logprob += log_softmax(own)[token]
            covered += np.exp(log_softmax(np.where(mask, 25 * own[:2], -np.inf)))
        terms = [
            np.log(max(min(c, 1), 1.17549435e-38))
            for c, true in zip(covered, mask, strict=True)
            if true
        ]
        score = logprob / ((5 + len(text)) / 6) ** alpha + beta * sum(terms)
        found.add((score, logprob, text))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_the_coverage_penalty(alpha):
    """Fails when the penalty counts padding, what has had more than 1, the mean of positions or
    another sign; takes the place of the length penalty, or is -inf where no attention was.
    """
    logits, changed = tree(3, 3, rows=ROWS, seed=9, loud=1.0), 0
    score = coverage_penalty(length_penalty(alpha), 0.4, jnp.asarray(SOURCE))

    @jax.jit
    def found(logits):
        return beam(looking, begin(logits), limit=3, end=1, width=27, score=score)

    made, without = found(logits), search(logits, limit=3, end=1, width=27, alpha=alpha)
    for row in range(ROWS):
        expected = every_covered_text(logits[row], SOURCE[row], alpha, 0.4)
        same(made, row, expected, 3)
        changed += (made.tokens[row, 0] != without.tokens[row, 0]).any()
    assert changed > 1


def test_a_beam_with_a_prefix():
    """Fails when a text begins otherwise, the prefix's log p does not count in score or sum, its
    tokens' log p are lost, or processors bar it.
    """
    logits, prefix = tree(3, 3, rows=6, seed=11, loud=1.0), jnp.array([2, 2, -1])

    @jax.jit
    def found(logits):
        options = {"score": length_penalty(0.6), "processors": (no_token_twice,)}
        start = begin(logits)
        return beam(walk, start, limit=3, end=1, width=4, prefix=prefix, **options)

    made = found(logits)
    for row in range(6):
        texts = every_text(logits[row], 3, 1, lambda logprob, length: 0.0)
        begun = [(logprob, text) for _, logprob, text in texts if text[:2] == (2, 2) != text[1:]]
        for rank, (logprob, text) in enumerate(sorted(begun, reverse=True)):
            assert made.tokens[row, rank].tolist() == [*text]
            gains = [log_softmax(logits[row][node_of(text[:t], 3)])[text[t]] for t in range(3)]
            np.testing.assert_allclose(made.logprobs[row, rank], gains, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(made.logprob[row, rank], logprob, rtol=1e-4)
            left = log_softmax(
                np.where(np.arange(3) == 2, -np.inf, logits[row][node_of((2, 2), 3)])
            )
            score = (sum(gains[:2]) + left[text[2]]) / (8 / 6) ** 0.6
            np.testing.assert_allclose(made.score[row, rank], score, rtol=1e-4)
        assert (made.score[row, len(begun) :] == -np.inf).all()


def test_coverage_that_is_not_read_is_not_computed():
    """Fails when a score that ignores coverage pays for it, a score that reads it would not be
    seen to, or a step without attention has one.
    """
    wide = 11

    def looking(memory, carry, token):
        carry, out = walk(memory, carry, token)
        maps = jnp.cumsum(jnp.repeat(out.logits[:, None, :1], wide, axis=2), axis=2)
        return carry, out._replace(aux={"attention": maps})

    def blind(memory, carry, token):
        return walk(memory, carry, token)[0], walk(memory, carry, token)[1]._replace(aux={})

    def program(step, score):
        def found(logits):
            return beam(step, begin(logits), limit=T, end=END, width=3, score=score)[:4]

        jax.config.update("jax_disable_most_optimizations", False)
        text = jax.jit(found).lower(tree(V, T, rows=ROWS)).compile().as_text()
        jax.config.update("jax_disable_most_optimizations", True)
        return text

    def covering(logprob, length, coverage):
        return logprob + coverage.sum(-1)

    def without(logprob, length, coverage):
        assert coverage is None
        return logprob

    assert f"[{ROWS},3,{wide}]" in program(looking, covering)
    assert f",{wide}]" not in program(looking, length_penalty(0.6))
    assert "while(" in program(blind, without)
