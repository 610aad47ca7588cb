"""Logits processors against loops over one row in NumPy, and draws against exact distributions."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from seqgen.decoding import logits as library
from seqgen.decoding.generate import generate, sample
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import UsageError
from seqgen.types import Memory, Out, Start
from tests import oracles

V, T = 13, 7


# One row in NumPy: (logits [V], the tokens so far) -> logits


def keep(logits, kept):
    return np.where(kept, logits, -np.inf)


def probabilities(logits):
    """Softmax, but nothing at all where nothing is left."""
    return oracles.softmax(logits) if np.isfinite(logits).any() else np.zeros(len(logits))


def temperature(logits, text, value):
    return logits / value


def ban(logits, text, ids):
    return keep(logits, [token not in ids for token in range(len(logits))])


def minimum_length(logits, text, length, end):
    return ban(logits, text, [end] if len(text) < length else [])


def repetition_penalty(logits, text, penalty):
    made = logits.copy()
    for token in set(text):
        made[token] = made[token] / penalty if made[token] > 0 else made[token] * penalty
    return made


def no_repeat_ngram(logits, text, n):
    seen = [text[i : i + n] for i in range(len(text) - n + 1)]
    return ban(
        logits,
        text,
        [
            token
            for token in range(len(logits))
            if len(text) >= n - 1 and [*text, token][-n:] in seen
        ],
    )


def top_k(logits, text, k):
    return keep(logits, logits >= sorted(logits)[-min(k, len(logits))])


def top_p(logits, text, p):
    """From the best down, until they have p; with the last of them all that are as good."""
    chances, total, last = probabilities(logits), 0.0, np.inf
    for chance in sorted(chances, reverse=True):
        if total >= p:
            break
        total, last = total + chance, chance
    return keep(logits, (chances >= last) & (chances > 0))


def min_p(logits, text, p):
    chances = probabilities(logits)
    return keep(logits, (chances >= p * max(chances)) & (chances > 0))


ORACLES = [
    temperature,
    ban,
    minimum_length,
    repetition_penalty,
    no_repeat_ngram,
    top_k,
    top_p,
    min_p,
]


def oracle(name, logits, texts, *values):
    """`logits.name(*values)` of every row."""
    (process,) = (each for each in ORACLES if each.__name__ == name)
    return np.array(
        [
            process(np.float64(row), list(text), *values)
            for row, text in zip(logits, texts, strict=True)
        ]
    )


@cache
def compiled(name, *values):
    return jax.jit(getattr(library, name)(*values))


def ours(name, logits, texts, *values, width=T):
    history = np.full((len(texts), width), -1, np.int32)
    for row, text in zip(history, texts, strict=True):
        row[: len(text)] = text
    return np.asarray(compiled(name, *values)(np.float32(logits), history, np.int32(len(texts[0]))))


def some_logits():
    """Rows unlike each other: loud, quiet, negative, with ties, with tokens that cannot be, with
    one token, with none.
    """
    random = np.random.default_rng(0)
    logits = np.float32(random.normal(size=(9, V)) * 2)
    logits[1] *= 8
    logits[2] -= 20
    logits[3] /= 50
    logits[4] = np.round(logits[4])  # ties, at the best and below
    logits[5, ::2] = -np.inf
    logits[6], logits[6, 4] = -np.inf, -3
    logits[7] = -np.inf
    logits[8] = 2.5
    assert max(np.bincount(np.int32(logits[4] + 20))) > 2
    return logits


def some_texts(t):
    """So few different tokens that they repeat; V - 1 stands in none, for that is where -1 points
    to.
    """
    return np.random.default_rng(t).integers(3, size=(9, t)).tolist()


WEIGHED = [
    ("temperature", 0.25),
    ("temperature", 3.0),
    ("repetition_penalty", 1.7),
    ("repetition_penalty", 0.5),
]
BARRED = [
    ("ban", (0,)),
    ("ban", ()),
    ("ban", (V - 1, 4, 2, 2)),
    ("ban", tuple(range(V))),
    ("minimum_length", 2, 4),
    ("minimum_length", 0, V - 1),
    *(("no_repeat_ngram", n) for n in (1, 2, 3, T + 2)),
]
CUT = [
    *(("top_k", k) for k in (1, 2, 5, V - 1, V, V + 1, 10 * V)),
    *(("top_p", p) for p in (1e-30, 1e-3, 0.17, 0.55, 0.87, 0.999)),
    *(("min_p", p) for p in (1e-6, 0.013, 0.3, 0.93, 1.0)),
]


@pytest.mark.parametrize("case", [*WEIGHED, *BARRED, *CUT], ids=str)
def test_a_processor_is_its_loop(case):
    """Fails when a token is kept that should go or goes that should stay: at ties, at -inf, where k
    is more than there are, where p is next to nothing, where a row has no token or no text; when a
    negative logit is made better by its penalty; when the -1 of an empty place counts as the last
    token; when what is kept is changed; or when one row's text bars another's.
    """
    name, *values = case
    logits = some_logits()
    for t in (0, 1, 2, 3, T - 1):
        made, expected = (
            ours(name, logits, some_texts(t), *values),
            oracle(name, logits, some_texts(t), *values),
        )
        np.testing.assert_array_equal(np.isneginf(made), np.isneginf(expected), err_msg=f"t = {t}")
        np.testing.assert_allclose(
            made,
            np.float32(expected),
            rtol=0 if name not in ("temperature", "repetition_penalty") else 1e-6,
        )


def test_the_edges_of_those_cases_are_there():
    """Fails when a case above bars nothing in any row, or one that should be idle bars
    something.
    """
    for case in (*BARRED, *CUT):
        name, *values = case
        lost = [
            np.isneginf(oracle(name, some_logits(), some_texts(t), *values)).sum()
            for t in (1, 3, T - 1)
        ]
        idle = case in (("ban", ()), ("minimum_length", 0, V - 1), ("no_repeat_ngram", T + 2)) or (
            name == "top_k" and values[0] >= V
        )
        assert (max(lost) == np.isneginf(some_logits()).sum()) == idle, case


def test_a_text_as_wide_as_its_history():
    """Fails when n tokens in a row are looked for in a history that is narrower than n, or its last
    place is left out.
    """
    logits, texts = some_logits(), some_texts(2)
    for n in (1, 2, 3, 4):
        expected = oracle("no_repeat_ngram", logits, texts, n)
        np.testing.assert_array_equal(
            ours("no_repeat_ngram", logits, texts, n, width=2), np.float32(expected)
        )
    aba = np.array([[5, 1, 5, 1, 5, 1, 5]] * 9).tolist()
    assert np.flatnonzero(np.isneginf(ours("no_repeat_ngram", logits, aba, 3)[0])).tolist() == [1]


def test_all_of_the_probability_is_every_token():
    """Fails when p = 1 loses a token that can be, as where no sum of rounded numbers reaches it, or
    keeps one that cannot.
    """
    random = np.random.default_rng(1)
    logits = np.float32(random.normal(size=(200, 3 * V)) * random.uniform(0.1, 3, size=(200, 1)))
    logits[:, 7] = -np.inf
    logits[:, 8] = -40
    made = ours("top_p", logits, [[]] * 200, 1.0)
    likely = probabilities_of(logits) > 1e-6
    np.testing.assert_array_equal(made[likely], logits[likely])
    assert np.isneginf(made[:, 7]).all()
    assert likely.mean() > 0.9


def probabilities_of(logits):
    return np.array([probabilities(np.float64(row)) for row in logits])


@pytest.mark.parametrize("p", [0.05, 0.31, 0.5, 0.9, 0.99])
def test_top_p_on_many_rows(p):
    """Fails when the bisection stops early, or takes the wrong side of the token that reaches p: on
    flat rows, on steep ones, and on a vocabulary as large as a real one.
    """
    random = np.random.default_rng(2)
    for rows, size in ((300, V), (20, 5000)):
        logits = np.float32(
            random.normal(size=(rows, size)) * np.exp(random.uniform(-3, 3, size=(rows, 1)))
        )
        sums = np.cumsum(np.sort(probabilities_of(logits), axis=1)[:, ::-1], axis=1)
        sure = np.abs(sums - p).min(1) > 2e-6  # elsewhere rounding decides
        assert sure.mean() > 0.8
        expected = oracle("top_p", logits, [[]] * rows, p)
        np.testing.assert_array_equal(
            ours("top_p", logits, [[]] * rows, p)[sure], np.float32(expected)[sure]
        )


def inside(jaxpr):
    """Every equation, those of inner programs too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                part = getattr(part, "jaxpr", part)
                if hasattr(part, "eqns"):
                    yield from inside(part)


def test_top_p_never_sorts():
    """Fails when the processor sorts, or asks for the k best, which sorts as well; and when this
    would not be seen.
    """
    shapes = (
        jax.ShapeDtypeStruct((4, 5000), "float32"),
        jax.ShapeDtypeStruct((4, T), "int32"),
        jax.ShapeDtypeStruct((), "int32"),
    )

    def sorts(process):
        traced = jax.jit(process).trace(*shapes)
        names = {eqn.primitive.name for eqn in inside(traced.jaxpr.jaxpr)}
        return bool(names & {"sort", "top_k", "approx_top_k"}), any(
            word in traced.lower().as_text() for word in ("sort", "top_k")
        )

    assert sorts(library.top_p(0.9)) == (False, False)
    assert sorts(lambda logits, history, t: jnp.sort(logits)) == (True, True)
    assert sorts(lambda logits, history, t: jax.lax.top_k(logits, 5)[0]) == (True, True)


# Draws

KEEPS = {"temperature": 0.6, "top_k": 5, "top_p": 0.7, "min_p": 0.15}


def logits_of(size):
    """One row; of 300 tokens, which are three blocks, those at the edges and some in between can
    never be.
    """
    logits = np.float32(np.random.default_rng(size).normal(size=size) * 1.5)
    if size > 128:
        logits[[0, 1, 126, 127, 128, 255, 256, 257, 298, 299]] = -np.inf
        logits[150:200] = -np.inf
    return logits


@partial(jax.jit, static_argnames=("rows", "limit"))
def texts_of(logits, left, seed, *, rows, limit):
    """Tokens of a model that always says `logits`, of which a processor leaves `left`."""

    def step(memory, carry, token):
        return carry, Out(jnp.broadcast_to(logits, (rows, len(logits))), {})

    def process(logits, history, t):
        return jnp.broadcast_to(left, logits.shape)

    zeros = jnp.zeros(rows, jnp.int32)
    start = Start(Memory(zeros, None, jnp.zeros((rows, 1))), zeros, zeros)
    return generate(
        step,
        start,
        limit=limit,
        end=None,
        processors=(process,),
        keys=jax.random.split(jax.random.key(seed), rows),
    )


@pytest.mark.parametrize("size", [V, 300])
@pytest.mark.parametrize(
    "names",
    [
        {},
        {"temperature": 0.6},
        {"temperature": 1.8},
        {"top_k": 5},
        {"top_p": 0.7},
        {"min_p": 0.15},
        {"ban": (3, 8, 11)},
        KEEPS,
    ],
    ids=str,
)
def test_draws_follow_the_exact_distribution(size, names):
    """Fails when a draw is from another distribution than the softmax of what the processors leave,
    a token of probability 0 is ever drawn (first, last, or in a block without any other), or the
    logits that are summed up are those of the processors.
    """
    rows, limit = 4000, 5
    logits = logits_of(size)
    left, expected = logits[None], np.float64(logits[None])
    for name, value in names.items():
        left, expected = ours(name, left, [[]], value), oracle(name, expected, [[]], value)
    made = texts_of(logits, left[0], size, rows=rows, limit=limit)
    p = probabilities(expected[0])
    counts = np.bincount(np.ravel(made.tokens), minlength=size)
    assert counts[p == 0].sum() == 0
    often = p * rows * limit >= 10
    seen, wanted = (np.append(x[often], x[~often].sum()) for x in (counts, p * rows * limit))
    seen, wanted = (seen, wanted) if wanted[-1] else (seen[:-1], wanted[:-1])
    assert chisquare(seen, wanted).pvalue > 1e-3
    own = np.log(
        probabilities(np.float64(logits)), where=logits > -np.inf, out=np.full(size, np.nan)
    )
    np.testing.assert_allclose(made.logprob, own[np.asarray(made.tokens)].sum(1), rtol=1e-4)


def test_rows_and_times_are_drawn_apart():
    """Fails when two times of a row, or two rows at a time, share their noise."""
    size, even = 4, np.zeros(4, np.float32)
    tokens = np.asarray(texts_of(even, even, 5, rows=4000, limit=5).tokens)
    times = [(tokens[:, one], tokens[:, other]) for one in range(5) for other in range(one)]
    for one, other in [*times, (tokens[:-1, 0], tokens[1:, 0]), (tokens[:-1, 0], tokens[1:, 1])]:
        assert chisquare(np.bincount(one * size + other, minlength=size**2)).pvalue > 1e-3


@pytest.mark.parametrize("size", [1, 128, 129, 300])
def test_a_draw_inverts_the_sums(size):
    """Fails when the block or the place in it is not the one where the sum of the probabilities
    passes the uniform number: by one, at the edge of a block, or in a last block that is not full.
    """
    rows = 500
    logits = np.float32(np.random.default_rng(size).normal(size=(rows, size)))
    logits[np.random.default_rng(3).random(logits.shape) < 0.3] = -np.inf
    logits[:, size // 2] = 1  # one at least is left
    keys = jax.random.split(jax.random.key(size), rows)
    drawn = np.asarray(jax.jit(sample)(keys, np.int32(4), logits))
    uniform = np.asarray(
        jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 4)))(jax.random.clone(keys))
    )
    p = probabilities_of(logits)
    sums = np.cumsum(p, axis=1)
    assert (p[np.arange(rows), drawn] > 0).all()
    assert (sums[np.arange(rows), drawn] > uniform - 1e-5).all()
    assert (sums[np.arange(rows), drawn] - p[np.arange(rows), drawn] < uniform + 1e-5).all()


LEAST, MOST = 3353848, 22644461
"""Seeds of keys whose number for token 0 is the least that there is, and the most."""


def test_the_ends_of_the_unit_interval():
    """Fails when 0 draws a first token of probability 0, or a number that rounding leaves the sums
    short of a last one: within a block, or a block of nothing but such tokens.
    """
    rows, size = 200, 300
    logits = np.float32(np.random.default_rng(9).normal(size=(rows, size)))
    logits[:, [0, 1, 128, 290, 299]] = -np.inf
    logits[50:100, :150] = -np.inf
    logits[100:150, 120:] = -np.inf
    logits[150:, 255:] = -np.inf
    p = probabilities_of(logits)
    for seed, number, wanted in ((LEAST, 0.0, (p > 0).argmax(1)), (MOST, 1 - 2**-23, None)):
        keys = jax.vmap(jax.random.key)(np.full(rows, seed))
        assert jax.random.uniform(jax.random.fold_in(jax.random.key(seed), 0)) == np.float32(number)
        drawn = np.asarray(jax.jit(sample)(keys, np.int32(0), logits))
        assert (p[np.arange(rows), drawn] > 0).all()
        if wanted is not None:
            np.testing.assert_array_equal(drawn, wanted)
        else:
            assert (np.cumsum(p, axis=1)[np.arange(rows), drawn] > 1 - 1e-5).all()


def test_a_draw_takes_one_number_a_row():
    """Fails when random numbers are made for every token of the vocabulary, or more than one a
    row.
    """
    rows = 6
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
    shapes = keys, jax.ShapeDtypeStruct((), "int32"), jax.ShapeDtypeStruct((rows, 1000), "float32")

    def numbers(program):
        made = [
            eqn
            for eqn in inside(jax.make_jaxpr(program)(*shapes).jaxpr)
            if eqn.primitive.name == "random_bits"
        ]
        return sum(math.prod(out.aval.shape) for eqn in made for out in eqn.outvars)

    assert numbers(sample) == rows
    assert (
        numbers(lambda keys, t, logits: jax.vmap(jax.random.categorical)(keys, logits))
        == rows * 1000
    )


# What a user asks for


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (0.0, -1.0, math.inf, math.nan)),
        *(("top_k", value) for value in (0, -3)),
        *(("top_p", value) for value in (0.0, -0.1, 1.5, math.nan)),
        *(("min_p", value) for value in (-0.1, 1.5, math.nan)),
        *(("repetition_penalty", value) for value in (0.0, -2.0, math.inf, math.nan)),
        *(("no_repeat_ngram", value) for value in (0, -1)),
        ("min_length", -1),
        *(("beam", value) for value in (0, -4)),
        *(("length_penalty", value) for value in (math.inf, math.nan)),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value):
    """Fails when the value is taken, or the message names neither the value nor what it is of."""
    with pytest.raises(UsageError, match=str(value)) as error:
        GenerationConfig(**{name: value})
    assert name in str(error.value).replace("-", "_").replace(" ", "_")


@pytest.mark.parametrize("name", ["temperature", "top_k", "top_p", "min_p"])
def test_a_beam_does_not_sample(name):
    """Fails when a beam that cannot sample is asked to, and says nothing."""
    value = {"top_k": 3}.get(name, 0.5)
    assert GenerationConfig(**{name: value}).samples
    assert not GenerationConfig(
        beam=3, no_repeat_ngram=2, repetition_penalty=1.2, min_length=3
    ).samples
    with pytest.raises(UsageError, match="beam"):
        GenerationConfig(**{name: value}, beam=3)


def test_nothing_asked_is_no_processor():
    """Fails when a processor is there that nobody asked for, or there is a minimum length where
    there is no end.
    """
    assert GenerationConfig().processors() == ()
    assert GenerationConfig(beam=3, length_penalty=0.6).processors(end=3) == ()
    assert not GenerationConfig().samples
    assert GenerationConfig(min_length=3).processors(end=None) == ()
    assert len(GenerationConfig(min_length=3).processors(end=2)) == 1
    assert len(GenerationConfig().processors((1, 2), end=2)) == 1


def test_processors_come_in_their_order():
    """Fails when a processor is left out, given another one's value, or stands elsewhere: a cut
    before the temperature keeps other tokens, as does one that still counts what is barred, or
    top_p before top_k.
    """
    asked = GenerationConfig(
        temperature=2.0,
        top_k=7,
        top_p=0.9,
        min_p=0.2,
        repetition_penalty=1.5,
        no_repeat_ngram=2,
        min_length=5,
    )
    random = np.random.default_rng(4)
    logits, texts = (
        np.float32(random.normal(size=(60, V)) * 2),
        random.integers(3, size=(60, 4)).tolist(),
    )
    logits[:, :3] += 2
    history = np.array(texts, np.int32)
    applied = jax.jit(partial(library.apply_processors, asked.processors((3, 5), end=2)))
    made = applied(logits, np.pad(history, ((0, 0), (0, 2)), constant_values=-1), np.int32(4))
    turns = [
        ("ban", (3, 5)),
        ("minimum_length", 5, 2),
        ("no_repeat_ngram", 2),
        ("repetition_penalty", 1.5),
        ("temperature", 2.0),
    ]
    turns += [("top_k", 7), ("top_p", 0.9), ("min_p", 0.2)]

    def in_turn(turns):
        left = np.float64(logits)
        for name, *values in turns:
            left = oracle(name, left, texts, *values)
        return left

    np.testing.assert_allclose(made, np.float32(in_turn(turns)), rtol=1e-5)
    later = [[*turns[:i], *turns[i + 1 :], turns[i]] for i in range(len(turns) - 1)]
    for others in ([*turns[:5], turns[6], turns[5], turns[7]], *later):
        assert (np.isneginf(in_turn(others)) != np.isneginf(made)).any(), others
