"""What takes turns when speed is measured: our training and decoding, and PyTorch's.

At the sizes of the book's seq2seq models.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import torch

from experiments import torch_peer
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.decoding.generate import generate
from seqgen.evaluation.answers import blocking, decode_blocks
from seqgen.families.program import build_program
from seqgen.models import build, rnn_seq2seq
from seqgen.nn.layers import Dtype
from seqgen.tasks import TASKS
from seqgen.tasks.dataset import Data
from seqgen.training.batches import Rows
from seqgen.training.sharding import mesh_of, shared_on
from seqgen.training.solo import compile_solo
from seqgen.training.state import HyperConfig
from seqgen.training.steps import Program, zero_totals
from seqgen.types import Batch, Member, Model, Sizes, Special, Tree

BATCH, EMBEDDING, QUESTIONS = 128, 16, 5_000


class Size(NamedTuple):
    """Source and target times, vocabulary and width of one of the book's tasks."""

    source: int
    target: int
    vocabulary: int
    hidden: int


SIZES = {"addition": Size(7, 4, 13, 128), "dates": Size(29, 10, 59, 256)}
SPAN_STEPS = {"addition": 150, "dates": 15}
"""Steps that take about a second on 2 cores, as those do that a run takes together."""
VARIANTS = ("baseline", "peeky", "attention")
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


@contextmanager
def on_device() -> Generator[None]:
    """New tensors and models stand where jax's arrays do: on a GPU if its default backend is one.

    There float32 products are TF32, as jax's are by default. It decorates what makes a contestant,
    not what is timed: such a default costs time in every call.
    """
    if torch.cuda.is_available() and jax.default_backend() == "gpu":
        torch.set_float32_matmul_precision("high")
        with torch.device("cuda"):
            yield
    else:
        yield


def config(task: str, variant: str, dtype: Dtype = "float32") -> rnn_seq2seq.Config:
    """The book's model."""
    cfg = presets.model(variant, embedding=EMBEDDING, hidden=SIZES[task].hidden)
    return replace(cfg, dtype=dtype)


def built(task: str, variant: str, dtype: Dtype = "float32") -> Model:
    """Its functions."""
    vocabulary = SIZES[task].vocabulary
    return build(config(task, variant, dtype), Sizes(vocabulary, vocabulary, Special(bos=0)))


def examples(task: str, rows: int) -> Batch:
    """Random tokens in the book's padding: what they say does not change the time."""
    size, random = SIZES[task], np.random.default_rng(0)
    source = random.integers(size.vocabulary, size=(rows, size.source), dtype=np.int32)
    target = random.integers(size.vocabulary, size=(rows, size.target + 1), dtype=np.int32)
    return Batch(source, None, target[:, :-1], target[:, 1:], np.ones((rows, size.target), bool))


def our_training(task: str, variant: str, dtype: Dtype, steps: int) -> Callable[[], None]:
    """`steps` training steps, as a run takes them.

    Args:
        task: whose sizes.
        variant: which of the book's models.
        dtype: of its products.
        steps: how many.

    """
    run = RunConfig(Data(TASKS[task]()), config(task, variant, dtype), Training(batch=BATCH))
    model, rows = built(task, variant, dtype), Rows(examples(task, steps * BATCH), BATCH)
    scores = partial(decode_blocks, model, None)
    program = build_program(run, model, rows, evaluate=scores, size=BATCH, unit="examples")
    return going_on(*compiled_steps(program, run.hyper, steps))


def compiled_steps(
    program: Program, hyper: HyperConfig, steps: int, items: Tree | None = None
) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """Training steps compiled as a run that trains alone compiles them, and what they are given.

    Args:
        program: what trains.
        hyper: its hyper-parameters.
        steps: how many are taken together.
        items: those of the steps; None: as an epoch plans them.

    """
    mesh = mesh_of(1)
    functions, whole = compile_solo(program, mesh), shared_on(mesh)
    member = Member(jax.random.key(0), hyper.traced())
    data, member, totals = jax.device_put((program.batches.data, member, zero_totals()), whole)
    given = {
        "data": data,
        "member": member,
        "state": functions.init(member),
        "totals": totals,
        "items": functions.plan(member, np.int32(0)) if items is None else items,
        "span": np.array([0, steps], np.int32),
    }
    steps_of: Any = functions.steps
    return steps_of.lower(**given).compile(), given


def going_on(steps: jax.stages.Compiled, given: dict[str, Any]) -> Callable[[], None]:
    """Take the steps, each time from where they ended."""

    def go() -> None:
        given["state"], given["totals"] = steps(**given)
        jax.block_until_ready((given["state"], given["totals"]))

    return go


@on_device()
def their_training(task: str, variant: str, dtype: Dtype, steps: int) -> Callable[[], None]:
    """The same number of eager PyTorch steps.

    Args:
        task: whose sizes.
        variant: which of the book's models.
        dtype: of its products.
        steps: how many.

    """
    size, batch = SIZES[task], examples(task, steps * BATCH)
    data = [torch.as_tensor(a).long() for a in (batch.source, batch.inputs, batch.targets)]
    model = torch_peer.build(variant, size.vocabulary, EMBEDDING, size.hidden)
    optimizer, bfloat16 = torch_peer.optimizer(model), dtype == "bfloat16"

    def go() -> None:
        for rows in (slice(i, i + BATCH) for i in range(0, steps * BATCH, BATCH)):
            part = (a[rows] for a in data)
            torch_peer.train_step(model, optimizer, *part, bfloat16=bfloat16)

    return go


def our_decoding(task: str, variant: str, rows: int) -> Callable[[], None]:
    """Greedy answers to `rows` questions in one program, in blocks, as an evaluation decodes."""
    model, size = built(task, variant), SIZES[task]
    params = jax.jit(model.init)(jax.random.key(0))
    count, block = blocking(rows, size.source)
    source = jax.device_put(np.resize(examples(task, rows).source, (count, block, size.source)))

    @jax.jit
    def decode(params, source):
        def one(source):
            start = model.start(params, source, None, capacity=size.target)
            step = partial(model.step, params)
            return generate(step, start, limit=size.target, end=None).tokens

        return jax.lax.map(one, source)

    return lambda: jax.block_until_ready(decode(params, source))


@on_device()
def their_decoding(task: str, variant: str, rows: int, block: int) -> Callable[[], None]:
    """PyTorch's batched loop over the same questions.

    Args:
        task: whose sizes.
        variant: which of the book's models.
        rows: questions.
        block: how many of them at a time.

    """
    size = SIZES[task]
    model = torch_peer.build(variant, size.vocabulary, EMBEDDING, size.hidden)
    source = torch.as_tensor(examples(task, rows).source).long()
    return lambda: torch_peer.greedy(model, source, 0, size.target, batch=block)


def operations(task: str, variant: str) -> float:
    """Floating-point operations of the products in one training step.

    Forwards, and twice that backwards.
    """
    source, target, vocabulary, H = SIZES[task]
    peek, read = H * (variant == "peeky"), H * (variant != "baseline")
    encoder = source * (EMBEDDING + H) * 4 * H
    decoder = target * ((EMBEDDING + peek + H) * 4 * H + (H + read) * vocabulary)
    attention = 2 * target * source * H * (variant == "attention")
    return 3 * 2 * BATCH * float(encoder + decoder + attention)
