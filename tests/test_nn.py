"""Building blocks against NumPy, Python loops and flax.linen."""

from dataclasses import replace
from functools import partial
from itertools import combinations

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqgen.models import build, rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.nn import attention, layers
from seqgen.nn.cells import CELLS, CellParams, HiddenCarry, LstmCarry, init_cell, layer
from seqgen.nn.init import SCHEMES
from seqgen.nn.recurrence import unroll, unroll_while
from seqgen.types import DropoutState, Memory, Sizes, Special
from tests import oracles
from tests.oracles import attend

B, S, T, D, E, H, V = 4, 3, 5, 7, 10, 12, 13
LENGTHS = np.array([5, 3, 1, 0], np.int32)
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.float32(np.random.default_rng([seed, *shape]).normal(size=shape) * scale)


def cell_case(name: str) -> tuple[CellParams, tuple, np.ndarray]:
    """Weights, biases and a carry that are not zero; inputs that differ in every row and step."""
    g = GATES[name] * H
    params = CellParams(
        np.concatenate([normal(D, g, scale=0.5), normal(H, g, scale=0.4)]), normal(g, seed=1)
    )
    h, c = normal(B, H, seed=2, scale=0.7), normal(B, H, seed=3, scale=0.7)
    return params, LstmCarry(h, c) if name == "lstm" else HiddenCarry(h), normal(T, B, D)


def loop(name: str, params, carry, xs, length=None, *, reverse: bool = False):
    """The time loop row by row in Python, over valid times only: (h, c) and outputs, zero where
    nothing ran.
    """
    length = np.full(B, T) if length is None else length
    h, c = np.float64(carry[0]), np.float64(carry[-1])
    ys = np.zeros((T, B, H))
    for b in range(B):
        times = range(length[b])
        for t in reversed(times) if reverse else times:
            h[b], c[b] = oracles.cell(name, params, (h[b], c[b]), xs[t, b])
            ys[t, b] = h[b]
    return (h, c) if name == "lstm" else (h,), ys


# Cells


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_its_equations(name):
    """Fails when gates change places, the reset gate acts after the product, z and 1 - z are
    swapped, or a bias is lost.
    """
    params, carry, xs = cell_case(name)
    new, y = jax.jit(CELLS[name].step)(params, carry, xs[0])
    h, c = oracles.cell(name, params, (carry[0], carry[-1]), xs[0])
    np.testing.assert_allclose(y, h, atol=1e-6)
    np.testing.assert_array_equal(new.h, y)
    if name == "lstm":
        np.testing.assert_allclose(new.c, c, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_a_steps_gradient_is_its_slope(name):
    """Fails when a term of a hand-written backward pass is lost: float64, central differences."""
    with jax.enable_x64(True):
        params, carry, xs = jax.tree.map(jnp.float64, cell_case(name))
        check_grads(
            jax.jit(CELLS[name].step),
            (params, carry, xs[0]),
            order=1,
            modes=["rev"],
            atol=1e-7,
            rtol=1e-7,
        )


@pytest.mark.parametrize("name", CELLS)
def test_a_bias_may_be_a_rows_own(name):
    """Fails when rows get each other's bias (a decoder's `precompute` makes one a row), or a gate
    gets another one's.
    """
    params, carry, xs = cell_case(name)
    biases = normal(B, params.b.size, seed=6)
    new, y = jax.jit(CELLS[name].step)(params._replace(b=biases), carry, xs[0])
    rows = [
        oracles.cell(name, params._replace(b=biases[b]), (carry[0][b], carry[-1][b]), xs[0, b])
        for b in range(B)
    ]
    np.testing.assert_allclose(y, np.stack([h for h, _ in rows]), atol=1e-6)
    if name == "lstm":
        np.testing.assert_allclose(new.c, np.stack([c for _, c in rows]), atol=1e-6)


def flax_rnn(flax_cell, params: dict, carry, xs, length=None):
    layer = flax.linen.RNN(flax_cell, time_major=True, return_carry=True)
    return layer.apply({"params": {"cell": params}}, xs, initial_carry=carry, seq_lengths=length)


def test_lstm_is_flaxs():
    """Fails when our gate order (f, g, i, o), or which of h and c is which, is not what flax.linen
    computes by name.
    """
    params, carry, xs = cell_case("lstm")
    wx, wh, b = (np.split(p, 4, axis=-1) for p in (params.w[:-H], params.w[-H:], params.b))
    theirs = {f"i{gate}": {"kernel": w} for gate, w in zip("fgio", wx, strict=True)}
    theirs |= {
        f"h{gate}": {"kernel": w, "bias": v} for gate, w, v in zip("fgio", wh, b, strict=True)
    }
    (c, h), ys = flax_rnn(flax.linen.OptimizedLSTMCell(H), theirs, (carry.c, carry.h), xs)
    ours, outputs = run(CELLS["lstm"].step, params, carry, xs)
    np.testing.assert_allclose(outputs, ys, atol=1e-6)
    np.testing.assert_allclose(np.stack(ours), np.stack([h, c]), atol=1e-6)
    length = np.maximum(LENGTHS, 1)  # flax has no answer for an empty row
    (c, h), _ = flax_rnn(flax.linen.OptimizedLSTMCell(H), theirs, (carry.c, carry.h), xs, length)
    np.testing.assert_allclose(
        np.stack(run(CELLS["lstm"].step, params, carry, xs, length)[0]), np.stack([h, c]), atol=1e-6
    )


def test_vanilla_is_flaxs():
    """Fails when the vanilla cell is not flax.linen's: another nonlinearity, a missing bias."""
    params, carry, xs = cell_case("rnn")
    theirs = {"i": {"kernel": params.w[:-H], "bias": params.b}, "h": {"kernel": params.w[-H:]}}
    h, ys = flax_rnn(flax.linen.SimpleCell(H), theirs, carry.h, xs)
    ours, outputs = run(CELLS["rnn"].step, params, carry, xs)
    np.testing.assert_allclose(outputs, ys, atol=1e-6)
    np.testing.assert_allclose(ours.h, h, atol=1e-6)


def test_gru_is_flaxs_where_the_reset_gate_is_open():
    """flax resets after the product, r ⊙ (h Wh), we before, (r ⊙ h) Wh: they meet only where r = 1.
    There, with its z our 1 - z, fails when the update gate or the candidate differs; elsewhere,
    when our variant has become flax's.
    """
    params, carry, xs = cell_case("gru")

    def difference(b: np.ndarray) -> float:
        (z, r, n), (wz, wr, wn), (bz, br, bn) = (
            np.split(p, 3, axis=-1) for p in (params.w[:-H], params.w[-H:], b)
        )
        theirs = {
            "iz": {"kernel": -z, "bias": -bz},
            "ir": {"kernel": r, "bias": br},
            "in": {"kernel": n, "bias": bn},
        }
        theirs |= {
            "hz": {"kernel": -wz},
            "hr": {"kernel": wr},
            "hn": {"kernel": wn, "bias": np.zeros_like(bn)},
        }
        _, ys = flax_rnn(flax.linen.GRUCell(H), theirs, carry.h, xs)
        return float(np.abs(run(CELLS["gru"].step, params._replace(b=b), carry, xs)[1] - ys).max())

    opened = params.b.copy()
    opened[H : 2 * H] = 40
    assert difference(opened) < 1e-6
    assert difference(params.b) > 1e-2


# Recurrence


@partial(jax.jit, static_argnames=("cell", "reverse"))
def run(cell, params, carry, xs, length=None, *, reverse=False):
    return unroll(cell, params, carry, xs, length, reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_unroll_is_a_loop_over_valid_times(name, length, reverse):
    """Fails when a carry moves on through padding, padding's outputs are not zero, a reversed row
    starts from its padding, or outputs of a reversed run come out backwards.
    """
    params, carry, xs = cell_case(name)
    final, ys = run(CELLS[name].step, params, carry, xs, length, reverse=reverse)
    expected, outputs = loop(name, params, carry, xs, length, reverse=reverse)
    np.testing.assert_allclose(ys, outputs, atol=1e-5)
    np.testing.assert_allclose(np.stack(final), np.stack(expected), atol=1e-5)
    if length is not None:
        assert not np.any(np.asarray(ys)[np.arange(T)[:, None] >= length])
        np.testing.assert_array_equal(np.stack(final)[:, 3], np.stack(carry)[:, 3])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_full_length_is_no_length_to_the_bit(name, reverse):
    """Fails when a length selects another way through the arithmetic than no length does.

    Operation by operation: compiled, XLA joins multiplications and additions differently around the
    mask's select, and the two programs differ in the last bit (1e-7 here; an optimization_barrier
    does not help on a CPU).
    """
    params, carry, xs = jax.tree.map(jnp.asarray, cell_case(name))
    full = jnp.full(B, T, jnp.int32)
    with jax.disable_jit():
        one, other = (
            run(CELLS[name].step, params, carry, xs, length, reverse=reverse)
            for length in (None, full)
        )
    jax.tree.map(np.testing.assert_array_equal, one, other)
    one, other = (
        run(CELLS[name].step, params, carry, xs, length, reverse=reverse) for length in (None, full)
    )
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), one, other)


def test_trees_go_through_a_recurrence():
    """Fails when a leaf with more or fewer axes than [B, H] is masked along another axis than its
    rows.
    """

    def cell(params, carry, x):
        carry = {"sum": carry["sum"] + x["a"], "grid": carry["grid"] * 2 + x["b"]}
        return carry, (carry["sum"], {"grid": carry["grid"]})

    a, b = np.arange(1, T * B + 1, dtype=np.float32).reshape(T, B), normal(T, B, 3, 2)
    start = {"sum": np.zeros(B, np.float32), "grid": np.zeros((B, 3, 2), np.float32)}
    final, (sums, aux) = run(cell, None, start, {"a": a, "b": b}, LENGTHS)
    for row, n in enumerate(LENGTHS):
        assert final["sum"][row] == a[:n, row].sum()
        np.testing.assert_array_equal(
            sums[:, row], np.where(np.arange(T) < n, np.cumsum(a[:, row]), 0)
        )
        grid = sum((b[t, row] * 2.0 ** (n - 1 - t) for t in range(n)), np.zeros((3, 2)))
        np.testing.assert_allclose(final["grid"][row], grid, rtol=1e-6, atol=1e-6)
    assert aux["grid"].shape == (T, B, 3, 2)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_not_in_the_gradient(reverse):
    """Fails when the frozen carry's gradient leaks into inputs past a row's length, or valid inputs
    are cut off.
    """
    params, carry, xs = cell_case("gru")
    final = jax.grad(
        lambda xs: run(CELLS["gru"].step, params, carry, xs, LENGTHS, reverse=reverse)[0].h.sum()
    )
    reached = np.abs(final(xs)).min(axis=2) > 0
    np.testing.assert_array_equal(reached, np.arange(T)[:, None] < LENGTHS)
    assert not np.any(np.asarray(final(xs))[~reached])


@partial(jax.jit, static_argnames=("cell", "fast", "dtype"))
def pulled(cell, params, carry, xs, length, pulls, *, fast, dtype="float32"):
    """(final carry, outputs) of `layer` or `unroll`, and the gradients of params, carry and xs when
    all outputs are pulled.
    """
    step = partial(CELLS[cell].step, dtype=dtype)

    def total(params, carry, xs):
        made = (
            layer(cell, params, carry, xs, length, dtype=dtype)
            if fast
            else unroll(step, params, carry, xs, length)
        )
        return sum(
            jnp.sum(leaf * pull) for leaf, pull in zip(jax.tree.leaves(made), pulls, strict=True)
        ), made

    grads, made = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(params, carry, xs)
    return made, grads


def both(name: str, length, dtype: str = "float32"):
    """Every array of a layer by its name, as `layer` makes it and as `unroll` does; h, c and every
    output are pulled.
    """
    params, carry, xs = cell_case(name)
    pulls = [normal(*leaf.shape, seed=8) for leaf in (*carry, normal(T, B, H))]
    ways = [
        pulled(name, params, carry, xs, length, pulls, fast=fast, dtype=dtype)
        for fast in (True, False)
    ]
    return [
        {
            jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree.leaves_with_path(way)
        }
        for way in ways
    ]


@pytest.mark.parametrize("length", [None, LENGTHS], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_a_layer_is_its_cell_unrolled(name, length):
    """Fails when what `layer` takes out of the loop is not the same before or after it: a bias that
    is lost or added twice, W's gradient with h_t for h_(t-1), without the first carry, or from
    padding; a gradient of x, of the carry or of c left out.
    """
    ours, expected = both(name, length)
    assert ours.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(
            ours[path], leaf, rtol=0, atol=2e-6 * max(1, np.abs(leaf).max()), err_msg=path
        )
        assert np.abs(leaf).max() > 0.1, path
    if length is not None:
        past = np.arange(T)[:, None] >= length
        assert not any(leaf[past].any() for path, leaf in ours.items() if leaf.shape[:2] == (T, B))


@pytest.mark.parametrize("name", CELLS)
def test_a_narrow_layer_is_its_narrow_cell(name):
    """Fails when a product of `layer` is not narrowed, or what is no product is: it is then as far
    from the cell in bfloat16 as that is from the one in float32. The two differ where the last bit
    of a sum rounds h, or a gradient, to its other neighbour, which is rare: by less than a
    twentieth of that.
    """
    ours, expected = both(name, LENGTHS, "bfloat16")
    _, wide = both(name, LENGTHS)
    for path, leaf in expected.items():
        assert ours[path].dtype == np.float32
        rounding = np.abs(leaf - wide[path]).mean()
        assert np.abs(ours[path] - leaf).mean() < rounding / 20, path
        assert rounding > 1e-4, path


def counting(stop_at: int):
    """A cell that counts its steps, and what it was asked at each."""

    def cell(params, carry, x):
        carry = {"count": carry["count"] + 1, "sum": carry["sum"] + params * x["a"]}
        return carry, (carry["sum"], {"count": carry["count"], "grid": x["b"] * 2})

    return lambda carry: jnp.max(carry["count"]) < stop_at, cell


@pytest.mark.parametrize("stop_at", [0, 1, 3, T, T + 3])
def test_a_loop_that_stops(stop_at):
    """Fails when it takes a step after it should have stopped (or before it has asked), one too
    few, more than there are xs, or reads them elsewhere; when what it did not reach is not `fill`,
    is that of another output, or changes an output's type.
    """
    a, b = normal(T, B), np.int32(np.arange(T * B * 2).reshape(T, B, 2))
    start = {"count": np.full(B, 0, np.int32), "sum": normal(B, seed=1)}
    going, cell = counting(stop_at)
    fill = (-7, {"count": -1, "grid": 5})
    final, (sums, aux) = jax.jit(partial(unroll_while, going, cell))(
        np.float32(2), start, {"a": a, "b": b}, fill
    )
    whole, (all_sums, every) = run(cell, np.float32(2), start, {"a": a, "b": b})
    n = min(stop_at, T)
    np.testing.assert_array_equal(final["count"], n)
    np.testing.assert_allclose(final["sum"], start["sum"] + 2 * a[:n].sum(0), atol=1e-6)
    for ours, plain, rest in (
        (sums, all_sums, -7),
        (aux["count"], every["count"], -1),
        (aux["grid"], every["grid"], 5),
    ):
        assert (ours.dtype, ours.shape) == (plain.dtype, plain.shape)
        np.testing.assert_allclose(ours[:n], plain[:n], atol=1e-6)
        np.testing.assert_array_equal(ours[n:], rest)
    if stop_at >= T:
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), final, whole)


def test_one_number_fills_every_output():
    """Fails when a number as `fill` reaches the first output alone, or none at all as None."""
    going, cell = counting(2)
    xs, start = (
        {"a": normal(T, B), "b": normal(T, B, 2)},
        {"count": np.zeros(B, np.int32), "sum": normal(B)},
    )
    _, outputs = jax.jit(partial(unroll_while, going, cell))(np.float32(1), start, xs, -3)
    assert all(
        (leaf[2:] == -3).all() and (leaf[:2] != -3).all() for leaf in jax.tree.leaves(outputs)
    )

    def quiet(params, carry, x):
        return cell(params, carry, x)[0], None

    final, none = jax.jit(partial(unroll_while, going, quiet))(np.float32(1), start, xs, None)
    np.testing.assert_array_equal(final["count"], 2)
    assert none is None


# Attention

MECHANISMS = {
    "dot": (None, E),
    "general": (attention.General(normal(H, E, scale=0.5)), H),
    "additive": (attention.Additive(normal(H, 6), normal(E, 6), normal(6, 1)), H),
}
VALID = np.array([3, 1, 2, 3])
MASK = np.arange(S) < VALID[:, None]
MEMORY = Memory(normal(B, S, E), MASK, normal(B, E, seed=4))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", MECHANISMS)
def test_attention_is_its_equations(name, masked):
    """Fails when a score is scaled or transposed, a bilinear form is applied from the other side,
    padding is weighed, weights do not sum to one, or a whole target's queries mix between times or
    rows.
    """
    params, width = MECHANISMS[name]
    memory = MEMORY if masked else MEMORY._replace(mask=None)
    query = normal(B, T, width)
    mechanism = jax.jit(attention.MECHANISMS[name].attend)
    context, aux = mechanism(params, memory, query)
    weights = np.asarray(aux["attention"])
    assert weights.shape == (B, T, 1, S)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    for t, b in np.ndindex(T, B):
        n = VALID[b] if masked else S
        expected, a = attend(name, params, MEMORY.values[b, :n], query[b, t])
        np.testing.assert_allclose(context[b, t], expected, atol=2e-6)
        np.testing.assert_allclose(weights[b, t, 0, :n], a, atol=1e-6)
        assert not weights[b, t, 0, n:].any()
    for t in range(T):
        one, aux = mechanism(params, memory, query[:, t])
        np.testing.assert_allclose(one, context[:, t], atol=1e-6)
        np.testing.assert_allclose(aux["attention"], weights[:, t], atol=1e-6)


@pytest.mark.parametrize("mask", [MASK, None])
def test_attention_hears_its_weights_and_its_contexts(mask):
    """Fails when the hand-written backward pass leaves out a loss on the weights, the memory's part
    as keys or as values, or the sum in the softmax's: float64, central differences.
    """
    with jax.enable_x64(True):
        query, values, context, weights = (
            jnp.float64(normal(B, *n)) for n in ((T, E), (S, E), (T, E), (T, S))
        )

        @jax.jit
        def total(query, values):
            found, aux = attention.dot(None, MEMORY._replace(values=values, mask=mask), query)
            return jnp.sum(found * context) + jnp.sum(aux["attention"][:, :, 0] * weights)

        check_grads(total, (query, values), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_the_context_vector_is_the_same_at_every_step():
    """Fails when peeky's h is anything but the memory's summary, row by row, or claims to
    attend.
    """
    context, aux = jax.jit(attention.MECHANISMS["context"].attend)(None, MEMORY, normal(B, T, H))
    np.testing.assert_array_equal(context, np.broadcast_to(MEMORY.summary[:, None], (B, T, E)))
    assert aux == {}


@pytest.mark.parametrize("padding", [1e30, -1e30, np.inf, np.nan])
def test_masked_softmax_does_not_look_at_padding(padding):
    """Fails when padding is only pushed down by a large number, or a gradient through it is not a
    number.
    """
    scores = np.where(MASK[:, None], normal(B, T, S), np.float32(padding))
    weights = np.asarray(jax.jit(attention.masked_softmax)(scores, MASK))
    pull = normal(B, T, S, seed=5)
    gradient = np.asarray(
        jax.jit(jax.grad(lambda s, mask: jnp.sum(attention.masked_softmax(s, mask) * pull)))(
            scores, MASK
        )
    )
    for b, n in enumerate(VALID):
        a = oracles.softmax(np.float64(scores[b, :, :n]))
        np.testing.assert_allclose(weights[b, :, :n], a, atol=1e-6)
        p = pull[b, :, :n]
        np.testing.assert_allclose(
            gradient[b, :, :n], a * (p - (a * p).sum(-1, keepdims=True)), atol=1e-6
        )
    assert not weights.swapaxes(1, 2)[~MASK].any()
    assert not gradient.swapaxes(1, 2)[~MASK].any()


@pytest.mark.parametrize("name", MECHANISMS)
def test_padding_gets_no_gradient(name):
    """Fails when what stands in padded memory, however large, moves a parameter or is moved."""
    params, width = MECHANISMS[name]
    values, query = np.where(MASK[..., None], MEMORY.values, np.float32(1e4)), normal(B, T, width)

    @jax.jit
    @partial(jax.grad, argnums=(0, 1))
    def gradients(params, values, memory, query):
        masked = memory._replace(values=values)
        context, _ = attention.MECHANISMS[name].attend(params, masked, query)
        return jnp.sum(context**2)

    wide, wide_memory = gradients(params, values, MEMORY, query)
    plain, plain_memory = gradients(params, MEMORY.values, MEMORY, query)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), wide, plain)
    np.testing.assert_allclose(wide_memory, plain_memory, rtol=1e-5, atol=1e-5)
    assert not np.asarray(wide_memory)[~MASK].any()
    assert np.all(np.abs(np.asarray(wide_memory)[MASK]).max(-1) > 0)


def intermediate_shapes(jaxpr) -> list[tuple[int, ...]]:
    """The shapes of all that a program computes, in its inner programs as well."""
    shapes = []
    for equation in jaxpr.eqns:
        shapes += [variable.aval.shape for variable in equation.outvars]
        for value in jax.tree.leaves(tuple(equation.params.values())):
            inner = getattr(value, "jaxpr", value)
            shapes += intermediate_shapes(inner) if hasattr(inner, "eqns") else []
    return shapes


@pytest.mark.parametrize("name", attention.MECHANISMS)
def test_hypotheses_share_one_memory(name):
    """Fails when under `vmap` over hypotheses, the memory not mapped, an array has all of the axes
    W, B, S and E (a memory of B x W rows), or a hypothesis attends otherwise than it does alone.
    """
    params, width = MECHANISMS.get(name, (None, H))
    W = 9
    queries, attend = normal(B, W, width), jax.jit(attention.MECHANISMS[name].attend)
    mapped = jax.jit(jax.vmap(attend, in_axes=(None, None, 1), out_axes=1))
    context, aux = mapped(params, MEMORY, queries)
    for w in range(W):
        alone, alone_aux = attend(params, MEMORY, queries[:, w])
        np.testing.assert_allclose(context[:, w], alone, atol=1e-6)
        for key, weights in alone_aux.items():
            np.testing.assert_allclose(aux[key][:, w], weights, atol=1e-6)
    shapes = intermediate_shapes(jax.make_jaxpr(mapped)(params, MEMORY, queries).jaxpr)
    assert any({W, B, E} <= set(shape) for shape in shapes)
    assert not [shape for shape in shapes if {W, B, S, E} <= set(shape)]


# Layers


def test_linear_and_embedding():
    """Fails when a bias is broadcast along another axis (here two are equally long), or rows are
    gathered along the width.
    """
    x, w, b = normal(S, D, D), normal(D, D, seed=1), normal(D)
    np.testing.assert_allclose(jax.jit(layers.linear)(layers.Linear(w, b), x), x @ w + b, atol=1e-5)
    table, tokens = normal(V, V, seed=2), np.array([[3, 0, 12], [12, 5, 3]], np.int32)
    np.testing.assert_array_equal(jax.jit(layers.embed)(table, tokens), table[tokens])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("widths", [(300,), (120, 180), (17, 253, 30)])
def test_products_and_their_gradients(widths, dtype):
    """Fails when sums or gradients are rounded to bfloat16 (they are exact to 1e-5 for the narrowed
    operands), the operands are not narrowed, or the hand-written backward pass transposes wrongly
    or mixes up the parts of W.
    """
    x, w, dy = normal(S, B, 300), normal(300, E), normal(S, B, E, seed=1)
    bounds = np.cumsum(widths)[:-1]
    x_, w_, dy_ = (np.float64(jnp.asarray(a).astype(dtype)) for a in (x, w, dy))
    y, back = jax.vjp(
        jax.jit(lambda w, *xs: layers.product(*xs, w=w, dtype=dtype)),
        w,
        *np.split(x, bounds, axis=-1),
    )
    dw, *dxs = back(jnp.asarray(dy))
    expected = [x_ @ w_, np.einsum("sbd,sbg->dg", x_, dy_), *np.split(dy_ @ w_.T, bounds, axis=-1)]
    for ours, theirs in zip((y, dw, *dxs), expected, strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
    assert (1e-3 < np.abs(y - x @ w).max() < 0.5) == (dtype == "bfloat16")


def test_dropout():
    """Fails when what is kept is not scaled up, the rate is the rate of keeping, two places or two
    steps share a mask, or evaluation is not the identity.
    """
    x, rate = jnp.ones((100, 200)), jnp.float32(0.3)
    dropout = jax.jit(
        lambda x, step, rate, at: layers.dropout(x, DropoutState(jax.random.key(step), rate), at),
        static_argnums=3,
    )
    masks = [
        np.asarray(dropout(x, step, rate, stream)) for step, stream in ((0, 0), (0, 1), (1, 0))
    ]
    for mask in masks:
        assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)
        np.testing.assert_allclose(mask[mask > 0], 1 / 0.7, rtol=1e-6)
    for one, other in combinations(masks, 2):
        assert abs(((one > 0) == (other > 0)).mean() - (0.3**2 + 0.7**2)) < 0.02
    np.testing.assert_array_equal(dropout(x, 0, rate, 0), masks[0])
    assert layers.dropout(x, None, 0) is x


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wide_linear_is_a_linear(dtype):
    """Fails when the bias is another row's, or its gradient is lost, doubled or W's: values and
    gradients of W, b and x.

    In bfloat16 b is narrowed with W, whose row it is, and its gradient sums up narrowed dy: so
    `linear`'s is given both.
    """
    params, x, dy = (
        layers.Linear(normal(D, V), normal(V, scale=3)),
        normal(B, T, D),
        normal(B, T, V, seed=1),
    )

    def narrowed(a):
        return np.float32(jnp.asarray(a).astype(dtype))

    @partial(jax.jit, static_argnums=0)
    def made(function, params, x, dy):
        y, back = jax.vjp(partial(function, dtype=dtype), params, x)
        return y, *back(dy)

    ours = made(layers.wide_linear, params, x, dy)
    expected = made(layers.linear, params._replace(b=narrowed(params.b)), x, narrowed(dy))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=2e-5)
    np.testing.assert_allclose(
        jax.jit(layers.wide_linear)(params, x[0, 0]), x[0, 0] @ params.w + params.b, atol=1e-5
    )


def test_variational_dropout():
    """Fails when a variational mask changes with time, is shared between rows, places or steps, is
    not scaled up, drops at another rate, or a plain one is variational.
    """
    x, rate = jnp.asarray(normal(T, 50, 200)), jnp.float32(0.3)

    @partial(jax.jit, static_argnums=(0, 1))
    def dropped(place, variational, x, step):
        state = DropoutState(jax.random.key(step), rate)
        return layers.dropout(x, state, place, variational=variational)

    masks = [
        np.asarray(dropped(place, True, x, step)) / x for step, place in ((0, 0), (0, 1), (1, 0))
    ]
    for mask in masks:
        np.testing.assert_array_equal(mask > 0, np.broadcast_to(mask[:1] > 0, mask.shape))
        assert abs((mask[0] == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask[0].size)
        np.testing.assert_allclose(mask[mask > 0], 1 / 0.7, rtol=1e-6)
        assert abs(((mask[0, 1:] > 0) == (mask[0, :-1] > 0)).mean() - (0.3**2 + 0.7**2)) < 0.03
        assert abs(mask[0].mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / mask[0].size)
    for one, other in combinations(masks, 2):
        assert abs(((one[0] > 0) == (other[0] > 0)).mean() - (0.3**2 + 0.7**2)) < 0.03
    plain = np.asarray(dropped(0, False, x, 0)) / x
    for one, other in combinations(plain > 0, 2):
        assert abs((one == other).mean() - (0.3**2 + 0.7**2)) < 0.03
    assert layers.dropout(x, None, 0, variational=True) is x


# Initialisation


def blocks(params: rnn_seq2seq.Params) -> dict[str, np.ndarray]:
    """Every matrix of a model by its path, a cell's gate by gate."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        name, leaf = jax.tree_util.keystr(path), np.asarray(leaf)
        if leaf.ndim == 2:
            hidden = leaf.shape[1] // 4
            parts = (
                {".wx": leaf[:-hidden], ".wh": leaf[-hidden:]} if ".cell." in name else {"": leaf}
            )
            for part, matrix in parts.items():
                gates = np.split(matrix, 4 if part else 1, axis=1)
                found |= {f"{name}{part}[{i}]": block for i, block in enumerate(gates)}
    return found


def within(sample: np.ndarray, std: float, spread: float = 2.0) -> None:
    """Mean 0 and the given standard deviation, to five standard errors; `spread` bounds the error's
    √(κ - 1).
    """
    n = sample.size
    assert abs(sample.mean()) < 5 * std / np.sqrt(n)
    assert abs(sample.std() / std - 1) < 5 * spread / 2 / np.sqrt(n)


WIDE = rnn_seq2seq.Config(
    rnn_encoder.Config(20, 48),
    rnn_decoder.Config(24, 40, inputs=("context", "additive"), outputs=("general", "additive")),
    initial_state="h+c",
)
"""Every kind of matrix, the state projections' with them, and no two sides alike."""


@pytest.fixture(scope="module", params=SCHEMES)
def drawn(request):
    """(scheme, init, its draw from key 1)."""
    sizes = Sizes(source=59, target=59, special=Special(bos=6))
    init = jax.jit(build(replace(WIDE, init=request.param), sizes).init)
    return request.param, init, init(jax.random.key(1))


def test_distributions(drawn):
    """Fails when a divisor is the fan-out or shares its fan between gates, a normal is cut off at
    two sigma, embeddings scale with the vocabulary, a recurrent matrix is orthogonal as a whole and
    not gate by gate, or a bias is drawn.
    """
    scheme, _, params = drawn
    for name, block in blocks(params).items():
        n, inputs, width = block.size, *block.shape
        if scheme == "modern" and ".wh[" in name:
            np.testing.assert_allclose(block.T @ block, np.eye(width), atol=1e-5)
        elif scheme == "modern" and ".embedding" not in name:
            bound = np.sqrt(6 / (inputs + width))
            within(block, bound / np.sqrt(3))
            assert np.abs(block).max() <= bound
            assert n < 1000 or np.abs(block).max() > 0.99 * bound
        else:
            std = {"book": {True: 0.01, False: inputs**-0.5}, "modern": {True: width**-0.5}}[
                scheme
            ][".embedding" in name]
            within(block, std, np.sqrt(2))
            assert n < 100 or abs((np.abs(block) > 2 * std).mean() - 0.0455) < 5 * np.sqrt(
                0.0455 / n
            ), name
    assert params.decoder.cell.w.shape == (24 + 2 * 48 + 40, 4 * 40)
    biases = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim == 1]
    assert sum(np.count_nonzero(b) for b in biases) == (48 + 40 if scheme == "modern" else 0)


@pytest.mark.parametrize("name", CELLS)
def test_biases(name):
    """Fails when the one of the modern scheme is not on the forget gate: with it a carry is kept at
    the rate σ(1).
    """
    for scheme, bias in (("book", 0.0), ("modern", 1.0)):
        params = jax.jit(lambda key, row=SCHEMES[scheme]: init_cell(name, row, key, D, H))(
            jax.random.key(0)
        )
        assert float(params.b.sum()) == (bias * H if name == "lstm" else 0)
        if name == "lstm":
            new, _ = CELLS[name].step(
                params, LstmCarry(jnp.zeros((B, H)), jnp.ones((B, H))), jnp.zeros((B, D))
            )
            np.testing.assert_allclose(new.c, oracles.sigmoid(bias), atol=1e-6)


def test_no_two_components_share_a_draw(drawn):
    """Fails when two components, or two gates, are drawn from one key: their first entries are then
    proportional.
    """
    _, _, params = drawn
    for (one, a), (other, b) in combinations(blocks(params).items(), 2):
        n = min(a.size, b.size)
        assert n >= 40
        x, y = a.ravel()[:n], b.ravel()[:n]
        assert abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y) < 0.8, (one, other)


def test_a_key_is_a_model(drawn):
    """Fails when anything but the key decides the draws, or a matrix does not depend on it."""
    _, init, params = drawn
    again, other = blocks(init(jax.random.key(1))), blocks(init(jax.random.key(2)))
    for name, block in blocks(params).items():
        np.testing.assert_array_equal(block, again[name])
        assert np.abs(block - other[name]).max() > 1e-3, name
