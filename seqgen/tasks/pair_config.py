"""The configuration of a person's own pairs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqgen.data.archive import reading
from seqgen.data.byte_pairs import ALPHABET
from seqgen.data.pair_tokenizer import Normalization, TokensName
from seqgen.data.pairs import Split
from seqgen.data.rows import Columns, member
from seqgen.errors import UsageError
from seqgen.ranges import check_count
from seqgen.storage.files import PIECE, sha256

PARTS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class PairFile:
    """Pairs in files of one's own: one file with columns, or two parallel ones, for each split.

    Splits without files are cut from the training file, 80/10/10 by source: no source stands in
    two of them. Of more than 64 million characters they are 10,000 sources each at most. Every row
    has an end, and pad, bos and eos are tokens of their own.

    Args:
        train: one file with columns, or a source's and a target's, line by line.
        validation: the same for the split that training is evaluated with.
        test: the same for the split that is tested on.
        sha256: what the files were when the run was made, in that order.
        columns: source and target, and where there is a third one features of the source: numbers
            from 1, or names, of a header line or of JSON's fields.
        source_tokens: characters, words or symbols (both between blanks), bytes, or byte pairs.
        target_tokens: the same of answers.
        shared: one vocabulary for both sides; features are the source's own.
        min_count: units that are rarer in the training split become <unk>; words have one always.
        vocabulary: most byte pairs of a side, bytes with them; None: 8,000, fewer of little text.
        normalization: the Unicode form of both sides; NFD takes Hangul apart into jamo, and
            answers are composed again.
        max_source: rows with a longer source, in tokens, are left out.
        max_target: rows with a longer target are.
        split_seed: of the split, and of the order of buckets.
        reverse: sources are read backwards.
        buckets: into how many shapes rows are sorted by length, at most: each is compiled.

    Raises:
        UsageError: for settings without sense.

    """

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    sha256: tuple[str, ...] = ()
    columns: Columns = ("1", "2")
    source_tokens: TokensName = "characters"
    target_tokens: TokensName = "characters"
    shared: bool = False
    min_count: int = 1
    vocabulary: int | None = None
    normalization: Normalization = "none"
    max_source: int | None = None
    max_target: int | None = None
    split_seed: int = 0
    reverse: bool = True
    buckets: int = 8

    def __post_init__(self) -> None:
        for name in ("min_count", "max_source", "max_target", "buckets"):
            check_count(f"data.{name}", getattr(self, name))
        if self.vocabulary is not None and self.vocabulary <= len(ALPHABET):
            raise UsageError(
                f"vocabulary must be more than the {len(ALPHABET)} bytes, not {self.vocabulary}",
                fields=("data.vocabulary",),
            )
        if self.split_seed < 0:
            raise UsageError(
                f"split_seed must be 0 or more, not {self.split_seed}", fields=("data.split_seed",)
            )
        if len(self.columns) not in (2, 3):
            raise UsageError(
                f"columns are a source's, a target's and features', not {len(self.columns)}",
                fields=("data.columns",),
            )
        for name in PARTS:
            files = getattr(self, name)
            if len(files) > 2 or (files and len(files) != len(self.train)):
                raise UsageError(
                    f"{name} is one file with columns, or two parallel ones as train is, "
                    f"not {' '.join(files)}",
                    fields=(f"data.{name}",),
                )
        if self.shared and self.source_tokens != self.target_tokens:
            raise UsageError(
                f"one vocabulary has one kind of tokens, not {self.source_tokens} and "
                f"{self.target_tokens}",
                fields=("data.shared",),
            )

    @property
    def name(self) -> str:
        """The training file's, without its endings."""
        return Path(self.train[0]).name.split(".")[0] or "pairs"

    @property
    def files(self) -> tuple[str, ...]:
        """All of them, in order."""
        return (*self.train, *self.validation, *self.test)

    def plain(self) -> "PairFile":
        """What decides the rows: not where the files stand, nor how rows are read and sorted."""
        names: dict[str, Any] = {
            name: tuple(Path(file).name for file in getattr(self, name)) for name in PARTS
        }
        return replace(self, **names, reverse=True, buckets=1)

    def pinned(self) -> "PairFile":
        """With absolute paths and checksums. Raises `SeqgenError` for an unreadable file."""
        parts: dict[str, Any] = {
            name: tuple(str(Path(file).absolute()) for file in getattr(self, name))
            for name in PARTS
        }
        found = replace(self, **parts)
        return replace(found, sha256=tuple(map(checksum, found.files)))


def checksum(path: str) -> str:
    """SHA-256 of a file, or of a zip's member. Raises `SeqgenError`."""
    with reading(path, member(path)) as stream:
        return sha256(iter(lambda: stream.read(PIECE), b""))
