"""Products in bfloat16: where they are, and where they are not."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_language_model
from tests.cases import CONFIGS, LANGUAGE_MODELS, Case, case_of, forward, pulled, stepped
from tests.oracles import SIZES, V

pytestmark = pytest.mark.slow  # every model is compiled once more


@pytest.fixture(scope="module", params=CONFIGS)
def case(request) -> Case:
    return case_of(request.param)


def narrowed(case: Case):
    """The same model with products in bfloat16."""
    return build(replace(case.cfg, dtype="bfloat16"), SIZES)


def test_every_weight_matrix_is_narrowed(case):
    """Fails when a product with weights takes them as float32 though bfloat16 is asked for, so that
    narrow weights differ.
    """
    wide = {"v"}  # scores of additive attention

    def narrow(path, w):
        if w.ndim < 2 or getattr(path[-1], "name", None) in wide:
            return w
        return np.asarray(jnp.asarray(w).astype("bfloat16"), np.float32)

    model, params = narrowed(case), jax.tree.map_with_path(narrow, case.params)
    changed = jax.tree.map(lambda *both: not np.array_equal(*both), params, case.params)
    assert any(jax.tree.leaves(changed))
    given = case.batch, case.carry, case.pulls
    ours, theirs = (pulled(model, weights, *given) for weights in (case.params, params))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_narrow_products_are_close():
    """Fails when bfloat16 changes more than the products, reaches the parameters' type, or is not
    used at all.
    """
    case = case_of("seq2seq: everything")
    wide, narrow = (
        forward(model, case.params, case.batch, ())[1] for model in (case.model, narrowed(case))
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    assert 1e-4 < np.abs(wide.logits - narrow.logits).max() < 0.2


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_narrow_gradients_are_close(name):
    """Fails when bfloat16 changes more than the products, forwards or backwards, reaches the type
    of what comes out, or is not used at all.
    """
    case = case_of(f"language model: {name}")
    wide = case.result
    case.model = narrowed(case)
    narrow = case.run()
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    assert 1e-3 < np.abs(narrow.out.logits - wide.out.logits).max() < 0.1
    for one, other in zip(jax.tree.leaves(wide[2:]), jax.tree.leaves(narrow[2:]), strict=True):
        assert 1e-4 < np.abs(one - other).max() / np.abs(one).max() < 0.1


@pytest.mark.parametrize("name", ["two lstms", "two grus, tied"])
def test_narrow_steps_are_narrow_apply(name, monkeypatch):
    """Fails when writing and training differ in what they narrow. (Of a product that is taken for
    all symbols they do in its gradient, which is no part of writing: it sums over the rows first.)
    The last bit of a sum can round h to its other neighbour in bfloat16, 2⁻⁹ away, and what comes
    after it feels that: so it is the mean distance that is 20 times that of the rounding.
    """

    def leaves(made) -> list:
        return jax.tree.leaves((made.out.logits, *made[1:]))

    case = case_of(f"language model: {name}")
    wide = leaves(case.result)
    case.model = narrowed(case)
    made = case.run()
    narrow, values = leaves(made), slice(1 + len(jax.tree.leaves(made.after)))
    for few, compared in ((V, values), (0, slice(None))):
        monkeypatch.setattr(rnn_language_model, "FEW", few)
        triples = [*zip(leaves(stepped(case)), narrow, wide, strict=True)]
        for steps, whole, exact in triples[compared]:
            assert np.abs(steps - whole).mean() < np.abs(whole - exact).mean() / 20
