"""The results of language models as Markdown tables."""

from collections.abc import Callable
from math import log
from statistics import mean

from experiments.markdown import interval, spread, table
from experiments.records import load
from experiments.speed_tables import versions_of
from seqgen.evaluation.statistics import paired

PUBLISHED = {"rnnlm": "136 (4 epochs)", "better-rnnlm": "75.76 (40 epochs)"}
"""The book's test perplexities (§6.4.4, §6.5.6)."""


def book_models() -> dict[str, dict[str, dict]]:
    """What the book's recipes gave: model -> seed -> its curve."""
    return {
        name: seeds
        for result in ("ptb", "better_ptb")
        for name, seeds in load(result)["cells"].items()
    }


def over(seeds: dict[str, dict], name: str, digits: int = 2) -> str:
    """Mean ± half the interval over seeds; of one seed, its value."""
    values = [row[name] for row in seeds.values()]
    return f"{values[0]:.{digits}f}" if len(values) == 1 else interval(values, digits)


def between(seeds: dict[str, dict], digits: int, of: Callable[[float], float] = float) -> str:
    """The ends of an interval, each a mean over seeds; `of` is taken of them first."""
    low, high = (mean(of(row[end]) for row in seeds.values()) for end in ("low", "high"))
    return f"{low:.{digits}f} to {high:.{digits}f}"


def ptb_table() -> str:
    """The book's recipe on Penn Treebank."""
    rows = []
    for name, seeds in book_models().items():
        one = next(iter(seeds.values()))
        size = f"{one['parameters']:,}", f"{len(one['by_epoch'])}"
        perplexities = over(seeds, "perplexity_book"), over(seeds, "perplexity")
        rows.append(
            [name, *size, *perplexities, between(seeds, 0), ", ".join(seeds), PUBLISHED[name]]
        )
    book = load("book_weights")["models"]["rnnlm"]
    scores = [f"{book[name]:.2f}" for name in ("perplexity_book", "perplexity")]
    text = f"{book['low']:.0f} to {book['high']:.0f}"
    size = rows[0][1]
    rows.append(["rnnlm, the book's weights", size, "", *scores, text, "", PUBLISHED["rnnlm"]])
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
    """Its validation perplexity, epoch by epoch to the fourth, then after every fourth."""
    curves = {
        name: list(zip(*(seed["by_epoch"] for seed in seeds.values()), strict=True))
        for name, seeds in book_models().items()
    }
    longest = max(map(len, curves.values()))
    shown = [epoch for epoch in range(1, longest + 1) if epoch <= 4 or epoch % 4 == 0]
    rows = [
        [name, *(f"{mean(curve[n - 1]):.1f}" if n <= len(curve) else "" for n in shown)]
        for name, curve in curves.items()
    ]
    return table(["validation perplexity after epoch", *map(str, shown)], rows)


def language_ablation_table() -> str:
    """What it costs to leave out each part, paired by seed."""
    cells = load("language_ablation")["cells"]
    last = {
        name: [seed["by_epoch"][-1] for seed in seeds.values()] for name, seeds in cells.items()
    }
    rows = []
    for name, seeds in cells.items():
        costs = paired(last[name], last["all"]).difference
        cost = "" if name == "all" else f"{costs.mean:+.1f} ({costs.low:+.1f} to {costs.high:+.1f})"
        size = f"{next(iter(seeds.values()))['parameters']:,}"
        rows.append([name, size, interval(last[name], 1), cost, ", ".join(seeds)])
    epochs = f"{len(next(iter(cells['all'].values()))['by_epoch'])} epochs"
    costs_are = "to all (95 % interval)"
    return table([epochs, "parameters", "validation perplexity", costs_are, "seeds"], rows)


def entropy_table() -> str:
    """How far above the entropy rate of its language an LSTM is."""
    rows = []
    for name, seeds in load("entropy")["cells"].items():
        one = next(iter(seeds.values()))
        known = f"{one['entropy_bounds'][0]:.4f}", f"{one['own']:.4f}"
        found = over(seeds, "loss", 4), over(seeds, "gap", 4), between(seeds, 4)
        rows.append([name, *known, *found, ", ".join(seeds)])
    header = [
        "nats per token",
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
        losses = over(seeds, "loss", 4), between(seeds, 3, log)
        time = f"{over(seeds, 'minutes', 0)} minutes on 2 cores"
        rows.append([name, f"{one['parameters']:,}", *losses, time, ", ".join(seeds)])
    laptop = "3 minutes on a laptop"
    rows.append(["nanoGPT, its CPU configuration", "", "1.88", "", laptop, "quoted"])
    rows.append(["nanoGPT", "10,700,000", "1.4697", "", "3 minutes on an A100", "quoted"])
    header = [
        "tiny Shakespeare, characters",
        "parameters",
        "validation, nats",
        "of this text",
        "time",
        "seeds",
    ]
    return table(header, rows)


def language_speed_table() -> str:
    """Training and writing beside PyTorch."""
    newest, records = versions_of("speed_language")
    rows = []
    for part, unit in (("train", ""), ("write", "64 texts")):
        for i, row in enumerate(records[newest][part]):
            what = "Rnnlm, a training step"
            if part == "write":
                what = f"{unit}, {row['unit']}, top-p {row['top_p']:g}"
            whose = "ours", "torch", "products", "limit"
            rates = [f"{row[f'{who}_tokens_per_s']:,.0f}" for who in whose]
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
    return f"{table(header, rows)}\n\n{limits(records[newest])}"


def limits(record: dict) -> str:
    """What a training step takes beside its products, and how much memory, in a sentence each."""
    memory, step = record["memory"], record["train"][0]
    ours, theirs = (f"{memory[f'{who}_megabytes']:,.0f} MB" for who in ("ours", "torch"))
    return (
        f"A training step takes {step['over_limit']:.2f} times what its products would at the rate "
        f"of a large one, {step['over_products']:.2f} times what they do alone at their own sizes. "
        f"Training takes our process {ours} more than it had, PyTorch's {theirs} more."
    )


def long_table() -> str:
    """A long window, whole and in parts."""
    newest, records = versions_of("speed_language")
    rows = []
    for row in records[newest]["long"]:
        how = f"{row['remat'] or 'all'}", f"{row['accumulate']}"
        rows.append([*how, f"{row['megabytes']:,.0f}", f"{row['ms']:,.0f}"])
    first = records[newest]["long"][0]
    kept = f"{first['lanes']} lanes of {first['window']:,} tokens: kept at once"
    return table([kept, "parts", "MB", "ms per step"], rows)
