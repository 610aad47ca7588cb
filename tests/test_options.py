"""Whatever is asked for happens or is refused: every field of a configuration, every flag."""

import dataclasses
import hashlib
import importlib
import math
import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from seqgen import presets, sweeps
from seqgen.cli import COMMANDS
from seqgen.cli.flags import flag, flags_of
from seqgen.config import RunConfig
from seqgen.errors import SeqgenError
from seqgen.families import FAMILIES, complete, create, fit, flat
from seqgen.families.schema import forgetting_unused, unstructured
from seqgen.interop.book import from_params
from seqgen.interop.pickles import write_pickle
from seqgen.models import build
from seqgen.storage import log
from seqgen.sweeps.spec import override
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data, prepare
from seqgen.tasks.pair_file import PairFile
from seqgen.tasks.synthetic import LANGUAGES, Synthetic
from tests import test_commands

seq, refused, elsewhere = test_commands.seq, test_commands.refused, test_commands.elsewhere


class Silent:
    """A `solo.Report` that says nothing."""

    def begin(self, program: Any) -> None: ...

    def advance(self, step: int, totals: Any, rate: float) -> None: ...

    def evaluated(self, event: Any, samples: str) -> None: ...

    def note(self, line: str) -> None: ...


# Fields of a configuration

# So few rows are learned by heart: a later epoch is not the best, and `select` and `plateau` count.
TINY_PAIRS = {
    "encoder.hidden": 4,
    "decoder.hidden": 4,
    "encoder.embedding": 3,
    "decoder.embedding": 3,
    "batch": 2,
    "epochs": 6,
    "lr": 0.3,
    "schedule": "cosine",
}
TINY_TEXT = {
    "model.embedding": 4,
    "model.hidden": 4,
    "batch": 4,
    "window": 8,
    "epochs": 5,
    "lr": 8.0,
    "variational_dropout": False,
}


def text_file() -> str:
    return "".join(f"the cat {verb} on the {noun}.\n" for verb in "abcdefg" for noun in "hijklmnop")


def own_row(i: int) -> str:
    """Words of other lengths, and their syllables."""
    return f"{'ab' * (i % 7)}c{i} {i % 3}\t{'가나'[: i % 2]}X{i}\n"


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, RunConfig]:
    """A small configuration of every kind of data."""
    folder = tmp_path_factory.mktemp("bases")
    (folder / "corpus.txt").write_text(text_file())
    (folder / "other.txt").write_text(text_file()[::-1])
    prepare(Data(Addition(2), draws=300), folder / "sums.txt")
    pairs = {task: presets.preset(task, "attention") for task in ("addition", "dates")}
    texts = presets.language("text", "language-model")
    found = {name: override(config, {**TINY_PAIRS, "draws": 40}) for name, config in pairs.items()}
    found["file"] = override(pairs["addition"], {"file": str(folder / "sums.txt"), **TINY_PAIRS})
    (folder / "own.tsv").write_text("".join(map(own_row, range(200))))
    (folder / "more.tsv").write_text("".join(map(own_row, range(200, 260))))
    own = PairFile((str(folder / "own.tsv"),))
    found["own"] = override(dataclasses.replace(pairs["addition"], data=own), TINY_PAIRS)
    found["text"] = override(texts, {**TINY_TEXT, "data.path": str(folder / "corpus.txt")})
    for name, language in LANGUAGES.items():
        data = Synthetic(language(), train=2000, validation=200, test=200)
        found[name] = override(dataclasses.replace(texts, data=data), TINY_TEXT)
    return found


PAIRS_DATA = {
    "draws": 100, "seed": 1, "padding": "book", "reverse": False, "split": "book",
    "test_only_formats": ["short"],
}  # fmt: skip
SYNTHETIC = {"train": 1500, "validation": 150, "test": 150, "seed": 1}
DATA: dict[str, dict[str, Any]] = {
    "addition": {**PAIRS_DATA, "task.digits": 2, "test_only_formats": ["3+3"]},
    "dates": {
        **PAIRS_DATA, "task.first_year": 1990, "task.last_year": 2000, "task.formats": ["full"],
    },
    "file": {"seed": 1, "padding": "book", "reverse": False, "split": "book"},
    "own": {
        "train": "more.tsv", "validation": "more.tsv", "test": "more.tsv", "columns": ["2", "1"],
        "source_tokens": "words", "target_tokens": "bytes", "shared": True, "min_count": 120,
        "vocabulary": 260,
        "normalization": "NFD", "max_source": 9, "max_target": 3, "split_seed": 1,
        "reverse": False, "buckets": 2,
    },
    "text": {
        "path": "other.txt", "unit": "word", "min_count": 20, "most": 3, "validation": 0.2,
        "test": 0.2,
    },
    "markov": {
        **SYNTHETIC, "language.order": 1, "language.size": 9, "language.seed": 1,
        "language.concentration": 0.9,
    },
    "hmm": {
        **SYNTHETIC, "language.states": 4, "language.size": 6, "language.seed": 1,
        "language.concentration": 0.9, "language.stay": 0.2,
    },
    "grammar": {**SYNTHETIC, "language.nesting": 0.1, "language.clauses": 0.3},
}  # fmt: skip
"""Another value of every field of the data, with which the data must be others."""

TRAINING = {
    "training.epochs": 2, "training.batch": 5, "training.steps": 7, "training.schedule": "constant",
    "training.warmup": 0.5, "training.select": "best", "training.optimizer": "sgd",
    "training.patience": 1,
    "training.plateau": 4.0, "hyper.lr": 0.01, "hyper.clip": 0.01, "hyper.dropout": 0.4,
    "hyper.init_scale": 0.5, "hyper.decay": 0.3, "seed": 1, "training.label_smoothing": 0.3,
    "hyper.ema": 0.5, "training.start": "base",
}  # fmt: skip
TRAINED: dict[str, dict[str, Any]] = {
    "addition": {
        **TRAINING, "training.evaluate_rows": 2,
        "model.encoder.embedding": 4, "model.encoder.cell": "gru",
        "model.decoder.embedding": 4, "model.decoder.cell": "rnn",
        "model.decoder.inputs": ["context"], "model.decoder.outputs": ["additive"],
        "model.initial_state": "h+c", "model.init": "book", "model.dtype": "bfloat16",
    },
    "text": {
        **TRAINING, "training.window": 4, "model.embedding": 5, "model.hidden": 5,
        "model.layers": 2, "model.cell": "gru", "model.tied": True, "model.init": "book",
        "model.dtype": "bfloat16",
    },
}  # fmt: skip
"""Another value of every other field, with which the trained run must be another."""

TOGETHER = {
    "training.schedule": {"warmup": 0.0},
    "training.patience": {"select": "loss"},
    "data.vocabulary": {"target_tokens": "bpe"},
}
"""What a field's other value needs beside it."""

WIDTHS = {"model.encoder.hidden": 5, "model.decoder.hidden": 5}
"""Of dot attention both change together; each changes the shapes of the weights."""


class Same(NamedTuple):
    """A value that changes no number, and the test of what it does change."""

    value: Any
    proof: str


SAME: dict[str, dict[str, Same]] = {
    "addition": {
        "training.devices": Same(
            2, "test_sharding.test_a_batch_split_over_devices_is_the_same_step"
        ),
        "training.accumulate": Same(2, "test_objective.test_parts_take_the_memory_of_one"),
    },
    "text": {
        "training.devices": Same(
            2, "test_sharding.test_a_batch_split_over_devices_is_the_same_step"
        ),
        "training.accumulate": Same(2, "test_language_runs.test_ways_to_save_memory_train_alike"),
        "training.remat": Same(4, "test_language_runs.test_ways_to_save_memory_train_alike"),
    },
}
"""All that cannot change numbers, but in their last bits."""

REFUSED: dict[str, dict[str, Any]] = {
    "addition": {
        "data.validation": 5, "training.window": 7, "training.remat": 5,
        "training.batch_tokens": 64,
    },
    "dates": {"data.validation": 5},
    "file": {
        "data.draws": 50, "data.task.digits": 2, "data.validation": 5,
        "data.test_only_formats": ["none"],
    },
    "own": {"training.window": 7, "training.remat": 5},
    "text": {
        "model.variational_dropout": True, "training.batch_tokens": 64,
        "training.evaluate_rows": 5,
    },
}  # fmt: skip
"""What is refused on such data."""

COMBINED = [
    ("addition", {"schedule": "constant", "warmup": 0.9}),
    ("text", {"schedule": "constant", "warmup": 0.9}),
    ("file", {"split": "book", "data.seed": 1}),
    ("text", {"unit": "byte", "min_count": 1000}),
    ("text", {"unit": "byte", "most": 3}),
    ("own", {"batch_tokens": 64, "batch": 4}),
    ("own", {"source_tokens": "bytes", "target_tokens": "bytes", "min_count": 2}),
    ("own", {"source_tokens": "bytes", "target_tokens": "bpe", "min_count": 2}),
    ("own", {"target_tokens": "bytes", "vocabulary": 300}),
    ("text", {"variational_dropout": True, "dropout": 0.0}),
]
"""Values that count alone, and cannot beside another."""

FIXED = {
    "data.kind", "model.kind", "data.task.name", "data.language.name", "data.file", "data.sha256",
    "training.start_steps", "training.start_sha256",
}  # fmt: skip
"""Names, of which each has a base here; `file` is one, too; and what is pinned, not chosen."""


def test_the_tables_are_whole(bases):
    """Fails when a field of a configuration stands in no table: a new field must be in one."""
    assert {type(base.data) for base in bases.values()} == {
        kind for family in FAMILIES for kind in family.data.values()
    }
    for name, base in bases.items():
        data = {f"data.{field}" for field in DATA[name]}
        trained = TRAINED.get(name, {}).keys() | SAME.get(name, {}).keys()
        known = data | trained | REFUSED.get(name, {}).keys() | FIXED
        known |= WIDTHS.keys() if name == "addition" else set()
        fields = {field for field in flat(base) if name in TRAINED or field.startswith("data.")}
        missing = fields - known
        assert not missing, (name, sorted(missing))
    proofs = {each.proof for table in SAME.values() for each in table.values()}
    for proof in proofs | {*TRIED_ELSEWHERE.values()}:
        module, _, test = proof.partition(".")
        assert callable(getattr(importlib.import_module(f"tests.{module}"), test))


def digest(dataset: Any) -> str:
    """All of a data set that a run can see."""
    names = "tokenizer", "source_tokenizer", "padding", "buckets"
    told = [getattr(dataset, name, None) for name in names]
    found = hashlib.sha256(repr(told).encode())
    for split in ("train", "validation", "test"):
        part = getattr(getattr(dataset, "splits", dataset), split)
        found.update(repr(part).encode() if isinstance(part, list) else part.tobytes() + b"|")
    return found.hexdigest()


@pytest.mark.parametrize("name", DATA)
def test_every_field_of_data_counts(bases, name):
    """Fails when a field of the data is accepted and changes neither rows nor tokens."""
    base = bases[name]
    seen = {digest(complete(base)[1]): "nothing"}
    for field, value in DATA[name].items():
        if field == "path":
            value = str(Path(base.data.path).with_name(value))
        if field in ("train", "validation", "test") and name == "own":
            value = [str(Path(base.data.train[0]).with_name(value))]
        if beside := TOGETHER.get(f"data.{field}", {}):
            seen[digest(complete(override(base, beside))[1])] = "what stands beside it"
        made = digest(complete(override(base, {f"data.{field}": value, **beside}))[1])
        assert made not in seen, f"{field} changes {seen[made]}"
        seen[made] = field


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *(
            (name, {field: value})
            for name, table in REFUSED.items()
            for field, value in table.items()
        ),
        *COMBINED,
    ],
)
def test_what_cannot_count_is_refused(bases, name, changes):
    """Fails when a field that can change nothing is taken in silence."""
    with pytest.raises(SeqgenError) as refusal:
        complete(override(bases[name], changes))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "changes"), COMBINED)
def test_an_old_run_forgets_what_never_counted(bases, name, changes):
    """Fails when an old run cannot be opened for a field that was ignored, or counts it now."""
    old = override(bases[name], changes)
    new = forgetting_unused(old)
    assert new != old
    complete(new)
    then, now = flat(old), flat(new)
    forgotten = {path.rpartition(".")[2] for path in now if now[path] != then[path]}
    assert forgotten <= {field.rpartition(".")[2] for field in changes}


def trained(config: RunConfig, folder: Path) -> dict[str, Any]:
    """What a run has come to: its selected weights, and its log without times."""
    run = create(config, str(folder))
    fit(run, Silent())
    weights = hashlib.sha256()
    for leaf in jax.tree.leaves(run.params):
        weights.update(np.asarray(leaf).tobytes())
    scores = [event["loss"] for event in log.read(run.path) if event["event"] == "evaluate"]
    return {"weights": weights.hexdigest(), "scores": scores}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_every_other_field_counts(bases, name, tmp_path):
    """Fails when a field is accepted and the run that it makes is another field's or no other."""
    seen = {"nothing": trained(bases[name], tmp_path / "base")}
    table = TRAINED[name] | (WIDTHS if name == "addition" else {})
    for i, (field, value) in enumerate(table.items()):
        value = str(tmp_path / value) if field == "training.start" else value
        changes = {field: value, **TOGETHER.get(field, {})}
        if field in WIDTHS:
            changes["model.decoder.outputs"] = ["general"]
        seed = changes.pop("seed", 0)
        config = dataclasses.replace(override(bases[name], changes), seed=seed)
        seen[field] = trained(config, tmp_path / str(i))
        alike = [other for other in seen if other != field and seen[other] == seen[field]]
        assert not alike, f"{field} changes {alike[0]}"
    gentle = override(bases[name], {"lr": 0.01})  # or rounding would grow
    expected = trained(gentle, tmp_path / "gentle")
    for field, each in SAME[name].items():
        made = trained(override(gentle, {field: each.value}), tmp_path / field)
        np.testing.assert_allclose(made["scores"], expected["scores"], rtol=1e-4)


# Flags of the commands

SAMPLED = "--temperature 9"
GENERATION = {
    "--temperature": ("", "9"),
    "--top-k": (SAMPLED, "2"),
    "--top-p": (SAMPLED, "0.1"),
    "--min-p": (SAMPLED, "0.95"),
    "--repetition-penalty": ("", "100"),
    "--no-repeat-ngram": ("", "1"),
    "--beam": ("", "4"),
    "--length-penalty": ("--beam 4", "-9"),
    "--seed": (SAMPLED, "1"),
}
SCORED = {"--split": ("", "validation"), "--metrics": ("", "bleu"), "--json": ("", "")}
ATTENDING = {**GENERATION, "--min-length": ("", "4"), "--coverage-penalty": ("--beam 4", "9")}
FLAGS: dict[str, dict[str, tuple[str, str]]] = {
    "predict": {
        **ATTENDING,
        "--n-best": ("--beam 4", "2"),
        "--prefix": ("", "9"),
        "--json": ("", ""),
    },
    "attention": {
        **ATTENDING,
        "--hypothesis": ("--beam 4", "1"),
        "--output": ("", "other.npz"),
    },
    "generate": {
        **GENERATION,
        "--length-penalty": ("--beam 4 --end e", "-9"),
        "--min-length": ("--end e", "25"),
        "--n": (SAMPLED, "2"),
        "--prompt": ("", "cat"),
        "--length": ("", "9"),
        "--ban": ("", "e"),
        "--end": ("", "e"),
        "--json": ("", ""),
    },
    "evaluate": SCORED,
    "compare": SCORED,
    "audit": {"--draws": ("", "900"), "--data-seed": ("", "1"), "--file": ("", "{sums}")},
    "sweep": {
        "--only": ("", "baseline"),
        "--seeds": ("", "0:2"),
        "--set": ("", "steps=7"),
        "--split": ("--data {sums}", "leak-free"),
        "--data": ("", "{sums}"),
        "--name": ("", "other"),
        "--runs": ("", "elsewhere"),
        "--member-axis": ("", "vmap"),
        "--members-per-batch": ("", "1"),
        "--max-time": ("", "90s"),
        "--dry-run": ("", ""),
    },
    "import-book": {
        "--model": ("", "peeky"),
        "--data": ("", "{corpus}"),
        "--run": ("", "other"),
        "--reverse": ("", "True"),
    },
    "score": {},
    "export-book": {},
    "resume": {},
    "accept": {},
    "average": {},
    "doctor": {},
}
"""A command's flags: words that stand before one, and its value."""

PLACE = {"--name", "--runs", "--seed", "--max-time", "--log"}
"""Flags of `train` that are no fields; `test_commands` and `test_sinks` try them."""

TRIED_ELSEWHERE = {
    **dict.fromkeys(
        [("average", f"--{flag}") for flag in ("last", "best", "name", "runs")],
        "test_start.test_the_mean_of_epochs",
    ),
    ("resume", "--epochs"): "test_manifest.test_more_epochs_are_those_of_a_longer_run",
    ("resume", "--max-time"): "test_commands.test_the_time_of_a_command",
    ("resume", "--log"): "test_sinks.test_training_is_told_as_it_goes",
    ("sweep", "--log"): "test_sweeps.test_members_have_sinks_of_their_own",
    ("predict", "--input"): "test_commands.test_predict_from_a_file",
    ("predict", "--output"): "test_commands.test_predict_from_a_file",
    ("predict", "--replace-unknown"): "test_own_runs.test_unknown_pieces_are_replaced",
    ("attention", "--input"): "test_attention_export.test_the_maps_of_a_file",
    ("attention", "--pages"): "test_attention_export.test_pages",
    ("generate", "--coverage-penalty"): "test_options.test_a_flag_that_cannot_count_is_refused",
    ("predict", "--members"): "test_ensemble.test_the_commands_take_several_runs",
    ("evaluate", "--members"): "test_ensemble.test_the_commands_take_several_runs",
    ("attention", "--members"): "test_ensemble.test_the_commands_take_several_runs",
}
"""Flags of commands that change a run, and their tests."""


def test_every_flag_has_a_case():
    """Fails when a command gets a flag that no test tries."""
    commands = {name: importlib.import_module(module) for name, (module, _) in COMMANDS.items()}
    train = commands.pop("train")
    assert {flag(field.name) for field in dataclasses.fields(train.Place)} == PLACE
    for name, module in commands.items():
        flags = flags_of(module.command) if hasattr(module, "command") else set()
        elsewhere = {flag for command, flag in TRIED_ELSEWHERE if command == name}
        assert flags == FLAGS[name].keys() | elsewhere, name


@pytest.fixture(scope="module")
def text_run(bases, tmp_path_factory) -> Path:
    """A tiny language model."""
    config = override(bases["text"], {"lr": 0.05})
    run = create(config, str(tmp_path_factory.mktemp("text") / "run"))
    fit(run, Silent())
    return run.path


@pytest.fixture
def base_words(attention_run, text_run, bases, monkeypatch) -> dict[str, str]:
    """What each command is given beside the flag that is tried."""
    sums = " ".join(f"{i}+{j}" for i in range(3, 60, 9) for j in (7, 48))
    file = bases["file"].data.file
    vocabulary = complete(presets.book("addition", "baseline", file, reverse=False))[1].sizes
    cfg = presets.model("baseline", embedding=3, hidden=4)
    write_pickle(
        Path("weights.pkl"), from_params(cfg, build(cfg, vocabulary).init(jax.random.key(0)))
    )
    write_module("tiny", bases["addition"])
    for name in ("sweep", "summary"):
        monkeypatch.setattr(sweeps, name, partial(told, name))
    return {
        "predict": f"{attention_run} {sums}",
        "attention": f"{attention_run} {sums} -o map.json",
        "generate": f"{text_run} --prompt the --length 30",
        "evaluate": f"{attention_run}",
        "compare": f"{attention_run} {attention_run}",
        "audit": "dates --draws 1000",
        "sweep": "tiny --seeds 0:1",
        "import-book": f"weights.pkl --model baseline --data {file} --run imported",
    }


def write_module(name: str, base: RunConfig) -> None:
    """A small experiment in the current folder."""
    sys.modules.pop(name, None)
    Path(f"{name}.py").write_text(
        "from seqgen.families.schema import from_json\n"
        f"def base(): return from_json({unstructured(base)!r})\n"
        "def variants(): return {'baseline': {}, 'faster': {'lr': 0.5}}\n"
    )


def told(function: str, planned: Any, folder: Path, **options: Any) -> list[str]:
    """Print all that a sweep is told; nothing is trained."""
    members = [(str(member.path), flat(member.config)) for member in planned]
    limited = options.get("until", math.inf) < math.inf
    print(function, folder, members, options.get("axis"), options.get("at_once"), limited)
    return []


CASES = [(name, flag, *each) for name, table in FLAGS.items() for flag, each in table.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flag", "before", "value"), CASES)
def test_every_flag_counts(seq, base_words, bases, name, flag, before, value):
    """Fails when a flag is taken, and what is printed and written is what it is without it."""
    places = {"sums": bases["file"].data.file, "corpus": bases["text"].data.path}
    words = [*shlex.split(base_words[name]), *shlex.split(before.format(**places))]
    asked = [flag, *shlex.split(value.format(**places))]
    if flag in words:  # a base needs one already
        at = words.index(flag)
        changed = [*words[:at], *asked, *words[at + 2 :]]
    elif name == "audit" and flag == "--file":
        changed = asked
    else:
        changed = [*words, *asked]
    assert made(seq, name, words)[0] == 0
    assert made(seq, name, words) != made(seq, name, changed)


def made(seq: Any, name: str, words: list[str]) -> tuple[Any, ...]:
    """The exit code of a command, what it prints, and the files that it makes."""
    before = set(Path.cwd().rglob("*"))
    code, out, err = seq(name, *words)
    new = sorted(path for path in set(Path.cwd().rglob("*")) - before if path.is_file())
    written = [(str(path), path.read_bytes()) for path in new if path.suffix in (".json", ".npz")]
    for path in new:
        path.unlink()
    shutil.rmtree("runs", ignore_errors=True)
    return code, out, written, code and err


TAKEN_IN_VAIN = [
    ("predict {pairs} 1+2 --length-penalty 5", "--length-penalty 5.0 is of a --beam"),
    ("predict {pairs} 1+2 --seed 5", "--seed 5 is of the sampling"),
    ("predict {pairs} 1+2 --coverage-penalty 1", "--coverage-penalty 1.0 is of a --beam"),
    ("predict {book} 1+2 --beam 2 --coverage-penalty 1", "and the model does not attend"),
    ("generate {text} --beam 3 --coverage-penalty 1", "--coverage-penalty 1.0 is of attention"),
    ("predict {pairs} 1+2 --replace-unknown", "its answers have no <unk> (--replace-unknown)"),
    ("predict {book} 1+2 --replace-unknown", "its model does not attend"),
    ("predict {pairs} 1+2 --prefix 1234", "it has 4 tokens, and there is room for 1 to 3"),
    ("predict {pairs} 1+2 --prefix 1_", "--prefix '1_': its token 2 is the end"),
    ("predict {pairs} 1+2 --prefix 1x", "--prefix '1x': unknown character 'x' at position 2"),
    ("predict {book} 1+2 --min-length 7", "--min-length 7 would change nothing"),
    ("attention {pairs} 1+2 --length-penalty 5", "--length-penalty"),
    ("attention {pairs} 1+2 --seed 5", "--seed 5"),
    ("attention {pairs} 1+2 --pages svg", "--pages svg would change nothing: attention.png is one"),
    ("attention {pairs} --input {sums}", "attention.png is one figure, and a file has many"),
    ("attention {pairs} 1+2 --input {sums} -o a.npz", "needs a TEXT to answer, or the --input"),
    ("attention {pairs} 1+2 -o {folder}", "exists; use another --output"),
    ("generate {text} --length-penalty 5", "--length-penalty"),
    ("generate {text} --seed 5", "--seed 5"),
    ("generate {text} --min-length 5", "--end"),
    ("predict {pairs} 1+2 --min-length 9", "--min-length 9 cannot be: there are 4 tokens at most"),
    ("generate {text} --end e --length 5 --min-length 6", "there are 5 tokens at most"),
    ("generate {text} --beam 3 --length-penalty 5", "--end"),
    ("predict {book} 1+2 --beam 3 --length-penalty 5", "--length-penalty 5.0 would change"),
    ("train addition attention --data {sums} --draws 5", "--draws 5 would change nothing"),
    ("train addition attention --data {sums} --data-seed 5", "--data-seed 5 would change"),
    ("train addition attention --data {sums} --task.digits 2", "--task.digits 2 would change"),
    ("train addition attention --schedule constant --warmup 0.9", "--warmup 0.9 would change"),
    ("train addition attention --from {pairs} --init-scale 2", "--init-scale 2.0 would change"),
    ("train addition attention --window 7", "--window 7 would change nothing"),
    ("train addition attention --patience 2", "use --select best, or the name of a score"),
    ("train addition attention --select loss --patience 0", "--patience must be 1 or more"),
    ("train addition attention --select perplexity", "--select 'perplexity' is none of last,"),
    ("train text language-model --evaluate-rows 9", "text has no rows to choose from"),
    ("train addition attention --steps 7 --epochs 3", "--steps and --epochs both"),
    ("train text language-model --schedule constant --warmup 0.9", "--warmup 0.9 would"),
    ("train text language-model --unit byte --min-count 1000", "--min-count 1000 would"),
    ("train text language-model --unit byte --most 3", "--most 3 would"),
    ("train text language-model --model.variational-dropout", "--model.variational-dropout True"),
    ("audit --file {sums} --draws 5", "--draws"),
    ("audit --file {sums} --data-seed 5", "--data-seed"),
    ("sweep tiny --set training.window=7", "--set window="),
    ("sweep tiny --data {sums} --set draws=7", "--set data.draws="),
    ("sweep tiny --set steps=7 --set epochs=3", "--set one of the two"),
    ("sweep texts --member-axis vmap", "--member-axis vmap would change nothing"),
    ("sweep texts --members-per-batch 3", "--members-per-batch 3 would change nothing"),
    ("sweep texts --members-per-batch 3 --dry-run", "--members-per-batch 3 would"),
    (
        "import-book none.pkl --model rnnlm --data d --run r --reverse True",
        "--reverse is of questions",
    ),
]


@pytest.mark.parametrize(("words", "line"), TAKEN_IN_VAIN)
def test_a_flag_that_cannot_count_is_refused(
    refused, bases, attention_run, book_run, text_run, words, line
):
    """Fails when a command takes a flag that changes nothing beside its others, or writes anything
    before it refuses.
    """
    write_module("tiny", bases["addition"])
    write_module("texts", bases["text"])
    before = {*Path.cwd().rglob("*")}
    places = {"pairs": attention_run, "book": book_run, "text": text_run}
    places |= {"sums": bases["file"].data.file, "folder": Path.cwd().parent}
    said = refused(2, *shlex.split(words.format(**places)))
    assert line in said
    after = {path for path in Path.cwd().rglob("*") if "__pycache__" not in path.parts}
    assert after <= before
