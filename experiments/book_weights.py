"""The weights that the book gives away, read as its code reads them.

Claim     the book's perplexity and exact match, and its attention, come out of its own weights
Source    Deep Learning from Scratch 2: ch06/Rnnlm.pkl and ch08/AttentionSeq2seq.pkl of its
          repository
Command   python -m experiments.book_weights FOLDER
          (FOLDER holds the two, with ptb.zip and date.txt: see data/*/README.md)
Expected  test perplexity 136.08 by the book's evaluation; exact match 100 %; attention on the right
          digit of nearly every day
Time      a minute on 2 cores
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import tyro

from experiments import alignment
from experiments.records import provenance, save
from seqgen.cli.import_book import command as import_book
from seqgen.families import open_pairs, open_text
from seqgen.interop.book import ModelName
from seqgen.storage.files import sha256

FILES: dict[ModelName, tuple[str, str]] = {
    "rnnlm": ("Rnnlm.pkl", "ptb.zip"),
    "attention": ("AttentionSeq2seq.pkl", "date.txt"),
}
"""A model's weights, and what it was trained on."""


def main(folder: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Read the weights, score them on the book's test sets, and write results/book_weights.json.

    Args:
        folder: where Rnnlm.pkl, AttentionSeq2seq.pkl, ptb.zip and date.txt are.

    """
    with TemporaryDirectory() as runs:
        for model, (pickle, data) in FILES.items():
            import_book(folder / pickle, model, folder / data, f"{runs}/{model}")
        dates = open_pairs(f"{runs}/attention")
        models: dict[ModelName, dict[str, Any]] = {
            "rnnlm": open_text(f"{runs}/rnnlm").evaluate()._asdict(),
            "attention": {**dates.evaluate()._asdict(), "alignment": alignment.measured(dates)},
        }
    models = {
        name: {"sha256": sha256(folder / FILES[name][0]), **scores}
        for name, scores in models.items()
    }
    made = provenance("python -m experiments.book_weights FOLDER")
    save("book_weights", {**made, "models": models})


if __name__ == "__main__":
    tyro.cli(main)
