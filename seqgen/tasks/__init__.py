"""Where sequences come from. A task never imports a model."""

from seqgen.tasks.addition import Addition
from seqgen.tasks.dates import Dates

TASKS: dict[str, type] = {"addition": Addition, "dates": Dates}
