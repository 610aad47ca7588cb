"""Files that others publish, from a copy at hand or from their address; any other is refused."""

import shutil
import tempfile
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from seqgen.data.archive import files_in, reading
from seqgen.errors import SeqgenError
from seqgen.storage.files import cache_folder, read_bytes, sha256

RETRIES = 2
"""Further tries after a download broke off, one and two seconds later."""

TIMEOUT = 60
"""Seconds without an answer after which a download broke off."""

PIECE = 1 << 16
"""Bytes that are received at a time."""


class Published(NamedTuple):
    """A file, where it is published (https:, http: or file:), and its SHA-256."""

    name: str
    address: str
    sha256: str


def obtain(file: Published, source: Path | None) -> bytes:
    """Its content: from `source`, or without one from its address.

    A source is a file, a folder or a zip, that holds a copy of the file's name, or one file alone.
    What was downloaded is kept in the cache under its checksum, and has its name only once it is
    checked (pooch).

    Raises:
        SeqgenError: where it cannot be had, or is another.

    """
    if source is None:
        return _downloaded(file)
    content = _copied(file.name, source)
    _check(file, sha256(content), source)
    return content


def _check(file: Published, found: str, where: Any) -> None:
    if found != file.sha256:
        raise SeqgenError(f"{where}: {file.name} has the SHA-256 {found}, not {file.sha256}")


def _copied(name: str, source: Path) -> bytes:
    files = files_in(source)
    for file in files:
        if Path(file.name).name == name or len(files) == 1:
            with reading(source, file) as stream:
                return stream.read()
    raise SeqgenError(f"{source} holds no {name}")


def _downloaded(file: Published) -> bytes:
    """From the cache, or from its address: it comes under its name when it is whole and checked."""
    if file.address.partition(":")[0] not in ("https", "http", "file"):
        raise _failed(file, "it is no https:, http: or file: address")
    name, folder = f"{file.sha256[:16]}-{file.name}", cache_folder("downloads")
    pooch.get_logger().setLevel("WARNING")  # it tells what we show, and where the cache is

    def receive(address: str, path: str, _: Any) -> None:
        _receive(address, Path(path))
        _check(file, sha256(Path(path)), address)  # not pooch's error, after which it would retry

    downloader: Any = receive  # pooch's own do not fit the type that it asks for
    try:
        with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
            store = pooch.Pooch(
                path=Path(place),
                base_url="",
                registry={name: f"sha256:{file.sha256}"},
                urls={name: file.address},
                retry_if_failed=RETRIES,
            )
            return read_bytes(store.fetch(name, downloader=downloader))
    except (OSError, ValueError) as error:  # those of requests are the former
        raise _failed(file, _reason(error)) from error


def _failed(file: Published, reason: str) -> SeqgenError:
    return SeqgenError(
        f"cannot download {file.address}: {reason}; use a copy of yours as the source"
    )


def _receive(address: str, path: Path) -> None:
    """One try. Raises what urllib and requests raise."""
    place = urlsplit(address).path
    if address.startswith("file:"):  # pooch knows none
        shutil.copyfile(url2pathname(place), path)
        return
    with _Bar(Path(place).name) as bar, ExitStack() as stack:

        def close_later(answer: Any, **_: Any) -> None:
            stack.callback(answer.close)  # pooch leaves it open after an error

        hooks = {"response": close_later}
        pooch.HTTPDownloader(bar, PIECE, timeout=TIMEOUT, hooks=hooks)(address, str(path), None)


def _reason(error: Exception) -> str:
    """What went wrong, in one line; of requests' errors what is at the bottom of them."""
    while error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
    return " ".join(str(reason or next(iter(error.args), error)).split())


class _Bar:
    """A progress bar as pooch moves it, shown while a terminal watches."""

    def __init__(self, name: str) -> None:
        columns = TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        console = Console(stderr=True)
        self.shown = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.shown.add_task(name, total=None)
        self.total = 0

    def __enter__(self) -> "_Bar":
        self.shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shown.stop()  # after an error, too: or the terminal would stay without a cursor

    def update(self, received: int) -> None:
        self.shown.update(self.task, advance=received, total=self.total or None)

    def reset(self) -> None:
        self.shown.reset(self.task, total=self.total or None)

    def close(self) -> None:
        """`__exit__` does."""
