"""Published files are what they were, and the scripts in data/ put them where the presets look."""

import hashlib
import http.server
import io
import runpy
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from seqgen import presets
from seqgen.data.download import Published, obtain
from seqgen.errors import SeqgenError
from seqgen.storage.files import cache_folder
from seqgen.tasks.corpus import load
from seqgen.tasks.text import Text

ROOT = Path(__file__).parents[1]
CONTENT = b"to be or not to be\n"


@pytest.fixture(autouse=True)
def own_downloads(tmp_path_factory, monkeypatch) -> Path:
    """What one test downloads, another does not find."""
    folder = tmp_path_factory.mktemp("downloads")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


class Answers(http.server.BaseHTTPRequestHandler):
    """/CODE is refused with it; /half breaks off, /late does so at first."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path[1:].isdigit():
            self.send_error(int(self.path[1:]))
            return
        broken = self.path == "/half" or (self.path == "/late" and len(self.asked) == 1)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:5] if broken else CONTENT)

    def log_message(self, *_: object) -> None:
        """Not to standard error."""


@pytest.fixture
def server(monkeypatch):
    """An address on this machine, and what it was asked for; nobody waits between two tries."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    handler = type("Handler", (Answers,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", handler.asked
        running.shutdown()
        thread.join()


def published(address: str = "", content: bytes = CONTENT) -> Published:
    return Published("hamlet.txt", address, hashlib.sha256(content).hexdigest())


def test_a_file_comes_from_wherever_it_is(tmp_path):
    """Fails when a copy is not found in one of its places, another file is taken for it, or its
    address is not asked.
    """
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "hamlet.txt").write_bytes(CONTENT)
    (folder / "lear.txt").write_bytes(b"blow, winds\n")
    with zipfile.ZipFile(tmp_path / "plays.zip", "w") as archive:
        archive.writestr("plays/hamlet.txt", CONTENT)
        archive.writestr("plays/lear.txt", "blow, winds\n")
    alone = tmp_path / "input.txt"
    alone.write_bytes(CONTENT)
    for source in (folder, tmp_path / "plays.zip", alone):
        assert obtain(published(), source) == CONTENT
    assert obtain(published(alone.as_uri()), None) == CONTENT


@pytest.mark.parametrize("source", [True, False])
def test_another_file_is_refused(tmp_path, source):
    """Fails when the checksum is not looked at, of a copy or of what was downloaded."""
    path = tmp_path / "hamlet.txt"
    path.write_bytes(CONTENT)
    with pytest.raises(
        SeqgenError, match=r"hamlet.txt has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"
    ):
        obtain(published(path.as_uri(), b"to be"), path if source else None)


def test_what_cannot_be_had_says_so(tmp_path):
    """Fails when a missing copy or a dead address is a traceback, or does not say what to use."""
    for name in ("lear.txt", "othello.txt"):
        (tmp_path / name).write_text("blow, winds\n")
    with pytest.raises(SeqgenError, match=r"holds no hamlet.txt"):
        obtain(published(), tmp_path)
    for address in ((tmp_path / "nowhere").as_uri(), "no address"):
        with pytest.raises(
            SeqgenError, match=r"cannot download .*; use a copy of yours as the source$"
        ):
            obtain(published(address), None)


def kept() -> list[str]:
    folder = cache_folder("downloads")
    assert folder is not None
    return [path.name for path in folder.iterdir()]


def test_what_was_downloaded_is_kept(server, tmp_path):
    """Fails when a file is downloaded again each time, one that was damaged since is taken, another
    of its name stands in its place, or a cache that cannot be written stops a download.
    """
    address, asked = server
    assert obtain(published(f"{address}/plays"), None) == CONTENT
    (name,) = kept()
    assert obtain(published("http://127.0.0.1:1/dead"), None) == CONTENT
    assert asked == ["/plays"]
    (cache_folder("downloads") / name).write_bytes(b"to be")
    assert obtain(published(f"{address}/again"), None) == CONTENT
    with pytest.raises(SeqgenError, match="SHA-256"):
        obtain(published(f"{address}/third", b"another play"), None)
    assert asked == ["/plays", "/again", "/third"]
    assert kept() == [name]
    (tmp_path / "other.txt").write_bytes(b"another play")
    other = published((tmp_path / "other.txt").as_uri(), b"another play")
    assert obtain(other, None) == b"another play"
    assert obtain(published("http://127.0.0.1:1/dead"), None) == CONTENT


def test_without_a_cache_a_download_is_not_kept(server, tmp_path, monkeypatch):
    """Fails when a disk where the cache cannot stand stops a download."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert obtain(published(f"{server[0]}/plays"), None) == CONTENT


def test_a_download_that_breaks_off_is_tried_again(server):
    """Fails when one lost connection ends a download, half a file is kept or taken, it is tried for
    ever, or the error does not say in one line what went wrong.
    """
    address, asked = server
    assert obtain(published(f"{address}/late"), None) == CONTENT
    assert asked == ["/late"] * 2
    other = Published("lear.txt", f"{address}/half", "0" * 64)
    with pytest.raises(SeqgenError, match="/half: Connection broken: IncompleteRead") as raised:
        obtain(other, None)
    assert asked == ["/late"] * 2 + ["/half"] * 3
    assert "\n" not in str(raised.value)
    assert len(kept()) == 1


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{}/404", "404 Client Error: Not Found"),
        ("{}/500", "500 Server Error"),
        ("http://127.0.0.1:1/x", r"Failed to establish a new connection: .* Connection refused"),
        ("http://[::1", "Invalid IPv6 URL"),
        ("http://127.0.0.1:99999/x", "Failed to parse"),
        ("ftp://127.0.0.1/x", "it is no https:, http: or file: address"),
    ],
)
def test_no_library_speaks_for_us(server, address, reason):
    """Fails when what pooch, requests or urllib raise is a traceback, or a refusal a download."""
    address = address.format(server[0])
    with pytest.raises(
        SeqgenError, match=rf"^cannot download .*: {reason}.*; use a copy"
    ) as raised:
        obtain(published(address), None)
    assert "\n" not in str(raised.value)
    assert cache_folder("downloads") is None or kept() == []


def test_a_terminal_sees_how_far_it_is(server, monkeypatch):
    """Fails when someone who waits sees nothing, a log gets a bar, or the cursor stays hidden."""
    for watched in (False, True):
        shown = io.StringIO()
        monkeypatch.setattr(shown, "isatty", lambda watched=watched: watched)
        monkeypatch.setattr(sys, "stderr", shown)
        monkeypatch.setenv("TERM", "xterm")
        obtain(published(f"{server[0]}/plays"), None)
        monkeypatch.undo()
        assert ("plays" in shown.getvalue()) == ("19/19 bytes" in shown.getvalue()) == watched
        assert shown.getvalue().count("[?25l") == shown.getvalue().count("[?25h") == watched


def script(name: str, folder: Path) -> dict:
    """The names of a set's prepare.py, as if it stood in `folder`."""
    path = folder / "prepare.py"
    path.write_text((ROOT / "data" / name / "prepare.py").read_text())
    return runpy.run_path(str(path), run_name="script")


@pytest.mark.parametrize("name", ["ptb", "shakespeare"])
def test_scripts_refuse_other_texts(name, tmp_path, monkeypatch):
    """Fails when a script packs whatever it is given, or leaves a file behind when it fails."""
    source = tmp_path / "source"
    source.mkdir()
    for file in ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt", "tinyshakespeare.txt"):
        (source / file).write_text("to be or not to be\n")
    with pytest.raises(SeqgenError, match="SHA-256"):
        script(name, tmp_path)["main"](source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepare.py", "source"]


def test_the_topics_script_writes_what_is_trained_on(tmp_path, capsys):
    """Fails when the file is not the corpus that `seqgen train text` reads without one."""
    script("pydocs", tmp_path)["main"]()
    ours, theirs = load(Text()), load(Text(str(tmp_path / "pydocs.txt")))
    assert ours.tokenizer == theirs.tokenizer
    for split in ("train", "validation", "test"):
        assert (getattr(ours, split) == getattr(theirs, split)).all()
    assert f"train {len(ours.train):,}" in capsys.readouterr().out


def test_presets_look_where_scripts_write():
    """Fails when a script writes another file than the one that its preset reads."""
    for name in ("ptb", "shakespeare"):
        path = Path(presets.CORPORA[name].path)
        assert (ROOT / path.parent / "prepare.py").exists()
        assert path.name in (ROOT / path.parent / "prepare.py").read_text()
