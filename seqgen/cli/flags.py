"""The names of a configuration's fields on the command line."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, get_type_hints

import tyro

Flat = tyro.conf.arg(name="")
"""Fields of what is marked so have flags without its name before them."""

RENAMED = {
    "data.file": "data",
    "data.path": "data",
    "data.seed": "data-seed",
    "training.start": "from",
}
"""A field's path -> its flag, where that is not the field's own name."""

HIDDEN = {"data.sha256", "training.start_steps", "training.start_sha256"}
"""Fields that are not asked for: they come from the data, or from another run."""

FLAT = ("data", "training", "hyper", "generation")
"""Parts of a configuration whose fields' flags do not have its name before them."""

Shown = Callable[[str], str | None]
"""A field's path -> how one command takes it: a flag, or `--set field=`; None: not at all."""


def flag(field: str) -> str:
    """The flag of a field: training.batch is --batch, model.hidden is --model.hidden."""
    part, _, rest = field.partition(".")
    name = RENAMED.get(field) or (rest if part in FLAT and rest else field)
    return "--" + name.replace("_", "-")


def flags_of(command: Callable[..., Any]) -> set[str]:
    """The flags of a command whose options are the parameters of a function."""
    found = set()
    for name, parameter in inspect.signature(command).parameters.items():
        if dataclasses.is_dataclass(parameter.default):
            found |= {flag(f"{name}.{each.name}") for each in dataclasses.fields(parameter.default)}
        elif parameter.kind is not parameter.POSITIONAL_ONLY:
            found.add(flag(name.rstrip("_")))
    return found


def shown_by(command: Callable[..., Any]) -> Shown:
    """Fields by their flags where a command has those."""
    flags = flags_of(command)
    return lambda field: flag(field) if flag(field) in flags else None


def in_flags(message: str, fields: Collection[str], shown: Shown = flag) -> str:
    """A message about fields, with their flags in the place of their names, or after it.

    An assignment like `--set batch=` always stands after it.
    """
    after = []
    for field in fields:
        leaf, option = field.rpartition(".")[2], shown(field)
        if option is None:
            continue
        word = rf"(?<![\w./'\"-]){re.escape(leaf)}(?![\w/'\"-])"
        quoted = "`[^`]*`"  # a command, in which a path may hold the word
        found = re.finditer(f"{quoted}|{word}", message)
        places = [place for place in found if place[0] == leaf]
        if places and not option.endswith("="):
            start, end = places[-1].span()
            message = f"{message[:start]}{option}{message[end:]}"
        else:
            after.append(option)
    return f"{message} ({', '.join(after)})" if after else message


def asked(value: Any, part: str, *, concrete: Collection[Any] = ()) -> Any:
    """A dataclass with the fields of `value`, annotated with their flags, for tyro to ask for.

    Args:
        value: its fields are the defaults.
        part: its name in a configuration.
        concrete: annotations in whose place the type of the default is asked for.

    """
    hints = get_type_hints(type(value), include_extras=True)
    fields = []
    for field in dataclasses.fields(value):
        path, default = f"{part}.{field.name}", getattr(value, field.name)
        kind: Any = type(default) if hints[field.name] in concrete else hints[field.name]
        if path in HIDDEN:
            kind = tyro.conf.Suppress[kind]
        elif path in RENAMED:
            kind = Annotated[kind, tyro.conf.arg(name=RENAMED[path])]
        fields.append((field.name, kind, dataclasses.field(default=default)))
    made = dataclasses.make_dataclass(type(value).__name__, fields, frozen=True)
    made.__doc__ = type(value).__doc__
    return made


def answered(value: Any, kind: Any) -> Any:
    """What tyro read, as the dataclass `kind` itself."""
    return kind(**{field.name: getattr(value, field.name) for field in dataclasses.fields(kind)})
