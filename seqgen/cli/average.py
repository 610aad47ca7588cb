"""seqgen average: a run whose weights are the mean of another's epochs'."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.parse import call
from seqgen.cli.terminal import note, prepare_devices, run_to_end
from seqgen.families import Run, average, open_run


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    last: int | None = None,
    best: int | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
) -> None:
    """Make a run whose weights are the mean of a run's after several epochs, and test it.

    Args:
        run: a path, or a name under runs/.
        last: average its last epochs, so many; by default 5, or all where there are fewer.
        best: average its best epochs on the evaluation split instead.
        name: the new run's name under --runs, or a path; without it a free one is made.
        runs: the folder of runs.

    """
    opened = open_run(run)
    prepare_devices(opened.config.training.devices)
    made = average(opened, last=last, best=best, name=name, folder=runs)
    steps = made.config.training.start_steps
    run_to_end(made)
    note(f"{opened.path}, step {opened.selected_step()} · {tested(opened)}")
    note(f"{made.path}, mean of steps {', '.join(map(str, steps))} · {tested(made)}")


def tested(run: Run) -> str:
    """A run's score on its test split, in words; from its log where that has it."""
    step, event = run.tested()
    scores = event or run.family.test(run, run.test_split, run.params, step)[0]
    return f"{run.test_split} {run.family.words(scores)[0]}"


def main(arguments: list[str]) -> None:
    """`seqgen average RUN`."""
    call(command, "seqgen average", arguments)
