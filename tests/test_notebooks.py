"""The notebooks run from top to bottom, and are committed with their results visible."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    shown = [o for cell in notebook.cells for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(shown) >= 3, "commit notebooks executed, with their plots"
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
