"""Write ptb.zip beside this file; without a source it is downloaded.

python data/ptb/prepare.py [--source FOLDER_OR_ZIP]
"""

import zipfile
from io import BytesIO
from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.download import Published, obtain
from seqgen.storage import files
from seqgen.tasks.corpus import load
from seqgen.tasks.text import Text

ADDRESS = "https://raw.githubusercontent.com/tomsercu/lstm/master/data/"
FILES = {
    "ptb.train.txt": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "ptb.valid.txt": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "ptb.test.txt": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}


def main(source: Path | None = None) -> None:
    """Get the three files, check them, pack them, and print how many words and tokens they have."""
    path, packed = Path(__file__).with_name("ptb.zip"), BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, sha256 in FILES.items():
            content = obtain(Published(name, ADDRESS + name, sha256), source)
            archive.writestr(zipfile.ZipInfo(name), content)
    files.write(path, packed.getvalue())
    corpus = load(Text(str(path), unit="word"))
    sizes = ", ".join(
        f"{split} {len(getattr(corpus, split)):,}" for split in ("train", "validation", "test")
    )
    print(f"{path.name}: {len(corpus.tokenizer):,} words; tokens: {sizes}")
    first = ", ".join(f"{i} {word}" for i, word in enumerate(corpus.tokenizer.table[:5]))
    print(f"the first ids: {first}")


if __name__ == "__main__":
    script(main, __file__)
