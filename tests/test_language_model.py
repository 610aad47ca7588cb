"""Every language model from its equations, its dropout and its narrow products; test_models.py has
the contract, test_book_language.py the book's own two.
"""

from dataclasses import replace
from functools import partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build, rnn_language_model
from seqgen.nn.cells import CELLS
from seqgen.nn.layers import dropout
from seqgen.presets import LANGUAGE_MODELS
from seqgen.types import Batch, DropoutState
from tests import oracles
from tests.cases import LANGUAGE_MODELS as VARIANTS
from tests.cases import B, H, T, TextCase, close, rows_of, stepped
from tests.oracles import SIZES, V

S = 5
LENGTHS = np.array([5, 3, 1, 4, 2, 5, 1, 3], np.int32)


def case_of(name: str) -> TextCase:
    return TextCase(f"language model: {name}")


@pytest.fixture(scope="module", params=VARIANTS)
def case(request) -> TextCase:
    return case_of(request.param)


@partial(jax.jit, static_argnums=0)
def prompted(model, params, source, length, token):
    """What `start` gives after a prompt, the logits of its last token and, one step later, those of
    `token`.
    """
    start = model.start(params, source, length, capacity=2)
    carry, first = model.step(params, start.memory, start.carry, start.token)
    _, second = model.step(params, start.memory, carry, token)
    return start, first.logits, second.logits


def by_equations(cfg, params, tokens, carry=None, masks=None):
    """Logits [T, V] after each of one row's tokens, and the (h, c) of its layers at the end, in
    float64.
    """
    params = jax.tree.map(np.float64, params)
    if carry is None:
        carry = [(np.zeros(cfg.hidden),) * 2] * cfg.layers
    carry = [(row[0], row[-1]) for row in carry]
    masks = [np.ones((len(tokens), 1))] * (cfg.layers + 1) if masks is None else masks
    logits = []
    for t, token in enumerate(tokens):
        x = params.embedding[token] * masks[0][t]
        for i, cell in enumerate(params.cells):
            carry[i] = oracles.cell(cfg.cell, cell, carry[i], x)
            x = carry[i][0] * masks[i + 1][t]
        logits.append(x @ (params.embedding.T if params.w is None else params.w) + params.b)
    return np.array(logits), carry


def row_of(tree, row: int):
    return rows_of(tree, slice(row, row + 1))


# Values


def test_rows_are_their_equations(case):
    """Fails when a cell of any kind, in any layer, is not its equations: layers that share weights
    or a carry, a carry that is lost or begins at zero, an output that does not read the last layer,
    a tied matrix that is not transposed; or when the states that come with the logits are others.
    """
    out, after, *_ = case.result
    assert out.aux.keys() == {"states"}
    w = case.params.embedding.T if case.params.w is None else case.params.w
    for b in range(B):
        carry = [tuple(leaf[b] for leaf in layer) for layer in case.carry]
        expected, final = by_equations(case.cfg, case.params, case.batch.inputs[b], carry)
        np.testing.assert_allclose(out.logits[b], expected, atol=2e-5)
        read = np.asarray(out.aux["states"][b]) @ w + case.params.b
        np.testing.assert_allclose(read, expected, atol=2e-5)
        for ours, theirs in zip(after, final, strict=True):
            np.testing.assert_allclose(ours.h[b], theirs[0], atol=1e-5)
            last = theirs[-1 if case.cfg.cell == "lstm" else 0]
            np.testing.assert_allclose(ours[-1][b], last, atol=1e-5)


def test_the_initial_state_is_zero(case):
    """Fails when a stream begins with anything but float32 zeros, a row for each lane."""
    for leaf in jax.tree.leaves(case.model.initial_state(case.params, B)):
        assert (leaf.shape, leaf.dtype) == ((B, H), jnp.dtype("float32"))
        assert not leaf.any()


def test_a_prompt_alone_is_the_prompt_in_a_batch(case):
    """Fails when a prompt's neighbours, its padding or the padding's width reach what is written
    after it: a carry that reads on, a last token taken from the padding; or when the last token is
    read twice, or never, or the state is not zero at first.
    """
    model, params, random = case.model, case.params, np.random.default_rng(1)
    prompts, token = np.int32(random.integers(V, size=(B, S))), np.int32(random.integers(V, size=B))
    start, first, second = prompted(model, params, prompts, LENGTHS, token)
    for row, n in [(1, 3), (2, 1), (5, 5)]:
        wide = np.int32(random.integers(V, size=(1, S + 3)))
        wide[0, :n] = prompts[row, :n]
        alone, one, other = prompted(model, params, wide, LENGTHS[[row]], token[[row]])
        assert alone.token == start.token[row] == prompts[row, n - 1]
        np.testing.assert_allclose(one[0], first[row], atol=1e-4)
        np.testing.assert_allclose(other[0], second[row], atol=1e-4)
        close(alone.carry, row_of(start.carry, row), 1e-5)
        assert np.any(jax.tree.leaves(alone.carry)[0]) == (n > 1)
        expected, _ = by_equations(case.cfg, params, [*prompts[row, :n], token[row]])
        np.testing.assert_allclose([first[row], second[row]], expected[-2:], atol=1e-4)
    full = np.full(B, S, np.int32)
    unpadded = prompted(model, params, prompts, None, token)
    close(unpadded, prompted(model, params, prompts, full, token), 1e-5)


def test_a_lane_alone_in_two_windows_is_the_lane(case):
    """Fails when lanes hear of each other while they train, or what passes from a window to the
    next is not the whole state.
    """
    row, carry, logits = 5, row_of(case.carry, 5), []
    for part in np.split(case.batch.inputs[[row]], 2, axis=1):
        batch = Batch(None, None, part, part, np.ones(part.shape, bool))
        pulls = case.pulls[0][[row], : T // 2], *(pull[[row]] for pull in case.pulls[1:])
        out, carry, *_ = case.run(batch=batch, carry=carry, pulls=pulls)
        logits.append(out.logits)
    whole = case.result.out.logits[row]
    np.testing.assert_allclose(np.concatenate(logits, axis=1)[0], whole, atol=1e-4)
    close(carry, row_of(case.result.after, row), 1e-5)


# Gradients


@pytest.mark.parametrize("name", ["lstm, tied", "gru"])
def test_step_after_step_is_apply(name, monkeypatch):
    """Fails when writing and training are two functions for a vocabulary that is just too large for
    a product that is taken for all symbols; test_models.py has the smaller ones.
    """
    monkeypatch.setattr(rnn_language_model, "FEW", V - 1)
    case = case_of(name)
    ours = stepped(case)
    close(ours.out.logits, case.result.out.logits, 1e-5)
    close(ours[1:], case.result[1:], 1e-5)


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].tied])
def test_a_tied_matrix_hears_from_both_its_places(name):
    """Fails when a tied output is another matrix than the embedding's, or only one of its places
    has a gradient: against the same weights with an output of their own, whose two gradients add
    up.
    """
    case = case_of(name)
    apart = case.params._replace(w=np.ascontiguousarray(case.params.embedding.T))
    out, after, grads, carry = case.result
    other = case.run(params=apart)
    np.testing.assert_allclose(other.out.logits, out.logits, atol=1e-5)
    embedding = other.params.embedding + other.params.w.T
    together = other.params._replace(w=None, embedding=embedding)
    close((other.after, together, other.carry), (after, grads, carry), 1e-5)


# Dropout


def masks_of(dropout_state: DropoutState, cfg: rnn_language_model.Config) -> list[np.ndarray]:
    """The masks [T, B, width] of the embedding and of every layer."""
    widths, variational = (cfg.embedding, *(H,) * cfg.layers), cfg.variational_dropout
    return [
        np.float64(dropout(jnp.ones((T, B, width)), dropout_state, place, variational=variational))
        for place, width in enumerate(widths)
    ]


@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("name", ["two lstms", "two grus, tied"])
def test_dropout(name, variational):
    """Fails when a mask is missing or stands in the recurrence, a variational one changes with
    time, another one does not, two places or rows share one, or axes are taken for each other.
    """
    case, dropout_state = case_of(name), DropoutState(jax.random.key(3), jnp.float32(0.4))
    cfg = replace(case.cfg, variational_dropout=variational)
    masks = masks_of(dropout_state, cfg)
    for one in masks:
        assert np.array_equal(one, np.broadcast_to(one[:1], one.shape)) == variational
        assert all(not np.array_equal(one[:, a], one[:, b]) for a, b in combinations(range(B), 2))
    if cfg.embedding == H:
        assert not any(np.array_equal(one, other) for one, other in combinations(masks, 2))
    case.model = build(cfg, SIZES)
    out, after, *_ = case.run(dropout_state=dropout_state)
    for b in range(B):
        carry = [tuple(leaf[b] for leaf in layer) for layer in case.carry]
        own = [one[:, b] for one in masks]
        expected, final = by_equations(cfg, case.params, case.batch.inputs[b], carry, own)
        np.testing.assert_allclose(out.logits[b], expected, atol=2e-5)
        np.testing.assert_allclose(after[-1].h[b], final[-1][0], atol=1e-5)


@pytest.mark.parametrize("variational", [False, True])
def test_no_dropout_is_dropout_of_nothing(variational):
    """Fails when a rate of 0 scales, or anything is dropped without a dropout state; and when two
    steps share their masks.
    """
    case = case_of("two lstms")
    whole = case.result.out.logits
    case.model = build(replace(case.cfg, variational_dropout=variational), SIZES)

    def logits(key: int, rate: float):
        dropout_state = DropoutState(jax.random.key(key), jnp.float32(rate))
        return np.asarray(case.run(dropout_state=dropout_state).out.logits)

    np.testing.assert_array_equal(logits(0, 0), logits(1, 0))
    np.testing.assert_allclose(logits(0, 0), whole, atol=1e-6)
    assert np.abs(logits(0, 0.5) - logits(1, 0.5)).max() > 0.1
    np.testing.assert_array_equal(logits(0, 0.5), logits(0, 0.5))


# Configurations


@pytest.mark.parametrize(("name", "count"), [("rnnlm", 2_090_400), ("better-rnnlm", 13_275_200)])
def test_sizes_are_the_books(name, count):
    """Fails when a model has another matrix than the book's on Penn Treebank, a second bias, or an
    own one where it is tied.
    """
    model = build(LANGUAGE_MODELS[name][0], SIZES._replace(target=10_000))
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_init():
    """Fails when two components share a draw (their first entries are then proportional), the
    output has the embedding's tiny distribution, or a key does not decide.
    """
    cfg = rnn_language_model.Config(64, 48, layers=2)
    init = jax.jit(build(cfg, SIZES._replace(target=80)).init)
    made = [init(jax.random.key(seed)) for seed in (0, 1, 0)]
    jax.tree.map(np.testing.assert_array_equal, made[0], made[2])
    matrices, others = (
        [np.asarray(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
        for params in made[:2]
    )
    assert [m.shape for m in matrices] == [(80, 64), (112, 192), (96, 192), (48, 80)]
    for one, other in combinations([*matrices, *others], 2):
        n = min(one.size, other.size)
        x, y = one.ravel()[:n], other.ravel()[:n]
        assert abs(x @ y) / np.linalg.norm(x) / np.linalg.norm(y) < 0.1
    assert abs(matrices[0].std() / 0.01 - 1) < 0.05
    assert abs(matrices[-1].std() * np.sqrt(48) - 1) < 0.05
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(made[0]) if leaf.ndim == 1)


@pytest.mark.parametrize(("reason", "options"), [
    ("a tied output needs embedding and hidden alike, not 7 and 12", {"tied": True}),
    ("layers must be 1 or more, not 0", {"layers": 0}),
    ("hidden must be 1 or more, not 0", {"hidden": 0}),
    ("embedding must be 1 or more, not -1", {"embedding": -1}),
])  # fmt: skip
def test_what_cannot_be_is_refused(reason, options):
    """Fails when a combination that has no meaning ends in an error of shapes."""
    with pytest.raises(ValueError, match=f"^{reason}$"):
        rnn_language_model.Config(**{"embedding": 7, "hidden": 12, **options})


def test_every_cell_is_here():
    """Fails when a kind of cell is in no variant, so that no test above knows it."""
    assert {VARIANTS[name].cell for name in VARIANTS} == CELLS.keys()
