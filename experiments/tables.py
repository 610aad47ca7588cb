"""results/*.json as Markdown tables, each under the name by which a page asks for it."""

from collections.abc import Callable

from experiments import addition, benchmarks, speed_tables
from experiments.alignment_tables import (
    alignment_table,
    blinded_table,
    book_weights_table,
    controls_table,
    delay_table,
    places_table,
)
from experiments.faults import faults_table
from experiments.language_tables import (
    entropy_table,
    language_ablation_table,
    language_speed_table,
    long_table,
    ptb_epochs_table,
    ptb_table,
    shakespeare_table,
)
from experiments.markdown import interval, percent, table
from experiments.records import load
from experiments.summary_table import summary_table
from seqgen import presets
from seqgen.evaluation.statistics import over_seeds, paired, wilson

BOOKS = {
    "addition-baseline": ("addition, baseline", "baseline"),
    "addition-baseline-reverse": ("addition, reverse", "baseline-reverse"),
    "addition-peeky": ("addition, peeky", "peeky"),
    "addition-peeky-reverse": ("addition, reverse + peeky", "peeky-reverse"),
    "dates-attention-reverse": ("dates, reverse + attention", ""),
}
"""A cell's name in the book's table, and in `PUBLISHED`."""


def default_table() -> str:
    """What `make train` makes, over seeds."""
    rows = load("default")["seeds"]
    worst = min(row["exact_match"] for row in rows.values())
    seconds = over_seeds([row["seconds"] for row in rows.values()])
    right = percent(row["exact_match"] for row in rows.values())
    took = f"{seconds.mean:.0f} ± {seconds.high - seconds.mean:.0f}"
    header = ["exact match on test, %", "worst seed, %", "seconds, all in", "seeds"]
    return table(header, [[right, f"{100 * worst:.2f}", took, ", ".join(rows)]])


QUESTIONS = 5000
"""In the book's test sets."""


def one_model(fraction: float) -> str:
    """The fraction right of one model in percent, with the interval over that many questions."""
    found = wilson(round(fraction * QUESTIONS), QUESTIONS)
    return f"{100 * found.mean:.1f} ({100 * found.low:.1f}-{100 * found.high:.1f})"


def book_table() -> str:
    """The book's settings on the book's files, and what the book's code and its readers got."""
    draws, rows = load("stream")["cells"], []
    for cell, seeds in load("book")["cells"].items():
        name, own = BOOKS[cell]
        epochs = len(next(iter(seeds.values())))
        for epoch in (5, epochs) if cell.startswith("dates") else (epochs,):
            last = [curve[epoch - 1] for curve in seeds.values()]
            lowest = f"{100 * min(last):.2f} to {100 * max(last):.2f}"
            drawn = one_model(draws[cell]["exact_match"][epoch - 1])
            found = f"{epoch}", percent(last), lowest, f"{len(seeds)}"
            rows.append([name, *found, drawn, published(own) or "100 (100)"])
    header = [
        "",
        "epochs",
        "exact match, %",
        "lowest to highest",
        "seeds",
        "from the book's draws",
        "book's code (readers)",
    ]
    return table(header, rows)


DECODERS = list(presets.decoders())

CELLS = list(addition.variants())

PUBLISHED: dict[str, tuple[float, list[float]]] = {
    "baseline": (10.4, [8.2, 12.3]),
    "baseline-reverse": (42.8, [54.2]),
    "peeky": (78.7, [81.6]),
    "peeky-reverse": (97.8, [99.1]),
    "attention-reverse": (33.9, []),
}
"""Addition at epoch 25, exact match in percent: the book's code, and the lowest and highest of the
book's readers.
"""


def published(cell: str) -> str:
    """10.4 (8.2-12.3)."""
    if cell not in PUBLISHED:
        return ""
    own, others = PUBLISHED[cell]
    return f"{own}" + f" ({'-'.join(map(str, others))})" * bool(others)


def display_name(cell: str) -> str:
    """peeky-attention-reverse as "reverse + peeky + attention"."""
    words = [word for word in ("reverse", "peeky", "attention") if word in cell.split("-")]
    return " + ".join(words) or cell


def on_test(name: str) -> dict[str, dict[str, float]]:
    """Cell -> seed -> exact match on the test set, in percent.

    Of the runs of a sweep that did not break off.
    """
    cells = load(name)["cells"]
    return {
        cell: {seed: 100 * run["test"] for seed, run in seeds.items() if "test" in run}
        for cell, seeds in cells.items()
    }


def addition_table() -> str:
    """All eight cells at the book's settings."""
    cells, rows = on_test("addition"), []
    for cell in CELLS:
        last = list(cells[cell].values())
        lowest = f"{min(last):.2f} to {max(last):.2f}"
        rows.append([display_name(cell), interval(last), lowest, f"{len(last)}", published(cell)])
    header = ["exact match, %", "lowest to highest", "seeds", "book's code (readers)"]
    return table(["addition, 25 epochs", *header], rows)


def difference(cells: dict[str, dict[str, float]], more: str, less: str) -> list[str]:
    """The end of a row: the difference of two cells in points, its p, and the number of seeds.

    Over the seeds that both have.
    """
    seeds = [seed for seed in cells[more] if seed in cells[less]]
    found = paired([cells[more][seed] for seed in seeds], [cells[less][seed] for seed in seeds])
    mean, low, high = found.difference
    return [f"{mean:+.2f} ({low:+.2f} to {high:+.2f})", f"{found.p:.3f}", f"{len(seeds)}"]


def differences(name: str) -> str:
    """What each improvement adds to sums, paired by seed."""
    cells = on_test(name)
    rows = [
        [f"reverse, to {display_name(decoder)}", *difference(cells, f"{decoder}-reverse", decoder)]
        for decoder in DECODERS
    ]
    for improvement, more, less in (
        ("peeky, without reverse", "peeky", "baseline"),
        ("peeky, with reverse", "peeky-reverse", "baseline-reverse"),
        ("attention, without reverse", "attention", "baseline"),
        ("attention, with reverse", "attention-reverse", "baseline-reverse"),
        ("attention, with both", "peeky-attention-reverse", "peeky-reverse"),
    ):
        rows.append([improvement, *difference(cells, more, less)])
    return table(["difference in exact match", "points (95 % interval)", "p", "seeds"], rows)


def masked_table() -> str:
    """All eight cells with blanks, as the book has them, and with masks."""
    blanks, masks, rows = on_test("addition"), on_test("length"), []
    for cell in CELLS:
        both = {"masks": masks[cell], "blanks": blanks[cell]}
        means = [interval(values.values()) for values in (blanks[cell], masks[cell])]
        rows.append([display_name(cell), *means, *difference(both, "masks", "blanks")])
    header = ["blanks, %", "masks, %", "masks to blanks, shared seeds", "p", "seeds"]
    return table(["addition, 25 epochs", *header], rows)


DATES = ("baseline-reverse", "peeky-reverse", "attention-reverse", "attention")


def at_epoch(name: str, cell: str, epoch: int) -> str:
    """Exact match after an epoch, on the evaluation split."""
    runs = load(name)["cells"][cell].values()
    return interval(100 * run["exact_match"][epoch - 1] for run in runs)


def dates_table() -> str:
    """Both splits side by side."""
    splits, rows = {"leak-free": "dates", "book's": "dates-book"}, []
    for cell in DATES:
        epochs = [at_epoch(name, cell, epoch) for epoch in (3, 5) for name in splits.values()]
        tests = [interval(on_test(name)[cell].values()) for name in splits.values()]
        rows.append([display_name(cell), *epochs, *tests])
    times = [f"epoch {epoch}, {split}" for epoch in (3, 5) for split in splits]
    return table(["dates", *times, *(f"test at epoch 10, {split}" for split in splits)], rows)


def length_table() -> str:
    """Exact match by the digits of the longer operand."""
    cells = load("length")["by_digits"]
    asked = {digits: counts[1] for digits, counts in next(iter(cells[CELLS[0]].values())).items()}
    rows = [["questions", *(f"{count:,}" for count in asked.values())]]
    for cell in CELLS:
        shares = [
            [100 * right / count for right, count in (seed[n] for seed in cells[cell].values())]
            for n in asked
        ]
        rows.append([display_name(cell), *(interval(share, 1) for share in shares)])
    return table(["digits of the longer operand", *asked], rows)


def formats_table() -> str:
    """Exact match on the format that training did not have, and on the others."""
    rows = []
    for cell, seeds in load("formats")["cells"].items():
        name = cell.removeprefix("without-")
        alone, others = [], []
        for counts in seeds.values():
            right, asked = counts[name]
            alone.append(100 * right / asked)
            right, asked = (
                sum(count[i] for count in counts.values()) - counts[name][i] for i in (0, 1)
            )
            others.append(100 * right / asked)
        rows.append([name, interval(alone), interval(others), f"{len(alone)}"])
    header = ["held-out format", "exact match on it, %", "on the other three, %", "seeds"]
    return table(header, rows)


def errors_table(cell: str) -> str:
    """Where one cell of a sweep fails: how many rows of a kind are wrong, the mean over seeds."""
    seeds, rows = list(load("errors")["cells"][cell].values()), []
    total, asked = (sum(seed[name] for seed in seeds) / len(seeds) for name in ("wrong", "rows"))
    for breakdown in sorted(seeds[0].keys() - {"wrong", "rows"}):
        for kind in sorted({kind for seed in seeds for kind in seed[breakdown]} - {"none"}):
            wrong, count = (
                sum(seed[breakdown].get(kind, [0, 0])[i] for seed in seeds) / len(seeds)
                for i in (0, 1)
            )
            among = "" if breakdown == "wrong places" else f"{100 * wrong / count:.1f}"
            share = f"{100 * wrong / max(total, 1e-9):.1f}"
            rows.append([breakdown, kind, f"{wrong:.1f}", among, share])
    rows.append(["all", "", f"{total:.1f}", f"{100 * total / asked:.1f}", "100.0"])
    return table([cell, "", "wrong, mean over seeds", "% of its rows", "% of all errors"], rows)


def search_table(name: str, chosen: str) -> str:
    """A search's variants on its validation rows, and the chosen one on the test set."""
    rows = []
    for cell, seeds in load(name)["cells"].items():
        last = [100 * run["exact_match"][-1] for run in seeds.values() if "exact_match" in run]
        broken = f"{len(seeds) - len(last)} of {len(seeds)} broke off", ""
        found = (interval(last, 3), f"{min(last):.2f}") if len(last) == len(seeds) else broken
        rows.append([cell, *found, ", ".join(seeds)])
    for cell, seeds in on_test(chosen).items():
        last, name = list(seeds.values()), f"**{cell}, on the test set**"
        rows.append([name, interval(last, 3), f"{min(last):.2f}", ", ".join(seeds)])
    return table(["variant", "exact match on validation, %", "lowest", "seeds"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "default": default_table,
    "summary": summary_table,
    "book": book_table,
    "speed": speed_tables.speed_table,
    "decoding": speed_tables.decoding_table,
    "grid": speed_tables.grid_table,
    "grids": speed_tables.grids_table,
    "pairs speed": speed_tables.pairs_table,
    "buckets": speed_tables.buckets_table,
    "large": speed_tables.large_table,
    "addition": addition_table,
    "addition differences": lambda: differences("addition"),
    "masked": masked_table,
    "masked differences": lambda: differences("length"),
    "dates": dates_table,
    "alignment": alignment_table,
    "book weights": book_weights_table,
    "controls": controls_table,
    "places": places_table,
    "blinded": blinded_table,
    "delay": delay_table,
    "length": length_table,
    "formats": formats_table,
    "errors in addition": lambda: errors_table("addition, peeky-reverse"),
    "errors of the baseline": lambda: errors_table("addition, baseline"),
    "errors of the recipe": lambda: errors_table("best-addition, batch-32-dropout-h+c"),
    "errors in dates": lambda: errors_table("dates, attention"),
    "search addition": lambda: search_table("search_addition", "best-addition"),
    "ptb": ptb_table,
    "ptb epochs": ptb_epochs_table,
    "entropy": entropy_table,
    "language ablation": language_ablation_table,
    "shakespeare": shakespeare_table,
    "language speed": language_speed_table,
    "long": long_table,
    "faults": faults_table,
    **benchmarks.TABLES,
    "search dates": lambda: search_table("search_dates", "best-dates"),
}
