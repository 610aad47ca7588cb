"""What a step sees: a plan of each epoch, and how its items become batches on the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer

from seqgen.training.state import streams
from seqgen.types import Batch, Member, Tree


class Page(NamedTuple):
    """Items of steps up to `end` - 1 of an epoch; the item of step s is number s - `first`."""

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

    def page(self, plan: Tree, epoch: int, first: int) -> Page:
        """The items of some steps of an epoch, step `first` with them."""

    def pages(self, plan: Tree) -> Sequence[Tree]:
        """Items of every shape that pages have: each is a compilation."""

    def shifted(self, plan: Tree, number: Int[Array, ""]) -> Tree:
        """A plan of the data set `number`, where several of equal sizes stand one below the
        other.
        """

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

    def page(self, plan: Int[Array, "*M n B"], epoch: int, first: int) -> Page:
        """The whole epoch, of one member or of many."""
        return Page(plan, 0, self.steps)

    def pages(self, plan: Tree) -> Sequence[Tree]:
        """There is one shape."""
        return [plan]

    def shifted(self, plan: Int[Array, "n B"], number: Int[Array, ""]) -> Int[Array, "n B"]:
        """Its rows begin after those of the data sets before it."""
        return plan + number * self.examples

    def read(self, data: Batch, item: Int[Array, " B"]) -> Batch:
        """Gather."""
        return jax.tree.map(lambda leaf: leaf[item], data)


@partial(jax.tree_util.register_dataclass, data_fields=["rows"], meta_fields=["bucket"])
@dataclass(frozen=True)
class Items:
    """The rows of a bucket's steps, their numbers [*M, n, B] or a `Batch` of them [*M, n, B, ...],
    or of one step; the bucket is no leaf, but part of the structure.
    """

    rows: Tree
    bucket: int


CHUNK = 8
"""Steps of one bucket that follow each other: each change of buckets is a call of its own."""


class Stored(NamedTuple):
    """Rows that stand on the disk, of which a page at a time is on the device."""

    rows: tuple[int, ...]
    """How many each bucket has."""
    fetch: Callable[[int, Integer[np.ndarray, "..."]], Batch]
    """fetch(bucket, rows [...]) -> those rows [..., S] of it."""


class Buckets(NamedTuple):
    """Rows in buckets of like length: a step's rows are of one bucket.

    Which bucket a step uses depends on (`seed`, epoch) and is alike for all members of a compiled
    program; which of its rows, on (member, epoch). A bucket's short last batch is dropped, another
    one every epoch. Where rows stand changes nothing of it.
    """

    data: tuple[Batch, ...]
    batch: tuple[int, ...]
    seed: int
    stored: Stored | None = None
    """None: all rows are on the device, as `data`."""

    @property
    def mean_batch(self) -> int:
        """Rows of a step, on average."""
        rows = (n * batch for n, batch in zip(self.bucket_steps, self.batch, strict=True))
        return round(sum(rows) / self.steps)

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each bucket."""
        return self.stored.rows if self.stored else tuple(len(data.inputs) for data in self.data)

    @property
    def bucket_steps(self) -> tuple[int, ...]:
        """Steps of each bucket in an epoch."""
        return tuple(n // batch for n, batch in zip(self.rows, self.batch, strict=True))

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        return sum(self.bucket_steps)

    def plan(self, member: Member, epoch: Int[Array, ""]) -> tuple[Items, ...]:
        """The rows of every step of every bucket."""
        key = jax.random.fold_in(streams(member.key).data, epoch)
        found = []
        for i, (rows, batch, steps) in enumerate(
            zip(self.rows, self.batch, self.bucket_steps, strict=True)
        ):
            order = jax.random.permutation(jax.random.fold_in(key, i), rows)
            found.append(Items(order[: steps * batch].reshape(steps, batch), i))
        return tuple(found)

    def page(self, plan: tuple[Items, ...], epoch: int, first: int) -> Page:
        """Some steps of one bucket: of rows on the device all of the bucket's, else these alone."""
        starts, buckets, done = chunks(self.bucket_steps, self.seed, epoch)
        chunk = int(np.searchsorted(starts, first, side="right")) - 1
        bucket, begin, end = int(buckets[chunk]), int(starts[chunk]), int(starts[chunk + 1])
        items = plan[bucket]
        if self.stored is None:
            return Page(items, begin - int(done[chunk]), end)
        steps = np.minimum(done[chunk] + np.arange(CHUNK), items.rows.shape[-2] - 1)
        rows = np.asarray(items.rows)[..., steps, :]  # jax keeps what it has once brought here
        return Page(Items(self.stored.fetch(bucket, rows), bucket), begin, end)

    def pages(self, plan: tuple[Items, ...]) -> Sequence[Tree]:
        """Each bucket has a shape."""
        if self.stored is None:
            return plan
        return [self._like(self.stored, items) for items in plan]

    def _like(self, stored: Stored, items: Items) -> Items:
        """The shapes of a bucket's page."""
        *members, _, batch = items.rows.shape
        one = stored.fetch(items.bucket, np.zeros(0, int))
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (*members, CHUNK, batch, *leaf.shape[1:]), leaf.dtype
            ),
            Items(one, items.bucket),
        )

    def shifted(self, plan: tuple[Items, ...], number: Int[Array, ""]) -> tuple[Items, ...]:
        """Its rows of each bucket begin after those of the data sets before it."""
        return tuple(
            Items(items.rows + number * rows, items.bucket)
            for items, rows in zip(plan, self.rows, strict=True)
        )

    def read(self, data: tuple[Batch, ...], item: Items) -> Batch:
        """Gather from the item's bucket, unless the item is the batch."""
        if self.stored is not None:
            return item.rows
        return jax.tree.map(lambda leaf: leaf[item.rows], data[item.bucket])


Numbers = Integer[np.ndarray, " _"]


@lru_cache(maxsize=2)
def chunks(steps: tuple[int, ...], seed: int, epoch: int) -> tuple[Numbers, Numbers, Numbers]:
    """An epoch's chunks of up to `CHUNK` steps of one bucket, in a random order.

    Args:
        steps: of each bucket.
        seed: of the order, with the epoch.
        epoch: its number.

    Returns:
        Where each chunk starts, and where the last one ends; each one's bucket; and how many steps
        of that bucket were taken before it.

    """
    every = [(bucket, done) for bucket, n in enumerate(steps) for done in range(0, n, CHUNK)]
    bucket, done = np.array(every, int).reshape(-1, 2).T
    order = np.random.default_rng([seed, epoch]).permutation(len(every))
    bucket, done = bucket[order], done[order]
    length = np.minimum(np.array(steps, int)[bucket] - done, CHUNK)
    return np.concatenate([[0], np.cumsum(length)]), bucket, done


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

    def page(self, plan: Tree, epoch: int, first: int) -> Page:
        """The windows of `PAGE` steps, read from the disk."""
        begin = first - first % PAGE
        return Page(self.windows(begin, PAGE), begin, begin + PAGE)

    def pages(self, plan: Tree) -> Sequence[Tree]:
        """There is one shape, and nothing of a plan."""
        return [plan]

    def shifted(self, plan: Tree, number: Int[Array, ""]) -> Tree:
        """Texts are not stacked."""
        return plan

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
