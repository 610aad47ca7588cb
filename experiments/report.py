"""results/*.json -> the tables in the READMEs, between `<!-- NAME -->` and `<!-- /NAME -->`.

Command   make figures      (python -m experiments.report)
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

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
    draws, rows = load("stream")["cells"], []
    for cell, seeds in load("book")["cells"].items():
        name, published = BOOKS[cell]
        epochs = len(next(iter(seeds.values())))
        for epoch in (5, epochs) if cell.startswith("dates") else (epochs,):
            last = [curve[epoch - 1] for curve in seeds.values()]
            spread = f"{100 * min(last):.2f} to {100 * max(last):.2f}"
            drawn = f"{100 * draws[cell][epoch - 1]:.1f}" if cell in draws else ""
            rows.append([name, f"{epoch}", percent(last), spread, f"{len(seeds)}", drawn, published])
    header = ["", "epochs", "exact match, %", "lowest to highest", "seeds", "from the book's draws", "book's code (readers)"]
    return markdown(header, rows)


def speeds() -> tuple[str, dict[str, dict]]:
    """The newest version of jax that was measured, and the records of all, newest first."""
    records = load("speed")
    newest = sorted(records, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    return newest[0], {version: records[version] for version in newest}


def spread(ratios: list[float]) -> str:
    """The median over the rounds, and the lowest and highest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"


def speed_table() -> str:
    """A training step beside PyTorch's."""
    newest, records = speeds()
    rows = []
    for i, row in enumerate(records[newest]["train"]):
        name, fraction = f"{row['task']}, {row['model']}, {row['dtype']}", f"{row['fraction_of_limit']:.0%}"
        ratios = [spread(record["train"][i]["ratios"]) for record in records.values()]
        rows.append([name, f"{row['ours_ms']:.1f}", f"{row['torch_ms']:.1f}", fraction, *ratios])
    for dtype in records[newest]["geometric_mean"]:
        ratios = [spread(record["geometric_mean"][dtype]) for record in records.values()]
        rows.append([f"geometric mean, {dtype}", "", "", "", *ratios])
    header = ["training step, batch 128", "seqgen, ms", "PyTorch, ms", "of the product limit"]
    table = markdown([*header, *(f"ratio, jax {version}" for version in records)], rows)
    start = records[newest]["startup"]
    return (
        f"{table}\n\nA new process on jax {newest} logs its first step after {start['cold_s']:.1f} s with nothing compiled, "
        f"{start['warm_s']:.1f} s with a warm cache."
    )


def decoding_table() -> str:
    """Greedy answers to 5,000 questions."""
    newest, records = speeds()
    rows = []
    for i, row in enumerate(records[newest]["decode"]):
        times = [f"{row['ours_s']:.2f}", f"{row['torch_s']:.2f}", f"{row['ratio_alone']:.0f}"]
        ratios = [spread(record["decode"][i]["ratios"]) for record in records.values()]
        rows.append([f"{row['task']}, {row['model']}", *times, *ratios])
    header = ["decoding 5,000 questions", "seqgen, s", "PyTorch, s", "times one question at a time"]
    return markdown([*header, *(f"ratio, jax {version}" for version in records)], rows)


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
