"""The notebooks run as they are committed, and still print what they printed."""

import re
from pathlib import Path

import nbformat
import pytest
import quick_xla
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
SECONDS = re.compile(r"in \d+ s\b")


def printed(notebook):
    """The numbers in the text that a notebook's cells print or return."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream" and output.name == "stdout":
                texts.append(output.text)
            elif output.output_type == "execute_result" and "text/html" not in output.data:
                texts.append(output.data.get("text/plain", ""))
    found = NUMBER.findall(SECONDS.sub("", "\n".join(texts)))
    return [float(n.replace(",", "").replace("−", "-")) for n in found]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_prints_what_it_printed(path, tmp_path, tmp_path_factory, monkeypatch):
    """Within a quarter, or 5 points of what is in %: other processors round otherwise, and training amplifies that."""
    cache = tmp_path_factory.getbasetemp().parent / "cache"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(cache))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    monkeypatch.setenv("XLA_FLAGS", quick_xla.PROGRAMS)
    committed = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    was, now = printed(committed), printed(fresh)
    assert len(was) == len(now)
    off = [(a, b) for a, b in zip(was, now, strict=True) if abs(a - b) > max(0.25 * abs(a), 5.0 if abs(a) > 10 else 0)]
    assert not off, f"numbers that were and are: {off}; run the notebook again and commit it, or find what changed"
