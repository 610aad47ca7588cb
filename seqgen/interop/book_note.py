"""What the book's list of arrays cannot say, in a JSON beside it: it.pkl has it.pkl.json.

    {"format": "seqgen-book", "version": 1, "sha256": the pickle's, "model": "attention",
     "tokenizer": {"unit": "character", "table": [token, ...], "special": {"pad": id, ...}},
     "padding": {"kind": "book", "reverse": true, "question_width": 29, "answer_width": 11}}

Tokens are in the order of their ids; a language model's padding is null. Weights over other tokens
have the same shapes: without the JSON only their number can be checked.
"""

import json
from pathlib import Path
from typing import Any

from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import read_bytes, sha256, write

FORMAT, VERSION = "seqgen-book", 1


def beside(pickle: Path) -> Path:
    """Where the JSON of a pickle is."""
    return pickle.with_name(pickle.name + ".json")


def write_note(pickle: Path, model: str, meaning: dict[str, Any]) -> None:
    """Write what the weights of a pickle are over: its tokenizer and padding, as JSON has them."""
    head = {"format": FORMAT, "version": VERSION, "sha256": sha256(pickle), "model": model}
    write(beside(pickle), json.dumps({**head, **meaning}, ensure_ascii=False, indent=1) + "\n")


def read_note(pickle: Path, model: str) -> dict[str, Any] | None:
    """The meaning that was written with a pickle; None where nothing stands beside it.

    Raises:
        SeqgenError: where it is another pickle's, or of another version.
        UsageError: where it is another model's.

    """
    path = beside(pickle)
    if not path.exists():
        return None
    try:
        note = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # no JSON, not UTF-8
        raise SeqgenError(f"{path}: {error}") from error
    note = note if isinstance(note, dict) else {}
    if (note.get("format"), note.get("version")) != (FORMAT, VERSION):
        raise SeqgenError(f"{path} is no {FORMAT} of version {VERSION}; move it away to go without")
    if note.get("sha256") != sha256(pickle):
        raise SeqgenError(f"{path} was written with another {pickle.name}; move it away if it is")
    if note.get("model") != model:
        raise UsageError(f"{path}: these are weights of {note.get('model')}, not {model}")
    return note


def check_meaning(pickle: Path, note: dict[str, Any], meaning: dict[str, Any], data: Path) -> None:
    """Raises `SeqgenError`, with the first difference, where data do not mean the same.

    Args:
        pickle: the weights.
        note: what was written with them.
        meaning: the tokenizer and padding of the data, as JSON has them.
        data: where these are.

    """
    ours, theirs = flat(meaning), flat({name: note.get(name) for name in meaning})
    for name in [*theirs, *ours]:
        if ours.get(name) != theirs.get(name):
            raise SeqgenError(
                f"{pickle} was trained with {name} {theirs.get(name)!r}, and {data} has "
                f"{ours.get(name)!r}: it is not its data"
            )


def flat(content: Any, name: str = "") -> dict[str, Any]:
    """Every value by its path: tokenizer.table.3, padding.reverse."""
    if not isinstance(content, dict | list):
        return {name: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found: dict[str, Any] = {}
    for key, value in items:
        found |= flat(value, f"{name}.{key}" if name else str(key))
    return found
