"""Language models from end to end: trained, stopped and resumed, scored, writing, swept.

And carried to the book and back.
"""

import json
import os
import pickle
import re
import shlex
import shutil
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqgen
from seqgen import families, presets
from seqgen.cli import generate, main
from seqgen.cli.terminal import Terminal, run_to_end
from seqgen.config import RunConfig, Training
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import SeqgenError
from seqgen.evaluation.perplexity import token_losses
from seqgen.evaluation.statistics import bootstrap
from seqgen.families import TextRun, create
from seqgen.families.fit import member_of
from seqgen.families.program import rate_divisor
from seqgen.families.schema import to_json
from seqgen.families.text import words as told
from seqgen.interop.book import from_params
from seqgen.interop.pickles import read_pickle
from seqgen.models import rnn_language_model
from seqgen.storage import checkpoint, log
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data, prepare
from seqgen.tasks.text import Text, checksum
from seqgen.training import batches, loop
from seqgen.training.batches import Windows
from seqgen.training.sharding import mesh_of
from seqgen.training.solo import EpochEnd, Solo
from seqgen.training.state import HyperConfig
from seqgen.training.steps import zero_totals
from tests import book_language, oracles, test_commands
from tests.processes import lines, outcome
from tests.test_language_model import by_equations

seq, refused, elsewhere = test_commands.seq, test_commands.refused, test_commands.elsewhere

WORDS = shlex.split("the a cat dog bird fish sees walks sits in on under house tree door and")
TINY = ["--batch", "4", "--validation", "0.1", "--test", "0.12"]
TRAIN = ["train", "text", "language-model"]


@pytest.fixture(scope="session")
def prose(tmp_path_factory) -> Path:
    """Lines of 3 to 8 words; at its very end a word that stands nowhere else, of letters that
    do.
    """
    random = np.random.default_rng(0)
    drawn = (random.choice(WORDS, size=n) for n in random.integers(3, 9, size=180))
    text = "".join(" ".join(line) + "\n" for line in drawn)
    file = tmp_path_factory.mktemp("prose") / "prose.txt"
    file.write_text(text + "a hare\n")
    return file


def train(folder: Path, *words: object) -> Path:
    """`seqgen train text WORDS`; what it prints stands beside the run, in `stdout` and `stderr`."""
    with (
        open(folder / "stdout", "w") as out,
        open(folder / "stderr", "w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        assert main(["train", "text", *map(str, words), "--name", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def character_run(prose, tmp_path_factory) -> Path:
    """A tiny run, trained once: one LSTM over characters, none of them unknown. Copy it before you
    damage it.
    """
    sizes = "--model.embedding 7 --model.hidden 12 --window 16 --epochs 2 --lr 0.02"
    words = ["language-model", "--data", prose, *TINY, *shlex.split(sizes)]
    return train(tmp_path_factory.mktemp("characters"), *words)


@pytest.fixture(scope="session")
def word_run(prose, tmp_path_factory) -> Path:
    """A tiny run, trained once: the book's BetterRnnlm over words, one of them unknown. Copy it
    before you damage it.
    """
    sizes = "--model.embedding 12 --model.hidden 12 --window 5 --epochs 3 --lr 2"
    words = ["better-rnnlm", "--data", prose, "--unit", "word", *TINY, *shlex.split(sizes)]
    return train(tmp_path_factory.mktemp("words"), *words)


@pytest.fixture
def characters(character_run) -> TextRun:
    return seqgen.load(character_run)


@pytest.fixture(params=["character_run", "word_run"])
def either(request) -> TextRun:
    return seqgen.load(request.getfixturevalue(request.param))


@pytest.fixture
def copied(character_run, tmp_path) -> Path:
    return Path(shutil.copytree(character_run, tmp_path / "copied"))


def tiny(prose: Path, *, cell="lstm", dropout=None, data=None, **training) -> RunConfig:
    """A run's configuration; its steps are cheap to compile."""
    text = Text(str(prose), validation=0.1, test=0.12, **(data or {}))
    options = {"batch": 4, "window": 16, "steps": 8, **training}
    model, hyper = rnn_language_model.Config(7, 12, cell=cell), HyperConfig(0.02, dropout=dropout)
    return RunConfig(text, model, Training(**options), hyper)


class Silence:
    """A `solo.Report` that breaks the run off where a process would be killed.

    After some steps, before anything is written.
    """

    def __init__(self, after: int | None = None) -> None:
        self.after = after

    def advance(self, step, totals, rate) -> None:
        if self.after is not None and step > self.after:
            raise KeyboardInterrupt

    def begin(self, program) -> None:
        pass

    def evaluated(self, event, samples) -> None:
        pass

    def note(self, line) -> None:
        pass


def nats(run: TextRun, ids) -> np.ndarray:
    """-log p of every id but the first, from the equations, token by token."""
    logits, _ = by_equations(run.config.model, run.params, ids[:-1])
    return -oracles.log_softmax(logits)[np.arange(len(ids) - 1), ids[1:]]


def written(run: TextRun, prompt: str, text: str) -> float:
    """log p of what stands in `text` after its prompt, from the equations.

    Without one it begins after a line's end.
    """
    begin = run.tokenizer.encode(prompt) if prompt else run.prompted("").tolist()
    ids = begin + run.tokenizer.encode(text)[len(run.tokenizer.encode(prompt)) :]
    return -nats(run, np.array(ids))[len(begin) - 1 :].sum()


def objects(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


# train


@pytest.mark.parametrize(("name", "epochs"), [("character_run", 2), ("word_run", 3)])
def test_train(name, epochs, request, prose):
    """Fails when results and progress mix, an epoch is not told or has no samples, a run does not
    say what it is made of, or nobody how the text is split.
    """
    path = request.getfixturevalue(name)
    assert (path.parent / "stdout").read_text() == f"{path}\n"
    err, ppl = (path.parent / "stderr").read_text(), r"perplexity \d+\.\d\d"
    for epoch in range(1, epochs + 1):
        head = rf"^epoch {epoch} of {epochs} · validation · [\d,]+ tokens · {ppl}, estimated on 20"
        more = r" lanes · loss [\d.]+ nats/token$"
        assert len(re.findall(head + more, err, re.MULTILINE)) == 1
    parts = [("train", "first"), ("validation", "next"), ("test", "last")]
    unit = "characters" if name == "character_run" else "tokens"
    tokens = seqgen.load(path).dataset
    for line, (split, place) in zip(err.splitlines(), parts, strict=False):
        size = f"{len(getattr(tokens, split)):,}"
        assert line == f"{split}: the {place} {size} {unit} of {prose.name}"
    head = rf"^test · [\d,]+ tokens · {ppl} \([\d.]+ to [\d.]+\) · loss"
    assert len(re.findall(head, err, re.MULTILINE)) == 1
    assert {file.name for file in path.iterdir()} == test_commands.FILES
    assert {file.name for file in (path / "figures").iterdir()} == {"learning.png", "learning.svg"}
    config, vocabulary = (
        json.loads((path / f"{stem}.json").read_text()) for stem in ("config", "vocabulary")
    )
    assert (config["data"]["kind"], config["model"]["kind"]) == ("text", "language_model")
    assert (config["data"]["path"], len(config["data"]["sha256"])) == (str(prose), 64)
    tokenizer = vocabulary["tokenizer"]
    assert tokenizer["unit"] == config["data"]["unit"] == name.removesuffix("_run")
    symbols = [*prose.read_text()]
    if name == "word_run":
        symbols = prose.read_text().replace("\n", " <eos> ").split()
    expected = [symbol for symbol in dict.fromkeys(symbols) if symbol != "hare"]
    assert tokenizer["table"] == expected + ["<unk>"] * (name == "word_run")
    assert seqgen.load(path).sizes.target == len(tokenizer["table"])
    each = log.epochs(path)[0]["step"]
    names = {f"{each * epoch}.txt" for epoch in range(1, epochs + 1)}
    assert {file.name for file in (path / "samples").iterdir()} == names | {"test.txt"}
    trained = [event for event in log.read(path) if event["event"] == "train"]
    assert all(event["tokens_per_second"] >= 0 for event in trained)
    assert trained[-1]["loss"] < trained[0]["loss"]


def test_splits_are_the_parts_of_the_text(characters, prose):
    """Fails when the test split is not what stands at the text's end, splits overlap, or symbols
    come back as others.
    """
    parts = [
        characters.tokenizer.decode(getattr(characters.dataset, name))
        for name in ("train", "validation", "test")
    ]
    assert "".join(parts) == prose.read_text()
    wanted = [len(prose.read_text()) * part for part in (0.78, 0.1, 0.12)]
    assert [len(part) for part in parts] == pytest.approx(wanted, abs=1)
    assert characters.config.training.window == 16


FEW = "prose: 3,563 tokens are too few for"
MORE = "use a smaller --batch or --window"
PARTS = "--validation and --test are parts that leave a rest"


@pytest.mark.parametrize(("words", "code", "line"), [
    (["--data", "nowhere.txt"], 1, "there is no {}/nowhere.txt"),
    (["--data", "empty.txt"], 1, "{}/empty.txt: no text to train on"),
    (["--data", "bad.txt"], 1,
     "{}/bad.txt, line 2: not UTF-8 (byte 0xff); use the --unit \"byte\""),
    (["--data", "half"], 2,
     "{}/half: some names say which split they are of, but no file's own name says validation; name"
     " every file for one of them, like train.txt, valid.txt and test.txt, or put all text into one"
     " file (--data)"),
    (["--batch", "512"], 2, f"{FEW} 512 lanes of 64; {MORE}"),
    (["--window", "1048"], 2, f"{FEW} 4 lanes of 1048; {MORE}"),
    (["--remat", "5"], 2, "a --window of 64 cannot be split evenly into parts of 5 (--remat)"),
    (["--accumulate", "3"], 2, "a --batch of 4 cannot be split evenly over 1 devices in 3 parts"),
    (["--devices", "4"], 2, "--devices 4 is more than the 2 that jax has here"),
    (["--devices", "3"], 2, "a --batch of 4 cannot be split evenly over 3 devices"),
    (["--window", "0"], 2, "--window must be 1 or more, not 0"),
    (["--plateau", "0.5"], 2, "--plateau divides the rate: it must be from 1 to 1e6, not 0.5"),
    (["--validation", "0.6", "--test", "0.5"], 2, f"{PARTS}, not 0.6 and 0.5"),
    (["--min-count", "5000"], 2,
     "prose: nothing but <unk> is left of it; use a --min-count below 5000"),
    (["--min-count", "0"], 2, "--min-count and --most must be 1 or more, not 0 and None"),
])  # fmt: skip
def test_train_refuses(words, code, line, refused, tmp_path, prose):
    """Fails when what cannot do is trained with, is a traceback or more than a line, or leaves a
    folder.
    """
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bad.txt").write_bytes(b"a\n\xff\n")
    (tmp_path / "half").mkdir()
    for name in ("train.txt", "test.txt"):
        shutil.copy(prose, tmp_path / "half" / name)
    assert refused(code, *TRAIN, "--data", prose, *TINY, *words) == line.format(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bad.txt", "empty.txt", "half"]


def test_a_text_without_an_evaluation_split_is_refused_at_once(refused, prose, tmp_path):
    """Fails when a run that nothing can evaluate is trained for an epoch before that is told, and
    can never end.
    """
    words = shlex.split("--validation 0 --test 0 --window 16 --model.hidden 12")
    line = refused(2, *TRAIN, "--data", prose, *TINY, *words)
    said = "the validation and test splits are empty; use a larger --validation"
    assert line == f"prose: {said}"
    assert list(tmp_path.iterdir()) == []


def test_train_s_syntax(seq, tmp_path):
    """Fails when an option that the data decide is offered, or tasks and corpora take each other's
    models.
    """
    code, out, _ = seq(*TRAIN, "--help")
    text = test_commands.plain(out)
    assert code == 0
    for words in (
        "--data {None}|STR a file, a folder or a zip.",
        "--unit {word,character,byte}",
        "--plateau",
        "--model.cell {lstm,gru,rnn}",
    ):
        assert words in text
    assert "vocabulary" not in text.replace("the vocabulary", "")
    assert "sha256" not in text
    names = ", ".join(presets.LANGUAGE_MODELS)
    line = f"seqgen: error: no model 'attention'; there are {names}\n"
    assert seq("train", "text", "attention")[2] == line
    assert seq("train", "text")[2] == f"seqgen: error: train needs a model: {names}\n"
    for words, part in (
        ([*TRAIN[1:], "--unit", "letter"], "invalid choice 'letter'"),
        ([*TRAIN[1:], "--model.layers", "0"], "layers must be 1 or more, not 0"),
        (
            [*TRAIN[1:], "--model.tied"],
            "a tied output needs embedding and hidden alike, not 64 and 256",
        ),
        (["dates", "baseline", "--unit", "word"], "Unrecognized options: --unit, word"),
    ):
        code, out, err = seq("train", *words)
        assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
        assert part in test_commands.plain(err)


def session(folder: Path, config: RunConfig) -> Solo:
    """A new run at the beginning of its first epoch."""
    run = create(config, str(folder))
    epoch_end = EpochEnd(lambda params, step: ({}, ""), run.family.metric.best)
    made = Solo(
        run.path,
        run.family.program(run.config, run.dataset),
        member_of(run),
        mesh=mesh_of(config.training.devices),
        epoch_end=epoch_end,
        report=Silence(),
    )
    made.begin_epoch()
    return made


def steps(folder: Path, config: RunConfig) -> tuple[float, object]:
    """The loss of the first six steps and the weights after them."""
    trained = session(folder, config)
    trained.advance(0, 6)
    state, totals = trained.state, trained.totals
    assert (int(totals.steps), int(state.step), float(totals.sums["tokens"])) == (6, 6, 6 * 4 * 16)
    return float(totals.sums["loss"] / totals.sums["tokens"]), jax.device_get(state.params)


def test_ways_to_save_memory_train_alike(prose, tmp_path):
    """Fails when a batch in parts, a window in parts or lanes on two devices lose tokens, weigh
    them twice, cut gradients off at a part's edge, or give lanes each other's carries.
    """
    loss, params = steps(tmp_path / "plain", tiny(prose))
    for way in ({"accumulate": 2}, {"remat": 4}, {"devices": 2, "remat": 8}):
        other, weights = steps(tmp_path / "-".join(way), tiny(prose, **way))
        assert other == pytest.approx(loss, abs=1e-5), way
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5), weights, params
        )


def test_an_epoch_begins_without_a_past(prose, tmp_path):
    """Fails when what the lanes carry at the end of an epoch is carried to their first tokens."""
    window, stream = 64, create(tiny(prose, window=64), str(tmp_path / "run")).tokens("train")
    trained = session(tmp_path / "other", tiny(prose, window=window, steps=100))
    epoch = Windows(stream, 4, window).steps
    trained.advance(0, epoch)
    params, carry = jax.device_get((trained.state.params, trained.state.carry))
    assert all(np.abs(leaf).max() > 0.1 for leaf in jax.tree.leaves(carry))
    trained.begin_epoch()
    trained.totals = zero_totals()
    trained.advance(0, 1)
    losses = []
    for b in range(4):
        lane = stream[b * ((len(stream) - 1) // 4) :][: window + 1]
        logits, _ = by_equations(rnn_language_model.Config(7, 12), params, lane[:-1])
        losses.append(-oracles.log_softmax(logits)[np.arange(window), lane[1:]])
    sums = trained.totals.sums
    assert float(sums["loss"] / sums["tokens"]) == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.slow
def test_all_of_it_at_once(seq, prose, tmp_path):
    """Fails when a run over two devices, in parts both ways, with variational dropout in bfloat16,
    cannot be saved, scored or resumed.
    """
    words = shlex.split(
        "--devices 2 --accumulate 2 --remat 8 --dropout 0.3 --model.variational-dropout --steps 20"
        " --model.hidden 12 --model.layers 2 --model.dtype bfloat16 --window 16 --name ./run"
    )
    code, out, err = seq(*TRAIN, "--data", prose, *TINY, *words)
    assert (code, out) == (0, "run\n"), err
    assert seq("evaluate", "./run", "--json")[0] == 0
    assert "has been trained to its end, step 20 of 20" in seq("resume", "./run")[2]


# Stopped and resumed

LOSSES = (3.0, 2.0, 2.5, 1.5, 4.0)
"""What the epochs of `scripted` are told to have: the third and the last are not the best."""


@pytest.fixture(scope="module")
def scripted(prose, tmp_path_factory):
    """A run whose evaluations are scripted, trained with pages of 64 steps.

    With its outcome, and the weights after every epoch.
    """
    seen: list = []

    def evaluate_epoch(run, split, params, step):
        seen.append(jax.device_get(params))
        training = run.config.training
        epoch = Windows(run.tokens("train"), training.batch, training.window).steps
        loss = LOSSES[step // epoch - 1]
        scores = {"loss": loss, "perplexity": float(np.exp(loss)), "tokens": 1, "lanes": 20}
        return scores, f"{step}\n"

    way = {"window": 64, "optimizer": "sgd", "plateau": 1e5, "select": "best"}
    config = tiny(prose, dropout=0.2, epochs=5, steps=None, **way)
    config = replace(config, hyper=replace(config.hyper, lr=1.0))
    run = create(config, str(tmp_path_factory.mktemp("scripted") / "run"))
    run.family = run.family._replace(evaluate_epoch=evaluate_epoch)
    families.fit(run, Silence())
    return run, outcome(run.path), [*seen]


def test_the_plateau_divides_the_rate(scripted):
    """Fails when the rate is not divided after an epoch that was not the best, or stays so low for
    the sake of one that was.
    """
    run, _, weights = scripted
    flat = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in weights]
    moved = [np.abs(after - before).max() for before, after in pairwise(flat)]
    assert [move > 1e-3 for move in moved] == [True, True, False, False]
    assert all(move > 0 for move in moved)
    epochs = log.epochs(run.path)
    assert [rate_divisor(epochs[:n], 4.0) for n in range(6)] == [1, 1, 1, 4, 4, 16]
    assert rate_divisor(epochs, 1.0) == 1


def test_the_best_epoch_is_selected(scripted):
    """Fails when the last epoch is scored, or writes, where the best one was asked for."""
    run, _, weights = scripted
    each = log.epochs(run.path)[0]["step"]
    assert run.selected_step() == 4 * each
    jax.tree.map(np.testing.assert_array_equal, run.params, weights[3])
    last = log.read(run.path)[-1]
    names = ("step", "selected_step", "split", "lanes")
    assert [last[name] for name in names] == [5 * each, 4 * each, "test", 1]
    assert last["loss"] == pytest.approx(nats(run, run.tokens("test")).mean(), abs=1e-5)


def test_a_run_that_breaks_off_ends_the_same(scripted, tmp_path, monkeypatch):
    """Fails when a run that is stopped, within an epoch or where the rate has been divided, goes on
    with another carry, rate, window or dropout, or where pages of windows end changes anything: one
    bit of a state, or a line of the log.
    """
    run, whole, _ = scripted
    each = log.epochs(run.path)[0]["step"]
    other = create(run.config, str(tmp_path / "run"))
    other.family = run.family
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(batches, "PAGE", 3)
    for stop in (each // 2, 3 * each + each // 2):
        with pytest.raises(KeyboardInterrupt):
            families.fit(other, Silence(stop))
    monkeypatch.setattr(loop, "SAVE_SECONDS", 60.0)  # or other states would be kept
    families.fit(other, Silence())
    assert outcome(other.path) == whole


@pytest.mark.slow
def test_signals(start, prose, tmp_path):
    """Fails when SIGTERM, Ctrl-C or kill -9 cost a bit of a language model's run, or do not say how
    to go on.
    """
    options = (
        "--window 16 --model.hidden 12 --dropout 0.2 --ema 0.9 --epochs 6 --plateau 4 --lr 0.2"
    )
    words = [*TRAIN, "--data", prose, *TINY, *shlex.split(options)]
    assert start(*words, "--name", tmp_path / "whole").wait() == 0
    run = tmp_path / "run"
    process = start(*words, "--name", run)
    assert process.when(lambda: lines(run) >= 4, signal.SIGTERM) == 143, process.texts()
    line = rf"\nseqgen: error: stopped at step \d+; go on with: seqgen resume {run}\n$"
    assert re.search(line, process.texts()[1])
    assert start("resume", run).when(lambda: lines(run) >= 15, signal.SIGINT) == 130
    start("resume", run).when(lambda: lines(run) >= 30, signal.SIGKILL)
    process = start("resume", run)
    assert process.wait() == 0, process.texts()
    assert outcome(run) == outcome(tmp_path / "whole")


def test_resume_of_a_finished_run(seq, copied):
    """Fails when a finished run is trained or tested again, or its exit code is not 0."""
    before = log.read(copied)
    shutil.rmtree(copied / "figures")
    code, out, err = seq("resume", copied)
    assert (code, out, log.read(copied)) == (0, f"{copied}\n", before)
    assert "has been trained to its end" in err
    assert "epoch" not in err
    assert (copied / "figures" / "learning.png").exists()


def test_a_changed_text_is_refused(seq, copied, prose, tmp_path):
    """Fails when a run goes on with, or is scored on, another text than it began with; it still
    writes, which takes none.
    """
    file = tmp_path / "changed.txt"
    content = to_json(seqgen.load(copied).config)
    content["data"]["path"] = str(file)
    (copied / "config.json").write_text(json.dumps(content))
    families.accept(copied)
    changed = f"{file} has changed since the run was made: its SHA-256 is no longer"
    for text, line in ((prose.read_bytes() + b".", changed), (None, f"there is no {file}")):
        file.unlink(missing_ok=True)
        if text:
            file.write_bytes(text)
        for command in ("resume", "evaluate"):
            code, out, err = seq(command, copied)
            assert (code, out) == (1, "")
            assert err.splitlines()[-1].startswith(f"seqgen: error: {line}")
    assert seq("generate", copied, "--length", 3)[0] == 0
    file.write_bytes(prose.read_bytes())
    assert seq("evaluate", copied)[0] == 0


def test_python_s_own_topics_have_a_checksum(tmp_path):
    """Fails when a run on the help topics goes on with those of another version of Python."""
    run = create(presets.language("text", "language-model"), str(tmp_path / "run"))
    assert run.config.data.sha256 == checksum(None)


# evaluate


def test_compare(character_run, word_run, copied, seq, refused):
    """Fails when two language models are not compared by the tokens of the same text, or by
    metrics of answers.
    """
    shutil.rmtree(
        max((copied / "checkpoints" / "params").iterdir(), key=lambda path: int(path.name))
    )
    code, out, err = seq("compare", character_run, copied, "--json")
    assert (code, err) == (0, "")
    found, losses = json.loads(out), []
    for place, path in (("first", character_run), ("second", copied)):
        run = seqgen.load(path)
        losses.append(token_losses(run.model, run.params, run.tokens("test")))
        perplexity = np.exp(np.mean(losses[-1], dtype=np.float64))
        assert found["scores"]["perplexity"][place] == pytest.approx(perplexity)
    each = found["scores"]["loss"]
    expected = bootstrap(losses[0] - losses[1].astype(np.float64))
    assert (each["difference"], each["low"], each["high"]) == pytest.approx(expected, rel=0.1)
    assert found["examples"] == len(losses[0])
    line = refused(2, "compare", character_run, word_run)
    assert line.startswith(f"{character_run} and {word_run} have not the same test rows: row 1 is ")
    line = refused(2, "evaluate", character_run, "--metrics", "bleu")
    assert line == (
        f"{character_run} is a run of text, and --metrics bleu are of the answers of pairs"
    )


def test_evaluate(either, seq):
    """Fails when a perplexity is not that of the test split's tokens from its first to its last,
    read in one lane; when the book's does not begin ten lanes blank; when bits a character are
    given of words, or --json prints anything else.
    """
    path, unit = either.path, either.tokenizer.unit
    code, out, err = seq("evaluate", path, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    scores, ids = json.loads(out), either.tokens("test")
    names = ["perplexity", "low", "high", "perplexity_book", "loss", "tokens"]
    assert list(scores) == names + ["bits_per_character"] * (unit == "character")
    losses = nats(either, ids)
    assert scores["tokens"] == len(losses) == len(ids) - 1
    assert scores["loss"] == pytest.approx(losses.mean(), abs=1e-5)
    assert scores["perplexity"] == pytest.approx(np.exp(losses.mean()), rel=1e-5)
    assert scores["low"] < scores["perplexity"] < scores["high"]
    if unit == "character":
        assert scores["bits_per_character"] == pytest.approx(losses.mean() / np.log(2), abs=1e-5)
        lane = (len(ids) - 1) // 10
        starts = [ids[i * lane : i * lane + lane // 35 * 35 + 1] for i in range(10)]
        book = np.exp(np.mean([nats(either, part) for part in starts]))
        assert scores["perplexity_book"] == pytest.approx(book, rel=1e-5)
    else:
        assert scores["perplexity_book"] is None
    event = log.read(path)[-1]
    assert {name: event[name] for name in names} == {name: scores[name] for name in names}
    assert seq("evaluate", path, "--json", "--split", "test")[1] == out
    assert seq("evaluate", path, "--json", "--split", "validation")[1] != out
    code, table, err = seq("evaluate", path)
    assert (code, err) == (0, "")
    rows = dict(re.split(r" {2,}", line) for line in table.splitlines())
    heads = ["split", "perplexity", "95% interval", "as the book does", "loss", "tokens"]
    assert list(rows) == heads[:5] + ["bits per character"] * (unit == "character") + heads[5:]
    assert rows["perplexity"] == f"{scores['perplexity']:.2f}"
    assert (rows["as the book does"] == "too short") == (unit == "word")


def test_a_split_that_is_not_there(characters, seq, refused, prose, tmp_path):
    """Fails when a split without tokens is scored, is a traceback, or nobody says which one would
    do.
    """
    for name, splits, other in (
        ("none tested", {"test": 0.0}, "validation"),
        ("unwatched", {"validation": 0.0}, "test"),
    ):
        config = replace(characters.config, data=replace(characters.config.data, **splits))
        run = create(config, str(tmp_path / name))
        families.adopt(run, characters.params)
        missing = next(iter(splits))
        line = refused(2, "evaluate", run.path, "--split", missing)
        assert line == f"{run.path} has no {missing} split; use --split {other}"
        assert json.loads(seq("evaluate", run.path, "--split", other, "--json")[1])["tokens"] > 300
        assert run.evaluation_split == run.test_split == other
    code, out, err = seq("evaluate", characters.path, "--split", "dev")
    assert (code, out) == (2, "")
    assert "invalid choice 'dev'" in test_commands.plain(err)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_terminal_names_the_split_of_the_final_score(split, capsys):
    """Fails when the score of a corpus without a test split, as Tiny Shakespeare is, is called that
    of the test.
    """
    scores = {"loss": 2.0, "perplexity": 7.39, "low": 7.0, "high": 8.0, "tokens": 9, "lanes": 1}
    shown = Terminal(told)
    shown.program = SimpleNamespace(batches=SimpleNamespace(steps=1))
    shown.evaluated({"final": True, "split": split, "step": 1, "epoch": 1.0, **scores}, "")
    line = f"{split} · 9 tokens · perplexity 7.39 (7.00 to 8.00) · loss"
    assert capsys.readouterr().err.startswith(line)


def test_commands_of_the_other_kind_say_what_would_do(refused, character_run, attention_run):
    """Fails when a run of the other kind is a traceback, or gets an answer."""
    line = f"{character_run} is a run of text; this needs a run of pairs"
    assert refused(2, "predict", character_run, "1+1") == line
    assert refused(2, "attention", character_run, "1+1") == line
    line = f"{attention_run} is a run of pairs; this needs a run of text"
    assert refused(2, "generate", attention_run) == line
    assert refused(2, "score", attention_run, "-", stdin=b"1+1\n") == line


# generate


@pytest.mark.parametrize(
    "generation",
    [GenerationConfig(temperature=1.0), GenerationConfig(top_k=3), GenerationConfig()],
    ids=["drawn", "top-k", "greedy"],
)
@pytest.mark.parametrize("prompt", ["the ", ""])
def test_what_is_shown_is_the_text(either, prompt, generation, seq, monkeypatch):
    """Fails when a piece is shown twice, left out or late where a part of the text ends, or the
    whole is another text.
    """
    pieces = []

    def shown(*words: str, **_: object) -> None:
        pieces.append("".join(words))

    monkeypatch.setattr(generate, "print", shown, raising=False)
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in vars(generation).items() if value
    ]
    words = ["generate", either.path, "--prompt", prompt, "--length", 50, *options]
    for seed in range(3 if generation.samples else 1):
        pieces.clear()
        assert seq(*words, "--seed", seed) == (0, "", "")
        ((text,),) = either.generate([prompt], length=50, generation=generation, seed=seed)
        assert "".join(pieces) == text.text.rstrip("\n")
        assert (text.prompt, text.tokens) == (prompt, 50)
        assert text.text.startswith(prompt.strip())
        assert len(pieces) == 5  # 16, 32, 48 and 50 tokens, and the line's end
        assert text.logprob == pytest.approx(written(either, prompt, text.text), abs=1e-3)
    stream = either.stream([prompt], length=50, generation=generation, seed=seed)
    parts = [part for (part,) in stream]
    assert [part.tokens for part in parts] == [16, 32, 48, 50]
    assert parts[-1] == text


def test_greedy_takes_the_best(either):
    """Fails when what is written without options is drawn, or a token is not the likeliest by the
    equations.
    """
    ((text,),) = either.generate(["the a"], length=20)
    ids = either.tokenizer.encode(text.text)
    logits, _ = by_equations(either.config.model, either.params, ids[:-1])
    begin = len(either.tokenizer.encode("the a"))
    assert logits.argmax(-1)[begin - 1 :].tolist() == ids[begin:]


def test_what_a_run_knows_of_a_text(either):
    """Fails when a state is not the one after its token, or of another layer, or what comes next is
    told of another time.
    """
    text, cfg, params = "the cat sees a", either.config.model, either.params
    encode = either.tokenizer.encode
    logits, carry = by_equations(cfg, params, encode(text))
    found = either.next_logprobs(text)
    np.testing.assert_allclose(found, oracles.log_softmax(logits[-1]), atol=1e-5)
    begun, _ = by_equations(cfg, params, either.prompted(""))
    found = either.next_logprobs("")
    np.testing.assert_allclose(found, oracles.log_softmax(begun[-1]), atol=1e-5)
    states = either.states(text)
    assert states.shape == (len(encode(text)), cfg.hidden)
    np.testing.assert_allclose(states[-1], carry[-1][0], atol=1e-5)
    np.testing.assert_allclose(either.states("the")[-1], states[len(encode("the")) - 1], atol=1e-5)


def test_a_text_is_its_seeds(characters, seq, monkeypatch):
    """Fails when a text depends on the prompts beside it, on how many there are of it or are read
    at a time, on its place on standard input, or not on its seed.
    """
    prompts = ["the ", "", "on the house and"]
    words = ["generate", characters.path, "--length", 30, "--temperature", 1]
    stdin = "\n".join(prompts).encode()
    monkeypatch.setattr(generate, "AT_ONCE", 2)
    code, out, err = seq(*words, "--json", "--n", 2, stdin=stdin)
    assert (code, err) == (0, "")
    together = objects(out)
    assert [each["prompt"] for each in together] == [prompt for prompt in prompts for _ in range(2)]
    assert len({each["text"] for each in together}) == 6
    assert seq(*words, stdin=stdin)[1] == "".join(each["text"] + "\n\n" for each in together[::2])
    for prompt, expected in zip(prompts, together[::2], strict=True):
        (alone,) = objects(seq(*words, "--json", "--prompt", prompt)[1])
        assert alone == {**expected, "logprob": pytest.approx(expected["logprob"], abs=1e-3)}
    other = objects(seq(*words, "--json", "--n", 2, "--seed", 1, stdin=stdin)[1])
    assert not {each["text"] for each in other} & {each["text"] for each in together}


def test_standard_input_line_by_line(characters, seq, refused):
    """Fails when a line's end is part of a prompt, on any system; when a bad line is a traceback or
    not named; or when nothing on standard input is no prompt at all.
    """
    words = ["generate", characters.path, "--length", 5]
    out = seq(*words, stdin=b"the\na\n")[1]
    assert [line[:3] for line in out.splitlines()[:1]] == ["the"]
    assert seq(*words, stdin=b"the\r\na\r\n") == (0, out, "")
    assert seq(*words, stdin=b"the\na") == (0, out, "")
    assert seq(*words) == seq(*words, "--prompt", "")
    line = refused(2, *words, stdin=b"the Z\n")
    unknown = "unknown character 'Z' at position 5: it is not in the run's vocabulary"
    assert line == f"standard input, line 1: {unknown}"
    line = refused(2, *words, "--ban", "Z", stdin=b"the\n")
    assert line.startswith("'Z' is not one of the run's")


@pytest.mark.bits
@pytest.mark.parametrize("at_once", [2, 64])
@pytest.mark.parametrize(
    ("end", "said"),
    [(b"\xff\n", "not UTF-8 (byte 0xff)"), (b"the Z\na\n", "unknown character 'Z'")],
)
def test_generate_goes_on_with_what_stands_before_a_bad_line(
    end, said, at_once, characters, seq, monkeypatch
):
    """Fails when a bad line costs the texts of those before it, is gone on with, or is not named;
    when an empty one is no prompt of nothing.
    """
    monkeypatch.setattr(generate, "AT_ONCE", at_once)
    words = ["generate", characters.path, "--length", 5, "--json"]
    code, out, err = seq(*words, stdin=b"the\n\na\n" + end)
    assert (code, [each["prompt"] for each in objects(out)]) == (2, ["the", "", "a"])
    assert out == seq(*words, stdin=b"the\n\na\n")[1]
    assert err.startswith(f"seqgen: error: standard input, line 4: {said}")


HOW = {"drawn": ["--temperature", 4, "--n", 3], "greedy": [], "beam": ["--beam", 3]}


@pytest.fixture(params=HOW)
def decoded(request) -> tuple[TextRun, list]:
    """Each way of decoding with a run: words greedily, characters otherwise."""
    name = "word_run" if request.param == "greedy" else "character_run"
    return seqgen.load(request.getfixturevalue(name)), HOW[request.param]


def test_a_ban_is_kept(decoded, seq):
    """Fails when a banned symbol is written by any way of decoding, from a list with commas or a
    JSON one.
    """
    run, options = decoded
    words = ["generate", run.path, "--prompt", "the ", "--length", 40, "--json", *options]

    encode, table = run.tokenizer.encode, run.tokenizer.table

    def used(made: list[dict]) -> set[int]:
        begin = len(encode("the "))
        return {symbol for each in made for symbol in encode(each["text"])[begin:]}

    free = used(objects(seq(*words)[1]))
    symbols = [table[i] for i in free if table[i] != "\n"][: max(1, len(free) // 2)]
    made = objects(seq(*words, "--ban", json.dumps(symbols))[1])
    assert made == objects(seq(*words, "--ban", ",".join(symbols))[1])
    assert used(made)
    assert not {table[i] for i in used(made)} & {*symbols}
    for each in made:
        assert each["logprob"] == pytest.approx(written(run, "the ", each["text"]), abs=1e-3)
        assert each["tokens"] == 40


@pytest.mark.parametrize("options", HOW.values(), ids=HOW)
def test_nothing_left_to_write(options, characters, refused, seq):
    """Fails when a text whose every token is banned is written all the same, is a traceback, or is
    not named.
    """
    ban, count = json.dumps(characters.tokenizer.table), len(characters.tokenizer)
    words = ["generate", characters.path, "--prompt", "the", "--json", *options]
    line = refused(2, *words, "--ban", ban)
    left = "nothing is left to write: bans and logits processors take every token"
    assert line == f"after 'the' and 0 tokens {left}"
    words += ["--no-repeat-ngram", 1]
    line = refused(2, *words, "--length", count + 1)
    assert line == f"after 'the' and {count} tokens {left}"
    assert all(each["tokens"] == count for each in objects(seq(*words, "--length", count)[1]))


def test_a_beam_s_texts(either, seq):
    """Fails when the best are not first, are one text twice, or their number or log-probability is
    another's.
    """
    words = ["generate", either.path, "--prompt", "the ", "--length", 12, "--beam", 4]
    code, out, err = seq(*words, "--n", 3, "--json")
    made = objects(out)
    assert (code, err, len(made)) == (0, "", 3)
    assert len({each["text"] for each in made}) == 3
    logprobs = [each["logprob"] for each in made]
    assert logprobs == sorted(logprobs, reverse=True)
    expected = [written(either, "the ", each["text"]) for each in made]
    assert logprobs == pytest.approx(expected, abs=1e-3)
    for each in made:
        assert list(each) == ["prompt", "text", "tokens", "logprob"]
        assert each["tokens"] == 12
    best = seq(*words)[1]
    assert best == made[0]["text"].rstrip("\n") + "\n"
    ((greedy,),) = either.generate(["the "], length=12)
    ((one,),) = either.generate(["the "], length=12, generation=GenerationConfig(beam=1))
    assert (one.text, one.logprob) == (greedy.text, pytest.approx(greedy.logprob, abs=1e-3))


def test_a_text_is_over_after_its_end(decoded, seq):
    """Fails when a text goes on after its end symbol, lacks it, or without one is longer than asked
    for.
    """
    run, options = decoded
    end, shown = ("<eos>", "\n") if run.tokenizer.unit == "word" else ("e", "e")
    words = ["generate", run.path, "--prompt", "a", "--length", 40, "--end", end, "--json"]
    words += options
    made = objects(seq(*words)[1])
    for each in made:
        body = each["text"][1:]
        over = each["tokens"] < 40 or body.endswith(shown)
        assert body.count(shown) == body.endswith(shown) == over
        assert each["tokens"] == len(run.tokenizer.encode(each["text"])) - 1
        assert each["logprob"] == pytest.approx(written(run, "a", each["text"]), abs=1e-3)
    assert any(each["tokens"] < 40 for each in made)
    assert all(each["tokens"] > 20 for each in objects(seq(*words, "--min-length", 20)[1]))


@pytest.mark.parametrize(("words", "line"), [
    (["--prompt", "Zebra"],
     "unknown character 'Z' at position 1: it is not in the run's vocabulary"),
    (["--ban", "@"], "'@' is not one of the run's {} characters"),
    (["--ban", "a,the"], "'the' is not one of the run's {} characters"),
    (["--ban", "[1]"], "'[1]' must hold strings"),
    (["--ban", "['a']"], "\"['a']\" is no JSON list: Expecting value: line 1 column 2 (char 1)"),
    (["--ban", ","], "',' has an empty symbol; a comma itself is banned as '[\",\"]'"),
    (["--min-length", "5"],
     "--min-length 5 would change nothing: without an end symbol all texts are as long as they may "
     "be; give an --end"),
    (["--temperature", "1", "--seed", "-1"], "--seed must be at least 0 and below 2**32, not -1"),
    (["--seed", str(10**20)], f"--seed must be at least 0 and below 2**32, not {10**20}"),
    (["--end", "."], "'.' is not one of the run's {} characters"),
    (["--n", "2"],
     "there is one greedy text, and 2 were asked for: use a --temperature or a --beam"),
    (["--n", "4", "--beam", "3"], "a beam of 3 has no 4 texts; use a wider --beam"),
    (["--length", "0"], "--length and --n must be 1 or more, not 0 and 1"),
    (["--n", "0"], "--length and --n must be 1 or more, not 100 and 0"),
    (["--beam", "0"], "--beam must be 1 or more, not 0"),
    (["--temperature", "0"], "--temperature must be from 0.01 to 100, not 0.0"),
    (["--top-p", "1.5"], "--top-p must be from 1e-6 to 1, not 1.5"),
])  # fmt: skip
def test_generate_refuses(words, line, refused, characters):
    """Fails when what cannot be written is written, or the reason is a traceback or not named."""
    said = line.format(len(characters.tokenizer))
    assert refused(2, "generate", characters.path, *words) == said


def test_no_prompts_have_no_texts(characters):
    """Fails when an empty list of prompts is an error, or has a text."""
    assert characters.generate([]) == []


def test_a_word_that_is_unknown_is_read_as_one(word_run, seq):
    """Fails when a word that the vocabulary lacks is refused though the run has <unk> for it, or is
    read as another.
    """
    words = ["--length", 10, "--temperature", 1, "--json"]
    unknown, known = (
        objects(seq("generate", word_run, *words, "--prompt", f"a {word} sees")[1])
        for word in ("zebra", "<unk>")
    )
    assert unknown[0]["text"] == known[0]["text"]
    assert known[0]["text"].startswith("a <unk> sees")


# predict

QUESTIONS = ["1+1", "23+45", "9+8", "70+7"]


def test_predict_with_a_beam(seq, attention_run, refused):
    """Fails when a beam of one is not greedy, the best answer is not the first on its line, or
    answers are lost or repeated.
    """
    run = seqgen.load(attention_run)
    greedy = seq("predict", attention_run, *QUESTIONS)[1]
    assert seq("predict", attention_run, *QUESTIONS, "--beam", 1)[1] == greedy
    stdin = "\n".join(QUESTIONS).encode()
    code, out, err = seq("predict", attention_run, "--beam", 3, "--n", 3, stdin=stdin)
    assert (code, err) == (0, "")
    answers = [line.split("\t") for line in out.splitlines()]
    assert answers == run.best(QUESTIONS, GenerationConfig(beam=3), n=3)
    tokens, logprob, *_ = run.decode(QUESTIONS, GenerationConfig(beam=3))
    assert (np.diff(logprob, axis=1) <= 0).all()
    assert (np.isfinite(logprob) & (logprob < 0)).all()
    assert all(len({tuple(text) for text in row.tolist()}) == 3 for row in tokens)
    first = "".join(f"{first}\n" for first, *_ in answers)
    assert seq("predict", attention_run, "--beam", 3, stdin=stdin)[1] == first
    line = "there is one answer, and 2 were asked for: use a --beam of 2"
    assert refused(2, "predict", attention_run, "1+1", "--n", 2) == line
    line = "there are 3 answers, and 4 were asked for: use a --beam of 4"
    assert refused(2, "predict", attention_run, "1+1", "--n", 4, "--beam", 3) == line
    line = "n must be 1 or more, not 0 (--n-best)"
    assert refused(2, "predict", attention_run, "1+1", "--n-best", 0) == line


def test_predict_by_drawing(seq, attention_run):
    """Fails when drawn answers are others the second time, depend on the questions beside them, or
    not on the seed.
    """
    words = ["--temperature", 1.5, "--seed"]
    out = seq("predict", attention_run, *QUESTIONS, *words, 5)[1]
    assert seq("predict", attention_run, *words, 5, stdin="\n".join(QUESTIONS).encode())[1] == out
    alone = [seq("predict", attention_run, question, *words, 5)[1] for question in QUESTIONS[::-1]]
    assert "".join(alone[::-1]) == out
    others = {seq("predict", attention_run, *QUESTIONS, *words, seed)[1] for seed in range(4)}
    assert len({*others, out}) == 5


# score


def test_score(either, seq, tmp_path):
    """Fails when a line is scored without the lines before it, its end is left out or counted to
    the next, sums do not add up, or a file and standard input are read differently.
    """
    text = "the cat sees a dog\n\nin the house\n a  tree\nand the bird"
    (tmp_path / "it.txt").write_text(text)
    code, out, err = seq("score", either.path, "it.txt")
    assert (code, err) == (0, "")
    for content in (text, text.replace("\n", "\r\n")):
        assert seq("score", either.path, "-", stdin=content.encode()) == (0, out, "")
    *each, whole = out.splitlines()
    encode = either.tokenizer.encode
    losses = nats(either, np.concatenate([either.prompted(""), encode(text)]))
    counts = [len(encode(line)) for line in text.splitlines(keepends=True)]
    assert [int(line.split()[1]) for line in each] == counts
    assert [line[19:] for line in each] == text.splitlines()
    for line, part in zip(each, np.split(losses, np.cumsum(counts)[:-1]), strict=True):
        assert float(line.split()[0]) == pytest.approx(np.exp(part.mean()), rel=1e-3)
    perplexity, tokens, *rest = whole.split()
    assert float(perplexity) == pytest.approx(np.exp(losses.mean()), rel=1e-3)
    assert int(tokens) == len(losses) == sum(counts)
    assert " ".join(rest) == f"all 5 lines, {losses.mean():.4f} nats per token"
    scored = list(either.score(text.splitlines(keepends=True)))
    assert [count for _, count in scored] == counts
    assert sum(loss for loss, _ in scored) == pytest.approx(losses.sum(), abs=1e-3)


@pytest.mark.parametrize(("content", "code", "line"), [
    (b"", 1, "it.txt, line 1: the file is empty"),
    (b"\xff\n", 2, "it.txt, line 1: not UTF-8 (byte 0xff)"),
    (b"the Z\n", 2,
     "it.txt, line 1: unknown character 'Z' at position 5: it is not in the run's vocabulary"),
    (None, 1, "cannot read it.txt: No such file or directory"),
])  # fmt: skip
def test_score_refuses(content, code, line, refused, character_run, tmp_path):
    """Fails when a text that cannot be scored is a traceback, is passed over, or its line is not
    named.
    """
    if content is not None:
        (tmp_path / "it.txt").write_bytes(content)
        said = line.replace("it.txt", "standard input")
        assert refused(code, "score", character_run, "-", stdin=content) == said
    assert refused(code, "score", character_run, "it.txt") == line


@pytest.mark.parametrize("end", [b"a\xff\nthe\n", b"the Z\nthe\n"])
def test_score_has_the_lines_before_a_bad_one(end, seq, character_run):
    """Fails when a bad line costs the scores of those before it, is scored, is not named, or when
    a sum of a part passes for that of all.
    """
    whole = seq("score", character_run, "-", stdin=b"the\n\na\n")[1]
    code, out, err = seq("score", character_run, "-", stdin=b"the\n\na\n" + end)
    assert (code, out.splitlines()) == (2, whole.splitlines()[:3])
    assert err.startswith("seqgen: error: standard input, line 4: ")


def test_bytes(prose, seq, tmp_path):
    """Fails when a model of bytes refuses or changes what is not UTF-8, or its line ends, where it
    reads a file or a prompt; or when it begins after another byte than a line's end.
    """
    content = prose.read_bytes().replace(b"e", b"\xff").replace(b"\n", b"\r\n")
    (tmp_path / "any.dat").write_bytes(content)
    words = ["--data", tmp_path / "any.dat", "--unit", "byte", *TINY, "--steps", 1]
    run = seqgen.load(train(tmp_path, "language-model", *words))
    text = b"th\xff c\ra\r\n\xfe\n"
    (tmp_path / "it.dat").write_bytes(text)
    code, out, err = seq("score", run.path, tmp_path / "it.dat")
    losses = nats(run, np.concatenate([[ord("\n")], np.frombuffer(text, np.uint8)]))
    assert (code, err) == (0, "")
    assert [int(line.split()[1]) for line in out.splitlines() if line[:1] == " "] == [9, 2, 11]
    assert out.splitlines()[-1].endswith(f"all 2 lines, {losses.mean():.4f} nats per token")
    (made,) = objects(seq("generate", run.path, "--length", 3, "--json", stdin=b"th\xff\n")[1])
    assert made["prompt"].encode(errors="surrogateescape") == b"th\xff"
    assert made["text"].startswith("th\ufffd")
    ((begun,), (after,)) = run.generate(["", "\n"], length=3)
    assert "\n" + begun.text == after.text
    assert begun.logprob == pytest.approx(after.logprob, abs=1e-4)


def test_score_ends_a_line_as_a_corpus_does(word_run, seq):
    """Fails when a lone carriage return is no line's end, though it is one in a corpus."""
    scored = seq("score", word_run, "-", stdin=b"the cat\nthe\n")
    assert seq("score", word_run, "-", stdin=b"the cat\rthe\r") == scored


@pytest.mark.parametrize("content", [b" ", b"\t  \t"])
def test_score_of_no_words(content, word_run, seq):
    """Fails when a text that has characters and no tokens is a traceback instead of a line that
    says so.
    """
    code, out, err = seq("score", word_run, "-", stdin=content)
    assert (code in (0, 1, 2), "Traceback" in err) == (True, False)
    assert (out == "") == (code > 0)


# import-book, export-book


def sums(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rounded(params):
    """As float16 has them."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).astype(np.float16).astype(np.float32), params)


def pickled(folder: Path) -> list[np.ndarray]:
    """Weights of the book's Rnnlm for `prose`, also in `it.pkl`."""
    arrays = book_language.draw("rnnlm", len(WORDS) + 2, 7, 12, np.random.RandomState(3))
    arrays = [(array + np.float32(0.3)).astype(np.float16) for array in arrays]
    (folder / "it.pkl").write_bytes(pickle.dumps(arrays))
    return arrays


def same(file: str, arrays: list[np.ndarray]) -> None:
    """What stands in a pickle, to the bit."""
    for ours, theirs in zip(read_pickle(file), arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_from_a_pickle_and_back(seq, prose, tmp_path):
    """Fails when a weight of the book's is another one after it has been here, or what a run's name
    says is not where it is.
    """
    arrays = pickled(tmp_path)
    words = ["--model", "rnnlm", "--data", prose, "--run", "back"]
    assert seq("import-book", "it.pkl", *words)[:2] == (0, "runs/back\n")
    assert seq("export-book", "back", "again.pkl") == (0, "again.pkl\n", "")
    same("again.pkl", arrays)


def test_to_a_pickle_and_back(seq, word_run, prose):
    """Fails when a weight of ours is another one, but for its rounding, after it has been to the
    book, or a run from a pickle cannot do what a trained one can, or is trained anew.
    """
    run = seqgen.load(word_run)
    assert seq("export-book", word_run, "it.pkl")[0] == 0
    words = ["import-book", "it.pkl", "--model", "better-rnnlm", "--data", prose, "--run", "./back"]
    assert seq(*words)[:2] == (0, "back\n")
    back = seqgen.load("./back")
    jax.tree.map(np.testing.assert_array_equal, back.params, rounded(run.params))
    assert (back.tokenizer, back.config.model) == (run.tokenizer, run.config.model)
    scores = json.loads(seq("evaluate", back.path, "--json")[1])
    assert scores["loss"] == pytest.approx(nats(back, back.tokens("test")).mean(), abs=1e-5)
    assert seq("generate", "./back", "--prompt", "the", "--length", 3)[1].split()[0] == "the"
    assert seq("score", "./back", "-", stdin=b"the cat\n")[0] == 0
    code, out, err = seq("resume", "./back")
    assert (code, out) == (0, "back\n")
    assert "has been trained to its end" in err
    assert log.read(back.path)[-1]["loss"] == pytest.approx(scores["loss"])
    jax.tree.map(np.testing.assert_array_equal, seqgen.load("./back").params, back.params)


@pytest.fixture(scope="module")
def additions(tmp_path_factory) -> Path:
    """A file in the book's format, in which all thirteen characters stand."""
    file = tmp_path_factory.mktemp("additions") / "addition.txt"
    prepare(Data(Addition(2), draws=500), file)
    return file


@pytest.mark.parametrize("variant", ["baseline", "attention"])
def test_a_model_that_answers_there_and_back(variant, seq, refused, additions, tmp_path):
    """Fails when a weight is another one after it has been here, a run from a pickle cannot be
    scored, answer or show where it looks, or it is not reversed as the book's is, unless told
    otherwise.
    """
    cfg = oracles.book_config(variant, embedding=7, hidden=12)
    params = jax.tree.map(jnp.asarray, rounded(oracles.live_params(cfg)))
    (tmp_path / "it.pkl").write_bytes(pickle.dumps(from_params(cfg, params)))
    words = ["import-book", "it.pkl", "--model", variant, "--data", additions, "--run"]
    assert seq(*words, "./back")[:2] == (0, "back\n")
    back = seqgen.load("./back")
    assert back.config.data.reverse == (variant == "attention")
    jax.tree.map(np.testing.assert_array_equal, back.params, params)
    assert seq("export-book", "./back", "again.pkl")[0] == 0
    same("again.pkl", read_pickle("it.pkl"))
    assert json.loads(seq("evaluate", "./back", "--json")[1])["loss"] > 0
    assert seq("predict", "./back", "1+1") == (0, back.predict(["1+1"])[0] + "\n", "")
    if variant == "attention":
        code, out, err = seq("attention", "./back", "1+1")
        assert (code, out.splitlines()[-1], err) == (0, "attention.png", "")
        assert seq(*words, "./turned", "--reverse", "False")[:2] == (0, "turned\n")
        assert seqgen.load("./turned").config.data == replace(back.config.data, reverse=False)
    else:
        assert refused(2, "attention", "./back", "1+1").startswith("back has no attention to show")


class Call:
    """Pickled, it is a call that whoever unpickles it makes."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_import_refuses(seq, refused, character_run, prose, additions, tmp_path):
    """Fails when weights of another model, on other data, or no weights at all become a run, are a
    traceback, or leave a folder behind; when a run that is there loses a byte; or when anything
    runs that a pickle asks for.
    """
    pickled(tmp_path)
    call = Call(os.system, f"touch {tmp_path / 'marker'}")
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps([call]))
    (tmp_path / "other.txt").write_text("one more " + prose.read_text())
    (tmp_path / "short.txt").write_text("a\n" * 50)
    before = sorted(tmp_path.iterdir())
    no_list = "bomb.pkl is not a list of NumPy arrays as the book pickles one"
    bomb = f"{no_list}: it asks for 'posix.system'"
    short = "it.pkl was trained on 18 symbols, and short.txt has 2 symbols: it is not its data"
    other = "it.pkl was trained on 18 symbols, and other.txt has 20 symbols: it is not its data"
    nowhere = f"there is no {tmp_path}/nowhere"
    none = "cannot read nowhere.pkl: No such file or directory"
    for file, model, data, code, line in (
        ("it", "better-rnnlm", prose, 1, "the book's better-rnnlm has 9 arrays, and here are 6"),
        ("it", "baseline", additions, 1, "the book's baseline has 10 arrays, and here are 6"),
        ("it", "rnnlm", "other.txt", 1, other),
        ("it", "rnnlm", "nowhere", 1, nowhere),
        ("it", "rnnlm", "short.txt", 1, short),
        ("nowhere", "rnnlm", prose, 1, none),
        ("bomb", "rnnlm", prose, 1, bomb),
        ("bomb", "attention", additions, 1, bomb),
    ):
        words = ["--model", model, "--data", data, "--run", "./made"]
        assert refused(code, "import-book", f"{file}.pkl", *words) == line
        assert sorted(tmp_path.iterdir()) == before
    kept = sums(character_run)
    words = ["--model", "rnnlm", "--data", prose, "--run", character_run]
    line = refused(2, "import-book", "it.pkl", *words)
    assert line.startswith(f"{character_run} exists; use another --run")
    assert sums(character_run) == kept


OTHER_MEANINGS = [
    (lambda note: note["tokenizer"]["table"].reverse(), 1,
     "it.pkl was trained with tokenizer.table.0 "),
    (lambda note: note["padding"].update(answer_width=9), 1,
     "it.pkl was trained with padding.answer_width 9, and {} has "),
    (lambda note: note["tokenizer"]["special"].update(bos=3), 1,
     "it.pkl was trained with tokenizer.special.bos 3, and {} has "),
    (lambda note: note.pop("padding"), 1, "it.pkl was trained with padding.kind None, and {} has "),
    (lambda note: note.update(model="peeky"), 2, "it.pkl.json: these are weights of peeky, not"),
    (lambda note: note.update(sha256="0"), 1, "it.pkl.json was written with another it.pkl"),
    (lambda note: note.update(version=2), 1, "it.pkl.json is no seqgen-book of version 1"),
]  # fmt: skip
"""What is changed beside a pickle, the exit code, and how the refusal begins."""


def test_what_stands_beside_a_pickle_is_checked(seq, refused, additions, tmp_path):
    """Fails when weights are taken for those over other tokens, of other rows, or of another file:
    their shapes are the same.
    """
    cfg = oracles.book_config("baseline", embedding=7, hidden=12)
    params = jax.tree.map(jnp.asarray, oracles.live_params(cfg))
    (tmp_path / "first.pkl").write_bytes(pickle.dumps(from_params(cfg, params)))
    words = ["--model", "baseline", "--data", additions, "--run"]
    assert seq("import-book", "first.pkl", *words, "./turned", "--reverse", "True")[0] == 0
    assert seq("export-book", "./turned", "it.pkl")[0] == 0
    assert seq("import-book", "it.pkl", *words, "./again")[0] == 0
    again, turned = (seqgen.load(f"./{name}") for name in ("again", "turned"))
    assert again.config == turned.config  # reversed, since that is what stands beside it
    jax.tree.map(np.testing.assert_array_equal, again.params, turned.params)
    note = (tmp_path / "it.pkl.json").read_text()
    for change, code, line in OTHER_MEANINGS:
        content = json.loads(note)
        change(content)
        (tmp_path / "it.pkl.json").write_text(json.dumps(content))
        said = refused(code, "import-book", "it.pkl", *words, "./made")
        assert said.startswith(line.format(additions))
        assert not (tmp_path / "made").exists()


def test_a_folder_that_cannot_be_filled_is_not_left(seq, refused, prose, tmp_path, monkeypatch):
    """Fails when weights that cannot be written leave a folder behind that is no run but holds its
    name.
    """
    pickled(tmp_path)

    def full(*_, **__) -> None:
        raise SeqgenError("cannot write it: No space left on device")

    monkeypatch.setattr(checkpoint, "save_state", full)
    words = ["import-book", "it.pkl", "--model", "rnnlm", "--data", prose, "--run", "./made"]
    assert refused(1, *words) == "cannot write it: No space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["it.pkl"]


def test_export_refuses(refused, prose, character_run, word_run, tmp_path):
    """Fails when a model that the book does not have is written as one of its, or a place that
    cannot be is a traceback.
    """
    run = create(tiny(prose, cell="gru"), str(tmp_path / "gru"))
    families.adopt(run, oracles.live_params(run.config.model, 0, run.sizes))
    line = "the book has no such model: its rnnlm has cell 'lstm', not 'gru'"
    assert refused(2, "export-book", run.path, "it.pkl") == line
    words = "`seqgen train text rnnlm --unit word --data FILE`"
    said = f"the book's tokens are all words of a text, as they first appear: train with {words}"
    assert refused(2, "export-book", character_run, "it.pkl") == said
    cfg = oracles.book_config("baseline", embedding=7, hidden=12)
    for padding, ours in (("masked", "padding 'masked'"), ("book", "draws")):
        config = RunConfig(Data(Addition(2), draws=2000, padding=padding), cfg)
        path = create(config, str(tmp_path / padding)).path
        words = "`seqgen train addition baseline --padding book --data FILE`"
        said = "the book reads rows of fixed width from a file, and this run has"
        line = refused(2, "export-book", path, "it.pkl")
        assert line == f"{said} {ours}: train with {words}"
    assert not (tmp_path / "it.pkl").exists()
    (tmp_path / "file").touch()
    line = refused(1, "export-book", word_run, "file/it.pkl")
    assert line == "cannot write file/it.pkl: file is not a folder"


# sweep

EXPERIMENT = """
from dataclasses import replace

from seqgen.config import RunConfig, Training
from seqgen.models.rnn_language_model import Config
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig

SEEDS = range(1)


def base():
    training = Training(batch=4, window=16, steps={steps}, select="best")
    data = Text({file!r}, validation=0.1, test=0.12)
    return RunConfig(data, Config(7, 12), training, HyperConfig(lr=0.02, dropout=0.1))


def variants():
    words, gru = Text({file!r}, unit="word"), Config(12, 12, cell="gru", tied=True)
    return {{"fast": {{"lr": 0.05}}, "whole": replace(base(), data=words, model=gru)}}
"""


@pytest.fixture(scope="module")
def swept(prose, tmp_path_factory) -> Path:
    """A sweep that nothing disturbed, of two members; the experiment stands beside it."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "own_languages.py").write_text(EXPERIMENT.format(file=str(prose), steps=8))
    (folder / "own_longer_languages.py").write_text(EXPERIMENT.format(file=str(prose), steps=700))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with (
            open("out", "w") as out,
            open("err", "w") as err,
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            assert main(["sweep", "own_languages", "--dry-run"]) == 0
            assert not Path("runs").exists()
            assert main(["sweep", "own_languages"]) == 0
    return folder


def test_sweep(swept, monkeypatch, tmp_path, seq):
    """Fails when a member is not its solo run to the bit, a variant that is a whole configuration
    is trained as the base, one is not tested, or --dry-run says something else than what is done.
    """
    said = [
        "2 members to train of 2, one after another",
        "  fast-0: 1,360 parameters",
        "  whole-0: 1,134 parameters",
    ]
    assert (swept / "out").read_text().splitlines() == [*said, "runs/own_languages"]
    members = swept / "runs" / "own_languages"
    files = {"sweep.json", "SHA256SUMS"}
    assert {path.name for path in members.iterdir()} == {"fast-0", "whole-0", *files}
    fast, whole = (seqgen.load(members / name) for name in ("fast-0", "whole-0"))
    assert (fast.config.hyper.lr, whole.config.hyper.lr) == (0.05, 0.02)
    assert whole.config.data.unit == "word"
    assert (fast.config.model.cell, whole.config.model.cell) == ("lstm", "gru")
    assert [log.read(run.path)[-1]["final"] for run in (fast, whole)] == [True, True]
    solo = create(fast.config, str(tmp_path / "solo"))
    run_to_end(solo)
    assert outcome(fast.path) == outcome(solo.path)
    assert json.loads((members / "sweep.json").read_text())["members"] == ["fast-0", "whole-0"]


def test_a_sweep_again(swept, monkeypatch, seq, refused):
    """Fails when a finished sweep trains anything, what is left is miscounted, or members go on
    with other settings.
    """
    monkeypatch.chdir(swept)
    monkeypatch.syspath_prepend("")
    members = swept / "runs" / "own_languages"
    before = {path: path.stat().st_mtime_ns for path in members.glob("*-*/**/*")}
    code, out, err = seq("sweep", "own_languages")
    assert (code, out) == (0, "runs/own_languages\n")
    assert [line.split()[0] for line in err.splitlines()] == ["fast", "whole"]  # their scores
    said = "0 members to train of 2, one after another\n"
    assert seq("sweep", "own_languages", "--dry-run") == (0, said, "")
    out = seq("sweep", "own_languages", "--dry-run", "--seeds", "0:3", "--only", "fast")[1]
    assert out.splitlines()[0] == "2 members to train of 3, one after another"
    words = ["sweep", "own_languages", "--only", "fast"]
    line = refused(2, *words, "--set", "hidden=13")
    made = "runs/own_languages/fast-0 was made with model.hidden 12, now 13"
    assert line == f"{made}; use another --name"
    line = refused(2, *words, "--set", "tied=true", "--name", "other")
    assert "a tied output needs embedding and hidden alike, not 7 and 12" in line
    assert {path: path.stat().st_mtime_ns for path in members.glob("*-*/**/*")} == before
    assert not (swept / "runs" / "other").exists()


def test_a_sweep_goes_on_without_a_member_that_breaks(swept, monkeypatch, seq):
    """Fails when a member that is not finite stops the others, is trained again, is called
    finished, or nobody says so.
    """
    monkeypatch.chdir(swept)
    monkeypatch.syspath_prepend("")
    hot = '{"hot": {"lr": 1e30, "clip": 1e30}, "fast"'
    file = Path("own_languages.py").read_text().replace('{"fast"', hot)
    Path("own_hot_languages.py").write_text(file.replace("steps=8", 'steps=8, optimizer="sgd"'))
    code, out, err = seq("sweep", "own_hot_languages")
    members = swept / "runs" / "own_hot_languages"
    assert (code, out) == (0, "runs/own_hot_languages\n")
    step = log.broken(members / "hot-0")
    assert step is not None
    assert f"runs/own_hot_languages/hot-0: not finite at step {step}; the others go on\n" in err
    ends = [log.read(members / f"{name}-0")[-1] for name in ("hot", "fast", "whole")]
    assert [end.get("final", False) for end in ends] == [False, True, True]
    code, out, err = seq("sweep", "own_hot_languages")
    assert (code, out) == (0, "runs/own_hot_languages\n")
    assert [line.split()[0] for line in err.splitlines()] == ["fast", "whole"]  # hot has no score
    assert seq("sweep", "own_hot_languages", "--dry-run")[1].startswith("0 members to train of 3")
    code, _, err = seq("evaluate", members / "hot-0")
    assert (code, err.count("\n")) == (1, 1)
    lost = f"hot-0 has no weights: at step {step} its loss or weights were not finite"
    assert err.endswith(f"{lost}\n")


@pytest.mark.slow
def test_a_sweep_is_stopped_and_goes_on(swept, start, monkeypatch, tmp_path):
    """Fails when SIGTERM does not save a sweep of language models, does not say how to go on, or
    costs a bit.
    """
    monkeypatch.chdir(swept)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ["sweep", "own_longer_languages", "--only", "fast", "--seeds", "0:2", "--runs"]
    assert start(*words, whole).wait() == 0
    members = parts / "own_longer_languages"
    for name in ("fast-0", "fast-1"):
        process = start(*words, parts)
        code = process.when(lambda name=name: lines(members / name) >= 30, signal.SIGTERM)
        assert code == 143, process.texts()
        again = rf"seqgen (sweep .*|resume \S+{name})"
        said = rf"\nseqgen: error: stopped at step \d+; go on with: {again}\n$"
        assert re.search(said, process.texts()[1]), process.texts()
    process = start(*words, parts)
    assert process.wait() == 0, process.texts()
    for name in ("fast-0", "fast-1"):
        assert outcome(members / name) == outcome(whole / "own_longer_languages" / name)
