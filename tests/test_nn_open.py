"""Networks whose hardware changes, whose calls have steps, and whose layers lie on different devices."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import crossjax as cx
from crossjax import nn

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (4, 8)) / 3
NOISY = cx.Tile(16, 16, noise=0.1, compensation=None)


def linear(tile=NOISY, **options):
    return nn.to_analog(nnx.Linear(8, 8, rngs=nnx.Rngs(0)), tile, report=None, **options)


def test_calls_with_equal_inputs_at_two_steps_have_noise_of_their_own():
    layer = linear()
    layer.eval()
    ideal = nn.digital(layer)(X)
    assert jnp.array_equal(layer(X), layer(X))
    noise = jnp.stack([nn.at_step(layer, n)(X) - ideal for n in range(200)])
    assert jnp.unique(noise[:, 0, 0]).size == 200
    assert jnp.std(noise) == pytest.approx(0.1 * float(jnp.abs(layer.kernel[...]).max()), rel=0.05)
    together = jnp.corrcoef(noise.reshape(200, -1))
    assert jnp.abs(together - jnp.eye(200)).mean() < 0.2
    assert jnp.array_equal(nn.at_step(layer, 3)(X) - ideal, noise[3])
    nested = nn.at_step(nn.at_step(layer, 1), 2)(X), nn.at_step(nn.at_step(layer, 2), 1)(X), nn.at_step(layer, 2)(X)
    assert not any(jnp.allclose(a, b) for a, b in zip(nested, nested[1:] + nested[:1], strict=True))
    assert nn.at_step(layer, 0).kernel is layer.kernel and layer.dot_general.step is None


def test_a_hand_written_recurrence_has_new_noise_at_every_step():
    class Recurrence(nnx.Module):
        def __init__(self):
            self.cell = nnx.Linear(8, 8, rngs=nnx.Rngs(0))

        def __call__(self, x):
            def step(h, n):
                return h, nn.at_step(self.cell, n)(h)  # the same state at every step

            return jax.lax.scan(step, x, jnp.arange(5))[1]

    model = Recurrence()
    assert jnp.allclose(model(X)[0], model(X)[4])
    analog = nn.to_analog(model, NOISY, report=None, example=X)
    assert [row["calls"] for row in nn.account(analog)] == [5]
    chip = nn.read(KEY, nn.program(KEY, analog, report=None)[0])
    found = nnx.jit(lambda net, x: net(x))(chip, X)
    assert all(not jnp.allclose(found[0], found[n], atol=1e-3) for n in range(1, 5))
    assert jnp.allclose(found[3], nn.at_step(chip.cell, 3)(X), atol=1e-6)
    assert jnp.array_equal(chip.cell(X), chip.cell(X))


def test_the_imagined_chip_is_one_at_all_steps():
    layer = linear(cx.Tile(16, 16, compensation=None), injections=[cx.training.WeightNoise(0.1)])
    layer.train()
    assert jnp.array_equal(nn.at_step(layer, 1)(X), layer(X)) and not jnp.allclose(layer(X), nn.digital(layer)(X))
    slope = nnx.grad(lambda net: jnp.sum(nn.at_step(net, 2)(X)))(layer)
    assert jnp.abs(slope["kernel"][...]).min() > 0


@pytest.mark.parametrize("n", [1.5, True, jnp.arange(3), "1", jnp.ones(())])
def test_a_step_is_a_whole_number(n):
    with pytest.raises(TypeError, match="n must be one whole number"):
        nn.at_step(linear(), n)


def test_a_step_is_not_negative_and_a_digital_network_has_none():
    with pytest.raises(ValueError, match="n must be ≥ 0, got -1"):
        nn.at_step(linear(), -1)
    model = nnx.Linear(8, 8, rngs=nnx.Rngs(0))
    assert nn.at_step(model, 1) is model


def test_the_tiles_of_a_network_are_mapped():
    model = nn.models.MLP((8, 12, 3), rngs=nnx.Rngs(0))
    tile = cx.Tile(16, 16, adc=cx.ADC(bits=8, range=4.0), compensation=None)
    analog = nn.to_analog(model, tile, report=None)
    seen = {}

    def coarser(path, tile):
        seen[path] = tile
        return cx.replace(tile, **{"adc.bits": 3}) if path == "layers.1" else tile

    mapped = nn.map_tiles(analog, coarser)
    assert list(seen) == ["layers.0", "layers.1"] and seen["layers.0"].adc.range == 4.0
    assert [op.hardware().adc.bits for op in nn.convert.ops(mapped)] == [8, 3]
    assert [op.hardware().adc.bits for op in nn.convert.ops(analog)] == [8, 8]
    chip, _ = nn.program(KEY, analog, report=None)
    with pytest.raises(ValueError, match="programmed but not read"):
        nn.map_tiles(nn.read(KEY, chip), coarser)(X)
    now = nn.read(KEY, nn.map_tiles(chip, coarser))
    assert not jnp.allclose(now(X), nn.read(KEY, chip)(X), atol=1e-3)
    with pytest.raises(ValueError, match="made for another tile"):
        nn.read(KEY, nn.map_tiles(chip, lambda path, tile: cx.replace(tile, cell=cx.Pairs((2.0, 1.0)))))
    with pytest.raises(TypeError, match=r"new tile of layers\.0 must be a Tile or other hardware, got None"):
        nn.map_tiles(analog, lambda path, tile: None)
    with pytest.raises(ValueError, match="no layers on tiles"):
        nn.map_tiles(model, coarser)


def test_a_mapped_tile_brings_its_input_range():
    layer = linear(cx.Tile(16, 16, dac=cx.DAC(range=2.0), compensation=None), learn_ranges=True)
    wider = nn.map_tiles(layer, lambda path, tile: cx.replace(tile, **{"dac.range": 3.0}))
    assert wider.dot_general.hardware().dac.range == 3.0 and layer.dot_general.hardware().dac.range == 2.0
    with pytest.raises(ValueError, match="learns its input range"):
        nn.map_tiles(layer, lambda path, tile: cx.replace(tile, dac=None))


def test_layers_lie_on_devices_of_their_own():
    model = nn.models.MLP((8, 12, 3), rngs=nnx.Rngs(0))
    quiet = cx.Tile(16, 16, compensation=None)
    analog = nn.to_analog(model, cx.presets.pcm(), [(r"layers\.1", quiet)], report=None)
    chip, _ = nn.program(KEY, analog, report=None)
    now = nn.read(KEY, chip, t=86_400.0)
    hidden = nnx.relu(now.layers[0](X))
    assert not jnp.allclose(hidden, nnx.relu(model.layers[0](X)), atol=1e-2)
    assert jnp.allclose(now.layers[1](hidden), model.layers[1](hidden), atol=1e-5)
    sonos = nn.map_tiles(analog, lambda path, tile: cx.replace(tile, device=cx.devices.sonos()))
    assert {op.hardware().device.drift is None for op in nn.convert.ops(analog)} == {True, False}
    assert len({str(jax.tree.structure(op.hardware().device)) for op in nn.convert.ops(sonos)}) == 1
