"""How commands are told of a person's own pairs: FILE, or --source and --target."""

from pathlib import Path

from seqgen import presets
from seqgen.cli.flags import answered, asked, flag
from seqgen.cli.parse import parse, refusing, showing
from seqgen.errors import UsageError
from seqgen.tasks.dataset import Dataset
from seqgen.tasks.pair_file import PairFile, load

FILES = "--train", "--source", "--target"
"""What names files without a TASK."""


def names_files(words: list[str]) -> bool:
    """Whether a person's own files are trained on."""
    first = words[0] if words else ""
    return first.partition("=")[0] in FILES or (
        first not in presets.pairings() and (Path(first).suffix != "" or Path(first).is_file())
    )


def parted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """FILE, where it is the first word, and the other words."""
    return (arguments[:1], arguments[1:]) if arguments[0][:1] != "-" else ([], arguments)


def read_pairs(arguments: list[str], prog: str) -> tuple[PairFile, Dataset]:
    """A person's own pairs by a command's words.

    Raises:
        UsageError: where none are named.
        SeqgenError: for what is no pair.

    """
    words = spelled_out(*parted(arguments))
    with showing(flag):
        read = parse(asked(PairFile(()), "data"), f"{prog} FILE", words)
        with refusing():
            data = answered(read, PairFile)
        return data, load(checked(data))


def checked(data: PairFile) -> PairFile:
    """The data, if they name a file. Raises `UsageError`."""
    if not data.train:
        raise UsageError(
            "name a FILE with two columns, or two parallel files as --source, --target"
        )
    return data


def spelled_out(file: list[str], words: list[str]) -> list[str]:
    """Short forms as the options that they stand for: FILE, --source, --target, --tokens."""
    found, parts = list[str](), {"--source": file[:1], "--target": list[str]()}
    words = list(words)
    while words:
        name, equals, value = words[0].partition("=")
        if name not in (*parts, "--tokens") or (not equals and len(words) < 2):
            found.append(words.pop(0))
            continue
        value = value if equals else words[1]
        del words[: 1 if equals else 2]
        if name == "--tokens":
            found += ["--source-tokens", value, "--target-tokens", value]
        else:
            parts[name].append(value)
    files = [*parts["--source"], *parts["--target"]]
    return [*(["--train", *files] if files else []), *found]
