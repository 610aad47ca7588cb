"""results/speed.json and results/grid.json as Markdown tables, and those of an accelerator."""

from collections.abc import Callable
from functools import partial
from statistics import median

from experiments.markdown import spread, table
from experiments.records import exists, load


def versions_of(name: str) -> tuple[str, dict[str, dict]]:
    """The newest version of jax that was measured, and the records of all, newest first."""
    records = load(name)
    newest = sorted(records, key=lambda version: [*map(int, version.split("."))], reverse=True)
    return newest[0], {version: records[version] for version in newest}


def speed_table() -> str:
    """A training step beside PyTorch's."""
    newest, records = versions_of("speed")
    rows = []
    for i, row in enumerate(records[newest]["train"]):
        name = f"{row['task']}, {row['model']}, {row['dtype']}"
        times = f"{row['ours_ms']:.1f}", f"{row['torch_ms']:.1f}", f"{row['fraction_of_limit']:.0%}"
        ratios = [spread(record["train"][i]["ratios"]) for record in records.values()]
        rows.append([name, *times, *ratios])
    for dtype in records[newest]["geometric_mean"]:
        ratios = [spread(record["geometric_mean"][dtype]) for record in records.values()]
        rows.append([f"geometric mean, {dtype}", "", "", "", *ratios])
    header = ["training step, batch 128", "seqgen, ms", "PyTorch, ms", "of the product limit"]
    steps = table([*header, *(f"ratio, jax {version}" for version in records)], rows)
    start = records[newest]["startup"]
    return (
        f"{steps}\n\nA new process on jax {newest} logs its first step after "
        f"{start['cold_s']:.1f} s with nothing compiled, {start['warm_s']:.1f} s with a warm cache."
    )


def decoding_table() -> str:
    """Greedy answers to 5,000 questions."""
    newest, records = versions_of("speed")
    rows = []
    for i, row in enumerate(records[newest]["decode"]):
        times = [f"{row['ours_s']:.2f}", f"{row['torch_s']:.2f}", f"{row['ratio_alone']:.0f}"]
        ratios = [spread(record["decode"][i]["ratios"]) for record in records.values()]
        rows.append([f"{row['task']}, {row['model']}", *times, *ratios])
    header = ["decoding 5,000 questions", "seqgen, s", "PyTorch, s", "times one question at a time"]
    return table([*header, *(f"ratio, jax {version}" for version in records)], rows)


def grid_table() -> str:
    """Eight runs in one program, one after another on each device."""
    newest, records = versions_of("grid")
    rows = []
    for i, row in enumerate(records[newest]["rows"]):
        if (row["members"], row["axis"]) == (8, "map"):
            numbers = (
                f"{row['model_steps_per_s']:.3g}",
                f"{row['fraction_of_limit']:.0%}",
                f"{row['ratio_alone']:.2f}",
            )
            ratios = [spread(record["rows"][i]["ratios"]) for record in records.values()]
            rows.append([f"{row['task']}, {row['model']}", *numbers, *ratios])
    header = [
        "8 runs as one program",
        "model-steps a second",
        "of the product limit",
        "over our own, one after another",
    ]
    return table([*header, *(f"over PyTorch's, jax {version}" for version in records)], rows)


def grids_table() -> str:
    """Over PyTorch's and over our own one after another, by the number of runs."""
    newest, records = versions_of("grid")
    columns = dict.fromkeys(f"{row['members']}, {row['axis']}" for row in records[newest]["rows"])
    rows: dict[str, list[str]] = {}
    for version, record in records.items():
        for row in record["rows"]:
            said = f"{median(row['ratios']):.2f} / {row['ratio_alone']:.2f}"
            rows.setdefault(f"{row['task']}, {row['model']}, jax {version}", []).append(said)
    return table(
        ["over PyTorch's / over our own", *columns],
        ([name, *cells] for name, cells in rows.items()),
    )


def missing(*names: str) -> str:
    """What stands in the place of a table while one of its results is not there."""
    absent = [name for name in names if not exists(name)]
    return f"There is no results/{absent[0]}.json yet." if absent else ""


def accelerator_table(device: str) -> str:
    """A training step and decoding beside PyTorch's on an accelerator, a row a model.

    Args:
        device: the end of its results' names.

    """
    name = f"speed_{device}"
    if note := missing(name):
        return note
    newest, records = versions_of(name)
    steps = {(row["task"], row["model"], row["dtype"]): row for row in records[newest]["train"]}
    rows = []
    for row in records[newest]["decode"]:
        full, narrow = (
            steps[row["task"], row["model"], dtype] for dtype in ("float32", "bfloat16")
        )
        cells = [f"{row['task']}, {row['model']}"]
        for step in (full, narrow):
            cells += [f"{step['ours_ms']:.2f} / {step['torch_ms']:.2f}", spread(step["ratios"])]
        times = f"{1e3 * row['ours_s']:.1f} / {1e3 * row['torch_s']:.1f}"
        rows.append([*cells, times, spread(row["ratios"])])
    means = [spread(of) for of in records[newest]["geometric_mean"].values()]
    rows.append(["geometric mean", "", means[0], "", means[1], "", ""])
    header = [
        "seqgen / PyTorch",
        "a training step in float32, ms",
        "ratio",
        "in bfloat16, ms",
        "ratio",
        "decoding 5,000 questions, ms",
        "ratio",
    ]
    return table(header, rows)


def accelerator_grids_table(device: str) -> str:
    """Model-steps a second by the number of members, over PyTorch's and over our own alone.

    Args:
        device: the end of its results' names.

    """
    name = f"grid_{device}"
    if note := missing(name):
        return note
    newest, records = versions_of(name)
    columns = dict.fromkeys(str(row["members"]) for row in records[newest]["rows"])
    rows: dict[str, list[str]] = {}
    for row in records[newest]["rows"]:
        said = f"{median(row['ratios']):.1f} / {row['ratio_alone']:.1f}"
        cells = rows.setdefault(f"{row['task']}, {row['model']}", [])
        cells.append(f"{row['model_steps_per_s']:,.0f} ({said})")
    return table(
        ["model-steps a second (over PyTorch's / over our own alone), members", *columns],
        ([name, *cells] for name, cells in rows.items()),
    )


SPEED_TABLES: dict[str, Callable[[], str]] = {
    "speed": speed_table,
    "decoding": decoding_table,
    "grid": grid_table,
    "grids": grids_table,
    "speed h100": partial(accelerator_table, "h100"),
    "grids h100": partial(accelerator_grids_table, "h100"),
}
