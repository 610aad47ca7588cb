"""How fast many runs train as one program, beside the same runs one after another, ours and PyTorch's, in one process.

`python -m experiments.speed --grid` is its command. A grid is what `seqgen sweep` runs: members over one device a core, in
turns on each (on an accelerator abreast). Model-steps are training steps of one member.
"""

import statistics
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments import speed
from seqgen.cli.terminal import prepare_devices
from seqgen.models import seq2seq
from seqgen.training import grid
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import HyperConfig, adam, create
from seqgen.types import Member
from seqgen.versions import cores

GRIDS: list[tuple[int, grid.LayoutName]] = [*((members, "map") for members in (1, 2, 4, 8, 16)), (4, "vmap"), (16, "vmap")]
"""Members, and how those of a device go: in turns or abreast."""

STEPS = {"addition": 320, "dates": 32}
"""Model-steps a turn, which take about two seconds on 2 cores."""


def our_grid(task: str, variant: str, members: int, layout: grid.LayoutName, steps: int) -> Callable[[], None]:
    """`steps` training steps of each member: one chunk, lifted."""
    cfg, source, optimizer = speed.config(task, variant), Epochs(steps * speed.BATCH, speed.BATCH), adam("constant", 0.0, 1)
    mesh = grid.mesh_for(members)
    each, shared = grid.each_on(mesh), grid.shared_on(mesh)
    lift = partial(grid.over_members, layout=layout, mesh=mesh)
    chunk = grid.while_finite(partial(run_chunk, teacher_forced(seq2seq, cfg), optimizer, source))
    lifted = jax.jit(lift(chunk), in_shardings=(shared, *[each] * 4), out_shardings=each, donate_argnums=(3, 4))

    count = -(-members // mesh.size) * mesh.size
    hyper = jax.tree.map(lambda leaf: jnp.full(count, leaf), HyperConfig().traced())
    keys = jax.vmap(jax.random.key)(jnp.arange(count))
    lanes = jax.device_put(grid.Lane(Member(keys, hyper), jnp.zeros(count, int), jnp.arange(count) < members), each)
    state = jax.jit(lift(lambda _, lane: create(partial(seq2seq.init, cfg), optimizer, lane.member)))((), lanes)
    items = jax.jit(lift(lambda step, lane: source.plan(lane.member, step, steps)))(jnp.int32(0), lanes)
    totals = jax.tree.map(lambda leaf: jnp.full(count, leaf), zero_totals(SUMS))
    given = jax.device_put(speed.examples(task, steps * speed.BATCH), shared), np.array([0, steps], np.int32)
    carry = [state, jax.device_put(totals, each)]

    def go() -> None:
        carry[:] = lifted(given, lanes, items, *carry)
        jax.block_until_ready(carry)

    return go


def rows(task: str, variant: str, repeats: int) -> list[dict]:
    """One row a number of members: model-steps a second, and the ratios to one run after another."""
    budget = STEPS[task]
    grids = {f"{members} {layout}": (members, layout, max(budget // members, 2)) for members, layout in GRIDS}
    contestants: dict[str, Callable] = {name: our_grid(task, variant, *grid) for name, grid in grids.items()}
    contestants["alone"] = speed.our_training(task, variant, "float32", budget)
    contestants["torch"] = speed.their_training(task, variant, "float32", budget)
    times = speed.turns(contestants | speed.products("float32"), repeats)
    large = min(statistics.median(times[name]) for name in ("jax product", "torch product"))
    limit = large * speed.operations(task, variant) / (2 * speed.LARGE**3)
    counts = {name: members * steps for name, (members, _, steps) in grids.items()}
    a_step = {name: [seconds / counts.get(name, budget) for seconds in times[name]] for name in contestants}
    return [
        {
            "task": task,
            "model": variant,
            "members": members,
            "layout": layout,
            "model_steps_per_s": 1 / statistics.median(a_step[name]),
            "ratio": speed.ratio(a_step["torch"], a_step[name]),
            "ratio_alone": speed.ratio(a_step["alone"], a_step[name]),
            "fraction_of_limit": limit / statistics.median(a_step[name]),
        }
        for name, (members, layout, _) in grids.items()
    ]


def measure(repeats: int) -> list[dict]:
    """One round, in a process of its own: one device a core where jax runs on a CPU."""
    prepare_devices(cores())
    return [speed.show(row) for task in speed.SIZES for variant in speed.VARIANTS for row in rows(task, variant, repeats)]
