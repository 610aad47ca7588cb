"""The README's table: one number of each result, beside what it is held against."""

from statistics import median

from experiments.language_tables import PUBLISHED, book_models, over
from experiments.markdown import percent, spread, table
from experiments.records import load
from experiments.speed_tables import versions_of


def summary_table() -> str:
    """Accuracy and perplexity, then speed beside PyTorch's on the newest jax that was measured."""
    book, grammar = load("book")["cells"], load("entropy")["cells"]["grammar"]
    dates, sums = (
        percent(curve[-1] for curve in book[cell].values())
        for cell in ("dates-attention-reverse", "addition-peeky-reverse")
    )
    rnnlm, better = (over(seeds, "perplexity_book") for seeds in book_models().values())
    shakespeare = over(load("shakespeare")["cells"]["char-lstm"], "loss", 4)
    own = next(iter(grammar.values()))["own"]
    newest, speed = versions_of("speed")
    grid, text = (versions_of(name)[1][newest] for name in ("grid", "speed_language"))
    step = spread(speed[newest]["geometric_mean"]["float32"])
    eight = [
        median(row["ratios"]) for row in grid["rows"] if (row["members"], row["axis"]) == (8, "map")
    ]
    rows = [
        ["dates, reverse + attention: exact match, %", dates, "book: 100"],
        ["sums, reverse + peeky: exact match, %", sums, "book: 97.8"],
        ["Penn Treebank, Rnnlm: perplexity", rnnlm, f"book: {PUBLISHED['rnnlm']}"],
        ["Penn Treebank, BetterRnnlm: perplexity", better, f"book: {PUBLISHED['better-rnnlm']}"],
        ["tiny Shakespeare: nats per character", shakespeare, "nanoGPT: 1.4697"],
        ["a grammar: nats per token", over(grammar, "loss", 4), f"the grammar itself: {own:.4f}"],
        ["speed: a training step, float32", step, "PyTorch: 1"],
        ["speed: eight runs at once", f"{min(eight):.2f} to {max(eight):.2f}", "PyTorch: 1"],
        ["speed: 64 texts, sampled by word", spread(text["write"][0]["ratios"]), "PyTorch: 1"],
    ]
    return table(["", "seqgen", "beside it"], rows)
