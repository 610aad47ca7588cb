"""Write dates.txt beside this file, in the book's format.

python data/dates/prepare.py [--draws N] [--seed N]
"""

from collections import Counter
from pathlib import Path

from seqgen.cli.parse import script
from seqgen.storage.files import sha256
from seqgen.tasks.dataset import Data, prepare
from seqgen.tasks.dates import Dates


def main(draws: int = 50_000, seed: int = 0) -> None:
    """Draw examples, drop duplicate questions, write the rest and print what they are."""
    path = Path(__file__).with_name("dates.txt")
    data = Data(Dates(), draws=draws, seed=seed)
    pairs = prepare(data, path)
    formats = Counter(data.task.format(question) for question, _ in pairs)
    print(f"{path.name}: {len(pairs):,} examples, SHA-256 {sha256(path)}")
    print(", ".join(f"{name}: {count:,}" for name, count in sorted(formats.items())))


if __name__ == "__main__":
    script(main, __file__)
