"""Files that others publish: taken from a copy at hand or from their address, and refused where they are not what they were."""

import hashlib
import urllib.request
from pathlib import Path
from typing import NamedTuple

from seqgen.errors import SeqgenError
from seqgen.tasks.text import files_of, reading


class Published(NamedTuple):
    """A file, where it is published, and its SHA-256."""

    name: str
    address: str
    sha256: str


def obtain(file: Published, source: Path | None) -> bytes:
    """Its content: from a copy of its name, or any alone, at `source` (a file, folder or zip); without one from its address.

    Raises `SeqgenError` where it cannot be had, or is another.
    """
    content = _download(file.address) if source is None else _copied(file.name, source)
    if (found := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise SeqgenError(f"{source or file.address}: {file.name} has the SHA-256 {found}, not {file.sha256}")
    return content


def _copied(name: str, source: Path) -> bytes:
    files = files_of(str(source))
    for file in files:
        if Path(file.name).name == name or len(files) == 1:
            with reading(str(source), file) as stream:
                return stream.read()
    raise SeqgenError(f"{source} holds no {name}")


def _download(address: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.read()
    except (OSError, ValueError) as error:
        raise SeqgenError(f"cannot download {address}: {error}; a copy of yours would do: --source PATH") from error
