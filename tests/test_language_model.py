"""The contract of a model, for every language model; test_book_language.py has the book's own two."""

from dataclasses import replace
from functools import cached_property, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqgen.models import MODELS, language_model, model_of
from seqgen.nn.cells import CELLS, HiddenCarry, LstmCarry
from seqgen.nn.layers import dropout
from seqgen.presets import LANGUAGE_MODELS
from seqgen.types import Batch, Noise
from tests import book_numpy as book
from tests import oracles

B, S, T, D, H, V = 8, 5, 6, 7, 12, 13
LENGTHS = np.array([5, 3, 1, 4, 2, 5, 1, 3], np.int32)

quick_compilation = pytest.fixture(oracles.quick_compilation, scope="module", autouse=True)


def config(cell="lstm", layers=1, **options) -> language_model.Config:
    """Sizes that all differ; a tied output needs two of them alike."""
    width = H if options.get("tied") else D
    return language_model.Config(width, H, layers, cell, vocabulary=V, **options)


VARIANTS = {
    "lstm, tied": config(tied=True),
    "two lstms": config(layers=2),
    "gru": config("gru"),
    "two grus, tied": config("gru", 2, tied=True),
    "rnn, tied": config("rnn", tied=True),
    "two rnns": config("rnn", 2),
}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.float32(np.random.default_rng([seed, *shape]).normal(size=shape) * 0.7)


def live_params(cfg: language_model.Config, seed: int = 0) -> language_model.Params:
    return oracles.live_params(cfg, seed, language_model)


def live_carry(cfg: language_model.Config, rows: int = B, seed: int = 0) -> tuple:
    """Every h and c of every row another one."""
    kind = LstmCarry if cfg.cell == "lstm" else HiddenCarry
    return tuple(kind(*(normal(10 * seed + 2 * i + j, rows, H) for j in range(len(kind._fields)))) for i in range(cfg.layers))


def make_batch(tokens: np.ndarray) -> Batch:
    """Tokens [B, T + 1] as inputs and the targets one step later."""
    return Batch(None, None, tokens[:, :-1], tokens[:, 1:], np.ones(tokens[:, 1:].shape, bool))


@partial(jax.jit, static_argnums=0)
def pulled(cfg, params, batch, carry, pulls, noise=None):
    """Logits, the carry after, and the gradients of params and carry of Σ pull · logits and Σ pull · carry after."""

    def total(params, carry):
        after, out = language_model.apply(cfg, params, batch, carry, noise)
        assert out.aux == {}
        parts = zip((out.logits, *jax.tree.leaves(after)), pulls, strict=True)
        return sum(jnp.sum(leaf * pull) for leaf, pull in parts), (out.logits, after)

    grads, (logits, after) = jax.grad(total, argnums=(0, 1), has_aux=True)(params, carry)
    return logits, after, *grads


@partial(jax.jit, static_argnums=0)
def prompted(cfg, params, source, length, token):
    """What `start` gives after a prompt, the logits of its last token and, one step later, those of `token`."""
    start = language_model.start(cfg, params, source, length)
    carry, first = language_model.step(cfg, params, start.memory, start.carry, start.token)
    _, second = language_model.step(cfg, params, start.memory, carry, token)
    return start, first.logits, second.logits


def by_equations(cfg, params, tokens, carry=None, masks=None):
    """Logits [T, V] after each of one row's tokens, and the (h, c) of its layers at the end, in float64."""
    params = jax.tree.map(np.float64, params)
    carry = [(np.zeros(cfg.hidden),) * 2] * cfg.layers if carry is None else [(row[0], row[-1]) for row in carry]
    masks = [np.ones((len(tokens), 1))] * (cfg.layers + 1) if masks is None else masks
    logits = []
    for t, token in enumerate(tokens):
        x = params.embedding[token] * masks[0][t]
        for i, cell in enumerate(params.cells):
            carry[i] = oracles.cell(cfg.cell, cell, carry[i], x)
            x = carry[i][0] * masks[i + 1][t]
        logits.append(x @ (params.embedding.T if params.w is None else params.w) + params.b)
    return np.array(logits), carry


class Case:
    """A variant with live parameters, one batch of lanes and the carry with which they come; the result is computed once."""

    def __init__(self, name: str) -> None:
        self.cfg, self.params, self.carry = VARIANTS[name], live_params(VARIANTS[name]), live_carry(VARIANTS[name])
        self.batch = make_batch(np.int32(np.random.default_rng(0).integers(V - 1, size=(B, T + 1))))
        carries = jax.tree.leaves(self.carry)
        self.pulls = normal(20, B, T, V), *(normal(21 + i, *leaf.shape) for i, leaf in enumerate(carries))

    def run(self, **instead):
        """Logits, the carry after, and the gradients of params and carry."""
        given = {"params": self.params, "batch": self.batch, "carry": self.carry, "pulls": self.pulls, "noise": None, **instead}
        return pulled(self.cfg, *given.values())

    @cached_property
    def result(self):
        return self.run()


@pytest.fixture(scope="module", params=VARIANTS)
def case(request) -> Case:
    return Case(request.param)


def close(actual, expected, tolerance: float) -> None:
    """Every leaf, relative to the largest entry of the expected one."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for (path, e), a in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(actual), strict=True):
        bound = tolerance * max(1, np.abs(e).max(initial=0))
        np.testing.assert_allclose(a, e, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))


def row_of(tree, row: int):
    return jax.tree.map(lambda leaf: leaf[row : row + 1], tree)


# Values


def test_rows_are_their_equations(case):
    """Fails when a cell of any kind, in any layer, is not its equations: layers that share weights or a carry, a carry that is
    lost or begins blank, an output that does not read the last layer, a tied matrix that is not transposed.
    """
    logits, after, *_ = case.result
    for b in range(B):
        carry = [tuple(leaf[b] for leaf in layer) for layer in case.carry]
        expected, final = by_equations(case.cfg, case.params, case.batch.inputs[b], carry)
        np.testing.assert_allclose(logits[b], expected, atol=2e-5)
        for ours, theirs in zip(after, final, strict=True):
            np.testing.assert_allclose(ours.h[b], theirs[0], atol=1e-5)
            np.testing.assert_allclose(ours[-1][b], theirs[-1 if case.cfg.cell == "lstm" else 0], atol=1e-5)


def test_a_prompt_alone_is_the_prompt_in_a_batch(case):
    """Fails when a prompt's neighbours, its padding or the padding's width reach what is written after it: a carry that reads
    on, a last token taken from the padding; or when the last token is read twice, or never, or the state is not blank at first.
    """
    random = np.random.default_rng(1)
    prompts, token = np.int32(random.integers(V, size=(B, S))), np.int32(random.integers(V, size=B))
    start, first, second = prompted(case.cfg, case.params, prompts, LENGTHS, token)
    for row, n in [(1, 3), (2, 1), (5, 5)]:
        wide = np.int32(random.integers(V, size=(1, S + 3)))
        wide[0, :n] = prompts[row, :n]
        alone, one, other = prompted(case.cfg, case.params, wide, LENGTHS[[row]], token[[row]])
        assert alone.token == start.token[row] == prompts[row, n - 1]
        np.testing.assert_allclose(one[0], first[row], atol=1e-4)
        np.testing.assert_allclose(other[0], second[row], atol=1e-4)
        close(alone.carry, row_of(start.carry, row), 1e-5)
        assert np.any(jax.tree.leaves(alone.carry)[0]) == (n > 1)
        expected, _ = by_equations(case.cfg, case.params, [*prompts[row, :n], token[row]])
        np.testing.assert_allclose([first[row], second[row]], expected[-2:], atol=1e-4)
    full = np.full(B, S, np.int32)
    close(prompted(case.cfg, case.params, prompts, None, token), prompted(case.cfg, case.params, prompts, full, token), 1e-5)


def test_a_lane_alone_in_two_windows_is_the_lane(case):
    """Fails when lanes hear of each other while they train, or what passes from a window to the next is not the whole state."""
    row, carry, logits = 5, row_of(case.carry, 5), []
    for part in np.split(case.batch.inputs[[row]], 2, axis=1):
        batch = Batch(None, None, part, part, np.ones(part.shape, bool))
        pulls = case.pulls[0][[row], : T // 2], *(pull[[row]] for pull in case.pulls[1:])
        one, carry, *_ = case.run(batch=batch, carry=carry, pulls=pulls)
        logits.append(one)
    np.testing.assert_allclose(np.concatenate(logits, axis=1)[0], case.result[0][row], atol=1e-4)
    close(carry, row_of(case.result[1], row), 1e-5)


def test_the_same_twice_to_the_bit(case):
    """Fails when anything outside the arguments, a global or an uninitialised buffer, has a part in the result."""
    jax.tree.map(np.testing.assert_array_equal, case.run(), case.result)


def test_a_carrys_rows_are_the_batchs(case):
    """Fails when a leaf of a carry has another first axis than the batch, so that a beam that gathers rows mixes them up, or a
    blank carry is not the one that comes back: a loop over it would not compile, or compile twice.
    """
    blank = language_model.blank(case.cfg, B)
    after = case.result[1]
    assert jax.tree.structure(blank) == jax.tree.structure(after)
    for leaf, other in zip(jax.tree.leaves(blank), jax.tree.leaves(after), strict=True):
        assert (leaf.shape, leaf.dtype) == (other.shape, other.dtype) == ((B, H), jnp.dtype("float32"))
        assert not leaf.any()
    order = np.array([3, 3, 0, 7, 1, 1, 6, 2])
    gathered = case.run(
        batch=case.batch._replace(inputs=case.batch.inputs[order], targets=case.batch.targets[order]),
        carry=jax.tree.map(lambda leaf: leaf[order], case.carry),
    )
    np.testing.assert_allclose(gathered[0], case.result[0][order], atol=1e-5)
    close(gathered[1], jax.tree.map(lambda leaf: leaf[order], after), 1e-5)


def test_compiles_once(case):
    """Fails when values, or a configuration that is equal but not the same object, ask for a new compilation."""
    logits = case.result[0]
    before = pulled._cache_size()
    batch = make_batch(np.int32(np.random.default_rng(4).integers(V, size=(B, T + 1))))
    again = pulled(replace(case.cfg), live_params(case.cfg, 3), batch, live_carry(case.cfg, seed=1), case.pulls, None)
    assert np.abs(again[0] - logits).max() > 0.1
    assert pulled._cache_size() == before


# Gradients


def stepped(case: Case):
    """As `Case.run`, but `step` over Python's loop, operation by operation."""
    params, batch, carry, pulls = jax.tree.map(jnp.asarray, (case.params, case.batch, case.carry, case.pulls))
    memory = language_model.start(case.cfg, params, batch.inputs, None).memory

    def total(params, carry):
        logits = []
        for t in range(T):
            carry, out = language_model.step(case.cfg, params, memory, carry, batch.inputs[:, t])
            logits.append(out.logits)
        made = jnp.stack(logits, axis=1), carry
        return sum(jnp.sum(leaf * pull) for leaf, pull in zip(jax.tree.leaves(made), pulls, strict=True)), made

    with jax.disable_jit():
        grads, made = jax.grad(total, argnums=(0, 1), has_aux=True)(params, carry)
    return *made, *grads


@pytest.mark.parametrize("few", [V, V - 1])
def test_step_after_step_is_apply(case, few, monkeypatch):
    """Fails when writing and training are two functions: `step` in Python's loop, operation by operation, against the compiled
    `apply`, values and the gradients of weights and carry. So it is the test of jit, of the loop and of its gradient too, for
    a vocabulary whose first product is taken for all symbols, and for one that is just too large.
    """
    monkeypatch.setattr(language_model, "FEW", few)
    close(stepped(case), case.result, 1e-5)


def test_every_weight_learns(case):
    """Fails when a gradient is not finite, or a weight that takes part has none. No exceptions; the rows of an embedding that
    no token names are zero, as they must be, unless the output reads them too.
    """
    _, _, *grads = case.result
    used = np.isin(np.arange(V), case.batch.inputs) | case.cfg.tied
    assert not np.isin(np.arange(V), case.batch.inputs).all()
    for path, g in jax.tree.leaves_with_path(grads):
        place, g = jax.tree_util.keystr(path), np.asarray(g)
        assert np.isfinite(g).all(), place
        if ".embedding" in place:
            assert np.all(g[used] != 0), place
            assert not g[~used].any(), place
        else:
            assert np.all(g != 0), place


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name].tied])
def test_a_tied_matrix_hears_from_both_its_places(name):
    """Fails when a tied output is another matrix than the embedding's, or only one of its places has a gradient: against the
    same weights with an output of their own, whose two gradients add up.
    """
    case = Case(name)
    apart = case.params._replace(w=np.ascontiguousarray(case.params.embedding.T))
    logits, after, grads, carry = case.result
    other = case.run(params=apart)
    np.testing.assert_allclose(other[0], logits, atol=1e-5)
    together = other[2]._replace(w=None, embedding=other[2].embedding + other[2].w.T)
    close((other[1], together, other[3]), (after, grads, carry), 1e-5)


def test_causality(case):
    """Fails when logits at time t hear of a later token, of another lane or of its carry (gradients exactly zero), or do not
    hear of an earlier token or of the lane's whole carry. Every position of row 2 has a token of its own: gradients of the
    embedding, here apart from the output's matrix, tell positions apart.
    """
    row, own, others = 2, np.arange(T), np.arange(T, V)
    inputs = np.int32(np.random.default_rng(2).choice(others, size=(B, T)))
    inputs[row] = own
    params = case.params._replace(w=normal(5, H, V))
    none = [np.zeros_like(leaf) for leaf in case.pulls[1:]]
    for t in range(T):
        pull = np.zeros_like(case.pulls[0])
        pull[row, t] = case.pulls[0][row, t]
        _, _, grads, carry = case.run(params=params, batch=case.batch._replace(inputs=inputs), pulls=(pull, *none))
        np.testing.assert_array_equal(np.abs(grads.embedding).max(1) > 0, np.arange(V) <= t)
        for leaf in jax.tree.leaves(carry):
            np.testing.assert_array_equal(leaf != 0, (np.arange(B) == row)[:, None] & np.ones(H, bool))


def test_overfits_eight_sequences(case):
    """Fails when something learns that cannot tell sequences apart by what it has read (their first tokens alone differ for
    sure), or gradients lead somewhere else than down.
    """
    random = np.random.default_rng(7)
    tokens = np.int32(random.integers(V, size=(B, T + 1)))
    tokens[:, 0] = random.permutation(V)[:B]
    batch, blank = make_batch(tokens), language_model.blank(case.cfg, B)
    params, structure = jax.tree.flatten(jax.tree.map(lambda p: p * np.float32(0.5), live_params(case.cfg, 9)))
    adam, onehot = book.Adam(0.02), np.arange(V) == batch.targets[..., None]
    pull, still = np.zeros((B, T, V), np.float32), [np.zeros_like(leaf) for leaf in case.pulls[1:]]
    for _ in range(150):
        logits, _, grads, _ = pulled(case.cfg, jax.tree.unflatten(structure, params), batch, blank, (pull, *still))
        p = oracles.softmax(np.asarray(logits))  # one step behind: the last logits give this step's pull
        pull = np.float32((p - onehot) / batch.targets.size)
        adam.update(params, [np.asarray(g) for g in jax.tree.leaves(grads)])
    assert -np.log(p[onehot]).mean() < 0.1
    np.testing.assert_array_equal(logits.argmax(-1), batch.targets)


@pytest.mark.parametrize("name", ["two lstms", "two grus, tied"])
def test_gradients_are_differences(name):
    """Fails when a gradient is not the slope, the carry's with it: float64, central differences along one direction."""
    cfg = VARIANTS[name]
    with jax.enable_x64(True):
        params, carry = jax.tree.map(jnp.float64, (live_params(cfg), live_carry(cfg, 3)))
        batch = jax.tree.map(jnp.asarray, jax.tree.map(lambda leaf: leaf[:3], Case(name).batch))

        @jax.jit
        def total(params, carry):
            after, out = language_model.apply(cfg, params, batch, carry)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves((after, out.logits)))

        check_grads(total, (params, carry), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


# Dropout


def masks_of(noise: Noise, cfg: language_model.Config) -> list[np.ndarray]:
    """The masks [T, B, width] of the embedding and of every layer."""
    widths, lock = (cfg.embedding, *(H,) * cfg.layers), cfg.mask == "locked"
    return [np.float64(dropout(jnp.ones((T, B, width)), noise, place, lock=lock)) for place, width in enumerate(widths)]


@pytest.mark.parametrize("mask", ["plain", "locked"])
@pytest.mark.parametrize("name", ["two lstms", "two grus, tied"])
def test_dropout(name, mask):
    """Fails when a mask is missing or stands in the recurrence, a locked one changes with time, a plain one does not, two
    places or rows share one, or axes are taken for each other.
    """
    case = Case(name)
    cfg, noise = replace(case.cfg, mask=mask), Noise(jax.random.key(3), jnp.float32(0.4))
    masks = masks_of(noise, cfg)
    for one in masks:
        assert np.array_equal(one, np.broadcast_to(one[:1], one.shape)) == (mask == "locked")
        assert all(not np.array_equal(one[:, a], one[:, b]) for a, b in combinations(range(B), 2))
    if cfg.embedding == H:
        assert not any(np.array_equal(one, other) for one, other in combinations(masks, 2))
    logits, after, *_ = pulled(cfg, case.params, case.batch, case.carry, case.pulls, noise)
    for b in range(B):
        carry = [tuple(leaf[b] for leaf in layer) for layer in case.carry]
        expected, final = by_equations(cfg, case.params, case.batch.inputs[b], carry, [one[:, b] for one in masks])
        np.testing.assert_allclose(logits[b], expected, atol=2e-5)
        np.testing.assert_allclose(after[-1].h[b], final[-1][0], atol=1e-5)


@pytest.mark.parametrize("mask", ["plain", "locked"])
def test_no_dropout_is_dropout_of_nothing(mask):
    """Fails when a rate of 0 scales, or anything is dropped without noise; and when two steps share their masks."""
    case = Case("two lstms")
    cfg = replace(case.cfg, mask=mask)

    def logits(key: int, rate: float):
        noise = Noise(jax.random.key(key), jnp.float32(rate))
        return np.asarray(pulled(cfg, case.params, case.batch, case.carry, case.pulls, noise)[0])

    np.testing.assert_array_equal(logits(0, 0), logits(1, 0))
    np.testing.assert_allclose(logits(0, 0), case.result[0], atol=1e-6)
    assert np.abs(logits(0, 0.5) - logits(1, 0.5)).max() > 0.1
    np.testing.assert_array_equal(logits(0, 0.5), logits(0, 0.5))


# bfloat16


def test_narrow_products_are_close(case):
    """Fails when bfloat16 changes more than the products, reaches the type of what comes out, or is not used at all."""
    narrow = pulled(replace(case.cfg, dtype="bfloat16"), case.params, case.batch, case.carry, case.pulls)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype("float32")}
    assert 1e-3 < np.abs(narrow[0] - case.result[0]).max() < 0.1
    for wide, leaf in zip(jax.tree.leaves(case.result[2:]), jax.tree.leaves(narrow[2:]), strict=True):
        assert 1e-4 < np.abs(wide - leaf).max() / np.abs(wide).max() < 0.1


@pytest.mark.parametrize("name", ["two lstms", "two grus, tied"])
def test_narrow_steps_are_narrow_apply(name, monkeypatch):
    """Fails when writing and training differ in what they narrow. (Of a product that is taken for all symbols they do in its
    gradient, which is no part of writing: it sums over the rows first.) The last bit of a sum can round h to its other
    neighbour in bfloat16, 2⁻⁹ away, and what comes after it feels that: so it is the mean distance that is 20 times that of
    the rounding.
    """
    case = Case(name)
    wide = case.result
    case.cfg = replace(case.cfg, dtype="bfloat16")
    narrow = case.run()
    values = slice(len(jax.tree.leaves(narrow[:2])))
    for few, compared in ((V, values), (0, slice(None))):
        monkeypatch.setattr(language_model, "FEW", few)
        for steps, whole, exact in [*zip(*map(jax.tree.leaves, (stepped(case), narrow, wide)), strict=True)][compared]:
            assert np.abs(steps - whole).mean() < np.abs(whole - exact).mean() / 20


def test_every_weight_matrix_is_narrowed(case):
    """Fails when a product with weights takes them as float32 though bfloat16 is asked for, so that narrow weights differ."""
    cfg = replace(case.cfg, dtype="bfloat16")
    narrow = jax.tree.map(lambda w: w if w.ndim < 2 else np.asarray(jnp.asarray(w).astype("bfloat16"), np.float32), case.params)
    assert not np.array_equal(case.params.embedding, narrow.embedding)
    ours, theirs = (pulled(cfg, params, case.batch, case.carry, case.pulls) for params in (case.params, narrow))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# Configurations


@pytest.mark.parametrize(("name", "count"), [("rnnlm", 2_090_400), ("better-rnnlm", 13_275_200)])
def test_sizes_are_the_books(name, count):
    """Fails when a model has another matrix than the book's on Penn Treebank, a second bias, or an own one where it is tied."""
    cfg = replace(LANGUAGE_MODELS[name][0], vocabulary=10_000)
    params = jax.eval_shape(lambda: language_model.init(cfg, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_init():
    """Fails when two components share a draw (their first entries are then proportional), the output has the embedding's tiny
    distribution, or a key does not decide.
    """
    cfg = language_model.Config(64, 48, layers=2, vocabulary=80)
    made = [jax.jit(partial(language_model.init, cfg))(jax.random.key(seed)) for seed in (0, 1, 0)]
    jax.tree.map(np.testing.assert_array_equal, made[0], made[2])
    matrices = [np.asarray(leaf) for leaf in jax.tree.leaves(made[0]) if leaf.ndim == 2]
    assert [m.shape for m in matrices] == [(80, 64), (112, 192), (96, 192), (48, 80)]
    for one, other in combinations([*matrices, *(np.asarray(m) for m in jax.tree.leaves(made[1]) if m.ndim == 2)], 2):
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
        language_model.Config(**{"embedding": 7, "hidden": 12, **options})


def test_a_config_finds_its_model():
    """Fails when a configuration leads to another module, or is no key of a compiled program's."""
    assert MODELS[language_model.Config] is model_of(config()) is language_model
    assert hash(config("gru", 2)) == hash(config("gru", 2))
    assert {VARIANTS[name].cell for name in VARIANTS} == CELLS.keys()
