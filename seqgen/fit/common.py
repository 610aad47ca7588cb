"""What the trainers of all kinds of runs share."""

from pathlib import Path

from jax.sharding import Mesh
from matplotlib.figure import Figure

from seqgen import viz
from seqgen.config import Training
from seqgen.errors import UsageError
from seqgen.training import grid
from seqgen.training.state import OPTIMIZERS, Optimizer


def optimizer_of(training: Training, steps: int) -> Optimizer:
    """The optimiser that a configuration means, for so many steps."""
    return OPTIMIZERS[training.optimizer](training.schedule, training.warmup, steps)


def mesh_of(training: Training) -> Mesh:
    """The devices over which batches are split. Raises `UsageError` where jax has fewer."""
    mesh = grid.mesh_for(training.devices)
    if mesh.size < training.devices:
        raise UsageError(f"--devices {training.devices} is more than the {mesh.size} that jax has here")
    return mesh


def save(stem: Path, figure: Figure) -> None:
    """The figure as PNG and SVG."""
    stem.parent.mkdir(exist_ok=True)
    for suffix in (".png", ".svg"):
        viz.save(figure, stem.with_suffix(suffix))
