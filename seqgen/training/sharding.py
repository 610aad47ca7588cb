"""Many runs of one program as one: members on a leading axis M, shared out over devices.

On each device the members' axis is mapped: one after another, or vectorised. A single run can share
out the rows of its batches instead.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Int

from seqgen.errors import UsageError
from seqgen.training.state import TrainState
from seqgen.training.steps import NEVER, Totals
from seqgen.types import Member, Tree

AXIS = "devices"

MemberAxis = Literal["map", "vmap"]
MEMBER_AXES: dict[MemberAxis, Callable] = {
    "map": jax.lax.map,
    "vmap": lambda function, each: jax.vmap(function)(each),
}
"""Inside a device, members run one after another, or as one more axis of every operation."""


class Slot(NamedTuple):
    """What a member of a compiled program is beside its state.

    `data` says which of the stacked data sets is its own: their training rows lie one below the
    other, and a member's row numbers start at its own, so reversed and not reversed share a
    program. `alive` is False for what only fills up the last device.
    """

    member: Member
    data: Int[Array, ""]
    alive: Bool[Array, ""]


def default_axis() -> MemberAxis:
    """`map` on a CPU, where one member's state stays in the cache; `vmap` on an accelerator."""
    return "map" if jax.default_backend() == "cpu" else "vmap"


def mesh_for(most: int) -> Mesh:
    """A line of devices, at most `most`."""
    devices = jax.devices()[:most]
    return jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))


def mesh_of(devices: int) -> Mesh:
    """A line of exactly `devices`. Raises `UsageError` where jax has fewer."""
    mesh = mesh_for(devices)
    if mesh.size < devices:
        raise UsageError(
            f"devices {devices} is more than the {mesh.size} that jax has here",
            fields=("training.devices",),
        )
    return mesh


def shared_on(mesh: Mesh) -> NamedSharding:
    """The whole on every device."""
    return NamedSharding(mesh, P())


def each_on(mesh: Mesh) -> NamedSharding:
    """A part of the members on every device."""
    return NamedSharding(mesh, P(AXIS))


def rows_on(mesh: Mesh) -> NamedSharding:
    """Of items [n, B] a part of the rows on every device: XLA splits each step, and adds gradients
    up.
    """
    return NamedSharding(mesh, P(None, AXIS))


def over_members(
    function: Callable[..., Tree], *, axis: MemberAxis, mesh: Mesh
) -> Callable[..., Tree]:
    """`function(shared, *each)`, written for one member, over a leading axis M of every leaf of
    `each`.

    M must be a multiple of the devices in `mesh`; `shared` is seen whole by all.
    """

    def on_device(shared: Tree, each: Tree) -> Tree:
        return MEMBER_AXES[axis](lambda one: function(shared, *one), each)

    split = jax.shard_map(
        on_device, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS), check_vma=False
    )

    def run(shared: Tree, *each: Tree) -> Tree:
        return split(shared, each)

    return run


def while_finite(steps: Callable) -> Callable[..., tuple[TrainState, Totals]]:
    """`train_steps` as `over_members` wants it.

    A member that is not alive, or whose loss was not finite, stays as it is: a `cond`, which costs
    nothing under `map`; under `vmap` both branches are computed, and one is kept.
    """

    def one(
        shared: tuple[Tree, Int[Array, "2"]],
        slot: Slot,
        items: Tree,
        state: TrainState,
        totals: Totals,
    ) -> tuple[TrainState, Totals]:
        data, span = shared
        key = jax.random.key_data(slot.member.key)  # a vmapped cond seems to use a typed key twice

        def train() -> tuple[TrainState, Totals]:
            member = slot.member._replace(key=jax.random.wrap_key_data(key, impl="threefry2x32"))
            return steps(data, member, state, totals, items, span)

        going = slot.alive & (totals.not_finite == NEVER)
        return jax.lax.cond(going, train, lambda: (state, totals))

    return one


def filled(members: int, mesh: Mesh) -> int:
    """How many members make every device's part as large."""
    return -(-members // mesh.size) * mesh.size


def padded(tree: Tree, count: int) -> Tree:
    """[M, ...] as [count, ...]: the first member again, as often as it takes."""
    every = np.arange(len(jax.tree.leaves(tree)[0]))
    rows = np.concatenate([every, np.zeros(count, int)])[:count]
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def predicted_bytes(
    training: jax.stages.Compiled, evaluating: jax.stages.Compiled, mesh: Mesh
) -> int:
    """What two programs need that run alternately of one accelerator, or of a CPU, whose devices
    share one memory.

    What training is given (data, state) stays there while the members are evaluated.
    """
    train: Any = training.memory_analysis()
    score: Any = evaluating.memory_analysis()
    while_training = (
        train.output_size_in_bytes + train.temp_size_in_bytes - train.alias_size_in_bytes
    )
    while_evaluating = (
        score.argument_size_in_bytes + score.output_size_in_bytes + score.temp_size_in_bytes
    )
    one = train.argument_size_in_bytes + max(while_training, while_evaluating)
    return one * (mesh.size if jax.default_backend() == "cpu" else 1)


def available_bytes() -> int:
    """What an accelerator has, or what this machine and its control group leave to us."""
    if (stats := jax.devices()[0].memory_stats()) and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    if found := re.search(r"MemAvailable: +(\d+) kB", _text("/proc/meminfo")):
        free.append(1024 * int(found[1]))
    limit, used = (_text(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    if limit.isdigit() and used.isdigit():  # not "max"
        free.append(int(limit) - int(used))
    return min(free)


def _text(path: str) -> str:
    """A file of the system's; empty where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
