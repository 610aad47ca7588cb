"""Every command as a user meets it: what it prints where, exit codes, one line for what is
wrong.
"""

import io
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from sacrebleu.metrics import BLEU, CHRF

import seqgen
from seqgen import cli, tasks
from seqgen.cli import answer_file, parse, predict
from seqgen.families import PairsRun, accept, finished, open_run, schema
from seqgen.families.schema import to_json
from seqgen.storage import log, manifest
from seqgen.storage.files import alone
from seqgen.tasks.addition import Addition
from tests.conftest import TINY
from tests.processes import outcome

TRAIN = ["train", "addition", "attention"]
OF_WINDOWS = "would change nothing: it is of the windows of a text, and pairs have none"
SMALL = ["--task.digits", "2", "--draws", "300", "--batch", "32", "--epochs", "1"]


@pytest.fixture
def seq(capsys, monkeypatch):
    """`seqgen WORDS` in this process: the exit code, standard output and standard error."""

    def run(*words: object, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            code = cli.main([str(word) for word in words])
        except SystemExit as end:  # tyro's own
            code = end.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def refused(seq):
    """A command that must be refused with `code`: one line on standard error, nothing on standard
    output; the line.
    """

    def run(code: int, *words: object, stdin: bytes = b"") -> str:
        got, out, err = seq(*words, stdin=stdin)
        assert (got, out, err.count("\n")) == (code, "", 1), err
        assert err.startswith("seqgen: error: ")
        return err.removeprefix("seqgen: error: ").rstrip("\n")

    return run


@pytest.fixture
def copied(attention_run, tmp_path) -> Path:
    """The attention run, to be damaged."""
    return Path(shutil.copytree(attention_run, tmp_path / "copied"))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """What a command writes without being told where lands in the test's own folder."""
    monkeypatch.chdir(tmp_path)


def plain(box: str) -> str:
    """tyro's text without its frame and line breaks."""
    return " ".join(re.sub(r"[^\x20-\x7e\n]", " ", box).split())


FILES = {
    *(f"{stem}.json" for stem in ("config", "vocabulary", "versions")),
    *("SHA256SUMS", "metrics.jsonl", "samples", "checkpoints", "figures"),
}
"""What stands in a run's directory."""

FIGURES = {"attention", "learning"}


# train

TASKS = "addition, dates, text, ptb, shakespeare, markov, hmm, grammar"
DECODERS = "baseline, peeky, attention, peeky-attention"
FEW = [*TRAIN[1:], "--draws", "300"]


def test_train(attention_run):
    """Fails when results and progress mix, so that a script cannot go on with the path, or the
    splits or epochs are not told.
    """
    assert (attention_run.parent / "stdout").read_text() == f"{attention_run}\n"
    err = (attention_run.parent / "stderr").read_text()
    splits = seqgen.load(attention_run).dataset.splits._asdict().items()
    told = [f"{name}: {len(rows):,} examples drawn from addition" for name, rows in splits]
    assert err.splitlines()[:3] == told
    for epoch in range(1, 5):
        head = f"^epoch {epoch} of 4 · validation · [0-9]+ examples · exact match .+%"
        more = " · token accuracy .+% · loss [0-9.]+ nats/token$"
        assert len(re.findall(head + more, err, re.MULTILINE)) == 1
    assert len(re.findall("^test · [0-9]+ examples · exact match", err, re.MULTILINE)) == 1
    # The last epoch and the test show all.
    assert len(re.findall("[✓✗]$", err, re.MULTILINE)) == 3 * 4 + 10 + 10
    assert {path.name for path in attention_run.iterdir()} == FILES


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], f"train needs a task: {TASKS}"),
        (["--lr", "1"], f"train needs a task: {TASKS}"),
        (["dates"], f"train needs a model: {DECODERS}"),
        (["dates", "--reverse", "attention"], f"train needs a model: {DECODERS}"),
        (["date", "attention"], "no task 'date'; did you mean 'dates'?"),
        (["xyzzy", "attention"], f"no task 'xyzzy'; there are {TASKS}"),
        (["dates", "atention"], "no model 'atention'; did you mean 'attention'?"),
        ([*TRAIN[1:], "--lr", "-1"], "--lr must be above 0 and finite in float32, not -1.0"),
        ([*TRAIN[1:], "--lr", "nan"], "--lr must be above 0 and finite in float32, not nan"),
        ([*TRAIN[1:], "--clip", "0"], "--clip must be above 0 and finite in float32, not 0.0"),
        ([*TRAIN[1:], "--dropout", "1"], "--dropout must be at least 0 and below 1, not 1.0"),
        ([*TRAIN[1:], "--epochs", "0"], "--epochs must be 1 or more, not 0"),
        ([*TRAIN[1:], "--steps", "0"], "--steps must be 1 or more, not 0"),
        ([*TRAIN[1:], "--batch", "0"], "--batch must be 1 or more, not 0"),
        ([*FEW, "--batch", "241"], "a --batch of 241 is more than the 240 training examples"),
        (
            [*FEW, "--window", "3"],
            "--window 3 would change nothing: it is of the windows of a text, and pairs have none; "
            "use 35, its default",
        ),
        (
            [*FEW, "--remat", "5"],
            "--remat 5 would change nothing: it is of the windows of a text, and pairs have none; "
            "use None, its default",
        ),
        (
            [*TRAIN[1:], "--warmup", "2"],
            "--warmup is a fraction of all steps, at least 0 and below 1, not 2.0",
        ),
        ([*TRAIN[1:], "--draws", "0"], "--draws must be 1 or more, not 0"),
        (
            [*TRAIN[1:], "--draws", "3"],
            "draws: 3 rows are too few to split for training and testing",
        ),
        (
            [*TRAIN[1:], "--task.digits", "2"],
            "50000 draws: there are 5,050 distinct additions of up to 2 digits,"
            " and 50,000 were asked for",
        ),
        ([*TRAIN[1:], "--seed", "-1"], "--seed must be at least 0 and below 2**32, not -1"),
        (
            [*TRAIN[1:], "--seed", str(2**32)],
            f"--seed must be at least 0 and below 2**32, not {2**32}",
        ),
        ([*TRAIN[1:], "--data-seed", "-1"], "the data's --data-seed must be 0 or more, not -1"),
    ],
)
def test_train_refuses(words, line, refused, tmp_path):
    """Fails when a value that cannot do is trained with, gets a traceback or another exit code, or
    leaves a folder.
    """
    assert refused(2, "train", *words) == line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--lrr", "1"], "Unrecognized options: --lrr, 1"),
        (["--lrr", "1"], "Perhaps you meant: --lr FLOAT"),
        (["--lr", "fast"], "Error parsing --lr: could not convert string to float: 'fast'"),
        (["--schedule", "linear"], "invalid choice 'linear'"),
        (["--model.vocabulary", "3"], "Unrecognized options: --model.vocabulary, 3"),
        (["--model.delimiter", "3"], "Unrecognized options: --model.delimiter, 3"),
        (["--model.decoder.hidden", "9"], "and 9; use 'general'"),
        (["--task.digits", "12"], "digits must be 1 to 9, not 12"),
    ],
)
def test_train_s_syntax(words, part, seq, tmp_path):
    """Fails when a misspelt option is passed over, or one that the data decide is offered."""
    code, out, err = seq(*TRAIN, *words)
    assert (code, out, list(tmp_path.iterdir())) == (2, "", [])
    assert part in plain(err)
    assert "Traceback" not in err


def test_train_s_help(seq):
    """Fails when an option has no line of help, nested names change, or what the data decide is
    offered.
    """
    code, out, _ = seq(*TRAIN, "--help")
    assert code == 0
    text = plain(out)
    for words in (
        "--lr FLOAT the learning rate, of a schedule its peak.",
        "--epochs INT passes over the training examples.",
        "--reverse, --no-reverse questions are read backwards.",
        "--name {None}|STR the run's name under --runs, or a path",
        "--model.encoder.hidden INT",
        "--model.decoder.outputs [{context,dot,general,additive}",
        "--task.digits INT",
    ):
        assert words in text
    assert "vocabulary" not in text
    assert "delimiter" not in text
    for options in ([], [TRAIN[1]]):
        assert seq("train", *options, "--help")[1].startswith("usage: seqgen train TASK MODEL")


def test_a_task_of_one_s_own(seq, monkeypatch, tmp_path):
    """Fails when a third task in the table breaks the commands, or cannot be trained on without
    numbers of its own in the presets.
    """

    @dataclass(frozen=True)
    class Sums(Addition):
        name = "sums"

    monkeypatch.setitem(tasks.TASKS, "sums", Sums)
    schema.converter.cache_clear()
    try:
        words = ["--draws", "300", "--batch", "32", "--steps", "2", *TINY]
        code, out, err = seq("train", "sums", "attention", "--task.digits", "2", *words)
        assert (code, out) == (0, "runs/sums-attention\n"), err
        assert seqgen.load("sums-attention").config.data.task == Sums(2)
        assert "sums, leak-free split" in seq("audit", "sums", "--draws", "300")[1]
    finally:
        schema.converter.cache_clear()


def test_the_samples_of_an_epoch_that_counts_as_the_test(book_run):
    """Fails when a run whose test is read from the log, for it was evaluated on the test split all
    the time, has no samples of it.
    """
    samples, step = book_run / "samples", seqgen.load(book_run).selected_step()
    assert (samples / "test.txt").read_text() == (samples / f"{step}.txt").read_text()


def test_train_overwrites_nothing(refused, copied):
    """Fails when an existing run or file loses a byte to a new run of its name."""
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    line = refused(2, *TRAIN, *SMALL, "--name", copied)
    assert line == f"{copied} exists; use another --name, or `seqgen resume {copied}` to go on"
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_train_under_a_file(refused, tmp_path):
    """Fails when a parent that is a file is a traceback."""
    (tmp_path / "file").touch()
    line = refused(1, *TRAIN, *SMALL, "--runs", "file")
    assert line == "cannot make file/addition-attention: file is not a folder"
    line = refused(1, *TRAIN, *SMALL, "--name", "file/deeper/run")
    assert line.startswith("cannot make file/deeper/run: ")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b"", "{}, line 1: the file is empty"),
        (b"1+1  _2  \n1+2   3  \n", "{}, line 2: no '_' before an answer"),
        (b"1+1  _2  \n1+2 _3  \n", "{}, line 2: the question is 4 characters wide instead of 5"),
        (b"1+1  _2  \n1+\xff  _3  \n", "{}, line 2: not UTF-8 (byte 0xff)"),
        (b"1+1  _2  \n1-2  _3  \n", "{}, line 2: '1-2' is not an addition of two numbers"),
    ],
)
def test_train_on_a_bad_file(content, line, refused, tmp_path):
    """Fails when a file that is not there, malformed or of another task is trained on, or its line
    is not named.
    """
    file = tmp_path / "data.txt"
    if content is not None:
        file.write_bytes(content)
    assert refused(1, *TRAIN, "--data", file) == line.format(file)
    assert not (tmp_path / "runs").exists()


# RUN


@pytest.mark.parametrize("words", [["resume"], ["evaluate"], ["predict"], ["attention"]])
def test_a_run_must_be_named(words, seq):
    """Fails when a forgotten RUN is a traceback."""
    code, out, err = seq(*words)
    assert (code, out) == (2, "")
    assert "RUN a path, or a name under runs/. (required)" in plain(err)


WORDS = {"predict": ["1+1"], "attention": ["1+1"]}
"""What else a command needs."""


@pytest.mark.parametrize("command", ["resume", "evaluate", "predict", "attention"])
def test_a_run_that_is_not_there(command, refused, tmp_path):
    """Fails when a slip in a run's name is a traceback or makes a folder."""
    line = refused(2, command, "nothing", *WORDS.get(command, []))
    assert line == "no run at runs/nothing: it has no config.json"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "predict", "attention"])
def test_a_run_without_an_epoch(command, refused, copied):
    """Fails when a run that was stopped early gets a traceback instead of the command that trains
    it.
    """
    shutil.rmtree(copied / "checkpoints")
    line = refused(1, command, copied, *WORDS.get(command, []))
    assert line == f"{copied} has no finished epoch yet; `seqgen resume {copied}` trains it"


@pytest.mark.parametrize("command", ["resume", "evaluate", "predict", "attention"])
@pytest.mark.parametrize("file", ["config.json", "vocabulary.json"])
def test_a_damaged_run(command, file, seq, copied):
    """Fails when a file that is cut off, or has a key that is not ours, is a traceback or is passed
    over.
    """
    whole = (copied / file).read_text()
    for content in (whole[: len(whole) // 2], json.dumps({**json.loads(whole), "colour": 2})):
        (copied / file).write_text(content)
        accept(copied)
        code, out, err = seq(command, copied, *WORDS.get(command, []))
        assert (code, out) == (1, "")
        assert f"seqgen: error: {copied / file}: " in err.splitlines()[-1]


def test_a_damaged_log(refused, seq, copied):
    """Fails when resuming over a damaged log is a traceback or cuts good lines; predicting does
    without the log.
    """
    lines = log.path(copied).read_text().splitlines(keepends=True)
    damaged = "".join([*lines[:3], "}\n", *lines[4:]])
    log.path(copied).write_text(damaged)
    code, out, err = seq("resume", copied)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"seqgen: error: {log.path(copied)}: its SHA-256 ")
    said = f"{log.path(copied)}, line 4: "
    assert refused(1, "accept", copied).startswith(said)
    assert log.path(copied).read_text() == damaged
    assert seq("predict", copied, "1+1")[0] == 0


def test_damaged_parameters(refused, copied):
    """Fails when a flipped bit is predicted with, or another epoch's parameters take the place of
    the selected ones.
    """
    sums = copied / "checkpoints" / "params" / "100" / "leaves.json"
    sums.write_text(sums.read_text().replace("float32", "float16"))
    line = refused(1, "predict", copied, "1+1")
    bad = f"no good checkpoint in {copied}/checkpoints/params"
    reason = f"{bad}: step 100: leaves.json: sha256 differs"
    assert line == f"{reason}; `seqgen resume {copied}` writes the last epoch's again"


# resume


@pytest.mark.usefixtures("drawn_figures")
def test_resume_of_a_finished_run(seq, copied):
    """Fails when a finished run is trained or tested again, or its exit code is not 0."""
    before = log.read(copied)
    shutil.rmtree(copied / "figures")
    code, out, err = seq("resume", copied)
    assert (code, out, log.read(copied)) == (0, f"{copied}\n", before)
    assert f"{copied}: has been trained to its end, step 100 of 100" in err
    assert "epoch" not in err
    assert (copied / "figures" / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_resume_while_another_process_trains(seq, copied):
    """Fails when two processes may write one run, or the second leaves a traceback or a mark."""
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    with alone(copied):
        code, out, err = seq("resume", copied)
    assert (code, out) == (1, "")
    busy = f"another process is at work in {copied}: wait for it, or stop it"
    assert err.endswith(f"seqgen: error: {busy}\n")
    assert before == {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    assert seq("resume", copied)[0] == 0


def test_resume_elsewhere_says_so(seq, copied):
    """Fails when a run that goes on with another jax still promises the same bits."""
    file = copied / "versions.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "jax": "0.0.1"}))
    accept(copied)
    _, _, err = seq("resume", copied)
    bits = "the result need not be the same to the bit"
    assert re.search(rf"made elsewhere \(jax 0.0.1, now [\d.]+\): {bits}", err)


def test_resume_on_a_changed_file(seq, book_run, tmp_path):
    """Fails when a run goes on with other data than it began with."""
    copied, file = Path(shutil.copytree(book_run, tmp_path / "copied")), tmp_path / "addition.txt"
    config = seqgen.load(copied).config
    content = to_json(config)
    content["data"]["file"] = str(file)
    (copied / "config.json").write_text(json.dumps(content))
    accept(copied)
    file.write_bytes(Path(config.data.file).read_bytes() + b"1+1  _2  \n")
    code, out, err = seq("resume", copied)
    assert (code, out) == (1, "")
    changed = f"seqgen: error: {file} has changed since the run was made"
    assert err.splitlines()[-1].startswith(changed)


# evaluate


RATES = [f"{name}_error_rate" for name in ("token", "word", "sequence")]


def test_evaluate(seq, attention_run):
    """Fails when --json prints anything beside one object, or other keys, a score is not the log's,
    an interval is not around its score, or the default is not the test split.
    """
    code, out, err = seq("evaluate", attention_run, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    scores = json.loads(out)
    names = ["exact_match", "token_accuracy", "loss", "examples", *RATES]
    assert list(scores) == [*names, "intervals"]
    logged = log.read(attention_run)[-1]
    assert [scores[name] for name in names] == [logged[name] for name in names]
    test, validation = (
        json.loads(seq("evaluate", attention_run, "--split", split, "--json")[1])
        for split in ("test", "validation")
    )
    assert scores == test != validation
    ends = scores["intervals"]
    assert ends.keys() == {*names} - {"examples"}
    off = 1e-12  # of Wilson's interval where nothing is right
    assert all(low - off <= scores[name] <= high + off for name, (low, high) in ends.items())
    assert all(ends[name][0] < ends[name][1] for name in ("loss", "token_error_rate"))
    code, out, err = seq("evaluate", attention_run)
    assert (code, err) == (0, "")
    rows = dict(re.split(r" {2,}|(?<=rate) ", line) for line in out.splitlines())
    heads = ["split", "exact match", "95% interval", "token accuracy"]
    rates = [name.replace("_", " ") for name in RATES]
    assert list(rows) == [*heads, *rates, "loss", "examples"]
    low, high = (float(end.rstrip("%")) / 100 for end in rows["95% interval"].split(" to "))
    assert low <= scores["exact_match"] <= high < 1
    assert rows["exact match"] == f"{scores['exact_match']:.2%}"
    low, high = ends["word_error_rate"]
    assert rows["word error rate"] == f"{scores['word_error_rate']:.2%} ({low:.2%} to {high:.2%})"


def test_evaluate_by_sacrebleu(seq, refused, attention_run, monkeypatch):
    """Fails when a metric is not of the answers' texts, has no signature or interval, or is a
    traceback without sacrebleu.
    """
    words = "evaluate", attention_run, "--metrics", "chrf", "bleu"
    scores = json.loads(seq(*words, "--json")[1])
    run = seqgen.load(attention_run)
    questions, truths = zip(*run.pairs("test"), strict=True)
    for name, metric in {"bleu": BLEU(), "chrf": CHRF()}.items():
        expected = metric.corpus_score(run.predict(questions), [truths]).score
        assert scores[name] == pytest.approx(expected)
        low, high = scores["intervals"][name]
        assert low <= scores[name] <= high
        assert scores["signatures"][name] == str(metric.get_signature())
    (line,) = (line for line in seq(*words)[1].splitlines() if line.startswith("chrF"))
    assert line.endswith(scores["signatures"]["chrf"])
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    line = refused(1, *words)
    assert line == "chrF needs sacrebleu, which is not installed: pip install 'seqgen[eval]'"


def test_evaluate_refuses(seq, refused, book_run, attention_run):
    """Fails when a split that is not there is scored, or misspelt, is a traceback."""
    line = refused(2, "evaluate", book_run, "--split", "validation")
    assert line.startswith(f"{book_run} has no validation split")
    code, out, err = seq("evaluate", attention_run, "--split", "dev")
    assert (code, out) == (2, "")
    assert "invalid choice 'dev'" in plain(err)


# compare


def test_compare(seq, refused, attention_run, book_run, copied):
    """Fails when the runs change places, or runs on other rows are compared."""
    for step in ("75", "100"):  # the second epoch is then the last
        shutil.rmtree(copied / "checkpoints" / "params" / step)
    code, out, err = seq("compare", attention_run, copied, "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    assert found["runs"] == [str(attention_run), str(copied)]
    for place, path in (("first", attention_run), ("second", copied)):
        scores = seqgen.load(path).evaluate()._asdict()
        assert scores.pop("examples") == found["examples"] == sum([*found["right"].values()][:4])
        assert {name: found["scores"][name][place] for name in scores} == pytest.approx(scores)
    for each in found["scores"].values():
        assert each["difference"] == each["first"] - each["second"]
        assert each["low"] <= each["difference"] <= each["high"]
    assert found["scores"]["loss"]["better"] == 1.0
    code, out, err = seq("compare", attention_run, copied)
    assert (code, err, len(out.splitlines())) == (0, "", 2 + len(found["scores"]) + 1)
    line = refused(2, "compare", attention_run, book_run)
    rows = f"{attention_run} and {book_run} have not the same test rows: row 1 is ('"
    assert line.startswith(rows)


# predict


def test_predict(seq, attention_run):
    """Fails when arguments and standard input are answered differently, out of order, or mixed with
    other output.
    """
    questions = ["1+1", "23+45", "9+8"]
    answers = "".join(f"{answer}\n" for answer in seqgen.load(attention_run).predict(questions))
    assert seq("predict", attention_run, *questions) == (0, answers, "")
    for lines in ("1+1\n23+45\n9+8\n", "1+1\r\n23+45\r\n9+8"):
        assert seq("predict", attention_run, stdin=lines.encode()) == (0, answers, "")
    assert seq("predict", attention_run) == (0, "", "")


def test_predict_answers_in_batches(seq, attention_run, monkeypatch):
    """Fails when lines are lost or repeated where one batch of standard input ends and the next
    begins.
    """
    questions = [f"{i}+{i % 7}" for i in range(11)]
    expected = seqgen.load(attention_run).predict(questions)
    monkeypatch.setattr(predict, "AT_ONCE", 4)
    _, out, _ = seq("predict", attention_run, stdin="\n".join(questions).encode())
    assert out.splitlines() == expected


QUESTIONS = ["1+2", "33+44", "", "5+6", "77+8", "9+10", "1+2", "50+5"]


@pytest.fixture
def questions(tmp_path) -> Path:
    """A file of questions."""
    (tmp_path / "in.txt").write_text("".join(f"{question}\n" for question in QUESTIONS))
    return tmp_path / "in.txt"


def test_predict_from_a_file(seq, attention_run, questions):
    """Fails when answers lose their order or their lines, or something stays beside them."""
    _, expected, _ = seq("predict", attention_run, stdin=questions.read_bytes())
    assert expected.splitlines()[2] == ""
    code, out, _ = seq("predict", attention_run, "--input", questions, "--output", "out.txt")
    assert (code, out) == (0, "out.txt\n")
    assert Path("out.txt").read_text() == expected
    assert {path.name for path in Path().iterdir()} == {"in.txt", "out.txt"}


def test_predict_from_a_file_goes_on(seq, attention_run, questions, monkeypatch):
    """Fails when a stopped command leaves half of its answers under the file's name, answers lines
    twice when it goes on, or goes on with other options.
    """
    words = "predict", attention_run, "--input", questions, "--output", "out.txt"
    assert seq(*words)[0] == 0
    expected = Path("out.txt").read_text()
    Path("out.txt").unlink()
    append = answer_file._append

    def stop(file, text) -> None:
        if file.tell():
            file.write(b"half a li")
            raise KeyboardInterrupt
        append(file, text)

    monkeypatch.setattr(answer_file, "BLOCK", 3)
    with monkeypatch.context() as patch:
        patch.setattr(answer_file, "_append", stop)
        assert seq(*words)[0] == 130
    assert not Path("out.txt").exists()
    assert seq(*words, "--beam", "2")[0] == 0
    Path("out.txt").unlink()
    code, _, err = seq(*words)
    assert code == 0
    assert "goes on after line 3 of 8" in err
    assert Path("out.txt").read_text() == expected
    assert {path.name for path in Path().iterdir()} == {"in.txt", "out.txt"}


def test_predict_from_a_file_refuses(refused, attention_run, questions):
    """Fails when one of the two files is forgotten in silence, or a bad line is not named."""
    line = refused(2, "predict", attention_run, "--input", questions)
    assert line == "--input and --output go together, and without a TEXT"
    questions.write_text("1+2\n1?2\n")
    words = "predict", attention_run, "--input", questions, "--output", "out.txt"
    assert refused(2, *words).startswith(f"{questions}, line 2: unknown character '?'")
    assert not Path("out.txt").exists()
    assert "there is no nothing.txt" in refused(
        1, "predict", attention_run, "--input", "nothing.txt", "--output", "out.txt"
    )


@pytest.mark.parametrize("at_once", [1, 2, 512])
@pytest.mark.parametrize(
    ("stdin", "answered", "line"),
    [
        (b"1+1\n\n2+2\n \n", ["1+1", "", "2+2", ""], None),
        (b"\n", [""], None),
        (b"1+1\n2+\xff\n3+3\n", ["1+1"], "line 2: not UTF-8 (byte 0xff)"),
        (b"1+1\n\n23+4\n5+x\n6+6\n", ["1+1", "", "23+4"], "line 4: unknown character 'x' at"),
        (b"5+x\n6+6\n", [], "line 1: unknown character 'x' at position 3 of '5+x'; known: "),
    ],
)
def test_predict_answers_what_stands_before_a_bad_line(
    at_once, stdin, answered, line, seq, attention_run, monkeypatch
):
    """Fails when a bad line of standard input costs those before it, is a traceback, is passed
    over, or is not named; when an empty line is not answered with an empty one.
    """
    monkeypatch.setattr(predict, "AT_ONCE", at_once)
    run = seqgen.load(attention_run)
    expected = [*(run.predict([question])[0] if question else "" for question in answered)]
    code, out, err = seq("predict", attention_run, stdin=stdin)
    assert (code, out.splitlines()) == (2 if line else 0, expected)
    assert err.startswith(f"seqgen: error: standard input, {line}" if line else "")
    assert err.count("\n") == bool(line)


def test_predict_refuses_questions(seq, refused, attention_run, book_run):
    """Fails when what a run cannot read gets an answer, or the reason does not name it."""
    line = refused(2, "predict", attention_run, "1+a")
    assert line.startswith("unknown character 'a' at position 3 of '1+a")
    line = refused(2, "predict", attention_run, stdin="1+가".encode())
    assert line.startswith("standard input, line 1: unknown character '가' at position 3")
    line = refused(2, "predict", attention_run, "--n", 2, stdin=b"1+1\n")
    assert line == "there is one answer, and 2 were asked for: use a --beam of 2"
    assert refused(2, "predict", attention_run, "") == "question 1 is empty"
    unseeded = refused(2, "predict", attention_run, "1+1", "--temperature", "1", "--seed", "-1")
    assert unseeded == "--seed must be at least 0 and below 2**32, not -1"
    line = refused(2, "predict", book_run, "111+222")
    assert line == "'111+222' has 7 characters, and there is room for 5"
    code, out, err = seq("predict", book_run, stdin=b"1+1\n111+222\n")
    assert (code, len(out.splitlines())) == (2, 1)
    assert err == f"seqgen: error: standard input, line 2: {line}\n"


@pytest.mark.parametrize("words", [["1+1"], []])
def test_a_reader_that_leaves(words, seq, attention_run, monkeypatch):
    """Fails when `seqgen predict ... | head -1` goes on with nobody to read it, or complains;
    test_cli has the real pipe.
    """

    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr(os, "dup2", lambda *_: None)  # standard output is pytest's
    code, _, err = seq("predict", attention_run, *words, stdin=b"1+1\n" * 3)
    assert (code, err) == (141, "")


# attention


@pytest.mark.usefixtures("drawn_figures")
@pytest.mark.parametrize(("name", "head"), [("map.png", b"\x89PNG"), ("map.SVG", b"<?xml")])
def test_attention(name, head, seq, attention_run, tmp_path):
    """Fails when the figure is not of the kind that its name says, or an answer is not told, or for
    each of its maps.
    """
    answers = seqgen.load(attention_run).predict(["1+1", "23+45"])
    code, out, err = seq("attention", attention_run, "1+1", "23+45", "1+1", "-o", name)
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"1+1 -> {answers[0]}", f"23+45 -> {answers[1]}", name]
    assert (tmp_path / name).read_bytes().startswith(head)


def test_attention_refuses(refused, attention_run, book_run, tmp_path):
    """Fails when a figure that cannot be drawn or written is a traceback, or leaves half a file."""
    assert refused(2, "attention", attention_run) == (
        "attention needs a TEXT to answer, or the --input of a file"
    )
    line = refused(2, "attention", book_run, "1+1")
    assert line.startswith(f"{book_run} has no attention to show: ")
    line = refused(2, "attention", attention_run, "1+1", "-o", "map.gif")
    endings = ".png, .svg, .json, .npz, .jsonl, or be a folder's"
    assert line == f"cannot write map.gif: its name must end in one of {endings}"
    (tmp_path / "file").touch()
    line = refused(1, "attention", attention_run, "1+1", "-o", "file/map.png")
    assert line == "cannot write file/map.png: file is not a folder"
    assert refused(2, "attention", attention_run, "1+x").startswith("unknown character 'x'")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# The rest


@pytest.mark.slow
def test_the_time_of_a_command(seq, attention_run, monkeypatch):
    """Fails when a limit on the time does nothing, gives no weights, scores and figures, or costs
    the run that goes on a bit or a line.
    """
    words = ["train", "addition", "attention", "--name", "run", "--batch", "32", *TINY]
    words += ["--task.digits", "2", "--draws", "1000", "--epochs", "4"]
    limited = ["--max-time", "90s"]
    with monkeypatch.context() as patch:
        patch.setattr(parse, "time", SimpleNamespace(monotonic=lambda: -100.0))
        for step, asked in enumerate((words, ["resume", "run"]), start=1):
            code, out, err = seq(*asked, *limited)
            assert (code, out) == (0, "runs/run\n")
            said = f"time is up at step {step} of 100; go on with: seqgen resume runs/run\n"
            assert said in err
            test = log.read(Path("runs/run"))[-1]
            assert (test["final"], test["split"], test["step"]) == (True, "test", step)
            assert seqgen.load("run").evaluate().loss == pytest.approx(test["loss"])
            assert {file.stem for file in Path("runs/run/figures").iterdir()} == FIGURES
            assert not finished(open_run("run"))
            assert not manifest.sealed(Path("runs/run"))  # or sweeps would take it for finished
    assert seq("resume", "run")[0] == 0
    assert outcome(Path("runs/run")) == outcome(attention_run)
    assert finished(open_run("run"))


def test_a_bug_in_a_command_is_no_bad_usage(attention_run, monkeypatch):
    """Fails when a ValueError of our own making is called the user's mistake, and its traceback is
    lost.
    """

    def bug(run, *arguments, **options):
        raise ValueError("a bug")

    monkeypatch.setattr(PairsRun, "best", bug)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["predict", str(attention_run), "1+1"])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["audit"], "name a task"),
        (["audit", "--file", "nowhere"], "cannot read nowhere"),
        (["audit", "dates", "--draws", "1"], "too few"),
    ],
)
def test_audit_refuses(words, part, seq):
    """Fails when bad input to an audit is a traceback."""
    code, out, err = seq(*words)
    assert (code in (1, 2), out) == (True, "")
    assert err.startswith("seqgen: error: ")
    assert part in err
