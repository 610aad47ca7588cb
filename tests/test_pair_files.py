"""A person's own pairs: what is read of which file, how it is split, and what is refused."""

import gzip
import itertools
import json
import lzma
import zipfile
from pathlib import Path

import numpy as np
import pytest

from seqgen.data.buckets import Bucket, bucket_of, buckets_of, least_padding
from seqgen.data.pair_tokenizer import PairTokenizer, vocabulary_of
from seqgen.data.rows import remarks, rows_of
from seqgen.errors import SeqgenError
from seqgen.tasks.audit import repeats
from seqgen.tasks.pair_file import PairFile, load

PAIRS = [
    ("go", "va"),
    ("go on", "continue"),
    ("né, à part", "“quoted”, d'accord"),
    ("한글", "hangul"),
]


def tabs(pairs) -> str:
    return "".join(f"{source}\t{target}\n" for source, target in pairs)


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def comma(pairs) -> str:
    quoted = [[cell.replace('"', '""') for cell in pair] for pair in pairs]
    return "source,target\n" + "".join(f'"{a}","{b}"\n' for a, b in quoted)


def lines(pairs, **more) -> str:
    return "".join(json.dumps({"from": a, "to": b, **more}) + "\n" for a, b in pairs)


def zipped(path: Path, **files: str) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


WAYS = {
    "tabs": lambda at: ([write(at / "a.tsv", tabs(PAIRS))], ("1", "2")),
    "a mark and CRLF": lambda at: (
        [write(at / "a.txt", "\ufeff" + tabs(PAIRS).replace("\n", "\r\n"))],
        ("1", "2"),
    ),
    "CR alone": lambda at: ([write(at / "a", tabs(PAIRS).replace("\n", "\r"))], ("1", "2")),
    "no end, empty lines": lambda at: (
        [write(at / "a.tsv", "\n" + tabs(PAIRS).replace("\n", "\n\n")[:-2])],
        ("1", "2"),
    ),
    "other columns": lambda at: (
        [write(at / "a.tsv", "".join(f"x\t{b}\t\t{a}\n" for a, b in PAIRS))],
        ("4", "2"),
    ),
    "a header": lambda at: (
        [write(at / "a.tsv", "to\tfrom\n" + tabs([(b, a) for a, b in PAIRS]))],
        ("from", "to"),
    ),
    "csv": lambda at: ([write(at / "a.csv", comma(PAIRS))], ("source", "target")),
    "json": lambda at: ([write(at / "a.jsonl", lines(PAIRS, id=3))], ("from", "to")),
    "parallel": lambda at: (
        [
            write(at / "a.en", "".join(f"{a}\n" for a, _ in PAIRS)),
            write(at / "a.fr", "".join(f"{b}\n" for _, b in PAIRS)),
        ],
        ("1", "2"),
    ),
    "gzip": lambda at: ([write(at / "a.tsv.gz", gzip.compress(tabs(PAIRS).encode()))], ("1", "2")),
    "xz": lambda at: (
        [write(at / "a.csv.xz", lzma.compress(comma(PAIRS).encode()))],
        ("source", "target"),
    ),
    "a zip's one file": lambda at: ([zipped(at / "a.zip", a=tabs(PAIRS))], ("1", "2")),
    "a zip's member": lambda at: (
        [zipped(at / "a.zip", **{"deep/a.tsv": tabs(PAIRS), "b": "x"}) + "/deep/a.tsv"],
        ("1", "2"),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same_pairs(way, tmp_path):
    """Fails when a format loses, joins or changes a cell: quotes, accents, line ends."""
    files, columns = WAYS[way](tmp_path)
    assert [(row.source, row.target) for row in rows_of(files, columns)] == PAIRS


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.tsv", tabs(PAIRS), ("1", "2"), []),
        ("a.tsv", "a\tb\tc\n", ("1", "3"), ["has 3 columns; read: 1, 3"]),
        ("a.csv", comma(PAIRS), ("source", "target"), []),
        ("a.csv", comma(PAIRS), ("2", "1"), ["line 1 is read as a pair, target, source; if it"]),
        ("a.jsonl", lines(PAIRS, id=3), ("from", "to"), []),
    ],
)
def test_what_may_be_read_otherwise_is_told(name, content, columns, said, tmp_path):
    """Fails when a header is trained on, or a column is left out, without a word."""
    told = list(remarks([write(tmp_path / name, content)], columns))
    assert len(told) == len(said)
    assert all(words in line for words, line in zip(said, told, strict=True))


BAD = {
    "empty": ("", "there is no pair in it"),
    "one column": ("go\nva\n", r"line 1: one column, and a pair has two, with a tab"),
    "a short line": ("go\tva\nno\n", "line 2: 1 columns, and line 1 has 2"),
    "a long line": ("go\tva\na\tb\tc\n", "line 2: 3 columns, and line 1 has 2"),
    "an empty source": ("go\tva\n \tb\n", "line 2: the source is empty"),
    "an empty target": ("go\tva\nb\t\n", "line 2: the target is empty"),
    "half a pair": (b'{"1": "a\\ud800", "2": "b"}', "line 1: half a surrogate pair under '1'"),
    "a NUL": ("go\tva\na\0\tb\n", r"line 2: a NUL, which no text has; is it UTF-16"),
    "latin-1": ("go\tva\né\tà\n".encode("latin-1"), r"line 2: not UTF-8 .*looks like Latin-1"),
    "utf-16": ("go\tva\n".encode("utf-16"), "not UTF-8 .*looks like UTF-16"),
    "korean": ("가다\t가요\n나라를\t사랑\n".encode("cp949"), r"not UTF-8 .*looks like CP949"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(name, tmp_path):
    """Fails when a bad line is read as something else, or its file, line or remedy is not told."""
    content, said = BAD[name]
    path = write(tmp_path / ("bad.jsonl" if content[:1] == b"{" else "bad.tsv"), content)
    with pytest.raises(SeqgenError, match=f"^{path}(, line)?.*{said}"):
        list(rows_of([path], ("1", "2")))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": ("1",)}, "columns are a source's"),
        ({"columns": ("1", "9")}, "has no column 9; it has 2 columns"),
        ({"columns": ("from", "to")}, "has no column from; it has 2 columns, go, va"),
        ({"shared": True, "target_tokens": "words"}, "one vocabulary has one kind of tokens"),
        ({"validation": ("a", "b")}, "validation is one file with columns"),
        ({"split_seed": -1}, "split_seed must be 0 or more"),
        ({"vocabulary": 256}, "vocabulary must be more than the 256 bytes, not 256"),
        ({"buckets": 0}, "buckets must be 1 or more"),
        ({"sha256": ("00",)}, "has changed since the run was made"),
        ({}, "4 sources are too few to be split"),
    ],
)
def test_settings_without_sense_are_refused(options, said, tmp_path):
    """Fails when a setting that cannot be is taken, or a traceback."""
    file = write(tmp_path / "own.tsv", tabs(PAIRS))
    with pytest.raises(SeqgenError, match=said):
        load(PairFile((file,), **options))


def test_rows_that_are_too_long(tmp_path):
    """Fails when a long row is cut, is left out in silence, or makes every batch as wide."""
    rows = [(f"s{i}", "t" * (1 + i % 5)) for i in range(99)] + [("x" * 5000, "y")]
    file = write(tmp_path / "own.tsv", tabs(rows))
    with pytest.raises(SeqgenError, match=r"1 rows have more than 4000 tokens.*use max_source"):
        load(PairFile((file,)))
    made = load(PairFile((file,), max_source=10, max_target=3))
    kept = sorted(itertools.chain(*made.splits))
    assert kept == sorted(pair for pair in rows if len(pair[0]) <= 10 and len(pair[1]) <= 3)
    dropped = sum(int(note.split()[1]) for note in made.notes)
    assert dropped == len(rows) - len(kept)


def test_parallel_files_of_other_lengths(tmp_path):
    """Fails when the rest of the longer file is dropped in silence, or lines slip."""
    one, other = write(tmp_path / "a", "x\ny\nz\n"), write(tmp_path / "b", "1\n2\n")
    with pytest.raises(SeqgenError, match=f"^{other} ends before line 3"):
        list(rows_of([one, other], ("1", "2")))
    write(tmp_path / "b", "1\n\n3\n")
    with pytest.raises(
        SeqgenError, match=f"^{other}, line 2: it is empty, its parallel line is not"
    ):
        list(rows_of([one, other], ("1", "2")))


def test_a_feature_that_only_the_test_has(tmp_path):
    """Fails when it is a traceback, or the row that has it is not named."""
    rows = [f"{i}\ta{i}\tA\n" for i in range(40)]
    train, test = write(tmp_path / "train", "".join(rows)), write(tmp_path / "test", "7\tx\tB\n")
    options = {"test": (test,), "columns": ("1", "2", "3")}
    with pytest.raises(SeqgenError, match=r"^test, '7\\tB': no training row has the feature 'B'"):
        load(PairFile((train,), source_tokens="bytes", **options))
    assert load(PairFile((train,), **options)).splits.test == [("7\tB", "x")]


def test_no_source_stands_in_two_splits(tmp_path):
    """Fails when rows of one source are parted, a row is lost, or the seed does not decide."""
    random = np.random.default_rng(0)
    pairs = [(f"s{random.integers(200)}", f"t{i}") for i in range(600)]
    file = write(tmp_path / "own.tsv", tabs(pairs))
    splits = load(PairFile((file,))).splits
    sources = [{source for source, _ in rows} for rows in splits]
    assert not any(a & b for a, b in itertools.combinations(sources, 2))
    assert sorted(itertools.chain(*splits)) == sorted(pairs)
    assert [len(each) for each in sources] == pytest.approx([160, 20, 20], abs=10)
    assert load(PairFile((file,))).splits == splits
    assert load(PairFile((file,), split_seed=1)).splits != splits


def test_parts_of_their_own(tmp_path):
    """Fails when a part's rows are trained on, or its file takes no part of the cut."""
    files = {
        name: (write(tmp_path / name, tabs([(f"{name}{i}", "x") for i in range(40)])),)
        for name in ("train", "validation", "test")
    }
    splits = load(PairFile(**files)).splits
    assert [{source.rstrip("0123456789") for source, _ in rows} for rows in splits] == [
        {"train"},
        {"validation"},
        {"test"},
    ]
    cut = load(PairFile(files["train"], test=files["test"])).splits
    assert [len(rows) for rows in cut] == [36, 4, 40]


@pytest.mark.parametrize(
    ("tokens", "text", "pieces"),
    [
        ("characters", "né é", ["n", "é", " ", "é"]),
        ("words", "go on  now", ["go", "on", "now"]),
        ("symbols", "HH AH0 L", ["HH", "AH0", "L"]),
        ("bytes", "é", [r"\xc3", r"\xa9"]),
        ("bpe", "é " * 90 + "né", ["é", *[" é"] * 89, " ", "n", "é"]),
    ],
)
def test_tokens_come_back(tokens, text, pieces):
    """Fails when a text is not what its tokens say, or pad, bos and eos are pieces of it."""
    tokenizer = PairTokenizer(vocabulary_of([text], tokens))
    ids = tokenizer.encode(text)
    assert tokenizer.pieces(ids) == pieces
    assert tokenizer.decode(ids) == (
        text if tokens in ("characters", "bytes", "bpe") else " ".join(pieces)
    )
    assert tokenizer.special[:3] == (0, 1, 2)
    assert min(ids) >= 3
    assert tokenizer.decode([1, *ids, 2, 0]) == tokenizer.decode(ids)


def test_rows_that_repeat_are_told(tmp_path):
    """Fails when a repeated row is dropped or not counted, a source's targets are, or a source in
    two files.
    """
    rows = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("c", "1")]
    train = write(tmp_path / "train", tabs(rows))
    others = [("validation", [("b", "1"), ("d", "1"), ("d", "3")]), ("test", [("d", "1")] * 3)]
    files = {name: (write(tmp_path / name, tabs(rows)),) for name, rows in others}
    splits = load(PairFile((train,), **files)).splits
    assert splits.train == rows
    assert [line.partition(": ")[2] for line in repeats(splits)] == [
        "2 in train, 2 in test",
        "1 in train, 1 in validation",
        "1 in train and validation, 1 in validation and test",
    ]
    alone = write(tmp_path / "alone", tabs([(f"{i}", "x") for i in range(20)]))
    assert repeats(load(PairFile((alone,))).splits) == []


def test_hangul_as_jamo():
    """Fails when NFD does not take syllables apart, or an answer is shown in parts."""
    tokenizer = PairTokenizer(vocabulary_of(["\u1112\u1161\u11ab"], "characters"), "NFD")
    ids = tokenizer.encode("한")
    assert len(ids) == 3
    assert tokenizer.decode(ids) == "한"
    assert tokenizer.pieces(ids) == ["\u1112", "\u1161", "\u11ab"]


def test_features_are_symbols_of_their_own():
    """Fails when a feature is read as characters, or one that looks like a character is that."""
    tokenizer = PairTokenizer(vocabulary_of(["walk", "V"], "characters"), "none", ("PST", "V"))
    ids = tokenizer.encode("walk\tV;PST")
    assert tokenizer.pieces(ids) == ["w", "a", "l", "k", "V", "PST"]
    assert ids[4] != tokenizer.encode("V")[0]
    assert tokenizer.encode("walk\tXX")[-1] == tokenizer.special.unk


def test_rare_units_are_unknown():
    """Fails when a unit below `min_count` keeps an id, or one of it does not."""
    vocabulary = vocabulary_of(["a a b", "b c"], "words", 2)
    assert vocabulary.table == ("<unk>", "a", "b")
    assert PairTokenizer(vocabulary).encode("c a") == [3, 4]


def padding(buckets, source, target) -> int:
    widths = np.array([[*bucket] for bucket in buckets])
    return int(widths[bucket_of(buckets, source, target)].sum())


def test_buckets_leave_the_least_padding():
    """Fails when another cut of the rows, in order of their length, has fewer tokens."""
    random = np.random.default_rng(3)
    source = random.integers(1, 12, 300)
    target = source**2 // 4 + random.integers(1, 4, 300)  # the longer, the more it weighs
    found = least_padding(source, target, 3)
    assert len(found) == 3
    total = source + target
    best = min(
        sum(
            int(rows.sum()) * (source[total <= high].max() + target[total <= high].max())
            for low, high in itertools.pairwise((0, *cut, total.max()))
            for rows in [(total > low) & (total <= high)]
        )
        for cut in itertools.combinations(np.unique(total)[:-1], 2)
    )
    assert padding(found, source, target) <= best


def test_every_bucket_has_a_batch():
    """Fails when rows are in a bucket too small for a batch: they would never be trained on."""
    random = np.random.default_rng(0)
    source = np.concatenate([random.integers(1, 10, 500), [200, 300]])
    target = source.copy()
    buckets = buckets_of(source, target, 8, lambda bucket: 40)
    counts = np.bincount(bucket_of(buckets, source, target), minlength=len(buckets))
    assert counts.min() >= 40
    assert counts.sum() == 502
    assert buckets[-1] == Bucket(300, 300)
