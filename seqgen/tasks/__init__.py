"""Where sequences come from. A task never imports a model."""

from seqgen.tasks.addition import Addition
from seqgen.tasks.dates import Dates

TASKS: dict[str, type] = {"addition": Addition, "dates": Dates}
"""The name under which a run's config.json has a task -> its class.

A task of your own is a class and a line here. `seqgen.presets` may have numbers of its own for it.
"""
