"""Sweeps are plain data: a variant's name -> the fields in which it differs from a base.

These functions combine them, for example:

    DECODERS = {"baseline": {}, "attention": {"model.decoder.outputs": ["dot"]}}
    product(DECODERS, {"": {}, "reverse": {"reverse": True}}, values("lr", [1e-3, 3e-3]))

has the variants baseline-lr=0.001, ..., attention-reverse-lr=0.003. A field is named by its path in
`RunConfig`, or by the end of that path where only one field ends so: `hyper.lr` or `lr`, but not
`hidden`, which encoder and decoder both have.
"""

import difflib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from seqgen.config import RunConfig
from seqgen.errors import UsageError
from seqgen.families.schema import flat, from_json, unstructured

Changes = dict[str, Any]
"""Field -> value."""

Sweep = dict[str, Changes]
"""Name -> what a variant changes."""


def values(field: str, of: Iterable[Any]) -> Sweep:
    """One variant a value, named like lr=0.003. Raises `UsageError` for what is no list of them."""
    if isinstance(of, str) or not isinstance(of, Iterable):
        raise UsageError(f"values({field!r}, ...) needs a list of values, not {of!r}")
    short = field.rpartition(".")[2]
    return chain(*({f"{short}={value}": {field: value}} for value in of))


def product(*sweeps: Sweep) -> Sweep:
    """Every combination, one variant of each sweep; the first varies slowest. Raises `UsageError`
    where two set one field.
    """
    return _joined(itertools.product(*(sweep.items() for sweep in sweeps)))


def zip_(*sweeps: Sweep) -> Sweep:
    """First with first, second with second. Raises `UsageError` for sweeps of different length, or
    where two set one field.
    """
    if len({len(sweep) for sweep in sweeps}) > 1:
        lengths = ", ".join(str(len(sweep)) for sweep in sweeps)
        raise UsageError(f"zip_ needs sweeps of one length, not of {lengths}")
    return _joined(zip(*(sweep.items() for sweep in sweeps), strict=True))


def chain(*sweeps: Sweep) -> Sweep:
    """One after another. Raises `UsageError` for a name that comes twice."""
    chained: Sweep = {}
    for name, changes in itertools.chain.from_iterable(sweep.items() for sweep in sweeps):
        if name in chained:
            raise UsageError(f"two variants are named {name!r}")
        chained[name] = changes
    return chained


def _joined(combinations: Iterable[Sequence[tuple[str, Changes]]]) -> Sweep:
    """Names joined by "-" (empty ones left out), changes merged."""
    sweeps = []
    for combination in combinations:
        merged: Changes = {}
        for name, changes in combination:
            for field in changes.keys() & merged.keys():
                raise UsageError(f"{name!r} sets {field!r}, and so does what it is combined with")
            merged |= changes
        sweeps.append({"-".join(name for name, _ in combination if name): merged})
    return chain(*sweeps)


FIXED = {
    "seed": "seeds are given to the whole sweep",
    "data.sha256": "it comes from the file",
    "training.start_steps": "it comes from the run that start names",
    "training.start_sha256": "it comes from the run that start names",
}
"""Fields that a variant cannot have of its own, and why."""


def override(config: RunConfig, changes: Changes) -> RunConfig:
    """A configuration with some fields changed.

    Raises `UsageError` for a field that is unknown or ambiguous, suggesting the right one, that is
    not to be set or named twice, and for a value that it cannot have.
    """
    tree, now = unstructured(config), flat(config)
    found: dict[str, str] = {}
    for field, value in changes.items():
        path = _resolve(field, list(now))
        if path in found:
            raise UsageError(f"{found[path]!r} and {field!r} are one field, {path}")
        if path in FIXED:
            raise UsageError(f"field {path!r} cannot be set: {FIXED[path]}")
        if isinstance(value, str) and isinstance(now[path], list | tuple):
            raise UsageError(f'{path} is a list, and {value!r} is not: use ["{value}"]')
        found[path] = field
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return from_json(tree)


def _resolve(field: str, paths: Sequence[str]) -> str:
    """The one path that is `field` or ends with it."""
    ends = _ending(field, paths)
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise UsageError(f"field {field!r} is ambiguous: {' or '.join(ends)}")
    known = [*paths, *(path.rpartition(".")[2] for path in paths)]
    near = [
        path
        for name in difflib.get_close_matches(field, known, n=1)
        for path in _ending(name, paths)
    ]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(paths)}"
    raise UsageError(f"no field {field!r}; {hint}")


def _ending(field: str, paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path == field] or [
        path for path in paths if path.endswith(f".{field}")
    ]
