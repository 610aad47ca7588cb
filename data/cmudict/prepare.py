"""Write cmudict.zip beside this file; without a source it is downloaded.

python data/cmudict/prepare.py [--source FOLDER_OR_ZIP]
"""

from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.archive import pack
from seqgen.data.download import Published, obtain

ADDRESS = "https://raw.githubusercontent.com/AdolfVonKleist/Phonetisaurus/master/test/g014b2b/"
FILES = {
    "g014b2b.train": "5882433c3a14a9a0614b5f724ce74872851092e816852c82d6b74913b2085384",
    "g014b2b.ref": "b1f24ab99ae8be1d37ee951984646a248c4fd5ae8b0a24a2f4ba2cfa0e2fc46a",
}

EVERY = 40
"""Of the training words every 40th is set aside, with all its pronunciations, for selection."""


def main(source: Path | None = None) -> None:
    """Get the two files, check them, split them, and print how many words and rows there are."""
    train, test = (
        obtain(Published(name, ADDRESS + name, sha256), source).decode()
        for name, sha256 in FILES.items()
    )
    rows = [line.split("\t") for line in train.splitlines()]
    aside = {*list(dict.fromkeys(word for word, _ in rows))[EVERY - 1 :: EVERY]}
    parts = {
        "train.tsv": [row for row in rows if row[0] not in aside],
        "validation.tsv": [row for row in rows if row[0] in aside],
        "test.tsv": [
            [word, pronunciation]
            for word, *pronunciations in (line.split("\t") for line in test.splitlines())
            for pronunciation in pronunciations
        ],
    }
    texts = {
        name: "".join(f"{word}\t{phones}\n" for word, phones in content)
        for name, content in parts.items()
    }
    pack(Path(__file__).with_name("cmudict.zip"), texts)
    for name, content in parts.items():
        print(f"{name}: {len({word for word, _ in content}):,} words, {len(content):,} rows")


if __name__ == "__main__":
    script(main, __file__)
