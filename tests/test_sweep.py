"""Sweeps: what their files may say, one compilation for all points, resuming, and what is written."""

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from crossjax.experiments import sweep_spec
from crossjax.experiments.sweep import sweep
from crossjax.experiments.sweepable import EXPERIMENTS, experiment

TRACED = []


def own(key, gain, offset=0.0):
    """An experiment of one's own; counts how often it is traced."""
    TRACED.append(1)
    return {"result": gain * 2 + offset + 0.0 * jax.random.normal(key), "square": jnp.asarray(gain) ** 2}


def write(path, text):
    path.write_text(text)
    return path


def test_a_grid_of_ones_own_function_is_one_program_resumes_and_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write(
        tmp_path / "s.toml",
        'experiment = "test_sweep:own"\nseeds = 2\n[settings]\noffset = 1.0\n'
        "[knobs]\ngain = {low = 1.0, high = 4.0, count = 4}\n",
    )
    TRACED.clear()
    out = sweep(spec, out=tmp_path / "out")
    assert len(TRACED) == 1
    lines = (out / "sweep.csv").read_text().splitlines()
    assert lines[0].startswith("gain,result,result SD,square")
    assert [float(line.split(",")[1]) for line in lines[1:]] == [3.0, 5.0, 7.0, 9.0]
    assert (out / "gain.png").stat().st_size > 5000
    points = json.loads((out / "result.json").read_text())["points"]
    assert points[2]["knobs"] == {"gain": 3.0} and points[2]["results"]["result"] == [7.0, 7.0]


def test_an_interrupted_sweep_goes_on_where_it_stopped_and_refuses_another_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = write(tmp_path / "s.toml", 'experiment = "test_sweep:own"\n[knobs]\ngain = [1.0, 2.0, 3.0]\n')
    from crossjax import report

    stage, done = report.Run.stage, []

    def stops(self, name, compute):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return stage(self, name, compute)

    monkeypatch.setattr(report.Run, "stage", stops)
    with pytest.raises(KeyboardInterrupt):
        sweep(spec, out=tmp_path / "out")
    monkeypatch.setattr(report.Run, "stage", stage)
    spec.write_text(spec.read_text().replace("3.0", "4.0"))
    with pytest.raises(ValueError, match="other inputs"):
        sweep(spec, out=tmp_path / "out")
    spec.write_text(spec.read_text().replace("4.0", "3.0"))
    TRACED.clear()
    sweep(spec, out=tmp_path / "out")
    assert len(TRACED) == 1


def test_the_sweep_of_the_documentation_is_one(tmp_path):
    page = (Path(__file__).parent.parent / "docs/pages/how-to/sweep.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    spec = sweep_spec.read(write(tmp_path / "s.toml", block))
    task = experiment(spec.experiment, spec.settings)
    assert len([task.changed(task.hardware(), row) for row in spec.rows(0)]) == 15


def test_random_designs_lie_between_the_ends_and_repeat():
    spec = sweep_spec.Spec("program", {}, {"a": (1.0, 10.0, 100.0), "b": ("x", "y"), "c": (0.0, 1.0)}, "random", 200, 1)
    rows = spec.rows(0)
    assert rows == spec.rows(0) != spec.rows(1)
    assert {row["b"] for row in rows} == {"x", "y"}
    a = sorted(row["a"] for row in rows)
    assert 1.0 <= a[0] < a[-1] <= 100.0 and a[100] == pytest.approx(10.0, rel=0.6)  # even in the logarithm


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_by_name_measure_what_their_knobs_change(name):
    settings = {"program": {"rows": 16, "cols": 16, "method": "one-shot", "tile": "pcm"},
                "in-situ": {"images": 40, "hidden": 4, "epochs": 1}}[name]  # fmt: skip
    task = experiment(name, settings)
    knob = {"program": "noise", "in-situ": "synapse.device.step"}[name]
    found = [jax.jit(task.measure)(jax.random.key(0), task.changed(task.hardware(), {knob: v})) for v in (0.01, 0.9)]
    assert any(float(found[0][figure]) != float(found[1][figure]) for figure in found[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiment = 3 = 4", "not TOML"),
        ('experiment = "program"', "sweeps nothing"),
        ('[knobs]\na = [1.0]', "names no experiment"),
        ('experiment = "program"\n[knobs]\na = []', "needs a list of values"),
        ('experiment = "program"\n[knobs]\na = {low = 2.0, high = 1.0}', "low < high"),
        ('experiment = "program"\n[knobs]\na = {low = 0.0, high = 1.0, log = true}', "logarithmic"),
        ('experiment = "program"\n[knobs]\na = [nan]', "finite"),
        ('experiment = "program"\nseed = 3\n[knobs]\na = [1.0]', "did you mean 'seeds'"),
        ('experiment = "program"\nseeds = 0\n[knobs]\na = [1.0]', "seeds must be"),
        ('experiment = "program"\ndesign = "random"\n[knobs]\na = [1.0, 2.0]', "points"),
        ('experiment = "progam"\n[knobs]\nnoise = [1.0]', "did you mean 'program'"),
        ('experiment = "program"\n[settings]\nmetod = "gdp"\n[knobs]\nnoise = [1.0]', "did you mean 'method'"),
        ('experiment = "program"\n[settings]\nrows = 1.5\n[knobs]\nnoise = [1.0]', "rows must be"),
        ('experiment = "program"\n[knobs]\n"adc.gian" = [0.1]', "did you mean 'adc.gain'"),
        ('experiment = "program"\n[knobs]\n"adc.range" = [-1.0]', "range must be"),
        ('experiment = "in-situ"\n[settings]\nscheme = "mspp"\n[knobs]\na = [1.0]', "unknown scheme"),
        ('experiment = "in-situ"\n[settings]\ndevice = "pcn"\n[knobs]\na = [1.0]', "unknown pulsed device"),
        ('experiment = "test_sweep:gone"\n[knobs]\na = [1.0]', "cannot be imported"),
        ('experiment = "test_sweep:own"\n[knobs]\ngian = [1.0]', "did you mean 'gain'"),
    ],
)  # fmt: skip
def test_what_a_sweep_cannot_use_is_said(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        sweep(write(tmp_path / "s.toml", text), out=tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()
