"""What the checkout's own files ask of each other."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    "file", [".ci/run", ".github/workflows/ci.yml", ".pre-commit-config.yaml", "CONTRIBUTING.md"]
)
def test_what_is_asked_for_is_there(file):
    """Fails when a target of the Makefile, or .ci/run, has another name than where it is called."""
    text = (ROOT / file).read_text(encoding="utf-8")
    called = re.findall(r"(?:entry: |^|`)make ((?:[a-z]+ ?)+)", text, re.MULTILINE)
    assert {target for each in called for target in each.split()} <= TARGETS
    scripts = re.findall(r"run: (\S+)", text)
    assert called or scripts
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)
