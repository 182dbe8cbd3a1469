"""Errors of tiles: published numbers, drift and its compensation, weights of any scale, nothing hidden."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crossjax as cx

pytestmark = pytest.mark.slow

HOUR, DAY = 3600.0, 86400.0
QUIET = {"device.read": None}


def gaussian(seed, shape, clip=3.0):
    return jnp.clip(jax.random.normal(jax.random.key(seed), shape), -clip, clip)


# -------------------------------------------------------------------------- published numbers


@pytest.mark.parametrize(
    "tile, clip, gdc, wanted",
    [
        (cx.presets.pcm(), 2, True, [0.0874, 0.102, 0.118, 0.140, 0.158]),
        (cx.presets.pcm(), 3, True, [0.110, 0.125, 0.142, 0.165, 0.183]),
        (cx.presets.pcm_msp_lsp(1.0, split="equal"), 3, True, [0.078, 0.089, 0.101, 0.117, 0.130]),
        (cx.presets.pcm_msp_lsp(2.0), 3, True, [0.066, 0.077, 0.091, 0.109, 0.123]),
        (cx.presets.pcm_msp_lsp(3.0), 3, True, [0.069, 0.080, 0.093, 0.109, 0.123]),
        (cx.presets.pcm(), 3, False, [0.110, 0.251, 0.354, 0.450, 0.512]),
    ],
    ids=["pair 2σ", "pair 3σ", "F=1 equal", "F=2 lsp", "F=3 lsp", "no GDC"],
)
def test_reference_table_of_mvm_errors_over_time(tile, clip, gdc, wanted):
    """512², Gaussian weights and inputs, no converters; tolerance 2 % of the table (which has three digits)."""
    tile = cx.replace(tile, compensation="tile" if gdc else None, **QUIET)
    w, x, key = gaussian(0, (512, 512), clip), jax.random.normal(jax.random.key(5), (256, 512)), jax.random.key(3)
    chip, _ = cx.program(key, tile, w)
    errors = [float(cx.mvm_error(key, tile, chip, w, x, t)) for t in (0.0, HOUR, DAY, 30 * DAY, 365 * DAY)]
    np.testing.assert_allclose(errors, wanted, rtol=0.02)


@pytest.mark.parametrize("tile", [cx.presets.pcm(), cx.presets.pcm_msp_lsp(2.0)], ids=["pair", "msp/lsp"])
def test_drift_compensation_factor(tile):
    """α(t) = 1.29, 1.51, 1.77 ± 0.02, 2.00 at 1 h, 1 d, 30 d, 1 y, whatever the encoding."""
    tile = cx.replace(tile, **QUIET)
    key = jax.random.key(3)
    chip, _ = cx.program(key, tile, gaussian(0, (512, 512)))
    for t, wanted in ((HOUR, 1.29), (DAY, 1.51), (30 * DAY, 1.77), (365 * DAY, 2.00)):
        alpha = cx.read(key, tile, chip, t).scale / chip.scale
        np.testing.assert_allclose(float(alpha.ravel()[0]), wanted, rtol=0.02)


def test_column_compensation_is_per_column_and_no_worse(key):
    tile = cx.replace(cx.presets.pcm(), **QUIET)
    column = cx.replace(tile, compensation="column", calibration_vectors=512)
    w, x = gaussian(0, (512, 256)), gaussian(1, (256, 512))
    chips = [cx.program(key, t, w)[0] for t in (tile, column)]
    errors = [float(cx.mvm_error(key, t, c, w, x, 30 * DAY)) for t, c in zip((tile, column), chips, strict=True)]
    assert cx.read(key, column, chips[1], DAY).scale.shape == (1, 1, 256)
    assert errors[1] < 1.03 * errors[0]


def test_standard_model_has_a_total_error_of_about_15_percent(key):
    """Rasch et al. 2023: the "standard" model's MVM error is about 15 % (their weights and inputs: learned ranges)."""
    tile = cx.presets.standard()
    w = gaussian(0, (512, 512))
    x = jnp.clip(gaussian(1, (512, 512)) / 3, -1, 1)
    chip, _ = cx.program(key, tile, w)
    assert 0.11 < float(cx.mvm_error(key, tile, chip, w, x, 0.0)) < 0.19


def test_a_reading_in_half_precision_is_multiplied_in_it(key):
    """Half the bytes; products as exact as their operands, sums and outputs single."""
    tile = cx.replace(cx.presets.ideal(), rows=64, cols=64)
    w, x = gaussian(0, (150, 64)), gaussian(1, (32, 150))
    full = cx.read(key, tile, cx.program(key, tile, w)[0])
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), full)
    y, wanted = cx.mvm(key, tile, half, x), cx.mvm(key, tile, full, x)
    assert y.dtype == jnp.float32
    assert 1e-4 < float(jnp.linalg.norm(y - wanted) / jnp.linalg.norm(wanted)) < 2**-8


def test_read_noise_has_exactly_the_output_referred_variance():
    tile = cx.replace(cx.presets.pcm(), **{"device.programming": None, "device.drift": None, "device.flicker": None})
    w, x, key = gaussian(0, (64, 16)), gaussian(1, (1, 64)), jax.random.key(0)
    chip, _ = cx.program(key, tile, w)
    reading = cx.read(key, tile, chip)
    ys = jax.vmap(lambda k: cx.mvm(k, tile, reading, x))(jax.random.split(key, 20_000))[:, 0] / float(
        chip.scale.ravel()[0]
    )
    wanted = 0.0175 * np.sqrt(np.asarray(x[0] ** 2) @ np.abs(np.asarray(w)) / np.abs(np.asarray(w)).max())
    np.testing.assert_allclose(np.asarray(ys.std(axis=0)), wanted, rtol=0.03)
    fresh = cx.mvm(key, tile, reading, jnp.repeat(x, 1000, axis=0))
    assert float(fresh.std(axis=0).min()) > 0, "every vector has its own noise"


def test_output_noise_has_the_magnitude_it_says(key):
    tile = cx.Tile(64, 64, noise=0.04)
    w = gaussian(0, (64, 64))
    chip, _ = cx.program(key, tile, w)
    y = cx.mvm(key, tile, chip, jnp.zeros((4096, 64))) / float(chip.scale.ravel()[0])
    np.testing.assert_allclose(float(y.std()), 0.04, rtol=0.01)


def test_a_device_programmed_around_zero_does_not_come_back_as_zero(key):
    tile = cx.replace(cx.presets.pcm(), **QUIET)
    w = gaussian(0, (64, 64)) * (jax.random.uniform(jax.random.key(9), (64, 64)) > 0.5)
    w = w.at[0, 0].set(3.0)
    chip, _ = cx.program(key, tile, w)
    idle = np.asarray(cx.weights_at(key, tile, chip, DAY))[np.asarray(w) == 0]
    assert (idle != 0).mean() > 0.5


# ------------------------------------------------------------------- errors that hide nothing, at any scale


@pytest.mark.parametrize("power", [-20, 0, 20])
def test_the_error_of_weights_of_any_scale_is_the_same(key, power):
    w = gaussian(0, (64, 32)) * jnp.float32(10.0**power)
    tile = cx.replace(cx.presets.pcm(), **QUIET)
    chip, history = cx.program(key, tile, w)
    assert float(cx.mvm_error(key, tile, chip, w)) == pytest.approx(0.110, rel=0.02)
    assert float(history.mvm_error[-1]) == pytest.approx(0.106, rel=0.02)  # of the first reading, 128 vectors


def nan_at(path):
    """The HERMES preset with a NaN at one of its numbers, as a transformation can leave it."""

    def spoil(where, leaf):
        return jnp.asarray(np.nan) if jax.tree_util.keystr(where).startswith("." + path) else leaf

    return jax.tree_util.tree_map_with_path(spoil, cx.presets.hermes())


@pytest.mark.parametrize(
    "path", ["noise", "adc.range", "device.g_max", "device.programming.sigma.coefficients", "device.flicker.t_read"]
)
@pytest.mark.parametrize("how", [cx.OneShot(), cx.Iterative(iterations=2), cx.GDP(iterations=2, batch=8)])
@pytest.mark.slow
def test_a_nan_in_the_hardware_is_not_a_perfect_chip(key, path, how):
    tile, w = nan_at(path), gaussian(0, (8, 4))
    chip, history = cx.program(key, tile, w, how)
    assert not float(cx.mvm_error(key, tile, chip, w)) < 1.0, path
    if path != "device.flicker.t_read":
        assert (
            not float(history.mvm_error[-1]) < 1.0 and not float(history.converged[-1]) == 1.0
        ) or how == cx.OneShot()


def test_nan_weights_and_inputs_are_seen_under_jit(key):
    tile, w, x = cx.presets.pcm(), gaussian(0, (8, 4)), gaussian(1, (5, 8))
    bad = jax.jit(lambda w: cx.program(key, tile, w)[1].mvm_error[-1])(w.at[0, 0].set(jnp.nan))
    assert bool(jnp.isnan(bad))
    chip, _ = cx.program(key, tile, w)
    assert bool(jnp.isnan(cx.mvm_error(key, tile, chip, w, x.at[0, 0].set(jnp.nan))))
    assert bool(jnp.isnan(cx.mvm_error(key, tile, chip, w.at[0, 0].set(jnp.nan), x)))


def test_nothing_on_noisy_hardware_has_no_error_of_zero(key):
    tile, nothing = cx.presets.pcm(), jnp.zeros((8, 4))
    chip, history = cx.program(key, tile, nothing)
    assert float(cx.mvm_error(key, tile, chip, nothing)) == np.inf and float(history.mvm_error[-1]) == np.inf
    ideal = cx.presets.ideal()
    assert float(cx.mvm_error(key, ideal, cx.program(key, ideal, nothing)[0], nothing)) == 0.0


def test_what_does_not_fit_the_type_is_refused(key):
    tile, w = cx.presets.pcm(), gaussian(0, (8, 4))
    with pytest.raises(ValueError, match="weights up to 1e\\+300 do not fit float32"):
        cx.program(key, tile, np.full((2, 2), 1e300))
    chip, _ = cx.program(key, tile, w)
    with pytest.raises(ValueError, match="time must be finite"):
        cx.mvm(key, tile, chip, gaussian(1, (3, 8)), t=1e39)


# --------------------------------------------------------------------------- drift at the target, compensation


@pytest.mark.parametrize(
    "tile, wanted",
    [
        (cx.Tile(512, 512, device=cx.devices.hermes(1)), [0.211, 0.231, 0.293]),
        (cx.Tile(512, 512, device=cx.devices.hermes(2)), [0.143, 0.166, 0.235]),
        (cx.replace(cx.presets.pcm(), **QUIET), [0.125, 0.141, 0.181]),
    ],
    ids=["HERMES 1", "HERMES 2", "PCM"],
)
def test_drift_exponents_are_those_of_the_targets(tile, wanted):
    """GDC, 512² Gaussian weights, at 1 h, 1 d, 1 y; drawn at the programmed conductance: .330, .248 and .182 at 1 y."""
    w, x, key = gaussian(0, (512, 512)), jax.random.normal(jax.random.key(5), (256, 512)), jax.random.key(3)
    chip, _ = cx.program(key, tile, w)
    errors = [float(cx.mvm_error(key, tile, chip, w, x, t)) for t in (HOUR, DAY, 365 * DAY)]
    np.testing.assert_allclose(errors, wanted, rtol=0.03)


@pytest.mark.parametrize("how", [cx.Iterative(iterations=5), cx.GDP(iterations=5, batch=64)], ids=["ip", "gdp"])
@pytest.mark.slow
def test_under_methods_that_pulse_the_target_is_what_the_controller_wants(key, how):
    """Exponents follow encode(weights), however far a pulse lands from it."""
    device = cx.replace(cx.devices.hermes(1), flicker=None, **{"drift.spread": None, "write.noise": 4.0})
    tile, w = cx.Tile(32, 32, device=device), gaussian(0, (32, 32))
    chip, _ = cx.program(key, tile, w, how)
    target = tile.targets(w / jnp.abs(w).max())
    np.testing.assert_allclose(chip.cells.nu[:, 0, 0], device.drift.mean(target / device.g_max), rtol=1e-4)


@pytest.mark.parametrize("compensation", ["tile", "column"])
def test_the_first_reading_is_its_own_reference(key, compensation):
    tile = cx.replace(cx.presets.hermes(gain=0.03), rows=64, cols=64, compensation=compensation)
    chip, _ = cx.program(key, tile, gaussian(0, (64, 64)))
    first = cx.read(jax.random.key(9), tile, chip, 0.0)
    np.testing.assert_array_equal(first.scale, jnp.broadcast_to(chip.scale, first.scale.shape))
    both = jax.vmap(lambda t: cx.read(key, tile, chip, t).scale)(jnp.array([0.0, DAY])) / chip.scale
    assert bool((both[0] == 1).all()) and float(both[1].min()) > 1.05


def test_the_reference_is_measured_once_and_seen_by_the_converters_in_use(key):
    """Only today's reading and its noise differ from one read to the next: no noise of the reference on top."""
    tile = cx.replace(cx.presets.hermes(), rows=64, cols=64, noise=0.5, **{"device.flicker": None})
    quiet = cx.replace(tile, noise=None)
    chip, _ = cx.program(key, tile, gaussian(0, (64, 64)))
    # without noise today, what is left is the reference alone: the same every time
    scales = [cx.read(jax.random.key(k), quiet, chip, DAY).scale for k in range(3)]
    np.testing.assert_array_equal(scales[0], scales[1])
    np.testing.assert_array_equal(scales[0], scales[2])


def test_compensation_against_an_ideal_read_of_what_was_programmed():
    """Without the first reading's own 1/f noise, α scatters less from chip to chip, and is 1 on average at t = 0."""
    tile = cx.replace(cx.presets.hermes(), rows=32, cols=32, **{"device.drift": None, "device.programming": None})
    w, keys = gaussian(0, (32, 32)), jax.random.split(jax.random.key(0), 64)

    def alphas(tile, t):
        def one(k):
            chip, _ = cx.program(k, tile, w)
            return (cx.read(jax.random.fold_in(k, 1), tile, chip, t).scale / chip.scale).ravel()[0]

        return np.asarray(jax.jit(jax.vmap(one))(keys))

    ideal = cx.replace(tile, reference="ideal")
    assert alphas(ideal, 0.0).mean() == pytest.approx(1.0, abs=0.01) and alphas(ideal, 0.0).std() > 0
    assert alphas(ideal, DAY).std() < 0.9 * alphas(tile, DAY).std()


def test_the_periphery_of_the_hermes_core_has_the_published_error(key):
    """Gaussian weights and inputs on 256 rows, perfect devices: 1.94 %, converters and output noise together."""
    tile = cx.replace(cx.presets.hermes(), device=cx.devices.ideal(), compensation=None)
    w, x = gaussian(0, (256, 256)) / 3, gaussian(1, (4096, 256)) / 3
    w = w / jnp.abs(w).max()
    chip, _ = cx.program(key, tile, w)
    assert float(cx.mvm_error(key, tile, chip, w, x)) == pytest.approx(0.0194, rel=0.03)


@pytest.mark.slow
def test_typical_ranges_hold_what_gaussian_inputs_cause(key):
    """4 σ of the outputs for Gaussian weights on all rows; less for fewer rows, whatever range there was before."""
    for rows, wanted in ((256, 7.1), (64, 3.6), (27, 2.6)):
        for before in (1.0, 40.0):
            tile = cx.replace(cx.presets.hermes(), **{"adc.range": before})
            w = gaussian(0, (rows, 64)) / 3
            assert float(cx.typical_ranges(tile, w / jnp.abs(w).max()).adc.range) == pytest.approx(wanted, rel=0.12)
    assert cx.typical_ranges(cx.presets.pcm(), gaussian(0, (8, 4))) == cx.presets.pcm()


def test_the_standard_model_can_have_its_ir_drop(key):
    w, x = gaussian(0, (512, 64)), jnp.clip(gaussian(1, (64, 512)) / 3, -1, 1)
    errors = []
    for drop in (False, True):
        tile = cx.replace(cx.presets.standard(ir_drop=drop), noise=None, device=cx.devices.ideal(), compensation=None)
        errors.append(float(cx.mvm_error(key, tile, cx.program(key, tile, w)[0], w, x)))
    assert errors[1] > errors[0] + 0.002
