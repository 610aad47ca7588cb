"""How fast many runs train as one program, beside the same runs one after another, ours and PyTorch's, in one process.

`python -m experiments.speed --grid` is its command. A grid is the program that `seqgen sweep` compiles: members over one
device a core, in turns on each (on an accelerator abreast). Model-steps are training steps of one member.
"""

import itertools
import statistics
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments import addition, dates
from experiments.contestants import VARIANTS, operations, our_training, their_training
from experiments.timing import product_rate, products, ratio, show, turns
from seqgen import presets
from seqgen.cli.terminal import prepare_devices
from seqgen.config import RunConfig
from seqgen.groups import Group, compile_for, fresh_totals, plan
from seqgen.sweep import override
from seqgen.training.grid import LayoutName, each_on, shared_on
from seqgen.versions import cores

GRIDS: list[tuple[int, LayoutName]] = [*((members, "map") for members in (1, 2, 4, 8, 16)), (4, "vmap"), (16, "vmap")]
"""Members, and how those of a device go: in turns or abreast."""

TASKS = {"addition": (addition.base(), 160), "dates": (dates.base(), 16)}
"""Settings, and the model-steps of a turn, which take about a second on 2 cores."""


def our_grid(config: RunConfig, members: int, layout: LayoutName, steps: int) -> Callable[[], None]:
    """The first `steps` training steps of each member."""
    group = Group(plan({"grid": config}, range(members), Path()))
    program = compile_for(group, members, layout)
    each = each_on(program.mesh)
    slots = jax.device_put(group.slots(group.members, program.count), each)
    given = jax.device_put(group.train_data, shared_on(program.mesh)), np.array([0, steps], np.int32)
    items = program.plan(np.int32(0), slots)
    carry = [program.create((), slots), jax.device_put(fresh_totals(program.count), each)]

    def go() -> None:
        carry[:] = program.chunk(given, slots, items, *carry)
        jax.block_until_ready(carry)

    return go


def rows(task: str, variant: str, repeats: int) -> list[dict]:
    """One row a number of members: model-steps a second, and the ratios to one run after another."""
    base, budget = TASKS[task]
    config = override(base, presets.readers()[variant])
    grids = {f"{members} {layout}": (members, layout, max(budget // members, 2)) for members, layout in GRIDS}
    contestants: dict[str, Callable] = {name: our_grid(config, *grid) for name, grid in grids.items()}
    contestants["alone"] = our_training(task, variant, "float32", budget)
    contestants["torch"] = their_training(task, variant, "float32", budget)
    times = turns(contestants | products("float32"), repeats)
    counts = {name: members * steps for name, (members, _, steps) in grids.items()}
    a_step = {name: [seconds / counts.get(name, budget) for seconds in times[name]] for name in contestants}
    limit = operations(task, variant) / product_rate(times)
    return [
        {
            "task": task,
            "model": variant,
            "members": members,
            "layout": layout,
            "model_steps_per_s": 1 / statistics.median(a_step[name]),
            "ratio": ratio(a_step["torch"], a_step[name]),
            "ratio_alone": ratio(a_step["alone"], a_step[name]),
            "fraction_of_limit": limit / statistics.median(a_step[name]),
        }
        for name, (members, layout, _) in grids.items()
    ]


def measure(repeats: int) -> list[dict]:
    """One round, in a process of its own: one device a core where jax runs on a CPU."""
    prepare_devices(cores())
    return [show(row) for cell in itertools.product(TASKS, VARIANTS) for row in rows(*cell, repeats)]
