"""The reproductions end to end on made-up images: what they write, resume and refuse. Real data take minutes."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from test_cli import crossjax
from test_nn_chips import torch_names

import crossjax as cx
from crossjax import images, nn
from crossjax.papers import buchel2022, cifar, joshi2020

pytestmark = pytest.mark.slow


@pytest.fixture
def data(monkeypatch):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (300, 32, 32, 3), np.uint8), rng.integers(0, 10, 300).astype(np.int32)
    made_up = images.Images(train, (train[0][:40], train[1][:40]))
    small = functools.partial(cifar.Cifar, made_up, batches=2, size=20)
    monkeypatch.setattr(cifar.Cifar, "load", classmethod(lambda cls, folder, pipeline, n: small(pipeline)))
    return small


@pytest.fixture
def network(tmp_path):
    model = nn.models.ResNet(8, (4, 4, 8), rngs=nnx.Rngs(0))
    save_file(torch_names(model), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.mark.thorough
def test_joshi2020_writes_its_figures_and_goes_on_where_it_stopped(data, network, tmp_path, monkeypatch):
    monkeypatch.setitem(joshi2020.PRESETS, "quick", dataclasses.replace(joshi2020.PRESETS["quick"], chips=2, images=40))
    options = joshi2020.Options(weights=network, steps=3, studies=False, out=tmp_path / "run")
    follow, calls = cifar.OverTime.__call__, []

    def interrupted(self, key):
        calls.append(key)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return follow(self, key)

    monkeypatch.setattr(cifar.OverTime, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        joshi2020.reproduce(options)
    assert (tmp_path / "run.partial").is_dir() and not (tmp_path / "run").exists()
    out = joshi2020.reproduce(options)
    assert len(calls) == 5  # three chips were done
    assert {p.name for p in out.iterdir()} == {"result.json", "report.html", "accuracy.csv", "joshi2020.png"}
    figures = {f["name"]: f for f in json.loads((out / "result.json").read_text())["figures"]}
    wanted = ["accuracy_digital", "accuracy_25s", "accuracy_1d_gdc", "accuracy_1d_adabs", "accuracy_1y_gdc"]
    wanted += ["accuracy_1y_adabs", "accuracy_1d_noise_trained_gdc", "accuracy_25s_adabs", "accuracy_digital_adabs"]
    wanted += ["accuracy_digital_noise_trained", "accuracy_digital_noise_trained_adabs"]
    assert all(0 <= figures[name]["ours"] <= 100 for name in wanted)
    assert figures["accuracy_digital"]["paper"] == 93.87 and figures["accuracy_1y_gdc"]["paper"] is None
    inputs = json.loads((out / "result.json").read_text())["inputs"]
    assert inputs["pipelines"]["network"]["border"] == 8 and inputs["pipelines"]["studies"]["border"] == 2
    assert len((out / "accuracy.csv").read_text().splitlines()) == 1 + 2 * 3 * 2 * 4


class Small(nnx.Module):
    """Two layers in place of ResNet-9, which take a minute to compile."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), strides=(4, 4), rngs=rngs)
        self.classifier = nnx.Linear(512, 10, rngs=rngs)

    def __call__(self, x):
        return self.classifier(nnx.relu(self.conv(x)).reshape(len(x), -1))


def test_buchel2022_compares_two_methods(data, tmp_path, monkeypatch):
    included = buchel2022.trained
    monkeypatch.setattr(buchel2022, "trained", lambda *a: included(*a) and Small(nnx.Rngs(0)))
    few = {"iterative": cx.OneShot, "gdp": cx.Exact}  # two that compile fast: what is compared is tested elsewhere
    monkeypatch.setattr(buchel2022, "METHODS", few)
    out = buchel2022.reproduce(buchel2022.Options(chips=1, images=100, studies=False, out=tmp_path / "run"))
    figures = {f["name"]: f["ours"] for f in json.loads((out / "result.json").read_text())["figures"]}
    assert figures["gdp_minus_iterative"] == pytest.approx(figures["accuracy_gdp"] - figures["accuracy_iterative"])
    assert 0 < figures["mvm_error_gdp"] < 1 and 0 < figures["mvm_error_iterative"] < 1
    assert len((out / "chips.csv").read_text().splitlines()) == 3


def test_an_interrupted_run_with_another_pipeline_is_not_resumed(data, network, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(joshi2020, "digital_accuracy", lambda *_: 0.5)
    monkeypatch.setattr(cifar.OverTime, "__call__", interrupted)
    options = joshi2020.Options(weights=network, studies=False, out=tmp_path / "run")
    run = functools.partial(joshi2020.reproduce, options)
    with pytest.raises(KeyboardInterrupt):
        run()
    monkeypatch.setattr(joshi2020, "IMPORTED", dataclasses.replace(cifar.IMPORTED, border=4))
    with pytest.raises(ValueError, match="other inputs"):
        run()


def test_adabs_changes_a_digital_network_little_with_its_own_pipeline_and_much_with_another():
    blobs = np.random.default_rng(1).integers(0, 256, (300, 4, 4, 3), np.uint8)  # squares of 8 pixels
    train = blobs.repeat(8, 1).repeat(8, 2), np.zeros(300, np.int32)
    pipeline = images.Pipeline(*images.CIFAR10, border=12, flip=False)
    own = cifar.Cifar(images.Images(train, train), pipeline, batches=3, size=100)
    model = nn.models.ResNet(8, (4, 4, 8), rngs=nnx.Rngs(0))
    model.eval()
    collected = nn.adabs(model, pipeline.calibration(jax.random.key(9), train[0], 3, 100), floor=1e-6)

    def moved(calibration):
        """Largest change of any batch norm's mean, in its standard deviations."""
        fresh = nn.adabs(collected, calibration)
        return float(jnp.abs((fresh.bn1.mean[...] - collected.bn1.mean[...]) / jnp.sqrt(collected.bn1.var[...])).max())

    plain = dataclasses.replace(own, pipeline=dataclasses.replace(pipeline, border=0))
    grey = dataclasses.replace(own, pipeline=dataclasses.replace(pipeline, grey=True))
    assert moved(own.calibration) < 0.1 < 0.3 < min(moved(plain.calibration), moved(grey.calibration))


def test_digital_accuracy_before_and_after_adabs(data):
    here = data(cifar.TRAINED)
    model = nn.models.ResNet(8, (4, 4, 8), rngs=nnx.Rngs(0))
    refreshed = nnx.clone(model)
    refreshed.eval()
    refreshed = nn.adabs(refreshed, here.calibration)
    after = cifar.digital_accuracy(model, here.test, here.calibration)
    assert after == pytest.approx(cifar.digital_accuracy(refreshed, here.test))
    np.testing.assert_array_equal(here.test[0], here.pipeline.test(here.data.test[0]))


def test_the_networks_that_come_with_the_package():
    resnet = cifar.published_resnet(None)
    assert len(resnet.res1) == 3 and resnet.bn1.epsilon == 1e-3 and resnet.res1[0].bn1.epsilon == 1e-5
    assert nn.models.parameters(resnet) == 272_474


def test_what_is_refused(network, tmp_path):
    with pytest.raises(ValueError, match="unknown preset 'tiny'; choose from quick, paper"):
        joshi2020.reproduce(joshi2020.Options("tiny"))
    with pytest.raises(ValueError, match="chips must be at least 1"):
        buchel2022.Options(chips=0)
    save_file({"conv.weight": np.ones((2, 2), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a CIFAR ResNet"):
        cifar.published_resnet(tmp_path / "other.safetensors")


def test_without_data_the_command_says_what_is_missing(tmp_path):
    done = crossjax("reproduce", "joshi2020", cwd=tmp_path, CROSSJAX_DATA="")
    assert done.returncode == 2 and "CROSSJAX_DATA" in done.stderr and "data_batch_1" in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "runs").exists()
    done = crossjax("reproduce", "joshi2020", "--data", tmp_path, cwd=tmp_path)
    assert done.returncode == 2 and "lacks data_batch_1" in done.stderr


def test_noisy_accuracy_is_a_mean_over_draws(key, data):
    model = nn.models.ResNet(8, (4, 4, 8), rngs=nnx.Rngs(0))
    analog = nn.to_analog(model, joshi2020.hardware(), injections=[cx.training.WeightNoise(0.1)], report=None)
    found = joshi2020.noisy_accuracy(key, analog, data(cifar.IMPORTED).test, draws=3)
    assert (found * 40 * 3) % 1 == pytest.approx(0, abs=1e-3)
