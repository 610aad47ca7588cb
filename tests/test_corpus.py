"""Corpora: vocabularies, splits, and streams of ids that are made once and kept."""

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqgen.data import token_store
from seqgen.data.token_store import Corpus
from seqgen.data.tokenizer import text_vocabulary
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import cache_folder
from seqgen.tasks import corpus, text
from seqgen.tasks.corpus import cut, load
from seqgen.tasks.grammar import Grammar
from seqgen.tasks.markov import Markov
from seqgen.tasks.synthetic import Synthetic
from seqgen.tasks.text import Text

SPLITS = ("train", "validation", "test")
WORDS = "to be or not to be that is the question\nwhether tis nobler in the mind to suffer\n" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the test's own."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(token_store, "corpora_folder", lambda: folder)
    return folder


def published(variable: str, *parts: str) -> Path:
    """A corpus that others publish."""
    path = Path(
        os.environ.get(variable, Path(__file__).parents[2] / "shared" / "data" / Path(*parts))
    )
    if not path.is_file():
        reason = f"there is no {path} ({variable} says where it is)"
        pytest.skip(reason)  # why a skip: the file is others', so a clone alone cannot have it
    return path


def write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def equal(one: Corpus, other: Corpus) -> None:
    assert one.tokenizer == other.tokenizer
    for split in SPLITS:
        np.testing.assert_array_equal(getattr(one, split), getattr(other, split), strict=True)


def written(found: Corpus) -> str:
    """All splits as one text."""
    return found.tokenizer.decode(np.concatenate(found[1:]).astype(np.int32))


def plain(
    splits: list[list[str]], min_count: int = 1, most: int | None = None
) -> tuple[list[str], list[list[int]]]:
    """The vocabulary and the ids by counting: symbols of the training split as they first appear,
    `<unk>` where needed.
    """
    counts = Counter(splits[0])
    frequent = {symbol for symbol, _ in counts.most_common(most)}
    table = [s for s in counts if (s in frequent and counts[s] >= min_count) or s == "<unk>"]
    if "<unk>" not in table and any(symbol not in table for split in splits for symbol in split):
        table.append("<unk>")
    return table, [[table.index(s if s in table else "<unk>") for s in split] for split in splits]


# The vocabulary

letters = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "<unk>"]), max_size=14)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@example(["b", "a", "b"], ["a"], ["b"], 1, None, "word")
@example(["b", "a", "b"], ["c"], [], 1, None, "word")
@example(["b", "a", "b", "<unk>", "a", "c"], ["c"], ["d"], 2, 1, "word")
@example(["c", "a", "b", "a", "b"], [], ["<unk>", "a"], 1, 2, "word")
@given(
    letters.filter(bool),
    letters,
    letters,
    st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.sampled_from(["word", "character"]),
)
def test_vocabularies(tmp_path_factory, train, validation, test, min_count, most, unit):
    """Fails when ids are not in the order of first appearance in training, a symbol that only other
    splits have gets its own, the cut is off by one or counts other splits, ties go to the later,
    the text's own `<unk>` is cut or gets a twin, or there is one that nothing needs, or nothing
    else.
    """
    between = " " if unit == "word" else ""
    splits = [between.join(split) for split in (train, validation, test)]
    folder = tmp_path_factory.mktemp("splits")
    for name, content in zip(("train", "valid", "test"), splits, strict=True):
        write(folder / name, content)
    table, ids = plain(
        [content.split() if unit == "word" else list(content) for content in splits],
        min_count,
        most,
    )
    text = Text(str(folder), unit=unit, min_count=min_count, most=most)
    if table == ["<unk>"]:
        with pytest.raises(UsageError, match="nothing but <unk> is left"):
            load(text)
        return
    found = load(text)
    assert found.tokenizer.unit == unit
    assert list(found.tokenizer.table) == table
    assert [getattr(found, split).tolist() for split in SPLITS] == ids
    assert all(
        found.tokenizer.encode(content) == row for content, row in zip(splits, ids, strict=True)
    )


def test_penn_treebanks_own_unknown_word_stays_one(tmp_path):
    """Fails when a text's vocabulary gets special tokens that the text has not: a model would be
    made for more words than the corpus has, or an unknown one be refused.
    """
    found = load(Text(write(tmp_path / "x", "a <unk> b\n" * 9), unit="word"))
    assert found.tokenizer == text_vocabulary("word", ("a", "<unk>", "b", "<eos>"))
    assert found.sizes == (0, 4, (None, None, None, 1), None, True)
    assert found.tokenizer.encode("c") == [1]


def test_bytes_have_no_vocabulary(tmp_path):
    """Fails when a byte's id is not its value, or a cut reaches bytes."""
    content = bytes(range(256)) * 3
    found = load(
        Text(
            write(tmp_path / "x", content),
            unit="byte",
            min_count=9,
            most=2,
            validation=0.25,
            test=0.25,
        )
    )
    assert (len(found.tokenizer), found.tokenizer.table) == (256, ())
    assert b"".join(bytes(np.uint8(getattr(found, split))) for split in SPLITS) == content
    assert [len(getattr(found, split)) for split in SPLITS] == [384, 192, 192]


@pytest.mark.parametrize(("symbols", "kind"), [(65_536, np.uint16), (65_537, np.uint32)])
def test_streams_are_mapped_and_as_narrow_as_they_can_be(tmp_path, symbols, kind):
    """Fails when streams are read into memory or can be written to, the largest id wraps round to
    0, or all take four bytes.
    """
    words = write(tmp_path / "x", " ".join(map(str, range(symbols))))
    found = load(Text(words, unit="word", validation=0.0, test=0.0))
    assert isinstance(found.train, np.memmap)
    assert (found.train.dtype, len(found.tokenizer)) == (kind, symbols)
    np.testing.assert_array_equal(found.train, np.arange(symbols))
    with pytest.raises(ValueError, match="read-only"):
        found.train[0] = 1


# Splits


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@example(1_115_394, 10, 0)
@given(st.integers(1, 3000), st.integers(0, 49), st.integers(0, 49))
def test_parts_of_one_stream(size, validation, test):
    """Fails when a token is in two splits or in none, splits are not in the order of the text, or a
    part is not as large as was asked for, to one token.
    """
    whole = np.arange(size, dtype=np.uint32)
    parts = cut(Text(validation=validation / 100, test=test / 100), {"all": whole})
    np.testing.assert_array_equal(np.concatenate([parts[split] for split in SPLITS]), whole)
    assert abs(len(parts["validation"]) * 100 - size * validation) <= 100
    assert abs(len(parts["test"]) * 100 - size * test) <= 100
    assert validation or not len(parts["validation"])
    assert test or not len(parts["test"])


def test_named_splits_are_whole(tmp_path):
    """Fails when fractions cut splits that have names, the vocabulary hears of another than the
    training split, files of one split are not in the order of their names, or a file that is part
    of none is read.
    """
    files = {
        "train.2": "c b\n",
        "train.1": "a b\n",
        "valid": "b d\n",
        "test": "a\n",
        "README": "e\n",
    }
    for name, content in files.items():
        write(tmp_path / "x" / name, content)
    found = load(Text(str(tmp_path / "x"), unit="word", validation=0.4, test=0.4))
    assert found.tokenizer.table == ("a", "b", "<eos>", "c", "<unk>")
    assert [getattr(found, split).tolist() for split in SPLITS] == [
        [0, 1, 2, 3, 1, 2],
        [1, 4, 2],
        [0, 2],
    ]
    (tmp_path / "x" / "test").unlink()
    whole = load(Text(str(tmp_path / "x"), unit="word", validation=0.0, test=0.0))
    assert written(whole) == "e\na b\nc b\nb d\n"
    assert [len(getattr(whole, split)) for split in SPLITS[1:]] == [0, 0]


@pytest.mark.parametrize("unit", ["word", "character", "byte"])
@pytest.mark.parametrize(
    ("files", "stream"),
    [
        (["two", "three"], "two\nthree"),
        (["two\n", "three\n"], "two\nthree\n"),
        (["two\r\n", "three"], "two\r\nthree"),
        (["two\n\n", "three"], "two\n\nthree"),
        (["", "two", "", "three"], "two\nthree"),
        (["two"], "two"),
    ],
)
def test_files_of_a_stream_are_joined(tmp_path, cache, files, stream, unit):
    """Fails when the last word of a file and the first one of the next become one, files whose
    lines end get a blank line, or a text has an end that no file has.
    """
    for number, content in enumerate(files):
        write(tmp_path / "x" / str(number), content)
    path, one = str(tmp_path / "x"), write(tmp_path / "one", stream)
    options = {"unit": unit, "validation": 0.0, "test": 0.0}
    equal(load(Text(path, **options)), load(Text(one, **options)))
    for split, named in (("train", files), ("valid", ["v"]), ("test", ["t"])):
        for number, content in enumerate(named):
            write(tmp_path / "y" / f"{split}-{number}", content)
    splits = load(Text(str(tmp_path / "y"), unit=unit))
    whole = load(Text(one, **options))
    assert splits.tokenizer.decode(splits.train) == whole.tokenizer.decode(whole.train)


def test_a_run_of_files_that_were_not_joined_keeps_its_tokens(tmp_path, cache):
    """Fails when a run from before files were joined is refused, or gets other tokens than it was
    trained on; when what is kept for it is taken for what a new run has; when the checksum of
    files whose lines end is another than it was.
    """
    for name, content in (("a", "two"), ("b", "three")):
        write(tmp_path / "x" / name, content)
        write(tmp_path / "y" / name, content + "\n")
    path, options = str(tmp_path / "x"), {"validation": 0.0, "test": 0.0}
    old = hashlib.sha256(b"a\0twob\0three").hexdigest()
    assert written(load(Text(path, old, **options))) == "twothree"
    new = Text(path, **options).pinned()
    assert new.sha256 != old
    assert written(load(new)) == "two\nthree"
    assert written(load(Text(path, old, **options))) == "twothree"
    ended = hashlib.sha256(b"a\0two\nb\0three\n").hexdigest()
    assert Text(str(tmp_path / "y")).pinned().sha256 == ended


@pytest.mark.parametrize("content", ["", "\ufeff", " \n"])
def test_nothing_to_train_on(tmp_path, cache, content):
    """Fails when an empty text, or one of which nothing is left for training, ends in a traceback
    or in a run of nothing.
    """
    data = Text(write(tmp_path / "x.txt", content), unit="word", validation=0.6, test=0.3)
    with pytest.raises(SeqgenError, match=r"x.txt: no text to train on$"):
        load(data)
    assert not list(cache.iterdir())


# What others publish


def test_penn_treebank_is_the_books(tmp_path):
    """Fails when a word's id or a token's place is not the book's (its dataset/ptb.py): `<eos>` at
    every line's end, words in the order of their first appearance in training.
    """
    path = published("SEQGEN_PTB", "ptb", "ptb.zip")
    found = load(Text(str(path), unit="word"))
    assert len(found.tokenizer) == 10_000
    assert [len(getattr(found, split)) for split in SPLITS] == [929_589, 73_760, 82_430]
    assert found.train[:30].tolist() == list(range(30))
    assert found.tokenizer.table[:3] == ("aer", "banknote", "berlitz")
    assert [found.tokenizer.ids[word] for word in ("car", "happy", "lexus")] == [3856, 4428, 7426]
    ids: dict[str, int] = {}
    with zipfile.ZipFile(path) as archive:
        for split, name in zip(SPLITS, ("train", "valid", "test"), strict=True):
            words = archive.read(f"ptb.{name}.txt").decode().replace("\n", "<eos>").strip().split()
            np.testing.assert_array_equal(
                getattr(found, split), [ids.setdefault(word, len(ids)) for word in words]
            )
    assert tuple(ids) == found.tokenizer.table


def test_tiny_shakespeare_is_split_as_nanogpt_splits_it():
    """Fails when the parts are not nanoGPT's (its data/shakespeare_char/prepare.py): the first nine
    tenths, and the rest.
    """
    path = published("SEQGEN_SHAKESPEARE", "tinyshakespeare.txt")
    found = load(Text(str(path), validation=0.1, test=0.0))
    content = path.read_text()
    assert [len(getattr(found, split)) for split in SPLITS] == [1_003_854, 111_540, 0]
    assert set(found.tokenizer.table) == set(content)
    assert len(found.tokenizer) == 65
    assert written(found) == content


# Made once, and kept


@pytest.mark.parametrize("unit", ["word", "character", "byte"])
def test_pieces_change_nothing(tmp_path, cache, monkeypatch, unit):
    """Fails when where a piece or a block ends shows in the ids, the counts or the splits."""
    path = write(tmp_path / "x.txt", WORDS[:600] + "é\r\n한 글\r\n" + WORDS)
    data = Text(path, unit=unit, min_count=2, most=9, validation=0.1, test=0.2)
    whole = load(data)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(token_store, "corpora_folder", lambda: tmp_path / "other")
    monkeypatch.setattr(text, "PIECE", 7)
    monkeypatch.setattr(token_store, "BLOCK", 5)
    equal(load(data), whole)
    assert len(whole.train) > 500
    sums = [
        {p.name: hashlib.sha256(p.read_bytes()).digest() for p in at.rglob("*.*")}
        for at in (cache, tmp_path / "other")
    ]
    assert sums[0] == sums[1]


def test_a_text_is_read_once(tmp_path, cache, monkeypatch):
    """Fails when every run makes the streams anew, a moved text is another one, or what was only of
    use on the way stays.
    """
    path = write(tmp_path / "x.txt", WORDS)
    first = load(Text(path, unit="word"))
    (folder,) = cache.iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "train.npy",
        "validation.npy",
        "test.npy",
        "tokenizer.json",
        "SHA256SUMS",
    }
    monkeypatch.setattr(corpus, "fill_text", lambda *_, **__: pytest.fail("made anew"))
    equal(load(Text(path, unit="word")), first)
    equal(load(Text(write(tmp_path / "elsewhere" / "y.txt", WORDS), unit="word")), first)


@pytest.mark.parametrize("change", [
    {"unit": "character"}, {"min_count": 50}, {"most": 3}, {"validation": 0.1}, {"test": 0.1},
])  # fmt: skip
def test_other_settings_are_other_streams(tmp_path, cache, change):
    """Fails when a run gets the streams that were kept for other settings."""
    options = {"path": write(tmp_path / "x.txt", WORDS), "unit": "word"}
    first = load(Text(**options))
    other = load(Text(**options | change))
    assert len(list(cache.iterdir())) == 2
    assert [*first.tokenizer.table, *map(len, first[1:])] != [
        *other.tokenizer.table,
        *map(len, other[1:]),
    ]


def test_a_changed_text_is_refused(tmp_path, cache):
    """Fails when a run goes on with another text than it was made from, or a text that was not
    promised is refused.
    """
    path = write(tmp_path / "x.txt", WORDS)
    sha256 = hashlib.sha256(WORDS.encode()).hexdigest()
    first = load(Text(path, sha256))
    equal(first, load(Text(path)))
    write(tmp_path / "x.txt", WORDS + "!")
    with pytest.raises(
        SeqgenError,
        match=rf"x.txt has changed since the run was made: its SHA-256 is no longer {sha256}",
    ):
        load(Text(path, sha256))
    assert load(Text(path)).test[-1] != first.test[-1]
    with pytest.raises(
        SeqgenError,
        match=rf"pydoc_data.topics has changed since the run was made: .* no longer {sha256}",
    ):
        load(Text(sha256=sha256))  # the topics of another version of Python


HEADER = 128
"""Bytes of a stream's header."""


def zeros(path: Path, kept: int = 0) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:kept] + bytes(len(content) - kept))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


DAMAGE = {
    "no symbols": lambda at: (at / "tokenizer.json").unlink(),
    "empty symbols": lambda at: write(at / "tokenizer.json", ""),
    "half the symbols": lambda at: write(
        at / "tokenizer.json", (at / "tokenizer.json").read_text()[:40]
    ),
    "symbols twice": lambda at: write(
        at / "tokenizer.json", json.dumps({"unit": "word", "table": ["a", "a"]})
    ),
    "symbols of another kind": lambda at: write(at / "tokenizer.json", "[1]"),
    "symbols without a unit": lambda at: write(at / "tokenizer.json", '{"table": ["a"]}'),
    "no UTF-8": lambda at: write(at / "tokenizer.json", b"\xff\xfe"),
    "half a stream": lambda at: write(at / "train.npy", (at / "train.npy").read_bytes()[:300]),
    "half a header": lambda at: write(at / "test.npy", (at / "test.npy").read_bytes()[:30]),
    "a file of zeros": lambda at: zeros(at / "train.npy"),
    "a stream of zeros": lambda at: zeros(at / "train.npy", kept=HEADER),
    "another word": lambda at: write(
        at / "tokenizer.json", (at / "tokenizer.json").read_text().replace("noble", "noblf")
    ),
    "no checksums": lambda at: (at / "SHA256SUMS").unlink(),
    "half the checksums": lambda at: write(
        at / "SHA256SUMS", (at / "SHA256SUMS").read_text()[:100]
    ),
    "a shorter stream": lambda at: np.save(at / "train.npy", np.load(at / "train.npy")[:50]),
    "an empty stream": lambda at: write(at / "train.npy", b""),
    "no training stream": lambda at: (at / "train.npy").unlink(),
    "no test stream": lambda at: (at / "test.npy").unlink(),
    "an empty folder": lambda at: [path.unlink() for path in at.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_damaged_is_made_anew(tmp_path, cache, damage):
    """Fails when what a full disk, a power cut or a cleaner left of a kept corpus stops a run, is
    trained on, or is made anew without a word.
    """
    data = Text(write(tmp_path / "x.txt", WORDS), unit="word", validation=0.1, test=0.1)
    load(data)
    (folder,) = cache.iterdir()
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    DAMAGE[damage](folder)
    again = f"the tokens of x in {folder} are made again: "
    with pytest.warns(UserWarning, match=re.escape(again)) as said:
        found = load(data)
    assert len(said) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert written(found) == WORDS


def test_every_flipped_bit_is_noticed(tmp_path, cache):
    """Fails when one bit of a kept corpus, in any of its files, can change and is read."""
    data = Text(write(tmp_path / "x.txt", WORDS), unit="word", validation=0.1, test=0.1)
    load(data)
    (folder,) = cache.iterdir()
    token_store.checked(folder, token_store.opened)
    for path in sorted(folder.iterdir()):
        bits = 8 * path.stat().st_size
        for bit in {*range(0, bits, bits // 40), bits - 1}:
            flip(path, bit)
            with pytest.raises(ValueError):  # noqa: PT011  whatever is not read
                token_store.checked(folder, token_store.opened)
            flip(path, bit)
    token_store.checked(folder, token_store.opened)


def test_what_is_kept_is_on_the_disk_before_it_has_its_name(tmp_path, cache, monkeypatch):
    """Fails when a power cut can leave a folder of the right name whose files are not whole."""
    flushed, rename = [], Path.rename

    def renamed(path: Path, target: Path) -> Path:
        flushed.append("renamed")
        return rename(path, target)

    monkeypatch.setattr(token_store, "flush", lambda path: flushed.append(path.name))
    monkeypatch.setattr(Path, "rename", renamed)
    load(Text(write(tmp_path / "x.txt", WORDS), unit="word"))
    (folder,) = cache.iterdir()
    at = flushed.index("renamed")
    assert {path.name for path in folder.iterdir()} <= {*flushed[:at]}
    assert flushed[at + 1 :] == ["cache"]


def test_two_at_once(tmp_path, cache, monkeypatch):
    """Fails when of two processes that make the same streams at the same time, one stops since the
    other was faster.
    """
    data, fill = Text(write(tmp_path / "x.txt", WORDS), unit="word"), corpus.fill_text

    def late(data: Text, folder: Path, *, joined: bool) -> None:
        fill(data, folder, joined=joined)
        if not any(path.name.count(".") == 0 for path in cache.iterdir()):
            monkeypatch.setattr(corpus, "fill_text", fill)
            load(data)  # the other process

    monkeypatch.setattr(corpus, "fill_text", late)
    found = load(data)
    assert written(found) == WORDS
    assert len(list(cache.iterdir())) == 1


def test_the_cache_is_the_users_own(tmp_path, monkeypatch):
    """Fails when others can put streams, or what is run, into a user's cache: into any of its
    folders, made anew by whichever part of the package comes first.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = cache_folder("corpora")
    assert folder == tmp_path / "cache" / "seqgen" / "corpora"
    assert cache_folder() == folder.parent
    assert [path.stat().st_mode % 0o1000 for path in (folder, folder.parent)] == [0o700, 0o700]
    (folder.parent / "file").write_text("")
    assert cache_folder("file") is None
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for relative in ("", "cache", "./cache"):  # its specification says: ignored
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == tmp_path / "home" / ".cache" / "seqgen"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "file"))
    assert cache_folder() is cache_folder("corpora") is None


@contextmanager
def small_disk(size: int):
    """No file can grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_clear_error(tmp_path, cache):
    """Fails when a disk that fills up at any point ends in a traceback, leaves something behind, or
    leaves what is later taken for whole.
    """
    data = Text(write(tmp_path / "x.txt", WORDS[:1000]), validation=0.0, test=0.0)
    for size in (0, 50, 100, 150, 1000, 2000, 2100, 3999):
        with (
            small_disk(size),
            pytest.raises(
                SeqgenError, match=r"cannot write the tokens of x to .*: File too large$"
            ),
        ):
            load(data)
        assert not list(cache.iterdir())
    found = load(data)
    assert written(found) == WORDS[:1000]


@pytest.mark.parametrize("blocked", ["a file", "no home"])
def test_without_a_cache_streams_go_with_the_process(tmp_path, blocked):
    """Fails when a cache that cannot be written stops a run, or what is kept in its place outlives
    the process.
    """
    path = write(tmp_path / "x.txt", WORDS)
    script = (
        "import sys; from seqgen.tasks.corpus import Text, load;"
        "from seqgen.data.token_store import corpora_folder; found = load(Text(sys.argv[1])).train;"
        "folder = corpora_folder(); mode = folder.stat().st_mode % 0o1000;"
        "print(folder, len(found), len(list(folder.iterdir())), mode)"
    )
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {"XDG_CACHE_HOME": path, "TMPDIR": str(tmp_path / "temporary")}
    if blocked == "no home":
        environment |= {"XDG_CACHE_HOME": "", "HOME": path}
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", script, path]
    done = subprocess.run(
        command, env=environment, cwd=root, check=True, capture_output=True, text=True
    )
    folder, *numbers = done.stdout.split()
    assert Path(folder).parent == tmp_path / "temporary"
    assert list(map(int, numbers)) == [int(len(WORDS) * 0.9), 1, 0o700]
    assert not list((tmp_path / "temporary").iterdir())
    assert done.stderr == ""


# Drawn from a language


def test_what_is_drawn_is_the_languages(cache):
    """Fails when splits share their draws, a split depends on how long another one is, the seed
    does not decide, or ids are not the language's.
    """
    first = load(Synthetic(Markov(), 600, 300, 200, seed=3))
    assert [len(stream) for stream in first[1:]] == [600, 300, 200]
    assert (first.tokenizer.unit, first.tokenizer.table) == ("word", Markov().symbols)
    heads = [stream[:200].tobytes() for stream in first[1:]]
    assert len(set(heads)) == 3
    longer = load(Synthetic(Markov(), 900, 300, 200, seed=3))
    np.testing.assert_array_equal(longer.validation, first.validation)
    np.testing.assert_array_equal(longer.test, first.test)
    other = load(Synthetic(Markov(), 600, 300, 200, seed=4))
    assert not set(heads) & {stream[:200].tobytes() for stream in other[1:]}
    shutil.rmtree(cache)
    cache.mkdir()
    equal(load(Synthetic(Markov(), 600, 300, 200, seed=3)), first)
    sentences = load(Synthetic(Grammar(), 500, 2, 2))
    assert np.isfinite(Grammar().losses(sentences.train)).all()


@pytest.mark.parametrize("options", [{"train": 1}, {"validation": 0}, {"test": 1}, {"seed": -1}])
def test_draws_without_sense_are_refused(options):
    """Fails when a split of nothing is drawn and only shows as a score of nothing."""
    with pytest.raises(UsageError, match=str(next(iter(options.values())))):
        Synthetic(**options)
