"""`seqgen doctor`: what runs here, and what stands in its way."""

import os
import platform
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import tyro

from seqgen import __version__
from seqgen.storage.versions import PACKAGES, cores, version


class Accelerator(NamedTuple):
    """A device that jax sees only with a plugin."""

    name: str
    platform: str
    """What jax calls it."""
    extra: str
    """What seqgen calls the plugin."""
    plugins: tuple[str, ...]
    traces: tuple[str, ...]
    """Files that are there when the device is."""
    trouble: str
    """Why an installed plugin may not start."""


ACCELERATORS = (
    Accelerator(
        name="an NVIDIA GPU",
        platform="gpu",
        extra="cuda",
        plugins=("jax-cuda13-plugin", "jax-cuda12-plugin"),
        traces=("dev/nvidiactl", "dev/nvidia0", "usr/lib/wsl/lib/nvidia-smi"),
        trouble="CUDA 13 needs NVIDIA's driver 580 or newer, and `nvidia-smi` tells yours",
    ),
    Accelerator(
        name="a TPU",
        platform="tpu",
        extra="tpu",
        plugins=("libtpu",),
        traces=("dev/accel0", "dev/vfio/0"),
        trouble="one process at a time can hold it, and another may",
    ),
)

VARIABLES = {
    "JAX_PLATFORMS": "jax uses that and nothing else",
    "XLA_FLAGS": "flags come and go with jax's versions, and an unknown one aborts the process",
    "JAX_DISABLE_JIT": "everything runs many times slower",
    "JAX_DEBUG_NANS": "every step waits for its check",
    "JAX_ENABLE_X64": "numbers are twice as wide, and results differ",
}
"""What an environment variable does to a run."""


def main(arguments: list[str]) -> None:
    """Parse the (absent) options and report."""
    tyro.cli(report, prog="seqgen doctor", args=arguments)


def report() -> None:
    """Print versions, devices, the compilation cache, and known traps with what fixes them."""
    print(f"{'python':<18}{platform.python_version()} on {platform.system()} {platform.machine()}")
    print(f"{'seqgen':<18}{__version__}")
    for package in PACKAGES:
        print(f"{package:<18}{version(package) or 'not installed'}")
    print(f"{'cores':<18}{cores()}")
    print(f"{'cache':<18}{describe_cache()}")
    for variable, consequence in VARIABLES.items():
        if variable in os.environ:
            print(
                f"! {variable}={os.environ[variable]} is set: {consequence}.", flush=True
            )  # before jax may abort
    platforms, devices = see_devices()
    print(f"{'devices':<18}{devices}")
    for accelerator in unseen(platforms):
        print(
            f"! There is {accelerator.name} here, but jax does not see it: {remedy(accelerator)}."
        )


def see_devices() -> tuple[set[str], str]:
    """The platforms that jax sees and, in words, their devices or why there are none."""
    try:
        import jax

        devices = jax.devices()
    except (
        Exception
    ) as error:  # whatever it is (jax has even an `assert` here): a doctor survives it
        return set(), f"none ({type(error).__name__}: {error})"
    return {device.platform for device in devices}, ", ".join(str(device) for device in devices)


def unseen(platforms: Collection[str], root: Path = Path("/")) -> list[Accelerator]:
    """The accelerators that left a trace under `root`, and are not among the platforms that jax
    sees.
    """
    return [
        it
        for it in ACCELERATORS
        if it.platform not in platforms and any((root / trace).exists() for trace in it.traces)
    ]


def remedy(accelerator: Accelerator) -> str:
    """What makes jax see this accelerator."""
    if "JAX_PLATFORMS" in os.environ:
        return "JAX_PLATFORMS hides it, so unset that"
    if any(version(plugin) for plugin in accelerator.plugins):
        return f"its plugin is installed, but does not start ({accelerator.trouble})"
    extra = accelerator.extra
    return f'`make train EXTRA={extra}` in a clone, or `pip install "seqgen[{extra}]"`'


def describe_cache() -> str:
    """Where compiled programs are kept, and how much of them."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        return "off, so every start compiles again"
    sizes = [file.stat().st_size for file in Path(folder).glob("*-cache")]
    return (
        f"{folder}: {len(sizes)} programs, {sum(sizes) / 1e6:.1f} MB (may be deleted at any time)"
    )
