"""The three systems that are not plain MVMs, on made-up data: what is computed, written and refused."""

import json

import numpy as np
import pytest

from crossjax import features, papers
from crossjax.images import Images
from crossjax.papers import mimhd, photonic_snn, simba


def blobs():
    """Images of two classes that a few dozen examples tell apart, as bytes."""
    rng = np.random.default_rng(0)
    y = np.arange(400, dtype=np.int32) % 2
    x = rng.integers(0, 70, (400, 28, 28, 1)).astype(np.uint8)
    x[y == 1, :14] += 150
    return Images((np.tile(x, (7, 1, 1, 1)), np.tile(y, 7)), (x[:100], y[:100]))


def figures(out):
    result = json.loads((out / "result.json").read_text())
    return {f["name"]: f["ours"] for f in result["figures"]}, result


def test_what_is_recovered_is_of_the_point_that_says_so():
    spread = {"a": {10: {"blind": [[90.0], [80.0]], "aware": [[90.0], [86.0]]}}}
    size = mimhd.Preset(1, 1, 1, 10, (10,), (0.0, 1.0), 1, 1)
    found = mimhd.recovered(spread, size)
    assert found["share"] == pytest.approx(0.6) and found["lost"] == 10.0 and found["D"] == 10
    assert mimhd.recovered({"a": {10: {"blind": [[90.0], [89.0]], "aware": [[90.0], [90.0]]}}}, size) is None
    sweep = {
        "values": [0.0, 0.01, 0.05, 0.1],
        "plain": [[98.0], [97.9], [94.0], [60.0]],
        "adabs": [[98.0], [98.0], [97.0], [90.0]],
    }
    assert simba.recovered(sweep) == {"rate": 0.05, "lost": 4.0, "share": pytest.approx(0.75)}


@pytest.mark.thorough
def test_mimhd_on_made_up_data(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    def six(folder, size):
        y = np.arange(60, dtype=np.int32) % 3
        x = rng.normal(size=(60, 12)).astype(np.float32) + 3 * np.eye(3, 12)[y].astype(np.float32)
        data = features.Features((x, y), (x[:30], y[:30]))
        texts = features.Languages(("a", "b"), tuple(rng.integers(lo, lo + 9, 900) for lo in (1, 12)),
                                   tuple(rng.integers(lo, lo + 9, 60) for lo in (1, 12)), np.arange(2))  # fmt: skip
        return {
            "digits": mimhd.projected(data),
            "ISOLET": mimhd.projected(data),
            "languages": mimhd.by_trigrams(texts, size),
        }

    monkeypatch.setattr(mimhd, "six", six)
    monkeypatch.setitem(mimhd.PRESETS, "quick", mimhd.Preset(100, 20, 1, 128, (64, 128), (0.0, 2.0), 2, 6))
    found, result = figures(papers.reproduce("mimhd", mimhd.Options(out=tmp_path / "m")))
    assert {"accuracy_float", "accuracy_1bit", "accuracy_2bit", "accuracy_3bit", "accuracy_3bit_on_chips"} <= set(found)
    assert found["accuracy_3bit"] > 70 and result["spread"]["ISOLET"]["64"]["aware"]
    assert {"accuracy.png", "spread.png", "cell.png", "accuracy.csv"} <= {p.name for p in (tmp_path / "m").iterdir()}
    with pytest.raises(ValueError, match="at least 1"):
        papers.reproduce("mimhd", mimhd.Options(chips=0, out=tmp_path / "n"))


@pytest.mark.thorough
def test_simba_and_photonic_snn_on_made_up_images(tmp_path, monkeypatch):
    for module in (simba, photonic_snn):
        monkeypatch.setattr(module, "mnist", lambda folder: blobs())
    monkeypatch.setitem(
        simba.PRESETS, "quick", simba.Preset("mlp", 32, 2, 3e-3, 2, 100, (0.0, 0.01, 0.05), (0.0, 10.0))
    )
    found, result = figures(papers.reproduce("simba", simba.Options(out=tmp_path / "s")))
    assert {"accuracy_binary", "accuracy_read_errors_1pct", "accuracy_read_errors_5pct"} <= set(found)
    assert found["accuracy_binary"] > 90 and found["energy_if_binarynet"] == pytest.approx(43.3, abs=0.1)
    assert simba.TRAINED_WITH in result["sweeps"]
    monkeypatch.setattr(photonic_snn, "SIZES", (784, 16, 10))
    monkeypatch.setitem(photonic_snn.PRESETS, "quick", photonic_snn.Preset(2, 50, 12, 64, 2))
    found, _ = figures(papers.reproduce("photonic-snn", photonic_snn.Options(out=tmp_path / "p")))
    assert {"accuracy_ann", "accuracy_snn", "accuracy_snn_gst", "agreement"} <= set(found)
    assert found["accuracy_ann"] > 90 and found["agreement"] > 0.9
    with pytest.raises(ValueError, match="at least 1"):
        papers.reproduce("photonic-snn", photonic_snn.Options(steps=0, out=tmp_path / "q"))
