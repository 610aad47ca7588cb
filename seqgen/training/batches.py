"""What a step sees: a plan of each epoch, and how its items become batches on the device."""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from seqgen.training.state import streams
from seqgen.types import Batch, Member, Tree


class Page(NamedTuple):
    """The items [n, ...] of the steps `first` to `end` - 1 of an epoch."""

    items: Tree
    first: int
    end: int


@runtime_checkable
class Batches(Protocol):
    """Where batches come from. `plan` and `read` run inside jit, `page` on the host."""

    @property
    def data(self) -> Tree:
        """What stays on the device for the whole of a training run."""

    @property
    def steps(self) -> int:
        """Steps an epoch."""

    def plan(self, member: Member, epoch: Int[Array, ""]) -> Tree:
        """A pure function of (key, epoch), so that to resume needs no state."""

    def page(self, plan: Tree, first: int) -> Page:
        """The items of some steps, step `first` with them; one shape for all pages."""

    def read(self, data: Tree, item: Tree) -> Batch:
        """One step's batch from its item."""


class Rows(NamedTuple):
    """Rows on the device: each epoch is a permutation, from the member's stream `data`.

    The short last batch is dropped.
    """

    data: Batch
    batch: int

    @property
    def examples(self) -> int:
        """Rows."""
        return len(self.data.inputs)

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.examples // self.batch

    def plan(self, member: Member, epoch: Int[Array, ""]) -> Int[Array, "n B"]:
        """The rows of every step."""
        key = jax.random.fold_in(streams(member.key).data, epoch)
        order = jax.random.permutation(key, self.examples)
        return order[: self.steps * self.batch].reshape(self.steps, self.batch)

    def page(self, plan: Int[Array, "*M n B"], first: int) -> Page:
        """The whole epoch, of one member or of many."""
        return Page(plan, 0, self.steps)

    def read(self, data: Batch, item: Int[Array, " B"]) -> Batch:
        """Gather."""
        return jax.tree.map(lambda leaf: leaf[item], data)


PAGE = 64
"""Steps whose windows are read from the disk together."""


class Windows(NamedTuple):
    """A stream of tokens cut into `batch` lanes, read side by side in windows.

    Lane b goes on where its last window ended. What is left of a lane when it is too short for a
    window is dropped: in training alone. An epoch begins at the lanes' first tokens, where the
    book's trainer lets a lane run on into the next one's: a resumed run needs only its step.
    """

    stream: Integer[np.ndarray, " N"]
    batch: int
    window: int

    data: Tree = ()

    @property
    def length(self) -> int:
        """Targets of a lane."""
        return (len(self.stream) - 1) // self.batch

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.length // self.window

    def plan(self, member: Member, epoch: Int[Array, ""]) -> Tree:
        """All epochs are alike."""
        return ()

    def page(self, plan: Tree, first: int) -> Page:
        """The windows of `PAGE` steps, read from the disk."""
        begin = first - first % PAGE
        return Page(self.windows(begin, PAGE), begin, begin + PAGE)

    def windows(self, first: int, count: int) -> Int[np.ndarray, "count B T"]:
        """The inputs and targets of `count` steps from `first` on, T = window + 1; past the end
        zeros.
        """
        begin, wanted = first * self.window, count * self.window + 1
        end = min(begin + wanted, self.length + 1)
        parts = [self.stream[b * self.length :][begin:end] for b in range(self.batch)]
        lanes = np.zeros((self.batch, wanted), np.int32)
        lanes[:, : len(parts[0])] = parts
        index = np.arange(count)[:, None] * self.window + np.arange(self.window + 1)
        return lanes[:, index].swapaxes(0, 1)

    def read(self, data: Tree, item: Int[Array, "B T"]) -> Batch:
        """A window as a batch."""
        every = jnp.ones((item.shape[0], item.shape[1] - 1), bool)
        return Batch(None, None, item[:, :-1], item[:, 1:], every)
