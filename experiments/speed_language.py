"""How fast language models train and write beside PyTorch, in one process; and what long windows cost.

`python -m experiments.speed --language-model` is its command.
"""

import resource
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Array

from experiments import torch_peer
from experiments.timing import in_processes, product_rate, products, ratio, show, turns
from seqgen import presets
from seqgen.config import Training
from seqgen.decoding import generate
from seqgen.models import language_model
from seqgen.rules import Decoding
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import rematerialised, teacher_forced
from seqgen.training.source import Lanes
from seqgen.training.state import OPTIMIZERS, HyperConfig, create
from seqgen.types import Member

RNNLM, RECIPE, HYPER = presets.LANGUAGE_MODELS["rnnlm"]

STEPS = 20
"""Training steps that take about a second."""

SIZES = {"words": language_model.Config(vocabulary=10_000), "characters": language_model.Config(128, 128, vocabulary=65)}

TEXTS, LENGTH = 64, 100
"""Texts that are written together, and their tokens."""

LONG, SPAN, LANES = 2048, 128, 4


def windows(cfg: language_model.Config, training: Training, steps: int) -> np.ndarray:
    """Random tokens [steps, B, T + 1]: what they say does not change the time."""
    shape = steps, training.batch, training.window + 1
    return np.random.default_rng(0).integers(cfg.vocabulary, size=shape, dtype=np.int32)


def compiled_chunk(cfg: language_model.Config, training: Training, hyper: HyperConfig, steps: int) -> tuple[Any, list]:
    """One chunk of training, compiled as a run compiles it, and what it is given."""
    source = Lanes(0, training.batch, training.window)
    optimizer = OPTIMIZERS[training.optimizer](training.schedule, training.warmup, steps)
    loss = teacher_forced(language_model, cfg)
    loss = loss if training.remat is None else rematerialised(loss, training.remat)
    member = Member(jax.random.key(0), hyper.traced())
    state = create(partial(language_model.init, cfg), optimizer, member, language_model.blank(cfg, training.batch))
    chunk = partial(run_chunk, loss, optimizer, source, (), member, parts=training.accumulate)
    given = [jax.tree.map(jnp.copy, state), zero_totals(SUMS), jnp.asarray(windows(cfg, training, steps))]
    span = np.array([0, steps], np.int32)
    return jax.jit(chunk, donate_argnums=(0, 1)).lower(*given, span).compile(), [*given, span]


def our_training(cfg: language_model.Config, training: Training, hyper: HyperConfig, steps: int) -> Callable[[], None]:
    """`steps` training steps, as a run takes them: one chunk."""
    chunk, given = compiled_chunk(cfg, training, hyper, steps)

    def go() -> None:
        given[:2] = chunk(*given)
        jax.block_until_ready(given[:2])

    return go


def their_training(cfg: language_model.Config, training: Training, hyper: HyperConfig, steps: int) -> Callable[[], None]:
    """The same recipe in PyTorch: the carry is kept from window to window, without its history."""
    model = torch_peer.LanguageModel(cfg.vocabulary, cfg.embedding, cfg.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=hyper.lr)
    data = torch.as_tensor(windows(cfg, training, steps)).long().transpose(1, 2).contiguous()
    carry = model.blank(training.batch)

    def go() -> None:
        nonlocal carry
        for window in data:
            carry = torch_peer.language_model_step(model, optimizer, carry, window[:-1], window[1:], hyper.clip)

    return go


def matrices(cfg: language_model.Config, *, writing: bool = False) -> tuple[tuple[int, int], ...]:
    """Rows and columns of an LSTM's and of the output's; while it writes, few symbols take their product before the loop."""
    inputs = 0 if writing and cfg.vocabulary <= language_model.FEW else cfg.embedding
    return (inputs + cfg.hidden, 4 * cfg.hidden), (cfg.hidden, cfg.vocabulary)


def operations(shapes: tuple[tuple[int, int], ...]) -> float:
    """Floating-point operations of the products for one token, forwards; a training step takes twice that backwards."""
    return 2 * float(sum(rows * columns for rows, columns in shapes))


def own_products(shapes: tuple[tuple[int, int], ...], rows: int, steps: int, *, backwards: bool) -> Callable[[], object]:
    """The products of `steps` steps with `rows` vectors each and nothing else, at the sizes that they have."""
    given = [(jnp.ones((rows, i)), jnp.ones((i, o)), jnp.ones((rows, o))) for i, o in shapes]

    @jax.jit
    def go(given):
        def step(_: Array, small: Array) -> Array:
            anew = [(x + small, w, dy + small) for x, w, dy in given]
            found = [(x @ w, x.T @ dy, dy @ w.T) if backwards else x @ w for x, w, dy in anew]
            return 1e-30 * sum(product[0, 0] for product in jax.tree.leaves(jax.lax.optimization_barrier(found)))

        return jax.lax.fori_loop(0, steps, step, jnp.float32(0))

    return lambda: go(given).block_until_ready()


def peak(make: Callable[..., Callable[[], None]]) -> float:
    """MB of memory that a process has at most, of which it had more than before it trained."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = make(RNNLM_AT_SIZE, RECIPE, HYPER, STEPS)
    run()
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


RNNLM_AT_SIZE = SIZES["words"]


def training_row(repeats: int) -> dict:
    """The book's Rnnlm recipe: milliseconds a step, tokens a second, and the limit."""
    tokens, shapes = RECIPE.batch * RECIPE.window, matrices(RNNLM_AT_SIZE)
    contestants = {
        "ours": our_training(RNNLM_AT_SIZE, RECIPE, HYPER, STEPS),
        "torch": their_training(RNNLM_AT_SIZE, RECIPE, HYPER, STEPS),
        "products": own_products(shapes, tokens, STEPS, backwards=True),
    }
    times = turns(contestants | products("float32"), repeats)
    limit = 1e3 * 3 * tokens * operations(shapes) / product_rate(times)
    step = {name: 1e3 * statistics.median(times[name]) / STEPS for name in contestants}
    return {
        "model": "rnnlm",
        **{f"{who}_ms": milliseconds for who, milliseconds in step.items()},
        **{f"{who}_tokens_per_s": 1e3 * tokens / milliseconds for who, milliseconds in step.items()},
        "limit_tokens_per_s": 1e3 * tokens / limit,
        "over_limit": step["ours"] / limit,
        "over_products": step["ours"] / step["products"],
        "ratio": ratio(times["torch"], times["ours"]),
    }


def our_writing(cfg: language_model.Config, how: Decoding) -> Callable[[], object]:
    """`TEXTS` texts in one program."""
    params = jax.jit(partial(language_model.init, cfg))(jax.random.key(0))

    @jax.jit
    def write(params, prompt, keys):
        start = language_model.start(cfg, params, prompt, None)
        return generate(
            partial(language_model.step, cfg, params), start, limit=LENGTH, end=None, rules=how.rules(), keys=keys
        ).tokens

    prompt, keys = jnp.zeros((TEXTS, 1), jnp.int32), jax.random.split(jax.random.key(1), TEXTS)
    return lambda: jax.block_until_ready(write(params, prompt, keys))


def their_writing(cfg: language_model.Config, how: Decoding) -> Callable[[], object]:
    """The same in a Python loop over `nn.LSTMCell`."""
    writer = torch_peer.Writer(cfg.vocabulary, cfg.embedding, cfg.hidden)
    return lambda: writer.write(TEXTS, LENGTH, how.top_p)


def writing_row(name: str, how: Decoding, repeats: int) -> dict:
    """Tokens a second of `TEXTS` texts drawn together, and what the products alone would allow."""
    shapes = matrices(SIZES[name], writing=True)
    contestants = {
        "ours": our_writing(SIZES[name], how),
        "torch": their_writing(SIZES[name], how),
        "products": own_products(shapes, TEXTS, LENGTH, backwards=False),
    }
    times = turns(contestants | products("float32"), repeats)
    rates = {f"{who}_tokens_per_s": TEXTS * LENGTH / statistics.median(times[who]) for who in contestants}
    rates["limit_tokens_per_s"] = product_rate(times) / operations(shapes)
    return {"unit": name, "top_p": how.top_p or 1.0, **rates, "ratio": ratio(times["torch"], times["ours"])}


def long_row(remat: int | None, accumulate: int, repeats: int) -> dict:
    """A window of `LONG` tokens: milliseconds a step, and the memory that XLA sets aside for it beside its arguments."""
    training = Training(batch=LANES, window=LONG, optimizer="sgd", remat=remat, accumulate=accumulate)
    chunk, given = compiled_chunk(RNNLM_AT_SIZE, training, HYPER, 1)
    megabytes = chunk.memory_analysis().temp_size_in_bytes / 1e6

    def go() -> None:
        given[:2] = chunk(*given)
        jax.block_until_ready(given[:2])

    milliseconds = 1e3 * statistics.median(turns({"ours": go}, repeats)["ours"])
    return {
        "window": LONG,
        "lanes": LANES,
        "remat": remat,
        "accumulate": accumulate,
        "ms": milliseconds,
        "megabytes": megabytes,
    }


def measure(repeats: int) -> dict[str, list[dict]]:
    """One round, in a process of its own."""
    rows = [writing_row(name, how, repeats) for name in SIZES for how in (Decoding(temperature=1.0), Decoding(top_p=0.9))]
    return {"train": [show(training_row(3 * repeats))], "write": [show(row) for row in rows]}


def measure_memory() -> dict:
    """Peak memory of each, in processes of their own."""
    found = {f"{name}_megabytes": in_processes(1, peak, make)[0] for name, make in PEERS.items()}
    return show(found)


def measure_long(repeats: int) -> list[dict]:
    """The same window as it is, with its activations computed again, and lane by lane."""
    return [show(long_row(*how, repeats)) for how in ((None, 1), (SPAN, 1), (None, LANES), (SPAN, LANES))]


PEERS = {"ours": our_training, "torch": their_training}
