"""The contract of a model, for every variant; and the book's models, from an implementation that shares nothing with ours."""

from dataclasses import replace
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqgen.models import MODELS, decoders, encoders, model_of, seq2seq
from seqgen.types import Batch
from tests import book_numpy as book
from tests import oracles
from tests.oracles import VARIANTS, V, book_config, config, from_book, live_params, run_row

B, S, T = 8, 4, 6
LENGTHS = np.array([4, 2, 3, 1, 4, 3, 2, 1], np.int32)
PAST = np.arange(S) >= LENGTHS[:, None]

quick_compilation = pytest.fixture(oracles.quick_compilation, scope="module", autouse=True)


@partial(jax.jit, static_argnums=0)
def pulled(cfg, params, batch, pull):
    """The output of `apply`, and the gradients of Σ pull · logits: with a suitable `pull`, of any loss."""

    def total(params):
        _, out = seq2seq.apply(cfg, params, batch, ())
        return jnp.sum(out.logits * pull), out

    grads, out = jax.grad(total, has_aux=True)(params)
    return out, grads


@partial(jax.jit, static_argnums=0)
def forward(cfg, params, batch):
    return seq2seq.apply(cfg, params, batch, ())[1]


def make_batch(seed: int = 0, length=LENGTHS) -> Batch:
    """Rows that differ everywhere, padding (of both kinds) filled with tokens like any other."""
    random = np.random.default_rng(seed)
    source, tokens = random.integers(V, size=(B, S)), random.integers(V, size=(B, T + 1))
    mask = np.arange(T) < random.integers(2, T + 1, size=B)[:, None]
    return Batch(np.int32(source), length, np.int32(tokens[:, :-1]), np.int32(tokens[:, 1:]), mask)


class Case:
    """A variant with live parameters and one ragged batch; what several tests look at is computed once."""

    def __init__(self, name: str) -> None:
        self.cfg, self.params, self.batch = VARIANTS[name], live_params(VARIANTS[name]), make_batch()
        self.pull = np.float32(np.random.default_rng(1).normal(size=(B, T, V)))
        self.heads = [r for r in self.cfg.decoder.inputs + self.cfg.decoder.outputs if r != "summary"]

    def run(self, params=None, batch=None, pull=None):
        """Logits, attention (or None), and gradients."""
        arguments = zip((params, batch, pull), (self.params, self.batch, self.pull), strict=True)
        out, grads = pulled(self.cfg, *(mine if given is None else given for given, mine in arguments))
        return np.asarray(out.logits), out.aux.get("attention"), grads

    @cached_property
    def result(self):
        return self.run()


@pytest.fixture(scope="module", params=VARIANTS)
def case(request) -> Case:
    return Case(request.param)


def close(actual, expected, tolerance: float) -> None:
    """Every leaf, relative to the largest entry of the expected one."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1, np.abs(e).max()))


# Values


def test_ragged_rows_are_their_equations(case):
    """Fails when any part of a variant is not what its equations say: what is read and where it enters, what passes to the
    decoder and from which time, the order of what is joined, padding that is seen.
    """
    logits, attention, _ = case.result
    for b, n in enumerate(LENGTHS):
        expected, maps = run_row(case.cfg, case.params, case.batch.source[b, :n], case.batch.inputs[b])
        np.testing.assert_allclose(logits[b], expected, atol=2e-5)
        if case.heads:
            np.testing.assert_allclose(attention[b, ..., :n], maps, atol=1e-5)


def test_full_rows_are_their_equations(case):
    """Fails when the layout without lengths is another program than its equations, or lengths that are full change its result
    (compiled, by more than the last bits: see test_nn).
    """
    out = forward(case.cfg, case.params, case.batch._replace(length=None))
    for b in range(B):
        expected, maps = run_row(case.cfg, case.params, case.batch.source[b], case.batch.inputs[b])
        np.testing.assert_allclose(out.logits[b], expected, atol=2e-5)
        if case.heads:
            np.testing.assert_allclose(out.aux["attention"][b], maps, atol=1e-5)
    logits, attention, _ = case.run(batch=case.batch._replace(length=np.full(B, S, np.int32)))
    close(logits, out.logits, 1e-5)
    close(attention, out.aux.get("attention"), 1e-5)


def test_attention_is_returned(case):
    """Fails when weights are dropped, in another order of axes than [B, T, K, S], not normalised, or not zero on padding."""
    _, attention, _ = case.result
    if not case.heads:
        assert attention is None
        return
    assert attention.shape == (B, T, len(case.heads), S)
    np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-6)
    assert not np.asarray(attention)[np.broadcast_to(PAST[:, None, None], attention.shape)].any()


@pytest.mark.parametrize("row", [1, 4])
def test_a_row_alone_is_the_row_in_a_batch(case, row):
    """Fails when a row's neighbours or the width of its padding reach its logits: a missing mask, a mean over the batch."""
    random = np.random.default_rng(row)
    source = np.int32(random.integers(V, size=(1, S + 5)))
    source[0, : LENGTHS[row]] = case.batch.source[row, : LENGTHS[row]]
    alone = jax.tree.map(lambda leaf: leaf[row : row + 1], case.batch)._replace(source=source)
    out = forward(case.cfg, case.params, alone)
    np.testing.assert_allclose(out.logits[0], case.result[0][row], atol=1e-4)
    if case.heads:
        np.testing.assert_allclose(out.aux["attention"][0, ..., :S], case.result[1][row], atol=1e-5)
        assert not np.asarray(out.aux["attention"])[..., LENGTHS[row] :].any()


def test_the_same_twice_to_the_bit(case):
    """Fails when anything outside the arguments, a global or an uninitialised buffer, has a part in the result."""
    jax.tree.map(np.testing.assert_array_equal, case.run(), case.result)


def test_padding_changes_no_bit(case):
    """Fails when what stands in padding reaches anything: logits, weights, or any gradient."""
    source = np.where(PAST, make_batch(5).source, case.batch.source)
    assert (source != case.batch.source).any()
    jax.tree.map(np.testing.assert_array_equal, case.run(batch=case.batch._replace(source=source)), case.result)


def test_compiles_once(case):
    """Fails when values, or a configuration that is equal but not the same object, ask for a new compilation."""
    logits, _, _ = case.result
    before = pulled._cache_size()
    copy = replace(case.cfg, encoder=replace(case.cfg.encoder), decoder=replace(case.cfg.decoder))
    out, _ = pulled(copy, live_params(copy, 3), make_batch(4, LENGTHS[::-1].copy()), case.pull + 1)
    assert np.abs(out.logits - logits).max() > 0.1
    assert pulled._cache_size() == before


# Gradients


def test_step_after_step_is_apply(case):
    """Fails when decoding and training are two functions: `step` over Python's loop, operation by operation, against the
    compiled `apply`, values and gradients. So it is the test of jit, of the scan and of its gradient too.
    """
    params, batch, pull = jax.tree.map(jnp.asarray, (case.params, case.batch, case.pull))

    def total(params):
        first = seq2seq.start(case.cfg, params, batch.source, batch.length)
        np.testing.assert_array_equal(first.token, case.cfg.delimiter)
        carry, outs = first.carry, []
        for t in range(T):
            carry, out = seq2seq.step(case.cfg, params, first.memory, carry, batch.inputs[:, t])
            outs.append(out)
        out = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *outs)
        return jnp.sum(out.logits * pull), out

    with jax.disable_jit():
        grads, out = jax.grad(total, has_aux=True)(params)
    logits, attention, compiled = case.result
    close(out.logits, logits, 1e-5)
    close(out.aux.get("attention"), attention, 1e-5)
    close(grads, compiled, 1e-5)


def test_every_weight_learns(case):
    """Fails when a gradient is not finite, or a weight that takes part has none. No exceptions: no bias here is shifted away
    by a softmax, and the rows of embeddings that no valid position names are zero, as they must be.
    """
    grads = case.result[2]
    named = {"encoder": case.batch.source[~PAST], "decoder": case.batch.inputs}
    for path, g in jax.tree.leaves_with_path(grads):
        name, g = jax.tree_util.keystr(path), np.asarray(g)
        assert np.isfinite(g).all(), name
        if ".embedding" in name:
            used = np.isin(np.arange(V), named[name.split(".")[1]])
            assert np.all(g[used] != 0), name
            assert not g[~used].any(), name
        else:
            assert np.all(g != 0), name


def test_causality(case):
    """Fails when logits at time t hear of a later input, of another row, or of padding (gradients exactly zero), or do not hear
    of an earlier input or of the whole question. Every position of row 2 has a token of its own: gradients of the embeddings
    tell positions apart.
    """
    row, own, other = 2, np.arange(T), np.arange(T, V)
    source, inputs = (np.random.default_rng(2).choice(other, size=(B, n)) for n in (S, T))
    source[row], inputs[row] = own[:S], own
    batch = case.batch._replace(source=np.int32(source), inputs=np.int32(inputs))
    for t in range(T):
        pull = np.zeros_like(case.pull)
        pull[row, t] = case.pull[row, t]
        grads = case.run(batch=batch, pull=pull)[2]
        heard = [np.abs(table.embedding).max(1) > 0 for table in (grads.encoder, grads.decoder)]
        np.testing.assert_array_equal(heard[0], np.arange(V) < LENGTHS[row])
        np.testing.assert_array_equal(heard[1], np.arange(V) <= t)


def test_overfits_eight_examples(case):
    """Fails when something learns that cannot tell questions apart (every answer begins with the same input), or gradients
    lead somewhere else than down.
    """
    random = np.random.default_rng(7)
    targets = np.int32(random.integers(V, size=(B, T)))
    targets[:, 0] = random.permutation(V)[:B]
    inputs = np.concatenate([np.full((B, 1), case.cfg.delimiter, np.int32), targets[:, :-1]], axis=1)
    batch = case.batch._replace(inputs=inputs, targets=targets)
    init = live_params(case.cfg, 9)
    params, structure = jax.tree.flatten(jax.tree.map(lambda p: p * np.float32(0.5), init))
    adam, onehot, pull = book.Adam(0.02), np.arange(V) == targets[..., None], np.zeros_like(case.pull)
    for _ in range(150):
        logits, _, grads = case.run(jax.tree.unflatten(structure, params), batch, pull)
        p = oracles.softmax(logits)  # one step behind: the last logits give this step's pull
        pull = np.float32((p - onehot) / targets.size)
        adam.update(params, [np.asarray(g) for g in jax.tree.leaves(grads)])
    assert -np.log(p[onehot]).mean() < 0.1
    np.testing.assert_array_equal(logits.argmax(-1), targets)


@pytest.mark.parametrize("name", ["attention"])
def test_gradients_are_differences(name):
    """Fails when a gradient is not the slope: float64, central differences along a direction through every weight."""
    cfg = replace(VARIANTS[name], encoder=replace(VARIANTS[name].encoder, embedding=3))
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.float64, live_params(cfg))
        batch = jax.tree.map(jnp.asarray, jax.tree.map(lambda leaf: leaf[:3], make_batch()))

        @jax.jit
        def total(params):
            return jnp.sum(jnp.sin(seq2seq.apply(cfg, params, batch, ())[1].logits))

        check_grads(total, (params,), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


# The book's models


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_the_books_logits_and_gradients(variant):
    """Fails when one of the three models is not the book's, from its parameters in its order, biases and all, forwards or
    backwards.
    """
    sizes = {"embedding": 7, "hidden": 12}
    random = np.random.RandomState(5)
    arrays = [p + np.float32(random.randn(*p.shape) / 2) for p in book.draw(variant, V, *sizes.values(), random)]
    source, target = np.int32(random.randint(V, size=(2, 3))), np.int32(random.randint(V, size=(2, 6)))
    wide = [np.float64(a) for a in arrays]
    logits, weights = book.forward(variant, wide, source, target[:, :-1])
    _, expected = book.loss_and_gradients(variant, wide, source, target)

    pull = np.float32((oracles.softmax(logits) - (np.arange(V) == target[:, 1:, None])) / 10)
    batch = Batch(source, None, target[:, :-1], target[:, 1:], np.ones((2, 5), bool))
    params = from_book(variant, arrays)
    out, grads = pulled(book_config(variant, **sizes), params, batch, pull)
    np.testing.assert_allclose(out.logits, logits, atol=1e-5)
    if variant == book.ATTENTION:
        np.testing.assert_allclose(out.aux["attention"][:, :, 0], weights, atol=1e-5)
    close(grads, from_book(variant, expected), 1e-5)


@pytest.mark.parametrize(("sizes", "variant", "count"), [
    ((13, 16, 128), "baseline", 150_573), ((13, 16, 128), "peeky", 217_773), ((59, 16, 256), "attention", 591_259),
])  # fmt: skip
def test_sizes_are_the_books(sizes, variant, count):
    """Fails when a model has another matrix than the book's, a second bias, or a bridge that nobody asked for."""
    vocabulary, embedding, hidden = sizes
    cfg = book_config(variant, embedding=embedding, hidden=hidden, vocabulary=vocabulary)
    params = jax.eval_shape(lambda: seq2seq.init(cfg, jax.random.key(0)))
    drawn = book.draw(variant, vocabulary, embedding, hidden, np.random.RandomState(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert jax.tree.leaves(shapes) == jax.tree.leaves(jax.tree.map(np.shape, from_book(variant, drawn)))


# Configurations


def test_narrow_products_are_close():
    """Fails when bfloat16 changes more than the products, reaches the parameters' type, or is not used at all."""
    name = "everything"
    cfg, params, batch = VARIANTS[name], live_params(VARIANTS[name]), make_batch()
    wide, narrow = forward(cfg, params, batch), forward(replace(cfg, dtype="bfloat16"), params, batch)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    assert 1e-4 < np.abs(wide.logits - narrow.logits).max() < 0.2


@pytest.mark.parametrize("name", VARIANTS)
def test_every_weight_matrix_is_narrowed(name):
    """Fails when a product with weights takes them as float32 though bfloat16 is asked for, so that narrow weights differ."""
    cfg, params = replace(VARIANTS[name], dtype="bfloat16"), live_params(VARIANTS[name])
    wide = {"v"}  # scores of additive attention
    narrow = jax.tree.map_with_path(
        lambda path, w: w if w.ndim < 2 or path[-1].name in wide else w.astype("bfloat16").astype("float32"), params
    )
    assert not np.array_equal(params.decoder.embedding, narrow.decoder.embedding)
    batch = make_batch()
    np.testing.assert_array_equal(forward(cfg, params, batch).logits, forward(cfg, narrow, batch).logits)


@pytest.mark.parametrize(("reason", "options"), [
    ("LSTM on both sides", {"passed": "h+c", "encoder": "gru"}),
    ("LSTM on both sides", {"passed": "h+c", "decoder": "rnn"}),
    ("equal widths", {"outputs": ("general", "dot"), "width": 10}),
    ("equal widths", {"inputs": ("dot",), "width": 10}),
])  # fmt: skip
def test_what_cannot_be_is_refused(reason, options):
    """Fails when a combination that has no meaning ends in an error of shapes, or in a model that is not what it says."""
    with pytest.raises(ValueError, match=reason):
        config(**options)


def test_a_config_finds_its_model():
    """Fails when a configuration leads to another module, or one of the contract's functions is missing there."""
    assert model_of(VARIANTS["peeky"]) is seq2seq
    for cfg, module in MODELS.items():
        assert cfg is module.Config
        assert all(callable(getattr(module, name)) for name in ("init", "apply", "start", "step"))
    assert hash(config()) == hash(seq2seq.Config(encoders.Config(7, 12), decoders.Config(9, 12), vocabulary=V, delimiter=6))
