"""The notebooks run from top to bottom, and are what their pairs say."""

import resource
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


def test_there_are_notebooks():
    """Fails when the folder is empty, and the tests below would pass for nothing."""
    assert NAMES == ["ablation", "attention_maps", "language_model", "your_own_task"]


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_one(name):
    """Fails when one of a pair was changed without the other, or outputs were committed."""
    script, notebook = jupytext.read(FOLDER / f"{name}.py"), jupytext.read(FOLDER / f"{name}.ipynb")
    assert [(cell.cell_type, cell.source) for cell in script.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    """Fails when a cell raises, a headline number does not hold, it computes for a minute, or a
    figure is not shown.
    """
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # compiled as for users
    (tmp_path / "experiments").symlink_to(FOLDER.parent / "experiments")
    notebook = jupytext.read(FOLDER / f"{name}.ipynb")
    began = computed()
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=here).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert computed() - began < 60
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [each["data"] for each in outputs if "Figure" in str(each.get("data", {}))]
    assert shown
    assert all("image/png" in data for data in shown)


def computed() -> float:
    """Seconds that ended processes have computed: those of other tests do not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
