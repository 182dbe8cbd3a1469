"""Programmed networks: drift, compensation, AdaBS, ranges, files, and parameters of other networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import crossjax as cx
from crossjax import nn
from crossjax.tiles.tile import Tile

pytestmark = pytest.mark.slow

NOISY = Tile(512, 512, dac=cx.DAC(range=3.0), adc=cx.ADC(range=12.0), noise=0.04, compensation=None)


def quiet(model, tile, **options):
    return nn.to_analog(model, tile, report=None, **options)


def mlp(*sizes):
    return nn.models.MLP(sizes, rngs=nnx.Rngs(0))


# ------------------------------------------------------------------------------------- chips over time


@pytest.fixture(scope="module")
def small():
    model = nnx.Sequential(
        nnx.Conv(3, 8, (3, 3), rngs=nnx.Rngs(0)), nnx.BatchNorm(8, rngs=nnx.Rngs(1)), nnx.relu,
        lambda x: x.reshape(x.shape[0], -1), nnx.Linear(8 * 36, 4, rngs=nnx.Rngs(2)),
    )  # fmt: skip
    analog = quiet(model, Tile(100, 100, device=cx.devices.pcm()))
    analog.eval()
    return analog, jax.random.normal(jax.random.key(5), (16, 6, 6, 3))


def test_a_programmed_network_drifts_and_is_compensated(key, small):
    analog, x = small
    chip, histories = nn.program(key, analog)
    assert list(histories) == ["layers.0", "layers.4"] and histories["layers.4"].mvm_error.shape == (1,)
    y = nn.digital(analog)(x)

    def error(net):
        return float(jnp.linalg.norm(net(x) - y) / jnp.linalg.norm(y))

    day = [nn.read(key, chip, 86400.0, compensate=c) for c in (False, True)]
    assert error(day[0]) > 2 * error(day[1]) > 0.05
    np.testing.assert_array_equal(day[1](x), nn.read(key, chip, 86400.0)(x))
    with pytest.raises(ValueError, match="not read"):
        chip(x)
    with pytest.raises(ValueError, match="not programmed"):
        nn.read(key, analog)


@pytest.mark.thorough
def test_a_population_streamed_or_side_by_side_is_the_same(key, small):
    """Of chips without read noise, which would be another's where a layer's inputs differ in their last bit."""
    _, x = small
    analog = nn.map_tiles(small[0], lambda name, tile: cx.replace(tile, **{"device.read": None}))
    measure = lambda net: net(x)  # noqa: E731
    one, many = (nn.evaluate(key, analog, measure, chips=2, times=[0.0, 3600.0], batch=b) for b in (1, 4))
    assert one.shape == (2, 2, 16, 4)
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5)
    for bad in ({"chips": 0}, {"times": []}, {"times": [-1.0]}):
        with pytest.raises(ValueError, match="at least one chip"):
            nn.evaluate(key, analog, measure, **bad)
    assert float(jnp.std(one[:, 0], axis=0).min()) > 0 and not np.allclose(one[0, 0], one[0, 1])


def test_adabs_is_its_formula(key, small):
    analog, x = small
    batches = jnp.stack([x, 2 * x + 1, x - 3])
    now = nn.read(key, nn.program(key, analog)[0], 86400.0)
    fresh = nn.adabs(now, batches)
    p = 0.015 ** (1 / 3)  # read noise is small here: the means of many pixels hardly feel it
    mean, var = jnp.zeros(8), jnp.ones(8)
    for batch in batches:
        y = now.layers[0](batch)
        mean, var = p * mean + (1 - p) * y.mean((0, 1, 2)), p * var + (1 - p) * y.var((0, 1, 2))
    np.testing.assert_allclose(fresh.layers[1].mean.get_value(), mean, rtol=0.01, atol=0.02)
    np.testing.assert_allclose(fresh.layers[1].var.get_value(), var, rtol=0.01, atol=0.02)
    assert fresh.layers[1].use_running_average and fresh.layers[1].momentum == analog.layers[1].momentum
    np.testing.assert_array_equal(now.layers[1].mean.get_value(), 0)
    with pytest.raises(ValueError, match="0 batches"):
        nn.adabs(now, batches[:0])
    with pytest.raises(ValueError, match="batch norms"):
        nn.adabs(mlp(3, 2), jnp.ones((1, 2, 3)))


def test_adabs_leaves_statistics_of_the_same_images_and_averages_the_noise(key, small):
    analog, x = small
    model = nn.digital(analog)
    once = nn.adabs(model, jnp.stack([x] * 3), floor=1e-6)
    again = nn.adabs(once, jnp.stack([x] * 3))
    for name in ("mean", "var"):
        a, b = (getattr(net.layers[1], name)[...] for net in (once, again))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(again(x), once(x), rtol=1e-2, atol=2e-3)
    assert float(jnp.abs(nn.adabs(once, jnp.stack([2 * x + 1] * 3)).layers[1].mean[...] - a).max()) > 0.1


def test_adabs_meets_other_noise_than_the_test_does(key):
    model = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(1)))
    analog = nn.to_analog(model, Tile(4, 4, noise=0.5), report=None)
    analog.eval()
    now = nn.read(key, nn.program(key, analog)[0])
    x = jnp.zeros((50, 4))
    fresh = nn.adabs(now, x[None], floor=1e-6)
    nn.convert.advance(now, 0)  # the noise of a test's first batch
    y = now.layers[0](x)
    assert float(jnp.std(y)) > 0 and not np.allclose(fresh.layers[1].mean[...], y.mean(0), atol=1e-4)


def test_calibrated_ranges_hold_what_flows(key):
    model = quiet(mlp(20, 10, 5), NOISY, learn_ranges=True)
    x = jax.random.normal(key, (500, 20))
    tuned = nn.calibrate(model, x, percentile=100.0)
    op = tuned.layers[0].dot_general
    assert float(op.input_range.get_value()) == pytest.approx(float(jnp.abs(x).max()))
    w = model.layers[0].kernel.get_value()
    sums = jnp.abs(x @ w).max() / jnp.abs(w).max() / jnp.abs(x).max()
    assert float(op.tile.get_value().adc.range) == pytest.approx(float(sums), rel=0.02)
    with pytest.raises(ValueError, match="percentile"):
        nn.calibrate(model, x, percentile=0.0)


def test_a_programmed_network_is_saved_and_loaded_exactly(key, small, tmp_path):
    analog, x = small
    chip = nn.read(key, nn.program(key, analog)[0], 3600.0)
    nn.save(tmp_path / "chip.safetensors", chip)
    np.testing.assert_array_equal(nn.load(tmp_path / "chip.safetensors", analog)(x), chip(x))
    assert [p.name for p in tmp_path.iterdir()] == ["chip.safetensors"]
    with pytest.raises(ValueError, match="another structure"):
        nn.load(tmp_path / "chip.safetensors", mlp(20, 10, 5))


# ------------------------------------------------------------------------------------------ networks


def test_sizes_of_the_papers_networks():
    assert nn.models.parameters(nn.models.ResNet9(rngs=nnx.Rngs(0))) == 100_726
    joshi = nn.models.ResNet(32, (16, 28, 56), rngs=nnx.Rngs(0))
    rows = nn.account(joshi)
    assert sum(r["weights"] for r in rows if r["type"] != "BatchNorm") == 361_722
    with pytest.raises(ValueError, match="6n"):
        nn.models.ResNet(21, rngs=nnx.Rngs(0))


def torch_names(model):
    tensors = {}
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    for where, v in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        layer, last = ".".join(map(str, where[:-1])), where[-1]
        value = np.asarray(v.get_value())
        if last == "kernel":
            value = value.transpose(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))
        name = layer.replace("classifier", "classifier.2")
        tensors[f"{name}.{names.get(last, last)}"] = np.ascontiguousarray(value)
    return tensors


def test_parameters_from_pytorch(tmp_path):
    from safetensors.numpy import save_file

    source = nn.models.ResNet(8, rngs=nnx.Rngs(3))
    tensors = torch_names(source)
    assert tensors["res2.0.downsample.0.weight"].shape == (32, 16, 1, 1)
    file = tmp_path / "net.safetensors"
    save_file(tensors, file)
    target, rename = nn.models.ResNet(8, rngs=nnx.Rngs(0)), {"classifier": "classifier.2"}
    x = jnp.ones((1, 32, 32, 3))
    np.testing.assert_array_equal(nn.load_torch(target, file, rename)(x), source(x))
    with pytest.raises(ValueError, match=r"no tensor 'classifier\.bias'"):
        nn.load_torch(target, file)
    with pytest.raises(ValueError, match="shape"):
        nn.load_torch(nn.models.ResNet(8, (16, 28, 64), rngs=nnx.Rngs(0)), file, rename)
    with pytest.raises(ValueError, match="no place"):
        save_file(tensors | {"extra.weight": np.ones(2, np.float32)}, file)
        nn.load_torch(target, file, rename)
    tensors["conv1.weight"][0, 0, 0, 0] = np.nan
    save_file(tensors, file)
    with pytest.raises(ValueError, match="NaN"):
        nn.load_torch(target, file, rename)
    with pytest.raises(FileNotFoundError):
        nn.load_torch(target, tmp_path / "none.safetensors")


# ----------------------------------------------------------------------- ranges of the converters, by default


def test_programming_a_network_calibrates_its_converters_and_says_so(key):
    """By the weights and Gaussian inputs, or by data; what was calibrated before stays; on request all stay."""
    model, x = nn.models.MLP((27, 64, 10), rngs=nnx.Rngs(0)), jax.random.normal(key, (200, 27))
    analog, said = nn.to_analog(model, cx.presets.hermes(), report=None), []
    before = [float(op.tile.get_value().adc.range) for op in nn.convert.ops(analog)]

    def ranges(**options):
        chip, histories = nn.program(key, analog, report=said.append, **options)
        errors = [float(h.mvm_error[-1]) for h in histories.values()]
        return [float(op.tile.get_value().adc.range) for op in nn.convert.ops(chip)], errors

    typical, errors = ranges()
    assert len(said) == 1 and "ADC ranges for Gaussian inputs: layers.0" in said[0] and "data=(x,)" in said[0]
    assert typical[0] == pytest.approx(
        float(cx.typical_ranges(cx.presets.hermes(), model.layers[0].kernel[...]).adc.range)
    )
    kept, coarse = ranges(ranges="keep")
    assert kept == pytest.approx(before) and len(coarse) == len(errors) == 2
    from_data, _ = ranges(data=(x,))
    assert from_data != pytest.approx(typical) and len(said) == 1
    analog = nn.calibrate(analog, x)
    assert ranges()[0] == pytest.approx(from_data), "calibrated to data already"
    with pytest.raises(ValueError, match="'calibrate' or 'keep'"):
        ranges(ranges="guess")


def test_the_accuracy_of_nan_is_nan(key):
    model = nn.models.MLP((4, 3), rngs=nnx.Rngs(0))
    x, labels = jax.random.normal(key, (8, 4)), jnp.zeros(8, jnp.int32)
    assert 0 <= float(nn.accuracy(model, x, labels)) <= 1
    assert bool(jnp.isnan(nn.accuracy(model, x.at[3, 1].set(jnp.nan), labels)))
    with pytest.raises(ValueError, match=r"does not take images of shape \(8, 3\)"):
        nn.accuracy(model, x[:, :3], labels)
