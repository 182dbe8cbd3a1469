"""`benchmarks/gpu.py` as it is run on a machine with a GPU, here without one."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


def gpu(out, *arguments):
    """The command from the source tree, in a process whose path does not have it: (exit code, printed, result)."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", out, *arguments], capture_output=True, text=True, cwd=out.parent,
        env=environment | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    result = out / "result.json"
    return done.returncode, done.stdout + done.stderr, json.loads(result.read_text()) if result.exists() else None


def numbers(value):
    """All numbers in a row, however deep."""
    if isinstance(value, dict | list):
        return [n for inner in (value.values() if isinstance(value, dict) else value) for n in numbers(inner)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.thorough
def test_a_dry_run_measures_every_section(tmp_path):
    code, printed, result = gpu(tmp_path / "out", "--dry")
    assert code == 0, printed
    assert {"crossjax", "jax", "jaxlib", "numpy", "python", "flax", "optax"} <= set(result["versions"])
    assert result["dry"] and result["device"].startswith("cpu") and 0 < result["seconds"] < result["limit_s"]
    sections = result["sections"]
    assert list(sections) == ["forward", "population", "gdp", "wires", "in_situ", "joshi2020"]
    for name, found in sections.items():
        assert (found["status"], found["why"], found["notes"]) == ("done", "", []), name
        alone = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert alone["rows"] == found["rows"] and alone["versions"].items() <= result["versions"].items()
        assert all(isinstance(row["work"], str) and numbers(row) for row in found["rows"])
        assert all(math.isfinite(n) for row in found["rows"] for n in numbers(row))
    against = [row for name in ("forward", "population", "gdp") for row in sections[name]["rows"] if "floor" in row]
    assert len(against) == 5
    for row in against:
        assert min(row[k] for k in ("ms", "floor_ms", "noise_ms", "noise_gb_s", "noise_over_floor", "compile_s")) > 0
        assert row["ratio"] == pytest.approx(row["ms"] / row["floor_ms"])
    copy, full, highest, half = sections["forward"]["rows"]
    assert copy["gb_s"] > 0 and full["bytes"] == 4 * (16 * 16 + 2 * 8 * 16) == 2 * half["bytes"]
    assert full["gb_s"] == pytest.approx(full["bytes"] / full["ms"] / 1e6)
    assert full["products"] == full["plain_products"] == "f32 DEFAULT" and highest["products"] == "f32 HIGHEST"
    assert half["plain_products"] == "bf16 DEFAULT" and half["products"] and half["output_type"] == "float32"
    assert full["product_error"] < 1e-6 < 1e-4 < half["product_error"] < 1e-2
    assert all(0 < row["output_error"] < 1 for row in (full, highest, half))
    assert all(row["error"] < (1e-10 if "float64" in row["work"] else 1e-5) for row in sections["wires"]["rows"])
    first, last = sections["gdp"]["rows"][0]["mvm_error"]
    assert 0 < last < first
    chips = [row for row in sections["joshi2020"]["rows"] if "times" in row]
    assert [row["network"] for row in chips] == ["direct mapping", "noise-trained"]
    assert all(len(row[kind]) == len(row["times"]) == 2 for row in chips for kind in ("none", "gdc", "adabs"))
    assert (tmp_path / "out" / "gpu.png").read_bytes().startswith(b"\x89PNG")
    assert all(row["work"] in printed for name in sections for row in sections[name]["rows"])


def test_a_section_that_does_not_run_says_why(tmp_path):
    code, printed, result = gpu(tmp_path / "out", "--only", "joshi2020", "wires", "--seconds", "9")
    assert code == 0, printed
    joshi2020, wires = (result["sections"][name] for name in ("joshi2020", "wires"))
    assert joshi2020["status"] == wires["status"] == "skipped" and joshi2020["rows"] == wires["rows"] == []
    assert joshi2020["why"] == "needs --data: a folder with cifar-10-batches-py"
    assert wires["why"] == "only 9 s of 9 s are left" and f"skipped: {wires['why']}" in printed
    code, printed, _ = gpu(tmp_path / "out", "--only", "wires")
    assert code == 2 and "holds an earlier run" in printed


def test_without_a_gpu_nothing_is_measured(tmp_path):
    code, printed, result = gpu(tmp_path / "out", "--only", "forward")
    found = result["sections"]["forward"]
    assert code == 1 and found["status"] == "failed" and found["rows"] == []
    assert (
        found["why"] == "RuntimeError: JAX finds no GPU here, only the CPU; --dry needs none"
        and found["why"] in printed
    )


def test_a_section_that_hangs_is_cut_off_and_keeps_its_rows(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    import gpu as script

    (tmp_path / "sitecustomize.py").write_text(
        """
import pathlib, time
pathlib.Path(__file__).with_name("forward.json").write_text('{"rows": [{"work": "first", "ms": 1.0}]}')
time.sleep(60)
"""
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(script, "SHORTEST", 0.0)
    chosen = script.argparse.Namespace(out=tmp_path, dry=True, data=None, weights=None, seconds=9.0)
    found = script.outside("forward", chosen, 3.0)
    assert (found["status"], found["why"]) == ("cut off", "its 3 s were over") and 3 <= found["seconds"] < 30
    assert found["rows"] == [{"work": "first", "ms": 1.0}]
