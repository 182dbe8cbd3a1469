"""The command line end to end, as a user runs it: in a process of its own."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest


def crossjax(*arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, "-m", "crossjax.cli", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    result = crossjax("quickstart", "--chips", 2, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "runs" / "quickstart", result


def test_quickstart_leaves_a_whole_report(quickstart):
    out, result = quickstart
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "over_time.csv", "programming.csv", "quickstart.png"
    }  # fmt: skip
    assert "report.html" in result.stdout and "GDP" in result.stdout and result.stderr == ""
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "<table>" in page


def test_quickstart_figures_are_the_physics(quickstart):
    out, _ = quickstart
    result = json.loads((out / "result.json").read_text())
    f = {e["name"]: e["ours"] for e in result["figures"]}
    assert f["accuracy_digital"] > 0.96
    assert f["gdp_over_iterative"] == pytest.approx(f["mvm_error_gdp"] / f["mvm_error_iterative"])
    assert f["gdp_over_iterative"] < 1 <= f["one_shot_over_iterative"]
    assert 0 < f["gdp_excess_over_iterative"] < 0.7
    assert f["accuracy_1y_gdc"] > f["accuracy_digital"] - 0.03
    assert result["inputs"]["seed"] == 0 and result["seconds"] > 0 and "jaxlib" in result["versions"]


def test_quickstart_curves_are_complete(quickstart):
    out, _ = quickstart
    with (out / "over_time.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["seconds"]) for r in rows] == [25.0, 3600.0, 86400.0, 2592000.0, 31536000.0]
    assert float(rows[-1]["gdp_mvm_error_none"]) > 2 * float(rows[-1]["gdp_mvm_error"])


def test_an_existing_report_is_not_overwritten(quickstart):
    out, _ = quickstart
    before = (out / "result.json").read_bytes()
    again = crossjax("quickstart", cwd=out.parent.parent)
    assert again.returncode == 2 and "exists: choose another --out" in again.stderr
    assert (out / "result.json").read_bytes() == before


@pytest.mark.parametrize("method", ["gdp", "iterative", "one-shot"])
def test_program_writes_errors_of_every_matrix(tmp_path, method):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "net.npz", fc=rng.normal(size=(60, 20)), conv=rng.normal(size=(3, 3, 4, 8)), bias=np.ones(3))
    done = crossjax("program", "net.npz", "--method", method, "--chips", 2, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["weights"] == 60 * 20 + 36 * 8 and result["devices"] == 4 * result["weights"]
    assert 0 < result[f"mvm_error_{method.replace('-', '_')}"] < 0.5
    assert result["skipped"] == {"bias": "not a matrix"}


def test_the_same_seed_gives_the_same_result(tmp_path):
    np.save(tmp_path / "w.npy", np.random.default_rng(0).normal(size=(40, 30)))
    errors = []
    for seed, out in ((3, "a"), (3, "b"), (4, "c")):
        done = crossjax("program", "w.npy", "--method", "iterative", "--seed", seed, "--out", out, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        errors.append(json.loads((tmp_path / out / "result.json").read_text())["mvm_error_iterative"])
    assert errors[0] == errors[1] != errors[2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["program", "absent.npz"], "no weight file at absent.npz"),
        (["program", "broken.npz"], "broken.npz is truncated"),
        (["program", "vector.npy"], "holds no matrix"),
        (["program", "nan.npy"], "NaN"),
        (["program", "good.npy", "--tile", "nonesuch"], "choose from ideal, pcm, pcm_msp_lsp, hermes, standard"),
        (["program", "good.npy", "--method", "magic"], "choose from one-shot, iterative, gdp"),
        (["program", "good.npy", "--chips", "0"], "chips must be at least 1"),
        (["program", "good.npy", "--out", "broken.npz/x"], "cannot write"),
        (["quickstart", "--chips", "-1"], "chips must be at least 1"),
        (["program", "good.npy", "--seed", "99999999999999999999"], "crossjax:"),
        (["fly"], "fly"),
        ([], "quickstart"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, arguments, message):
    np.save(tmp_path / "good.npy", np.ones((3, 3)))
    np.save(tmp_path / "vector.npy", np.ones(3))
    np.save(tmp_path / "nan.npy", np.full((3, 3), np.nan))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    before = sorted(p.name for p in tmp_path.iterdir())
    done = crossjax(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr + done.stdout and "Traceback" not in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before, "nothing half-written"


def test_bench_without_peers_says_so(tmp_path):
    done = crossjax("bench", "--peers", "--out", "b", cwd=tmp_path)
    if done.returncode == 0:  # a machine with the peers: then the table has them
        assert "aihwkit" in done.stdout
    else:
        assert done.returncode == 2 and "no peer is installed" in done.stderr
