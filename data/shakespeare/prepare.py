"""Write tinyshakespeare.txt beside this file; without a source it is downloaded.

python data/shakespeare/prepare.py [--source PATH]
"""

from pathlib import Path

from seqgen.cli.parse import script
from seqgen.data.download import Published, obtain
from seqgen.storage import files
from seqgen.tasks.corpus import load
from seqgen.tasks.text import Text

TEXT = Published(
    "tinyshakespeare.txt",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)


def main(source: Path | None = None) -> None:
    """Get the text, check it, and print how many characters it has."""
    path = Path(__file__).with_name(TEXT.name)
    files.write(path, obtain(TEXT, source))
    corpus = load(Text(str(path), validation=0.1, test=0.0))
    sizes = f"train {len(corpus.train):,}, validation {len(corpus.validation):,}"
    print(f"{path.name}: {len(corpus.tokenizer)} characters; {sizes}")


if __name__ == "__main__":
    script(main, __file__)
