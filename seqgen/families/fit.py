"""A run from wherever it stands to its end: trained, tested, drawn."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from seqgen.config import RunConfig, Training
from seqgen.data.pairs import Split
from seqgen.errors import SeqgenError
from seqgen.families.directory import open_at
from seqgen.families.family import Family
from seqgen.families.run import Run, resuming
from seqgen.families.start import taken
from seqgen.nn.switches import fixed, key
from seqgen.storage import checkpoint, log, manifest
from seqgen.storage.files import alone, write
from seqgen.training import solo
from seqgen.training.loop import train
from seqgen.training.sharding import mesh_of
from seqgen.training.state import with_params
from seqgen.training.steps import Program, zero_totals
from seqgen.types import Member, Params

EVALUATION_NOTES = {
    "validation": "the validation split is evaluated at every epoch",
    "test": "no validation rows: the test split is evaluated at every epoch, as the book does",
}
"""What the terminal is told of the split that is evaluated during training."""


@fixed()
def fit(
    run: Run, report: solo.Report, *, until: float = math.inf, again: str | None = None
) -> log.Event:
    """Train a run to its end, from wherever it stands; evaluate the test split once; draw.

    At the time `until`, of the monotonic clock, that is done with what there is, and the run can go
    on, by the command `again`. Returns the test's event. A run without validation rows is evaluated
    on the test split at every epoch, like the book's. Raises `SeqgenError` where another process
    trains the run.
    """
    if run.evaluation_split == "test":
        report.note(EVALUATION_NOTES["test"])
    with alone(run.path):
        manifest.cover(run.path)
        program, family = program_of(run.family, run.config, run.dataset), run.family
        epoch_steps, training = program.batches.steps, run.config.training
        split, capped = run.evaluation_split, capped_run(run)

        def evaluate(params: Params, step: int) -> tuple[log.Event, str]:
            scores, samples = family.evaluate_epoch(capped, split, params, step)
            return evaluation(split, step, epoch_steps, scores), samples

        session = solo.Solo(
            run.path,
            program,
            member_of(run),
            mesh=mesh_of(run.config.training.devices),
            epoch_end=solo.EpochEnd(
                evaluate, family.selecting(training).best, partial(family.ended_early, training)
            ),
            report=report,
        )
        again, began = again or resuming(run.path), session.step
        ended = train(session, again, until)
        where = f"step {session.step} of {program.steps}"
        if ended and began < session.step < program.steps:
            report.note(f"ended early at {where}: {early_words(family, training)}")
        event = test(run, program, session.step, report)
        if ended:
            manifest.seal(run.path)
        family.draw(run)
    if not ended:
        report.note(f"time is up at {where}; go on with: {again}")
    return event


def early_words(family: Family, training: Training) -> str:
    """Why training ended before its last step."""
    name = family.selecting(training).name.replace("_", " ")
    epochs = "1 epoch" if training.patience == 1 else f"{training.patience} epochs"
    return f"{epochs} without a better {name}"


def capped_run(run: Run) -> Run:
    """The run as it is evaluated at an epoch's end: of at most `evaluate_rows` rows."""
    rows, capped = run.config.training.evaluate_rows, run.family.capped
    if rows is None or capped is None:
        return run
    other = type(run)(run.path, run.config, run.family)
    other.dataset = capped(run.dataset, run.evaluation_split, rows)
    return other


def program_of(family: Family, config: RunConfig, dataset: Any) -> Program:
    """What trains a configuration, with the weights that it begins with.

    Those are read when a run begins, and not before: one that goes on does not need them.
    """
    program = family.program(config, dataset)
    if (path := config.training.start) is None:
        return program

    def start(fresh: Params) -> tuple[Params, str]:
        try:
            return taken(config, dataset, open_at(Path(path)), fresh)
        except SeqgenError as error:
            raise SeqgenError(
                f"a run begins with {path}, and has no checkpoint yet: {error}"
            ) from error

    return program._replace(start=start)


def member_of(run: Run) -> Member:
    """The key and the hyper-parameters of a run."""
    return Member(key(run.config.seed), run.config.hyper.traced())


def evaluation(split: Split, step: int, epoch_steps: int, scores: log.Event) -> log.Event:
    """Scores as the log has them.

    Args:
        split: which split they are of.
        step: after how many steps.
        epoch_steps: of how many an epoch is.
        scores: by name.

    """
    where = {"split": split, "step": step, "epoch": step / epoch_steps}
    return {"event": "evaluate", **where, **scores}


def test(run: Run, program: Program, ended: int, report: solo.Report) -> log.Event:
    """The test split's one evaluation, of the selected epoch; from the log where it stands there.

    Args:
        run: the run.
        program: what trained it.
        ended: the step at which it ended.
        report: is told of an evaluation.

    """
    step, event = run.tested()
    if event is not None:
        samples = run.path / "samples" / f"{event['step']}.txt"
        if not event.get("final") and samples.is_file():  # that epoch's are the test's
            write(run.path / "samples" / "test.txt", samples.read_text(encoding="utf-8"))
        return event
    scores, samples = run.family.test(run, run.test_split, run.params, step)
    event = keep_test(run, program, (step, ended), scores, samples)
    report.evaluated(event, samples)
    return event


def keep_test(
    run: Run, program: Program, steps: tuple[int, int], scores: log.Event, samples: str
) -> log.Event:
    """Write what the test gave: its samples, and its event unless the log has one. Returns it.

    Args:
        run: the run.
        program: what trained it.
        steps: of the selected epoch, and at which training ended.
        scores: by name.
        samples: decoded.

    """
    write(run.path / "samples" / "test.txt", samples)
    if (event := run.tested()[1]) is not None:
        return event
    step, ended = steps
    event = evaluation(run.test_split, step, program.batches.steps, scores)
    event = {**event, "final": True, "step": ended, "selected_step": step}
    manifest.unseal(run.path)
    log.append(run.path, event)
    return event


def finished(run: Run) -> bool:
    """Whether a run has its last weights and its test, or has broken off for good."""
    if log.broken(run.path) is not None:
        return True
    training, epochs = run.config.training, log.epochs(run.path)
    steps = training.length(run.family.epoch_steps(run.config, run.dataset))
    if run.family.ended_early(training, epochs):
        steps = epochs[-1]["step"]
    return checkpoint.steps(run.path, "params")[-1:] == [steps] and run.tested()[1] is not None


@fixed()
def adopt(run: Run, params: Params) -> None:
    """Give a new run weights that were trained elsewhere: it has then been trained to its end."""
    program = run.family.program(run.config, run.dataset)
    state = with_params(jax.jit(program.init)(member_of(run)), params)
    state = state._replace(step=jnp.int32(program.steps))
    checkpoint.save_params(run.path, program.steps, params)
    logs = [log.checksum(run.path)]
    checkpoint.save_state(run.path, program.steps, (state, zero_totals()), logs=logs)
