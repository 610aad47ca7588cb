"""Arrays on the disk, through Orbax: a flat dict from leaf name to array."""

import logging
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to a new folder. Raises what Orbax and tensorstore raise: almost anything."""
    from orbax.checkpoint import v1 as ocp  # 0.6 s: not before the first save

    silence_threads()
    probe(path.with_name("probe"), 2**20 + sum(array.nbytes for array in arrays.values()))
    context = ocp.Context()
    context.array.saving.use_compression = False  # it takes a third more time and saves little
    with context:
        ocp.save(str(path.absolute()), arrays)  # Orbax refuses a relative path


def load(path: Path) -> dict[str, np.ndarray]:
    """Read arrays. Raises as `save`."""
    from orbax.checkpoint import v1 as ocp

    return ocp.load(str(path.absolute()))


@cache
def silence_threads() -> None:
    """Drop what threads print of errors that Orbax raises as well, where a disk fills or fails."""
    twice = "_SignalingThread.run() raised an exception"
    logging.getLogger("absl").addFilter(lambda record: twice not in str(record.msg))
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":  # tensorstore's threads come late
            before(unraisable)

    sys.unraisablehook = hook


def probe(path: Path, size: int) -> None:
    """Raises OSError if `size` bytes do not fit: tensorstore would leave half of them there."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):  # not on macOS
            os.posix_fallocate(file.fileno(), 0, size)
    path.unlink()


def reason(error: Exception) -> str:
    """What the operating system said, if it did; tensorstore has its number inside the text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if number := re.search(r"os_error_code='(\d+)'", str(error)):
        return os.strerror(int(number[1]))
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
