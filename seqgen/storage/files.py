"""Files that are read and written whole, folders that one process writes, checksums, the cache."""

import fcntl
import hashlib
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seqgen.errors import SeqgenError

PIECE = 1 << 20
"""Bytes that are read at a time."""


def read_bytes(path: str | Path) -> bytes:
    """A file's content. Raises `SeqgenError` where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise SeqgenError(f"cannot read {path}: {reason_of(error)}") from error


def write(path: Path, content: str | bytes) -> None:
    """Make or replace a file, and its folder where that is missing.

    Raises:
        SeqgenError: where the disk refuses; then what stood there still does.

    """
    with writing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(path: Path) -> Generator[BinaryIO]:
    """A file to write piece by piece, which gets its name at the end. Raises as `write`."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with nothing in it
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):  # its folder is not one
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        no_folder = isinstance(error, FileExistsError)
        reason = f"{path.parent} is not a folder" if no_folder else error.strerror
        raise SeqgenError(f"cannot write {path}: {reason}") from error


def flush(path: Path) -> None:
    """Have the disk write a file, or a folder's names, before what comes next."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Keep other processes that ask for it out of `folder`, until this one leaves or is killed.

    A lock on the folder, which the system drops when the process dies.

    Raises:
        SeqgenError: if another is in, or the folder cannot be opened.

    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SeqgenError(f"cannot open {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SeqgenError(
                f"another process is at work in {folder}: wait for it, or stop it"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def sha256(source: Path | bytes | memoryview | Iterable[bytes]) -> str:
    """SHA-256, hexadecimal, of a file (read piece by piece), of bytes, or of bytes in turn.

    Raises:
        SeqgenError: for a file that cannot be read.

    """
    if isinstance(source, Path):
        try:
            with open(source, "rb") as file:
                return sha256(iter(lambda: file.read(PIECE), b""))
        except (OSError, ValueError) as error:
            raise SeqgenError(f"cannot read {source}: {reason_of(error)}") from error
    digest = hashlib.sha256()
    for piece in (source,) if isinstance(source, bytes | memoryview) else source:
        digest.update(piece)
    return digest.hexdigest()


def check_unchanged(what: str | Path, found: str, expected: str | None) -> None:
    """Raises `SeqgenError` for data that are no longer what a run was made with.

    Args:
        what: the data, as the error names them.
        found: their SHA-256 now.
        expected: what it was; None: they were not read before.

    """
    if expected not in (None, found):
        raise SeqgenError(
            f"{what} has changed since the run was made: its SHA-256 is no longer {expected}"
        )


def cache_folder(name: str = "") -> Path | None:
    """The user's own `$XDG_CACHE_HOME/seqgen`, or `name` in it; None where that cannot be written.

    Nobody else may enter it: code that was compiled is read from there, and run.
    """
    try:
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is ignored, it says
        folder = (asked if asked.is_absolute() else Path.home() / ".cache") / "seqgen"
        for each in (folder, folder / name):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a file in its place, a read-only disk; a user without a home
        return None
    return folder / name if os.access(folder / name, os.W_OK) else None


def reason_of(error: Exception) -> str:
    """What went wrong, without the path that our own messages name."""
    return str(getattr(error, "strerror", None) or error)
