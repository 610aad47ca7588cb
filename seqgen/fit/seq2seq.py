"""How a model that answers questions is trained, scored and drawn."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from seqgen import evaluation, viz
from seqgen.fit.common import mesh_of, optimizer_of, save
from seqgen.runs import Seq2seqRun
from seqgen.tasks.task import Split, render
from seqgen.training import grid, log, loop
from seqgen.training.chunk import Totals, run_chunk
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import TrainState, create
from seqgen.types import Member, Params, Tree

SAMPLES = 10
"""Decoded examples that every evaluation shows."""


def build(run: Seq2seqRun, held_out: Split) -> loop.Program:
    """The compiled functions of a run; the data are put on its devices once and handed to every chunk.

    Raises `UsageError` where there are fewer devices than the run's batches are split over.
    """
    config, model = run.config, run.model
    batch = run.batch("train")
    source = Epochs(len(batch.source), config.training.batch)
    steps = config.training.length(source.steps)
    optimizer = optimizer_of(config.training, steps)
    member = Member(jax.random.key(config.seed), config.hyper.traced())
    mesh = mesh_of(config.training)
    whole, rows = grid.shared_on(mesh), grid.rows_on(mesh)
    data, member = jax.device_put((batch, member), whole)
    init = jax.jit(lambda member: create(partial(model.init, config.model), optimizer, member), out_shardings=whole)
    plan = jax.jit(
        lambda member, state: source.plan(member, state.step - state.step % source.steps, source.steps), out_shardings=rows
    )
    loss = teacher_forced(model, config.model)
    parts = partial(run_chunk, loss, optimizer, source, parts=config.training.accumulate)
    chunk = jax.jit(parts, donate_argnames=("state", "totals"), out_shardings=whole)

    def advance(state: TrainState, totals: Totals, items: Tree, span: Any) -> tuple[TrainState, Totals]:
        return chunk(data, member, state=state, totals=jax.device_put(totals, whole), items=items, span=span)

    return loop.Program(
        init=lambda: init(member),
        plan=lambda state: plan(member, state),
        chunk=advance,
        evaluate=lambda params, step: evaluate(run, held_out, jax.device_get(params), step, step / source.steps),
        steps=steps,
        epoch_steps=source.steps,
        batch=config.training.batch,
    )


def evaluate(run: Seq2seqRun, split: Split, params: Params, step: int, epoch: float) -> tuple[log.Event, str]:
    """Score a whole split; the first decoded examples as text."""
    splits = run.dataset.splits
    at_least = max(len(splits.validation), len(splits.test))
    scores, tokens = evaluation.evaluate(
        run.model, run.config.model, params, run.batch(split), run.vocabulary, run.layout, at_least=at_least
    )
    return scored(split, step, epoch, scores), samples(run, split, tokens)


def scored(split: Split, step: int, epoch: float, scores: evaluation.Scores) -> log.Event:
    """An evaluation as the log has it."""
    return {"event": "evaluate", "split": split, "step": step, "epoch": epoch, **scores._asdict()}


final = evaluate


def samples(run: Seq2seqRun, split: Split, tokens: Int[np.ndarray, "N T"]) -> str:
    """The first questions of a split with truth, guess and a tick or a cross, in columns."""
    guesses = [render(row, run.vocabulary, run.layout) for row in tokens[:SAMPLES]]
    return columns([(*pair, guess) for pair, guess in zip(run.pairs(split), guesses, strict=False)])


def columns(rows: list[tuple[str, str, str]]) -> str:
    """Question, truth, guess and a tick or a cross, in columns."""
    rows = [("question", "truth", "guess"), *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    ticks = ["", *("✓" if guess == truth else "✗" for _, truth, guess in rows[1:])]
    return "".join(f"{line}  {tick}".rstrip() + "\n" for line, tick in zip(lines, ticks, strict=True))


def draw(run: Seq2seqRun) -> None:
    """figures/: the learning curve and, for a model that attends, a map of one held-out question of each format."""
    save(run.path / "figures" / "learning", viz.learning_figure(log.read(run.path)))
    if run.attends:
        questions = {run.dataset.task.format(question): question for question, _ in run.pairs("test")[:200]}
        if drawn := maps(run, [questions[name] for name in sorted(questions)][:4]):
            save(run.path / "figures" / "attention", viz.attention_figure(drawn))


def maps(run: Seq2seqRun, questions: list[str], *, gold: bool = False) -> list[viz.AttentionMap]:
    """What is drawn of a run's answers: one map a question and head; nothing of an answer that is empty.

    With `gold`, the positions that the task says each character is read from are outlined; the answers must be right.
    """
    task = run.dataset.task
    return [
        viz.AttentionMap(weights, seen.question, seen.answer, task.gold(seen.question, seen.answer) if gold else None)
        for seen in map(run.attention, questions)
        if seen.answer
        for weights in seen.weights
    ]
