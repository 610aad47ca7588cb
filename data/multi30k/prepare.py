"""Write multi30k.zip beside this file; without a source it is downloaded.

python data/multi30k/prepare.py [--source FOLDER_OR_ZIP]
"""

import gzip
from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.archive import pack
from seqgen.data.download import Published, obtain

ADDRESS = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
FILES = {
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}
"""The published files, each packed by gzip, and the SHA-256 of what is packed."""

PARTS = {"train": "train", "val": "validation", "test_2016_flickr": "test"}


def main(source: Path | None = None) -> None:
    """Get the files, check them, unpack them, and print how many lines and words there are."""
    found = {}
    for name, sha256 in FILES.items():
        published = Published(f"{name}.gz", f"{ADDRESS}{name}.gz", sha256)
        part, _, language = name.partition(".")
        found[f"{PARTS[part]}.{language}"] = gzip.decompress(obtain(published, source))
    pack(Path(__file__).with_name("multi30k.zip"), found)
    for name, text in found.items():
        print(f"{name}: {len(text.splitlines()):,} lines, {len(text.split()):,} words")


if __name__ == "__main__":
    script(main, __file__)
