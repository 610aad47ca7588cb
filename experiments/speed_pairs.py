"""Pairs of many lengths: training in buckets and answering by length, beside packed sequences.

On Multi30k, German to English, words that come twice or more: an attention model of 256, batches
of 2,048 tokens with their padding. A training contestant takes `STEPS` steps, of every bucket its
share of an epoch; both have the same rows, PyTorch's as `experiments.torch_packed` reads them.
Answers are those to the test part, in the blocks of an evaluation, with the same weights on both
sides. What is told is valid tokens a second: padding does not count. The limit of a row is the
products of its valid tokens over the rate of one large product.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import torch_peer
from experiments.buckets import multi30k
from experiments.contestants import on_device
from experiments.timing import as_they_come, product_rate, products, ratio, turns
from experiments.torch_packed import PackedAttention, sentences, train_step, with_weights
from seqgen import families, presets
from seqgen.config import RunConfig, Training
from seqgen.decoding.generate import generate
from seqgen.families import pair_rows
from seqgen.models import build, rnn_seq2seq
from seqgen.training.batches import Buckets
from seqgen.training.sharding import mesh_of, shared_on
from seqgen.training.solo import compile_solo
from seqgen.training.state import HyperConfig
from seqgen.training.steps import Program, zero_totals
from seqgen.types import Batch, Member

EMBEDDING, HIDDEN, TOKENS, STEPS = 64, 256, 2048, 16


class Task(NamedTuple):
    """What trains and answers: the configuration, its data, its program."""

    config: RunConfig
    dataset: Any
    program: Program


@cache
def task(buckets: int) -> Task:
    """Multi30k in so many buckets at most. Raises `SeqgenError` where the file is not there."""
    cfg = presets.model("attention", embedding=EMBEDDING, hidden=HIDDEN, init="modern")
    data = replace(multi30k(), buckets=buckets)
    config = RunConfig(data, cfg, Training(batch_tokens=TOKENS), HyperConfig())
    family = families.family_of(config)
    dataset = family.load(data)
    return Task(config, dataset, family.program(config, dataset))


def shares(steps: Sequence[int], wanted: int) -> list[int]:
    """About `wanted` steps, of each bucket its share, and one at least."""
    return [max(1, round(wanted * each / sum(steps))) for each in steps]


class Part(NamedTuple):
    """The first steps of a bucket in an epoch, and their rows [n, B, ...]."""

    items: Any
    steps: int
    rows: Batch


def parts(made: Task, wanted: int) -> list[Part]:
    """What one call trains on, bucket by bucket. Raises as `task`."""
    batches = made.program.batches
    assert isinstance(batches, Buckets)
    plan = batches.plan(Member(jax.random.key(0), made.config.hyper.traced()), jnp.int32(0))
    counts = shares(batches.bucket_steps, wanted)
    return [
        Part(items, n, jax.tree.map(lambda leaf, i=items.rows[:n]: np.asarray(leaf)[i], data))
        for items, n, data in zip(plan, counts, batches.data, strict=True)
    ]


def valid_tokens(rows: Batch) -> int:
    """Tokens that are no padding, of both sides."""
    return int(np.asarray(rows.length).sum() + np.asarray(rows.mask).sum())


def our_training(made: Task, wanted: int) -> Callable[[], None]:
    """The steps as a run takes them, a call for each bucket."""
    program, mesh = made.program, mesh_of(1)
    functions, whole = compile_solo(program, mesh), shared_on(mesh)
    member = Member(jax.random.key(0), made.config.hyper.traced())
    data, member, totals = jax.device_put((program.batches.data, member, zero_totals()), whole)
    kept = {"state": functions.init(member), "totals": totals}
    each = [(part.items, np.array([0, part.steps], np.int32)) for part in parts(made, wanted)]

    def go() -> None:
        for items, span in each:
            kept["state"], kept["totals"] = functions.steps(
                data, member, state=kept["state"], totals=kept["totals"], items=items, span=span
            )
        jax.block_until_ready((kept["state"], kept["totals"]))

    return go


@on_device()
def their_training(made: Task, wanted: int) -> Callable[[], None]:
    """The same rows, step by step, in PyTorch."""
    sizes = made.dataset.sizes
    model = PackedAttention(sizes.source, sizes.target, EMBEDDING, HIDDEN)
    optimizer = torch_peer.optimizer(model)
    batches = [
        sentences(jax.tree.map(lambda leaf, i=i: leaf[i], part.rows))
        for part in parts(made, wanted)
        for i in range(part.steps)
    ]

    def go() -> None:
        for batch in batches:
            train_step(model, optimizer, batch)

    return go


def operations(made: Task, rows: Batch) -> float:
    """Floating-point operations of the products of rows, forwards: of valid tokens alone."""
    H, vocabulary = HIDDEN, made.dataset.sizes.target
    source, target = np.asarray(rows.length), np.asarray(rows.mask).sum(-1)
    cells = float(source.sum() + target.sum()) * (EMBEDDING + H) * 4 * H
    readout = float(target.sum()) * 2 * H * vocabulary
    return 2 * (cells + readout + 2.0 * float((source * target).sum()) * H)


def training_rows(repeats: int) -> list[dict]:
    """Buckets beside PyTorch's packed sequences, and beside one full width of ours."""
    made, full = task(8), task(1)
    contestants = {
        "ours": our_training(made, STEPS),
        "torch": their_training(made, STEPS),
        "full": our_training(full, STEPS),
    }
    times = turns(contestants | products("float32"), repeats)
    rows = {"ours": parts(made, STEPS), "full": parts(full, STEPS)}
    rows["torch"] = rows["ours"]
    tokens = {name: sum(valid_tokens(part.rows) for part in each) for name, each in rows.items()}
    each = {name: [t / tokens[name] for t in times[name]] for name in contestants}
    needed = 3 * sum(operations(made, part.rows) for part in rows["ours"])
    limit = tokens["ours"] * product_rate(times) / needed
    return [
        row("training step", "PyTorch, packed", each["ours"], each["torch"], limit=limit),
        row("training step", "one full width", each["ours"], each["full"], limit=limit),
    ]


def blocks_of(made: Task) -> list[Batch]:
    """The test part as an evaluation decodes it, block by block."""
    return [
        jax.tree.map(lambda leaf, i=i: leaf[i], batch)
        for batch in pair_rows.split_blocks(made.dataset, "test")
        for i in range(len(batch.inputs))
        if np.asarray(batch.mask[i]).any()
    ]


def end_of(made: Task) -> int:
    """The token that ends an answer."""
    end = made.dataset.padding.end(made.dataset.tokenizer.special)
    assert end is not None
    return end


def our_answers(made: Task, params: Any) -> Callable[[], list[Any]]:
    """Greedy answers, each at most as long as its bucket is wide."""
    cfg = made.config.model
    assert isinstance(cfg, rnn_seq2seq.Config)
    model, end = build(cfg, made.dataset.sizes), end_of(made)

    @partial(jax.jit, static_argnames="limit")
    def answer(params: Any, source: Any, length: Any, limit: int) -> Any:
        start = model.start(params, source, length, capacity=limit)
        return generate(partial(model.step, params), start, limit=limit, end=end).tokens

    given = [
        (*jax.device_put((block.source, block.length)), block.targets.shape[1])
        for block in blocks_of(made)
    ]
    return lambda: jax.block_until_ready([answer(params, *each) for each in given])


@on_device()
def their_answers(made: Task, params: Any) -> Callable[[], list[Any]]:
    """The same blocks in PyTorch."""
    sizes, end = made.dataset.sizes, end_of(made)
    model = with_weights(PackedAttention(sizes.source, sizes.target, EMBEDDING, HIDDEN), params)
    given = [(sentences(block), block.targets.shape[1]) for block in blocks_of(made)]
    start = sizes.special.bos
    return lambda: [
        model.greedy(batch, start=start, end=end, limit=limit) for batch, limit in given
    ]


def steps_of(tokens: Any) -> int:
    """How many tokens the longest answer of a block has."""
    return int((np.asarray(tokens) != -1).any(0).sum())


def answered(block: Batch, steps: int) -> Batch:
    """A block's true rows, each with an answer of so many tokens: what its products are for."""
    rows = np.asarray(block.mask).any(-1)
    mask = np.broadcast_to(np.arange(block.targets.shape[1]) < steps, block.targets.shape)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[rows], block._replace(mask=mask))


def answering_row(repeats: int) -> dict:
    """Answers to the test part. Raises `ValueError` where the two take other numbers of steps:
    then one has less to do.
    """
    made = task(8)
    member = Member(jax.random.key(0), made.config.hyper.traced())
    params = jax.jit(made.program.init)(member).params
    contestants = {"ours": our_answers(made, params), "torch": their_answers(made, params)}
    steps = {name: [steps_of(block) for block in go()] for name, go in contestants.items()}
    if steps["ours"] != steps["torch"]:
        raise ValueError(f"{steps}: not the same answers")
    times = turns(contestants | products("float32"), repeats)
    rows = [answered(*each) for each in zip(blocks_of(made), steps["ours"], strict=True)]
    tokens = sum(map(valid_tokens, rows))
    limit = tokens * product_rate(times) / sum(operations(made, each) for each in rows)
    each = {name: [t / tokens for t in times[name]] for name in contestants}
    return row("greedy answers", "PyTorch, packed", each["ours"], each["torch"], limit=limit)


def row(
    what: str, beside: str, ours: list[float], theirs: list[float], *, limit: float
) -> dict[str, Any]:
    """A row of the result, from the seconds a token of each turn.

    Args:
        what: is measured.
        beside: what.
        ours: seconds a token.
        theirs: the same of what stands beside.
        limit: tokens a second that the products alone would allow.

    """
    rate = 1 / statistics.median(ours)
    return {
        "what": what,
        "beside": beside,
        "ours_tokens_per_s": rate,
        "their_tokens_per_s": 1 / statistics.median(theirs),
        "limit_tokens_per_s": limit,
        "fraction_of_limit": rate / limit,
        "ratio": ratio(theirs, ours),
    }


def measure(repeats: int) -> dict[str, list[dict]]:
    """One round."""

    def rows() -> Iterator[dict]:
        yield from training_rows(repeats)
        yield answering_row(repeats)

    return as_they_come("pairs_speed", "--pairs", repeats, {"rows": rows()})
