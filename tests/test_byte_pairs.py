"""Byte pairs: what is merged, what comes back, and what a run keeps of them."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.data.byte_pairs import ALPHABET, BytePairs, byte_pairs
from seqgen.data.pair_tokenizer import PairTokenizer, normalized
from seqgen.errors import SeqgenError
from seqgen.families import create
from seqgen.families.directory import open_at
from seqgen.tasks.pair_file import PairFile, load

TEXTS = ["the cat, the hat", "né né né", "한글 한글", "\U0001f600 the  end "] * 3
MADE = byte_pairs(TEXTS, 300)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.sampled_from(["none", "NFC", "NFD", "NFKC"]))
def test_every_text_comes_back(text, form):
    """Fails when a text needs a token that there is not, or a blank is added, joined or cut."""
    tokenizer = PairTokenizer(MADE, form)
    kept = normalized(text, form)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == (normalized(kept, "NFC") if form == "NFD" else kept)
    assert tokenizer.decode([1, *ids, 2, 0]) == tokenizer.decode(ids)
    assert all(3 <= i < len(tokenizer) for i in ids)
    assert tokenizer.unknown(text) == []


@given(st.lists(TEXT, max_size=5))
def test_tokens_are_merged_bytes(texts):
    """Fails when the library's tokens are not those of our own merging, the first merge first:
    within the words of which `pieces` are made.
    """
    rank = {tuple(merge.split(" ")): i for i, merge in enumerate(MADE.merges)}
    cut = MADE.library.pre_tokenizer.pre_tokenize_str
    for text, ids in zip(texts, MADE.encode_all(texts), strict=True):
        found = []
        for word, _ in cut(text):
            parts = [*word]
            while pairs := [pair for pair in pairwise(parts) if pair in rank]:
                first = min(pairs, key=rank.__getitem__)
                at = [*pairwise(parts)].index(first)
                parts[at : at + 2] = ["".join(first)]
            found += parts
        assert [MADE.table[i] for i in ids] == found


def test_a_pair_that_is_most_frequent_is_merged_first():
    """Fails when another pair is, or one that stands once."""
    made = byte_pairs(["ab ab ab cd cd xy"], 300)
    assert made.merges[0] == "a b"
    assert sorted(made.table[256:]) == ["ab", "cd", "Ġab", "Ġcd"]
    assert "x y" not in made.merges
    assert len(byte_pairs(["ab ab ab cd cd xy"], 257)) == 257


def test_pieces_are_readable():
    """Fails when an attention map shows the library's alphabet, or a character's part as none."""
    assert MADE.pieces(MADE.encode("the the né")) == ["the", " the", " né"]
    assert MADE.pieces(MADE.encode("x☃")) == ["x", r"\xe2", r"\x98", r"\x83"]


@pytest.mark.parametrize("merges", [("a",), ("a b c",), ("a zz",), ("ab c", "a b"), ("a  b",)])
def test_damaged_merges_are_refused(merges):
    """Fails when a merge of no tokens reaches the library."""
    with pytest.raises(ValueError, match=r"merge 1, .* is not of two tokens before it"):
        BytePairs(merges)


def test_without_the_library(monkeypatch):
    """Fails when a missing extra is a traceback, or is not named."""
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(SeqgenError, match=r"pip install 'seqgen\[data\]'"):
        BytePairs(MADE.merges).encode("a")
    with pytest.raises(SeqgenError, match=r"pip install 'seqgen\[data\]'"):
        byte_pairs(TEXTS, 300)


def pairs(path: Path, change: tuple[int, str] | None = None) -> PairFile:
    """A file of pairs, one of whose targets is another text."""
    rows = [[f"word{i} wort{i % 7}", f"target{i % 5} {'ab' * (i % 4)}"] for i in range(60)]
    if change is not None:
        rows[change[0]][1] = change[1]
    path.write_text("".join(f"{a}\t{b}\n" for a, b in rows))
    return PairFile((str(path),), source_tokens="bpe", target_tokens="bpe")


def test_only_training_text_decides(tmp_path):
    """Fails when rows of another split are merged, or those of training are not."""
    base = load(pairs(tmp_path / "a.tsv"))
    row = {name: int(rows[0][0].split()[0][4:]) for name, rows in base.splits._asdict().items()}
    other = {
        name: load(pairs(tmp_path / "b.tsv", (at, "qq qq qq qq"))).tokenizer
        for name, at in row.items()
    }
    assert other["test"] == other["validation"] == base.tokenizer
    assert other["train"] != base.tokenizer


def test_one_vocabulary_or_two(tmp_path):
    """Fails when a side's text decides the other's tokens, or not both decide a shared one's."""
    data = pairs(tmp_path / "a.tsv")
    made = load(data)
    assert isinstance(made.source_tokenizer, PairTokenizer)
    assert {"w", "word"} <= {*made.source_tokenizer.table}
    assert "word" not in {*made.tokenizer.table}
    together = load(PairFile(data.train, source_tokens="bpe", target_tokens="bpe", shared=True))
    assert together.source_tokenizer is None
    assert {"word", "target"} <= {*together.tokenizer.table}


def test_a_run_keeps_its_tokens(tmp_path):
    """Fails when a run needs its training file to read a text, or a damaged vocabulary.json is a
    traceback.
    """
    data = pairs(tmp_path / "a.tsv")
    cfg = presets.model("attention", embedding=4, hidden=4)
    run = create(RunConfig(data, cfg, Training(batch=8)), str(tmp_path / "run"))
    ids = run.source_tokenizer.encode("word7 ☃")
    (tmp_path / "a.tsv").unlink()
    again = open_at(run.path)
    assert again.source_tokenizer.encode("word7 ☃") == ids
    assert again.sizes == run.sizes
    path = run.path / "vocabulary.json"
    content = json.loads(path.read_text())
    content["tokenizer"]["text"]["merges"][3] = "no token"
    path.write_text(json.dumps(content))
    (run.path / "SHA256SUMS").unlink()
    (run.path / "config.json").write_text(
        (run.path / "config.json").read_text().replace('"version": 3', '"version": 2')
    )
    with pytest.warns(UserWarning, match="earlier version"), pytest.raises(SeqgenError) as refusal:
        _ = open_at(run.path).sizes
    assert "merge 4, 'no token', is not of two tokens before it" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_the_same_tokens_in_every_process():
    """Fails when hashing, threads or the process decide a tie."""
    code = (
        "import random; from seqgen.data.byte_pairs import byte_pairs; random.seed(0)\n"
        "texts = [' '.join(''.join(random.choices('abcdeé한', k=4)) for _ in range(6))"
        " for _ in range(2000)]\nprint(byte_pairs(texts, 900).merges)"
    )
    told = set()
    for threads, parallel in (("1", "false"), ("1", "true"), ("2", "true"), ("4", "true")):
        env = os.environ | {"RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
        made = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        told.add(made.stdout)
    assert len(told) == 1
    assert len(ALPHABET) == 256
