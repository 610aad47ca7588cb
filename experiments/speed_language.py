"""How fast language models train and write beside PyTorch, in one process; and long windows.

`python -m experiments.speed --language-model` is its command.
"""

import resource
import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments import torch_peer
from experiments.contestants import compiled_steps, going_on, on_device
from experiments.timing import (
    accelerated,
    as_they_come,
    in_processes,
    own_products,
    product_rate,
    products,
    ratio,
    show,
    turns,
)
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.decoding.generate import generate
from seqgen.decoding.logits import GenerationConfig
from seqgen.families.program import build_program
from seqgen.models import build, rnn_language_model
from seqgen.tasks.text import Text
from seqgen.training.batches import Windows
from seqgen.training.state import HyperConfig
from seqgen.types import Model, Sizes, Special

CONFIG, RECIPE, HYPER = presets.LANGUAGE_MODELS["rnnlm"]

STEPS, STEPS_ON_ACCELERATOR = 20, 100
"""Training steps of a turn: the first take about a second on 2 cores."""


class Size(NamedTuple):
    """A language model's settings and its vocabulary's size."""

    cfg: rnn_language_model.Config
    vocabulary: int

    @property
    def model(self) -> Model:
        """Its functions."""
        return build(self.cfg, Sizes(0, self.vocabulary, Special()))


RNNLM = Size(CONFIG, 10_000)

SIZES = {"words": RNNLM, "characters": Size(rnn_language_model.Config(128, 128), 65)}

TEXTS, LENGTH = 64, 100
"""Texts that are written together, and their tokens."""

LONG, SPAN, LANES = 2048, 128, 4


def windows(size: Size, training: Training, steps: int) -> Windows:
    """Random tokens for so many steps: what they say does not change the time."""
    count = steps * training.batch * training.window + 1
    stream = np.random.default_rng(0).integers(size.vocabulary, size=count, dtype=np.int32)
    return Windows(stream, training.batch, training.window)


def compiled_training(
    size: Size, training: Training, hyper: HyperConfig, steps: int
) -> tuple[jax.stages.Compiled, dict[str, Any]]:
    """Training steps, compiled as a run compiles them, and what they are given.

    Args:
        size: of the model.
        training: its recipe.
        hyper: its hyper-parameters.
        steps: how many are taken together.

    """
    batches = windows(size, training, steps)
    program = build_program(
        RunConfig(Text(), size.cfg, training, hyper),
        size.model,
        batches,
        evaluate=lambda params, blocks: (),
        size=training.batch * training.window,
        unit="tokens",
    )
    items = jax.device_put(batches.windows(0, steps))
    return compiled_steps(program, hyper, steps, items)


def our_training(
    size: Size, training: Training, hyper: HyperConfig, steps: int
) -> Callable[[], None]:
    """`steps` training steps, as a run takes them.

    Args:
        size: of the model.
        training: its recipe.
        hyper: its hyper-parameters.
        steps: how many.

    """
    return going_on(*compiled_training(size, training, hyper, steps))


@on_device()
def their_training(
    size: Size, training: Training, hyper: HyperConfig, steps: int
) -> Callable[[], None]:
    """The same recipe in PyTorch: the carry is kept from window to window, without its history.

    Args:
        size: of the model.
        training: its recipe.
        hyper: its hyper-parameters.
        steps: how many.

    """
    model = torch_peer.LanguageModel(size.vocabulary, size.cfg.embedding, size.cfg.hidden)
    optimizer = torch.optim.SGD(model.parameters(), lr=hyper.lr)
    items = torch.as_tensor(windows(size, training, steps).windows(0, steps))
    data = items.long().transpose(1, 2).contiguous()
    carry = model.blank(training.batch)

    def go() -> None:
        nonlocal carry
        for window in data:
            inputs, targets = window[:-1], window[1:]
            carry = torch_peer.language_model_step(
                model, optimizer, carry, inputs, targets, hyper.clip
            )

    return go


def matrices(size: Size, *, writing: bool = False) -> tuple[tuple[int, int], ...]:
    """Rows and columns of an LSTM's matrix and of the output's.

    While it writes, few symbols take their product before the loop.
    """
    few = writing and size.vocabulary <= rnn_language_model.FEW
    inputs, hidden = 0 if few else size.cfg.embedding, size.cfg.hidden
    return (inputs + hidden, 4 * hidden), (hidden, size.vocabulary)


def operations(shapes: tuple[tuple[int, int], ...]) -> float:
    """Floating-point operations of the products for one token, forwards.

    A training step takes twice that backwards.
    """
    return 2 * float(sum(rows * columns for rows, columns in shapes))


def peak(make: Callable[..., Callable[[], None]]) -> float:
    """MB of memory that a process has at most, of which it had more than before it trained."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = make(RNNLM, RECIPE, HYPER, STEPS)
    run()
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def training_row(repeats: int) -> dict:
    """The book's Rnnlm recipe: milliseconds a step, tokens a second, and the limit."""
    tokens, shapes = RECIPE.batch * RECIPE.window, matrices(RNNLM)
    steps = STEPS_ON_ACCELERATOR if accelerated() else STEPS
    contestants = {
        "ours": our_training(RNNLM, RECIPE, HYPER, steps),
        "torch": their_training(RNNLM, RECIPE, HYPER, steps),
        "products": own_products(shapes, tokens, steps, backwards=True),
    }
    times = turns(contestants | products("float32"), repeats)
    limit = 1e3 * 3 * tokens * operations(shapes) / product_rate(times)
    step = {name: 1e3 * statistics.median(times[name]) / steps for name in contestants}
    return {
        "model": "rnnlm",
        **{f"{who}_ms": ms for who, ms in step.items()},
        **{f"{who}_tokens_per_s": 1e3 * tokens / ms for who, ms in step.items()},
        "limit_tokens_per_s": 1e3 * tokens / limit,
        "over_limit": step["ours"] / limit,
        "over_products": step["ours"] / step["products"],
        "ratio": ratio(times["torch"], times["ours"]),
    }


def our_writing(size: Size, generation: GenerationConfig) -> Callable[[], object]:
    """`TEXTS` texts in one program."""
    model, processors = size.model, generation.processors()
    params = jax.jit(model.init)(jax.random.key(0))

    @jax.jit
    def write(params, prompt, keys):
        start = model.start(params, prompt, None, capacity=LENGTH)
        step = partial(model.step, params)
        made = generate(step, start, limit=LENGTH, end=None, processors=processors, keys=keys)
        return made.tokens

    prompt, keys = jnp.zeros((TEXTS, 1), jnp.int32), jax.random.split(jax.random.key(1), TEXTS)
    return lambda: jax.block_until_ready(write(params, prompt, keys))


@on_device()
def their_writing(size: Size, generation: GenerationConfig) -> Callable[[], object]:
    """The same in a Python loop over `nn.LSTMCell`."""
    writer = torch_peer.Writer(size.vocabulary, size.cfg.embedding, size.cfg.hidden)
    return lambda: writer.write(TEXTS, LENGTH, generation.top_p)


def writing_row(name: str, generation: GenerationConfig, repeats: int) -> dict:
    """Tokens a second of `TEXTS` texts drawn together, and what the products alone would allow."""
    shapes = matrices(SIZES[name], writing=True)
    contestants = {
        "ours": our_writing(SIZES[name], generation),
        "torch": their_writing(SIZES[name], generation),
        "products": own_products(shapes, TEXTS, LENGTH, backwards=False),
    }
    times = turns(contestants | products("float32"), repeats)
    seconds = {who: statistics.median(times[who]) for who in contestants}
    return {
        "unit": name,
        "top_p": generation.top_p or 1.0,
        **{f"{who}_tokens_per_s": TEXTS * LENGTH / took for who, took in seconds.items()},
        "limit_tokens_per_s": product_rate(times) / operations(shapes),
        "ratio": ratio(times["torch"], times["ours"]),
    }


def long_row(remat: int | None, accumulate: int, repeats: int) -> dict:
    """A window of `LONG` tokens: milliseconds a step, and the memory that XLA sets aside for it.

    Beside its arguments'.
    """
    lanes = Training(batch=LANES, window=LONG, optimizer="sgd")
    training = replace(lanes, remat=remat, accumulate=accumulate)
    steps, given = compiled_training(RNNLM, training, HYPER, 1)
    memory: Any = steps.memory_analysis()
    times = turns({"ours": going_on(steps, given)}, repeats)["ours"]
    milliseconds = 1e3 * statistics.median(times)
    return {
        "window": LONG,
        "lanes": LANES,
        "remat": remat,
        "accumulate": accumulate,
        "ms": milliseconds,
        "megabytes": memory.temp_size_in_bytes / 1e6,
    }


def measure(repeats: int) -> dict[str, list[dict]]:
    """One round, in a process of its own."""
    settings = GenerationConfig(temperature=1.0), GenerationConfig(top_p=0.9)
    parts = {
        "train": map(training_row, [3 * repeats]),
        "write": (writing_row(name, each, repeats) for name in SIZES for each in settings),
    }
    return as_they_come("speed_language", "--language-model", repeats, parts)


def measure_memory() -> dict:
    """Peak memory of each, in processes of their own."""
    found = {f"{name}_megabytes": in_processes(1, peak, make)[0] for name, make in PEERS.items()}
    return show(found)


def measure_long(repeats: int) -> list[dict]:
    """The same window as it is, with its activations recomputed, and lane by lane."""
    settings = (None, 1), (SPAN, 1), (None, LANES), (SPAN, LANES)
    return [show(long_row(remat, accumulate, repeats)) for remat, accumulate in settings]


PEERS = {"ours": our_training, "torch": their_training}
