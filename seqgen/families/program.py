"""The one builder of programs: solo runs, members of sweeps, resumed and imported runs alike."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from seqgen.config import RunConfig
from seqgen.storage.log import Event
from seqgen.training.batches import Batches
from seqgen.training.objective import rematerialised, teacher_forced
from seqgen.training.optimizer import OPTIMIZERS
from seqgen.training.state import create
from seqgen.training.steps import Program
from seqgen.types import Carry, Hyper, Model, Params, Tree


def build_program(
    config: RunConfig,
    model: Model,
    batches: Batches,
    *,
    evaluate: Callable[[Params, Tree], Tree] | None,
    size: int,
    unit: Literal["examples", "tokens"],
) -> Program:
    """What a configuration means, as functions.

    Args:
        config: how it is trained.
        model: what is trained.
        batches: on what.
        evaluate: what members of a compiled program are scored with; None: they are not stacked.
        size: examples or tokens per step.
        unit: which of them.

    """
    training = config.training
    steps = training.length(batches.steps)
    rule = OPTIMIZERS[training.optimizer]
    optimizer = rule(training.schedule, training.warmup, steps)
    loss = teacher_forced(model, training.label_smoothing)
    if training.remat is not None:
        loss = rematerialised(loss, training.remat)

    def carry(params: Params) -> Carry:
        return model.initial_state(params, training.batch)

    return Program(
        init=partial(create, model.init, carry, optimizer),
        carry=carry,
        loss=loss,
        optimizer=optimizer,
        batches=batches,
        adjust=partial(on_plateau, training.plateau),
        evaluate=evaluate,
        steps=steps,
        accumulate=training.accumulate,
        size=size,
        unit=unit,
    )


def on_plateau(plateau: float | None, hyper: Hyper, epochs: Callable[[], list[Event]]) -> Hyper:
    """The rate divided by `plateau` for every earlier epoch that was not the best so far.

    Read from the log, which is cut back to the state's step when a run resumes: no second copy of
    it can disagree.
    """
    if plateau is None:
        return hyper
    divisor = rate_divisor(epochs(), plateau)
    return hyper._replace(learning_rate=hyper.learning_rate / divisor)


def rate_divisor(epochs: list[Event], plateau: float) -> float:
    """`plateau` for each of the epochs whose loss was not below all before it (the book's
    §6.5.4).
    """
    best, divisor = float("inf"), 1.0
    for event in epochs:
        improved = event["loss"] < best
        best, divisor = (event["loss"], divisor) if improved else (best, divisor * plateau)
    return divisor
