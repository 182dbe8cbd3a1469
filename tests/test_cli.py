"""The command line end to end: whole runs as a user starts them, in a process of their own; bad input in this one."""

import csv
import html
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import quick_xla
from filelock import FileLock

from crossjax import cli, report
from crossjax.experiments.program_file import program_file


def crossjax(*arguments, cwd, **env):
    return subprocess.run(
        [sys.executable, "-m", "crossjax.cli", *map(str, arguments)],
        cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory, worker_id):
    """The folder of one run that all workers look at, and what it printed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "quickstart"
    with FileLock(f"{folder}.lock"):
        if not (folder / "printed.json").exists():
            folder.mkdir()
            result = crossjax("quickstart", "--chips", 2, cwd=folder, XLA_FLAGS=quick_xla.PROGRAMS)
            assert result.returncode == 0, result.stderr
            (folder / "printed.json").write_text(json.dumps([result.stdout, result.stderr]))
    return folder / "runs" / "quickstart", json.loads((folder / "printed.json").read_text())


@pytest.mark.slow
def test_quickstart_leaves_a_whole_report(quickstart):
    out, (printed, errors) = quickstart
    assert {p.name for p in out.iterdir()} == {
        "result.json", "report.html", "over_time.csv", "programming.csv", "quickstart.png", "chip.png",
        *(f"chip-{method}.safetensors" for method in ("one-shot", "iterative", "row-wise", "gdp")),
    }  # fmt: skip
    assert "report.html" in printed and "GDP" in printed and errors == ""
    page = (out / "report.html").read_text()
    assert "data:image/png;base64," in page and "<table>" in page
    said = json.loads((out / "result.json").read_text())["found"]
    assert said in " ".join(printed.split()) and html.escape(said) in page
    assert page.count("<figcaption>") == 2 and "<dt>MVM error</dt>" in page and "digital network" in page


@pytest.mark.slow
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


@pytest.mark.slow
def test_quickstart_curves_are_complete(quickstart):
    out, _ = quickstart
    with (out / "over_time.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(r["seconds"]) for r in rows] == [25.0, 3600.0, 86400.0, 2592000.0, 31536000.0]
    assert float(rows[-1]["gdp_mvm_error_none"]) > 2 * float(rows[-1]["gdp_mvm_error"])
    assert all(f"{name} SD" in rows[0] for name in rows[0] if name != "seconds" and not name.endswith(" SD"))
    with (out / "programming.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert float(steps[0]["gdp SD"]) > 0 and steps[-1]["one-shot"] == steps[-1]["one-shot SD"] == ""


@pytest.mark.slow
def test_an_existing_report_is_not_overwritten(quickstart):
    out, _ = quickstart
    before = (out / "result.json").read_bytes()
    again = crossjax("quickstart", cwd=out.parent.parent)
    assert again.returncode == 2 and "exists: choose another --out" in again.stderr
    assert (out / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    "method",
    ["gdp", *(pytest.param(m, marks=pytest.mark.thorough) for m in ("iterative", "one-shot"))],
)
@pytest.mark.slow
def test_program_writes_errors_of_every_matrix(tmp_path, method):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "net.npz", fc=rng.normal(size=(60, 20)), conv=rng.normal(size=(3, 3, 4, 8)), bias=np.ones(3))
    done = crossjax("program", "net.npz", "--method", method, "--chips", 2, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["weights"] == 60 * 20 + 36 * 8 and result["devices"] == 4 * result["weights"]
    assert 0 < result[f"mvm_error_{method.replace('-', '_')}"] < 0.5
    assert result["skipped"] == {"bias": "not a matrix"}


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(tmp_path):
    np.save(tmp_path / "w.npy", np.random.default_rng(0).normal(size=(40, 30)))
    errors = []
    for seed, out in ((3, "a"), (3, "b"), (4, "c")):
        program_file(tmp_path / "w.npy", method="one-shot", seed=seed, out=tmp_path / out)
        errors.append(json.loads((tmp_path / out / "result.json").read_text())["mvm_error_one_shot"])
    assert errors[0] == errors[1] != errors[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Call the command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_compilation_cache", lambda: None)
    monkeypatch.setattr(cli, "_keep_memory", lambda: None)
    return tmp_path


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["program", "absent.npz"], "no weight file at absent.npz"),
        (["program", "broken.npz"], "broken.npz is truncated"),
        (["program", "vector.npy"], "holds no matrix"),
        (["program", "nan.npy"], "NaN"),
        (["program", "good.npy", "--tile", "nonesuch"], "choose from ideal, pcm, pcm_msp_lsp, hermes, standard"),
        (["program", "good.npy", "--method", "magic"], "choose from one-shot, iterative, row-wise, gdp"),
        (["program", "good.npy", "--chips", "0"], "chips must be at least 1"),
        (["program", "good.npy", "--chips", "two"], "--chips: not a whole number: 'two'"),
        (["program", "good.npy", "--out", "broken.npz/x"], "cannot write"),
        (["program", "good.npy", "--out", "."], "the folder you are in"),
        (["program", "good.npy", "--out", "theirs", "--force"], "not the folder of an earlier run"),
        (["program", "good.npy", "--out", "mine"], "mine.partial is in the way"),
        (["program", "good.npy", "--out"], "Missing value for argument '--out'"),
        (["program"], "Missing from crossjax program: PATH"),
        (["program", "good.npy", "more"], "Unrecognized options: more"),
        (["program", "good.npy", "--nope", "1"], "Unrecognized options: --nope, 1"),
        (["program", "two\nlines.npy"], "no weight file at two lines.npy"),
        (["program", "good.npy", "--seed", "99999999999999999999"], "seed must be a whole number from 0 to 4294967295"),
        (["program", "good.npy", "--seed", "-1"], "seed must be a whole number"),
        (["quickstart", "--seed", str(2**63)], "seed must be a whole number"),
        (["reproduce", "joshi2020", "--seed", str(2**32)], "seed must be a whole number"),
        (["reproduce", "buchel2022", "--seed", "-1"], "seed must be a whole number"),
        (["reproduce", "buchel2022", "--chips", "0"], "chips must be at least 1"),
        (["reproduce", "--force", "joshi2020", "--preset", "tiny"], "Expected one of ('quick', 'paper')"),
        (["bench", "--format", "yaml"], "--format must be text or json"),
        (["describe", "hermse"], "did you mean 'presets.hermes'"),
        (["describe", "PowerLawDrift", "--out", "x"], "class without numbers"),
        (["program", "w.npy", "--tile", "none.toml"], "none.toml"),
        (["reproduce", "einstein1905"], "Expected one of ('joshi2020', 'buchel2022', 'mackin2022'"),
        (["quickstart", "--chips", "-1"], "chips must be at least 1"),
        (["quickstart", "--chips", "1.5"], "--chips: not a whole number: '1.5'"),
        (["fly"], "Unrecognized options: fly"),
        ([], "Expected one of {quickstart, describe, program, optimise-strategy, sweep, reproduce,"),
    ],
)
def test_bad_input_is_one_clear_line(here, capsys, arguments, message):
    np.save(here / "good.npy", np.ones((3, 3)))
    np.save(here / "vector.npy", np.ones(3))
    np.save(here / "nan.npy", np.full((3, 3), np.nan))
    (here / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    (here / "theirs").mkdir()
    (here / "mine.partial").mkdir()
    before = sorted(p.name for p in here.iterdir())
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said and said.startswith("crossjax: ") and said.count("\n") == 1
    assert sorted(p.name for p in here.iterdir()) == before, "nothing half-written"


def test_bad_input_is_one_line_from_a_process_too(tmp_path):
    done = crossjax("program", "absent.npz", "--chips", "two", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "not a whole number: 'two'" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.fixture
def quick(here, monkeypatch):
    """A quickstart that says much and computes nothing."""

    def quickstart(out: Path | None = None, *, seed: int = 0, force: bool = False) -> None:
        with report.open_run("quickstart", out, {"seed": seed}, force=force) as run:
            for n in range(500):
                run.table("×", ["η"], [[n]])
            run.finish([], "Nothing was done.")

    monkeypatch.setattr("crossjax.experiments.quickstart.quickstart", quickstart)
    return here / "runs" / "quickstart"


@pytest.mark.parametrize("stream", ["head", "full disk", "closed", "ascii"])
def test_a_run_completes_when_nobody_reads_what_it_prints(quick, monkeypatch, stream):
    read, write = os.pipe()
    os.close(read)
    if stream == "full disk" and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    target, encoding = {"full disk": "/dev/full", "ascii": os.devnull}.get(stream, write), "utf-8"
    with open(target, "w", encoding="ascii" if stream == "ascii" else encoding) as file:
        monkeypatch.setattr(sys, "stdout", None if stream == "closed" else file)
        cli.main(["quickstart"])
    assert (quick / "result.json").exists()


def test_the_same_weights_by_another_path_are_the_same_input(here, monkeypatch):
    from crossjax.experiments import program_file

    done, measure = [], program_file.program_matrix

    def interrupted(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(measure(*arguments))
        return done[-1]

    rng = np.random.default_rng(0)
    np.savez(here / "net.npz", **{"[/]": rng.normal(size=(3, 2)), "$\\frac{a$": rng.normal(size=(3, 2))})
    monkeypatch.setattr(program_file, "program_matrix", interrupted)
    options = ["--tile", "ideal", "--method", "one-shot", "--out", "out"]
    with pytest.raises(SystemExit) as end:
        cli.main(["program", "net.npz", *options])
    assert end.value.code == 130
    done.clear()
    (here / "elsewhere").mkdir()
    (here / "net.npz").rename(here / "elsewhere" / "same.npz")
    cli.main(["program", str(here / "elsewhere" / "same.npz"), *options])
    assert len(done) == 1
    assert json.loads((here / "out" / "result.json").read_text())["inputs"]["weights"].endswith("same.npz")


def test_bench_without_peers_says_so(tmp_path):
    done = crossjax("bench", "--peers", "--out", "b", cwd=tmp_path)
    if done.returncode == 0:  # a machine with the peers: then the table has them
        assert "aihwkit" in done.stdout
    else:
        assert done.returncode == 2 and "no peer is installed" in done.stderr


def test_version_completion_and_help_are_short(capsys):
    cli.main(["--version"])
    assert capsys.readouterr().out.startswith("crossjax 0.")
    with pytest.raises(SystemExit):
        cli.main(["completion", "bash"])
    assert "complete" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert "--format json" in said and len(said.splitlines()) < 45


def test_a_datasheet_by_name_and_by_file_with_plots(tmp_path, capsys):
    cli.main(["describe", "pcm"])
    assert "device.g_max" in capsys.readouterr().out
    cli.main(["describe", "pcm", "--out", str(tmp_path / "sheet")])
    names = {p.name for p in (tmp_path / "sheet").iterdir()}
    assert {"report.html", "device.png", "hardware.toml", "datasheet.csv", "result.json"} <= names
    capsys.readouterr()
    cli.main(["describe", str(tmp_path / "sheet" / "hardware.toml"), "--format", "json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["device"]["g_max"] == 25.0 and "device.g_max" in said.err


def test_results_as_json_are_those_of_the_folder(tmp_path, capsys):
    np.save(tmp_path / "w.npy", np.eye(8))
    (tmp_path / "tile.toml").write_text('part = "presets.pcm"\nrows = 8\ncols = 8\n')
    arguments = ["program", tmp_path / "w.npy", "--tile", tmp_path / "tile.toml", "--method", "one-shot"]
    cli.main([*map(str, arguments), "--out", str(tmp_path / "run"), "--format=json"])
    found = json.loads(capsys.readouterr().out)
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found == {"folder": str(tmp_path / "run"), **kept} and kept["inputs"]["hardware"]["rows"] == 8
