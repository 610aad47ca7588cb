"""How fast many runs train as one program, beside the same runs one by one, ours and PyTorch's.

In one process. `python -m experiments.speed --grid` is its command. A grid is the program that
`seqgen sweep` compiles: members over one device a core, one after another on each (on an
accelerator vectorised). Model-steps are training steps of one member.
"""

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments import addition, dates
from experiments.contestants import VARIANTS, operations, our_training, their_training
from experiments.timing import (
    accelerated,
    as_they_come,
    product_rate,
    products,
    ratio,
    turns,
)
from seqgen import presets
from seqgen.cli.terminal import prepare_devices
from seqgen.config import RunConfig
from seqgen.storage.versions import cores
from seqgen.sweeps.compiled import compile_for, fresh_totals
from seqgen.sweeps.plan import ProgramPlan, plan
from seqgen.sweeps.spec import override
from seqgen.training.sharding import MemberAxis, each_on, shared_on

Grids = list[tuple[int, MemberAxis]]
"""Members, and how those of a device go: one after another or vectorised."""

GRIDS: Grids = [
    *((members, "map") for members in (1, 2, 4, 8, 16)),
    (4, "vmap"),
    (16, "vmap"),
]
VECTORISED: Grids = [(members, "vmap") for members in (1, 4, 16, 64, 256)]
"""On an accelerator, whose one device has all members."""

TASKS = {"addition": (addition.base(), 160), "dates": (dates.base(), 16)}
"""Settings, and the model-steps of a turn, which take about a second on 2 cores."""

STEPS = {"addition": 64, "dates": 16}
"""Steps of a turn on an accelerator, for one member as for many."""


def our_grid(config: RunConfig, members: int, axis: MemberAxis, steps: int) -> Callable[[], None]:
    """The first `steps` training steps of each member.

    Args:
        config: what they are made with, but for their seeds.
        members: how many.
        axis: how those of a device are mapped.
        steps: how many each takes together.

    """
    shared = ProgramPlan(plan({"grid": config}, range(members), Path()))
    compiled = compile_for(shared, members, axis)
    each, whole = each_on(compiled.mesh), shared_on(compiled.mesh)
    slots = jax.device_put(shared.slots(shared.members, compiled.count), each)
    given = jax.device_put(shared.data, whole), np.array([0, steps], np.int32)
    items = compiled.plan(np.int32(0), slots)
    carry = [compiled.create((), slots), jax.device_put(fresh_totals(compiled.count), each)]

    def go() -> None:
        carry[:] = compiled.steps(given, slots, items, *carry)
        jax.block_until_ready(carry)

    return go


def rows(task: str, variant: str, repeats: int) -> list[dict]:
    """One row a number of members: model-steps a second, and the ratios to runs one by one."""
    base, budget = TASKS[task]
    config = override(base, presets.decoders()[variant])
    grids = {f"{count} {axis}": (count, axis, max(budget // count, 2)) for count, axis in GRIDS}
    if accelerated():
        budget = STEPS[task]
        grids = {f"{count} {axis}": (count, axis, budget) for count, axis in VECTORISED}
    contestants: dict[str, Callable] = {
        **{name: our_grid(config, *grid) for name, grid in grids.items()},
        "alone": our_training(task, variant, "float32", budget),
        "torch": their_training(task, variant, "float32", budget),
    }
    times = turns(contestants | products("float32"), repeats)
    counts = {name: members * steps for name, (members, _, steps) in grids.items()}
    a_step = {
        name: [seconds / counts.get(name, budget) for seconds in times[name]]
        for name in contestants
    }
    limit = operations(task, variant) / product_rate(times)
    return [
        {
            "task": task,
            "model": variant,
            "members": members,
            "axis": axis,
            "model_steps_per_s": 1 / statistics.median(a_step[name]),
            "ratio": ratio(a_step["torch"], a_step[name]),
            "ratio_alone": ratio(a_step["alone"], a_step[name]),
            "fraction_of_limit": limit / statistics.median(a_step[name]),
        }
        for name, (members, axis, _) in grids.items()
    ]


def measure(repeats: int) -> list[dict]:
    """One round, in a process of its own: one device a core where jax runs on a CPU."""
    prepare_devices(cores())
    cells = itertools.product(TASKS, VARIANTS)
    found = (row for task, variant in cells for row in rows(task, variant, repeats))
    return as_they_come("grid", "--grid", repeats, {"rows": found})["rows"]
