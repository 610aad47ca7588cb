"""What of a sweep's compiled programs is still to be trained, and in which batches of members."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seqgen.families import EVALUATION_NOTES, parameters
from seqgen.storage import checkpoint
from seqgen.sweeps.compiled import Compiled, compile_fitting
from seqgen.sweeps.plan import Planned, ProgramPlan, shared_programs
from seqgen.sweeps.state import interrupted, is_finished, stacked_at
from seqgen.training import sharding
from seqgen.training.sharding import MemberAxis


class Pending(NamedTuple):
    """Members that share a program, compiled, in the batches that train together."""

    plan: ProgramPlan
    compiled: Compiled
    batches: list[list[Planned]]


def still_to_do(
    planned: Sequence[Planned], folder: Path, *, axis: MemberAxis, at_once: int | None
) -> list[Pending]:
    """What is still to be done, compiled, with what was begun first. Nothing is written.

    A batch of members that was begun goes on as it was, however many train at a time now.

    Args:
        planned: all members.
        folder: the sweep's.
        axis: how the members of a device are mapped.
        at_once: how many train at a time; None: as many as fit.

    Raises:
        UsageError: where a run of a member's name was made with other settings.
        SeqgenError: where members do not fit in memory.

    """
    done = {member.path for member in planned if is_finished(member)}
    begun = interrupted(folder, planned)
    held = {member.path for batch in begun for member in batch}
    found = []
    for batch in begun:
        plan = ProgramPlan(batch)
        found.append(Pending(plan, compile_fitting(plan, axis, len(batch)), [batch]))
    waiting = [member for member in planned if member.path not in held | done]
    for plan in shared_programs(waiting):
        compiled = compile_fitting(plan, axis, at_once)
        starts = range(0, len(plan.members), compiled.count)
        batches = [plan.members[i : i + compiled.count] for i in starts]
        found.append(Pending(plan, compiled, batches))
    return found


def not_asked_for(pending: Sequence[Pending], planned: Sequence[Planned]) -> list[Planned]:
    """Members that train only because their batch was begun: they are not among the planned."""
    asked = {member.path for member in planned}
    batches = (batch for each in pending for batch in each.batches)
    return [member for batch in batches for member in batch if member.path not in asked]


def summary(pending: Sequence[Pending], members: int) -> list[str]:
    """What would be trained, program by program."""
    waiting = sum(len(each.plan.members) for each in pending)
    steps = sum(each.plan.steps * len(each.plan.members) for each in pending)
    count = f"{len(pending)} compiled programs"
    lines = [f"{waiting} members to train of {members}: {steps:,} model-steps, {count}"]
    for number, (plan, compiled, _) in enumerate(pending, start=1):
        variants = dict.fromkeys(member.path.name.rpartition("-")[0] for member in plan.members)
        weights = parameters(plan.config.model, plan.dataset.sizes)
        at_once = min(compiled.count, len(plan.members))
        free = sharding.available_bytes() / 1e6
        lines += [
            f"program {number}: {', '.join(variants)}",
            f"  {len(plan.members)} members of {weights:,} parameters, {plan.steps:,} steps each",
            f"  {at_once} at a time on {compiled.mesh.size} devices; "
            f"{compiled.bytes / 1e6:,.0f} MB predicted, {free:,.0f} MB free",
            f"  {EVALUATION_NOTES[plan.evaluation_split]}",
        ]
    return lines


def steps_left(pending: Pending, members: Sequence[Planned], folder: Path) -> int:
    """Model-steps that some members still need."""
    done = checkpoint.steps(stacked_at(folder, members), "state")[-1:]
    return (pending.plan.steps - sum(done)) * len(members)
