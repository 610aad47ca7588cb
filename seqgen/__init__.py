"""Sequence generation in JAX: from the seq2seq models of "Deep Learning from Scratch 2" onwards."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqgen.runs import Run

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(run: str | PathLike[str]) -> "Run":
    """Open a run (a path, or a name under `runs/`) that can `.predict`, show its `.attention` and `.evaluate` itself."""
    from seqgen.runs import open_run  # here, so that `import seqgen` does not import jax

    return open_run(run)
