"""Training: losses, the optimiser, the chunk, the order of examples; and the book's losses from the book's draws."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import seq2seq
from seqgen.tasks import Addition
from seqgen.tasks.book import load_book_file, write_book_file
from seqgen.training.chunk import NEVER, SUMS, run_chunk, zero_totals
from seqgen.training.objective import cross_entropy, teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import HyperConfig, TrainState, adam, create, streams
from seqgen.types import Batch, Member
from tests import book_numpy as book
from tests import oracles
from tests.oracles import VARIANTS, V, book_config, from_book

B, S, T, N = 4, 3, 5, 42

quickly = contextmanager(oracles.quick_compilation)


def equal(one, other) -> None:
    """To the bit."""
    jax.tree.map(np.testing.assert_array_equal, one, other)


def stack(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def member(seed: int = 0, **options) -> Member:
    return Member(jax.random.key(seed), HyperConfig(**{"lr": 0.01, "dropout": 0.2} | options).traced())


def examples(rows: int = N) -> Batch:
    """Ragged in both directions."""
    random = np.random.default_rng(0)
    source, tokens = random.integers(V, size=(rows, S)), random.integers(V, size=(rows, T + 1))
    mask = np.arange(T) < random.integers(1, T + 1, size=rows)[:, None]
    length = random.integers(1, S + 1, size=rows)
    return jax.tree.map(jnp.asarray, Batch(*map(np.int32, (source, length, tokens[:, :-1], tokens[:, 1:])), mask))


# The objective


def test_cross_entropy_is_a_masked_sum():
    """Fails when padding counts, the mean is taken over rows or over all positions, or masked logits get a gradient."""
    batch, logits = examples(B), np.float32(np.random.default_rng(1).normal(size=(B, T, V)) * 3)
    (total, count), pull = jax.value_and_grad(cross_entropy, has_aux=True)(jnp.asarray(logits), batch.targets, batch.mask)
    mask, p = np.asarray(batch.mask), oracles.softmax(np.float64(logits))
    onehot = np.arange(V) == np.asarray(batch.targets)[..., None]
    np.testing.assert_allclose(total, -np.log(p[onehot]).reshape(B, T)[mask].sum(), rtol=1e-6)
    assert count == mask.sum()
    np.testing.assert_allclose(pull, (p - onehot) * mask[..., None], atol=1e-6)
    assert not np.asarray(pull)[~mask].any()
    assert 0 < mask.sum() < mask.size


# The optimiser


@pytest.mark.parametrize("decay", [None, 0.2])
def test_adam_behind_a_clip(decay):
    """Fails when the clip is a leaf's and not the whole gradient's, comes after Adam, or bias correction is lost; when decay
    passes through Adam, is not scaled by the rate, or reaches a bias.
    """
    random = np.random.default_rng(2)
    p = {"w": random.normal(size=(3, 2)), "b": random.normal(size=2)}
    hyper = HyperConfig(lr=0.03, clip=1.5, decay=decay).traced()
    transform = adam("constant", 0.0, 10)(hyper)
    ours = jax.tree.map(jnp.float32, p)
    state, m, v = transform.init(ours), dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
    update = jax.jit(transform.update)
    for t in range(1, 5):
        grads = {name: random.normal(size=value.shape) * 10.0 ** (2 - t) for name, value in p.items()}
        updates, state = update(jax.tree.map(jnp.float32, grads), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        scale = min(1, 1.5 / np.sqrt(sum((g**2).sum() for g in grads.values())))
        for name, g in grads.items():
            m[name] = 0.9 * m[name] + 0.1 * scale * g
            v[name] = 0.999 * v[name] + 0.001 * (scale * g) ** 2
            shrunk = 1 - 0.03 * (decay or 0) * (name == "w")
            p[name] = shrunk * p[name] - 0.03 * (m[name] / (1 - 0.9**t)) / (np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), ours, p)


@pytest.mark.parametrize(("shape", "warmup"), [("constant", 0.25), ("cosine", 0.25), ("cosine", 0.0)])
def test_schedules(shape, warmup):
    """Fails when the peak is not the traced rate, warm-up is not linear or of another length, or the fall is not half a cosine
    that ends at zero. Under a constant, large gradient Adam's step is the rate itself, but for float32's 1 - 0.999ᵗ (1e-5).
    """
    steps, rate = 16, 0.05
    update = jax.jit(lambda hyper, grads, state: adam(shape, warmup, steps)(hyper).update(grads, state))
    hyper = HyperConfig(lr=rate, clip=1000.0).traced()
    grads, state, seen = jnp.full(3, 100.0), adam(shape, warmup, steps)(hyper).init(jnp.ones(3)), []
    for _ in range(steps + 1):
        moved, state = update(hyper, grads, state)
        seen.append(-float(moved[0]) / rate)
    first = int(warmup * steps)
    rise = np.arange(first) / max(first, 1)
    fall = (1 + np.cos(np.pi * np.arange(steps + 1 - first) / (steps - first))) / 2
    expected = np.concatenate([rise, fall]) if shape == "cosine" else np.ones(steps + 1)
    np.testing.assert_allclose(seen, expected, atol=3e-5)


@pytest.mark.parametrize("options", [
    {"lr": 0.0}, {"lr": float("nan")}, {"clip": -1.0}, {"init_scale": 0.0}, {"dropout": 1.0}, {"dropout": -0.1},
    {"decay": -0.1},
])  # fmt: skip
def test_numbers_without_sense_are_refused(options):
    """Fails when a typing error trains to the end and only then shows as nonsense."""
    with pytest.raises(ValueError, match=next(iter(options))):
        HyperConfig(**options)


# State and streams


def test_a_state_begins_with_its_members_draw():
    """Fails when two named streams are one, init draws from another than its own, or `init_scale` reaches a bias."""
    one = member(3, init_scale=2.0)
    keys = streams(one.key)
    assert len({jax.random.key_data(key).tobytes() for key in (one.key, *keys)}) == 5
    cfg = seq2seq.Config(seq2seq.encoders.Config(3, 4), seq2seq.decoders.Config(3, 4), init="modern", vocabulary=V)
    init = jax.jit(partial(seq2seq.init, cfg))
    with quickly():
        state = create(init, adam("constant", 0.0, 1), one)
        expected = jax.tree.map(lambda p: 2 * p if p.ndim > 1 else p, init(keys.init))
    equal(state.params, expected)
    assert np.asarray(state.params.encoder.cell.b).sum() == 4
    assert (int(state.step), state.carry) == (0, ())


# The order of examples


def test_an_epoch_is_a_permutation():
    """Fails when an example comes twice in an epoch, the same ones are left out of every epoch, the order is another when it
    is planned piece by piece, or epochs or members share it.
    """
    source = Epochs(N, B)
    assert source.steps == 10
    plan = jax.jit(source.plan, static_argnames="n")
    one, other = member(0), member(1)
    epochs = [np.asarray(plan(who, jnp.int32(step), 10)) for who, step in ((one, 0), (one, 10), (one, 20), (other, 0))]
    for rows in epochs:
        assert rows.shape == (10, B)
        assert len(np.unique(rows)) == rows.size
        assert 0 <= rows.min() <= rows.max() < N
    for i, rows in enumerate(epochs):
        assert all((rows == earlier).mean() < 0.3 for earlier in epochs[:i])
    assert len({frozenset(range(N)) - frozenset(rows.ravel().tolist()) for rows in epochs}) > 1
    np.testing.assert_array_equal(plan(member(0), jnp.int32(13), 4), epochs[1][3:7])
    np.testing.assert_array_equal(plan(member(0, lr=0.5), jnp.int32(10), 10), epochs[1])


@pytest.mark.parametrize("ragged", [True, False])
def test_read_gathers_rows(ragged):
    """Fails when question and answer lose each other, or no length becomes one."""
    data = examples() if ragged else examples()._replace(length=None)
    rows = np.array([7, 0, 41, 7])
    batch = Epochs(N, B).read(data, jnp.asarray(rows))
    jax.tree.map(lambda leaf, whole: np.testing.assert_array_equal(leaf, np.asarray(whole)[rows]), batch, data)


# The chunk

CFG = VARIANTS["attention"]
SOURCE, DATA = Epochs(N, B), examples()
LOSS, OPTIMIZER = teacher_forced(seq2seq, CFG), adam("cosine", 0.2, 40)
chunk = jax.jit(partial(run_chunk, LOSS, OPTIMIZER, SOURCE), donate_argnames=("state", "totals"))
init_state = jax.jit(lambda who: create(partial(seq2seq.init, CFG), OPTIMIZER, who))
PLAN = np.int32(np.random.default_rng(4).permuted(np.tile(np.arange(N), (20, 1)), axis=1)[:, :B])
"""The items of 20 steps."""


def span(first: int, last: int) -> np.ndarray:
    return np.array([first, last], np.int32)


def train(who: Member, *ends: int):
    """20 steps, cut at `ends`."""
    with quickly():
        state, totals, first = init_state(who), zero_totals(SUMS), 0
    for last in ends:
        state, totals = chunk(DATA, who, state=state, totals=totals, items=PLAN, span=span(first, last))
        first = last
    return state, totals


@pytest.fixture(scope="module")
def twenty():
    """Compiled with every optimisation, as for users; so is all that must equal it to the bit."""
    return train(member(), 20)


@pytest.mark.parametrize("ends", [(10, 20), (19, 20), (1, 2, 20), (0, 20, 20)])
def test_where_chunks_end_changes_no_bit(twenty, ends):
    """Fails when a key, a schedule or a sum counts from the start of its chunk, or an empty chunk does anything."""
    equal(train(member(), *ends), twenty)


def test_totals_are_the_sums(twenty):
    """Fails when the log's numbers are of the last step only, or means of means."""
    _, totals = twenty
    assert (int(totals.steps), int(totals.broken)) == (20, NEVER)
    assert totals.sums["tokens"] == np.asarray(DATA.mask)[PLAN].sum()
    one = [train(member(), *range(n + 1))[1] for n in (1, 2)]
    for name in SUMS:
        assert 0 < one[0].sums[name] < one[1].sums[name] < totals.sums[name]
    state, batch = init_state(member()), SOURCE.read(DATA, jnp.asarray(PLAN[0]))
    value, (_, metrics) = jax.jit(LOSS)(state.params, (), batch, None)
    assert metrics["tokens"] == np.asarray(batch.mask).sum()
    np.testing.assert_allclose(value, metrics["loss"] / metrics["tokens"], rtol=1e-6)


def test_a_state_is_given_away_and_the_rate_is_traced(twenty):
    """Fails when the old state's buffers are kept beside the new, or another rate, clip, dropout or span compiles again."""
    who, size = member(), chunk._cache_size()
    state = init_state(who)
    leaves = jax.tree.leaves((state.params, state.opt_state))
    made, _ = chunk(DATA, who, state=state, totals=zero_totals(SUMS), items=PLAN, span=span(0, 20))
    assert all(leaf.is_deleted() for leaf in leaves)
    other, _ = train(member(lr=0.02, clip=0.1, dropout=0.4), 7, 20)
    assert chunk._cache_size() == size
    assert np.abs(made.params.decoder.affine.w - other.params.decoder.affine.w).max() > 1e-3


def test_noise_is_the_members_and_the_steps():
    """Fails when every step drops the same features, or every member does: with one batch over and over and a rate of nearly
    zero, losses differ by the noise alone.
    """
    items = np.tile(PLAN[:1], (20, 1))

    def losses(who: Member, begin: int = 0) -> list[float]:
        state, seen = init_state(member())._replace(step=jnp.int32(begin)), []
        for step in range(3):
            totals = zero_totals(SUMS)
            state, totals = chunk(DATA, who, state=state, totals=totals, items=items, span=span(step, step + 1))
            seen.append(float(totals.sums["loss"]))
        return seen

    one, again, other, none = (losses(member(s, lr=1e-12, dropout=d)) for s, d in ((0, 0.5), (0, 0.5), (1, 0.5), (0, 0.0)))
    later = losses(member(0, lr=1e-12, dropout=0.5), begin=10)  # the same places of another epoch
    assert one == again
    assert len({*one, *other, *later}) == 9
    assert len(set(none)) == 1


def test_no_dropout_is_dropout_of_nothing():
    """Fails when the program without dropout is another one than that with a rate of zero."""
    zero = train(member(dropout=0.0), 20)
    with quickly():
        off = train(member(dropout=None), 20)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), off, zero)


def test_members_train_side_by_side():
    """Fails when members that share a program share anything else: lifted by lax.map two of them end, after ten steps and to
    the bit, where each ends alone; by vmap to 1e-6.
    """
    members = [member(0), member(5, lr=0.004, clip=0.5, dropout=0.1)]
    alone = [train(who, 10) for who in members]
    together = stack(*members)

    def one(of, who, state, totals):
        return run_chunk(LOSS, OPTIMIZER, SOURCE, DATA, who, state, totals, jnp.asarray(PLAN), of)

    def start():
        return stack(*map(init_state, members)), stack(*(zero_totals(SUMS) for _ in members))

    mapped = jax.jit(lambda of, *grid: jax.lax.map(lambda m: one(of, *m), grid))(span(0, 10), together, *start())
    equal(mapped, stack(*alone))
    with quickly():
        lifted = jax.jit(jax.vmap(one, in_axes=(None, 0, 0, 0)))(span(0, 10), together, *start())
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), lifted, stack(*alone))
    assert np.abs(alone[0][0].params.decoder.affine.w - alone[1][0].params.decoder.affine.w).max() > 1e-2


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_what_is_not_finite_is_reported_with_its_step(fault):
    """Fails when the step is counted from the chunk's or the log line's start, is the last one instead of the first, is
    forgotten by the next chunk, or an infinite gradient under a finite loss passes.
    """

    def loss(params, carry, batch, noise):
        bad = batch["bad"][0]
        if fault == "loss":
            value = jnp.sum(params**2) / jnp.where(bad, 0.0, 1.0)
        else:
            value = jnp.sum(jnp.sqrt(params**2 * jnp.where(bad, 0.0, 1.0)))
        return value, (carry, {"loss": value, "tokens": jnp.float32(1)})

    data, items = {"bad": jnp.arange(20) == 13}, jnp.arange(20)[:, None]
    who, optimizer = member(dropout=None), adam("constant", 0.0, 1)
    source = SimpleNamespace(read=lambda data, item: {"bad": data["bad"][item]})
    run = jax.jit(partial(run_chunk, loss, optimizer, source, data, who))
    params = jnp.arange(1.0, 4.0)
    state = TrainState(jnp.int32(100), params, optimizer(who.hyper).init(params), ())
    broken, totals = [], zero_totals(SUMS)
    for first, last in ((0, 9), (9, 13), (13, 16), (16, 20)):
        state, totals = run(state, totals, items, span(first, last))
        broken.append(int(totals.broken))
    assert broken == [NEVER, NEVER, 113, 113]


# The book, number by number


OPTIONS = {"embedding": 16, "hidden": 128, "batch": 128, "lr": 1e-3, "clip": 5.0, "steps": 50}
REVERSE = {book.BASELINE: False, book.PEEKY: True, book.ATTENTION: True}


def print_book_losses(path: str) -> None:
    """A process of its own calls this."""
    data = load_book_file(path)
    rows = len(data.x_train) + len(data.x_test)
    run = partial(book.book_run, x_train=data.x_train, t_train=data.t_train, **OPTIONS)
    print(json.dumps({v: run(v, reverse=reverse, random=book.after_the_shuffle(rows)) for v, reverse in REVERSE.items()}))


@pytest.fixture(scope="module", params=["ours", "the book's"])
def addition(request, tmp_path_factory):
    """A file in the book's format (a small one of ours, or the book's own where it is there), and NumPy's losses on it.

    Those come from a process with one BLAS thread: many that wait for each other on a busy machine take ten times as long.
    """
    if request.param == "ours":
        path = tmp_path_factory.mktemp("book") / "addition.txt"
        write_book_file(path, Addition().sample(np.random.default_rng(0), 1600), 7, 4)
    else:
        path = request.getfixturevalue("book_files") / "addition.txt"
    code = f"from tests.test_training import print_book_losses; print_book_losses({str(path)!r})"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, check=True, stdout=subprocess.PIPE)
    return load_book_file(path), json.loads(done.stdout)


@pytest.fixture(scope="module")
def book_chunks():
    """The compiled chunk of each of the book's models, at the book's sizes."""
    optimizer, source = adam("constant", 0.0, 1), Epochs(6400, 128)
    losses = {v: teacher_forced(seq2seq, book_config(v, embedding=16, hidden=128)) for v in book.VARIANTS}
    return optimizer, {v: jax.jit(partial(run_chunk, loss, optimizer, source)) for v, loss in losses.items()}


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_the_books_losses(addition, variant, book_chunks):
    """Fails when anything in a training step is not the book's: the model, the loss over blanks too, the clip over the whole
    gradient, Adam with its bias correction and its ε, or the order of batches. 50 steps from the same draws: 1e-4 relative.
    """
    data, expected = addition
    random = book.after_the_shuffle(len(data.x_train) + len(data.x_test))
    params = jax.tree.map(jnp.asarray, from_book(variant, book.draw(variant, V, 16, 128, random)))
    order = np.concatenate(list(islice(book.batches(random, len(data.x_train), 128), 50)))
    x, t = data.x_train[order, :: -1 if REVERSE[variant] else 1], data.t_train[order]
    batch = Batch(jnp.asarray(x), None, *map(jnp.asarray, (t[:, :-1], t[:, 1:], np.ones_like(t[:, 1:], bool))))
    items = jnp.arange(6400).reshape(50, 128)

    optimizer, chunks = book_chunks
    who = member(lr=1e-3, clip=5.0, dropout=None)
    state, losses = TrainState(jnp.int32(0), params, optimizer(who.hyper).init(params), ()), []
    with quickly():
        for i in range(50):
            state, totals = chunks[variant](batch, who, state, zero_totals(SUMS), items, span(i, i + 1))
            losses.append(float(totals.sums["loss"] / totals.sums["tokens"]))
    np.testing.assert_allclose(losses, expected[variant], rtol=1e-4)
    assert losses[-1] < losses[0] - 0.1
