"""Files that are written whole or not at all, and folders that one process writes at a time."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from seqgen.errors import SeqgenError


def write(path: Path, content: str | bytes) -> None:
    """Make or replace a file, and its folder where that is missing. Raises `SeqgenError`; then what stood there still does."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name with nothing in it
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):  # its folder is not one
            partial.unlink(missing_ok=True)
        reason = f"{path.parent} is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise SeqgenError(f"cannot write {path}: {reason}") from error


@contextmanager
def alone(folder: Path) -> Generator[None]:
    """Keep other processes that ask for it out of `folder`, until this one leaves or is killed.

    Raises `SeqgenError` if another is in, or the folder cannot be opened.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise SeqgenError(f"cannot open {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SeqgenError(f"another process is at work in {folder}: wait for it, or stop it") from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
