"""Numbers in the type in which they are used: float32 and int32 on the device."""

import numpy as np

from seqgen.errors import UsageError

INT32_MAX = 2**31 - 1

TINY, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Of the positive numbers that float32 holds in full; a device may take smaller ones for 0."""

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


def in_float32(value: float | int, low: float | int, high: float | int) -> bool:
    """Whether float32 holds a number, within bounds, as something else than 0 unless it is 0."""
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    whole = TINY <= abs(single) <= LARGEST or not value
    return whole and low <= value and max(value, single) <= high


def check_count(field: str, value: int | None, most: int = INT32_MAX) -> None:
    """Raises `UsageError`, with the field's path, for a number that is not 1 to `most`."""
    if value is not None and not 1 <= value <= most:
        words = "1 or more" if value < 1 else f"{most:,} or less"
        name = field.rpartition(".")[2]
        raise UsageError(f"{name} must be {words}, not {value}", fields=(field,))
