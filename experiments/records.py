"""results/*.json: small, committed, with all that says where a number comes from."""

import json
import platform
from pathlib import Path
from typing import Any

from seqgen.files import write
from seqgen.versions import versions

FOLDER = Path(__file__).parent / "results"


def provenance(command: str) -> dict[str, Any]:
    """The command, versions and machine of a result."""
    return {"command": command, "machine": f"{platform.machine()}, {platform.system()}", "versions": versions()}


def save(name: str, record: dict[str, Any]) -> None:
    """Write results/<name>.json."""
    write(FOLDER / f"{name}.json", json.dumps(record, indent=1) + "\n")


def load(name: str) -> dict[str, Any]:
    """Read results/<name>.json."""
    return json.loads((FOLDER / f"{name}.json").read_text())
