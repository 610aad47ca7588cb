"""The results of language models as Markdown tables."""

from math import log
from statistics import mean

from experiments.markdown import interval, spread, table
from experiments.records import load
from experiments.speed_tables import versions_of
from seqgen.statistics import paired

PUBLISHED = {"rnnlm": "136 (4 epochs)", "better-rnnlm": "75.76 (40 epochs)"}
"""The book's test perplexities (§6.4.4, §6.5.6)."""


def book_models() -> dict[str, dict[str, dict]]:
    """What the book's recipes gave: model -> seed -> its curve."""
    return {name: seeds for result in ("ptb", "better_ptb") for name, seeds in load(result)["cells"].items()}


def over(seeds: dict[str, dict], name: str, digits: int = 2) -> str:
    """Mean ± half the interval over seeds; of one seed, its value."""
    values = [row[name] for row in seeds.values()]
    return f"{values[0]:.{digits}f}" if len(values) == 1 else interval(values, digits)


def ptb_table() -> str:
    """The book's recipe on Penn Treebank."""
    rows = []
    for name, seeds in book_models().items():
        one = next(iter(seeds.values()))
        within = f"{mean(row['low'] for row in seeds.values()):.0f} to {mean(row['high'] for row in seeds.values()):.0f}"
        size = f"{one['parameters']:,}", f"{len(one['by_epoch'])}"
        rows.append(
            [name, *size, over(seeds, "perplexity_book"), over(seeds, "perplexity"), within, ", ".join(seeds), PUBLISHED[name]]
        )
    book = load("book_weights")["models"]["rnnlm"]
    scores = [*(f"{book[name]:.2f}" for name in ("perplexity_book", "perplexity")), f"{book['low']:.0f} to {book['high']:.0f}"]
    rows.append(["rnnlm, the book's weights", rows[0][1], "", *scores, "", PUBLISHED["rnnlm"]])
    header = [
        "test perplexity",
        "parameters",
        "epochs",
        "as the book evaluates",
        "whole stream",
        "of this text",
        "seeds",
        "book",
    ]
    return table(header, rows)


def ptb_epochs_table() -> str:
    """Its validation perplexity, epoch by epoch."""
    curves = {
        name: list(zip(*(seed["by_epoch"] for seed in seeds.values()), strict=True)) for name, seeds in book_models().items()
    }
    longest = max(map(len, curves.values()))
    rows = [[name, *(f"{mean(each):.1f}" for each in curve), *[""] * (longest - len(curve))] for name, curve in curves.items()]
    return table(["validation perplexity after epoch", *map(str, range(1, longest + 1))], rows)


def language_ablation_table() -> str:
    """What it costs to leave out each part, paired by seed."""
    cells = load("language_ablation")["cells"]
    last = {name: [seed["by_epoch"][-1] for seed in seeds.values()] for name, seeds in cells.items()}
    rows = []
    for name, seeds in cells.items():
        costs = paired(last[name], last["all"]).difference
        cost = "" if name == "all" else f"{costs.mean:+.1f} ({costs.low:+.1f} to {costs.high:+.1f})"
        rows.append([name, f"{next(iter(seeds.values()))['parameters']:,}", interval(last[name], 1), cost, ", ".join(seeds)])
    epochs = len(next(iter(cells["all"].values()))["by_epoch"])
    return table([f"{epochs} epochs", "parameters", "validation perplexity", "to all (95 % interval)", "seeds"], rows)


def floors_table() -> str:
    """How far above the entropy of its language an LSTM is."""
    rows = []
    for name, seeds in load("floors")["cells"].items():
        one = next(iter(seeds.values()))
        text = f"{mean(row['low'] for row in seeds.values()):.4f} to {mean(row['high'] for row in seeds.values()):.4f}"
        numbers = f"{one['floor'][0]:.4f}", f"{one['own']:.4f}", over(seeds, "loss", 4), over(seeds, "gap", 4), text
        rows.append([name, *numbers, ", ".join(seeds)])
    header = [
        "nats a token",
        "entropy rate",
        "the language on this text",
        "LSTM on it",
        "gap over seeds",
        "gap on such texts",
        "seeds",
    ]
    return table(header, rows)


def shakespeare_table() -> str:
    """A character model, and what else is known."""
    rows = []
    for name, seeds in load("shakespeare")["cells"].items():
        one = next(iter(seeds.values()))
        text = (
            f"{mean(log(row['low']) for row in seeds.values()):.3f} to {mean(log(row['high']) for row in seeds.values()):.3f}"
        )
        time = f"{over(seeds, 'minutes', 0)} minutes on 2 cores"
        rows.append([name, f"{one['parameters']:,}", over(seeds, "loss", 4), text, time, ", ".join(seeds)])
    rows.append(["nanoGPT, its CPU configuration", "", "1.88", "", "3 minutes on a laptop", "quoted"])
    rows.append(["nanoGPT", "10,700,000", "1.4697", "", "3 minutes on an A100", "quoted"])
    return table(["tiny Shakespeare, characters", "parameters", "validation, nats", "of this text", "time", "seeds"], rows)


def language_speed_table() -> str:
    """Training and writing beside PyTorch."""
    newest, records = versions_of("speed_language")
    rows = []
    for part, unit in (("train", ""), ("write", "64 texts")):
        for i, row in enumerate(records[newest][part]):
            what = "Rnnlm, a training step" if part == "train" else f"{unit}, {row['unit']}, top-p {row['top_p']:g}"
            rates = [f"{row[f'{who}_tokens_per_s']:,.0f}" for who in ("ours", "torch", "products", "limit")]
            ratios = [spread(record[part][i]["ratios"]) for record in records.values()]
            rows.append([what, *rates, *ratios])
    header = [
        "tokens a second",
        "seqgen",
        "PyTorch",
        "products alone",
        "at a large one's rate",
        *(f"ratio, jax {version}" for version in records),
    ]
    memory, step = records[newest]["memory"], records[newest]["train"][0]
    limit = (
        f"A training step takes {step['over_limit']:.2f} times what its products would at the rate of a large one, "
        f"{step['over_products']:.2f} times what they do alone at their own sizes."
    )
    ours, theirs = f"{memory['ours_megabytes']:,.0f} MB", f"{memory['torch_megabytes']:,.0f} MB"
    return f"{table(header, rows)}\n\n{limit} Training takes our process {ours} more than it had, PyTorch's {theirs} more."


def long_table() -> str:
    """A long window, whole and in parts."""
    newest, records = versions_of("speed_language")
    rows = []
    for row in records[newest]["long"]:
        how = f"{row['remat'] or 'all'}", f"{row['accumulate']}"
        rows.append([*how, f"{row['megabytes']:,.0f}", f"{row['ms']:,.0f}"])
    first = records[newest]["long"][0]
    return table([f"{first['lanes']} lanes of {first['window']:,} tokens: kept at once", "turns", "MB", "ms a step"], rows)
