"""Which examples a step sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from seqgen.training.state import streams
from seqgen.types import Batch, Member, Tree


class Epochs(NamedTuple):
    """Each epoch is a permutation of the examples, drawn from the member's data stream; the short last batch is dropped."""

    examples: int
    batch: int

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.examples // self.batch

    def plan(self, member: Member, step: Int[Array, ""], n: int) -> Int[Array, "n B"]:
        """The examples of the n steps from `step` on, all of one epoch: n = `steps` plans a whole one."""
        epoch, offset = jnp.divmod(step, self.steps)
        order = jax.random.permutation(jax.random.fold_in(streams(member.key).data, epoch), self.examples)
        rows = order[: self.steps * self.batch].reshape(self.steps, self.batch)
        return jax.lax.dynamic_slice_in_dim(rows, offset, n)

    def read(self, data: Tree, item: Int[Array, " B"]) -> Batch:
        """Gather the examples from arrays on the device."""
        return jax.tree.map(lambda leaf: leaf[item], data)


class Lanes(NamedTuple):
    """A stream of tokens cut into `batch` lanes, read abreast in windows: lane b goes on where its last window ended.

    What is left of a lane when it is too short for a window is dropped: in training alone.
    """

    tokens: int
    batch: int
    window: int

    @property
    def length(self) -> int:
        """Targets of a lane."""
        return (self.tokens - 1) // self.batch

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return self.length // self.window

    def windows(self, stream: Integer[np.ndarray, " N"], first: int, count: int) -> Int[np.ndarray, "count B T"]:
        """The inputs and targets of `count` steps from `first` on, T = window + 1; past the end zeros."""
        begin, wanted = first * self.window, count * self.window + 1
        parts = [stream[b * self.length :][begin : min(begin + wanted, self.length + 1)] for b in range(self.batch)]
        lanes = np.zeros((self.batch, wanted), np.int32)
        lanes[:, : len(parts[0])] = parts
        index = np.arange(count)[:, None] * self.window + np.arange(self.window + 1)
        return lanes[:, index].swapaxes(0, 1)

    def read(self, data: Tree, item: Int[Array, "B T"]) -> Batch:
        """A window as a batch."""
        return Batch(None, None, item[:, :-1], item[:, 1:], jnp.ones((item.shape[0], item.shape[1] - 1), bool))
