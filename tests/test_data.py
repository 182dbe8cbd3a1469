import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from crossjax import report
from crossjax.images import digits
from crossjax.weight_files import as_matrix, load_matrices


def test_safetensors_are_read_in_torch_layout(tmp_path):
    conv, linear = np.random.rand(8, 3, 3, 3).astype(np.float32), np.random.rand(5, 7).astype(np.float32)
    save_file({"conv": conv, "linear": linear, "bias": np.zeros(5, np.float32)}, tmp_path / "net.safetensors")
    found = load_matrices(tmp_path / "net.safetensors", "torch")
    assert {n: w.shape for n, w in found.matrices.items()} == {"conv": (27, 8), "linear": (7, 5)}
    np.testing.assert_array_equal(found.matrices["linear"], linear.T)
    assert found.skipped == {"bias": "not a matrix"} and found.weights == 27 * 8 + 35


def test_npz_and_npy_are_read_in_jax_layout(tmp_path):
    w, kernel = np.random.rand(4, 3), np.random.rand(3, 3, 2, 6)
    np.savez(tmp_path / "net.npz", w=w, kernel=kernel, step=np.arange(4).reshape(2, 2))
    np.save(tmp_path / "one.npy", w)
    found = load_matrices(tmp_path / "net.npz")
    assert found.matrices["kernel"].shape == (18, 6) and "step" in found.skipped
    np.testing.assert_allclose(load_matrices(tmp_path / "one.npy").matrices["one"], w, rtol=1e-6)
    assert load_matrices(tmp_path / "one.npy", "torch").matrices["one"].shape == (3, 4)


def test_both_layouts_give_the_same_products():
    kernel = np.random.rand(6, 2, 3, 3)
    torch = as_matrix(kernel, "torch").reshape(2, 3, 3, 6)
    jax = as_matrix(kernel.transpose(2, 3, 1, 0), "jax").reshape(3, 3, 2, 6)
    np.testing.assert_array_equal(torch.transpose(1, 2, 0, 3), jax)


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".safetensors"])
def test_truncated_and_foreign_files_are_named(tmp_path, suffix):
    good = {".npz": np.savez, ".npy": np.save, ".safetensors": lambda p, w: save_file({"w": w}, p)}[suffix]
    good(tmp_path / f"good{suffix}", np.random.rand(64, 64).astype(np.float32))
    data = (tmp_path / f"good{suffix}").read_bytes()
    for name, content in (("short", data[: len(data) // 2]), ("foreign", b"\x89PNG\r\n" * 20), ("empty", b"")):
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\{suffix} is truncated or not a \{suffix} file"):
            load_matrices(path)


def test_pickled_arrays_are_never_executed(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="truncated or not"):
        load_matrices(tmp_path / "object.npy")


@pytest.mark.parametrize(
    "array, message",
    [(np.array([[np.nan, 1.0]]), "1 NaN"), (np.zeros(3), "holds no matrix"), (np.zeros((0, 4)), "holds no matrix")],
)
def test_unusable_weights_are_refused(tmp_path, array, message):
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(ValueError, match=message):
        load_matrices(tmp_path / "w.npy")


def test_wrong_names_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        load_matrices(tmp_path / "absent.npy")
    (tmp_path / "net.pt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not \.pt"):
        load_matrices(tmp_path / "net.pt")


def test_digits_are_the_published_ones():
    images, labels = digits()
    assert images.shape == (1797, 64) and images.min() == 0 and images.max() == 1
    np.testing.assert_array_equal(np.bincount(labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


# ------------------------------------------------------------------------------------- run folders


def test_a_run_appears_whole_or_not_at_all(tmp_path):
    with report.open_run("demo", tmp_path / "demo", {"seed": 0}) as run:
        run.table("t", ["a"], [[1]])
        run.csv("curve", {"x": [1, 2], "y": [3, 4]})
        assert not (tmp_path / "demo").exists()
        run.finish([report.figure("f", 0.5, paper=0.4)], "Half was found: {f:.2f}.")
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert result["figures"] == [{"name": "f", "paper": 0.4, "ours": 0.5, "unit": ""}]
    assert (tmp_path / "demo" / "curve.csv").read_text().split() == ["x,y", "1,3", "2,4"]
    assert sorted(p.name for p in (tmp_path / "demo").iterdir()) == ["curve.csv", "report.html", "result.json"]


def test_an_interrupted_run_resumes_with_the_same_inputs_only(tmp_path):
    calls = []

    def stage(n):
        calls.append(n)
        if n == 2 and len(calls) < 3:
            raise KeyboardInterrupt
        return {"n": n}

    for attempt in range(2):
        try:
            with report.open_run("demo", tmp_path / "demo", {"seed": 0}) as run:
                values = [run.stage(f"s{n}", lambda n=n: stage(n)) for n in (1, 2)]
        except KeyboardInterrupt:
            assert attempt == 0
    assert calls == [1, 2, 2] and values == [{"n": 1}, {"n": 2}]
    with (
        pytest.raises(ValueError, match="interrupted run with other inputs"),
        report.open_run("demo", tmp_path / "demo", {"seed": 1}),
    ):
        pass


def test_existing_and_unwritable_folders_are_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="--force"), report.open_run("demo", tmp_path / "demo", {}):
        pass
    assert (tmp_path / "demo" / "mine.txt").read_text() == "keep"
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"), report.open_run("demo", tmp_path / "file" / "demo", {}):
        pass


def test_force_replaces_runs_only_and_only_when_the_new_one_is_complete(tmp_path):
    (tmp_path / "mine").mkdir()
    with (
        pytest.raises(FileExistsError, match="not the folder of an earlier run"),
        report.open_run("demo", tmp_path / "mine", {}, force=True),
    ):
        pass
    for value in (1, 2):
        with report.open_run("demo", tmp_path / "demo", {"v": value}, force=True) as run:
            if value == 2:
                assert json.loads((tmp_path / "demo" / "result.json").read_text())["inputs"] == {"v": 1}
            run.finish([], "Nothing was done.")
    assert json.loads((tmp_path / "demo" / "result.json").read_text())["inputs"] == {"v": 2}


def test_stages_with_similar_names_are_kept_apart(tmp_path):
    with report.open_run("demo", tmp_path / "demo", {}) as run:
        assert [run.stage(n, lambda n=n: {"n": n})["n"] for n in ("a/b", "a_b", "W", "w")] == ["a/b", "a_b", "W", "w"]


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), report.atomic(tmp_path / "x") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
