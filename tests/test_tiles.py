"""Tiles: exact where nothing is wrong, right by the published numbers where something is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax.tiles.grid import Grid

HOUR, DAY = 3600.0, 86400.0


def gaussian(seed, shape, clip=3.0):
    return jnp.clip(jax.random.normal(jax.random.key(seed), shape), -clip, clip)


# --------------------------------------------------------------------------------- exactness


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.integers(1, 17))
@settings(max_examples=25)
@pytest.mark.slow
def test_cutting_and_joining_is_exact(rows, cols, tile_rows, tile_cols):
    grid = Grid.cut_to((rows, cols), tile_rows, tile_cols)
    w = jnp.arange(rows * cols, dtype=jnp.float32).reshape(rows, cols) + 1
    tiles = grid.cut(w)
    assert tiles.shape == (grid.down, grid.across, grid.r, grid.c) and grid.r <= tile_rows and grid.c <= tile_cols
    np.testing.assert_array_equal(grid.join(tiles), w)
    np.testing.assert_array_equal(np.asarray(tiles != 0), grid.mask())


CELLS = [
    cx.Pairs(), cx.Pairs((2.0, 1.0)), cx.Pairs((2.0, 1.0), "residual"), cx.SharedReference()
]  # fmt: skip


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{type(c).__name__}-{c.devices}-{getattr(c, 'split', '')}")
@pytest.mark.parametrize("subtract", ["analog", "digital"])
@pytest.mark.parametrize("scaling", ["tile", "column"])
@pytest.mark.parametrize("shape", [(50, 30), (33, 7), (1, 1)])
def test_an_ideal_tile_is_the_matrix_product(x64, key, cell, subtract, scaling, shape):
    tile = cx.Tile(16, 12, cell=cell, subtract=subtract, scaling=scaling)
    w = jax.random.normal(key, shape)
    x = jax.random.normal(jax.random.key(1), (2, 5, shape[0]))
    chip, history = cx.program(key, tile, w)
    np.testing.assert_allclose(cx.mvm(key, tile, chip, x), x @ w, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cx.weights_at(key, tile, chip), w, rtol=1e-9, atol=1e-9)
    assert float(history.mvm_error[-1]) < 1e-9


@pytest.mark.parametrize("slice_bits", [None, 1, 3])
def test_converters_of_high_resolution_change_nothing(x64, key, slice_bits):
    tile = cx.Tile(16, 16, dac=cx.DAC(bits=20, range=4.0, slice_bits=slice_bits), adc=cx.ADC(bits=24, range=64.0))
    w, x = jax.random.normal(key, (40, 20)), jnp.clip(jax.random.normal(jax.random.key(1), (6, 40)), -4, 4)
    chip, _ = cx.program(key, tile, w)
    np.testing.assert_allclose(cx.mvm(key, tile, chip, x), x @ w, atol=2e-3)


def test_8_bit_converters_leave_the_rounding_error_they_should(key):
    tile = cx.Tile(256, 256, adc=cx.ADC(range=10.0))
    w, x = gaussian(0, (256, 256)) / 3, gaussian(1, (512, 256)) / 3
    chip, _ = cx.program(key, tile, w)
    error = (cx.mvm(key, tile, chip, x) - x @ w) / chip.scale.ravel()[0]
    np.testing.assert_allclose(float(error.std()), 20 / 254 / 12**0.5, rtol=0.01)


def test_halving_rescues_saturated_vectors(key):
    w, x = gaussian(0, (64, 8)) / 3, 3 * gaussian(1, (20, 64)) / 3
    clip = cx.Tile(64, 64, adc=cx.ADC(bits=10, range=4.0))
    halve = cx.replace(clip, **{"adc.on_saturation": "halve"})
    chip, _ = cx.program(key, clip, w)
    errors = [float(jnp.abs(cx.mvm(key, t, chip, x) - x @ w).max()) for t in (clip, halve)]
    assert errors[0] > 1.0 and errors[1] < 0.1


def test_absmax_scaling_makes_small_vectors_as_good_as_large_ones(key):
    w, x = gaussian(0, (64, 32)), gaussian(1, (100, 64))
    tile = cx.Tile(64, 64, dac=cx.DAC(bits=8, scaling="absmax"), adc=cx.ADC(bits=10, range=20.0))
    chip, _ = cx.program(key, tile, w)
    errors = [float(cx.mvm_error(key, tile, chip, w, s * x)) for s in (1e-3, 1.0, 1e3)]
    np.testing.assert_allclose(errors, errors[1], rtol=1e-2)


# ------------------------------------------------------------------- padding, keys, populations


def test_padding_is_silent(key):
    """Unused cells carry no current and no noise: 65 columns on tiles of 64 are two halves, one with a spare column."""
    tile = cx.replace(cx.presets.pcm(rows=64, cols=64), compensation=None)
    w = gaussian(0, (100, 65))
    chip, _ = cx.program(key, tile, w)
    reading = cx.read(key, tile, chip)
    unused = ~np.moveaxis(tile.grid(w.shape).mask()[None], (1, 3, 0, 2, 4), (0, 1, 2, 3, 4))
    assert unused.any()
    assert float(np.abs(np.asarray(reading.w))[unused].max()) == 0.0
    assert float(np.asarray(reading.variance)[unused].max()) == 0.0


def test_effects_have_their_own_keys(key):
    """Switching one effect off leaves the draws of the others as they were."""
    w, x = gaussian(0, (64, 32)), gaussian(1, (10, 64)) / 3
    both = cx.replace(cx.presets.standard(64, 64), adc=cx.ADC(range=20.0, gain=0.03), compensation=None)
    without = cx.replace(both, **{"device.drift": None, "device.read": None}, noise=None)
    a, b = (cx.program(key, t, w)[0] for t in (both, without))
    np.testing.assert_array_equal(a.cells.g, b.cells.g)
    np.testing.assert_array_equal(a.columns.gain, b.columns.gain)
    assert not jnp.array_equal(cx.mvm(key, both, a, x), cx.mvm(jax.random.key(1), both, a, x))
    np.testing.assert_array_equal(cx.mvm(key, both, a, x), cx.mvm(key, both, a, x))


@pytest.mark.slow
def test_populations_over_keys_times_and_specs_equal_the_loop(key):
    w, x = gaussian(0, (40, 24)), gaussian(1, (6, 40)) / 3
    tile = cx.replace(cx.presets.hermes(gain=0.03), rows=32, cols=16)
    keys, times = jax.random.split(key, 3), jnp.array([0.0, DAY])
    sigmas = jnp.array([0.0, 0.05])

    def run(k, t, sigma):
        spec = cx.replace(tile, noise=sigma)
        chip, _ = cx.program(k, spec, w)
        return cx.mvm(k, spec, chip, x, t)

    over = jax.vmap(jax.vmap(jax.vmap(run, (None, None, 0)), (None, 0, None)), (0, None, None))
    together = over(keys, times, sigmas)
    assert together.shape == (3, 2, 2, 6, 24)
    loop = [[[run(k, t, s) for s in sigmas] for t in times] for k in keys]
    # one ADC level where noise tips a rounding, otherwise equal
    level = 80 / 419 * float(jnp.abs(w).max())
    difference = np.abs(np.asarray(together) - np.asarray(loop))
    assert difference.max() <= 1.01 * level and (difference > 1e-4).mean() < 0.01


@pytest.mark.slow
def test_jit_equals_eager(key):
    w, x = gaussian(0, (40, 24)), gaussian(1, (6, 40)) / 3
    tile = cx.replace(cx.presets.pcm(rows=32, cols=16), noise=0.02)

    def run(k, w, x, t):
        chip, _ = cx.program(k, tile, w)
        return cx.mvm(k, tile, chip, x, t)

    with jax.disable_jit():
        eager = run(key, w, x, DAY)
    np.testing.assert_allclose(jax.jit(run)(key, w, x, DAY), eager, rtol=2e-4, atol=2e-4)


def test_numbers_of_a_tile_never_recompile():
    w, x, key = gaussian(0, (8, 8)), gaussian(1, (4, 8)), jax.random.key(0)
    count = []

    @jax.jit
    def run(tile, w, x):
        count.append(1)
        return cx.mvm(key, tile, cx.program(key, tile, w)[0], x)

    for g_max, span, noise in ((25.0, 10, 0.1), (30, 20.0, np.float32(0.2))):
        run(cx.Tile(8, 8, device=cx.devices.pcm(g_max), adc=cx.ADC(range=span), noise=noise), w, x)
    assert len(count) == 1


@pytest.mark.slow
def test_no_leaked_tracers(key):
    with jax.checking_leaks():
        jax.vmap(lambda k: cx.program(k, cx.presets.pcm(rows=8, cols=8), jnp.ones((9, 3)))[1].mvm_error)(
            jax.random.split(key, 2)
        )


# -------------------------------------------------------------------------------- gradients


@pytest.mark.slow
def test_gradients_reach_every_number_of_a_tile(x64, key):
    """Weights, inputs, every device number, converter range, noise; roundings off (they have surrogates)."""
    tile = cx.replace(
        cx.presets.standard(8, 8),
        dac=cx.DAC(bits=None, range=5.0),
        adc=cx.ADC(bits=None, range=50.0, gain=0.03, offset=0.01, inl=0.01),
        **{"device.g_min": 0.2},  # at 0 a conductance that is cut off there has a one-sided derivative
    )
    w, x = gaussian(0, (10, 5)), gaussian(1, (3, 10))

    def loss(args):
        tile, w, x = args
        chip, _ = cx.program(key, tile, w)
        return jnp.sum(jnp.sin(cx.mvm(key, tile, chip, x, DAY)))

    check_gradients(loss, (tile, w, x), rtol=1e-4, atol=1e-6)


def test_rounding_gradient_is_that_of_the_unrounded_tile(x64, key):
    fine = cx.Tile(8, 8, dac=cx.DAC(bits=None, range=5.0), adc=cx.ADC(bits=None, range=50.0))
    coarse = cx.Tile(8, 8, dac=cx.DAC(bits=6, range=5.0), adc=cx.ADC(bits=6, range=50.0))
    w, x = gaussian(0, (8, 4)), gaussian(1, (3, 8))
    g = [jax.grad(lambda x, t=t: jnp.sum(cx.mvm(key, t, cx.program(key, t, w)[0], x)))(x) for t in (fine, coarse)]
    np.testing.assert_allclose(g[0], g[1], rtol=1e-9)


@pytest.mark.parametrize(
    "tile", [cx.presets.pcm(rows=8, cols=8), cx.presets.hermes(gain=0.03), cx.presets.standard(8, 8)]
)
@pytest.mark.parametrize("w", [jnp.zeros((6, 4)), jnp.ones((6, 4)).at[:, 1].set(0.0), 1e6 * jnp.ones((6, 4))])
@pytest.mark.slow
def test_no_nan_for_zero_weights_empty_columns_or_saturated_adcs(key, tile, w):
    x = jnp.concatenate([jnp.zeros((1, 6)), 100 * jnp.ones((1, 6))])

    def loss(tile, w, x):
        return jnp.sum(cx.mvm(key, tile, cx.program(key, tile, w)[0], x, DAY))

    value, gradient = jax.value_and_grad(loss, argnums=(0, 1, 2))(tile, w, x)
    assert jnp.isfinite(value)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))


# -------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "weights, message",
    [
        (np.ones(3), r"matrix .* got shape \(3,\)"),
        (np.ones((2, 2, 2)), "must be a matrix"),
        (np.ones((0, 3)), "empty"),
        (np.array([[1.0, np.nan]]), "1 of 2 weights are NaN"),
        (np.array([[1.0, np.inf]]), "1 of 2 weights are NaN or infinite"),
        (np.array([[1j]]), "real numbers"),
        (np.array([["a"]]), "real numbers"),
    ],
)
def test_bad_weights_are_refused(key, weights, message):
    with pytest.raises(ValueError, match=message):
        cx.program(key, cx.presets.ideal(), weights)


def test_bad_inputs_and_times_are_refused(key):
    tile = cx.presets.pcm()
    chip, _ = cx.program(key, tile, jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="must end in 4 rows"):
        cx.mvm(key, tile, chip, jnp.ones((2, 3)))
    for t in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="time must be finite"):
            cx.mvm(key, tile, chip, jnp.ones((2, 4)), t)
        with pytest.raises(ValueError, match="time must be finite"):
            cx.weights_at(key, tile, chip, t)
    with pytest.raises(ValueError, match="unknown tile 'hermess'"):
        cx.presets.get("hermess")
    with pytest.raises(ValueError, match=r"Tile\.rows"):
        cx.Tile(rows=0)
    with pytest.raises(ValueError, match=r"Tile\.subtract"):
        cx.Tile(subtract="nowhere")


def test_integer_weights_are_taken_as_numbers(key):
    chip, _ = cx.program(key, cx.presets.ideal(), np.arange(6).reshape(2, 3))
    np.testing.assert_allclose(cx.weights_at(key, cx.presets.ideal(), chip), np.arange(6).reshape(2, 3), atol=1e-5)


def test_devices_are_counted():
    assert cx.presets.hermes().devices_for((300, 10)) == 300 * 10 * 4
    assert cx.presets.pcm_msp_lsp().devices_for((5, 5)) == 100
    assert cx.Tile(8, 8, cell=cx.SharedReference()).devices_for((4, 10)) == 4 * (10 + 2)


# ------------------------------------------------------------------- calibration and streaming


def test_calibrated_ranges_hold_the_data_and_help(key):
    w, x = gaussian(0, (64, 32)) / 10, 5 * gaussian(1, (500, 64))
    raw = cx.Tile(32, 32, dac=cx.DAC(range=1.0), adc=cx.ADC(range=1000.0))
    tile = cx.calibrate_ranges(raw, w, x, 100.0)
    assert float(tile.dac.range) == pytest.approx(float(jnp.abs(x).max()))
    errors = [float(cx.mvm_error(key, t, cx.program(key, t, w)[0], w, x)) for t in (raw, tile)]
    assert errors[1] < 0.03 < errors[0]
    assert cx.calibrate_ranges(cx.Tile(32, 32), w, x).adc is None
    with pytest.raises(ValueError, match="must end in 64 rows"):
        cx.calibrate_ranges(raw, w, x[:, :3])


@pytest.mark.thorough
def test_streaming_equals_vmap(key):
    tile, w = cx.presets.pcm(rows=16, cols=16), gaussian(0, (20, 8))
    keys = jax.random.split(key, 6)

    def error(k):
        return cx.mvm_error(k, tile, cx.program(k, tile, w)[0], w)

    for batch in (1, 4):
        np.testing.assert_allclose(cx.stream(error, keys, batch=batch), jax.vmap(error)(keys), rtol=1e-4)
    with pytest.raises(ValueError, match="at least 1"):
        cx.stream(error, keys, batch=0)


@pytest.mark.slow
def test_unused_cells_enter_no_statistic(key):
    """A matrix that fills its tiles and the same matrix on a grid with unused cells end with the same errors."""
    w = gaussian(0, (60, 30))
    histories = [
        cx.program(key, cx.replace(cx.presets.hermes(), rows=n, cols=n), w, cx.GDP(iterations=40, batch=512))[1]
        for n in (60, 17)
    ]
    np.testing.assert_allclose(histories[0].weight_error[-1], histories[1].weight_error[-1], rtol=0.25)
    assert float(histories[1].converged[-1]) <= 1.0


# ------------------------------------------------------------------------------- legal but unusual use


def test_integer_inputs_are_numbers(key):
    tile = cx.Tile(16, 4, dac=cx.DAC(range=2.5))
    w = gaussian(0, (16, 4))
    chip, _ = cx.program(key, tile, w)
    x = np.arange(-2, 2).repeat(4)[None]
    np.testing.assert_array_equal(cx.mvm(key, tile, chip, x), cx.mvm(key, tile, chip, x.astype(np.float32)))
    with pytest.raises(ValueError, match="complex"):
        cx.mvm(key, tile, chip, x * 1j)


def test_halving_works_with_sliced_inputs(key):
    w, x = gaussian(0, (64, 8)) / 3, gaussian(1, (50, 64)) / 3
    errors = []
    for mode in ("clip", "halve"):
        tile = cx.Tile(
            64, 64, dac=cx.DAC(slice_bits=1), adc=cx.ADC(bits=12, range=1.0, on_saturation=mode), compensation=None
        )
        errors.append(float(cx.mvm_error(key, tile, cx.program(key, tile, w)[0], w, x)))
    assert errors[1] < 0.1 * errors[0]


def test_digital_subtraction_calibrates_the_lines_it_digitises(key):
    w, x = gaussian(0, (64, 16)), gaussian(1, (300, 64)) / 3
    tile = cx.Tile(64, 32, cell=cx.SharedReference(), subtract="digital", adc=cx.ADC(bits=10, range=1.0))
    tile = cx.calibrate_ranges(tile, w, x, 100.0)
    chip, _ = cx.program(key, tile, w)
    assert float(cx.mvm_error(key, tile, chip, w, x)) < 0.03
    fixed = cx.replace(tile, **{"adc.range": 5.0, "adc.bits": 12})
    assert float(cx.mvm_error(key, fixed, chip, w)) < 0.03, "default inputs do not saturate the lines"


def test_a_reading_is_what_the_same_key_would_have_read(key):
    tile, w, x = cx.presets.pcm(rows=32, cols=32), gaussian(0, (40, 10)), gaussian(1, (3, 40))
    chip, _ = cx.program(key, tile, w)
    np.testing.assert_array_equal(cx.mvm(key, tile, chip, x, DAY), cx.mvm(key, tile, cx.read(key, tile, chip, DAY), x))


def test_times_of_any_number_type_are_checked(key):
    tile = cx.presets.pcm(rows=8, cols=8)
    chip, _ = cx.program(key, tile, jnp.ones((4, 3)))
    for t in (np.float32(-30), jnp.array(-1.0), np.array(np.inf)):
        with pytest.raises(ValueError, match="time must be finite"):
            cx.read(key, tile, chip, t)
    with pytest.raises(ValueError, match=r"use jax\.vmap"):
        cx.read(key, tile, chip, jnp.zeros(3))


def test_impossible_tiles_are_refused():
    with pytest.raises(ValueError, match="room for weights"):
        cx.Tile(4, 1, cell=cx.SharedReference())
    with pytest.raises(ValueError, match=r"ADC\.range must be a number, got"):
        cx.ADC(range=[5.0] * 3)
