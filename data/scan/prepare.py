"""Write scan.zip beside this file; without a source it is downloaded.

python data/scan/prepare.py [--source FOLDER_OR_ZIP]
"""

import re
from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.archive import pack
from seqgen.data.download import Published, obtain
from seqgen.errors import SeqgenError

ADDRESS = "https://raw.githubusercontent.com/brendenlake/SCAN/master/"
SPLITS = {
    "simple": ("simple_split", "simple"),
    "length": ("length_split", "length"),
    "jump": ("add_prim_split", "addprim_jump"),
    "around-right": ("template_split", "template_around_right"),
}
"""A split -> its folder and its files' ending where they are published."""

CHECKSUMS = """
train_simple 941bb8a088c5f53ceff12fde902dc008933cf0c4203cc672c47b5f79d73262dd
test_simple 1fe1c8f5a19d0dc40e41bab94278f45f66f3dc415a978bd29855a23440610fc6
train_length b034212dc7cf87ce62f3a067dd6ad49c4d5cd18d51d615d13825516bcb1ebbc2
test_length 0760752ed34a75116ae11dcc1ee17526b7500060da1366540730fa24894d7db3
train_addprim_jump e3c78485692e028eed4205e1b8b3fd0e785ef2c12d45b5b89204dadf5b239e23
test_addprim_jump 8147ae2651422c701162e174d9d66158daa57858a26b30317ac61797118ac7a5
train_template_around_right d5d35d174d557645fc61f289424afa0d95fde21422c59a9819e2d0fcfa9d419f
test_template_around_right fc78a5d1077dc2c206d6c42ed89fb9022867618c3f331179bafd3ec1ca699474
"""

EVERY = 20
"""Of a split's distinct training commands every 20th is set aside, to watch training by."""


def main(source: Path | None = None) -> None:
    """Get the files, check them, make columns of them, and print how many rows there are."""
    sha256, found = checksums(), {}
    for split, (folder, ending) in SPLITS.items():
        train, test = (
            read(Published(f"tasks_{name}.txt", address, sha256[name]), source)
            for name in (f"{part}_{ending}" for part in ("train", "test"))
            for address in [f"{ADDRESS}{folder}/tasks_{name}.txt"]
        )
        aside = {*list(dict.fromkeys(command for command, _ in train))[EVERY - 1 :: EVERY]}
        parts = {
            "train": [row for row in train if row[0] not in aside],
            "validation": [row for row in train if row[0] in aside],
            "test": test,
        }
        for part, rows in parts.items():
            found[f"{split}/{part}.tsv"] = "".join(f"{a}\t{b}\n" for a, b in rows)
        print(f"{split}: {', '.join(f'{len(rows):,} {part}' for part, rows in parts.items())}")
    pack(Path(__file__).with_name("scan.zip"), found)


def checksums() -> dict[str, str]:
    """The SHA-256 of each published file."""
    lines = (line.partition(" ") for line in CHECKSUMS.splitlines())
    return {name: sha256 for name, _, sha256 in lines if name}


def read(file: Published, source: Path | None) -> list[tuple[str, str]]:
    """The commands and actions of a published file. Raises `SeqgenError` for another line."""
    found = []
    for number, line in enumerate(obtain(file, source).decode().splitlines(), start=1):
        row = re.fullmatch("IN: (.+) OUT: (.+)", line)
        if row is None:
            raise SeqgenError(f"{file.name}, line {number}: it is no command with its actions")
        found.append((row[1], row[2]))
    return found


if __name__ == "__main__":
    script(main, __file__)
