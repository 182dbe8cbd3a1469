"""The right number, or none: types, noise keys, gradients, calibration, padding and files of networks on tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from safetensors.numpy import save_file

import crossjax as cx
from crossjax import nn
from crossjax._random import keyed_by
from crossjax.nn.flatten import check
from crossjax.tiles.conv import Window

IDEAL = cx.presets.ideal()
NOISY = cx.replace(IDEAL, noise=0.1)


def quiet(model, tile=IDEAL, **options):
    return nn.to_analog(model, tile, report=None, **options)


def linear(**options):
    return nnx.Linear(6, 4, rngs=nnx.Rngs(0), **options)


def on_chip(key, model, **options):
    return nn.read(key, nn.program(key, model, report=None)[0], **options)


# ------------------------------------------------------------------------------------------- half precision

HALF = {
    "linear": (linear, (3, 6), {"dtype": jnp.bfloat16}),
    "linear, float16 kernel": (linear, (3, 6), {"dtype": jnp.float16, "param_dtype": jnp.float16}),
    "linear, preferred": (linear, (3, 6), {"dtype": jnp.bfloat16, "preferred_element_type": jnp.float32}),
    "conv": (lambda **o: nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0), **o), (2, 5, 5, 3), {"dtype": jnp.bfloat16}),
    "einsum, preferred": (
        lambda **o: nnx.Einsum("bi,io->bo", (6, 4), (4,), rngs=nnx.Rngs(0), **o), (3, 6),
        {"dtype": jnp.float16, "preferred_element_type": jnp.float32},
    ),
    "embed": (lambda **o: nnx.Embed(6, 4, rngs=nnx.Rngs(0), **o), None, {"dtype": jnp.bfloat16}),
}  # fmt: skip


@pytest.mark.parametrize("layer", HALF)
def test_layers_of_half_precision_return_what_the_digital_ones_do(key, layer):
    build, shape, options = HALF[layer]
    exact, tile = build(**options), cx.replace(IDEAL, dac=cx.DAC(range=4.0), adc=cx.ADC(bits=12))
    model = quiet(exact, tile, rules=[] if shape else [(nnx.Embed, tile)])
    x = jax.random.normal(key, shape) if shape else jnp.arange(3)
    wanted = exact(x)
    for found in (model(x), nn.digital(model)(x)):
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(np.asarray(found, float), np.asarray(wanted, float), atol=0.06)


def test_a_chip_takes_half_precision_and_answers_in_its_own(key):
    tile = cx.Tile(8, 4, dac=cx.DAC(range=3.0), adc=cx.ADC(bits=12), compensation=None)
    for dtype in (jnp.bfloat16, jnp.float16):
        w, x = jax.random.normal(key, (8, 4)).astype(dtype), jax.random.normal(key, (5, 8)).astype(dtype)
        wide = w.astype(jnp.float32), x.astype(jnp.float32)
        chip, same = cx.program(key, tile, w)[0], cx.program(key, tile, wide[0])[0]
        y = cx.mvm(key, tile, chip, x)
        assert y.dtype == jnp.float32
        np.testing.assert_array_equal(y, cx.mvm(key, tile, same, wide[1]))
        assert float(cx.mvm_error(key, tile, chip, w, x)) == float(cx.mvm_error(key, tile, same, *wide))
        tuned, same = cx.calibrate_ranges(tile, w, x), cx.calibrate_ranges(tile, *wide)
        assert float(tuned.dac.range) == float(same.dac.range) and float(tuned.adc.range) == float(same.adc.range)


def test_a_network_of_half_precision_trains(key):
    model = quiet(linear(dtype=jnp.bfloat16, param_dtype=jnp.bfloat16), NOISY)
    x = jax.random.normal(key, (32, 6))
    trained = cx.training.fit(
        key, model, (x, jnp.argmax(x[:, :4], axis=1)), optax.adam(0.05), steps=30, batch=32, progress=False
    )
    assert trained.loss[-5:].mean() < 0.6 * trained.loss[0]
    assert trained.model.kernel.get_value().dtype == jnp.bfloat16


# ------------------------------------------------------------------------------------------------ noise keys

ONE_HOT = jax.nn.one_hot(jnp.array([0, 1, 2]), 6)
PAIRS = {
    "one-hot": (ONE_HOT, ONE_HOT[jnp.array([0, 2, 1])]),
    "rows exchanged": (ONE_HOT, ONE_HOT[::-1]),
    "moved": (ONE_HOT, jnp.roll(ONE_HOT, 1, axis=1)),
    "sign of two": (ONE_HOT.at[0, 0].set(-1.0), ONE_HOT.at[1, 1].set(-1.0)),
    "one spike more": (ONE_HOT, ONE_HOT.at[0, 5].set(1.0)),
    "last bit": (ONE_HOT, ONE_HOT.at[0, 0].set(jnp.nextafter(jnp.float32(1), jnp.float32(2)))),
    "permuted": (jnp.arange(18.0).reshape(3, 6), jnp.arange(18.0)[::-1].reshape(3, 6)),
}


@pytest.mark.parametrize("how", PAIRS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_inputs_that_differ_have_keys_of_their_own(key, how, dtype):
    a, b = (v.astype(dtype) for v in PAIRS[how])
    if how == "last bit" and dtype == jnp.bfloat16:
        b = a.at[0, 0].set(1.0078125)
    first, second = (jax.random.key_data(keyed_by(key, v)) for v in (a, b))
    assert (np.asarray(first) != np.asarray(second)).all()
    np.testing.assert_array_equal(first, jax.random.key_data(keyed_by(key, a)))


def test_no_two_of_many_sparse_inputs_share_a_key(key):
    one = jnp.eye(99)
    x = jnp.concatenate([one, -one, 2 * one, jnp.tri(99), 1 - one])
    keys = np.asarray(jax.random.key_data(jax.vmap(lambda v: keyed_by(key, v))(x)))
    assert len(np.unique(keys, axis=0)) == len(np.unique(np.asarray(x), axis=0))


def test_steps_calls_and_examples_see_noise_of_their_own(key):
    layer = quiet(linear(use_bias=False), NOISY)

    def noise(x):
        return layer(x) - x @ layer.kernel[...]

    shared = noise(ONE_HOT), noise(ONE_HOT[::-1])  # a layer called twice in one pass
    assert abs(np.corrcoef(np.ravel(shared[0]), np.ravel(shared[1]))[0, 1]) < 0.9
    assert not np.isclose(shared[0], shared[1], atol=1e-4).any()
    each = jax.vmap(noise)(ONE_HOT)  # one example a call
    assert len(np.unique(np.asarray(each).round(5))) == each.size
    np.testing.assert_array_equal(noise(ONE_HOT), shared[0])


# ----------------------------------------------------------------------------------- the gradient of a chip


def test_a_read_network_refuses_the_gradient_of_its_kernel(key):
    model = on_chip(key, quiet(linear()))
    x = jnp.ones((2, 6))

    def loss(m, x):
        return jnp.sum(m(x) ** 2)

    for refused in (nnx.grad(loss), nnx.jit(nnx.grad(loss)), nnx.grad(jax.checkpoint(loss))):
        with pytest.raises(ValueError, match=r"straight_through=True"):
            refused(model, x)
    biases = nnx.jit(nnx.grad(loss, argnums=nnx.DiffState(0, nnx.PathContains("bias"))))(model, x)
    assert bool((biases["bias"].get_value() != 0).all())
    assert bool((jax.grad(lambda x: loss(model, x))(x) != 0).all())


def test_straight_through_a_chip_is_the_gradient_of_the_product_at_its_outputs(key):
    device = cx.replace(cx.devices.pcm(), flicker=None, read=None)
    tile = cx.Tile(4, 3, device=device, cell=cx.SharedReference(), subtract="digital", scaling="column")
    exact = linear()
    model = on_chip(key, quiet(exact, tile), t=3600.0, straight_through=True)
    x, seen = jax.random.normal(key, (5, 6)), jax.random.normal(jax.random.key(1), (5, 4))
    g = nnx.grad(lambda m: jnp.sum(seen * m(x)))(model)
    np.testing.assert_allclose(g["kernel"].get_value(), x.T @ seen, rtol=1e-4, atol=1e-5)
    plain = on_chip(key, quiet(exact, tile), t=3600.0)
    np.testing.assert_allclose(model(x), plain(x), atol=1e-5)


# ------------------------------------------------------------------------------------------------ calibration


class Two(nnx.Module):
    def __init__(self):
        self.body, self.aux = linear(), linear()

    def __call__(self, x, both=False):
        return (self.body(x), self.aux(x)) if both else self.body(x)


def test_calibration_keeps_and_names_what_data_do_not_reach(key):
    tile = cx.Tile(dac=cx.DAC(range=0.7), adc=cx.ADC(range=3.0))
    model, x = quiet(Two(), tile, learn_ranges=True), jax.random.normal(key, (50, 6))
    with pytest.warns(UserWarning, match=r"do not reach aux: ranges kept"):
        tuned = nn.calibrate(model, x)
    aux, body = tuned.aux.dot_general, tuned.body.dot_general
    assert float(aux.hardware().dac.range) == pytest.approx(0.7) and float(aux.hardware().adc.range) == 3.0
    assert not aux.calibrated and body.calibrated
    assert float(body.hardware().dac.range) == pytest.approx(float(jnp.abs(x).max()))
    with pytest.warns(UserWarning, match=r"nothing but zeros to the model \(DAC and ADC\)"):
        tuned = nn.calibrate(quiet(linear(), tile), jnp.zeros((50, 6)))
    assert float(tuned.dot_general.hardware().dac.range) == pytest.approx(0.7)
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(ValueError, match="body: calibration data are NaN"):
            nn.calibrate(model, x.at[3, 2].set(bad))


def test_ranges_are_never_zero_nan_or_infinite(key):
    tile, w, x = cx.Tile(dac=cx.DAC(range=0.7), adc=cx.ADC(range=3.0)), jnp.ones((6, 4)), jnp.ones((5, 6))
    with pytest.warns(UserWarning, match="range of the DAC and ADC: kept"):
        kept = cx.calibrate_ranges(tile, w, 0 * x)
    assert float(kept.dac.range) == pytest.approx(0.7) and float(kept.adc.range) == 3.0
    for bad in (jnp.nan, jnp.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            cx.calibrate_ranges(tile, w, x.at[0, 0].set(bad))
        with pytest.raises(ValueError, match="NaN or infinity"):
            cx.percentile_range(x.at[0, 0].set(bad))
        assert jnp.isnan(jax.jit(cx.percentile_range)(x.at[0, 0].set(bad)))
    with pytest.raises(ValueError, match="there are none"):
        cx.calibrate_ranges(tile, w, jnp.zeros((0, 6)))
    assert float(cx.percentile_range(jnp.zeros(30_522).at[7].set(5.0))) == 5.0  # 99.995 % are zeros
    zero = quiet(linear(kernel_init=nnx.initializers.zeros_init()), tile)
    chip, _ = nn.program(key, zero, report=None)
    assert float(chip.dot_general.hardware().adc.range) == 3.0


def test_a_learned_range_that_is_no_range_is_refused(key):
    model = quiet(linear(), cx.Tile(dac=cx.DAC()), learn_ranges=True)
    for bad in (0.0, -1.0, jnp.nan):
        model.dot_general.input_range.set_value(jnp.asarray(bad))
        with pytest.raises(ValueError, match="learned input range"):
            nn.program(key, model, report=None)
        y = nnx.jit(lambda m: m(jnp.ones((1, 6))))(model)
        assert jnp.isnan(y).all()


# ---------------------------------------------------------------------------------------------- padding, zeros


@pytest.mark.parametrize("rows", [512, 9, 5])  # a convolution; patches on two tiles, and on four with unused rows
def test_padding_carries_nothing_on_any_number_of_tiles(key, rows):
    """Signals of the pixels, then zeros around them, then the exact product: what every path must give."""
    conv = nnx.Conv(2, 3, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
    x = jax.random.uniform(key, (2, 5, 4, 2), minval=-1.0).at[0, :2, :2].set(0.0)
    for dac in (cx.DAC(bits=1), cx.DAC(levels=4, even="mid-tread"))[: 2 if rows == 5 else 1]:
        y = quiet(conv, cx.replace(IDEAL, rows=rows, dac=dac))(x)
        np.testing.assert_allclose(y, conv(dac.convert(x)), atol=1e-5)
    if rows != 9:
        y = quiet(conv, cx.replace(IDEAL, rows=rows, dac=cx.DAC(bits=1, scaling="absmax")))(x)
        assert bool((y[0, 0, 0] == 0).all())  # nothing but zeros and padding: nothing is driven
        window = Window.of((5, 4), (3, 3), (1, 1), (1, 1), "SAME")
        patches, inside = window.patches(x), window.patches(jnp.ones_like(x))
        signals = jnp.where(patches >= 0, 1.0, -1.0) * inside * jnp.abs(patches).max(axis=-1, keepdims=True)
        np.testing.assert_allclose(y, signals @ conv.kernel[...].reshape(18, 3), atol=1e-5)


def test_causal_padding_is_padding(key):
    conv = nnx.Conv(2, 3, (3,), padding="CAUSAL", kernel_dilation=2, use_bias=False, rngs=nnx.Rngs(0))
    x = jnp.sign(jax.random.normal(key, (2, 7, 2)))
    for rows in (512, 4):
        np.testing.assert_allclose(quiet(conv, cx.replace(IDEAL, rows=rows, dac=cx.DAC(bits=1)))(x), conv(x), atol=1e-5)


def test_zero_is_the_level_above_it_for_every_even_number_of_levels():
    for levels in (2, 4, 6, 8, 420):
        dac = cx.DAC(levels=levels)
        assert float(dac.convert(jnp.zeros(()))) == pytest.approx(1 / (levels - 1))
        np.testing.assert_allclose(dac.convert(jnp.array([-1e-9, 1e-9])) * (levels - 1), [-1, 1], rtol=1e-5)


def test_calibration_of_a_padded_convolution_sees_no_signal_in_the_padding():
    conv = nnx.Conv(1, 1, (3,), use_bias=False, rngs=nnx.Rngs(0), kernel_init=nnx.initializers.ones_init())
    tile = cx.Tile(dac=cx.DAC(bits=1), adc=cx.ADC())
    found = nn.calibrate(quiet(conv, tile), -jnp.ones((1, 2, 1)), percentile=100.0)  # two pixels and a padded one
    assert float(found.conv_general_dilated.hardware().adc.range) == pytest.approx(2.0)


# ------------------------------------------------------------------------------------------ files from PyTorch


class Small(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.fc1 = nnx.Linear(24, 5, rngs=rngs)  # defined before what it follows
        self.z = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.bn = nnx.BatchNorm(24, use_running_average=True, rngs=rngs)
        self.fc2 = nnx.Linear(5, 24, rngs=rngs)
        self.out = nnx.Conv(4, 2, (3, 3), rngs=rngs)

    def __call__(self, x):
        x = self.z(x)
        x = self.fc2(self.fc1(self.bn(x.reshape(x.shape[0], -1))))
        return self.out(x.reshape(-1, 2, 3, 4))


def test_flattened_maps_of_pytorch_are_reordered_or_refused(tmp_path):
    g, file = np.random.default_rng(0), tmp_path / "net.safetensors"
    shapes = {"z": (4, 3, 3, 3), "fc1": (5, 24), "fc2": (24, 5), "out": (2, 4, 3, 3), "bn": (24,)}
    t = {f"{k}.weight": g.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    t |= {f"{k}.bias": g.normal(size=s[0]).astype(np.float32) for k, s in shapes.items()}
    t |= {"bn.running_mean": g.normal(size=24).astype(np.float32), "bn.running_var": g.random(24).astype(np.float32)}
    save_file(t, file)
    flatten, unflatten = {"fc1": (4, 2, 3), "bn": (4, 2, 3)}, {"fc2": (4, 2, 3)}
    model = nn.load_torch(Small(), file, flatten=flatten, unflatten=unflatten)
    x = g.normal(size=(2, 3, 2, 3)).astype(np.float32)  # channels first

    def conv(x, name):
        y = jax.lax.conv_general_dilated(
            x, t[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        return y + t[f"{name}.bias"][:, None, None]

    y = conv(x, "z").reshape(2, -1)
    y = (y - t["bn.running_mean"]) / np.sqrt(t["bn.running_var"] + 1e-5) * t["bn.weight"] + t["bn.bias"]
    for k in ("fc1", "fc2"):
        y = y @ t[f"{k}.weight"].T + t[f"{k}.bias"]
    wanted = conv(y.reshape(2, 4, 2, 3), "out").transpose(0, 2, 3, 1)
    np.testing.assert_allclose(model(x.transpose(0, 2, 3, 1)), wanted, rtol=1e-3, atol=1e-3)

    for given, what in (({}, "inputs of fc1, fc2 may be"), ({"fc1": None}, "outputs of fc2 may be")):
        with pytest.raises(ValueError, match=what):
            nn.load_torch(Small(), file, flatten=given)
    with pytest.raises(ValueError, match="24 features"):
        nn.load_torch(Small(), file, flatten={"fc1": (4, 3, 3)})
    with pytest.raises(ValueError, match="no dense layer or norm 'fc3'"):
        nn.load_torch(Small(), file, flatten={"fc3": (4, 2, 3)})
    same = nn.load_torch(Small(), file, flatten={"fc1": None}, unflatten={"fc2": None})
    np.testing.assert_array_equal(same.fc1.kernel[...], t["fc1.weight"].T)


def test_a_norm_of_a_flattened_map_is_declared_with_its_dense_layer():
    class Normed(nnx.Module):
        def __init__(self):
            self.conv, self.bn = nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.BatchNorm(24, rngs=nnx.Rngs(0))
            self.fc = nnx.Linear(24, 5, rngs=nnx.Rngs(0))

    with pytest.raises(ValueError, match="features of bn may be"):
        check(Normed(), {"fc": (4, 2, 3)}, {})
    check(Normed(), {"fc": (4, 2, 3), "bn": (4, 2, 3)}, {})
    check(Normed(), {"fc": None}, {})
    chain = nnx.Sequential(
        *(nnx.Linear(16, n, rngs=nnx.Rngs(0)) for n in (16, 16, 2)), nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0))
    )
    with pytest.raises(ValueError, match=r"inputs of layers\.0, layers\.1, layers\.2 may be"):
        check(chain, {}, {})  # one of them follows the convolution
    check(chain, {"layers.0": (4, 2, 2)}, {})
    pooled = nnx.Sequential(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.Linear(4, 12, rngs=nnx.Rngs(0)))
    check(pooled, {}, {})
    generator = nnx.Sequential(nnx.Linear(2, 36, rngs=nnx.Rngs(0)), nnx.Conv(4, 3, (3, 3), rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"outputs of layers\.0 may be"):
        check(generator, {}, {})
