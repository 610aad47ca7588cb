"""What training is tested on: a few examples, members, and a program of steps alone."""

import jax
import jax.numpy as jnp
import numpy as np

from seqgen.training.state import HyperConfig
from seqgen.training.steps import Program
from seqgen.types import Batch, Member
from tests.oracles import V

B, S, T, N = 4, 3, 5, 42
"""A batch of N examples, and their widths."""


def member(seed: int = 0, **options) -> Member:
    hyper = HyperConfig(**{"lr": 0.01, "dropout": 0.2} | options)
    return Member(jax.random.key(seed), hyper.traced())


def examples(rows: int = N) -> Batch:
    """Ragged in both directions."""
    random = np.random.default_rng(0)
    source, tokens = random.integers(V, size=(rows, S)), random.integers(V, size=(rows, T + 1))
    mask = np.arange(T) < random.integers(1, T + 1, size=rows)[:, None]
    length = random.integers(1, S + 1, size=rows)
    ids = map(np.int32, (source, length, tokens[:, :-1], tokens[:, 1:]))
    return jax.tree.map(jnp.asarray, Batch(*ids, mask))


def program_of(loss, optimizer, batches, *, accumulate: int = 1) -> Program:
    """What training steps need of a program, and nothing else."""
    return Program(
        init=None,
        carry=None,
        loss=loss,
        optimizer=optimizer,
        batches=batches,
        adjust=None,
        evaluate=None,
        steps=batches.steps,
        accumulate=accumulate,
        size=batches.batch,
        unit="examples",
    )
