"""The papers on training on the chip, on made-up images: what is computed, written and refused."""

import dataclasses
import json

import numpy as np
import pytest

from crossjax import papers
from crossjax.papers import cristiano2018, femfet, in_situ, nandakumar2020


def blobs(height, width):
    """Images of two classes that a few dozen examples tell apart."""
    rng = np.random.default_rng(0)
    y = np.arange(40, dtype=np.int32) % 2
    x = rng.uniform(0, 0.3, (40, height, width, 1)).astype(np.float32)
    x[y == 1, : height // 2] += 0.7
    return (x, y), (x, y)


def figures(out):
    result = json.loads((out / "result.json").read_text())
    return {f["name"]: f["ours"] for f in result["figures"]}, result


def test_what_is_tolerable_is_where_a_point_is_lost():
    assert in_situ.tolerable([0.0, 1.0, 2.0], np.array([95.0, 94.5, 92.5]), 95.0) == pytest.approx(1.25)
    assert in_situ.tolerable([0.0, 1.0], np.array([95.0, 94.5]), 95.0) is None


@pytest.mark.thorough
def test_cristiano2018_on_made_up_images(tmp_path, monkeypatch):
    monkeypatch.setattr(cristiano2018, "load", lambda *_, **__: blobs(22, 24))
    monkeypatch.setattr(cristiano2018, "SIZES", (528, 6, 10))
    small = cristiano2018.Preset(40, 1, 1, 20, 2, 2)
    monkeypatch.setitem(cristiano2018.PRESETS, "quick", small)
    options = cristiano2018.Options(out=tmp_path / "c", knobs=("yield",))
    found, result = figures(papers.reproduce("cristiano2018", options))
    wanted = {"accuracy_software", "accuracy_ideal", "accuracy_single_pair", "accuracy_msp_lsp", "polarity_recovered"}
    wanted |= {f"tolerable_{part}_{knob}" for part in ("lsp", "msp") for knob in cristiano2018.KNOBS}
    assert wanted <= set(found) and found["tolerable_lsp_step_spread"] is None
    assert 40 <= found["accuracy_software"] <= 100
    assert result["references"]["msp_lsp"]["pulses lsp"][0][0] > 0
    assert result["sweeps"]["msp yield"]["values"] == [1.0, 0.5]
    assert (tmp_path / "c" / "accuracy.png").exists() and (tmp_path / "c" / "sweeps.csv").exists()
    with pytest.raises(ValueError, match="unknown knob"):
        papers.reproduce("cristiano2018", dataclasses.replace(options, knobs=("gmax",), out=tmp_path / "d"))


@pytest.mark.thorough
def test_nandakumar2020_and_femfet_on_made_up_images(tmp_path, monkeypatch):
    monkeypatch.setattr(nandakumar2020, "load", lambda *_, **__: blobs(28, 28))
    monkeypatch.setattr(nandakumar2020, "BATCH", 20)
    monkeypatch.setitem(nandakumar2020.PRESETS, "quick", nandakumar2020.Preset(40, 1, 0, 1))
    found, _ = figures(papers.reproduce("nandakumar2020", nandakumar2020.Options(out=tmp_path / "n")))
    assert {"accuracy_software", "accuracy_mixed_precision", "accuracy_pulsed_sgd"} <= set(found)
    monkeypatch.setattr(femfet, "load", lambda *_, **__: blobs(28, 28))
    monkeypatch.setitem(femfet.PRESETS, "quick", femfet.Preset(40, 1, 16, 1, (4,), (), ()))
    found, result = figures(papers.reproduce("femfet", femfet.Options(out=tmp_path / "f")))
    assert {"accuracy_hybrid", "accuracy_ideal_6bit"} <= set(found) and set(result["results"]) == {
        "4 + 2",
        "4 + 2 ideal",
    }
    with pytest.raises(ValueError, match="at least 1"):
        papers.reproduce("femfet", femfet.Options(epochs=0, out=tmp_path / "g"))
