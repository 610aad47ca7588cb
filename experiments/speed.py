"""How fast seqgen trains and decodes beside PyTorch, in one run, at the book's sizes.

Claim     on one jax device a float32 training step takes no longer than PyTorch's on any row, and decoding neither
Command   make bench      (installs torch into the environment, then python -m experiments.speed)
Method    in one process, after a warm-up, the two take turns; a ratio is the median of the pairwise ones, and a row the
          median over three processes, since memory lies otherwise in each. Same mathematics, shapes and batch: nn.LSTM,
          Adam(fused=True), clip_grad_norm_ on PyTorch's side; bfloat16 beside its autocast. The limit is the matrix
          products' operations over the rate of one large product, which takes its turns too.
Time      about 15 minutes on 2 quiet cores
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import tyro

from experiments import torch_peer
from experiments.records import provenance
from experiments.timing import in_processes, keep, over_rounds, product_rate, products, ratio, show, turns
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


def training_row(task: str, variant: str, dtype: Dtype, repeats: int) -> dict:
    """Milliseconds a step, ours and PyTorch's, and the limit."""
    steps = CHUNK[task]
    contestants = {"ours": our_training(task, variant, dtype, steps), "torch": their_training(task, variant, dtype, steps)}
    times = turns(contestants | products(dtype), repeats)
    limit = 1e3 * operations(task, variant) / product_rate(times)
    step = {name: 1e3 * statistics.median(times[name]) / steps for name in contestants}
    speeds = {"ratio": ratio(times["torch"], times["ours"]), "limit_ms": limit, "fraction_of_limit": limit / step["ours"]}
    return {"task": task, "model": variant, "dtype": dtype, "ours_ms": step["ours"], "torch_ms": step["torch"], **speeds}


def decoding_row(task: str, variant: str, repeats: int) -> dict:
    """Seconds for 5,000 questions: ours, PyTorch's (the better of one batch and blocks), and one question at a time."""
    alone = 100
    contestants = {
        "ours": our_decoding(task, variant, QUESTIONS),
        "torch": their_decoding(task, variant, QUESTIONS, QUESTIONS),
        "torch_blocks": their_decoding(task, variant, QUESTIONS, 500),
        "torch_alone": their_decoding(task, variant, alone, 1),
    }
    times = turns(contestants, repeats)
    peer = min("torch", "torch_blocks", key=lambda name: statistics.median(times[name]))
    single = [t * QUESTIONS / alone for t in times["torch_alone"]]
    seconds = {"ours": times["ours"], "torch": times[peer], "torch_alone": single}
    speeds = {"ratio": ratio(times[peer], times["ours"]), "ratio_alone": ratio(single, times["ours"])}
    return {"task": task, "model": variant, **{f"{name}_s": statistics.median(t) for name, t in seconds.items()}, **speeds}


def first_step(folder: str, name: str) -> float:
    """Seconds from nothing to the logged end of the first step: a new process, with its cache in `folder`."""
    log = Path(folder, name, "metrics.jsonl")
    words = ["train", "dates", "attention", "--draws", "4000", "--steps", "1", "--name", str(log.parent)]
    cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    began = time.perf_counter()
    command, null = [sys.executable, "-m", "seqgen", *words], subprocess.DEVNULL
    with subprocess.Popen(command, env=os.environ | cache, stdout=null, stderr=null) as process:
        while not (log.exists() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.005)
        return time.perf_counter() - began


def startup(repeats: int = 3) -> dict[str, float]:
    """Seconds to the first step, with nothing compiled before and with all of it."""
    seconds: dict[str, list[float]] = {"cold_s": [], "warm_s": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name, times in seconds.items():
                times.append(first_step(folder, name))
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure(only: tuple[str, ...], repeats: int) -> dict[str, list[dict]]:
    """One round: the rows of the parts asked for."""
    rows: dict[str, list[dict]] = {}
    if "train" in only:
        cells = itertools.product(DTYPES, SIZES, VARIANTS)
        rows["train"] = [show(training_row(task, variant, dtype, repeats)) for dtype, task, variant in cells]
    if "decode" in only:
        rows["decode"] = [show(decoding_row(task, variant, repeats)) for task in SIZES for variant in VARIANTS]
    return rows


def geometric_means(rows: list[dict]) -> dict[str, list[float]]:
    """Of the training rows' ratios, round by round, for each dtype."""
    ratios = {dtype: [row["ratios"] for row in rows if row["dtype"] == dtype] for dtype in DTYPES}
    return {dtype: [statistics.geometric_mean(one) for one in zip(*lists, strict=True)] for dtype, lists in ratios.items()}


def main(
    rounds: int = 3,
    repeats: int = 4,
    only: tuple[str, ...] = ("train", "decode", "start"),
    grid: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
) -> None:
    """Measure and write results/speed.json, under the version of jax.

    Args:
        rounds: processes, one after another.
        repeats: turns of each row in each of them.
        only: which parts; the file is written when all are measured.
        grid: measure many runs in one program instead, and write results/grid.json.

    """
    if grid:
        from experiments.speed_grid import measure as measure_grid

        found = [over_rounds(row) for row in zip(*in_processes(rounds, measure_grid, repeats), strict=True)]
        origin = {**provenance("python -m experiments.speed --grid"), "torch": torch.__version__, "rounds": rounds}
        keep("grid", {**origin, "repeats": repeats, "rows": found})
        return
    measured = in_processes(rounds, measure, only, repeats)
    parts = [name for name in ("train", "decode") if name in only]
    record: dict = {name: [over_rounds(rows) for rows in zip(*(one[name] for one in measured), strict=True)] for name in parts}
    if "train" in only:
        record["geometric_mean"] = show(geometric_means(record["train"]))
    if "start" in only:
        record["startup"] = show(startup())
    if len(record) == 4:
        origin = {**provenance("python -m experiments.speed"), "torch": torch.__version__, "rounds": rounds, "repeats": repeats}
        keep("speed", {**origin, **record})


if __name__ == "__main__":
    tyro.cli(main)
