"""The library speaks of fields, the command line of flags: what an error says where."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import seqgen
from seqgen import cli, presets
from seqgen.cli.flags import HIDDEN, flag, in_flags
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
        ("a smaller batch would do", ["training.batch"], "a smaller --batch would do"),
        (
            "4 lanes; a smaller batch or window would do",
            ["training.batch", "training.window"],
            "4 lanes; a smaller --batch or --window would do",
        ),
        ("a name; another name would do", ["name"], "a name; another --name would do"),
        ("a min_count below 5", ["data.min_count"], "a --min-count below 5"),
        ("batches, sub-batch, batch-size, a.batch", ["training.batch"], "{} (--batch)"),
        ("it is not finite", ["hyper.lr", "hyper.clip"], "{} (--lr, --clip)"),
        ("a lower lr would do", ["hyper.lr", "hyper.clip"], "a lower --lr would do (--clip)"),
        ('the unit "byte"', ["data.unit"], 'the --unit "byte"'),
        (
            "name exists; another name would do, or `seqgen resume name` to go on",
            ["name"],
            "name exists; another --name would do, or `seqgen resume name` to go on",
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


def test_an_error_with_fields_is_shown_with_flags(monkeypatch, capsys):
    """Fails when the command line shows an error's fields as they are, or one without as
    another.
    """

    def fail(error: SeqgenError) -> str:
        def command(words: list[str]) -> None:
            raise error

        monkeypatch.setattr(cli, "import_command", lambda module: type("", (), {"main": command}))
        assert cli.main(["train"]) == error.exit_code
        return capsys.readouterr().err

    message, fields = "a smaller batch would do", ("training.batch",)
    shown = "seqgen: error: a smaller --batch would do\n"
    for kind in (SeqgenError, UsageError):
        assert fail(kind(message, fields=fields)) == shown
        assert fail(kind(message)) == f"seqgen: error: {message}\n"
        assert str(kind(message, fields=fields)) == message


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
        *(("train", *pair) for pair in (("dates", "peeky"), ("text", "rnnlm"))),
        *((name,) for name in ("generate", "evaluate")),
    ]
    known = set(chain.from_iterable(offered(*command) for command in commands))
    assert {field for field in said if flag(field) not in known} == set()
    assert len(said) > 8
