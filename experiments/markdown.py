"""Tables and their cells as Markdown."""

from collections.abc import Iterable
from statistics import median

from seqgen.evaluation.statistics import over_seeds


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def interval(values: Iterable[float], digits: int = 2) -> str:
    """Mean ± half the 95 % interval over seeds."""
    found = over_seeds(list(values))
    return f"{found.mean:.{digits}f} ± {found.high - found.mean:.{digits}f}"


def percent(values: Iterable[float]) -> str:
    """Mean ± half the 95 % interval over seeds, in percent; of one seed, its value."""
    values = [100 * value for value in values]
    return f"{values[0]:.2f}" if len(values) == 1 else interval(values)


def spread(ratios: list[float]) -> str:
    """The median over the rounds, and the lowest and highest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
