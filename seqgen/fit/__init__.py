"""From a run directory to a trained run: the program that its configuration means, trained, tested and drawn."""

from types import ModuleType

import jax.numpy as jnp

from seqgen.files import alone, write
from seqgen.fit import language_model, seq2seq
from seqgen.runs import LanguageModelRun, Run, Seq2seqRun
from seqgen.training import checkpoint, log, loop
from seqgen.training.chunk import SUMS, zero_totals
from seqgen.types import Params

KINDS: dict[type[Run], ModuleType] = {Seq2seqRun: seq2seq, LanguageModelRun: language_model}
"""A kind of run -> how it is trained, scored and drawn: `build`, `evaluate`, `final`, `draw`."""

WATCHED = {
    "validation": "the validation split is evaluated at every epoch",
    "test": "there are no validation rows: the test set is evaluated at every epoch, as the book does",
}
"""What is said of a run's held-out split."""


def fit(run: Run, report: loop.Report) -> log.Event:
    """Train a run to its end, from wherever it stands; evaluate the test set once; draw. Returns the test set's event.

    A run without validation rows is evaluated on the test set at every epoch, like the book's. Raises `SeqgenError` where
    another process trains the run.
    """
    kind = KINDS[type(run)]
    if run.held_out == "test":
        report.note(WATCHED["test"])
    with alone(run.path):
        program = kind.build(run, run.held_out)
        loop.train(run.path, program, report)
        event = test(run, program, report)
        kind.draw(run)
    return event


def test(run: Run, program: loop.Program, report: loop.Report) -> log.Event:
    """The test set's one evaluation, of the selected epoch; taken from the log where it stands there."""
    if (event := tested(run)) is not None:
        return event
    step = run.selected_step()
    event, text = KINDS[type(run)].final(run, run.tested_on, run.params, step, step / program.epoch_steps)
    event = {**event, "final": True, "step": program.steps, "selected_step": step}
    write(run.path / "samples" / "test.txt", text)
    log.append(run.path, event)
    report.evaluated(event, text)
    return event


def tested(run: Run) -> log.Event | None:
    """The selected epoch's score on the test set, if the log has it."""
    step = run.selected_step()
    for event in log.read(run.path):
        scored = event["event"] == "evaluate" and (event.get("final") or (event["split"] == "test" and "exact_match" in event))
        if scored and event.get("selected_step", event["step"]) == step:
            return event
    return None


def adopt(run: Run, params: Params) -> None:
    """Give a new run weights that were trained elsewhere: it has then been trained to its end."""
    program = KINDS[type(run)].build(run, run.held_out)
    state = program.init()._replace(step=jnp.int32(program.steps), params=params)
    checkpoint.save_params(run.path, program.steps, params)
    checkpoint.save_state(run.path, program.steps, (state, zero_totals(SUMS)))
