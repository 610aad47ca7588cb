"""What takes turns when speed is measured: our training and decoding, and PyTorch's, at the book's sizes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments import torch_peer
from seqgen import presets
from seqgen.decoding import generate
from seqgen.evaluation import blocking
from seqgen.models import seq2seq
from seqgen.nn.layers import Dtype
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import HyperConfig, adam, create
from seqgen.types import Batch, Member

BATCH, EMBEDDING, QUESTIONS = 128, 16, 5_000


class Size(NamedTuple):
    """Source and target times, vocabulary and width of one of the book's tasks."""

    source: int
    target: int
    vocabulary: int
    hidden: int


SIZES = {"addition": Size(7, 4, 13, 128), "dates": Size(29, 10, 59, 256)}
CHUNK = {"addition": 150, "dates": 15}
"""Steps that take about a second: the chunks that `loop.CHUNK_SECONDS` makes."""
VARIANTS = ("baseline", "peeky", "attention")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


def config(task: str, variant: str, dtype: Dtype = "float32") -> seq2seq.Config:
    """The book's model."""
    size = SIZES[task]
    return replace(presets.model(variant, embedding=EMBEDDING, hidden=size.hidden), vocabulary=size.vocabulary, dtype=dtype)


def examples(task: str, rows: int) -> Batch:
    """Random tokens in the book's layout: what they say does not change the time."""
    size, random = SIZES[task], np.random.default_rng(0)
    source = random.integers(size.vocabulary, size=(rows, size.source), dtype=np.int32)
    target = random.integers(size.vocabulary, size=(rows, size.target + 1), dtype=np.int32)
    return Batch(source, None, target[:, :-1], target[:, 1:], np.ones((rows, size.target), bool))


def our_training(task: str, variant: str, dtype: Dtype, steps: int) -> Callable[[], None]:
    """`steps` training steps, as a run takes them: one chunk."""
    cfg, source = config(task, variant, dtype), Epochs(steps * BATCH, BATCH)
    member, optimizer = Member(jax.random.key(0), HyperConfig().traced()), adam("constant", 0.0, 1)
    data = jax.device_put(examples(task, steps * BATCH))
    chunk = jax.jit(partial(run_chunk, teacher_forced(seq2seq, cfg), optimizer, source), donate_argnames=("state", "totals"))
    carry = [create(partial(seq2seq.init, cfg), optimizer, member), zero_totals(SUMS)]
    items = source.plan(member, jnp.int32(0), steps)

    def go() -> None:
        carry[:] = chunk(data, member, state=carry[0], totals=carry[1], items=items, span=np.array([0, steps], np.int32))
        jax.block_until_ready(carry)

    return go


def their_training(task: str, variant: str, dtype: Dtype, steps: int) -> Callable[[], None]:
    """The same number of eager PyTorch steps."""
    size, data = SIZES[task], [torch.as_tensor(a).long() for a in examples(task, steps * BATCH) if a is not None]
    model = torch_peer.build(variant, size.vocabulary, EMBEDDING, size.hidden)
    optimizer = torch_peer.optimizer(model)

    def go() -> None:
        for rows in (slice(i, i + BATCH) for i in range(0, steps * BATCH, BATCH)):
            source, inputs, targets = (a[rows] for a in data[:3])
            torch_peer.train_step(model, optimizer, source, inputs, targets, bfloat16=dtype == "bfloat16")

    return go


def our_decoding(task: str, variant: str, rows: int) -> Callable[[], None]:
    """Greedy answers to `rows` questions in one program, block after block, as an evaluation decodes them."""
    cfg, size = config(task, variant), SIZES[task]
    params = jax.jit(partial(seq2seq.init, cfg))(jax.random.key(0))
    count, block = blocking(rows, size.source)
    source = jax.device_put(np.resize(examples(task, rows).source, (count, block, size.source)))

    @jax.jit
    def decode(params, source):
        def one(source):
            start = seq2seq.start(cfg, params, source, None)
            return generate(partial(seq2seq.step, cfg, params), start, limit=size.target, end=None).tokens

        return jax.lax.map(one, source)

    return lambda: jax.block_until_ready(decode(params, source))


def their_decoding(task: str, variant: str, rows: int, block: int) -> Callable[[], None]:
    """PyTorch's batched loop over the same questions."""
    size = SIZES[task]
    model = torch_peer.build(variant, size.vocabulary, EMBEDDING, size.hidden)
    source = torch.as_tensor(examples(task, rows).source).long()
    return lambda: torch_peer.greedy(model, source, 0, size.target, batch=block)


def operations(task: str, variant: str) -> float:
    """Floating-point operations of the products in one training step: forwards, and twice that backwards."""
    source, target, vocabulary, H = SIZES[task]
    peek, read = H * (variant == "peeky"), H * (variant != "baseline")
    encoder = source * (EMBEDDING + H) * 4 * H
    decoder = target * ((EMBEDDING + peek + H) * 4 * H + (H + read) * vocabulary)
    attention = 2 * target * source * H * (variant == "attention")
    return 3 * 2 * BATCH * float(encoder + decoder + attention)
