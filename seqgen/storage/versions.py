"""What a run was made with."""

import os
import platform
from importlib import metadata

from seqgen import __version__

PACKAGES = ("jax", "jaxlib", "optax", "orbax-checkpoint", "numpy")


def version(package: str) -> str | None:
    """The version of an installed package; None if there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions() -> dict[str, str | int | None]:
    """Versions, devices, cores, and what is set for the compiler, None where nothing is: a resumed
    run is bit for bit the same only where these are.
    """
    import jax  # here, so that `seqgen doctor` can speak before jax does

    precision = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009, no type knows it
    kinds = [device.device_kind for device in jax.devices()]
    if jax.default_backend() == "cpu":
        kinds = kinds[:1]  # a CPU may be one device a core: no bit depends on it
    return {
        "seqgen": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "devices": ", ".join(kinds),
        "cores": cores(),
        "matmul_precision": precision and str(precision),
        "xla_flags": os.environ.get("XLA_FLAGS") or None,
    }
