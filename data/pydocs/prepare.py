"""Write pydocs.txt beside this file, to read what `seqgen train text language-model` learns.

python data/pydocs/prepare.py
"""

from pathlib import Path

from seqgen.cli.parse import script
from seqgen.storage import files
from seqgen.tasks.corpus import load
from seqgen.tasks.text import Text, files_of


def main() -> None:
    """Write the help topics of this Python and print what they are."""
    path = Path(__file__).with_name("pydocs.txt")
    (topics,) = files_of(None)
    files.write(path, topics.open().read())
    corpus = load(Text(str(path)))
    sizes = ", ".join(
        f"{split} {len(getattr(corpus, split)):,}" for split in ("train", "validation", "test")
    )
    print(f"{path.name}: {len(corpus.tokenizer)} characters; {sizes}; SHA-256 {files.sha256(path)}")


if __name__ == "__main__":
    script(main, __file__)
