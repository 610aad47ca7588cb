"""results/*.json -> the tables in the READMEs, between `<!-- NAME -->` and `<!-- /NAME -->`.

Command   make figures      (python -m experiments.report)
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.records import load
from seqgen.files import write
from seqgen.statistics import over_seeds

PAGES = [Path("README.md"), Path("README.ko.md")]

BOOKS = {
    "addition-baseline": ("addition, baseline", "10.4 (8.2-12.3)"),
    "addition-baseline-reverse": ("addition, reverse", "42.8 (54.2)"),
    "addition-peeky": ("addition, peeky", "78.7 (81.6)"),
    "addition-peeky-reverse": ("addition, reverse + peeky", "97.8 (99.1)"),
    "dates-attention-reverse": ("dates, reverse + attention", "100 (100)"),
}
"""A cell's name in the table, and what the book's own code (its readers) got."""


def percent(values: Iterable[float]) -> str:
    """Mean ± half the 95 % interval over seeds, in percent; of one seed, its value."""
    values = [100 * value for value in values]
    if len(values) == 1:
        return f"{values[0]:.2f}"
    interval = over_seeds(values)
    return f"{interval.mean:.2f} ± {interval.high - interval.mean:.2f}"


def markdown(header: list[str], rows: Iterable[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def default_table() -> str:
    """What `make train` makes, over seeds."""
    rows = load("default")["seeds"]
    worst = min(row["exact_match"] for row in rows.values())
    seconds = over_seeds([row["seconds"] for row in rows.values()])
    cells = [percent(row["exact_match"] for row in rows.values()), f"{100 * worst:.2f}",
             f"{seconds.mean:.0f} ± {seconds.high - seconds.mean:.0f}", ", ".join(rows)]  # fmt: skip
    return markdown(["exact match on test, %", "worst seed, %", "seconds, all in", "seeds"], [cells])


def book_table() -> str:
    """The book's settings on the book's files, and what the book's code and its readers got."""
    rows = []
    for cell, seeds in load("book")["cells"].items():
        name, published = BOOKS[cell]
        last = percent(curve[-1] for curve in seeds.values())
        rows.append([name, f"{len(next(iter(seeds.values())))}", last, published, ", ".join(seeds)])
    return markdown(["book's settings, book's files", "epochs", "exact match, %", "book's code (readers)", "seeds"], rows)


def speed_table() -> str:
    """Training and decoding beside PyTorch."""
    record = load("speed")
    rows = []
    for row in record["train"]:
        name = f"{row['task']}, {row['model']}, {row['dtype']}"
        fraction = f"{row['fraction_of_limit']:.0%}"
        rows.append([name, f"{row['ours_ms']:.1f}", f"{row['torch_ms']:.1f}", f"{row['ratio']:.2f}", fraction])
    means = [f"{dtype} {mean:.2f}" for dtype, mean in record["geometric_mean"].items()]
    table = markdown(["training step, batch 128", "seqgen, ms", "PyTorch, ms", "ratio", "of the product limit"], rows)
    return f"{table}\n\nGeometric means of the ratios: {', '.join(means)}."


def decoding_table() -> str:
    """Greedy answers to 5,000 questions."""
    rows = []
    for row in load("speed")["decode"]:
        times = [f"{row['ours_s']:.2f}", f"{row['torch_s']:.2f}", f"{row['ratio']:.2f}", f"{row['ratio_alone']:.0f}"]
        rows.append([f"{row['task']}, {row['model']}", *times])
    return markdown(["decoding 5,000 questions", "seqgen, s", "PyTorch, s", "ratio", "ratio to one at a time"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "default": default_table,
    "book": book_table,
    "speed": speed_table,
    "decoding": decoding_table,
}


def filled(page: str) -> str:
    """A page with every table in it made anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if begin in page:
            before, rest = page.split(begin)
            page = f"{before}{begin}{table()}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    for path in PAGES:
        write(path, filled(path.read_text(encoding="utf-8")))
