"""How a language model is trained, scored and drawn."""

from functools import partial
from typing import Any

import jax
import numpy as np

from seqgen import viz
from seqgen.fit.common import mesh_of, optimizer_of, save
from seqgen.perplexity import exponential, token_losses
from seqgen.rules import Decoding
from seqgen.runs import LanguageModelRun
from seqgen.tasks.task import Split
from seqgen.training import grid, log, loop
from seqgen.training.chunk import Totals, run_chunk
from seqgen.training.objective import rematerialised, teacher_forced
from seqgen.training.source import Lanes
from seqgen.training.state import TrainState, create
from seqgen.types import Hyper, Member, Params, Tree

PAGE = 64
"""Steps whose windows are read from the disk together."""

LANES = 20
"""Lanes in which a split is read while a model trains: an estimate, since each begins without a past."""

SAMPLES, WORDS, CHARACTERS = 3, 40, 200
"""Texts that an evaluation shows, and how long they are."""


def build(run: LanguageModelRun, held_out: Split) -> loop.Program:
    """The compiled functions of a run; windows are read page by page, since the text may be larger than memory.

    Raises `UsageError` where there are fewer devices than the run's lanes are split over.
    """
    config, model, cfg, training = run.config, run.model, run.config.model, run.config.training
    stream = run.tokens("train")
    source = Lanes(len(stream), training.batch, training.window)
    steps = training.length(source.steps)
    optimizer, mesh = optimizer_of(training, steps), mesh_of(training)
    whole, rows = grid.shared_on(mesh), grid.rows_on(mesh)
    loss = teacher_forced(model, cfg)
    if training.remat is not None:
        loss = rematerialised(loss, training.remat)
    member = jax.device_put(Member(jax.random.key(config.seed), config.hyper.traced()), whole)
    start = partial(create, partial(model.init, cfg), optimizer)
    init = jax.jit(lambda member: start(member, model.blank(cfg, training.batch)), out_shardings=whole)
    blank = jax.jit(lambda: model.blank(cfg, training.batch), out_shardings=whole)
    parts = partial(run_chunk, loss, optimizer, source, parts=training.accumulate)
    chunk = jax.jit(parts, donate_argnames=("state", "totals"), out_shardings=whole)
    page: dict[int, Any] = {}

    def windows(number: int) -> Any:
        if number not in page:
            page.clear()
            page[number] = jax.device_put(source.windows(stream, number * PAGE, PAGE), rows)
        return page[number]

    def advance(state: TrainState, totals: Totals, hyper: Hyper, span: Any) -> tuple[TrainState, Totals]:
        """An epoch begins at the lanes' first tokens, without a past."""
        first, last = (int(edge) for edge in span)
        totals = jax.device_put(totals, whole)
        if first == 0:
            state = state._replace(carry=blank())
        for number in range(first // PAGE, -(-last // PAGE)):
            edges = np.clip(np.array([first, last]) - number * PAGE, 0, PAGE).astype(np.int32)
            one = member._replace(hyper=hyper)
            state, totals = chunk((), one, state=state, totals=totals, items=windows(number), span=edges)
        return state, totals

    def plan(state: TrainState) -> Tree:
        """The rate of the epoch: divided by `plateau` for every earlier one that was not the best so far."""
        rate = member.hyper.lr / rate_divisor(log.epochs(run.path), training.plateau or 1.0)
        return member.hyper._replace(lr=rate)

    return loop.Program(
        init=lambda: init(member),
        plan=plan,
        chunk=advance,
        evaluate=lambda params, step: evaluate(run, held_out, params, step, step / source.steps),
        steps=steps,
        epoch_steps=source.steps,
        batch=training.batch * training.window,
        unit="tokens",
    )


def rate_divisor(epochs: list[log.Event], plateau: float) -> float:
    """`plateau` for each of the epochs whose loss was not below all before it (the book's §6.5.4)."""
    best, divisor = float("inf"), 1.0
    for event in epochs:
        best, divisor = (event["loss"], divisor) if event["loss"] < best else (best, divisor * plateau)
    return divisor


def evaluate(run: LanguageModelRun, split: Split, params: Params, step: int, epoch: float) -> tuple[log.Event, str]:
    """An estimate of the perplexity, on several lanes, and some texts."""
    losses = token_losses(run.model, run.config.model, params, run.tokens(split), lanes=LANES)
    loss = float(np.mean(losses, dtype=np.float64))
    scores = {"loss": loss, "perplexity": exponential(loss), "tokens": len(losses), "lanes": LANES}
    return {"event": "evaluate", "split": split, "step": step, "epoch": epoch, **scores}, samples(run, params, step)


def final(run: LanguageModelRun, split: Split, params: Params, step: int, epoch: float) -> tuple[log.Event, str]:
    """The perplexity, in one lane, and some texts."""
    scores = run.evaluate(split)._asdict()
    return {"event": "evaluate", "split": split, "step": step, "epoch": epoch, **scores, "lanes": 1}, samples(run, params, step)


def samples(run: LanguageModelRun, params: Params, step: int) -> str:
    """Texts as the model writes them now, drawn from its whole distribution."""
    writer = run.having(params)
    length = WORDS if run.symbols.unit == "word" else CHARACTERS
    (texts,) = writer.generate(length=length, how=Decoding(temperature=1.0), seed=step, n=SAMPLES)
    return "\n".join(each.text.strip("\n") + "\n" for each in texts)


def draw(run: LanguageModelRun) -> None:
    """figures/: the learning curve."""
    save(run.path / "figures" / "learning", viz.perplexity_figure(log.read(run.path)))
