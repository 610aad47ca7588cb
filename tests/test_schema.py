"""config.json and vocabulary.json: what was written comes back, old ones are read, others named."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from seqgen import presets
from seqgen.cli import main
from seqgen.config import RunConfig, Training
from seqgen.data.padding import Padding
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import create, family_of, open_at
from seqgen.families.schema import config_of, forgetting_unused, from_json, migrated, to_json
from seqgen.models import rnn_decoder, rnn_encoder, rnn_language_model, rnn_seq2seq
from seqgen.storage import manifest
from seqgen.tasks.dataset import Data
from seqgen.tasks.dates import Dates
from seqgen.tasks.markov import HiddenMarkov
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.synthetic import Synthetic
from seqgen.tasks.text import Text
from seqgen.training.state import HyperConfig
from seqgen.types import Sizes, Special

FILE = "/somewhere/it.txt", "ab" * 32

TRAINING = Training(
    2,
    16,
    33,
    "cosine",
    0.25,
    "best",
    4,
    "sgd",
    4.0,
    2,
    8,
    2,
    512,
    0.125,
    3,
    77,
    "/a/run",
    (7,),
    FILE[1],
)
HYPER = HyperConfig(1e-2, 2.5, 0.125, 3.0, 0.5, 0.75)
SEED = 2**32 - 1

GRUS = rnn_seq2seq.Config(
    rnn_encoder.Config(3, 5, "gru"),
    rnn_decoder.Config(7, 11, "gru", ("context", "additive"), ("general",)),
    init="modern",
    dtype="bfloat16",
)

UNUSUAL = {
    "pairs": RunConfig(
        Data(Dates(1900, 1950, ("full",)), 300, 4, "book", True, *FILE, "book", 9, ("full",)),
        GRUS,
        TRAINING,
        HYPER,
        SEED,
    ),
    "pair_file": RunConfig(
        PairFile(
            ("/a.en", "/a.de"),
            ("/b.en", "/b.de"),
            ("/c.en", "/c.de"),
            ("ab" * 32,) * 6,
            ("from", "to", "tags"),
            "words",
            "words",
            True,
            2,
            512,
            "NFD",
            9,
            8,
            7,
            False,
            3,
        ),
        GRUS,
        TRAINING,
        HYPER,
        SEED,
    ),
    "text": RunConfig(
        Text(*FILE, "word", 2, 99, 0.25, 0.125),
        rnn_language_model.Config(7, 7, 2, "gru", True, True, "modern", "bfloat16"),
        TRAINING,
        HYPER,
        SEED,
    ),
    "synthetic": RunConfig(
        Synthetic(HiddenMarkov(4, 6, 1, 0.25, 0.5), 2000, 300, 400, 5),
        rnn_language_model.Config(9, 9, 3, "rnn", True, True, "modern", "bfloat16"),
        TRAINING,
        HYPER,
        SEED,
    ),
}
"""No field has its default, but `model.initial_state`: two LSTMs alone can have another."""

LSTM = rnn_language_model.Config(3, 4, init="modern")
LSTMS = rnn_seq2seq.Config(rnn_encoder.Config(3), rnn_decoder.Config(3), initial_state="h+c")

PRESETS = {
    f"{data} {model}": config
    for data, model in (("dates", "attention"), ("addition", "peeky"), ("grammar", "rnnlm"))
    for config in [presets.pairings()[data][model]]
}
CONFIGS = {**UNUSUAL, "h+c": replace(UNUSUAL["pairs"], model=LSTMS), **PRESETS}


def usual(value: Any, path: str = "") -> Iterator[str]:
    """The fields that have their defaults."""
    for field in fields(value):
        here, name = getattr(value, field.name), f"{path}{field.name}"
        if is_dataclass(here):
            yield from usual(here, f"{name}.")
        elif field.default is not MISSING and here == field.default:
            yield name


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_comes_back(config, tmp_path):
    """Fails when a field is lost, a tuple becomes a list (and jit refuses it), or data, a task, a
    language or a model forget which one they are.
    """
    restored = from_json(migrated(to_json(config)))
    assert restored == config
    read = config_of(written(tmp_path, to_json(config), {}))
    assert read == forgetting_unused(config)
    assert hash(restored) == hash(config)
    assert family_of(restored) is family_of(config)


@pytest.mark.parametrize("config", UNUSUAL.values(), ids=UNUSUAL)
def test_no_field_is_left_at_its_default(config):
    """Fails when a new field is not in what the other tests write and read."""
    assert {*usual(config)} - {"model.initial_state"} == set()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("epochs", 3, r"extra fields found \(epochs\)$"),
        ("model.decoder.depth", 2, r"model.decoder: extra fields found \(depth\)$"),
        ("training", {"epoch": 3}, r"training: extra fields found \(epoch\)$"),
        ("data.task.digits", 3, r"data.task: extra fields found \(digits\)$"),
        ("data.task.name", "date", r"data.task: no name 'date'; there are addition, dates$"),
        ("data.draws", 0, r"data: draws must be 1 or more, not 0$"),
        ("data.reverse", "false", r"data.reverse: 'false' is not of type bool$"),
        (
            "data.kind",
            "pair",
            r"data: no kind 'pair'; there are pairs, pair_file, text, synthetic$",
        ),
        ("model.kind", "tree", r"model: no kind 'tree'; there are seq2seq, language_model$"),
        ("training.epochs", 2.5, r"training.epochs: 2.5 is not of type int$"),
        ("training.epochs", True, r"training.epochs: True is not of type int$"),
        (
            "training.warmup",
            1,
            r"training: warmup is a fraction of all steps, at least 0 and below 1, not 1.0$",
        ),
        ("training.select", 3, r"training.select: 3 is not of type str$"),
        ("hyper.lr", None, r"hyper.lr: None is not of type float$"),
        ("hyper.lr", -1, r"hyper: lr must be above 0 and finite in float32, not -1.0$"),
        (
            "model.decoder.outputs",
            ["dott"],
            r"model.decoder.outputs\[0\]: dott is none of \[.context., .*\]$",
        ),
        (
            "hyper.lr",
            float("inf"),
            r"hyper: lr must be above 0 and finite in float32, not inf$",
        ),
        (
            "hyper.dropout",
            1 - 1e-12,
            r"hyper: dropout must be at least 0 and below 1, not 0.999999999999$",
        ),
        ("seed", -1, r"seed must be at least 0 and below 2\*\*32, not -1$"),
    ],
)
def test_a_foreign_configuration_is_named(field, value, reason, tmp_path):
    """Fails when an unknown key is passed over, a value is bent to its field's type, or the message
    does not say where.
    """
    content = to_json(presets.preset("dates", "attention"))
    *parents, last = field.split(".")
    place = content
    for parent in parents:
        place = place[parent]
    place[last] = value
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(SeqgenError, match=rf"^{tmp_path}/config.json: .*{reason}"):
        config_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b'{"model": []}'])
def test_what_is_no_configuration_is_named(content, tmp_path):
    """Fails when a file that is not JSON, not UTF-8 or not an object gets a traceback."""
    with pytest.raises(SeqgenError, match=r"cannot read .*/config.json: No such file"):
        config_of(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(SeqgenError, match=f"^{tmp_path}/config.json: .+"):
        config_of(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch", 0), ("steps", 0), ("warmup", 1.0), ("warmup", -0.1)],
)
def test_an_impossible_training_is_refused(field, value):
    """Fails when a run is made that divides by zero, never ends or never begins."""
    with pytest.raises(UsageError, match=field):
        Training(**{field: value})


@pytest.mark.parametrize(
    ("data", "model", "said"),
    [
        (UNUSUAL["pairs"].data, LSTM, "a language_model model cannot be trained on pairs; it fits"),
        (UNUSUAL["text"].data, LSTMS, "a seq2seq model cannot be trained on text; it fits pairs"),
        ("text.txt", LSTM, "'text.txt' is not data that a model can be trained on"),
        (UNUSUAL["text"].data, "lstm", "'lstm' is not a model that can be trained"),
    ],
)
def test_a_model_that_does_not_fit_its_data_is_refused(data, model, said):
    """Fails when what belongs to two families, or to none, is a traceback somewhere later."""
    with pytest.raises(UsageError, match=f"^{said}"):
        family_of(RunConfig(data, model))


# Versions

# fmt: off
TRAINING_1 = {
    "epochs": 25, "batch": 16, "steps": 3, "schedule": "constant", "warmup": 0.0, "select": "last",
    "devices": 1, "optimizer": "adam", "plateau": None, "accumulate": 1, "window": 35,
    "remat": None,
}
HYPER_1 = {"lr": 0.004, "clip": 5.0, "dropout": None, "init_scale": 1.0, "decay": None}
LSTM_1 = {
    "embedding": 3, "hidden": 4, "layers": 1, "cell": "lstm", "tied": False, "mask": "plain",
    "init": "modern", "dtype": "float32", "vocabulary": 5, "kind": "language_model",
}
SIDE_1 = {"embedding": 3, "hidden": 5, "cell": "lstm"}
SHA256 = "04b90eab5c8094c3efeccc92d1f653f07ef18880b93a89dc6cc2fb9dfa330aa7"

VERSION_1 = {
    "pairs": (
        {
            "data": {
                "task": {
                    "first_year": 1990, "last_year": 1995, "formats": ["short", "long"],
                    "name": "dates",
                },
                "draws": 300, "seed": 0, "layout": "book", "reverse": True, "file": None,
                "sha256": None, "split": "leak-free", "validation": 0, "held_out": ["long"],
            },
            "model": {
                "encoder": SIDE_1,
                "decoder": {**SIDE_1, "inputs": ["summary"], "outputs": ["summary", "dot"]},
                "passed": "h+c", "init": "book", "dtype": "float32", "vocabulary": 57,
                "delimiter": 35,
            },
            "training": TRAINING_1, "hyper": HYPER_1, "seed": 0,
        },
        {
            "characters": " ,-/0123456789ABCDEFGHIJLMNOPRSTUVY_abcdefghijlmnoprstuvy",
            "layout": {"kind": "book", "reverse": True, "question_width": 18, "answer_width": 10},
        },
    ),
    "text": (
        {
            "data": {
                "path": "/somewhere/prose.txt", "sha256": SHA256, "unit": "word", "min_count": 1,
                "most": None, "validation": 0.1, "test": 0.1, "kind": "text",
            },
            "model": {**LSTM_1, "mask": "locked"},
            "training": {**TRAINING_1, "batch": 4, "window": 5},
            "hyper": {**HYPER_1, "dropout": 0.1}, "seed": 0,
        },
        {"unit": "word", "table": ["tree", "a", "<eos>", "<unk>", "the"]},
    ),
    "synthetic": (
        {
            "data": {
                "language": {
                    "states": 3, "size": 5, "seed": 0, "concentration": 0.3, "stay": 0.7,
                    "name": "hmm",
                },
                "train": 500, "validation": 100, "test": 100, "seed": 0, "kind": "language",
            },
            "model": LSTM_1,
            "training": {**TRAINING_1, "batch": 4, "window": 5}, "hyper": HYPER_1, "seed": 0,
        },
        {"unit": "word", "table": ["a", "b", "c", "d", "e"]},
    ),
}
"""config.json and vocabulary.json as they were written before they had a version."""
# fmt: on

TEXT = Training(steps=3, batch=4, window=5)
DATES = Dates(1990, 1995, ("short", "long"))
PEEKY = rnn_decoder.Config(3, 5, inputs=("context",), outputs=("context", "dot"))

MIGRATED = {
    "pairs": RunConfig(
        Data(DATES, 300, padding="book", reverse=True, test_only_formats=("long",)),
        rnn_seq2seq.Config(rnn_encoder.Config(3, 5), PEEKY, initial_state="h+c"),
        Training(steps=3, batch=16),
        HyperConfig(lr=0.004),
    ),
    "text": RunConfig(
        Text("/somewhere/prose.txt", SHA256, "word", validation=0.1, test=0.1),
        replace(LSTM, variational_dropout=True),
        TEXT,
        HyperConfig(lr=0.004, dropout=0.1),
    ),
    "synthetic": RunConfig(
        Synthetic(HiddenMarkov(), 500, 100, 100), LSTM, TEXT, HyperConfig(lr=0.004)
    ),
}

SIZES = {
    "pairs": Sizes(57, 57, Special(0, 35, 35)),
    "text": Sizes(0, 5, Special(unk=3)),
    "synthetic": Sizes(0, 5, Special()),
}


def written(folder: Path, config: Any, vocabulary: Any) -> Path:
    """A folder with a run's files; those of version 3 are covered."""
    files = {"config.json": config, "vocabulary.json": vocabulary, "versions.json": {}}
    contents = {name: json.dumps(content).encode() for name, content in files.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    if config.get("version", 1) == 3:
        manifest.create(folder, contents)
    return folder


@pytest.mark.parametrize("kind", VERSION_1)
def test_a_run_of_version_1_is_read(kind, tmp_path):
    """Fails when a name that changed is refused, a field keeps its default instead of what the file
    says, or tokens, special ones among them, are other ones than they were.
    """
    config, vocabulary = VERSION_1[kind]
    with pytest.warns(UserWarning, match="^a run of an earlier version, without SHA256SUMS: "):
        run = open_at(written(tmp_path, config, vocabulary))
    assert run.config == MIGRATED[kind]
    assert run.sizes == SIZES[kind]
    assert run.tokenizer.table == tuple(vocabulary.get("characters") or vocabulary["table"])
    if kind == "pairs":
        assert run.padding == Padding("book", True, 18, 10)


@pytest.mark.filterwarnings("ignore:a run of an earlier version")
def test_no_blank_fills_a_masked_row(tmp_path):
    """Fails when masked rows of version 1 are filled up with another id than the first."""
    config, vocabulary = deepcopy(VERSION_1["pairs"])
    config["data"]["layout"] = vocabulary["layout"]["kind"] = "masked"
    vocabulary["characters"] = "_0123456789+ "
    run = open_at(written(tmp_path, config, vocabulary))
    assert run.sizes.special == Special(0, 0, 0)


@pytest.mark.parametrize("version", [4, 99, 0, -1, "2", True, None])
def test_an_unknown_version_is_refused(version, tmp_path, capsys):
    """Fails when a later file is read as if it were ours, or its version is not named in a line."""
    content = {**to_json(MIGRATED["pairs"]), "version": version}
    run = written(tmp_path, content, VERSION_1["pairs"][1])
    assert main(["evaluate", str(run)]) == 1
    out, err = capsys.readouterr()
    said = f"seqgen: error: {run}/config.json: version {version!r} is none of 1 to 3: "
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(said)


@pytest.mark.filterwarnings("ignore:a run of an earlier version")
def test_old_names_are_read_in_old_files_alone(tmp_path):
    """Fails when an old name is taken up in a new file, or an unknown one in an old file."""
    old, vocabulary = VERSION_1["text"]
    for content in ({**old, "version": 2}, {**old, "colour": "red"}):
        with pytest.raises(SeqgenError, match=r"config.json: (model: )?extra fields found \("):
            open_at(written(tmp_path, content, vocabulary))
    assert open_at(written(tmp_path, {**old, "version": 1}, vocabulary)).config == MIGRATED["text"]


def test_what_is_written_has_the_version(tmp_path):
    """Fails when a new run's files would be taken for old ones."""
    run = create(replace(MIGRATED["synthetic"], training=replace(TEXT, batch=2)), "run", tmp_path)
    content = json.loads((run.path / "config.json").read_text())
    assert (content["version"], content["data"]["kind"]) == (3, "synthetic")
    assert open_at(run.path).config == run.config
    assert list(json.loads((run.path / "vocabulary.json").read_text())) == ["tokenizer"]
