"""Data sets of feature vectors: layouts on made-up files, what is damaged, and symbols of texts."""

import numpy as np
import pytest

from crossjax import features


def test_isolet_in_ucis_layout(tmp_path):
    base, rng = tmp_path / "isolet", np.random.default_rng(0)
    base.mkdir()
    wanted = {}
    for name, rows in (("isolet1+2+3+4.data", 6), ("isolet5.data", 3)):
        x, y = rng.uniform(-1, 1, (rows, 617)).round(4), rng.integers(1, 27, rows)
        lines = [", ".join(f"{v:.4f}" for v in row) + f", {label}." for row, label in zip(x, y, strict=True)]
        (base / name).write_text("\n".join(lines) + "\n")
        wanted[name] = x, y - 1
    found = features.isolet(tmp_path)
    for part, (x, y) in zip((found.train, found.test), wanted.values(), strict=True):
        np.testing.assert_allclose(part[0], x, atol=1e-6)
        np.testing.assert_array_equal(part[1], y)


def test_activities_in_ucis_layout(tmp_path):
    rng = np.random.default_rng(1)
    for part, rows in (("train", 5), ("test", 2)):
        base = tmp_path / "UCI HAR Dataset" / part
        base.mkdir(parents=True)
        np.savetxt(base / f"X_{part}.txt", rng.uniform(-1, 1, (rows, 561)), fmt="%16.7e")
        np.savetxt(base / f"y_{part}.txt", rng.integers(1, 7, rows), fmt="%d")
    found = features.har(tmp_path)
    assert found.train[0].shape == (5, 561) and found.test[1].shape == (2,) and found.train[1].min() >= 0
    file = tmp_path / "UCI HAR Dataset" / "test" / "y_test.txt"
    for content, message in (
        ("1\n9\n", "labels from 1 to 6"),
        ("1\n", "1 labels for 2"),
        ("one\n", "not a table"),
        ("1 2\n3 4\n", "1 finite"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            features.har(tmp_path)


def test_missing_and_strange_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"isolet5\.data"):
        features.isolet(tmp_path)
    with pytest.raises(FileNotFoundError, match="languages21"):
        features.languages21(tmp_path)
    for name, load in (("isolet1560.npz", features.isolet1560), ("languages21.json.xz", features.languages21)):
        (tmp_path / name).write_bytes(b"not this")
        with pytest.raises(ValueError, match="another digest"):
            load(tmp_path)
    with pytest.raises(ValueError, match="fold"):
        features.isolet1560(tmp_path, fold=4)


def test_texts_become_symbols():
    text = "Ab, c!  zÉ\n"
    assert features.symbols(text).tolist() == [1, 2, 0, 3, 0, 26, 0]
    assert features.symbols("").size == 0
