"""Many members in one program: each is its solo run, whatever the axis, the devices and its
neighbours.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.training import sharding
from seqgen.training.batches import Rows
from seqgen.training.objective import teacher_forced
from seqgen.training.optimizer import adam
from seqgen.training.state import HyperConfig, create
from seqgen.training.steps import NEVER, train_steps, zero_totals
from seqgen.types import Batch, Member
from tests.oracles import SIZES
from tests.programs import program_of


def examples() -> Batch:
    random = np.random.default_rng(0)
    source, target = random.integers(13, size=(40, 5)), random.integers(13, size=(40, 5))
    return Batch(source, np.full(40, 5), target[:, :-1], target[:, 1:], np.ones((40, 4), bool))


SIDES = rnn_encoder.Config(7, 12), rnn_decoder.Config(7, 12, outputs=("dot",))
MODEL = build(rnn_seq2seq.Config(*SIDES), SIZES)
BATCHES, STEPS, MEMBERS = Rows(examples(), 4), 10, 5
OPTIMIZER = adam("cosine", 0.1, STEPS)
TRAIN = partial(train_steps, program_of(teacher_forced(MODEL), OPTIMIZER, BATCHES))
START = partial(create, MODEL.init, lambda params: (), OPTIMIZER)
SPAN = np.array([0, STEPS], np.int32)
HYPERS = [HyperConfig(lr=0.01 * (i + 1), clip=1.0 + i, dropout=0.1 * i) for i in range(MEMBERS)]


@pytest.fixture(scope="module")
def data():
    return jax.tree.map(jnp.asarray, BATCHES.data)


def member(i: int) -> Member:
    return Member(jax.random.key(i), HYPERS[i].traced())


def slots(count: int) -> sharding.Slot:
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[member(i) for i in range(MEMBERS)])
    slot = sharding.Slot(stacked, jnp.zeros(MEMBERS, int), jnp.ones(MEMBERS, bool))
    every = sharding.padded(slot, count)
    return every._replace(alive=jnp.arange(count) < MEMBERS)


def totals(count: int):
    return jax.tree.map(lambda leaf: jnp.full(count, leaf), zero_totals())


@pytest.fixture(scope="module")
def solo(data):
    """Each member trained alone, by the program of a solo run."""
    start, plan, train = jax.jit(START), jax.jit(BATCHES.plan), jax.jit(TRAIN)
    members = [member(i) for i in range(MEMBERS)]
    first = jnp.int32(0)
    return [
        train(data, each, start(each), zero_totals(), plan(each, first), SPAN) for each in members
    ]


def together(data, axis: sharding.MemberAxis, devices: int, broken: int | None = None):
    """All members in one program; one of them may start with weights that are not numbers."""
    mesh = sharding.mesh_for(devices)
    assert mesh.size == devices
    lift = partial(sharding.over_members, axis=axis, mesh=mesh)
    slot = slots(-(-MEMBERS // devices) * devices)
    state = jax.jit(lift(lambda _, slot: START(slot.member)))((), slot)
    if broken is not None:
        state = state._replace(
            params=jax.tree.map(lambda leaf: leaf.at[broken].set(jnp.nan), state.params)
        )
    plan = jax.jit(lift(lambda epoch, slot: BATCHES.plan(slot.member, epoch)))
    items = plan(jnp.int32(0), slot)
    train = jax.jit(lift(sharding.while_finite(TRAIN)))
    return train((data, SPAN), slot, items, state, totals(len(slot.alive)))


def difference(one, other) -> float:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(np.float64(a) - np.float64(b)))) for a, b in pairs)


@pytest.mark.parametrize(
    ("axis", "tolerance", "devices"),
    [
        pytest.param("map", 0.0, 2, marks=pytest.mark.bits),
        pytest.param("vmap", 1e-6, 1, marks=pytest.mark.slow),
        pytest.param("vmap", 1e-6, 2, marks=pytest.mark.slow),
    ],
)
def test_a_member_is_its_solo_run(data, solo, axis, tolerance, devices):
    """Fails when members share a key, an order of examples, a rate, a clip or a dropout, or a sum
    runs over all of them.
    """
    ended = together(data, axis, devices)
    for i in range(MEMBERS):
        mine, totals = jax.tree.map(lambda leaf, i=i: leaf[i], ended)
        alone, summed = solo[i]
        assert difference(mine.params, alone.params) <= tolerance
        assert difference(totals, summed) <= 100 * tolerance * STEPS  # sums over steps and tokens
        assert int(mine.step) == STEPS


@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_split_over_devices_is_the_same_step(data, solo, devices):
    """Fails when a device's part of the gradient is left out or counted twice, or a row is read by
    none.
    """
    mesh = sharding.mesh_for(devices)
    whole, rows = sharding.shared_on(mesh), sharding.rows_on(mesh)
    items = jax.device_put(BATCHES.plan(member(2), jnp.int32(0)), rows)
    assert len(items.sharding.device_set) == devices
    start = jax.jit(START, out_shardings=whole)(member(2))
    train = jax.jit(TRAIN, out_shardings=whole)
    state, totals = train(data, member(2), start, zero_totals(), items, SPAN)
    assert difference(state.params, solo[2][0].params) <= 1e-6
    assert difference(totals, solo[2][1]) <= 1e-4


def test_members_differ(solo):
    """Fails when the test above would pass for members that are all alike."""
    assert all(difference(solo[0][0].params, solo[i][0].params) > 1e-3 for i in range(1, MEMBERS))


@pytest.mark.parametrize("axis", ["map", pytest.param("vmap", marks=pytest.mark.slow)])
def test_a_broken_member_stays_alone(data, solo, axis):
    """Fails when one member's NaN reaches another, is not marked with its step, or goes on being
    trained.
    """
    state, totals = together(data, axis, 2, broken=1)
    assert totals.not_finite.tolist() == [NEVER, 0, NEVER, NEVER, NEVER, NEVER]
    train = sharding.while_finite(TRAIN)
    again = jax.jit(sharding.over_members(train, axis=axis, mesh=sharding.mesh_for(2)))
    items = jnp.zeros((6, BATCHES.steps, BATCHES.batch), int)
    later, _ = again((data, SPAN), slots(6), items, state, totals)
    assert later.step.tolist() == [2 * STEPS, STEPS, 2 * STEPS, 2 * STEPS, 2 * STEPS, 0]
    for i in (0, 2, 3, 4):
        own = jax.tree.map(lambda leaf, i=i: leaf[i], state.params)
        assert difference(own, solo[i][0].params) <= 1e-6


def test_what_fills_up_is_not_trained(data):
    """Fails when the copy that fills up the last device costs steps."""
    state, totals = together(data, "map", 2)
    assert state.step.tolist() == [STEPS] * MEMBERS + [0]
    assert totals.steps.tolist() == [STEPS] * MEMBERS + [0]


def test_prediction_holds_for_the_arrays_that_are_there():
    """Fails when arguments, results or room to work in are left out, one device's share stands for
    all, or what training holds is forgotten while members are evaluated.
    """
    rows, mesh = jnp.ones((4, 250_000)), sharding.mesh_for(2)
    each, shared = sharding.each_on(mesh), sharding.shared_on(mesh)

    def compiled(width: int, donate: tuple[int, ...] = ()) -> jax.stages.Compiled:
        lifted = sharding.over_members(lambda _, row: jnp.cos(row), axis="vmap", mesh=mesh)
        options = {"in_shardings": (shared, each), "out_shardings": each, "donate_argnums": donate}
        return jax.jit(lifted, **options).lower((), rows[:, :width]).compile()

    kept, given, small, large = (
        compiled(250_000),
        compiled(250_000, (1,)),
        compiled(10),
        compiled(200_000),
    )
    for training, evaluating, expected in [
        (kept, small, 8_000_000),  # 4 MB in, 4 MB out
        (given, small, 4_000_000),
        (given, large, 4_000_000 + 6_400_000),
    ]:
        predicted = sharding.predicted_bytes(training, evaluating, mesh)
        assert predicted == pytest.approx(expected, rel=0.01)
    assert 1e8 < sharding.available_bytes() < 1e14


def test_lowers_for_every_platform(data):
    """Fails when the lifted program holds what a GPU or TPU lacks."""
    mesh = sharding.mesh_for(2)
    for axis in sharding.MEMBER_AXES:
        lifted = jax.jit(sharding.over_members(sharding.while_finite(TRAIN), axis=axis, mesh=mesh))
        like = jax.eval_shape(
            lambda: (slots(6), jax.vmap(lambda slot: START(slot.member))(slots(6)))
        )
        items = jax.ShapeDtypeStruct((6, BATCHES.steps, BATCHES.batch), jnp.int32)
        traced = lifted.trace((data, SPAN), like[0], items, like[1], totals(6))
        for platform in ("cpu", "cuda", "tpu"):
            assert "callback" not in traced.lower(lowering_platforms=(platform,)).as_text()
