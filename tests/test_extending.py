"""A new architecture is one file and its line in a table; so is a new kind of data.

Both are added to a copy of the package, as somebody would who works on it, and then used in a
process of their own: trained, resumed, swept, scored.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import seqgen

BIGRAM = '''
"""p(token | the last token): a table of logits."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqgen.types import Memory, Model, Out, Start


@dataclass(frozen=True)
class Config:
    """`scale` of the initial logits."""

    scale: float = 0.1


class Params(NamedTuple):
    table: jax.Array


def build(cfg, sizes):
    return Model(partial(init, cfg, sizes), lambda params, rows: (), apply, start, step)


def label(cfg):
    return "bigram"


def init(cfg, sizes, key):
    return Params(cfg.scale * jax.random.normal(key, (sizes.target, sizes.target)))


def apply(params, batch, carry, dropout_state=None):
    return carry, Out(params.table[batch.inputs], {})


def start(params, source, length, *, capacity=None):
    rows, width = source.shape
    last = jnp.full(rows, width) if length is None else length
    token = jnp.take_along_axis(source, last[:, None] - 1, axis=1)[:, 0]
    return Start(Memory((), None, jnp.zeros((rows, 0))), (), token)


def step(params, memory, carry, token):
    return carry, Out(params.table[token], {})
'''

TEXT = "from seqgen.models import bigram, rnn_language_model, rnn_seq2seq"

USE_BIGRAM = """
from seqgen import families, sweeps
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.models import bigram
from seqgen.tasks.synthetic import Synthetic
from seqgen.tasks.markov import Markov
from seqgen.training.state import HyperConfig

if __name__ == "__main__":
    language = Markov(order=1, size=4)
    data = Synthetic(language, train=20_000, validation=2_000, test=20_000)
    training = Training(epochs=2, batch=8, window=20)
    config = RunConfig(data, bigram.Config(), training, HyperConfig(lr=0.1))
    run = families.create(config, None)
    assert str(run.path) == "runs/markov-bigram", run.path
    assert main(["resume", "markov-bigram"]) == 0
    loss = families.open_run("markov-bigram").evaluate().loss
    low, high = language.entropy_bounds()
    assert abs(loss - low) < 0.02, (loss, low)
    assert main(["generate", "markov-bigram", "--prompt", "a b", "--beam", "3"]) == 0
    planned = sweeps.plan({"one": config}, [0], families.locate("swept"))
    assert len(sweeps.summary(planned, families.locate("swept"))) == 2
"""

SUMS = '''
"""Sums of numbers: series of digits, and their sums as classes. No text anywhere."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from seqgen.families.family import Family, Metric
from seqgen.families.program import build_program
from seqgen.families.run import Run
from seqgen.models import build
from seqgen.training.batches import Rows
from seqgen.types import Batch, Sizes, Special


@dataclass(frozen=True)
class Series:
    """`rows` series of three numbers below ten."""

    rows: int = 6000
    name = "series"

    def pinned(self):
        return self


class Dataset(NamedTuple):
    train: Batch
    test: Batch

    sizes = Sizes(10, 28, Special(bos=0))


def load(data):
    numbers = np.random.default_rng(0).integers(10, size=(data.rows, 3))
    target = numbers.sum(axis=1, keepdims=True)
    first = np.zeros_like(target)
    batch = Batch(numbers, None, first, target, np.ones(target.shape, bool))
    cut = data.rows // 2
    return Dataset(*(jax.tree.map(lambda leaf: leaf[rows], batch) for rows in
                     (slice(cut), slice(cut, None))))


class Scores(NamedTuple):
    exact_match: float
    token_accuracy: float
    loss: float
    examples: int


class SeriesRun(Run):
    sizes = Dataset.sizes
    evaluation_split = test_split = "test"

    def described(self) -> dict[str, Any]:
        return {}

    def measured(self, scores) -> dict[str, Any]:
        return scores._asdict()


@partial(jax.jit, static_argnums=0)
def right(model, params, batch):
    _, out = model.apply(params, batch, (), None)
    return (out.logits.argmax(axis=-1) == batch.targets).mean()


def evaluate_epoch(run, split, params, step):
    share, rows = float(right(run.model, params, getattr(run.dataset, split))), run.config.data.rows
    names = ("exact_match", "token_accuracy", "loss", "examples")
    scores = dict(zip(names, (share, share, 1 - share, rows // 2)))
    return scores, "no samples\\n"


def program(config, dataset):
    size = config.training.batch
    model, rows = build(config.model, dataset.sizes), Rows(dataset.train, size)
    return build_program(config, model, rows, evaluate=partial(right, model), size=size,
                         unit="examples")


FAMILY = Family(
    name="series",
    data={"series": Series},
    unions={},
    run=SeriesRun,
    load=load,
    check=lambda config, dataset: None,
    program=program,
    epoch_steps=lambda config, dataset: len(dataset.train.inputs) // config.training.batch,
    metrics=(Metric("exact_match", maximise=True),),
    evaluate=lambda run, split: Scores(*evaluate_epoch(run, split, run.params, 0)[0].values()),
    evaluate_epoch=evaluate_epoch,
    test=evaluate_epoch,
    splits=lambda config, dataset: [f"train: {len(dataset.train.inputs)} examples"],
    words=lambda event: (f"exact match {event['exact_match']:.2%}",) * 2,
    table=lambda scores: {"exact match": f"{scores['exact_match']:.2%}"},
    draw=lambda run: None,
    stacking=None,
    architectures="pairs",  # any encoder-decoder fits
)
'''

USE_SUMS = """
from seqgen import families, presets
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.families.series import Series
from seqgen.training.state import HyperConfig

model = presets.model("baseline", embedding=6, hidden=12, init="modern")
config = RunConfig(Series(), model, Training(epochs=3, batch=20), HyperConfig(lr=0.02))
run = families.create(config, None)
assert str(run.path) == "runs/series-baseline", run.path
assert main(["resume", "series-baseline"]) == 0
assert families.open_run("series-baseline").config == config
assert families.open_run("series-baseline").evaluate().exact_match > 0.2  # by chance: 0.07
assert main(["evaluate", "series-baseline"]) == 0
"""


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package, to be added to."""
    shutil.copytree(
        Path(seqgen.__file__).parent,
        tmp_path / "seqgen",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    return tmp_path


def add(copy: Path, file: str, text: str, table: str, *lines: tuple[str, str]) -> None:
    """One new file, and lines in one that stands."""
    (copy / "seqgen" / file).write_text(text)
    content = (copy / "seqgen" / table).read_text()
    for old, new in lines:
        assert content.count(old) == 1, old
        content = content.replace(old, new)
    (copy / "seqgen" / table).write_text(content)


def use(copy: Path, script: str) -> str:
    """Run a script beside the copy. Returns what it printed."""
    (copy / "use.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=copy, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_new_architecture_is_a_file_and_a_line(copy):
    """Fails when a model that is only in its file and in the table of architectures is refused,
    cannot be read back from its run, or is not trained to what it can learn: a bigram learns a
    chain of order one to its entropy rate.
    """
    imported = "from seqgen.models import rnn_language_model, rnn_seq2seq"
    entry = '("language_model", "text", rnn_language_model),'
    add(
        copy,
        "models/bigram.py",
        BIGRAM,
        "models/__init__.py",
        (imported, TEXT),
        (entry, f'{entry}\n        ("bigram", "text", bigram),'),
    )
    assert "a b" in use(copy, USE_BIGRAM)


@pytest.mark.slow
def test_a_new_kind_of_data_is_a_file_and_a_line(copy):
    """Fails when data that are neither pairs of strings nor text are refused anywhere between
    config.json and the last evaluation, or a run of theirs cannot be opened again.
    """
    add(
        copy,
        "families/series.py",
        SUMS,
        "families/registry.py",
        (
            "from seqgen.families import pairs, text",
            "from seqgen.families import pairs, series, text",
        ),
        ("(pairs.FAMILY, text.FAMILY)", "(pairs.FAMILY, text.FAMILY, series.FAMILY)"),
    )
    assert "exact match" in use(copy, USE_SUMS)
