"""The book, number by number: its losses from its draws, step by step."""

import json
import os
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.models import build
from seqgen.tasks import Addition
from seqgen.tasks.book import write_book_file
from seqgen.training.batches import Rows
from seqgen.training.objective import teacher_forced
from seqgen.training.optimizer import adam
from seqgen.training.state import TrainState
from seqgen.training.steps import train_steps, zero_totals
from seqgen.types import Batch
from tests import book_numpy as book
from tests.book_arrays import book_folder, load_book_file
from tests.oracles import SIZES, V, book_config, from_book
from tests.programs import B, examples, member, program_of

OPTIONS = {"embedding": 16, "hidden": 128, "batch": 128, "lr": 1e-3, "clip": 5.0, "steps": 50}
REVERSE = {book.BASELINE: False, book.PEEKY: True, book.ATTENTION: True}


def print_book_losses(path: str) -> None:
    """A process of its own calls this."""
    data = load_book_file(path)
    rows = len(data.x_train) + len(data.x_test)
    run = partial(book.book_run, x_train=data.x_train, t_train=data.t_train, **OPTIONS)
    losses = {
        v: run(v, reverse=reverse, random=book.after_the_shuffle(rows))
        for v, reverse in REVERSE.items()
    }
    print(json.dumps(losses))


@pytest.fixture(scope="module")
def addition(tmp_path_factory):
    """A file in the book's format (the book's own where it is there, or a small one of ours), and
    NumPy's losses on it.

    Those come from a process with one BLAS thread: many that wait for each other on a busy machine
    take ten times as long.
    """
    if (folder := book_folder()) is not None:
        path = folder / "addition.txt"
    else:
        path = tmp_path_factory.mktemp("book") / "addition.txt"
        write_book_file(path, Addition().sample(np.random.default_rng(0), 1600), 7, 4)
    code = f"from tests.test_book_losses import print_book_losses; print_book_losses({str(path)!r})"
    threads = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    environment = os.environ | dict.fromkeys(threads, "1")
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=root, check=True, stdout=subprocess.PIPE
    )
    return load_book_file(path), json.loads(done.stdout)


BOOK_ADAM = adam("constant", 0.0, 1)


@pytest.fixture(scope="module")
def book_steps():
    """The compiled steps of each of the book's models, at the book's sizes."""

    def compiled(variant: str):
        model = build(book_config(variant, embedding=16, hidden=128), SIZES)
        program = program_of(teacher_forced(model), BOOK_ADAM, Rows(examples(), B))
        return jax.jit(partial(train_steps, program))

    return {variant: compiled(variant) for variant in book.VARIANTS}


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_the_books_losses(addition, variant, book_steps):
    """Fails when anything in a training step is not the book's: the model, the loss over blanks
    too, the clip over the whole gradient, Adam with its bias correction and its ε, or the order of
    batches. 50 steps from the same draws: 1e-4 relative.
    """
    data, expected = addition
    random = book.after_the_shuffle(len(data.x_train) + len(data.x_test))
    params = jax.tree.map(jnp.asarray, from_book(variant, book.draw(variant, V, 16, 128, random)))
    order = np.concatenate(list(islice(book.batches(random, len(data.x_train), 128), 50)))
    x, t = data.x_train[order, :: -1 if REVERSE[variant] else 1], data.t_train[order]
    batch = Batch(x, None, t[:, :-1], t[:, 1:], np.ones_like(t[:, 1:], bool))
    batch, items = jax.tree.map(jnp.asarray, batch), jnp.arange(6400).reshape(50, 128)

    who = member(lr=1e-3, clip=5.0, dropout=None)
    state, losses = TrainState(jnp.int32(0), params, BOOK_ADAM(who.hyper).init(params), ()), []
    for i in range(50):
        given = state, zero_totals(), items, np.array([i, i + 1], np.int32)
        state, totals = book_steps[variant](batch, who, *given)
        losses.append(float(totals.sums["loss"] / totals.sums["tokens"]))
    np.testing.assert_allclose(losses, expected[variant], rtol=1e-4)
    assert losses[-1] < losses[0] - 0.1
