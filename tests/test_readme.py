"""Each block of the README's Python runs alone, as printed, in a fresh process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(block, tmp_path_factory):
    """What it prints. The processes share what JAX compiles."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.getbasetemp() / "cache"),
        "JAX_LOGGING_LEVEL": "CRITICAL",
    }
    done = subprocess.run(
        [sys.executable, "-c", block], env={**os.environ, **cache}, cwd=tmp_path_factory.mktemp("block"),
        capture_output=True, text=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_readme_runs_as_printed(block, tmp_path_factory):
    assert run(block, tmp_path_factory).strip()


def test_every_block_has_its_own_imports():
    assert len(BLOCKS) >= 2
    for block in BLOCKS:
        assert re.match(r"(import|from) ", block) and "..." not in block


def test_what_is_named_thorough_exists():
    """A test that was renamed must not come back into the quick runs unseen, nor one that is gone stay named."""
    folder = Path(__file__).parent
    for line in (folder / "thorough.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            file, name = line.split("::")
            assert f"def {name.split('[')[0]}(" in (folder / file).read_text(encoding="utf-8"), line


def test_the_citation_is_of_this_version():
    import crossjax

    citation = (Path(__file__).parent.parent / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {crossjax.__version__}\n" in citation
