"""Networks on tiles: conversion, what layers compute, rules and noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from flax import nnx

import crossjax as cx
from crossjax import nn, training
from crossjax.nn.ops import einsum_axes
from crossjax.tiles.conv import Window, convolve, direct
from crossjax.tiles.injection import ideal_reading
from crossjax.tiles.tile import Tile

pytestmark = pytest.mark.slow

IDEAL = cx.presets.ideal()
NOISY = Tile(512, 512, dac=cx.DAC(range=3.0), adc=cx.ADC(range=12.0), noise=0.04, compensation=None)


def quiet(model, tile, **options):
    return nn.to_analog(model, tile, report=None, **options)


class Recurrent(nnx.Module):
    def __init__(self, cell, rngs):
        self.rnn = nnx.RNN(cell(5, 7, rngs=rngs), rngs=rngs)

    def __call__(self, x):
        return self.rnn(x)


class Attention(nnx.Module):
    def __init__(self, rngs):
        self.heads = nnx.MultiHeadAttention(2, 6, decode=False, rngs=rngs)

    def __call__(self, x):
        return self.heads(x)


LAYERS = {
    "linear": (lambda r: nnx.Linear(6, 4, rngs=r), (3, 6)),
    "linear, more batch axes": (lambda r: nnx.Linear(6, 4, rngs=r), (2, 3, 6)),
    "general": (lambda r: nnx.LinearGeneral((3, 4), (5, 2), axis=(-2, -1), rngs=r), (2, 3, 4)),
    "general, first axis": (lambda r: nnx.LinearGeneral(3, 5, axis=0, rngs=r), (3, 4)),
    "conv 1d": (lambda r: nnx.Conv(4, 6, (3,), padding="CAUSAL", rngs=r), (2, 9, 4)),
    "conv 2d": (lambda r: nnx.Conv(4, 6, (3, 3), rngs=r), (2, 7, 8, 4)),
    "conv stride": (lambda r: nnx.Conv(4, 6, (3, 2), strides=2, padding="VALID", rngs=r), (2, 8, 8, 4)),
    "conv same stride": (lambda r: nnx.Conv(4, 6, (3, 3), strides=2, padding="SAME", rngs=r), (2, 8, 7, 4)),
    "conv dilation": (lambda r: nnx.Conv(4, 6, (3, 3), kernel_dilation=2, padding=1, rngs=r), (2, 9, 9, 4)),
    "conv groups": (lambda r: nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=r), (2, 7, 7, 4)),
    "conv depthwise": (lambda r: nnx.Conv(4, 4, (3, 3), feature_group_count=4, rngs=r), (2, 7, 7, 4)),
    "conv circular": (lambda r: nnx.Conv(4, 6, (3, 3), padding="CIRCULAR", rngs=r), (2, 7, 7, 4)),
    "conv 3d": (lambda r: nnx.Conv(2, 3, (2, 2, 2), strides=(1, 2, 1), rngs=r), (1, 4, 5, 4, 2)),
    "conv without batch": (lambda r: nnx.Conv(4, 6, (3, 3), rngs=r), (7, 8, 4)),
    "einsum": (lambda r: nnx.Einsum("bsf,fhd->bhsd", (6, 2, 5), rngs=r), (2, 3, 6)),
    "einsum, ellipsis": (lambda r: nnx.Einsum("...f,df->...d", (5, 6), (5,), rngs=r), (2, 3, 6)),
    "lstm": (lambda r: Recurrent(nnx.LSTMCell, r), (2, 4, 5)),
    "lstm, optimised": (lambda r: Recurrent(nnx.OptimizedLSTMCell, r), (2, 4, 5)),
    "gru": (lambda r: Recurrent(nnx.GRUCell, r), (2, 4, 5)),
    "simple": (lambda r: Recurrent(nnx.SimpleCell, r), (2, 4, 5)),
    "attention": (Attention, (2, 4, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_ideal_tiles_compute_what_the_layer_computes(key, name):
    build, shape = LAYERS[name]
    model = build(nnx.Rngs(0))
    x = jax.random.normal(key, shape)
    # tiles so small that every layer is cut in both directions
    analog = quiet(model, cx.replace(IDEAL, rows=3, cols=2))
    np.testing.assert_allclose(analog(x), model(x), rtol=1e-4, atol=2e-5)
    assert [p for p, _ in nnx.to_flat_state(nnx.state(analog, nnx.Param))] == [
        p for p, _ in nnx.to_flat_state(nnx.state(model, nnx.Param))
    ]


@pytest.mark.parametrize("name", ["conv 1d", "conv 2d", "conv stride", "conv same stride", "conv dilation", "conv 3d"])
def test_a_direct_convolution_is_the_same_arithmetic_as_patches(key, name):
    build, shape = LAYERS[name]
    layer = build(nnx.Rngs(0))
    kernel = layer.kernel.get_value()
    size = kernel.shape[:-2]
    strides = (layer.strides,) * len(size) if isinstance(layer.strides, int) else tuple(layer.strides)
    window = Window.of(shape[1:-1], size, strides, (1,) * len(size), "SAME")
    tile = cx.replace(NOISY, noise=None, device=cx.devices.pcm(), **{"dac.slice_bits": 4})
    reading = ideal_reading(key, tile, kernel.reshape(-1, kernel.shape[-1]))
    tile = cx.replace(tile, device=cx.devices.ideal())
    reading = cx.replace(reading, variance=None)
    x = jax.random.normal(key, shape)
    assert direct(tile, reading.shape)
    patches = cx.mvm(key, tile, reading, window.patches(x))
    np.testing.assert_allclose(convolve(key, tile, reading, x, window), patches, rtol=1e-5, atol=1e-5)


def test_read_noise_of_a_direct_convolution_has_the_variance_of_its_patches(key):
    tile = Tile(512, 512, device=cx.devices.pcm())
    kernel = jax.random.normal(key, (18, 3))
    reading = ideal_reading(key, tile, kernel)
    window = Window.of((6, 6), (3, 3), (1, 1), (1, 1), "SAME")
    x = jnp.broadcast_to(jax.random.normal(key, (1, 6, 6, 2)), (2000, 6, 6, 2))
    found = jnp.std(convolve(key, tile, reading, x, window), axis=0)
    patches = window.patches(x[:1])[0]
    wanted = 0.0175 * jnp.sqrt(patches**2 @ jnp.abs(kernel) * jnp.abs(kernel).max())
    np.testing.assert_allclose(found, wanted, rtol=0.1)


def test_embedding_goes_on_tiles_by_choice_only(key):
    model = nnx.Sequential(nnx.Embed(9, 4, rngs=nnx.Rngs(0)), nnx.Linear(4, 3, rngs=nnx.Rngs(1)))
    tokens = jnp.asarray([[0, 3, 8]])
    assert [r["tiles"] for r in nn.account(quiet(model, IDEAL))] == [0, 1]
    both = quiet(model, IDEAL, rules=[(nnx.Embed, IDEAL)])
    assert [r["tiles"] for r in nn.account(both)] == [1, 1]
    np.testing.assert_allclose(both(tokens), model(tokens), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("equation", "axes"), [("ab,bc->ac", ((0, 1), 1)), ("abc,dbc->ad", ((1, 2, 0), 2)), ("...a,ab->...b", ((0, 1), 1))]
)
def test_einsum_axes(equation, axes):
    assert einsum_axes(equation) == axes


@pytest.mark.parametrize("equation", ["ab,ab->ab", "ab,bc->c", "abd,bc->ac", "ab,b...->a..."])
def test_einsum_that_is_not_one_product_is_refused(equation):
    with pytest.raises(ValueError, match="einsum"):
        einsum_axes(equation)


# ----------------------------------------------------------------------------------- rules and accounts


def mlp(*sizes):
    return nn.models.MLP(sizes, rngs=nnx.Rngs(0))


def test_the_first_matching_rule_decides():
    model = mlp(6, 5, 4, 3)
    other = cx.replace(IDEAL, rows=2)
    analog = quiet(model, IDEAL, rules=[(r"layers\.0", None), (nnx.Linear, other)])
    assert [r["tiles"] for r in nn.account(analog)] == [0, 3, 2]
    assert all(r["utilisation"] == pytest.approx(20 / (3 * 2 * 512)) for r in nn.account(analog)[1:2])


def test_a_rule_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'head' matches no layer; layers are .*layers\.0"):
        quiet(mlp(3, 2), IDEAL, rules=[("head", None)])


@pytest.mark.parametrize("rule", ["fc", ("fc",), (3, None), ("fc", "digital")])
def test_a_rule_of_another_form_is_an_error(rule):
    with pytest.raises(TypeError, match="a rule is"):
        quiet(mlp(3, 2), IDEAL, rules=[rule])


class Raw(nnx.Module):
    def __init__(self):
        self.inner = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        self.mix = nnx.Param(jnp.ones((3, 2)))

    def __call__(self, x):
        return self.inner(x) @ self.mix[...]


class Outer(nnx.Module):
    def __init__(self, part):
        self.part = part

    def __call__(self, x):
        return self.part(x)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (Raw(), r"part \(Raw\).*mix"),
        (nnx.LinearGeneral(3, 2, batch_axis={0: 4}, rngs=nnx.Rngs(0)), "batch axes"),
        (nnx.Einsum("ab,ab->ab", (2, 3), rngs=nnx.Rngs(0)), "einsum"),
    ],
)
def test_matrices_that_cannot_be_converted_are_named(part, why):
    model = Outer(part)
    with pytest.raises(ValueError, match=why):
        quiet(model, IDEAL)
    quiet(model, IDEAL, rules=[("part", None)])


def test_a_model_of_another_kind_or_converted_twice_is_refused():
    with pytest.raises(TypeError, match=r"flax\.nnx"):
        quiet(lambda x: x, IDEAL)
    with pytest.raises(ValueError, match="on tiles already"):
        quiet(quiet(mlp(3, 2), IDEAL), IDEAL)
    with pytest.raises(ValueError, match="no layers on tiles"):
        nn.program(jax.random.key(0), mlp(3, 2))


def test_the_account_is_printed_and_counts_devices(capsys):
    nn.to_analog(nn.models.LeNet5(rngs=nnx.Rngs(0)), cx.presets.pcm())
    text = capsys.readouterr().out
    assert "conv2" in text and "150 × 16" in text and "61,470 on tiles" in text and "122,940" in text


def test_parameters_are_copied_or_shared():
    model = mlp(3, 2)
    for share in (False, True):
        analog = quiet(model, IDEAL, share=share)
        assert (analog.layers[0].kernel is model.layers[0].kernel) is share
    assert not isinstance(model.layers[0].dot_general, nnx.Module)


# --------------------------------------------------------------------------------------------- noise


def test_noise_is_a_function_of_the_key(key):
    model = quiet(mlp(20, 10), NOISY, injections=[training.WeightNoise()])
    x = jax.random.normal(key, (4, 20))
    y = model(x)
    np.testing.assert_array_equal(model(x), y)
    np.testing.assert_allclose(jax.jit(lambda m, x: m(x))(model, x), y, rtol=1e-5, atol=1e-5)
    nn.set_key(model, jax.random.key(1))
    assert jnp.abs(model(x) - y).max() > 1e-3
    np.testing.assert_allclose(nn.digital(model)(x), mlp(20, 10)(x), rtol=1e-6)


def test_every_time_step_of_a_recurrent_layer_has_its_own_output_noise(key):
    model = quiet(Outer(Recurrent(nnx.SimpleCell, nnx.Rngs(0))), cx.replace(IDEAL, noise=0.1))
    x = jnp.zeros((1, 30, 5))
    assert len(np.unique(np.asarray(model(x)).round(6), axis=1)[0]) > 20


@pytest.mark.parametrize("per", ["layer", "tile", "column"])
@pytest.mark.parametrize("fresh", ["batch", "vector"])
def test_weight_noise_has_the_standard_deviation_it_says(key, per, fresh):
    tile = Tile(40, 3, compensation=None)
    w = jax.random.normal(key, (40, 6)) * jnp.asarray([1.0, 2, 3, 4, 5, 6])
    x = jax.random.normal(key, (1, 40))
    noise = training.WeightNoise(0.05, per=per, fresh=fresh)

    def one(k):
        return cx.mvm(k, tile, ideal_reading(k, tile, w, [noise]), x)[0] - x[0] @ w

    found = jnp.std(jax.vmap(one)(jax.random.split(key, 4000)), axis=0)
    top = jnp.abs(w).max(axis=0)
    wanted = {"layer": jnp.full(6, top.max()), "column": top, "tile": jnp.repeat(top.reshape(2, 3).max(axis=1), 3)}
    np.testing.assert_allclose(found, 0.05 * wanted[per] * jnp.linalg.norm(x), rtol=0.05)


def test_device_noise_is_the_programming_error_and_drops_are_drops(key):
    tile = Tile(512, 512, device=cx.devices.pcm())
    w = jnp.full((300, 200), 0.5).at[0, 0].set(1.0)

    def weights(*injections):
        return ideal_reading(key, tile, w, injections).w[0, :, 0, 0][1:]

    sigma = 0.26348 + 1.9650 * 0.5 - 1.1731 * 0.25
    found = float(jnp.std(weights(training.DeviceNoise())))
    below = 0.26348  # the other device of the pair, clipped at 0
    assert found == pytest.approx(np.hypot(sigma, below * np.sqrt(0.5 - 0.5 / np.pi)) / 25, rel=0.02)
    aged = weights(training.DeviceNoise(t=86400.0))
    assert float(jnp.std(aged)) > 1.1 * found and float(jnp.mean(aged)) == pytest.approx(0.5, rel=0.02)
    assert float(jnp.mean(weights(training.DropConnect(0.2)) == 0)) == pytest.approx(0.2, abs=0.01)


def test_noise_per_vector_needs_analog_subtraction(key):
    tile = Tile(subtract="digital")
    with pytest.raises(ValueError, match="subtracts"):
        ideal_reading(key, tile, jnp.ones((3, 2)), [training.WeightNoise(fresh="vector")])


@pytest.mark.parametrize("name", ["linear", "conv same stride", "conv groups", "einsum"])
def test_gradients_of_noisy_layers_against_finite_differences(x64, name):
    build, shape = LAYERS[name]
    tile = Tile(
        512, 512, device=cx.devices.pcm(), dac=cx.DAC(bits=None, range=9.0), adc=cx.ADC(bits=None, range=30.0),
        noise=0.1, compensation=None,
    )  # fmt: skip
    for injection in (training.WeightNoise(per="tile"), training.WeightNoise(per="tile", fresh="vector")):
        model = quiet(build(nnx.Rngs(0)), tile, injections=[injection])
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        leaves, structure = jax.tree.flatten(jax.tree.map(lambda a: a.astype(jnp.float64), params))
        x = jax.random.normal(jax.random.key(1), shape, jnp.float64)

        def f(leaves, graph=graph, rest=rest, structure=structure, x=x):
            return jnp.sum(jnp.sin(nnx.merge(graph, jax.tree.unflatten(structure, leaves), rest, copy=True)(x)))

        check_gradients(f, leaves, rtol=2e-5, atol=1e-6)


def test_the_learned_input_range_has_the_gradient_of_finite_differences(x64):
    tile = Tile(512, 512, dac=cx.DAC(bits=None, range=0.7), compensation=None)
    model = quiet(nnx.Linear(6, 4, rngs=nnx.Rngs(0)), tile, learn_ranges=True)
    graph, ranges, rest = nnx.split(model, nn.InputRange, ...)
    x = jax.random.normal(jax.random.key(1), (3, 6), jnp.float64)
    (limit,), structure = jax.tree.flatten(ranges)
    check_gradients(
        lambda a: jnp.sum(jnp.sin(nnx.merge(graph, jax.tree.unflatten(structure, [a[0]]), rest, copy=True)(x))),
        [limit.astype(jnp.float64)],
    )


@pytest.mark.thorough
def test_wires_train_through_the_network_or_past_it(key):
    x = jax.random.normal(key, (5, 8))
    gradients = []
    for way in ("exact", "ideal"):
        tile = Tile(8, 4, wires=cx.Wires(r_word=200.0, r_bit=200.0, gradient=way), compensation=None)
        graph, params, rest = nnx.split(quiet(mlp(8, 4), tile), nnx.Param, ...)
        loss = lambda p, g=graph, r=rest: jnp.sum(nnx.merge(g, p, r, copy=True)(x) ** 2)  # noqa: E731
        gradients.append(jax.grad(loss)(params)["layers"][0]["kernel"].get_value())
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)
    assert 0.01 < float(jnp.linalg.norm(gradients[0] - gradients[1]) / jnp.linalg.norm(gradients[1])) < 1
