"""The state before the first step, and the steps of one member or of several side by side."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.training.batches import Rows
from seqgen.training.objective import teacher_forced
from seqgen.training.optimizer import adam
from seqgen.training.state import TrainState, create, streams
from seqgen.training.steps import NEVER, SUMS, train_steps, zero_totals
from seqgen.types import Member
from tests.oracles import SIZES, VARIANTS
from tests.programs import B, N, examples, member, program_of


def equal(one, other) -> None:
    """To the bit."""
    jax.tree.map(np.testing.assert_array_equal, one, other)


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


# State and streams


def test_a_state_begins_with_its_members_draw():
    """Fails when two named streams are one, init draws from another than its own, `init_scale`
    reaches a bias, or a stream begins with another carry than that of the parameters.
    """
    one = member(3, init_scale=2.0)
    keys = streams(one.key)
    assert len({jax.random.key_data(key).tobytes() for key in (one.key, *keys)}) == 4
    sides = rnn_encoder.Config(3, 4), rnn_decoder.Config(3, 4)
    init = jax.jit(build(rnn_seq2seq.Config(*sides, init="modern"), SIZES).init)
    state = create(init, lambda params: params.decoder, adam("constant", 0.0, 1), one)
    expected = jax.tree.map(lambda p: 2 * p if p.ndim > 1 else p, init(keys.init))
    equal(state.params, expected)
    assert np.asarray(state.params.encoder.cell.b).sum() == 4
    assert int(state.step) == 0
    equal(state.carry, expected.decoder)


# The steps

MODEL, DATA = build(VARIANTS["attention"], SIZES), examples()
LOSS, OPTIMIZER = teacher_forced(MODEL), adam("cosine", 0.2, 40)
PROGRAM = program_of(LOSS, OPTIMIZER, Rows(DATA, B))
steps = jax.jit(partial(train_steps, PROGRAM), donate_argnames=("state", "totals"))
init_state = jax.jit(partial(create, MODEL.init, lambda params: (), OPTIMIZER))
PLAN = np.int32(np.random.default_rng(4).permuted(np.tile(np.arange(N), (20, 1)), axis=1)[:, :B])
"""The items of 20 steps."""


def span(first: int, last: int) -> np.ndarray:
    return np.array([first, last], np.int32)


def train(who: Member, *ends: int):
    """20 steps, cut at `ends`."""
    state, totals, first = init_state(who), zero_totals(), 0
    for last in ends:
        given = {"state": state, "totals": totals, "items": PLAN, "span": span(first, last)}
        state, totals = steps(DATA, who, **given)
        first = last
    return state, totals


@pytest.fixture(scope="module")
def twenty():
    return train(member(), 20)


@pytest.mark.bits
@pytest.mark.parametrize("ends", [(10, 20), (19, 20), (1, 2, 20), (0, 20, 20)])
def test_where_calls_end_changes_no_bit(twenty, ends):
    """Fails when a key, a schedule or a sum counts from the start of its call, or a call for no
    steps does anything.
    """
    equal(train(member(), *ends), twenty)


def test_totals_are_the_sums(twenty):
    """Fails when the log's numbers are of the last step only, or means of means."""
    _, totals = twenty
    assert (int(totals.steps), int(totals.not_finite)) == (20, NEVER)
    assert totals.sums["tokens"] == np.asarray(DATA.mask)[PLAN].sum()
    one = [train(member(), *range(n + 1))[1] for n in (1, 2)]
    for name in SUMS:
        assert 0 < one[0].sums[name] < one[1].sums[name] < totals.sums[name]
    state, batch = init_state(member()), PROGRAM.batches.read(DATA, jnp.asarray(PLAN[0]))
    value, (_, metrics) = jax.jit(LOSS)(state.params, (), batch, None)
    assert metrics["tokens"] == np.asarray(batch.mask).sum()
    np.testing.assert_allclose(value, metrics["loss"] / metrics["tokens"], rtol=1e-6)


def test_a_state_is_given_away_and_the_rate_is_traced(twenty):
    """Fails when the old state's buffers are kept beside the new, or another rate, clip, dropout or
    span compiles again.
    """
    who, size = member(), steps._cache_size()
    state = init_state(who)
    leaves = jax.tree.leaves((state.params, state.opt_state))
    given = {"totals": zero_totals(), "items": PLAN, "span": span(0, 20)}
    made, _ = steps(DATA, who, state=state, **given)
    assert all(leaf.is_deleted() for leaf in leaves)
    other, _ = train(member(lr=0.02, clip=0.1, dropout=0.4), 7, 20)
    assert steps._cache_size() == size
    assert np.abs(made.params.decoder.affine.w - other.params.decoder.affine.w).max() > 1e-3


def test_dropout_is_the_members_and_the_steps():
    """Fails when every step drops the same features, or every member does: with one batch over and
    over and a rate of nearly zero, losses differ by the dropout alone.
    """
    items = np.tile(PLAN[:1], (20, 1))

    def losses(who: Member, begin: int = 0) -> list[float]:
        state, seen = init_state(member())._replace(step=jnp.int32(begin)), []
        for step in range(3):
            given = {"totals": zero_totals(), "items": items, "span": span(step, step + 1)}
            state, totals = steps(DATA, who, state=state, **given)
            seen.append(float(totals.sums["loss"]))
        return seen

    cases = (0, 0.5), (0, 0.5), (1, 0.5), (0, 0.0)
    one, again, other, none = (losses(member(s, lr=1e-12, dropout=d)) for s, d in cases)
    later = losses(member(0, lr=1e-12, dropout=0.5), begin=10)  # the same places of another epoch
    assert one == again
    assert len({*one, *other, *later}) == 9
    assert len(set(none)) == 1


def test_no_dropout_is_dropout_of_nothing():
    """Fails when the program without dropout is another one than that with a rate of zero."""
    zero = train(member(dropout=0.0), 20)
    off = train(member(dropout=None), 20)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), off, zero)


@pytest.mark.parametrize("ema", [0.3, 0.999])
def test_the_moving_average(twenty, ema):
    """Fails when the average begins at zero, weighs the new weights with the decay, has no warm-up
    or another step's, is what the gradient is taken of, or another decay compiles again.
    """
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    expected = jax.device_get(init_state(member()).params)
    for t in range(1, 21):
        d = min(ema, (1 + t) / (10 + t))
        mix = lambda old, new, d=d: d * old + (1 - d) * np.float64(new)  # noqa: E731
        expected = jax.tree.map(mix, expected, jax.device_get(train(member(), t)[0].params))
        if t in (1, 20):
            state, _ = train(member(ema=ema), min(t, 7), t)
            jax.tree.map(close, state.weights, expected)
    jax.tree.map(close, state.params, twenty[0].params)
    size = steps._cache_size()
    train(member(ema=ema / 2), 20)
    assert steps._cache_size() == size


@pytest.mark.bits
def test_members_train_side_by_side():
    """Fails when members that share a program share anything else: lifted by lax.map two of them
    end, after ten steps and to the bit, where each ends alone; by vmap to 1e-6.
    """
    members = [member(0, ema=0.4), member(5, lr=0.004, clip=0.5, dropout=0.1, ema=0.9)]
    alone = [train(who, 10) for who in members]
    together = stack(*members)

    def one(of, who, state, totals):
        return train_steps(PROGRAM, DATA, who, state, totals, jnp.asarray(PLAN), of)

    def start():
        return stack(*map(init_state, members)), stack(*(zero_totals() for _ in members))

    every = jax.jit(lambda of, *each: jax.lax.map(lambda m: one(of, *m), each))
    mapped = every(span(0, 10), together, *start())
    equal(mapped, stack(*alone))
    lifted = jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))(span(0, 10), together, *start())
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), lifted, stack(*alone))
    first, second = (state.params.decoder.affine.w for state, _ in alone)
    assert np.abs(first - second).max() > 1e-2


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_what_is_not_finite_is_reported_with_its_step(fault):
    """Fails when the step is counted from the call's or the log line's start, is the last one
    instead of the first, is forgotten by the next call, or an infinite gradient under a finite loss
    passes.
    """

    def loss(params, carry, batch, dropout_state):
        bad = batch["bad"][0]
        if fault == "loss":
            value = jnp.sum(params**2) / jnp.where(bad, 0.0, 1.0)
        else:
            value = jnp.sum(jnp.sqrt(params**2 * jnp.where(bad, 0.0, 1.0)))
        return value, (carry, {"loss": value, "tokens": jnp.float32(1)})

    data, items = {"bad": jnp.arange(20) == 13}, jnp.arange(20)[:, None]
    who, optimizer = member(dropout=None), adam("constant", 0.0, 1)
    read = lambda data, item: {"bad": data["bad"][item]}  # noqa: E731
    program = program_of(loss, optimizer, SimpleNamespace(read=read, steps=20, batch=1))
    run = jax.jit(partial(train_steps, program, data, who))
    params = jnp.arange(1.0, 4.0)
    state = TrainState(jnp.int32(100), params, optimizer(who.hyper).init(params), ())
    seen, totals = [], zero_totals()
    for first, last in ((0, 9), (9, 13), (13, 16), (16, 20)):
        state, totals = run(state, totals, items, span(first, last))
        seen.append(int(totals.not_finite))
    assert seen == [NEVER, NEVER, 113, 113]
