"""The library speaks of fields, the command line of flags: what an error says where."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated

import pytest

import seqgen
from seqgen import cli, presets
from seqgen.cli import import_book, sweep
from seqgen.cli.flags import HIDDEN, Flat, flag, flags_of, in_flags
from seqgen.cli.parse import call
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import flat

LIBRARY = [
    path
    for path in Path(seqgen.__file__).parent.rglob("*.py")
    if "cli" not in path.relative_to(Path(seqgen.__file__).parent).parts
]
"""All modules but the command line's."""


def flags(text: str) -> set[str]:
    """What looks like a flag."""
    return set(re.findall(r"--[a-z][\w.-]*", text))


@pytest.fixture
def offered(capsys):
    """The flags that a command's help shows."""

    def read(*words: str) -> set[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit, match="0"):
            cli.main([*words, "--help"])
        return flags(capsys.readouterr().out)

    return read


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("training.batch", "--batch"),
        ("hyper.init_scale", "--init-scale"),
        ("model.encoder.hidden", "--model.encoder.hidden"),
        ("model.initial_state", "--model.initial-state"),
        ("data.task.digits", "--task.digits"),
        ("data.language.states", "--language.states"),
        ("data.file", "--data"),
        ("data.path", "--data"),
        ("data.seed", "--data-seed"),
        ("training.start", "--from"),
        ("data.min_count", "--min-count"),
        ("generation.no_repeat_ngram", "--no-repeat-ngram"),
        ("seed", "--seed"),
        ("name", "--name"),
    ],
)
def test_a_field_has_its_flag(field, said):
    """Fails when a part's name stands before its flag, or is missing, or words are not joined."""
    assert flag(field) == said


@pytest.mark.parametrize(
    ("data", "model"),
    [("dates", "attention"), ("text", "language-model"), ("markov", "rnnlm")],
)
def test_every_field_is_asked_for_by_its_flag(data, model, offered):
    """Fails when a message would name a flag that `seqgen train` does not have."""
    named = {"data.kind", "model.kind", "data.task.name", "data.language.name"} | HIDDEN
    wanted = {flag(field) for field in flat(presets.pairings()[data][model]) if field not in named}
    assert wanted - offered("train", data, model) == set()


@pytest.mark.parametrize(
    ("message", "fields", "said"),
    [
        ("use a smaller batch", ["training.batch"], "use a smaller --batch"),
        (
            "4 lanes; use a smaller batch or window",
            ["training.batch", "training.window"],
            "4 lanes; use a smaller --batch or --window",
        ),
        ("a name; use another name", ["name"], "a name; use another --name"),
        ("a min_count below 5", ["data.min_count"], "a --min-count below 5"),
        ("batches, sub-batch, batch-size, a.batch", ["training.batch"], "{} (--batch)"),
        ("it is not finite", ["hyper.lr", "hyper.clip"], "{} (--lr, --clip)"),
        ("try a lower lr", ["hyper.lr", "hyper.clip"], "try a lower --lr (--clip)"),
        ('the unit "byte"', ["data.unit"], 'the --unit "byte"'),
        (
            "name exists; use another name, or `seqgen resume name` to go on",
            ["name"],
            "name exists; use another --name, or `seqgen resume name` to go on",
        ),
        ("runs/name/x: another name", ["name"], "runs/name/x: another --name"),
        ("another name; see name/x, 'name' and runs/name", ["name"],
         "another --name; see name/x, 'name' and runs/name"),
    ],
)  # fmt: skip
def test_a_message_in_flags(message, fields, said):
    """Fails when a flag takes the place of another word than the last that is the field's name, of
    a part of a word or of a path, or is not said at all.
    """
    assert in_flags(message, fields) == said.format(message)


def test_an_error_names_what_the_command_takes():
    """Fails when a message names a flag that the command does not have, not one that it has, or
    fields change what the library itself raises.
    """
    message = "a smaller batch, another name or a wider beam"
    fields = ("training.batch", "name", "generation.beam")

    def other(name: str = "", generation: Annotated[GenerationConfig, Flat] = GREEDY) -> None:
        raise SeqgenError(message, fields=fields)

    def neither() -> None:
        raise SeqgenError(message, fields=fields)

    assert str(UsageError(message, fields=fields)) == message
    for command, shown in (
        (other, "a smaller batch, another --name or a wider --beam"),
        (neither, message),
    ):
        with pytest.raises(SeqgenError, match=f"^{shown}$"):
            call(command, "seqgen probe", [])


COMMANDS = [
    "sweep",
    "resume",
    "average",
    "evaluate",
    "compare",
    "predict",
    "generate",
    "score",
    "attention",
]


@pytest.mark.parametrize("name", [*COMMANDS, "import-book", "export-book", "audit"])
def test_the_flags_of_a_command_are_offered(name, offered):
    """Fails when a message would name a flag that the command does not have."""
    module = import_module(cli.COMMANDS[name][0])
    assert flags_of(module.command) - offered(name) == set()


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("training.batch", "--set batch="),
        ("hyper.lr", "--set lr="),
        ("data.seed", "--set data.seed="),
        ("model.encoder.hidden", "--set model.encoder.hidden="),
        ("data.file", "--data"),
        ("data.split", "--split"),
        ("name", "--name"),
        ("seed", None),
        ("generation.beam", None),
    ],
)
def test_a_sweep_s_fields_are_set(field, said):
    """Fails when a sweep's message names a flag of `seqgen train`, or a field that --set takes for
    another.
    """
    assert sweep.shown(field) == said


def test_an_assignment_stands_after_the_message():
    """Fails when it stands in the place of a word of the message."""
    line = in_flags("a batch of 9 is too much", ["training.batch"], sweep.shown)
    assert line == "a batch of 9 is too much (--set batch=)"


def test_an_imported_run_is_named_by_its_own_flag(tmp_path, monkeypatch, capsys):
    """Fails when `seqgen import-book` speaks of --name, which it does not have."""

    def exists(*_):
        raise UsageError("it exists; use another name", fields=("name",))

    monkeypatch.setattr(import_book, "read_pickle", exists)
    words = ["import-book", "x.pkl", "--model", "rnnlm", "--data", "x", "--run", "it"]
    assert cli.main(words) == 2
    assert capsys.readouterr().err == "seqgen: error: it exists; use another --run\n"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in LIBRARY:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def test_the_library_names_no_flags():
    """Fails when a message of the library tells somebody who calls it from Python of a flag."""
    found = []
    for path, tree in trees():
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if text and id(node) not in docstrings and flags(node.value):
                found.append(f"{path}:{node.lineno}: {node.value}")
    assert found == []
    assert len(LIBRARY) > 50


def test_the_fields_of_errors_are_fields(offered):
    """Fails when an error names a field that no command asks for."""
    said: set[str] = set()
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                names = [node.arg] if isinstance(node, ast.keyword) else []
            if names == ["fields"] and isinstance(node.value, ast.Tuple):
                said |= {each.value for each in node.value.elts if isinstance(each, ast.Constant)}
    commands = [
        *(("train", task, "rnnlm") for task in ("text", "markov")),
        ("train", "dates", "peeky"),
        ("train", "own.tsv", "peeky"),
        *((name,) for name in ("generate", "evaluate", "attention", "predict", "average")),
    ]
    known = set(chain.from_iterable(offered(*command) for command in commands))
    assert {field for field in said if flag(field) not in known} == set()
    assert len(said) > 8
