"""The contract of a model, for variants of every architecture."""

from copy import deepcopy
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqgen.models import ARCHITECTURES, build
from seqgen.types import Sizes, Special
from tests import book_numpy as book
from tests import cases, oracles
from tests.cases import CONFIGS, LENGTHS, B, Case, S, T, case_of, close, forward, rows_of, stepped
from tests.oracles import SIZES, V, live_params


@pytest.fixture(scope="module", params=CONFIGS)
def case(request) -> Case:
    return case_of(request.param)


def test_every_architecture_is_here():
    """Fails when an architecture is not held to the contract, or has no data to be trained on."""
    assert {type(cfg) for cfg in CONFIGS.values()} == ARCHITECTURES.keys()
    assert {each.family for each in ARCHITECTURES.values()} == cases.CASES.keys()


# What `build` gives


def test_the_same_settings_give_the_same_functions(case):
    """Fails when `build` makes new functions each time, so that everything compiles twice; or
    gives those of another configuration or of other data.
    """
    sizes = Sizes(*SIZES[:2], Special(*SIZES.special), *SIZES[3:])
    assert build(deepcopy(case.cfg), sizes) is case.model
    assert all(build(cfg, SIZES) is not case.model for cfg in CONFIGS.values() if cfg != case.cfg)
    larger = build(case.cfg, SIZES._replace(target=V + 1))
    params = jax.eval_shape(larger.init, jax.random.key(0))
    assert larger is not case.model
    assert jax.tree.map(jnp.shape, params) != jax.tree.map(np.shape, case.params)


def test_compiles_once(case):
    """Fails when values, or a configuration that is equal but not the same object, ask for a new
    compilation.
    """
    out = case.result.out
    before = cases.pulled._cache_size()
    model = build(deepcopy(case.cfg), SIZES)
    pulls = case.pulls[0] + 1, *case.pulls[1:]
    given = live_params(case.cfg, 3), case.another(), case.live_carry(seed=1), pulls
    again = cases.pulled(model, *given, None).out
    assert np.abs(again.logits - out.logits).max() > 0.1
    assert cases.pulled._cache_size() == before


# Values


def test_the_same_twice_to_the_bit(case):
    """Fails when anything outside the arguments, a global or an uninitialised buffer, has a part in
    the result.
    """
    jax.tree.map(np.testing.assert_array_equal, case.run(), case.result)


@pytest.mark.parametrize("row", [1, 4])
def test_a_row_alone_is_the_row_in_a_batch(case, row):
    """Fails when a row's neighbours or the width of its padding reach its logits: a missing mask, a
    mean over the batch.
    """
    alone, carry = rows_of((case.batch, case.carry), slice(row, row + 1))
    if case.batch.source is not None:
        source = np.int32(np.random.default_rng(row).integers(V, size=(1, S + 5)))
        source[0, : LENGTHS[row]] = case.batch.source[row, : LENGTHS[row]]
        alone = alone._replace(source=source)
    after, out = forward(case.model, case.params, alone, carry)
    np.testing.assert_allclose(out.logits[0], case.result.out.logits[row], atol=1e-4)
    close(after, rows_of(case.result.after, slice(row, row + 1)), 1e-5)
    if "attention" in out.aux:
        whole = case.result.out.aux["attention"][row]
        np.testing.assert_allclose(out.aux["attention"][0, ..., :S], whole, atol=1e-5)
        assert not np.asarray(out.aux["attention"])[..., LENGTHS[row] :].any()


@partial(jax.jit, static_argnums=(0, 1))
def begun(model, capacity, params, source, length, token):
    """Where `start` leaves, and the logits after it: of the token that it says, then of `token`."""
    start = model.start(params, source, length, capacity=capacity)
    carry, first = model.step(params, start.memory, start.carry, start.token)
    carry, second = model.step(params, start.memory, carry, token)
    return start, carry, jnp.stack([first.logits, second.logits], axis=1)


@pytest.mark.parametrize("row", [1, 3])
def test_reading_alone_is_reading_in_a_batch(case, row):
    """Fails when what `start` reads beside a row, its padding or the padding's width reach what is
    written after it.
    """
    (source, length), token = case.prompts(), np.int32(np.arange(B) % V)
    _, _, whole = begun(case.model, T, case.params, source, length, token)
    wide = np.int32(np.random.default_rng(row).integers(V, size=(1, S + 3)))
    wide[0, : length[row]] = source[row, : length[row]]
    _, _, alone = begun(case.model, T, case.params, wide, length[[row]], token[[row]])
    np.testing.assert_allclose(alone[0], whole[row], atol=1e-4)
    assert np.abs(whole[row] - whole[0]).max() > 0.1


def test_room_for_more_changes_nothing(case):
    """Fails when `start` takes no `capacity`, or what is written depends on how much room there is
    for what may follow.
    """
    (source, length), token = case.prompts(), np.int32(np.arange(B) % V)
    enough, more = (
        begun(case.model, capacity, case.params, source, length, token)[-1]
        for capacity in (T, 2 * T)
    )
    np.testing.assert_allclose(more, enough, atol=1e-5)


def test_a_carrys_rows_are_the_batchs(case):
    """Fails when a leaf of a carry has another first axis than the batch, so that a beam that
    gathers rows mixes them up; or the carry that comes back is not the one that was given: a loop
    over it would not compile, or compile twice; or when decoding begins with another token.
    """
    (source, length), token = case.prompts(), np.int32(np.arange(B) % V)
    start, carry, _ = begun(case.model, T, case.params, source, length, token)
    np.testing.assert_array_equal(start.token, case.first())
    initial = case.model.initial_state(case.params, B)
    for before, after in ((initial, case.result.after), (start.carry, carry)):
        assert jax.tree.structure(before) == jax.tree.structure(after)
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        for one, other in pairs:
            assert (one.shape, one.dtype) == (other.shape, other.dtype)
            assert one.shape[:1] in ((), (B,))
    order = np.array([3, 3, 0, 7, 1, 1, 6, 2])
    batch, carry = rows_of((case.batch, case.carry), order)
    gathered = case.run(batch=batch, carry=carry)
    logits = case.result.out.logits[order]
    np.testing.assert_allclose(gathered.out.logits, logits, atol=1e-5)
    close(gathered.after, rows_of(case.result.after, order), 1e-5)


# Gradients


def test_step_after_step_is_apply(case):
    """Fails when decoding and training are two functions: `step` over Python's loop, operation by
    operation, against the compiled `apply`, values and the gradients of weights and carry. So it is
    the test of jit, of the scan and of its gradient too.
    """
    ours, compiled = stepped(case), case.result
    close(ours.out.logits, compiled.out.logits, 1e-5)
    close(ours.out.aux.get("attention"), compiled.out.aux.get("attention"), 1e-5)
    close(ours[1:], compiled[1:], 1e-5)


def test_every_weight_learns(case):
    """Fails when a gradient is not finite, or a weight that takes part has none. No exceptions: no
    bias here is shifted away by a softmax, and the rows of embeddings that nothing reads are zero,
    as they must be.
    """
    tables = case.tables()
    for path, g in jax.tree.leaves_with_path((case.result.params, case.result.carry)):
        name, g = jax.tree_util.keystr(path), np.asarray(g)
        assert np.isfinite(g).all(), name
        if ".embedding" in name:
            (used,) = (rows for part, rows in tables.items() if part in name)
            assert np.all(g[used] != 0), name
            assert not g[~used].any(), name
        else:
            assert np.all(g != 0), name


def test_causality(case):
    """Fails when logits at time t hear of a later input, of another row or its carry, or of padding
    (gradients exactly zero), or do not hear of an earlier input, of the whole question or of the
    row's whole carry. Every position of row 2 has a token of its own: gradients of the embeddings
    tell positions apart.
    """
    row = 2
    params, batch = case.apart(row)
    for t in range(T):
        pulls = [np.zeros_like(pull) for pull in case.pulls]
        pulls[0][row, t] = case.pulls[0][row, t]
        made = case.run(params=params, batch=batch, pulls=tuple(pulls))
        gradients = [
            (jax.tree_util.keystr(path), np.asarray(leaf))
            for path, leaf in jax.tree.leaves_with_path(made.params)
        ]
        for part, expected in case.heard(row, t).items():
            (table,) = (g for name, g in gradients if part in name and ".embedding" in name)
            np.testing.assert_array_equal(np.abs(table).max(axis=1) > 0, expected)
        for leaf in jax.tree.leaves(made.carry):
            own = (np.arange(B) == row).reshape(B, *[1] * (leaf.ndim - 1))
            np.testing.assert_array_equal(leaf != 0, np.broadcast_to(own, leaf.shape))


def test_overfits_eight_examples(case):
    """Fails when something learns that cannot tell questions, or what it has read, apart, or
    gradients lead somewhere else than down.
    """
    batch, carry = case.lesson(), jax.tree.map(np.zeros_like, case.carry)
    init = live_params(case.cfg, 9)
    params, structure = jax.tree.flatten(jax.tree.map(lambda p: p * np.float32(0.5), init))
    adam, onehot = book.Adam(0.02), np.arange(V) == batch.targets[..., None]
    pull, *still = (np.zeros_like(pull) for pull in case.pulls)
    for _ in range(150):
        weights = jax.tree.unflatten(structure, params)
        made = case.run(params=weights, batch=batch, carry=carry, pulls=(pull, *still))
        logits = np.asarray(made.out.logits)
        p = oracles.softmax(logits)  # one step behind: the last logits give this step's pull
        pull = np.float32((p - onehot) / batch.targets.size)
        adam.update(params, [np.asarray(g) for g in jax.tree.leaves(made.params)])
    assert -np.log(p[onehot]).mean() < 0.1
    np.testing.assert_array_equal(logits.argmax(-1), batch.targets)


@pytest.mark.parametrize(
    "name",
    [
        "seq2seq: attention",
        "language model: two lstms",
        "language model: two grus, tied",
    ],
)
def test_gradients_are_differences(name):
    """Fails when a gradient is not the slope, the carry's with it: float64, central differences
    along a direction through every weight.
    """
    case = case_of(name)
    with jax.enable_x64(True):
        params, carry = jax.tree.map(jnp.float64, (case.params, case.live_carry(3)))
        batch = jax.tree.map(jnp.asarray, rows_of(case.batch, slice(3)))

        @jax.jit
        def total(params, carry):
            after, out = case.model.apply(params, batch, carry, None)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((after, out.logits)))

        check_grads(total, (params, carry), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


# Configurations


@pytest.mark.parametrize(("name", "label"), [
    ("seq2seq: baseline", "baseline"),
    ("seq2seq: peeky-attention", "peeky-attention"),
    ("seq2seq: bahdanau", "attention"),
    ("language model: two grus, tied", "gru"),
])  # fmt: skip
def test_a_config_finds_its_model(name, label):
    """Fails when a configuration leads to another architecture, is called something else in the
    names of runs, or is no key of a compiled program's; or one of the contract's functions is
    missing.
    """
    case = case_of(name)
    architecture = ARCHITECTURES[type(case.cfg)]
    assert name.startswith(architecture.name.replace("_", " "))
    assert architecture.label(case.cfg) == label
    assert hash(deepcopy(case.cfg)) == hash(case.cfg)
    assert all(callable(function) for function in case.model)
