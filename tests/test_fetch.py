"""Published files are what they were, and the scripts in data/ put them where the presets look."""

import hashlib
import runpy
import zipfile
from pathlib import Path

import pytest

from seqgen import presets
from seqgen.errors import SeqgenError
from seqgen.tasks.corpus import load
from seqgen.tasks.fetch import Published, obtain
from seqgen.tasks.text import Text

ROOT = Path(__file__).parents[1]
CONTENT = b"to be or not to be\n"


def published(address: str = "", content: bytes = CONTENT) -> Published:
    return Published("hamlet.txt", address, hashlib.sha256(content).hexdigest())


def test_a_file_comes_from_wherever_it_is(tmp_path):
    """Fails when a copy is not found in one of its places, another file is taken for it, or its address is not asked."""
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
    with pytest.raises(SeqgenError, match=r"hamlet.txt has the SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}"):
        obtain(published(path.as_uri(), b"to be"), path if source else None)


def test_what_cannot_be_had_says_so(tmp_path):
    """Fails when a missing copy or a dead address is a traceback, or does not say what would do."""
    for name in ("lear.txt", "othello.txt"):
        (tmp_path / name).write_text("blow, winds\n")
    with pytest.raises(SeqgenError, match=r"holds no hamlet.txt"):
        obtain(published(), tmp_path)
    for address in ((tmp_path / "nowhere").as_uri(), "no address"):
        with pytest.raises(SeqgenError, match=r"cannot download .*; a copy of yours would do: --source PATH"):
            obtain(published(address), None)


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
    assert ours.symbols == theirs.symbols
    for split in ("train", "validation", "test"):
        assert (getattr(ours, split) == getattr(theirs, split)).all()
    assert f"train {len(ours.train):,}" in capsys.readouterr().out


def test_presets_look_where_scripts_write():
    """Fails when a script writes another file than the one that its preset reads."""
    for name in ("ptb", "shakespeare"):
        path = Path(presets.CORPORA[name].path)
        assert (ROOT / path.parent / "prepare.py").exists()
        assert path.name in (ROOT / path.parent / "prepare.py").read_text()
