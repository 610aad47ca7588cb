"""Files that are written whole or not at all."""

import os
from pathlib import Path

from seqgen.errors import SeqgenError


def write(path: Path, content: str | bytes) -> None:
    """Make or replace a file, and its folder where that is missing. Raises `SeqgenError`; then what stood there still does."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        try:
            partial.unlink(missing_ok=True)
        except OSError:  # its folder is not one
            pass
        raise SeqgenError(f"cannot write {path}: {error.strerror}") from error
