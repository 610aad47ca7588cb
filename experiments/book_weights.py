"""The weights that the book gives away, read as its code reads them.

Claim     the book's perplexity and exact match, and its attention, come out of its own weights
Source    Deep Learning from Scratch 2: ch06/Rnnlm.pkl and ch08/AttentionSeq2seq.pkl of its repository
Command   python -m experiments.book_weights FOLDER   (FOLDER holds the two, with ptb.zip and date.txt: see data/*/README.md)
Expected  test perplexity 136.08 by the book's evaluation; exact match 100 %; attention on the right digit of nearly every day
Time      a minute on 2 cores
"""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from experiments import alignment
from experiments.records import provenance, save
from seqgen.cli.import_book import command as import_book
from seqgen.runs import open_language_model, open_seq2seq


def main(folder: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Read the weights, score them on the book's test sets, and write results/book_weights.json.

    Args:
        folder: where Rnnlm.pkl, AttentionSeq2seq.pkl, ptb.zip and date.txt are.

    """
    pickles = {"rnnlm": folder / "Rnnlm.pkl", "attention": folder / "AttentionSeq2seq.pkl"}
    with TemporaryDirectory() as runs:
        import_book(pickles["rnnlm"], "rnnlm", folder / "ptb.zip", f"{runs}/rnnlm")
        import_book(pickles["attention"], "attention", folder / "date.txt", f"{runs}/attention")
        dates = open_seq2seq(f"{runs}/attention")
        scores: dict[str, dict[str, Any]] = {
            "rnnlm": open_language_model(f"{runs}/rnnlm").evaluate()._asdict(),
            "attention": {**dates.evaluate()._asdict(), "alignment": alignment.measured(dates)},
        }
    models = {name: {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **scores[name]} for name, file in pickles.items()}
    save("book_weights", {**provenance("python -m experiments.book_weights FOLDER"), "models": models})


if __name__ == "__main__":
    tyro.cli(main)
