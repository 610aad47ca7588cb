"""Runs that are to be, and which of them share a compiled program."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqgen.config import RunConfig
from seqgen.data.pairs import Split
from seqgen.errors import UsageError
from seqgen.families import (
    Family,
    Run,
    check_path,
    complete,
    config_of,
    family_of,
    is_run,
    locate,
)
from seqgen.families.family import Stacking
from seqgen.families.fit import capped_run, program_of
from seqgen.nn.switches import key
from seqgen.training.sharding import Slot, padded
from seqgen.training.steps import Program
from seqgen.types import Member, Tree


class Planned(NamedTuple):
    """A run that is to be."""

    path: Path
    config: RunConfig
    dataset: Any

    @property
    def family(self) -> Family:
        """The kind of its data."""
        return family_of(self.config)

    def opened(self) -> Run:
        """The run itself, with its data; its directory need not be there yet."""
        run = self.family.run(self.path, self.config, self.family)
        run.dataset = self.dataset
        return run


class Loaded:
    """Data sets, each made or read once."""

    def __init__(self) -> None:
        self.known: dict[Any, Any] = {}

    def of(self, config: RunConfig) -> Any:
        """The data of a configuration, whose checksum is the one that it names."""
        if config.data not in self.known:
            self.known[config.data] = family_of(config).load(config.data)
        return self.known[config.data]


def plan(variants: dict[str, RunConfig], seeds: Sequence[int], folder: Path) -> list[Planned]:
    """Every variant with every seed.

    Raises:
        UsageError: for a configuration that cannot be trained in a sweep.

    """
    planned, loaded = [], Loaded()
    for name, config in variants.items():
        if not name or Path(name).name != name:
            raise UsageError(
                f"variant {name!r} cannot be named so: its runs are folders of that name"
            )
        check_path(folder / name)
        if family_of(config).stacking is not None:
            check_stackable(name, config)
        config = replace(config, data=config.data.pinned())
        config = as_begun(config, [folder / f"{name}-{seed}" for seed in seeds])
        config, dataset = complete(config, loaded.of(config))
        runs = (replace(config, seed=seed) for seed in seeds)
        planned += [Planned(folder / f"{name}-{run.seed}", run, dataset) for run in runs]
    return planned


def as_begun(config: RunConfig, paths: Sequence[Path]) -> RunConfig:
    """The configuration with the weights that a member which is there began with: its origin may
    have gone on since, or be gone.
    """
    if (start := config.training.start) is None:
        return config
    for path in filter(is_run, paths):
        then = config_of(path).training
        if then.start in (str(locate(start).absolute()), str(Path(start).absolute())):
            names = "start", "start_steps", "start_sha256"
            known = {name: getattr(then, name) for name in names}
            return replace(config, training=replace(config.training, **known))
    return config


def check_stackable(name: str, config: RunConfig) -> None:
    """Raises `UsageError` for what members of a compiled program cannot do."""
    if config.training.devices > 1:
        raise UsageError(
            f"{name}: a sweep gives each member one device, so devices must be 1",
            fields=("training.devices",),
        )


class ProgramPlan:
    """Members that share one compiled program: one architecture, one schedule, all shapes alike."""

    def __init__(self, members: Sequence[Planned]) -> None:
        self.members = list(members)
        self.config, self.dataset, self.family = (
            members[0].config,
            members[0].dataset,
            members[0].family,
        )
        self.datasets = {member.config.data: member.dataset for member in members}
        self.program: Program = program_of(self.family, self.config, self.dataset)

    @property
    def stacking(self) -> Stacking:
        """How its members are scored together."""
        assert self.family.stacking is not None
        return self.family.stacking

    @property
    def steps(self) -> int:
        """Training steps of a member."""
        return self.program.steps

    @property
    def evaluation_split(self) -> Split:
        """The split that is evaluated at every epoch."""
        return self.members[0].opened().evaluation_split

    @property
    def test_split(self) -> Split:
        """The split that is evaluated at the end."""
        return self.members[0].opened().test_split

    @cached_property
    def data(self) -> Tree:
        """What stays on the devices: the rows of the data sets, one below the other."""
        first = self.program.batches.data
        others = [
            self.family.program(replace(self.config, data=data), dataset).batches.data
            for data, dataset in list(self.datasets.items())[1:]
        ]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), first, *others)

    def blocks(self, split: Split) -> Tree:
        """A split of all data sets as [X, count, block, ...]."""
        return self.stacked(self.datasets.values(), split)

    def epoch_blocks(self) -> Tree:
        """What is evaluated at an epoch's end, as `blocks`."""
        each = {member.config.data: member for member in self.members}.values()
        datasets = [capped_run(member.opened()).dataset for member in each]
        return self.stacked(datasets, self.evaluation_split)

    def stacked(self, datasets: Iterable[Any], split: Split) -> Tree:
        """The blocks of data sets of one shape."""
        found = [self.stacking.blocks(dataset, split) for dataset in datasets]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *found)

    def slots(self, members: Sequence[Planned], count: int) -> Slot:
        """What tells `members` apart, filled up to `count`."""
        order = list(self.datasets)
        hypers = [member.config.hyper.traced() for member in members]
        hyper = jax.tree.map(lambda *leaves: jnp.stack(leaves), *hypers)
        seeds = [member.config.seed for member in members]
        data = jnp.array([order.index(member.config.data) for member in members])
        each = Member(key(seeds), hyper)
        slots = padded(Slot(each, data, jnp.ones(len(members), bool)), count)
        return slots._replace(alive=jnp.arange(count) < len(members))


def shared_programs(planned: Sequence[Planned]) -> list[ProgramPlan]:
    """Members by all that changes the program; not by seed, data or what is traced."""
    found: dict[Any, list[Planned]] = {}
    for member in planned:
        config, stacking = member.config, member.family.stacking
        assert stacking is not None
        hyper = config.hyper
        traced = hyper.dropout is None, hyper.decay is None, hyper.ema is None
        made = member.dataset
        names = "tokenizer", "source_tokenizer"
        tokens = config.training.start and tuple(getattr(made, name, None) for name in names)
        shapes = [stacking.signature(made)]
        if config.training.evaluate_rows is not None:
            shapes.append(stacking.signature(capped_run(member.opened()).dataset))
        key = config.model, config.training, traced, tokens, *shapes
        found.setdefault(key, []).append(member)
    return [ProgramPlan(members) for members in found.values()]


Note = Callable[[str], None]
"""Where a line for the user goes."""
