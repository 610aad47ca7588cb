"""results/speed.json, grid.json, pairs_speed.json and buckets.json as Markdown tables."""

from statistics import median

from experiments.markdown import interval, spread, table
from experiments.records import exists, load
from seqgen.evaluation.statistics import paired


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


UNMEASURED = "Not measured yet."
"""Where a result is not there."""


def pairs_table() -> str:
    """Buckets of pairs beside PyTorch's packed sequences, and beside one full width."""
    if not exists("pairs_speed"):
        return UNMEASURED
    newest, records = versions_of("pairs_speed")
    rows = []
    for i, row in enumerate(records[newest]["rows"]):
        rates = (f"{row[name]:,.0f}" for name in ("ours_tokens_per_s", "their_tokens_per_s"))
        ratios = [spread(record["rows"][i]["ratios"]) for record in records.values()]
        limit = f"{row['fraction_of_limit']:.0%}"
        rows.append([row["what"], *rates, row["beside"], limit, *ratios])
    header = ["tokens a second", "seqgen", "beside it", "which is", "of the product limit"]
    return table([*header, *(f"ratio, jax {version}" for version in records)], rows)


def buckets_table() -> str:
    """Losses of training in buckets and at one width, and their difference."""
    if not exists("buckets"):
        return UNMEASURED
    cells, rows = load("buckets")["cells"], []
    for split in ("validation", "test"):
        many, one = ([run[split] for run in cells[name].values()] for name in ("8", "1"))
        found = paired(many, one).difference
        apart = f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        rows.append([split, interval(many, 4), interval(one, 4), apart, ", ".join(cells["8"])])
    header = ["loss, nats per token", "8 buckets", "one width", "difference", "seeds"]
    return table(header, rows)


def large_table() -> str:
    """What ten million pairs take, and the rate from the disk over that from the device."""
    found = load("large")
    rows = [
        [
            f"{what}, {found['pairs']:,} pairs",
            f"{took['seconds']:.0f} s",
            f"{took['gigabytes']:.2f}",
        ]
        for what, took in (("prepared", found["prepared"]), ("200 steps", found["trained"]))
    ]
    rates = [
        [f"{row['hidden']} hidden, {row['pairs']:,} pairs", spread(row["ratios"])]
        for row in found["throughput"]
    ]
    first = table(["", "time", "most memory, GB"], rows)
    return f"{first}\n\n{table(['', 'rate from the disk / from the device'], rates)}"
