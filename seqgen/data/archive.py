"""The files of a folder or a zip, or a file alone, read as streams of bytes."""

import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

from seqgen.errors import SeqgenError
from seqgen.storage.files import reason_of, write

TIGHTEST = 200
"""Largest ratio of unpacked to packed size; above it a zip is refused. English prose has 3."""

LEFT_OUT = {"__MACOSX", "__pycache__"}
"""Folders that are ignored."""


class File(NamedTuple):
    """One file, wherever it stands."""

    name: str
    open: Callable[[], IO[bytes]]


def pack(path: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write a zip of files by name: of equal contents the same to the bit, whenever it is made."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    write(path, packed.getvalue())


def files_in(path: str | Path) -> list[File]:
    """The files of a file, folder or zip in the order of their names; hidden ones are left out.

    Raises:
        SeqgenError: where there are none, they cannot be read, or a zip would fill the disk.

    """
    root = Path(path)
    if not os.path.exists(path):  # pathlib's own raises for a name that is too long
        script = root.parent / "prepare.py"
        hint = f"; get it with `python {script}`" if script.exists() else ""
        raise SeqgenError(f"there is no {path}{hint}")
    try:
        if root.is_dir():
            found = [
                File(file.relative_to(root).as_posix(), partial(file.open, "rb"))
                for file in root.rglob("*")
                if file.is_file()
            ]
        elif root.suffix.lower() == ".zip" or zipfile.is_zipfile(root):
            found = _members(root)
        else:
            found = [File(root.name.lstrip("._"), partial(root.open, "rb"))]
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise SeqgenError(f"cannot read {path}: {reason_of(error)}") from error
    shown = [file for file in found if not _hidden(file.name)]
    if not shown:
        raise SeqgenError(f"cannot read {path}: no text in it")
    return sorted(shown, key=lambda file: file.name)


@contextmanager
def reading(path: str | Path | None, file: File) -> Generator[IO[bytes]]:
    """The bytes of a file of `path`.

    Raises:
        SeqgenError: for what cannot be opened, read or unpacked.

    """
    broken = zipfile.BadZipFile, zlib.error, lzma.LZMAError
    try:
        with file.open() as stream:
            yield stream
    except (OSError, EOFError, ValueError, RuntimeError, *broken) as error:
        raise SeqgenError(f"cannot read {place(path, file)}: {reason_of(error)}") from error


def place(path: str | Path | None, file: File) -> str:
    """A file of `path` as messages name it."""
    if path is None or Path(path).name == file.name:
        return str(path or file.name)
    return f"{path}: {file.name}"


def _members(path: Path) -> list[File]:
    """The files of a zip. Raises `SeqgenError` for one that is packed too tightly."""
    archive = zipfile.ZipFile(path)
    for member in archive.infolist():
        if member.file_size > TIGHTEST * max(member.compress_size, 1024):
            raise SeqgenError(
                f"{path}: {member.filename} would unpack to {member.file_size:,} bytes: "
                "that is no text"
            )
    return [
        File(member.filename, partial(archive.open, member))
        for member in archive.infolist()
        if not member.is_dir()
    ]


def _hidden(name: str) -> bool:
    return any(part[0] == "." or part in LEFT_OUT for part in Path(name).parts)
