"""Runs of a person's own pairs: trained in buckets, resumed, swept, asked."""

import io
import json
import shutil
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqgen
from seqgen.cli import main
from seqgen.families import PairsRun
from seqgen.families.fit import capped_run
from seqgen.training import signals
from seqgen.training.batches import CHUNK, Buckets, chunks
from seqgen.training.objective import cross_entropy
from seqgen.training.solo import Solo
from seqgen.training.state import HyperConfig
from seqgen.types import Batch, Member
from tests.processes import outcome

TINY = [
    *("--model.encoder.hidden", "12", "--model.decoder.hidden", "12"),
    *("--model.encoder.embedding", "6", "--model.decoder.embedding", "6"),
    *("--epochs", "2", "--batch-tokens", "120", "--buckets", "4", "--target-tokens", "symbols"),
    *("--ema", "0.9"),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """Words, and their letters as symbols, from the last to the first; some with two answers."""
    random = np.random.default_rng(0)
    words = {"".join(random.choice([*"abcdeé"], random.integers(1, 12))) for _ in range(500)}
    rows = [f"{word}\t{' '.join(word[::-1].upper())}\n" for word in sorted(words)]
    rows += [f"{word}\tX Y\n" for word in sorted(words)[::9]]
    path = tmp_path_factory.mktemp("own") / "letters.tsv"
    path.write_text("".join(rows))
    return path


def train(file: Path, name: Path) -> Path:
    assert main(["train", str(file), *TINY, "--name", str(name)]) == 0
    return name


class Trained(NamedTuple):
    run: Path
    told: str
    compilations: list[int]
    """How many its steps had at each save."""


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory) -> Trained:
    compilations, save, told = [], Solo.save, io.StringIO()

    def counted(self: Solo) -> None:
        compilations.append(self.functions.steps._cache_size())
        save(self)

    with pytest.MonkeyPatch.context() as patch, redirect_stderr(told):
        patch.setattr(Solo, "save", counted)
        run = train(file, tmp_path_factory.mktemp("runs") / "whole")
    return Trained(run, told.getvalue(), compilations)


@pytest.fixture(scope="module")
def whole(trained) -> Path:
    return trained.run


def test_a_run_says_what_it_does(trained):
    """Fails when the choices, the splits or the buckets are not told, or another number is."""
    run, told = seqgen.load(trained.run), trained.told
    buckets = run.family.program(run.config, run.dataset).batches
    assert isinstance(buckets, Buckets)
    assert "chosen for these data: characters to symbols (--tokens), 12 hidden" in told
    for split, rows in run.dataset.splits._asdict().items():
        assert f"{split}: {len(rows)} pairs cut from letters.tsv\n" in told
    assert f"each a compilation: {len(buckets.data)}: " in told
    for data, size in zip(buckets.data, buckets.batch, strict=True):
        widths = data.source.shape[1], data.targets.shape[1]
        assert f"{widths[0]}+{widths[1]} ({len(data.source)} rows, {size} at a time)" in told


def test_as_many_compilations_as_buckets(trained):
    """Fails when a page, a span or another epoch compiles a step anew."""
    run = seqgen.load(trained.run)
    buckets = run.family.program(run.config, run.dataset).batches.data
    assert trained.compilations[-1] == len(buckets) > 1


def test_resumed_in_the_middle_of_a_bucket(file, whole, tmp_path, monkeypatch):
    """Fails when a run stopped within a bucket's steps goes on with others, or other rows."""
    tell = Solo.tell

    def stop(self: Solo, steps: int, rate: float) -> None:
        tell(self, steps, rate)
        if self.step in (3, 14):
            signals._caught.append(2)

    with monkeypatch.context() as patch:
        patch.setattr(Solo, "tell", stop)
        patch.setattr("seqgen.training.loop.SPAN_SECONDS", 0.0)
        run = tmp_path / "run"
        assert main(["train", str(file), *TINY, "--name", str(run)]) == 130
        assert main(["resume", str(run)]) == 130
    assert main(["resume", str(run)]) == 0
    assert outcome(run) == outcome(whole)


def test_answers(whole, file, capsys, monkeypatch):
    """Fails when questions of other lengths get another answer in company, or scores count rows
    where they should count sources.
    """
    run = seqgen.load(whole)
    questions = [question for question, _ in run.pairs("test")]
    together = run.predict(questions)
    assert together == [run.predict([question])[0] for question in questions]
    scores = run.evaluate()
    assert scores.examples == len(set(questions))
    right = {
        q for (q, truth), guess in zip(run.pairs("test"), together, strict=True) if truth == guess
    }
    assert scores.exact_match == pytest.approx(len(right) / len(set(questions)))
    seen = run.attention("abé")
    assert (seen.source, len(seen.target)) == (["a", "b", "é"], seen.weights.shape[1])
    np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)
    assert main(["evaluate", str(whole), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == scores.examples


@pytest.mark.parametrize("rows", [1, 20, 50, 1000])
def test_some_rows_are_evaluated(whole, rows):
    """Fails when more rows are taken than were asked for, a source without all of its targets, the
    first ones, or scores are of others than those that were taken.
    """
    run = seqgen.load(whole)
    run.config = replace(run.config, training=replace(run.config.training, evaluate_rows=rows))
    some, again = capped_run(run), capped_run(run)
    pairs, every = some.pairs("validation"), run.pairs("validation")
    assert pairs == again.pairs("validation") == [pair for pair in every if pair in pairs]
    sources = {source for source, _ in pairs}
    assert pairs == [pair for pair in every if pair[0] in sources]
    assert min(rows, len(every)) - 2 <= len(pairs) <= max(rows, 2)
    assert some.dataset.splits.test == []
    assert pairs != every[: len(pairs)] or pairs == every
    if rows != 20:
        return
    scores, _ = run.family.evaluate_epoch(some, "validation", run.params, 0)
    answers = dict(zip(sources, run.predict([*sources]), strict=True))
    right = {source for source, target in pairs if answers[source] == target}
    assert scores["exact_match"] == pytest.approx(len(right) / len(sources))
    assert scores["examples"] == len(sources)
    batch = jax.tree.map(jnp.asarray, some.batch("validation"))
    _, out = run.model.apply(run.params, batch, (), None)
    total, tokens = cross_entropy(out.logits, batch.targets, batch.mask)
    assert scores["loss"] == pytest.approx(float(total / tokens), rel=1e-5)


def test_what_is_unknown_is_told(whole, capsys):
    """Fails when a letter that no training word has is read as another in silence."""
    assert main(["predict", str(whole), "abΩ", "ab", "ΩЖ"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err == "not in the vocabulary, read as <unk>: Ω Ж\n"
    assert main(["predict", str(whole), "ab"]) == 0
    assert capsys.readouterr().err == ""


def test_unknown_pieces_are_replaced(whole, capsys, monkeypatch):
    """Fails when an <unk> stays, or another piece than the one with most attention stands there,
    or the question's own is given as <unk> once more; when attention does not tell of it.
    """
    run = seqgen.load(whole)
    unk, decoder = run.tokenizer.special.unk, run.params.decoder
    affine = decoder.affine._replace(b=decoder.affine.b.at[unk].add(3.0))
    often = run.params._replace(decoder=decoder._replace(affine=affine))
    monkeypatch.setattr(PairsRun, "params", often)
    question = "abΩcd"
    seen = seqgen.load(whole).attention(question)
    assert seen.unknown == ["Ω"]
    looked = seen.weights.mean(0).argmax(-1)
    pieces = [question[at] if piece == "<unk>" else piece
              for at, piece in zip(looked, seen.target, strict=True)]  # fmt: skip
    assert "<unk>" in seen.target
    told = "not in the vocabulary, read as <unk>: Ω\n"
    for words, said in ([], seen.target), (["--replace-unknown"], pieces):
        assert main(["predict", str(whole), question, *words]) == 0
        assert capsys.readouterr() == (" ".join(said) + "\n", told)
    assert main(["predict", str(whole), question, "--replace-unknown", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answers"][0]["answer"] == " ".join(pieces)
    assert main(["attention", str(whole), question, "-o", str(whole.parent / "map.npz")]) == 0
    assert capsys.readouterr().err == told


def test_an_answer_is_a_line(whole, capsys, monkeypatch):
    """Fails when an answer that holds a line's end or a tab parts into several."""
    monkeypatch.setattr(PairsRun, "best", lambda *_, **__: [["a\nb", "c\td\r"]])
    assert main(["predict", str(whole), "ab"]) == 0
    assert capsys.readouterr().out == "a b\tc d \n"


def test_the_loss_is_that_of_all_rows_at_once(whole):
    """Fails when a bucket's rows, or what fills a block up, count twice or not at all."""
    run = seqgen.load(whole)
    batch = jax.tree.map(jnp.asarray, run.batch("test"))
    _, out = run.model.apply(run.params, batch, (), None)
    total, tokens = cross_entropy(out.logits, batch.targets, batch.mask)
    assert run.evaluate().loss == pytest.approx(float(total / tokens), rel=1e-5)


def test_audit(file, capsys):
    """Fails when a count is not what the file has."""
    assert main(["audit", str(file), "--target-tokens", "symbols"]) == 0
    out = capsys.readouterr().out
    rows = file.read_text().splitlines()
    sizes = [int(line.split()[1]) for line in out.splitlines()[:3]]
    assert sum(sizes) == len(rows)
    assert "       0  test sources in training\n" in out
    for words in (["--no-reverse"], ["--buckets", "3"]):
        assert main(["audit", str(file), *words]) == 2
        assert "would change nothing: it is of training" in capsys.readouterr().err
    assert (
        main(
            [
                "audit",
                str(file),
                "--source-tokens",
                "bytes",
                "--target-tokens",
                "bytes",
                "--min-count",
                "3",
            ]
        )
        == 2
    )
    assert "--min-count 3 would change nothing" in capsys.readouterr().err


def member(seed: int) -> Member:
    return Member(jax.random.key(seed), HyperConfig().traced())


def buckets(sizes=(40, 90), batch=(4, 8)) -> Buckets:
    data = []
    for i, rows in enumerate(sizes):
        ids = np.arange(rows, dtype=np.int32)[:, None] + 1000 * i
        data.append(Batch(ids, np.ones(rows, np.int32), ids, ids, np.ones((rows, 1), bool)))
    return Buckets(tuple(data), batch, 7)


def rows_of_epoch(made: Buckets, who: Member, epoch: int) -> list[list[int]]:
    """The rows of each step, as the loop reads them."""
    plan, found, first = made.plan(who, jnp.int32(epoch)), [], 0
    while first < made.steps:
        page = made.page(plan, epoch, first)
        assert page.first <= first < page.end
        for step in range(first, page.end):
            item = jax.tree.map(lambda leaf, i=step - page.first: leaf[i], page.items)
            found.append(made.read(made.data, item).source[:, 0].tolist())
        first = page.end
    return found


def test_an_epoch_of_buckets():
    """Fails when a step mixes buckets, a row comes twice, members see other buckets or the same
    rows, or all epochs are alike.
    """
    made = buckets()
    one, other, later = (
        rows_of_epoch(made, member(seed), epoch) for seed, epoch in ((0, 0), (1, 0), (0, 1))
    )
    assert made.steps == len(one) == 10 + 11
    assert sorted(map(len, one)) == [4] * 10 + [8] * 11
    rows = [row for step in one for row in step]
    assert len(rows) == len(set(rows)) == 40 + 88
    of = [{row // 1000 for row in step} for step in one]
    assert all(len(each) == 1 for each in of)
    assert of == [{row // 1000 for row in step} for step in other]
    assert one != other
    assert one != later
    assert of != [{row // 1000 for row in step} for step in later]


def test_chunks_are_of_one_bucket():
    """Fails when a bucket's steps are lost between chunks, or follow each other without end."""
    starts, bucket, done = chunks((20, 3), 0, 0)
    sizes = np.diff(starts)
    assert starts[-1] == 23
    assert sizes.max() == CHUNK
    for each, steps in enumerate((20, 3)):
        mine = sorted(zip(done[bucket == each], sizes[bucket == each], strict=True))
        assert [first for first, _ in mine] == [*range(0, steps, CHUNK)]
        assert sum(size for _, size in mine) == steps


SWEEP = """
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.tasks.pair_file import PairFile
from seqgen.training.state import HyperConfig


def base():
    data = PairFile(({file!r},), target_tokens="symbols", buckets=2)
    training = Training(epochs=2, batch_tokens=160)
    model = presets.model("attention", embedding=6, hidden=12)
    return RunConfig(data, model, training, HyperConfig(ema=0.9))


def variants():
    return {{"slow": {{"lr": 1e-3}}, "fast": {{"lr": 1e-2}}, "forward": {{"reverse": False}},
            "warm": {{"start": {start!r}}}}}
"""


@pytest.mark.bits
def test_a_member_is_its_solo_run(file, whole, tmp_path, monkeypatch):
    """Fails when a member of a sweep gets another's rows of a bucket, other buckets, or begins with
    other weights.
    """
    monkeypatch.chdir(tmp_path)
    Path("own_pairs_sweep.py").write_text(SWEEP.format(file=str(file), start=str(whole)))
    words = ["own_pairs_sweep", "--seeds", "0:2", "--member-axis", "map"]
    assert main(["sweep", *words]) == 0
    for name in ("fast-0", "forward-1", "warm-1"):
        swept = Path("runs/own_pairs_sweep") / name
        config = json.loads((swept / "config.json").read_text())
        assert config["data"]["kind"] == "pair_file"
        alone = Path(shutil.copytree(swept, tmp_path / "alone" / name))
        shutil.rmtree(alone / "checkpoints")
        (alone / "metrics.jsonl").unlink()
        (alone / "SHA256SUMS").unlink()
        assert main(["accept", str(alone)]) == 0
        assert main(["resume", str(alone)]) == 0
        ours, theirs = seqgen.load(swept), seqgen.load(alone)
        for a, b in zip(jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True):
            np.testing.assert_array_equal(a, b)
