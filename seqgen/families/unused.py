"""Fields that change nothing beside the others: refused in a new run, forgotten in an old one."""

from dataclasses import fields
from operator import attrgetter
from typing import Any

from seqgen.config import RunConfig
from seqgen.errors import UsageError
from seqgen.families.registry import family_of
from seqgen.models import ARCHITECTURES


def unused(config: RunConfig) -> dict[str, str]:
    """The path of each field that changes nothing, although it has not its default -> why."""
    reasons = {}
    if config.training.schedule == "constant":
        reasons["training.warmup"] = "a constant schedule has no warm-up"
    if config.training.start is not None:
        reasons["hyper.init_scale"] = f"the weights are those of {config.training.start}"
    family = family_of(config)
    if family.capped is None:
        reasons["training.evaluate_rows"] = f"{family.name} has no rows to choose from"
    reasons |= family.unused(config)
    told = ARCHITECTURES[type(config.model)].unused(config.model, config.hyper.dropout)
    reasons |= {f"model.{name}": why for name, why in told.items()}
    return {
        path: why
        for path, why in reasons.items()
        if attrgetter(path)(config) != default_of(config, path)
    }


def refuse_unused(config: RunConfig) -> None:
    """Raises `UsageError` for a field that would change nothing."""
    for path, why in unused(config).items():
        name, value = path.rpartition(".")[2], attrgetter(path)(config)
        raise UsageError(
            f"{name} {value} would change nothing: {why}; use {default_of(config, path)}, "
            "its default",
            fields=(path,),
        )


def default_of(config: RunConfig, path: str) -> Any:
    """The default of a field."""
    parent, _, name = path.rpartition(".")
    (field,) = (each for each in fields(attrgetter(parent)(config)) if each.name == name)
    return field.default
