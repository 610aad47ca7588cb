"""Text comes in alike, whichever way it comes: a table of texts by the paths that they take."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from seqgen import cli
from seqgen.cli import attention, generate, members, score
from seqgen.data import token_store
from seqgen.data.tokenizer import UNKNOWN, text_vocabulary
from seqgen.errors import SeqgenError
from seqgen.families import PairsRun
from seqgen.families.text_run import Text as Written
from seqgen.interop.attention import Attention
from seqgen.tasks.book import read_book_pairs
from seqgen.tasks.corpus import load
from seqgen.tasks.text import Text

GOOD = {
    "lines": (b"1+2_3\n3+4_7\n", "1+2_3\n3+4_7\n"),
    "no last line end": (b"1+2_3\n3+4_7", "1+2_3\n3+4_7"),
    "a byte-order mark": (b"\xef\xbb\xbf1+2_3\n", "1+2_3\n"),
    "a second mark": (b"\xef\xbb\xbf\xef\xbb\xbf12_3\n", "\ufeff12_3\n"),
    "a mark in a later line": (b"1+2_3\n\xef\xbb\xbf12_3\n", "1+2_3\n\ufeff12_3\n"),
    "CRLF": (b"1+2_3\r\n3+4_7\r\n", "1+2_3\n3+4_7\n"),
    "CR": (b"1+2_3\r3+4_7\r", "1+2_3\n3+4_7\n"),
    "each line's own end": (b"1+2_3\r\n3+4_7\r5+1_6\n6+1_7", "1+2_3\n3+4_7\n5+1_6\n6+1_7"),
    "NUL": (b"1\x002_3\n", "1\x002_3\n"),
    "composed": ("1+é_3\n".encode(), "1+é_3\n"),
    "decomposed": ("1e\u0301_3\n".encode(), "1e\u0301_3\n"),
    "what ends lines elsewhere": (
        "1\f2_3\n3\x852_3\n4\u20282_3\n".encode(),
        "1\f2_3\n3\x852_3\n4\u20282_3\n",
    ),
}
"""Bytes, and the characters that they are."""

BAD = {
    "Latin-1": (b"1+2_3\n3+4_7\n5\xe96_1\n6+1_7\n", 3, 0xE9),
    "Latin-1 after CR": (b"1+2_3\r3+4_7\r5\xe96_1\r6+1_7\r", 3, 0xE9),
    "UTF-16": ("1+2_3\n".encode("utf-16"), 1, 0xFF),
    "half a character": ("1+2_3\n글".encode()[:-1], 2, 0xEA),
    "half a mark": (b"\xef\xbb", 1, 0xEF),
    "a surrogate": (b"1+2_3\n1\xed\xa0\x802_3\n", 2, 0xED),
    "a NUL of two bytes": (b"1\xc0\x802_3\n", 1, 0xC0),
}
"""Bytes, and where the first one stands that is not UTF-8."""


class Asked(PairsRun):
    """A run of pairs that keeps what it is given to read."""

    def __init__(self, unit: str) -> None:
        self.path, self.texts = Path("run"), []

    def best(self, questions, *_, **__):
        self.texts += questions
        return [["answer"]] * len(questions)

    def attention(self, questions, *_, **__):
        self.texts += questions
        return [Attention("q", "a", np.ones((1, 1, 1)), ["q"], ["a"], 0.0)]

    def meaning(self):
        return {}

    def unknown(self, question):
        return []


class Reader:
    """A run of text that keeps what it is given to read."""

    def __init__(self, unit: str) -> None:
        characters = text_vocabulary("character", (UNKNOWN, "1"))
        self.tokenizer = text_vocabulary("byte") if unit == "byte" else characters
        self.path, self.texts = Path("run"), []

    def generate(self, prompts, **_):
        self.texts += prompts
        return [[Written("", "", 1, 0.0)] for _ in prompts]

    def stream(self, prompts, **_):
        self.texts += prompts
        yield [Written("", "", 1, 0.0)]

    def score(self, lines):
        self.texts += [line.removesuffix("\n") for line in lines]
        yield from ((1.0, 1) for _ in lines)


def corpus(at: Path, unit: str, content: bytes) -> str:
    """What a language model is trained on."""
    (at / "x.txt").write_bytes(content)
    found = load(Text(str(at / "x.txt"), unit=unit, validation=0.0, test=0.0))
    if unit == "byte":
        return bytes(found.train.astype("uint8")).decode(errors="surrogateescape")
    return found.tokenizer.decode(found.train)


def folder(at: Path, unit: str, content: bytes) -> str:
    """The same where it is the second file of a folder."""
    (at / "texts").mkdir()
    (at / "texts" / "a").write_bytes(b"0\n")
    (at / "texts" / "b").write_bytes(content)
    found = load(Text(str(at / "texts"), unit=unit, validation=0.0, test=0.0))
    ids = found.train[2:]
    if unit == "byte":
        return bytes(ids.astype("uint8")).decode(errors="surrogateescape")
    return found.tokenizer.decode(ids)


def book(at: Path, unit: str, content: bytes) -> str:
    """What a model of pairs is trained on, audited and imported with."""
    (at / "x.txt").write_bytes(content)
    return "\n".join(f"{q}_{a}" for q, a in read_book_pairs(at / "x.txt").pairs)


def command(*words: str, stdin: bool = False, file: bool = False) -> Callable:
    """What a command makes of an argument, of a file or of standard input."""

    def read(at: Path, unit: str, content: bytes) -> str:
        given = [*words]
        run = Asked(unit) if words[0] in ("predict", "attention") else Reader(unit)
        (at / "x.txt").write_bytes(content)
        given += [str(at / "x.txt")] if file else [] if stdin else [os.fsdecode(content)]
        with pytest.MonkeyPatch.context() as patch:
            for module in (members, generate, score):
                for name in ("open_text", "open_pairs"):
                    patch.setattr(module, name, lambda _: run, raising=False)
            patch.setattr(attention, "export", lambda *_, **__: None)
            piped = io.TextIOWrapper(io.BytesIO(content if stdin else b""))
            patch.setattr(sys, "stdin", piped)
            code = cli.main(given)
        return "\n".join(run.texts) if code == 0 else f"{code} {len(run.texts)}"

    return read


PATHS = {
    "train, a text": (corpus, "word character byte"),
    "train, a folder": (folder, "character byte"),
    "train, audit, import-book: pairs": (book, "character"),
    "score, a file": (command("score", "run", file=True), "character byte"),
    "score, standard input": (command("score", "run", "-", stdin=True), "character byte"),
    "generate, an argument": (command("generate", "run", "--json", "--prompt"), "character byte"),
    "generate, standard input": (
        command("generate", "run", "--json", stdin=True),
        "character byte",
    ),
    "predict, an argument": (command("predict", "run"), "character"),
    "predict, standard input": (command("predict", "run", stdin=True), "character"),
    "attention, an argument": (command("attention", "run", "-o", "x.json"), "character"),
}
"""How text comes in, and the units of those who read it."""

UNITS = [(path, unit) for path, (_, units) in PATHS.items() for unit in units.split()]


@pytest.fixture
def places(tmp_path, monkeypatch) -> Iterator[Path]:
    """Folders of the test's own, with a cache."""
    monkeypatch.setattr(token_store, "corpora_folder", lambda: tmp_path)

    def made() -> Iterator[Path]:
        for number in count():
            (at := tmp_path / f"at-{number}").mkdir()
            yield at

    return made()


@pytest.mark.parametrize(("path", "unit"), UNITS)
def test_text_is_read_alike(path, unit, places):
    """Fails when a path takes a byte-order mark for text, or another place's for none; ends a line
    elsewhere or knows fewer ends; leaves a character out, or normalises; changes a byte of a model
    of bytes.
    """
    for case, (content, expected) in GOOD.items():
        if unit == "byte":
            expected = content.decode(errors="surrogateescape")
        if unit == "word":
            expected = "\n".join(" ".join(line.split()) for line in expected.split("\n"))
        found = PATHS[path][0](next(places), unit, content)
        assert found.removesuffix("\n") == expected.removesuffix("\n"), case


@pytest.mark.parametrize(("path", "unit"), UNITS)
def test_what_is_no_text_is_refused_alike(path, unit, places, capsys):
    """Fails when a path reads another encoding, or names another line or byte; when lines of
    standard input or of a score before it are lost; or when a model of bytes refuses any.
    """
    read = PATHS[path][0]
    for case, (content, line, byte) in BAD.items():
        said = f"line {line}: not UTF-8 (byte 0x{byte:02x})"
        if unit == "byte":
            found = read(next(places), unit, content).encode(errors="surrogateescape")
            assert found.removesuffix(b"\n") == content.removesuffix(b"\n"), case
        elif path.startswith("train"):
            with pytest.raises(SeqgenError) as raised:
                read(next(places), unit, content)
            assert said in str(raised.value), case
        else:
            answered = 0 if "argument" in path else line - 1
            assert read(next(places), unit, content) == f"2 {answered}", case
            assert said in capsys.readouterr().err, case
