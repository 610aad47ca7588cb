"""The weights that a run begins with, where they are another run's.

They are matched by name and shape, and along an axis of tokens by token, whatever its id. Which
axes those are, the shapes for a vocabulary of one token more tell.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError
from seqgen.families.run import Run, abstract_params
from seqgen.families.schema import flat
from seqgen.storage.files import check_unchanged, sha256
from seqgen.storage.leaves import named
from seqgen.types import Config, Params, Sizes


def pinned(training: Training, origin: Run) -> Training:
    """The training with the path, the step and the checksum of the weights that it begins with.

    One that is pinned already stays as it is. Raises `SeqgenError` for a run without weights.
    """
    if training.start_sha256 is not None:
        return training
    step = origin.selected_step()
    weights, path = digest(origin.restored(step)), str(origin.path.absolute())
    return replace(training, start=path, start_steps=(step,), start_sha256=weights)


def digest(params: Params) -> str:
    """SHA-256 of all weights, their names with them."""
    pairs = ((name.encode(), np.asarray(leaf).tobytes()) for name, leaf in named(params).items())
    return sha256(part for pair in pairs for part in pair)


def mean(run: Run, steps: Sequence[int]) -> Params:
    """The mean of the weights of some of a run's epochs. Raises as `Run.restored`."""
    each = [run.restored(step) for step in steps]
    return jax.tree.map(lambda *leaves: np.mean(leaves, 0, np.float64).astype(np.float32), *each)


def taken(config: RunConfig, dataset: Any, origin: Run, fresh: Params) -> tuple[Params, str]:
    """The `fresh` weights with those of `origin` in their places; and what they are, in a line.

    Args:
        config: of the run that begins.
        dataset: its data.
        origin: the other run.
        fresh: initial weights; the axis of members may stand before their own.

    Raises:
        SeqgenError: where the weights are not those that the run was made to begin with.

    """
    steps = config.training.start_steps
    if len(steps) > 1:
        raise SeqgenError(
            f"the mean of steps {', '.join(map(str, steps))} of {origin.path} is gone, which the "
            "run's weights are: bring it back, or make it again with `seqgen average`"
        )
    params = origin.restored(*steps)
    what = f"the checkpoint of step {steps[0]} of {origin.path}"
    check_unchanged(what, digest(params), config.training.start_sha256)
    theirs, found = named(params), []
    told = [f"begins with the weights of {origin.path}, step {steps[0]}"]
    places, known = matched(config.model, dataset, origin)
    for name, leaf in named(fresh).items():
        leaf, (here, there) = np.array(leaf), places[name]
        leaf[(..., *np.ix_(*here))] = np.asarray(theirs[name])[np.ix_(*there)]
        found.append(leaf)
    for side, number in known.items():
        if number < (size := getattr(dataset.sizes, side)):
            tokens = "tokens" if dataset.sizes.shared else f"{side} tokens"
            told.append(f"new, and initialised: {size - number:,} of the {size:,} {tokens}")
    mine, other = flat(config), flat(origin.config)
    unlike = [path for path in mine if path.startswith("model.") and mine[path] != other.get(path)]
    told += [f"{path} was {other.get(path)!r}" for path in unlike]
    return jax.tree.unflatten(jax.tree.structure(fresh), found), "; ".join(told)


Places = tuple[list[Sequence[int]], list[Sequence[int]]]
"""Along each axis of a parameter: which entries are taken, and where they stand in the other."""


def matched(cfg: Config, dataset: Any, origin: Run) -> tuple[dict[str, Places], dict[str, int]]:
    """The entries of each parameter that another run has; how many tokens of each side it knows.

    Raises `UsageError` for the first parameter that differs, and where no token is known.
    """
    ours, theirs = axes(cfg, dataset.sizes), axes(origin.config.model, origin.sizes)
    for name in [*ours, *theirs]:
        here, there = (shape_of(each.get(name)) for each in (ours, theirs))
        if here != there:
            raise UsageError(
                f"start {origin.path}: its parameter {name} is {there}, and here it is {here}; "
                "use its architecture and sizes",
                fields=("training.start",),
            )
    places, known = dict[str, Places](), dict[str, int]()
    for name, each in ours.items():
        places[name] = [], []
        for here, there in zip(each, theirs[name], strict=True):
            mine, other = tokens_of(dataset, here), tokens_of(origin, there)
            shared = [token for token in mine if token in other]
            if here.side is not None:
                known[here.side] = len(shared)
                if not any(token.plain for token in shared):
                    raise UsageError(
                        f"start {origin.path}: none of its {there.side} tokens, {words(other)}, "
                        f"is one here, {words(mine)}",
                        fields=("training.start",),
                    )
            places[name][0].append([mine[token] for token in shared])
            places[name][1].append([other[token] for token in shared])
    return places, known


class Axis(NamedTuple):
    """An axis of a parameter, and of whose tokens its entries are: the source's, the target's."""

    size: int
    side: Literal["source", "target"] | None


def axes(cfg: Config, sizes: Sizes) -> dict[str, list[Axis]]:
    """The axes of each parameter, by its name."""
    source, target = sizes.source, sizes.target
    more: dict[Any, Sizes] = {"target": sizes._replace(target=target + 1)}
    if isinstance(source, int):
        side = "target" if sizes.shared else "source"
        more[side] = more.get(side, sizes)._replace(source=source + 1)
    shapes = shapes_of(cfg, sizes)
    wider = {side: shapes_of(cfg, each) for side, each in more.items()}
    return {
        name: [
            Axis(size, next((side for side in wider if wider[side][name][i] != size), None))
            for i, size in enumerate(shape)
        ]
        for name, shape in shapes.items()
    }


def shapes_of(cfg: Config, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by its name."""
    return {name: leaf.shape for name, leaf in named(abstract_params(cfg, sizes)).items()}


def shape_of(each: list[Axis] | None) -> str:
    """A parameter's shape in words, whatever the vocabulary's size."""
    if each is None:
        return "missing"
    return f"[{', '.join('tokens' if axis.side else str(axis.size) for axis in each)}]"


class Token(NamedTuple):
    """What a token is: of its text or a feature, and what it means to a model."""

    unit: str
    text: Any
    feature: bool = False
    special: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it only stands for text."""
        return not self.special


def tokens_of(read: Any, axis: Axis) -> dict[Token, int]:
    """The tokens that the entries of an axis are of, for a run or a data set, with their ids.

    Where ids stand for no text, entries are told apart by their numbers.
    """
    tokenizer = getattr(read, "tokenizer", None)
    if axis.side == "source":
        tokenizer = getattr(read, "source_tokenizer", None) or tokenizer
    if axis.side is None or tokenizer is None:
        return {Token("number", i): i for i in range(axis.size)}
    features = len(tokenizer) - len(getattr(tokenizer, "features", ()))
    special = tokenizer.special._asdict().items()
    return {
        Token(
            tokenizer.unit, piece, i >= features, tuple(name for name, at in special if at == i)
        ): i
        for i, piece in enumerate(tokenizer.pieces(range(len(tokenizer))))
    }


def words(tokens: dict[Token, int]) -> str:
    """How many of what they are."""
    plain = [token for token in tokens if token.plain]
    return f"{len(plain):,} {plain[0].unit}s"
