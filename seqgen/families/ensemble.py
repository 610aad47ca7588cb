"""Several runs of pairs that answer together."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from seqgen.errors import UsageError
from seqgen.families.directory import open_pairs, open_run
from seqgen.families.pairs_run import PairsRun
from seqgen.families.run import Run
from seqgen.models.ensemble import ensemble
from seqgen.tasks.pair_config import PairFile
from seqgen.types import Model, Params


class Ensemble(PairsRun):
    """A run whose model is the ensemble of its members': tokens and data are the first one's.

    Args:
        members: runs whose ids stand for the same.

    Raises:
        UsageError: where they do not.

    """

    def __init__(self, members: Sequence[PairsRun]) -> None:
        first = members[0]
        for other in members[1:]:
            for reason in differences(first.meaning(), other.meaning()):
                raise UsageError(f"{first.name} and {other.name} are no ensemble: {reason}")
        super().__init__(first.path, first.config, first.family)
        self.members = tuple(members)

    def __repr__(self) -> str:
        return f"seqgen.load({', '.join(repr(str(each.path)) for each in self.members)})"

    @property
    def name(self) -> str:
        """Its members."""
        return ", ".join(each.name for each in self.members)

    @property
    def model(self) -> Model:
        """The ensemble of the models."""
        return ensemble(tuple(each.model for each in self.members))

    @cached_property
    def params(self) -> Params:
        """The parameters of each."""
        return tuple(each.params for each in self.members)

    @cached_property
    def dataset(self) -> Any:
        """The data of all.

        Raises `UsageError` where members were trained on other data: the rows of one's test may be
        those that another was trained on.
        """
        for other in self.members[1:]:
            if rows_of(other.config.data) != rows_of(self.config.data):
                raise UsageError(
                    f"{self.members[0].name} and {other.name} were not made with the same data, so "
                    "rows that test the one may have trained the other; predict with them instead"
                )
        return self.members[0].dataset

    def having(self, params: Params) -> "Ensemble":
        """The same members with other parameters, one tree each."""
        found = Ensemble(self.members)
        found.params = params
        return found

    def restored(self, step: int) -> Params:
        """Raises `UsageError`: each member has epochs of its own."""
        raise UsageError(f"an ensemble has no epoch {step}: its members have their own")

    def selected_step(self) -> int:
        """Raises `UsageError`: each member has one of its own."""
        raise UsageError("an ensemble has no selected epoch: its members have their own")


def rows_of(data: Any) -> Any:
    """What of a configuration of data decides its rows."""
    return data.plain() if isinstance(data, PairFile) else data


def load(run: str | os.PathLike[str], *more: str | os.PathLike[str]) -> Run:
    """Open a run; with more, the ensemble of all. Raises `UsageError` where that cannot be."""
    return Ensemble([open_pairs(each) for each in (run, *more)]) if more else open_run(run)


def differences(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """In what the meanings of two runs' ids differ."""
    sides = {"tokenizer": "other tokens", "source_tokenizer": "other tokens of the source"}
    for key, words in sides.items():
        if one.get(key) != other.get(key):
            yield f"they have {words}"
    for name, value in one["padding"].items():
        if value != other["padding"][name]:
            yield f"{name} of their padding is {value} and {other['padding'][name]}"
