"""Pairs larger than memory: what is kept on the disk, and that a run sees the same rows."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqgen
from seqgen import presets
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.data import token_store
from seqgen.data.padding import Padding, encode
from seqgen.data.pairs import Pair
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import pair_rows
from seqgen.tasks import audit, pair_counts, pair_file
from seqgen.tasks.pair_file import PairFile, load, sides_of
from seqgen.tasks.stored_rows import StoredRows
from seqgen.training import signals
from seqgen.training.batches import Buckets
from seqgen.training.solo import Solo
from tests.test_own_runs import TINY, member, rows_of_epoch


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """An empty cache, into which any file goes."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(token_store, "corpora_folder", lambda: folder)
    monkeypatch.setattr(pair_file, "LARGE", 100)
    monkeypatch.setattr(pair_counts, "PART", 12)
    monkeypatch.setattr(pair_counts, "BLOCK", 64)
    return folder


def rows(count: int = 600) -> list[Pair]:
    """Sources that come again, with the same target and with others; Hangul; features."""
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*"abcDé한"], random.integers(1, 9))) for _ in range(count)]
    again = [words[i] for i in random.integers(0, count, count // 5)]
    return [(word, f"{word[::-1]} {i % 3}") for i, word in enumerate(words + again)]


def written(path: Path, pairs: list[Pair]) -> str:
    path.write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    return str(path)


SETTINGS = {
    "characters": {},
    "words and bytes": {"source_tokens": "words", "target_tokens": "bytes"},
    "symbols, the rare unknown": {"target_tokens": "symbols", "min_count": 3},
    "jamo": {"normalization": "NFD", "shared": True},
    "byte pairs": {"source_tokens": "bpe", "target_tokens": "bpe", "vocabulary": 280},
    "byte pairs for both": {"source_tokens": "bpe", "target_tokens": "bpe", "shared": True},
    "short rows": {"max_source": 6, "max_target": 7},
    "forwards": {"reverse": False},
    "features": {"columns": ("1", "2", "2")},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_store_has_what_memory_would(name, tmp_path):
    """Fails when a row, its ids, the tokens or a split are others than those of the same rows in
    memory: tokens are of training rows alone, no source is in two splits, long rows are left out.
    """
    data = PairFile((written(tmp_path / "a.tsv", rows()),), **SETTINGS[name])
    made = load(data)
    stored, held = made.splits.train, made.splits.validation + made.splits.test
    assert isinstance(stored, StoredRows)
    every = pair_file._normal(data, data.train)
    assert every is not None
    out = {source for source, _ in held}
    sides = sides_of(data, [pair for pair in every if pair[0] not in out])
    if not (data.max_source or data.max_target):  # else long rows of the other splits are gone
        assert sides.target == made.tokenizer
        assert sides.source == (made.source_tokenizer or made.tokenizer)
        assert len(stored) + len(held) == len(every)
    sides = made.source_tokenizer or made.tokenizer, made.tokenizer
    train = [
        pair
        for pair in every
        if pair[0] not in out
        and len(sides[0].encode(pair[0])) <= (data.max_source or 999)
        and len(sides[1].encode(pair[1])) <= (data.max_target or 999)
    ]
    train = train if len(train) == len(stored) else without_held_out(data, train)
    width = Padding("masked", data.reverse, 60, 60)
    expected = encode(train, sides[1], width, source_tokenizer=sides[0])
    found = stored.read(np.arange(len(stored)), width, *sides)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    lengths = made.lengths["train"]
    np.testing.assert_array_equal(lengths[0], expected.length)
    np.testing.assert_array_equal(lengths[1], expected.mask.sum(1))


def without_held_out(data: PairFile, pairs: list[Pair]) -> list[Pair]:
    """Pairs without those of held-out sources that were too long for their split."""
    sources = list({pair[0] for pair in pair_file._normal(data, data.train) or ()})
    lowest = np.sort(pair_counts.numbers(data.split_seed, sources))[: 2 * pair_counts.PART]
    low = pair_counts.numbers(data.split_seed, [pair[0] for pair in pairs]) > lowest[-1]
    return [pair for pair, kept in zip(pairs, low, strict=True) if kept]


def test_splits_are_cut_by_source(tmp_path):
    """Fails when a part is not of so many sources, a row is lost, a source parted, or the seed or
    the order of rows decides otherwise.
    """
    pairs = rows(2000)
    splits = load(PairFile((written(tmp_path / "a.tsv", pairs),))).splits
    sources = [{source for source, _ in part} for part in splits[1:]]
    assert [len(each) for each in sources] == [12, 12]
    assert not sources[0] & sources[1]
    held = [pair for pair in pairs if pair[0] in sources[0] | sources[1]]
    assert sorted(held) == sorted(splits.validation + splits.test)
    assert len(splits.train) == len(pairs) - len(held)
    turned = load(PairFile((written(tmp_path / "b.tsv", pairs[::-1]),))).splits
    assert [{source for source, _ in part} for part in turned[1:]] == sources
    other = load(PairFile((written(tmp_path / "a.tsv", pairs),), split_seed=1)).splits
    assert {source for source, _ in other.test} != sources[1]


def test_the_audit_counts_the_same(tmp_path, monkeypatch):
    """Fails when what the store counts as it is written is not what memory has."""
    own = {
        name: (written(tmp_path / name, [*rows()[at : at + 40], ("ABCd", "x")]),)
        for name, at in (("validation", 0), ("test", 30))
    }
    data = PairFile((written(tmp_path / "a.tsv", rows()),), **own)
    made = load(data)
    monkeypatch.setattr(pair_file, "LARGE", 10**9)
    expected = load(data)
    assert isinstance(expected.splits.train, list)
    assert audit.overlaps(made.splits) == audit.overlaps(expected.splits)
    assert list(made.notes[:-1]) == audit.repeats(expected.splits)
    assert made.tokenizer == expected.tokenizer
    assert audit.overlaps(made.splits)["training sources with several targets"] > 5


def test_a_store_is_made_once(cache, tmp_path, monkeypatch):
    """Fails when a store is made anew, is taken for other settings, or damage is taken as it is."""
    file = written(tmp_path / "a.tsv", rows())
    first = load(PairFile((file,)))
    (folder,) = cache.iterdir()
    told = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    load(PairFile((file,), buckets=3, reverse=False))
    shutil.copy(file, tmp_path / "elsewhere.tsv")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == told
    load(PairFile((file,), min_count=2))
    assert len([*cache.iterdir()]) == 2
    ids, then = folder / "target.ids", first.splits.train.target[0].copy()
    ids.write_bytes(ids.read_bytes()[:-8] + b"\0" * 8)
    with pytest.warns(UserWarning, match="made again: they do not match their checksums"):
        again = load(PairFile((file,)))
    assert again.tokenizer == first.tokenizer
    np.testing.assert_array_equal(again.splits.train.target[0], then)


@pytest.mark.parametrize("large", [100, 1 << 20])
@pytest.mark.parametrize("empty", ["train", "validation", "test"])
def test_a_split_that_bounds_empty(empty, large, tmp_path, monkeypatch):
    """Fails when a split of which nothing is left is trained on, or chosen by another."""
    monkeypatch.setattr(pair_file, "LARGE", large)
    files = {
        name: (
            written(
                tmp_path / name, [(f"{i}" * (9 if name == empty else 1), "x") for i in range(40)]
            ),
        )
        for name in ("train", "validation", "test")
    }
    with pytest.raises(UsageError, match=f"all rows of the {empty} split are longer than max_s"):
        load(PairFile(**files, max_source=8))


def test_too_few_sources(tmp_path):
    """Fails when all rows are of one part, whose source is the only one."""
    with pytest.raises(UsageError, match="1 sources are too few to be split"):
        load(PairFile((written(tmp_path / "a.tsv", [("a", f"{i}") for i in range(99)]),)))


@pytest.mark.parametrize(
    "wrong", ["no pair at all", "a\tb\tc", "x" * 4001 + "\ty", "y" * 4001 + "\tx"]
)
def test_a_bad_row_leaves_nothing(wrong, cache, tmp_path):
    """Fails when a row that is no pair, or too long, is kept, or half a store is."""
    file = Path(written(tmp_path / "a.tsv", rows()))
    file.write_text(f"{file.read_text()}{wrong}\n")
    with pytest.raises(SeqgenError, match=r"a\.tsv(, line 721)?: ") as refusal:
        load(PairFile((str(file),)))
    assert "\n" not in str(refusal.value)
    assert [*cache.iterdir()] == []


def on_device(made: Buckets) -> Buckets:
    """The same rows, all on the device."""
    assert made.stored is not None
    fetch = made.stored.fetch
    data = tuple(fetch(i, np.arange(n)) for i, n in enumerate(made.rows))
    return Buckets(data, made.batch, made.seed)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return Path(written(tmp_path_factory.mktemp("own") / "large.tsv", rows(500)))


def train(file: Path, name: Path, *more: str) -> Path:
    words = ["train", str(file), *TINY, "--name", str(name), *more]
    assert main(words) == 0
    return name


def weights(run: Path) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(seqgen.load(run).params)]


def test_the_same_rows_from_the_disk_and_from_the_device(file):
    """Fails when a step of the store has other rows than the same step of rows on the device, or a
    page is of another shape than the others of its bucket.
    """
    data, training = PairFile((str(file),), buckets=3), Training(batch_tokens=120)
    config = RunConfig(data, presets.model("attention", embedding=4, hidden=4), training)
    dataset = load(data)
    made = pair_rows.batches(config, dataset)
    assert isinstance(made, Buckets)
    there = on_device(made)
    assert made.data == ()
    assert len(made.rows) > 1
    assert made.steps == there.steps == pair_rows.epoch_steps(config, dataset)
    for epoch in (0, 1):
        ours, theirs = (rows_of_epoch(each, member(3), epoch) for each in (made, there))
        assert ours == theirs
    plan = made.plan(member(3), jnp.int32(0))
    shapes = [jax.tree.map(jnp.shape, page) for page in made.pages(plan)]
    for first in range(made.steps):
        assert jax.tree.map(jnp.shape, made.page(plan, 0, first).items) in shapes


@pytest.mark.bits
def test_a_run_ends_alike(file, tmp_path, monkeypatch):
    """Fails when a run whose rows come from the disk ends otherwise than with all on the device,
    a page compiles a step anew, or it goes on with other rows in the middle of a page.
    """
    seen, tell = [], Solo.tell

    def stop(self: Solo, steps: int, rate: float) -> None:
        tell(self, steps, rate)
        seen.append(self.functions.steps._cache_size())
        if self.step in (3, 14):
            signals._caught.append(2)

    words = ["train", str(file), *TINY, "--buckets", "2", "--name", str(tmp_path / "disk")]
    with monkeypatch.context() as patch:
        patch.setattr(Solo, "tell", stop)
        patch.setattr("seqgen.training.loop.SPAN_SECONDS", 0.0)
        assert main(words) == 130
        assert main(["resume", words[-1]]) == 130
        assert main(["resume", words[-1]]) == 0
    run = seqgen.load(tmp_path / "disk")
    made = pair_rows.batches(run.config, run.dataset)
    assert isinstance(made, Buckets)
    assert max(seen) == len(made.rows) > 1
    with monkeypatch.context() as patch:
        patch.setattr(pair_rows, "batches", lambda *_: on_device(made))
        train(file, tmp_path / "device", "--buckets", "2")
    for one, other in zip(weights(tmp_path / "disk"), weights(tmp_path / "device"), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="kept as ids, not as text"):
        run.evaluate("train")


@pytest.mark.slow
def test_stacked_members_are_the_solo_run(file, tmp_path, monkeypatch):
    """Fails when members of a sweep, whose rows come from the disk, see others than alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = seqgen.load(train(file, tmp_path / "alone", "--seed", "1"))
    Path("stored_sweep.py").write_text(
        "from dataclasses import replace\n"
        "import seqgen\n"
        f"def base(): return replace(seqgen.load({str(run.path)!r}).config, seed=0)\n"
        "def variants(): return {'slow': {}, 'forward': {'reverse': False}}\n"
    )
    forward = train(file, tmp_path / "forward", "--seed", "1", "--no-reverse")
    assert main(["sweep", "stored_sweep", "--seeds", "0:2", "--member-axis", "map"]) == 0
    for alone, name in ((run.path, "slow-1"), (forward, "forward-1")):
        swept = weights(Path("runs/stored_sweep") / name)
        for one, other in zip(weights(alone), swept, strict=True):
            np.testing.assert_array_equal(one, other)
