"""A run directory: what stands in it comes back, and an opened run answers as its model does."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqgen
from seqgen import evaluation, fit, presets, runs
from seqgen.cli.terminal import Terminal
from seqgen.config import CONVERTER, RunConfig, Training, structure
from seqgen.errors import SeqgenError, UsageError
from seqgen.models import decoders, encoders, seq2seq
from seqgen.runs import open_run
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data
from seqgen.tasks.dates import Dates
from seqgen.tasks.task import Layout, encode, render
from seqgen.tasks.vocabulary import Vocabulary
from seqgen.training import checkpoint, log
from seqgen.training.state import HyperConfig
from seqgen.types import Batch

UNUSUAL = RunConfig(
    Data(Dates(1900, 1950, ("full", "long")), 300, 4, "book", True, "/somewhere/dates.txt", "ab" * 32, "book"),
    seq2seq.Config(
        encoders.Config(3, 5, "gru"),
        decoders.Config(7, 11, "gru", ("summary", "additive"), ("general",)),
        init="modern",
        dtype="bfloat16",
        vocabulary=59,
        delimiter=6,
    ),
    Training(2, 16, 33, "cosine", 0.25, "best"),
    HyperConfig(1e-2, 2.5, 0.125, 3.0, 0.5),
    seed=2**32 - 1,
)
"""No field has its default."""


@pytest.fixture
def attending(attention_run) -> runs.Run:
    return seqgen.load(attention_run)


@pytest.fixture
def copied(attention_run, tmp_path) -> Path:
    """The attention run, to be damaged."""
    return Path(shutil.copytree(attention_run, tmp_path / "copied"))


# Configuration


@pytest.mark.parametrize("config", [UNUSUAL, presets.preset("dates", "attention"), presets.preset("addition", "peeky")])
def test_a_configuration_comes_back(config, tmp_path):
    """Fails when a field is lost, a tuple becomes a list (and jit refuses it), or the task forgets which one it is."""
    (tmp_path / "config.json").write_text(json.dumps(CONVERTER.unstructure(config)))
    restored = structure(tmp_path / "config.json", RunConfig)
    assert restored == config
    assert hash(restored.model) == hash(config.model)
    assert type(restored.data.task) is type(config.data.task)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("epochs", 3, r"extra fields found \(epochs\) @ \$$"),
        ("model.decoder.depth", 2, r"extra fields found \(depth\) @ \$.model.decoder$"),
        ("training", {"epoch": 3}, r"extra fields found \(epoch\) @ \$.training$"),
        ("data.task.digits", 3, r"extra fields found \(digits\) @ \$.data.task$"),
        ("data.task.name", "date", r"@ \$.data.task$"),
        ("data.draws", 0, r"draws must be 1 or more, not 0 @ \$.data$"),
        ("data.reverse", "false", r"'false' is not of type bool @ \$.data.reverse$"),
        ("training.epochs", 2.5, r"2.5 is not of type int @ \$.training.epochs$"),
        ("training.epochs", True, r"True is not of type int @ \$.training.epochs$"),
        ("training.warmup", 1, r"warmup is a fraction of all steps, at least 0 and below 1, not 1.0 @ \$.training$"),
        ("training.select", "first", r"first not in literal .* @ \$.training.select"),
        ("hyper.lr", None, r"None is not of type float @ \$.hyper.lr$"),
        ("hyper.lr", -1, r"lr must be above 0 and finite in float32, not -1.0 @ \$.hyper$"),
        ("model.decoder.outputs", ["dott"], r"dott not in literal .* @ \$.model.decoder.outputs\[0\]"),
        ("hyper.lr", float("inf"), r"lr must be above 0 and finite in float32, not inf @ \$.hyper$"),
        ("hyper.dropout", 1 - 1e-12, r"dropout must be at least 0 and below 1, not 0.999999999999 @ \$.hyper$"),
        ("seed", -1, r"seed must be at least 0 and below 2\*\*32, not -1 @ \$$"),
    ],
)
def test_a_foreign_configuration_is_named(field, value, reason, tmp_path):
    """Fails when an unknown key is passed over, a value is bent to its field's type, or the message does not say where."""
    content = CONVERTER.unstructure(presets.preset("dates", "attention"))
    *parents, last = field.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(SeqgenError, match=rf"^{tmp_path}/config.json: .*{reason}"):
        structure(tmp_path / "config.json", RunConfig)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b'{"model": []}'])
def test_what_is_no_configuration_is_named(content, tmp_path):
    """Fails when a file that is not JSON, not UTF-8 or not an object gets a traceback."""
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SeqgenError, match=f"^{tmp_path}/config.json: .+"):
        structure(tmp_path / "config.json", RunConfig)
    with pytest.raises(SeqgenError, match=r"cannot read .*No such file"):
        structure(tmp_path / "other.json", RunConfig)


@pytest.mark.parametrize(("field", "value"), [("epochs", 0), ("batch", 0), ("steps", 0), ("warmup", 1.0), ("warmup", -0.1)])
def test_an_impossible_training_is_refused(field, value):
    """Fails when a run is made that divides by zero, never ends or never begins."""
    with pytest.raises(ValueError, match=field):
        Training(**{field: value})


# Making and opening


def config(**data) -> RunConfig:
    made = presets.preset("addition", "baseline")
    return replace(made, data=replace(made.data, draws=400, **data), training=replace(made.training, batch=32))


def test_names_are_claimed_in_order(tmp_path):
    """Fails when a run takes another's folder, or a free name is passed over."""
    names = [runs.create(config(), None, tmp_path / "runs").path.name for _ in range(3)]
    assert names == ["addition-baseline", "addition-baseline-2", "addition-baseline-3"]
    (tmp_path / "runs" / "addition-baseline-4").touch()
    assert runs.create(config(), None, tmp_path / "runs").path.name == "addition-baseline-5"


@pytest.mark.parametrize("variant", presets.READERS)
def test_the_default_name_is_the_preset_s(variant):
    """Fails when a preset's run is called by another's name."""
    assert runs.Seq2seqRun.called(presets.preset("dates", variant)) == f"dates-{variant}"


def test_a_name_that_no_checkpoint_could_have(tmp_path):
    """Fails when a run is made under a name that Orbax cannot write to, or an empty name is taken for none."""
    for name in ("\udcff", "a\0b"):
        with pytest.raises(UsageError, match=r"a run's path is UTF-8, without NUL"):
            runs.create(config(), name, tmp_path / "runs")
    with pytest.raises(UsageError, match=rf"{tmp_path} exists; another --name would do$"):
        runs.create(config(), "", tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_model_that_cannot_fit_is_refused(tmp_path):
    """Fails when training is begun that memory cannot hold, or bytes are counted for one weight a parameter."""
    vast = replace(config(), model=seq2seq.Config(encoders.Config(hidden=10**8), decoders.Config(hidden=10**8)))
    with pytest.raises(
        UsageError, match=r"^a model of 80,0\d\d,\d{3},\d{3},\d{3},\d{3} parameters takes 1,28\d,\d{3},\d{3} GB"
    ):
        runs.create(vast, None, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_explicit_name_is_never_overwritten(tmp_path):
    """Fails when a file or folder of that name is touched, or the way to go on names a run that is not there."""
    path = runs.create(config(), "mine", tmp_path).path
    before = sorted((file, file.read_bytes()) for file in path.iterdir())
    with pytest.raises(UsageError, match=rf"{path} exists; another --name would do, or `seqgen resume {path}` to go on"):
        runs.create(config(), "mine", tmp_path)
    assert sorted((file, file.read_bytes()) for file in path.iterdir()) == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(UsageError, match=rf"{tmp_path / name} exists; another --name would do$"):
            runs.create(config(), name, tmp_path)


def test_a_path_is_a_name_too(tmp_path):
    """Fails when a name with a slash is looked for under the folder of runs."""
    assert runs.create(config(), str(tmp_path / "deep" / "run"), tmp_path / "runs").path == tmp_path / "deep" / "run"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("parent", ["file", "file/deeper"])
def test_a_parent_that_is_a_file(parent, tmp_path):
    """Fails when the operating system's error comes through, or the file is taken for a run of that name."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SeqgenError, match=f"cannot make {tmp_path / parent}/addition-baseline: ") as error:
        runs.create(config(), None, tmp_path / parent)
    assert error.value.exit_code == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("failure", [SeqgenError("full"), KeyboardInterrupt()])
def test_what_cannot_be_made_whole_is_not_made(failure, tmp_path, monkeypatch):
    """Fails when a full disk or Ctrl-C leaves a folder that is no run, but holds its name."""

    def write(path: Path, content: str) -> None:
        raise failure

    monkeypatch.setattr(runs, "write", write)
    with pytest.raises(type(failure)):
        runs.create(config(), "run", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_data_leave_no_folder(tmp_path):
    """Fails when a run directory is made before its data are known to do."""
    for bad in (config(file=str(tmp_path / "nowhere.txt")), replace(config(), training=Training(batch=10**6))):
        with pytest.raises(SeqgenError):
            runs.create(bad, None, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_knows_its_data(attending, book_run):
    """Fails when what the data decide (vocabulary, delimiter, a file's sum) is not in the configuration, or is wrong."""
    model = attending.config.model
    assert attending.vocabulary.characters == Addition.alphabet
    assert (model.vocabulary, model.delimiter) == (13, Addition.alphabet.index("_"))
    book = seqgen.load(book_run)
    assert sorted(book.vocabulary.characters) == list(Addition.alphabet)
    assert book.vocabulary.characters != Addition.alphabet  # in the order of their first appearance
    assert book.vocabulary.characters[book.config.model.delimiter] == "_"
    assert len(book.config.data.sha256) == 64


def test_open_run(attention_run, monkeypatch):
    """Fails when a run is not found by its name under runs/, by a path, or by a path that has no slash."""
    monkeypatch.chdir(attention_run.parent)
    (attention_run.parent / "runs").mkdir(exist_ok=True)
    named = attention_run.parent / "runs" / "named"
    shutil.copytree(attention_run, named, dirs_exist_ok=True)
    assert open_run("named").path.resolve() == named
    for path in ("run", "./run", str(attention_run), attention_run):
        assert open_run(path).path.resolve() == attention_run
    assert repr(open_run("named")) == "seqgen.load('runs/named')"


@pytest.mark.parametrize("name", ["nothing", "no/where", "", ".", "x" * 300])
def test_no_run_there(name, tmp_path, monkeypatch):
    """Fails when a slip in a name gets a traceback, or a folder that is no run is taken for one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no run at .*: it has no config.json"):
        open_run(name)


def test_a_run_without_an_epoch_says_so(tmp_path):
    """Fails when a run that has just begun gets a traceback instead of the command that trains it."""
    run = runs.create(config(), "a run", tmp_path)
    for select in ("last", "best"):
        run.config = replace(run.config, training=replace(run.config.training, select=select))
        with pytest.raises(SeqgenError, match=rf"{run.path} has no finished epoch yet; `seqgen resume '{run.path}'`"):
            run.predict(["1+1"])


# Vocabulary


@pytest.mark.parametrize("characters", [Addition.alphabet[:-1], Addition.alphabet + "x", " +0123456788_", "_+0123456789 "])
def test_another_vocabulary_is_refused(characters, copied):
    """Fails when a run answers with characters that are not its own: too few, too many, one twice, another delimiter."""
    file = copied / "vocabulary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "characters": characters}))
    with pytest.raises(SeqgenError, match=r"vocabulary.json: .* is not what the model was made for"):
        open_run(copied).predict(["1+1"])


@pytest.mark.parametrize(
    ("file", "path", "value", "reason"),
    [
        ("config.json", "model.delimiter", 999, "vocabulary.json: .* is not what the model was made for"),
        ("config.json", "model.delimiter", -1, "vocabulary.json: .* is not what the model was made for"),
        ("vocabulary.json", "layout.question_width", 0, r"widths must be 1 or more, not 0 and 3 @ \$.layout"),
        ("vocabulary.json", "layout.answer_width", -5, r"widths must be 1 or more, not 5 and -5 @ \$.layout"),
        ("config.json", "data.file", "\0", "cannot read \0: embedded null byte"),
        ("config.json", "data.file", "\ud800", "cannot read \ud800: .*surrogates not allowed"),
    ],
)
def test_values_that_no_run_has_are_refused(file, path, value, reason, copied):
    """Fails when a delimiter from the end of the alphabet, a field without width or an impossible file name is taken up."""
    content = json.loads((copied / file).read_text())
    parent, field = path.split(".")
    content[parent][field] = value
    (copied / file).write_text(json.dumps(content))
    with pytest.raises(SeqgenError, match=reason):
        open_run(copied).evaluate()


def test_a_vocabulary_outlives_its_data(book_run, tmp_path):
    """Fails when a run needs the file that it was trained on to answer, or evaluates on a file that has changed."""
    copied = Path(shutil.copytree(book_run, tmp_path / "copied"))
    content = json.loads((copied / "config.json").read_text())
    content["data"]["file"] = str(tmp_path / "gone.txt")
    (copied / "config.json").write_text(json.dumps(content))
    assert open_run(copied).predict(["1+1", "99+9"]) == open_run(book_run).predict(["1+1", "99+9"])
    with pytest.raises(SeqgenError, match=r"cannot read .*gone.txt"):
        open_run(copied).evaluate()
    lines = (book_run.parent / "addition.txt").read_text().splitlines(keepends=True)
    (tmp_path / "gone.txt").write_text("".join(lines[1:]))
    with pytest.raises(SeqgenError, match=r"gone.txt has changed since the run was made"):
        open_run(copied).evaluate()


# Answers


QUESTIONS = ["10+2", "9+98", "40+7", "5+66"]
"""Of one length, for one program, and shorter than the longest."""

apply = jax.jit(seq2seq.apply, static_argnums=0)


def teacher_forced(run: runs.Run, question: str, answer: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits [T, V] and attention [T, K, S] of one example by `apply`, from a batch made by hand and without padding."""
    ids = {character: i for i, character in enumerate(run.vocabulary.characters)}
    source = jnp.array([[ids[character] for character in reversed(question)]])
    inputs = jnp.array([[ids[character] for character in "_" + answer.ljust(3)]])
    _, out = apply(run.config.model, run.params, Batch(source, None, inputs, inputs, jnp.ones(inputs.shape, bool)), ())
    return np.asarray(out.logits[0])[: len(answer)], np.asarray(out.aux["attention"][0])[: len(answer)]


def test_answers_are_the_model_s(attending):
    """Fails when a question is fed the wrong way round, answers are cut off, or rows get each other's."""
    answers = attending.predict(QUESTIONS)
    assert len(set(answers)) > 1
    assert all(answers)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        logits, _ = teacher_forced(attending, question, answer)
        assert "".join(attending.vocabulary.characters[i] for i in logits.argmax(-1)) == answer
    assert attending.predict([]) == []
    assert [attending.predict([question])[0] for question in QUESTIONS] == answers
    with pytest.raises(UsageError, match="a list of questions"):
        attending.predict("1+2")


def test_a_long_question_does_not_widen_the_others(attending, monkeypatch):
    """Fails when a block's rows are counted by the layout's width, or answers of blocks of two widths do not join."""
    widths = []
    monkeypatch.setattr(evaluation, "block_rows", lambda width: widths.append(width) or 1)
    long = "1" * 50 + "+2"
    assert attending.predict([long, "1+2"]) == attending.predict([long]) + attending.predict(["1+2"])
    assert widths == [52, 52, 5]


@pytest.mark.parametrize("question", QUESTIONS[:3])
def test_attention_is_in_reading_order(question, attending):
    """Fails when a reversed question's map is left reversed, takes in padding, or is of another answer."""
    seen = attending.attention(question)
    assert (seen.question, [seen.answer]) == (question, attending.predict([question]))
    assert seen.weights.shape == (1, len(seen.answer), len(question))
    np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)
    _, weights = teacher_forced(attending, question, seen.answer)
    expected = weights.swapaxes(0, 1)[:, :, ::-1]
    np.testing.assert_allclose(seen.weights, expected, atol=1e-5)
    assert np.abs(expected - expected[..., ::-1]).max() > 0.01  # or the order could not be told


def test_a_model_without_attention_says_so(book_run):
    """Fails when a baseline's attention is a KeyError."""
    with pytest.raises(UsageError, match="has no attention to show"):
        seqgen.load(book_run).attention("1+1")


def test_unreadable_questions_are_refused(attending, book_run):
    """Fails when an unknown character, an empty question or one wider than the book's field is decoded to something."""
    for run in (attending, seqgen.load(book_run)):
        with pytest.raises(UsageError, match="unknown character 'x' at position 3"):
            run.predict(["1+1", "1+x"])
        with pytest.raises(UsageError, match="question 2 is empty"):
            run.predict(["1+1", " "])
    with pytest.raises(UsageError, match="'1234567' has 7 characters, and there is room for 5"):
        run.predict(["1234567"])
    assert len(attending.predict(["1234567"])) == 1  # the masked layout has no width


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_is_of_the_split(split, attending):
    """Fails when a split is scored on another's rows, or the scores are not those of the answers that `predict` gives."""
    scores, pairs = attending.evaluate(split), attending.pairs(split)
    answers = attending.predict([question for question, _ in pairs])
    right = [answer == truth for answer, (_, truth) in zip(answers, pairs, strict=True)]
    assert (scores.examples, scores.exact_match) == (len(pairs), pytest.approx(np.mean(right)))
    assert 0 < scores.token_accuracy < 1
    assert scores.loss > 0
    assert attending.evaluate() == attending.evaluate("test")


def test_the_book_s_split_has_no_validation_rows(book_run):
    """Fails when an empty split is divided by."""
    with pytest.raises(UsageError, match="has no validation split"):
        seqgen.load(book_run).evaluate("validation")


# What training leaves


def test_an_answer_that_fills_its_field_ends_with_it():
    """Fails when a file without a blank, as the book's format allows, cannot be scored."""
    vocabulary, layout = Vocabulary("0123456789+_"), Layout("book", False, 3, 1)
    batch = encode([("1+2", "3"), ("4+5", "9")], vocabulary, layout)
    assert evaluation.scored_positions(batch, vocabulary, layout).tolist() == [[True], [True]]


def test_the_log_tells_what_was_scored(attending):
    """Fails when an epoch's event is of other parameters or another split, or the final one is not of the selected step."""
    epochs, final = log.epochs(attending.path), log.read(attending.path)[-1]
    assert [epoch["step"] for epoch in epochs] == [25, 50, 75, 100]
    assert {epoch["split"] for epoch in epochs} == {"validation"}
    assert (final["split"], final["selected_step"]) == ("test", 100)
    for event, split in ((epochs[-1], "validation"), (final, "test")):
        assert {name: event[name] for name in evaluation.Scores._fields} == attending.evaluate(split)._asdict()
    assert epochs[-1]["loss"] < epochs[0]["loss"]


def test_samples_stand_beside_the_truth(attending):
    """Fails when a guess stands in another question's line, or a tick beside a wrong one."""
    lines = (attending.path / "samples" / "100.txt").read_text().splitlines()
    assert lines[0].split() == ["question", "truth", "guess"]
    pairs = attending.pairs("validation")[: fit.seq2seq.SAMPLES]
    guesses = attending.predict([question for question, _ in pairs])
    expected = [[*pair, guess, "✓" if guess == pair[1] else "✗"] for pair, guess in zip(pairs, guesses, strict=True)]
    assert [line.split() for line in lines[1:]] == expected
    assert len(lines) == 1 + 10


def test_columns_of_samples():
    """Fails when columns do not line up, an empty guess moves the mark, or lines end in blanks."""
    text = fit.seq2seq.columns([("1+1", "2", ""), ("100+100", "200", "200")])
    assert text == "question  truth  guess\n1+1       2             ✗\n100+100   200    200    ✓\n"


def test_the_selected_step(copied):
    """Fails when `best` takes the last epoch, one that was only logged, or falls over an epoch that was only saved."""
    run = open_run(copied)
    assert run.selected_step() == 100
    run.config = replace(run.config, training=replace(run.config.training, select="best"))
    scores = {25: 0.5, 50: 0.9, 75: 0.9, 100: 0.8}
    events = [{**event, "exact_match": scores[event["step"]], "loss": event["step"]} for event in log.epochs(copied)]
    log.path(copied).write_text("".join(json.dumps(event) + "\n" for event in events))
    assert run.selected_step() == 50
    saved = checkpoint.restore_params(copied, run.params, 50)[1]
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(saved), strict=True))
    shutil.rmtree(copied / "checkpoints" / "params" / "50")
    assert run.selected_step() == 75
    log.path(copied).unlink()
    with pytest.raises(SeqgenError, match="no finished epoch"):
        run.selected_step()


def test_figures_are_drawn(attending, book_run):
    """Fails when a figure is missing, or a baseline gets an attention map."""
    names = {f"{stem}.{kind}" for stem in ("learning", "attention") for kind in ("png", "svg")}
    assert {path.name for path in (attending.path / "figures").iterdir()} == names
    assert {path.name for path in (book_run / "figures").iterdir()} == {"learning.png", "learning.svg"}


def test_an_empty_answer_is_not_drawn(attending, tmp_path, monkeypatch):
    """Fails when a model that answers with nothing, as an untrained one may, ends its training in a traceback."""
    seen = attending.attention("1+1")
    monkeypatch.setattr(
        runs.Seq2seqRun, "attention", lambda run, question: seen._replace(answer="", weights=seen.weights[:, :0])
    )
    assert fit.seq2seq.maps(attending, ["1+1", "2+2"]) == []
    copied = runs.Seq2seqRun(Path(shutil.copytree(attending.path, tmp_path / "run", ignore=shutil.ignore_patterns("figures"))))
    fit.seq2seq.draw(copied)
    assert {path.name for path in (copied.path / "figures").iterdir()} == {"learning.png", "learning.svg"}


def test_the_test_set_is_evaluated_once(book_run, attention_run):
    """Fails when a book-parity run is scored again, or gives the last epoch's score where another is selected."""
    book = seqgen.load(book_run)
    best = book.selected_step()
    (event,) = [event for event in log.epochs(book_run) if event["step"] == best]
    assert fit.test(book, fit.seq2seq.build(book, "test"), Terminal()) == event
    assert {event["split"] for event in log.read(book_run) if event["event"] == "evaluate"} == {"test"}
    assert sum(event["event"] == "evaluate" and event["split"] == "test" for event in log.read(attention_run)) == 1


def test_batches_are_the_split_s(attending):
    """Fails when the rows of a batch are not the split's, in its order."""
    batch, pairs = attending.batch("test"), attending.pairs("test")
    assert [render(row, attending.vocabulary, attending.layout) for row in np.asarray(batch.targets)] == [a for _, a in pairs]
    np.testing.assert_array_equal(batch.source, encode(pairs, attending.vocabulary, attending.layout).source)


def test_changed_versions_are_told(copied):
    """Fails when a run that goes on with another jax, or other devices, still promises the same bits."""
    assert open_run(copied).changes() == []
    file = copied / "versions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "jax": "0.0.1", "devices": "abacus"}))
    assert open_run(copied).changes() == [f"jax 0.0.1, now {jax.__version__}", "devices abacus, now cpu"]
