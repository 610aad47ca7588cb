"""Sequence generation in JAX: from the seq2seq models of "Deep Learning from Scratch 2" onwards."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqgen.families import Run

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(run: str | PathLike[str]) -> "Run":
    """Open a run: a path, or a name under `runs/`. It can `.predict`, `.evaluate`, ..."""
    from seqgen.families import open_run  # here: `import seqgen` does not import jax

    return open_run(run)
