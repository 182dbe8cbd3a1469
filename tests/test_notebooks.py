"""The notebooks are committed with their results visible, and use what exists (docs/test_notebooks.py runs them)."""

import ast
from pathlib import Path

import nbformat
import pytest

import crossjax as cx

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_shows_what_it_computed_with_what_exists(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3, "commit notebooks executed, with their plots"
    assert not [o for o in outputs if o.output_type == "error"]
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    used = [ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    for name in {name for name in used if name.startswith("cx.") and "(" not in name}:
        found = cx
        for part in name.split(".")[1:]:
            found = getattr(found, part)
