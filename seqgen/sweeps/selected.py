"""Which weights of each member count: those of its last epoch, or of its best one."""

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from seqgen.families import Run
from seqgen.storage import log
from seqgen.types import Params


class Selected:
    """The epochs of members that train together, and the weights that their best ones left.

    Args:
        runs: the members.
        best: weights [M, ...] on the host; None: those of the last epoch count.

    """

    def __init__(self, runs: Sequence[Run], best: Params | None) -> None:
        self.family, self.training = runs[0].family, runs[0].config.training
        self.best = jax.tree.map(np.array, best)
        self.metric = self.family.selecting(self.training)
        self.epochs = [log.epochs(run.path) for run in runs]

    def add(self, events: Mapping[int, log.Event], params: Callable[[], Params]) -> None:
        """Evaluations of some members; the weights [M, ...] are kept of those that are the best."""
        for i, event in events.items():
            self.epochs[i].append(event)
        if self.best is None:
            return
        best = {i: self.metric.best(self.epochs[i]) for i in events}
        if rows := [i for i, event in events.items() if event["step"] == best[i]]:
            for kept, new in zip(
                jax.tree.leaves(self.best), jax.tree.leaves(params()), strict=True
            ):
                kept[rows] = new[rows]

    def ended_early(self, i: int) -> bool:
        """Whether a member waits for no better epoch any more."""
        return self.family.ended_early(self.training, self.epochs[i])

    def steps(self, i: int) -> tuple[int, int]:
        """The steps of a member's selected and of its last epoch."""
        last = self.epochs[i][-1]["step"]
        return last if self.best is None else self.metric.best(self.epochs[i]), last
