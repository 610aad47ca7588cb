"""The README's table: one number of each result, beside what it is held against."""

from statistics import median

from experiments.language_tables import PUBLISHED, book_models, over
from experiments.markdown import percent, spread, table
from experiments.records import load
from experiments.speed_tables import versions_of


def exact_match(cell: str) -> str:
    """In percent, of a cell of the book's table, after its last epoch."""
    return percent(curve[-1] for curve in load("book")["cells"][cell].values())


def perplexity(model: str) -> str:
    """On Penn Treebank's test text, as the book evaluates."""
    return over(book_models()[model], "perplexity_book")


def summary_table() -> str:
    """Accuracy and perplexity, then speed beside PyTorch's on the newest jax that was measured."""
    newest, speed = versions_of("speed")
    grid, text = (versions_of(name)[1][newest] for name in ("grid", "speed_language"))
    eight = [
        median(row["ratios"]) for row in grid["rows"] if (row["members"], row["axis"]) == (8, "map")
    ]
    grammar = load("entropy")["cells"]["grammar"]
    own = next(iter(grammar.values()))["own"]
    shakespeare = over(load("shakespeare")["cells"]["char-lstm"], "loss", 4)
    rows = [
        ["dates, reverse + attention: exact match, %", exact_match("dates-attention-reverse"), "book: 100"],
        ["sums, reverse + peeky: exact match, %", exact_match("addition-peeky-reverse"), "book: 97.8"],
        ["Penn Treebank, Rnnlm: perplexity", perplexity("rnnlm"), f"book: {PUBLISHED['rnnlm']}"],
        ["Penn Treebank, BetterRnnlm: perplexity", perplexity("better-rnnlm"), f"book: {PUBLISHED['better-rnnlm']}"],
        ["tiny Shakespeare: nats per character", shakespeare, "nanoGPT: 1.4697"],
        ["a grammar's sentences: nats per token", over(grammar, "loss", 4), f"the grammar itself: {own:.4f}"],
        ["speed: a training step, float32", spread(speed[newest]["geometric_mean"]["float32"]), "PyTorch: 1"],
        ["speed: eight runs as one program", f"{min(eight):.2f} to {max(eight):.2f}", "PyTorch: 1"],
        ["speed: 64 texts sampled by word", spread(text["write"][0]["ratios"]), "PyTorch: 1"],
    ]
    return table(["", "seqgen", "beside it"], rows)
