"""The kinds of data there are, and which one a configuration is of."""

from seqgen.config import RunConfig
from seqgen.errors import UsageError
from seqgen.families import pairs, text
from seqgen.families.family import Family
from seqgen.models import ARCHITECTURES

FAMILIES: tuple[Family, ...] = (pairs.FAMILY, text.FAMILY)
"""A new kind of data is a file and an entry here."""


def family_of(config: RunConfig) -> Family:
    """The family of a configuration. Raises `UsageError` where its model does not fit its data."""
    for family in FAMILIES:
        if type(config.data) in family.data.values():
            break
    else:
        raise UsageError(f"{config.data!r} is not data that a model can be trained on")
    architecture = ARCHITECTURES.get(type(config.model))
    if architecture is None:
        raise UsageError(f"{config.model!r} is not a model that can be trained")
    if architecture.family != (family.architectures or family.name):
        raise UsageError(
            f"a {architecture.name} model cannot be trained on {family.name}; "
            f"it fits {architecture.family}"
        )
    return family
