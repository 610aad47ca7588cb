"""Text: symbols and their ids, and any file, folder or zip read piece by piece."""

import hashlib
import io
import json
import shutil
import zipfile
from itertools import chain
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
from cattrs.preconf.json import make_converter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.data.archive import File
from seqgen.data.tokenizer import (
    END,
    UNKNOWN,
    Tokenizer,
    UnknownSymbol,
    Vocabulary,
    text_vocabulary,
)
from seqgen.errors import SeqgenError, UsageError
from seqgen.tasks import text
from seqgen.tasks.text import Text, checksum, files_of, parts_of, symbols
from seqgen.types import Special

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
texts = st.text(st.sampled_from("ab \t\r\n\f\x1c\x85\u2028\ufeffé한😀"), max_size=30) | st.text(
    max_size=20
)


def plain(content: bytes, unit: str) -> list:
    """The symbols of a file, by Python's own means and all at once."""
    if unit == "byte":
        return list(content)
    whole = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    if unit == "character":
        return list(whole)
    *lines, rest = whole.split("\n")
    return [*chain.from_iterable([*line.split(), "<eos>"] for line in lines), *rest.split()]


def read(path, unit: str = "character") -> list:
    """All that is in the files of a path."""
    return list(
        chain.from_iterable(
            piece for file in files_of(str(path)) for piece in symbols(str(path), file, unit)
        )
    )


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def pack(path: Path, files: dict[str, str | bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


# Tokens


@quick
@given(texts)
def test_texts_come_back(content):
    """Fails when ids are not places in the table, a line's end is no word or is one of its own at
    the text's end, blank lines are lost, or blanks are left beside a new line.
    """
    words = text_vocabulary("word", tuple(dict.fromkeys([*content.split(), END])))
    expected = "\n".join(" ".join(line.split()) for line in content.split("\n"))
    ids = words.encode(content)
    assert words.decode(ids) == expected
    assert [words.table[i] for i in ids] == expected.replace("\n", f" {END} ").split()
    np.testing.assert_array_equal(words.encode(words.decode(ids)), ids)

    characters = text_vocabulary("character", tuple(sorted({*content, "x"})))
    assert [characters.table[i] for i in characters.encode(content)] == list(content)
    assert characters.decode(characters.encode(content)) == content

    octets = text_vocabulary("byte")
    assert octets.encode(content) == list(content.encode())
    assert octets.decode(octets.encode(content)) == content
    for each in (words, characters, octets):
        assert all(type(i) is int for i in each.encode(content))


@quick
@given(st.binary(max_size=12))
def test_bytes_never_raise(content):
    """Fails when what a model of bytes writes is not UTF-8, or a prompt with such a byte, and that
    stops the program.
    """
    symbols = text_vocabulary("byte")
    assert len(symbols) == 256
    assert symbols.decode(np.array(list(content), np.int32)) == content.decode(errors="replace")
    assert symbols.encode(content.decode(errors="surrogateescape")) == list(content)


def test_a_line_end_is_a_word():
    """Fails when `<eos>` is written, a word's neighbour runs into it, blank lines are swallowed, or
    a corpus' ids are none.
    """
    symbols = text_vocabulary("word", ("the", END, "cat", UNKNOWN))
    assert symbols.decode(np.array([0, 2, 1, 1, 3, 1])) == "the cat\n\n<unk>\n"
    assert symbols.decode(np.array([1, 0], np.uint16)) == "\nthe"
    assert symbols.decode(np.array([], int)) == ""
    assert symbols.encode("the  cat\n\n the\tcat") == [0, 2, 1, 1, 0, 2]
    assert symbols.encode("") == []


@pytest.mark.parametrize(
    ("unit", "content", "position"), [("word", "b a\nc b c", 4), ("character", "baxb", 3)]
)
def test_unknown_symbols(unit, content, position):
    """Fails when a symbol that is not in the vocabulary becomes another one, is left out, or is
    refused where there is `<unk>`; or when the message counts from zero, or says that '' is known.
    """
    table = ("a", "b", END)
    with pytest.raises(
        UsageError, match=rf"unknown {unit} '[cx]' at position {position}:"
    ) as raised:
        text_vocabulary(unit, table).encode(content)
    assert isinstance(raised.value, UnknownSymbol)
    assert (raised.value.piece in "cx", raised.value.position) == (True, position)
    shown = str(raised.value.shown_in(content))
    assert shown.endswith("; known: 'ab<eos>'" if unit == "character" else f" of {content!r}")
    ids = text_vocabulary(unit, (UNKNOWN, *table)).encode(content)
    assert ids == {"word": [2, 1, 3, 0, 2, 0], "character": [2, 1, 0, 2]}[unit]


def test_one_symbols_id():
    """Fails when --ban or --end takes another symbol's id, or one that is none passes."""
    words, octets = text_vocabulary("word", ("a", "b", END)), text_vocabulary("byte")
    assert [words.id_of(symbol) for symbol in ("b", END)] == [1, 2]
    assert [octets.id_of(symbol) for symbol in ("a", "\n", "\0")] == [97, 10, 0]
    for of, symbol in ((words, "c"), (words, ""), (octets, "é"), (octets, ""), (octets, "ab")):
        with pytest.raises(UsageError, match=f"not one of the run's {len(of)} {of.unit}s"):
            of.id_of(symbol)


@pytest.mark.parametrize(
    ("unit", "table"),
    [("word", ("a", "b", "a")), ("word", ()), ("character", ()), ("byte", ("a",))],
)
def test_tables_that_are_none_are_refused(unit, table):
    """Fails when a damaged vocabulary is taken: two ids of one symbol, none at all, or bytes that
    are called otherwise.
    """
    with pytest.raises(ValueError, match="no table"):
        text_vocabulary(unit, table)


@pytest.mark.parametrize("special", [Special(pad=3), Special(eos=-1), Special(0, 1, 2, 256)])
def test_special_ids_that_are_none_are_refused(special):
    """Fails when a damaged vocabulary is taken, and rows are filled with an id that the model has
    no place for, or with that of another symbol, counted from the end.
    """
    with pytest.raises(ValueError, match="are not ids of 3 words"):
        Vocabulary("word", ("a", "b", "c"), special)


@pytest.mark.parametrize(
    "vocabulary",
    [
        Vocabulary("character", (" ", "é", "한", "\ud800", '"', "_"), Special(0, 5, 5)),
        text_vocabulary("word", ("the", END, UNKNOWN)),
        text_vocabulary("byte"),
    ],
)
def test_what_a_run_keeps_comes_back(vocabulary):
    """Fails when a run's tokens or special ids are lost, or are others, in its JSON: an old run
    would answer with other symbols.
    """
    converter = make_converter(forbid_extra_keys=True)
    content = json.loads(json.dumps(converter.unstructure(vocabulary)))
    back = converter.structure(content, Vocabulary)
    assert (back, back.special, hash(back)) == (vocabulary, vocabulary.special, hash(vocabulary))
    assert isinstance(back, Tokenizer)


def test_what_stands_on_an_axis():
    """Fails when a map's axis has not one label for each token, or a byte that is no character
    shows as nothing.
    """
    words = text_vocabulary("word", ("the", END, UNKNOWN))
    assert words.pieces(words.encode("the cat\n")) == ["the", UNKNOWN, END]
    characters = text_vocabulary("character", ("a", "é", " "))
    assert characters.pieces(np.array([1, 2, 0], np.uint16)) == ["é", " ", "a"]
    assert text_vocabulary("byte").pieces("aé\n".encode()) == ["a", r"\xc3", r"\xa9", "\n"]
    assert words.special == Special(unk=2)
    assert characters.special == Special()


# What is asked for


@pytest.mark.parametrize("options", [
    {"min_count": 0}, {"most": 0}, {"validation": -0.1}, {"test": -0.1},
    {"validation": 0.5, "test": 0.5}, {"validation": float("nan")}, {"test": float("nan")},
])  # fmt: skip
def test_settings_without_sense_are_refused(options):
    """Fails when a typing error ends in an empty training split or a vocabulary of nothing."""
    with pytest.raises(UsageError, match=next(iter(options))):
        Text(**options)


def test_names():
    """Fails when a run of a text is called by its path or its ending."""
    assert [Text(path).name for path in (None, "data/ptb/ptb.zip", "a/corpus", "x.tar.txt")] == [
        "pydocs",
        "ptb",
        "corpus",
        "x.tar",
    ]


def test_a_text_is_pinned(tmp_path, monkeypatch):
    """Fails when a run finds its text only from the folder where it was made, or does not notice
    that it has changed; Python's topics change with its version.
    """
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"x.txt": "to be"})
    pinned = Text("x.txt", unit="byte").pinned()
    assert (pinned.path, pinned.unit) == (str(tmp_path / "x.txt"), "byte")
    assert pinned.sha256 == hashlib.sha256(b"to be").hexdigest()
    assert pinned.pinned() == pinned
    assert Text().pinned() == Text(sha256=checksum(None))
    with pytest.raises(SeqgenError, match="there is no"):
        Text("y.txt").pinned()


# Reading


@quick
@example("\ufeffa\r\nb\ufeff", b"\xff", 1)
@given(texts, st.binary(max_size=8), st.integers(1, 5))
def test_pieces_join_to_what_python_reads(content, tail, piece):
    """Fails when a piece ends inside a character, a CRLF, a word or a line and that shows; when a
    BOM is a symbol, or only a first piece's is none; when a last line without an end gets one; or
    when a piece is more than was asked for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE", piece)
        for unit, raw in (
            ("word", content.encode()),
            ("character", content.encode()),
            ("byte", content.encode() + tail),
        ):
            pieces = list(symbols(None, File("x", lambda raw=raw: io.BytesIO(raw)), unit))
            assert list(chain.from_iterable(pieces)) == plain(raw, unit)
            assert unit == "word" or max(map(len, pieces), default=0) <= piece
            assert all(pieces) or unit == "word"


@pytest.mark.parametrize(
    ("content", "words", "characters"),
    [
        ("", [], ""),
        ("\n", [END], "\n"),
        ("\ufeff", [], ""),
        ("\ufeffa b\r\n\r\nc", ["a", "b", END, END, "c"], "a b\n\nc"),
        ("a\rb", ["a", END, "b"], "a\nb"),
        (" a\t b \n", ["a", "b", END], " a\t b \n"),
        ("a\fb\x85c\u2028d\xa0e", ["a", "b", "c", "d", "e"], "a\fb\x85c\u2028d\xa0e"),
    ],
)
def test_by_hand(tmp_path, content, words, characters):
    """Fails when what ends a line elsewhere (a form feed, U+2028) ends one here, or a line's end of
    another system does not.
    """
    path = write(tmp_path, {"x.txt": content}) / "x.txt"
    assert read(path, "word") == words
    assert "".join(read(path)) == characters
    assert bytes(read(path, "byte")) == content.encode()


def test_a_huge_line(tmp_path):
    """Fails when a line that is longer than a piece is cut, or ends twice."""
    line = "ab é한 " * (text.PIECE // 4)
    path = write(tmp_path, {"x.txt": line}) / "x.txt"
    assert len(line.encode()) > 2 * text.PIECE
    assert read(path, "word") == line.split()
    assert "".join(read(path)) == line


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff", 1),
        (b"a\nb\n\xe9t\xe9\nc\n", 3),
        (b"a\r\n\r\n\r\n\x80", 4),
        (b"\xef\xbb\xbfa\nb\xc0", 2),
        ("한\n글".encode()[:-1], 2),
        ("a\n한".encode()[:-1] + "\n글\n".encode(), 2),
        (b"a\n" * 3000 + b"\xff\n", 3001),
    ],
)
@pytest.mark.parametrize("unit", ["word", "character"])
def test_what_is_not_utf8_is_refused_with_its_line(
    tmp_path, monkeypatch, unit, content, line, piece
):
    """Fails when a text of another encoding ends in a traceback, names the wrong line or is read
    with its letters replaced; as bytes it will do.
    """
    monkeypatch.setattr(text, "PIECE", piece)
    path = write(tmp_path, {"bad.txt": content}) / "bad.txt"
    with pytest.raises(
        SeqgenError, match=rf"bad.txt, line {line}: not UTF-8 \(byte 0x..\); use the unit \"byte\"$"
    ):
        read(path, unit)
    assert bytes(read(path, "byte")) == content
    with pytest.raises(SeqgenError, match=rf"x.zip: a/bad.txt, line {line}: not UTF-8"):
        read(pack(tmp_path / "x.zip", {"a/bad.txt": content}), unit)


def test_a_text_of_our_own(monkeypatch):
    """Fails when it needs a download, is in the order of a dictionary, or is another each time."""
    monkeypatch.setitem(topics, "AAA", "the last of the dictionary\n")
    whole = "\n\n".join(topics[name].strip() for name in sorted(topics))
    for _ in range(2):
        (file,) = files_of(None)
        assert "".join(chain.from_iterable(symbols(None, file, "character"))) == whole
    assert checksum(None) == hashlib.sha256(whole.encode()).hexdigest()


# Files, folders and zips

TREE = {
    "b.txt": "B",
    "__init__.py": "I",
    "a/z.txt": "Z",
    "a.txt": "A",
    "a/10.txt": "10",
    "a/9.txt": "9",
    "c": "C",
}
HIDDEN = {".x.txt": "?", "a/.DS_Store": b"\xff", ".git/c.txt": "?", "a/__pycache__/a.pyc": b"\xff"}
HIDDEN |= {"__MACOSX/a.txt": b"\xff", "__MACOSX/._b.txt": b"\xff"}


def test_folders_and_zips_are_their_files_by_name(tmp_path):
    """Fails when the file system's or the archive's order decides, folders below are left out,
    hidden files, compiled Python and what macOS packs along are read, a module's `__init__` is not,
    or a hidden folder above hides all.
    """
    folder = write(tmp_path / ".hidden" / "corpus", TREE | HIDDEN)
    (folder / "empty").mkdir()
    archive = pack(tmp_path / "corpus.zip", {"a/": "", **TREE, **HIDDEN})
    names = ["__init__.py", "a.txt", "a/10.txt", "a/9.txt", "a/z.txt", "b.txt", "c"]
    for path in (folder, archive):
        assert [file.name for file in files_of(str(path))] == names
        assert "".join(read(path)) == "IA109ZBC"
    one = write(tmp_path, {".dotted": "one"}) / ".dotted"
    assert "".join(read(one)) == "one"
    assert "".join(read(pack(tmp_path / "one", {"x": "1"}))) == "1"


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (
            ["ptb.test.txt", "ptb.train.txt", "ptb.valid.txt", "README"],
            ["ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"],
        ),
        (["x/TRAIN-2", "x/TRAIN-1", "dev", "Test"], ["x/TRAIN-1 x/TRAIN-2", "dev", "Test"]),
        (["test.txt", "train.txt", "validation.txt"], ["train.txt", "validation.txt", "test.txt"]),
        (["a.val", "b-train_1", "test9"], ["b-train_1", "a.val", "test9"]),
        (["training.txt", "dev.txt", "testing.txt"], ["training.txt", "dev.txt", "testing.txt"]),
        (["train.txt", "valid.txt", "more.txt"], None),
        (["train/a", "valid/b", "test/c"], None),
        (
            ["latest.test.txt", "latest.train.txt", "latest.valid.txt"],
            ["latest.train.txt", "latest.valid.txt", "latest.test.txt"],
        ),
    ],
)
def test_names_say_the_splits(names, splits):
    """Fails when a split is taken from files that are not named so, two splits are found and the
    third is made of nothing, or a word that merely stands in a name (latest) puts what is trained
    on into the test split.
    """
    found = parts_of([File(name, io.BytesIO) for name in sorted(names)])
    if splits is None:
        assert list(found) == ["all"]
        assert [file.name for file in found["all"]] == sorted(names)
    else:
        assert list(found) == ["train", "validation", "test"]
        assert [" ".join(file.name for file in files) for files in found.values()] == splits


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["train.txt", "test.txt"], "no file's own name says validation;"),
        (["train.txt", "valid.txt"], "no file's own name says test;"),
        (["train.txt", "more.txt"], "no file's own name says test or validation;"),
        (["train.txt", "valid.txt", "test.txt", "README"], "README is of no split;"),
        (
            ["train.txt", "valid.txt", "test.txt", "a-test-train"],
            "a-test-train is of train and test",
        ),
        (["train/a", "valid/b", "test/c"], "no file's own name says test or train or validation;"),
        (["train.txt", "valid.txt", "test.txt"], None),
        (["train.1", "train.2", "dev", "x/test.txt"], None),
        (["a.txt", "latest.txt", "trained.txt"], None),
        (["train.txt"], None),
    ],
)
def test_names_that_say_no_clear_splits_are_refused(tmp_path, names, fault):
    """Fails when a new run trains on a file that its name gives to the test, or leaves a file out;
    when clear names, or names that say nothing, are refused.
    """
    folder = write(tmp_path / "x", dict.fromkeys(names, "a b\n"))
    archive = pack(tmp_path / "x.zip", dict.fromkeys(names, "a b\n"))
    for path in (folder, archive):
        text = Text(str(path))
        if fault is None:
            assert text.pinned().sha256
            continue
        with pytest.raises(UsageError) as raised:
            text.pinned()
        assert fault in str(raised.value)
        assert "like train.txt, valid.txt and test.txt" in str(raised.value)


def test_parts_of_what_is_not_cut_are_refused(tmp_path):
    """Fails when a new run takes parts that change nothing, or those of a stream are refused; when
    an old run that was made with them cannot be read.
    """
    named = write(tmp_path / "x", {"train": "a\n", "valid": "a\n", "test": "a\n"})
    stream = write(tmp_path / "y", {"one": "a\n", "two": "a\n"})
    for options in ({"validation": 0.5}, {"test": 0.4}, {"validation": 0.1, "test": 0.0}):
        with pytest.raises(UsageError, match="would change nothing") as raised:
            Text(str(named), **options).pinned()
        assert raised.value.fields == ("data.validation", "data.test")
        assert Text(str(stream), **options).pinned().sha256
    assert Text(str(named)).pinned().sha256


def test_one_file_is_not_its_own_test():
    """Fails when a name with all three words makes one file all three splits: it is tested on what
    it was trained on.
    """
    (file,) = [File("train-valid-test.txt", io.BytesIO)]
    assert parts_of([file]) == {"all": [file]}


def complaint(path: Path) -> str | None:
    """What is said of a path that cannot be read."""
    try:
        for unit in ("word", "byte"):
            read(path, unit)
        checksum(str(path))
    except SeqgenError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_damaged_zips_are_one_clear_error(tmp_path, kind):
    """Fails when a byte that is wrong anywhere in a zip, or an end that is missing, ends in a
    traceback, or what was packed changes in silence.
    """
    path, words = tmp_path / "x.zip", "one two three four\n" * 5
    content = pack(path, {"a.txt": words}, kind).read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        said = complaint(path)
        assert said is None or (str(path) in said and "\n" not in said)
        assert said is not None or "".join(read(path)) == words
    content = pack(path, {"a.txt": "é" * 60}, kind).read_bytes()
    for end in range(40, len(content)):
        path.write_bytes(content[:end])
        assert complaint(path)


def flagged(path: Path, local: int, central: int, value: int) -> Path:
    """A zip whose one member is said to be something else, in both of its headers."""
    content = bytearray(pack(path, {"a.txt": "one two three"}).read_bytes())
    content[local] = content[content.rfind(b"PK\1\2") + central] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda at: at / "nothing.txt", r"there is no .*nothing.txt$"),
        (
            lambda at: write(at, {"prepare.py": ""}) / "x.zip",
            r"there is no .*; get it with `python .*prepare.py`",
        ),
        (lambda at: at / ("x" * 300), r"x{300}"),
        (lambda at: at, "no text in it"),
        (lambda at: write(at, HIDDEN), "no text in it"),
        (lambda at: pack(at / "x.zip", {}), "no text in it"),
        (lambda at: pack(at / "x.zip", {"__MACOSX/a.txt": "a"}), "no text in it"),
        (
            lambda at: write(at, {"x.ZIP": "PK"}) / "x.ZIP",
            "cannot read .*x.ZIP: File is not a zip file",
        ),
        (lambda at: flagged(at / "x.zip", 6, 8, 1), "x.zip: a.txt: .*encrypted"),
        (lambda at: flagged(at / "x.zip", 8, 10, 99), "x.zip: a.txt: .*not supported"),
        (
            lambda at: pack(at / "x.zip", {"b.txt": "b", "a.txt": b"\0" * (1 << 24)}),
            "a.txt would unpack to 16,777,216 bytes",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, make, message):
    """Fails when it ends in a traceback or is taken for an empty text; when a zip that would fill
    the disk is unpacked.
    """
    path = make(tmp_path)
    with pytest.raises(SeqgenError, match=message) as raised:
        read(path, "byte")
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_a_name_twice(tmp_path):
    """Fails when such a zip, which tools can write, ends in a traceback: it is read or refused."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for content in ("one", "two"):
            archive.writestr("a.txt", content)
    assert complaint(tmp_path / "x.zip") or "".join(read(tmp_path / "x.zip")) in ("two", "onetwo")


def test_tight_text_is_no_bomb(tmp_path):
    """Fails when a small text that repeats itself, or a large one that packs well, is refused."""
    for content in (
        "a" * 100_000,
        "to be or not to be\n" * 20_000 + "\n".join(map(str, range(20_000))),
    ):
        assert "".join(read(pack(tmp_path / "x.zip", {"a.txt": content}))) == content


# The checksum


def test_checksums(tmp_path):
    """Fails when a change of a name, an order or a byte leaves the sum, or where it stands, its
    packing or a file of no split changes it.
    """
    files = {"train.txt": "ab" * 9, "valid.txt": "c", "test.txt": "de"}
    folder = write(tmp_path / "f", files | HIDDEN)
    named = b"".join(f"{name}\0{content}".encode() for name, content in files.items())
    assert checksum(str(folder)) == hashlib.sha256(named).hexdigest()
    assert checksum(str(pack(tmp_path / "x.zip", files))) == checksum(
        str(shutil.copytree(folder, tmp_path / "g"))
    )
    assert checksum(str(folder)) == checksum(str(tmp_path / "g"))
    write(folder, {"README": "what this is"})
    assert checksum(str(folder)) == checksum(str(tmp_path / "g"))
    one = write(tmp_path, {"one.txt": "a\r\nb"}) / "one.txt"
    assert (
        checksum(str(one))
        == hashlib.sha256(b"a\r\nb").hexdigest()
        == checksum(str(pack(tmp_path / "y.zip", {"z": "a\r\nb"})))
    )
    sums = {checksum(str(folder))}
    for change in (
        {"train.txt": "ab" * 8},
        {"valid.txt": "d"},
        {"valid2.txt": "c"},
        {"test.txt": ""},
    ):
        sums.add(checksum(str(write(folder, change))))
    assert len(sums) == 5


def test_checksums_read_in_pieces(tmp_path, monkeypatch):
    """Fails when a large text's sum is that of its first or last piece."""
    path = write(tmp_path, {"x": "0123456789"}) / "x"
    monkeypatch.setattr(text, "PIECE", 3)
    assert checksum(str(path)) == hashlib.sha256(b"0123456789").hexdigest()
