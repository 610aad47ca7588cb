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
from seqgen import families, presets
from seqgen.cli.terminal import Terminal
from seqgen.config import RunConfig, Training
from seqgen.data.padding import Padding, encode, pair_vocabulary, render
from seqgen.errors import SeqgenError, UsageError
from seqgen.evaluation.scores import Scores, scored_positions
from seqgen.families import directory, open_run, pairs, pairs_run
from seqgen.families.fit import test as score_once
from seqgen.models import rnn_decoder, rnn_encoder, rnn_seq2seq
from seqgen.storage import checkpoint, log
from seqgen.tasks.addition import Addition
from seqgen.types import Batch, Sizes, Special


@pytest.fixture
def attending(attention_run) -> families.Run:
    return seqgen.load(attention_run)


@pytest.fixture
def copied(attention_run, tmp_path) -> Path:
    """The attention run, to be damaged."""
    return Path(shutil.copytree(attention_run, tmp_path / "copied"))


# Making and opening


def config(**data) -> RunConfig:
    made = presets.preset("addition", "baseline")
    training = replace(made.training, batch=32)
    return replace(made, data=replace(made.data, draws=400, **data), training=training)


def test_names_are_allocated_in_order(tmp_path):
    """Fails when a run takes another's folder, or a free name is passed over."""
    names = [families.create(config(), None, tmp_path / "runs").path.name for _ in range(3)]
    assert names == ["addition-baseline", "addition-baseline-2", "addition-baseline-3"]
    (tmp_path / "runs" / "addition-baseline-4").touch()
    assert families.create(config(), None, tmp_path / "runs").path.name == "addition-baseline-5"


@pytest.mark.parametrize("variant", presets.DECODERS)
def test_the_default_name_is_the_preset_s(variant):
    """Fails when a preset's run is called by another's name."""
    assert directory.default_name(presets.preset("dates", variant)) == f"dates-{variant}"


def test_a_name_that_no_checkpoint_could_have(tmp_path):
    """Fails when a run is made under a name that Orbax cannot write to, or an empty name is taken
    for none.
    """
    for name in ("\udcff", "a\0b"):
        with pytest.raises(UsageError, match=r"a run's path is UTF-8, without NUL"):
            families.create(config(), name, tmp_path / "runs")
    with pytest.raises(UsageError, match=rf"{tmp_path} exists; use another name$"):
        families.create(config(), "", tmp_path)
    assert list(tmp_path.rglob("*.json")) == []


def test_a_model_that_cannot_fit_is_refused(tmp_path):
    """Fails when training is begun that memory cannot hold, or bytes are counted for one weight a
    parameter.
    """
    sides = rnn_encoder.Config(hidden=10**8), rnn_decoder.Config(hidden=10**8)
    vast = replace(config(), model=rnn_seq2seq.Config(*sides))
    count, taken = r"80,0\d\d,\d{3},\d{3},\d{3},\d{3}", r"1,28\d,\d{3},\d{3} GB"
    with pytest.raises(UsageError, match=f"^a model of {count} parameters takes {taken}"):
        families.create(vast, None, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_explicit_name_is_never_overwritten(tmp_path):
    """Fails when a file or folder of that name is touched, or the way to go on names a run that is
    not there.
    """
    path = families.create(config(), "mine", tmp_path).path
    before = sorted((file, file.read_bytes()) for file in path.iterdir())
    said = f"{path} exists; use another name, or `seqgen resume {path}` to go on$"
    with pytest.raises(UsageError, match=said):
        families.create(config(), "mine", tmp_path)
    assert sorted((file, file.read_bytes()) for file in path.iterdir()) == before
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name in ("folder", "file"):
        with pytest.raises(UsageError, match=rf"{tmp_path / name} exists; use another name$"):
            families.create(config(), name, tmp_path)


def test_a_path_is_a_name_too(tmp_path):
    """Fails when a name with a slash is looked for under the folder of runs."""
    path = tmp_path / "deep" / "run"
    assert families.create(config(), str(path), tmp_path / "runs").path == path
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("parent", ["file", "file/deeper"])
def test_a_parent_that_is_a_file(parent, tmp_path):
    """Fails when the operating system's error comes through, or the file is taken for a run of that
    name.
    """
    (tmp_path / "file").write_text("mine")
    said = f"cannot make {tmp_path / parent}/addition-baseline: "
    with pytest.raises(SeqgenError, match=said) as error:
        families.create(config(), None, tmp_path / parent)
    assert error.value.exit_code == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("failure", [SeqgenError("full"), KeyboardInterrupt()])
def test_what_cannot_be_made_whole_is_not_made(failure, tmp_path, monkeypatch):
    """Fails when a full disk or Ctrl-C leaves a folder that is no run, but holds its name."""

    def write(path: Path, content: str) -> None:
        raise failure

    monkeypatch.setattr(directory, "write", write)
    with pytest.raises(type(failure)):
        families.create(config(), "run", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_data_leave_no_folder(tmp_path):
    """Fails when a run directory is made before its data are known to do."""
    for bad in (
        config(file=str(tmp_path / "nowhere.txt")),
        replace(config(), training=Training(batch=10**6)),
    ):
        with pytest.raises(SeqgenError):
            families.create(bad, None, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_knows_its_data(attending, book_run):
    """Fails when what the data decide (tokens, special ones, a file's sum) is not in the run's
    files, or is wrong.
    """
    bos = Addition.alphabet.index("_")
    assert "".join(attending.tokenizer.table) == Addition.alphabet
    assert attending.sizes == Sizes(13, 13, Special(0, bos, bos))
    book = seqgen.load(book_run)
    assert sorted(book.tokenizer.table) == list(Addition.alphabet)
    assert "".join(book.tokenizer.table) != Addition.alphabet  # in order of first appearance
    assert [book.tokenizer.table[i] for i in book.sizes.special[:3]] == [" ", "_", "_"]
    assert len(book.config.data.sha256) == 64


def test_open_run(attention_run, monkeypatch):
    """Fails when a run is not found by its name under runs/, by a path, or by a path that has no
    slash.
    """
    monkeypatch.chdir(attention_run.parent)
    (attention_run.parent / "runs").mkdir(exist_ok=True)
    named = attention_run.parent / "runs" / "named"
    shutil.copytree(attention_run, named, dirs_exist_ok=True)
    assert open_run("named").path.resolve() == named
    for path in ("run", "./run", str(attention_run), attention_run):
        assert open_run(path).path.resolve() == attention_run
    assert repr(open_run("named")) == "seqgen.load('runs/named')"
    for name in ("namde", "runs/namde"):
        with pytest.raises(UsageError, match=r"no run at runs/namde: .*did you mean 'named'\?"):
            open_run(name)


@pytest.mark.parametrize("name", ["nothing", "no/where", "", ".", "x" * 300])
def test_no_run_there(name, tmp_path, monkeypatch):
    """Fails when a slip in a name gets a traceback, or a folder that is no run is taken for one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no run at .*: it has no config.json"):
        open_run(name)


def test_a_run_without_an_epoch_says_so(tmp_path):
    """Fails when a run that has just begun gets a traceback instead of the command that trains
    it.
    """
    run = families.create(config(), "a run", tmp_path)
    for select in ("last", "best"):
        run.config = replace(run.config, training=replace(run.config.training, select=select))
        said = rf"{run.path} has no finished epoch yet; `seqgen resume '{run.path}'`"
        with pytest.raises(SeqgenError, match=said):
            run.predict(["1+1"])


# Vocabulary


@pytest.mark.parametrize(
    ("characters", "reason"),
    [
        (Addition.alphabet[:-1], r"bos=12.* are not ids of 12 characters"),
        (Addition.alphabet + "x", r"float32\[13, 7\], wanted as float32\[14, 7\]"),
        (" +0123456788_", "it holds '8' more than once"),
    ],
)
def test_another_vocabulary_is_refused(characters, reason, copied):
    """Fails when a run answers with characters that are not its own: too few, too many, one
    twice.
    """
    file = copied / "vocabulary.json"
    content = json.loads(file.read_text())
    content["tokenizer"]["table"] = list(characters)
    file.write_text(json.dumps(content))
    families.accept(copied)
    with pytest.raises(SeqgenError, match=reason):
        open_run(copied).predict(["1+1"])


@pytest.mark.parametrize(
    ("file", "path", "value", "reason"),
    [
        (
            "vocabulary.json",
            "tokenizer.special",
            {"pad": 0, "bos": 999, "eos": 12, "unk": None},
            r"vocabulary.json: tokenizer: .*bos=999.* are not ids of 13 characters",
        ),
        (
            "vocabulary.json",
            "tokenizer.special",
            {"pad": 0, "bos": -1, "eos": 12, "unk": None},
            r"vocabulary.json: tokenizer: .*bos=-1.* are not ids of 13 characters",
        ),
        (
            "vocabulary.json",
            "tokenizer.special",
            [0, 12, 12, None],
            r"vocabulary.json: tokenizer.special: \[0, 12, 12, None\] are not ids of pad",
        ),
        (
            "vocabulary.json",
            "padding.question_width",
            0,
            r"padding: widths must be 1 or more, not 0 and 3",
        ),
        (
            "vocabulary.json",
            "padding.answer_width",
            -5,
            r"padding: widths must be 1 or more, not 5 and -5",
        ),
        ("config.json", "data.file", "\0", "cannot read \0: embedded null byte"),
        ("config.json", "data.file", "\ud800", "cannot read \ud800: .*surrogates not allowed"),
    ],
)
def test_values_that_no_run_has_are_refused(file, path, value, reason, copied):
    """Fails when a token from the end of the alphabet, a field without width or an impossible file
    name is taken up.
    """
    content = json.loads((copied / file).read_text())
    *parents, field = path.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[field] = value
    (copied / file).write_text(json.dumps(content))
    families.accept(copied)
    with pytest.raises(SeqgenError, match=reason):
        open_run(copied).evaluate()


def test_a_vocabulary_outlives_its_data(book_run, tmp_path):
    """Fails when a run needs the file that it was trained on to answer, or evaluates on a file that
    has changed.
    """
    copied = Path(shutil.copytree(book_run, tmp_path / "copied"))
    content = json.loads((copied / "config.json").read_text())
    content["data"]["file"] = str(tmp_path / "gone.txt")
    (copied / "config.json").write_text(json.dumps(content))
    families.accept(copied)
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


def teacher_forced(run: families.Run, question: str, answer: str) -> tuple[np.ndarray, np.ndarray]:
    """Logits [T, V] and attention [T, K, S] of one example by `apply`.

    From a batch made by hand and without padding.
    """
    ids = {character: i for i, character in enumerate(run.tokenizer.table)}
    source = jnp.array([[ids[character] for character in reversed(question)]])
    inputs = jnp.array([[ids[character] for character in "_" + answer.ljust(3)]])
    batch = Batch(source, None, inputs, inputs, jnp.ones(inputs.shape, bool))
    _, out = jax.jit(run.model.apply)(run.params, batch, (), None)
    logits, weights = np.asarray(out.logits[0]), np.asarray(out.aux["attention"][0])
    return logits[: len(answer)], weights[: len(answer)]


def test_answers_are_the_model_s(attending):
    """Fails when a question is fed the wrong way round, answers are cut off, or rows get each
    other's.
    """
    answers = attending.predict(QUESTIONS)
    assert len(set(answers)) > 1
    assert all(answers)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        logits, _ = teacher_forced(attending, question, answer)
        assert attending.tokenizer.decode(logits.argmax(-1)) == answer
    assert attending.predict([]) == []
    assert [attending.predict([question])[0] for question in QUESTIONS] == answers
    with pytest.raises(UsageError, match="a list of questions"):
        attending.predict("1+2")


def test_a_long_question_does_not_widen_the_others(attending, monkeypatch):
    """Fails when a block's rows are counted by the padding's width, or answers of blocks of two
    widths do not join.
    """
    widths = []
    monkeypatch.setattr(pairs_run, "block_rows", lambda width: widths.append(width) or 1)
    long = "1" * 50 + "+2"
    assert attending.predict([long, "1+2"]) == attending.predict([long]) + attending.predict(
        ["1+2"]
    )
    assert widths == [52, 52, 5]


@pytest.mark.parametrize("question", QUESTIONS[:3])
def test_attention_is_in_reading_order(question, attending):
    """Fails when a reversed question's map is left reversed, takes in padding, or is of another
    answer.
    """
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
    """Fails when an unknown character, an empty question or one wider than the book's field is
    decoded to something.
    """
    for run in (attending, seqgen.load(book_run)):
        with pytest.raises(UsageError, match="unknown character 'x' at position 3"):
            run.predict(["1+1", "1+x"])
        with pytest.raises(UsageError, match="question 2 is empty"):
            run.predict(["1+1", " "])
    with pytest.raises(UsageError, match="'1234567' has 7 characters, and there is room for 5"):
        run.predict(["1234567"])
    assert len(attending.predict(["1234567"])) == 1  # the masked padding has no width


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_is_of_the_split(split, attending):
    """Fails when a split is scored on another's rows, or the scores are not those of the answers
    that `predict` gives.
    """
    scores, rows = attending.evaluate(split), attending.pairs(split)
    answers = attending.predict([question for question, _ in rows])
    right = [answer == truth for answer, (_, truth) in zip(answers, rows, strict=True)]
    assert (scores.examples, scores.exact_match) == (len(rows), pytest.approx(np.mean(right)))
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
    vocabulary = pair_vocabulary("0123456789+_", "book")
    padding = Padding("book", False, 3, 1)
    batch = encode([("1+2", "3"), ("4+5", "9")], vocabulary, padding)
    assert scored_positions(batch, vocabulary, padding).tolist() == [[True], [True]]


def test_the_log_tells_what_was_scored(attending):
    """Fails when an epoch's event is of other parameters or another split, or the final one is not
    of the selected step.
    """
    epochs, final = log.epochs(attending.path), log.read(attending.path)[-1]
    assert [epoch["step"] for epoch in epochs] == [25, 50, 75, 100]
    assert {epoch["split"] for epoch in epochs} == {"validation"}
    assert (final["split"], final["selected_step"]) == ("test", 100)
    for event, split in ((epochs[-1], "validation"), (final, "test")):
        scores = {name: event[name] for name in Scores._fields}
        assert scores == attending.evaluate(split)._asdict()
    assert epochs[-1]["loss"] < epochs[0]["loss"]


def test_samples_stand_beside_the_truth(attending):
    """Fails when a guess stands in another question's line, or a tick beside a wrong one."""
    lines = (attending.path / "samples" / "100.txt").read_text().splitlines()
    assert lines[0].split() == ["question", "truth", "guess"]
    rows = attending.pairs("validation")[: pairs.SAMPLES]
    guesses = attending.predict([question for question, _ in rows])
    expected = [
        [*pair, guess, "✓" if guess == pair[1] else "✗"]
        for pair, guess in zip(rows, guesses, strict=True)
    ]
    assert [line.split() for line in lines[1:]] == expected
    assert len(lines) == 1 + 10


def test_columns_of_samples():
    """Fails when columns do not line up, an empty guess moves the mark, lines end in blanks, or a
    long answer fills the screen, or counts as right by what is shown of it.
    """
    text = pairs.columns([("1+1", "2", ""), ("100+100", "200", "200")])
    assert text == "question  truth  guess\n1+1       2             ✗\n100+100   200    200    ✓\n"
    long = "a" * 99
    shown = pairs.columns([("1", long + "b", long)]).splitlines()[1]
    assert shown == f"1         {'a' * 59}…  {'a' * 59}…  ✗"


def test_the_selected_step(copied):
    """Fails when `best` takes the last epoch, one that was only logged, or falls over an epoch that
    was only saved.
    """
    run = open_run(copied)
    assert run.selected_step() == 100
    run.config = replace(run.config, training=replace(run.config.training, select="best"))
    scores = {25: 0.5, 50: 0.9, 75: 0.9, 100: 0.8}
    events = [
        {**event, "exact_match": scores[event["step"]], "loss": event["step"]}
        for event in log.epochs(copied)
    ]
    log.path(copied).write_text("".join(json.dumps(event) + "\n" for event in events))
    families.accept(copied)
    assert run.selected_step() == 50
    saved = checkpoint.restore_params(copied, run.params, 50)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(saved), strict=True)
    )
    shutil.rmtree(copied / "checkpoints" / "params" / "50")
    assert run.selected_step() == 75
    log.path(copied).write_text("".join(json.dumps(event) + "\n" for event in events[:3]))
    families.accept(copied)
    with pytest.raises(SeqgenError, match=r"metrics.jsonl: the evaluation of step 100 is gone"):
        run.selected_step()


def test_figures_are_drawn(attending, book_run):
    """Fails when a figure is missing, or a baseline gets an attention map."""
    names = {f"{stem}.{kind}" for stem in ("learning", "attention") for kind in ("png", "svg")}
    assert {path.name for path in (attending.path / "figures").iterdir()} == names
    assert {path.name for path in (book_run / "figures").iterdir()} == {
        "learning.png",
        "learning.svg",
    }


def test_an_empty_answer_is_not_drawn(attending, copied, monkeypatch):
    """Fails when a model that answers with nothing, as an untrained one may, ends its training in a
    traceback.
    """
    seen = attending.attention("1+1")
    empty = seen._replace(answer="", weights=seen.weights[:, :0])
    assert pairs.maps([empty, empty]) == []
    monkeypatch.setattr(
        families.PairsRun, "attention", lambda run, questions: [empty for _ in questions]
    )
    shutil.rmtree(copied / "figures")
    pairs.draw(open_run(copied))
    names = {path.name for path in (copied / "figures").iterdir()}
    assert names == {"learning.png", "learning.svg"}


def test_the_test_set_is_evaluated_once(book_run, attention_run):
    """Fails when a book-parity run is scored again, or gives the last epoch's score where another
    is selected, as runs of before could on the test split.
    """
    book = seqgen.load(book_run)
    book.config = replace(book.config, training=replace(book.config.training, select="best"))
    best = book.selected_step()
    (event,) = [event for event in log.epochs(book_run) if event["step"] == best]
    program = book.family.program(book.config, book.dataset)
    assert score_once(book, program, program.steps, Terminal(book.family.words)) == event
    for path, count in ((book_run, 3), (attention_run, 1)):
        events = [event for event in log.read(path) if event["event"] == "evaluate"]
        assert sum(event["split"] == "test" for event in events) == count
    assert {event["split"] for event in log.epochs(book_run)} == {"test"}


def test_batches_are_the_split_s(attending):
    """Fails when the rows of a batch are not the split's, in its order."""
    batch, rows = attending.batch("test"), attending.pairs("test")
    tokenizer, padding = attending.tokenizer, attending.padding
    answered = [render(row, tokenizer, padding) for row in np.asarray(batch.targets)]
    assert answered == [answer for _, answer in rows]
    np.testing.assert_array_equal(batch.source, encode(rows, tokenizer, padding).source)


def test_changed_versions_are_told(copied):
    """Fails when a run that goes on with another jax, or other devices, still promises the same
    bits.
    """
    assert open_run(copied).changes() == []
    file = copied / "versions.json"
    changed = {"jax": "0.0.1", "devices": "abacus"}
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    families.accept(copied)
    told = [f"jax 0.0.1, now {jax.__version__}", "devices abacus, now cpu"]
    assert open_run(copied).changes() == told
