"""Which examples a step sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

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
