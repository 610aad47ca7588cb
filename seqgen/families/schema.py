"""config.json: a `RunConfig` as JSON, by the names of families and architectures; old ones migrate.

A change of names costs no run: a file has a version, an old one is migrated when it is read, and
one of a later version is refused. Which of several classes a field has is cattrs' tagged union:
data and model carry a `kind`, tasks and languages a `name`.

| version | what changed                                                                      |
|---------|-----------------------------------------------------------------------------------|
| 1       | no version number; sizes among the model's fields; kinds could be left out        |
| 2       | other names: padding, initial_state, context, variational_dropout, synthetic, ... |
| 3       | none; SHA256SUMS stands beside it                                                 |
"""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Union

import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union

from seqgen.config import RunConfig, leaves, strict_converter, structured
from seqgen.errors import SeqgenError
from seqgen.families.registry import FAMILIES
from seqgen.families.unused import default_of, unused
from seqgen.models import ARCHITECTURES
from seqgen.storage import manifest

VERSION = 3

UNCOVERED = (
    f"a run of an earlier version, without {manifest.NAME}: damage to its files cannot be seen; "
    "`seqgen resume RUN` adds it"
)


def to_json(config: RunConfig) -> dict[str, Any]:
    """What config.json holds."""
    return {"version": VERSION, **unstructured(config)}


def unstructured(config: RunConfig) -> dict[str, Any]:
    """A configuration as nested dictionaries."""
    return converter().unstructure(config)


def from_json(content: Any) -> RunConfig:
    """Decoded JSON of this version. Raises `UsageError` that names the field."""
    return structured(converter(), content, RunConfig)


def config_of(path: Path) -> RunConfig:
    """What the run in a directory is, without fields that change nothing: it may be an old one.

    Raises:
        SeqgenError: for a file that is not whole, not ours, or of a later version, or where the
            run's manifest is gone.

    """
    file = path / "config.json"
    content = manifest.read_json(file)
    try:
        config = forgetting_unused(from_json(migrated(content)))
    except Exception as error:  # what cattrs and our own checks make of foreign shapes
        raise SeqgenError(f"{file}: {error}") from error
    if not manifest.exists(path):
        if content.get("version", 1) > 2:
            raise manifest.refusal(path / manifest.NAME, "it is gone")
        warnings.warn(UNCOVERED, stacklevel=1)  # once, however many runs are opened
    return config


def forgetting_unused(config: RunConfig) -> RunConfig:
    """The configuration of the same run, whose unused fields have their defaults."""
    content = unstructured(config)
    for path in unused(config):
        *parents, leaf = path.split(".")
        part = content
        for name in parents:
            part = part[name]
        part[leaf] = default_of(config, path)
    return from_json(content)


def flat(config: RunConfig) -> dict[str, Any]:
    """Every field by its path: "training.epochs" -> 25."""
    return dict(leaves(unstructured(config)))


@cache
def converter() -> cattrs.Converter:
    """What may be one of several classes carries the name of its own."""
    found = strict_converter()
    for family in FAMILIES:
        for protocol, classes in family.unions.items():
            read, write = tagged(found, classes, "name")
            found.register_structure_hook_func(lambda kind, p=protocol: kind is p, read)
            found.register_unstructure_hook_func(lambda kind, p=protocol: kind is p, write)
    data = {name: kind for family in FAMILIES for name, kind in family.data.items()}
    models = {architecture.name: kind for kind, architecture in ARCHITECTURES.items()}
    fields = {"data": tagged(found, data, "kind"), "model": tagged(found, models, "kind")}
    reading: Any = {name: override(struct_hook=read) for name, (read, _) in fields.items()}
    writing: Any = {name: override(unstruct_hook=write) for name, (_, write) in fields.items()}
    found.register_structure_hook(
        RunConfig,
        make_dict_structure_fn(RunConfig, found, _cattrs_forbid_extra_keys=True, **reading),
    )
    found.register_unstructure_hook(
        RunConfig, make_dict_unstructure_fn(RunConfig, found, **writing)
    )
    return found


def tagged(
    into: cattrs.Converter, classes: dict[str, type], tag: str
) -> tuple[Callable[[Any, Any], Any], Callable[[Any], Any]]:
    """How one of several classes is read and written, its name under `tag`."""
    union: Any = Union[tuple(classes.values())]  # noqa: UP007
    names = {kind: name for name, kind in classes.items()}
    configure_tagged_union(union, into, tag_generator=names.__getitem__, tag_name=tag)

    def read(content: Any, _: Any) -> Any:
        name = content.get(tag) if isinstance(content, dict) else content
        if name not in classes:
            raise ValueError(f"no {tag} {name!r}; there are {', '.join(classes)}")
        return into.structure(content, union)

    return read, lambda value: into.unstructure(value, union)


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """What a config.json of any version says, in the fields of this one."""
    content = dict(content)
    version = content.pop("version", 1)
    if type(version) is not int or version not in range(1, VERSION + 1):
        later = type(version) is int and version > VERSION
        why = "a later seqgen wrote it" if later else "no seqgen wrote it"
        raise ValueError(f"version {version!r} is none of 1 to {VERSION}: {why}")
    if version < 2:
        content = {name: _MIGRATIONS.get(name, _same)(part) for name, part in content.items()}
    return content


def _same(part: Any) -> Any:
    return part


def _renamed(part: Any, names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in part.items()}


def _data_of_version_1(data: dict[str, Any]) -> dict[str, Any]:
    data = _renamed(data, {"layout": "padding", "held_out": "test_only_formats"})
    kind = data.get("kind", "pairs")
    return {**data, "kind": "synthetic" if kind == "language" else kind}


def _model_of_version_1(model: dict[str, Any]) -> dict[str, Any]:
    model = _renamed(model, {"passed": "initial_state"})
    model = {name: model[name] for name in model if name not in ("vocabulary", "delimiter")}
    if "mask" in model:
        model["variational_dropout"] = model.pop("mask") == "locked"
    if "decoder" in model:
        decoder = dict(model["decoder"])
        for place in {"inputs", "outputs"} & decoder.keys():
            names = decoder[place]
            decoder[place] = ["context" if name == "summary" else name for name in names]
        model["decoder"] = decoder
    return {**model, "kind": model.get("kind", "seq2seq")}


_MIGRATIONS = {"data": _data_of_version_1, "model": _model_of_version_1}
