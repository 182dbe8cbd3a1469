"""What every programming method does, on simulated cores, an instrument and unusual hardware."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_programming import WEIGHTS, hermes

import crossjax as cx
from crossjax.programming import SimulatedCore, method

pytestmark = pytest.mark.slow

# ------------------------------------------------------------------------------------------------- the methods


def test_model_gradient_leaves_out_saturated_outputs_and_knows_the_gain(key):
    """For a batch in which half of the outputs saturate: no gradient from those, the column's gain on the others."""
    tile = cx.Tile(8, 2, adc=cx.ADC(bits=None, range=1.0, gain=0.1))
    g = jnp.zeros((2, 8, 2))
    core = SimulatedCore(tile, tile.device.reset(key, g.shape), tile.adc.draw(key, (1, 2)))
    w = jnp.full((8, 2), 0.5)
    x = jnp.stack([jnp.ones(8), jnp.full(8, 0.1)])  # outputs 4 (saturated) and 0.4
    gradient = core.pull_back(x, jnp.ones((2, 2)), w, "vjp")
    np.testing.assert_allclose(gradient, jnp.broadcast_to(0.1 * core.columns.gain, (8, 2)), rtol=1e-5)
    plain = core.pull_back(x, jnp.ones((2, 2)), w, "outer")
    np.testing.assert_allclose(plain, 1.1, rtol=1e-5)


@pytest.mark.parametrize(
    "how", [cx.OneShot(), cx.Iterative(iterations=7), cx.GDP(iterations=9, batch=64)], ids=lambda h: type(h).__name__
)
def test_all_methods_return_the_same_history(key, how):
    count = getattr(how, "iterations", 1)
    tile = cx.replace(cx.presets.hermes(), rows=16, cols=16)
    chip, history = cx.program(key, tile, WEIGHTS["gaussian"][:40, :20], how)
    for field in ("mvm_error", "weight_error", "pulses", "converged"):
        values = np.asarray(getattr(history, field))
        assert values.shape == (count,) and np.isfinite(values).all(), field
    assert (np.diff(np.asarray(history.pulses)) >= 0).all()
    assert chip.cells.nu.shape == chip.cells.g.shape == (2, 3, 2, 14, 10)


def test_noiseless_devices_are_programmed_exactly_by_every_method(key):
    w = WEIGHTS["gaussian"][:30, :20]
    for how in (cx.Exact(), cx.OneShot(), cx.Iterative(tolerance=1e-4), cx.GDP(iterations=20, batch=256, step=1.0)):
        _, history = cx.program(key, cx.Tile(16, 16), w, how)
        assert float(history.weight_error[-1]) < 1e-5, how


def test_iterative_stops_pulsing_cells_within_the_tolerance(key):
    still = {"device.flicker": None, "device.drift": None}
    tile = cx.replace(cx.presets.hermes(), adc=None, noise=None, rows=64, cols=64, **still)
    w = WEIGHTS["gaussian"][:64, :64]
    _, history = cx.program(key, tile, w, cx.Iterative(tolerance=0.01))
    assert float(history.converged[-1]) > 0.991  # Joshi 2020: 99.1 % of the devices converge
    assert float(history.weight_error[-1]) < 0.007
    pulses = np.diff(np.asarray(history.pulses))
    assert pulses[-1] < 0.05 * pulses[0]


def test_residual_split_beats_msp_first():
    """Measuring what the significant pair missed and putting it on the other one: less error in one shot."""
    errors = {}
    for split in ("msp_first", "residual"):
        tile = cx.replace(cx.presets.pcm_msp_lsp(3.0, split=split), **{"device.flicker": None})
        errors[split] = float(cx.program(jax.random.key(0), tile, WEIGHTS["gaussian"])[1].weight_error[-1])
    assert errors["residual"] < 0.8 * errors["msp_first"]


def test_iterative_and_gdp_work_around_faults():
    """Stuck devices in a pair: the other device makes up for it where it can."""
    tile = cx.replace(hermes(), **{"device.faults": cx.Faults(low=0.02, high=0.02)})
    w, key = WEIGHTS["gaussian"], jax.random.key(0)
    one = cx.program(key, tile, w, cx.OneShot())[1].weight_error[-1]
    gdp = cx.program(key, tile, w, cx.GDP())[1].weight_error[-1]
    assert float(gdp) < 0.5 * float(one)


def test_pulse_level_devices_can_be_programmed(key):
    """Accumulating SET pulses and RESET, by gradient descent and by program and verify.

    Twenty pulses reach 9.4 µS on average, so 10 µS is a full weight, not the 20 µS where conductance is clipped.
    """
    device = cx.devices.pcm_pulsed(10.0)
    tile = cx.Tile(64, 64, device=device, adc=cx.ADC(range=20.0), compensation=None)
    w = WEIGHTS["gaussian"][:64, :32]
    for how in (cx.Iterative(step=0.7), cx.GDP(iterations=60)):
        _, history = cx.program(key, tile, w, how)
        assert float(history.weight_error[-1]) < 0.6 * float(history.weight_error[0]), how


def test_patience_freezes_the_core_once_nothing_improves(key):
    tile, w = cx.replace(hermes(), rows=64, cols=64), WEIGHTS["gaussian"][:64, :64]
    _, free = cx.program(key, tile, w, cx.GDP(iterations=120, batch=256))
    _, patient = cx.program(key, tile, w, cx.GDP(iterations=120, batch=256, patience=10))
    assert int(patient.pulses[-1]) < int(free.pulses[-1])
    assert float(patient.weight_error[-1]) < 1.3 * float(free.weight_error[-1])


@pytest.mark.thorough
def test_a_large_matrix_is_programmed_in_parts(key, monkeypatch):
    """The same chip, the same history."""
    tile, w = cx.replace(cx.presets.pcm(), rows=8, cols=8), jax.random.normal(key, (30, 23))  # 4 × 3 tiles, padded
    method = cx.GDP(iterations=3, batch=16)
    whole = cx.program(key, tile, w, method)
    monkeypatch.setattr(sys.modules["crossjax.programming.program"], "AT_ONCE", 2 * 64)
    cx.forget_compiled()
    parts = cx.program(key, tile, w, method)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), parts, whole)


def test_a_population_is_a_vmap_and_equals_its_loop():
    tile, w = cx.replace(hermes(), rows=32, cols=32), WEIGHTS["gaussian"][:40, :20]
    how, keys = cx.GDP(iterations=12, batch=64), jax.random.split(jax.random.key(3), 3)
    run = jax.jit(lambda k: cx.program(k, tile, w, how)[1].weight_error)
    together = jax.vmap(run)(keys)
    # pulses are decided by thresholds, so rounding may tip single cells: equal as statistics of 800 weights
    np.testing.assert_allclose(together, jnp.stack([run(k) for k in keys]), rtol=0.05)


def test_hyper_parameters_are_swept_without_recompiling():
    tile, w, key = cx.replace(hermes(), rows=32, cols=32), WEIGHTS["gaussian"][:32, :32], jax.random.key(0)
    sweep = jax.vmap(lambda s: cx.program(key, tile, w, cx.GDP(iterations=15, batch=64, step=s))[1].weight_error[-1])
    errors = np.asarray(sweep(jnp.array([0.01, 0.5])))
    assert errors[1] < errors[0]


# -------------------------------------------------------------- an instrument stands in for the chip


class Instrument:
    """A laboratory's core: nothing but ``mvm`` and ``pulse``. Its cells, gains and noise are its own secret."""

    def __init__(self, rows, cols, seed=0, noise=0.02):
        self.rng, self.noise = np.random.default_rng(seed), noise
        self._g = np.zeros((rows, cols))
        self._gain = 1 + 0.03 * self.rng.normal(size=cols)
        self._aim = np.zeros((rows, cols))

    def mvm(self, x):
        y = x @ self._g * self._gain + 0.02 * self.rng.normal(size=(len(x), self._g.shape[1]))
        return np.clip(np.round(y * 10), -127, 127) / 10

    def pulse(self, change):
        hit = change != 0
        self._aim[hit] += change[hit]
        self._g[hit] = self._aim[hit] + self.noise * self.rng.normal(size=hit.sum())


@pytest.mark.parametrize(
    "how, most",
    [(cx.Iterative(iterations=10), 0.10), (cx.GDP(iterations=40, batch=1024), 0.05)],
    ids=["Iterative", "GDP"],
)
def test_an_instrument_is_programmed_by_the_same_methods(key, how, most):
    core, w = Instrument(64, 32), np.clip(np.random.default_rng(1).normal(size=(64, 32)), -3, 3) / 3
    history = cx.program_core(key, core, w, how, write_noise=0.02)
    x = np.random.default_rng(2).normal(size=(2000, 64)) / 3
    error = np.linalg.norm(x @ core._g * core._gain - x @ w) / np.linalg.norm(x @ w)
    assert error < most
    assert np.isnan(np.asarray(history.weight_error)).all(), "an instrument does not show its cells"
    assert history.mvm_error.shape == (how.iterations,)


def test_what_is_not_a_core_is_refused(key):
    class Half:
        def mvm(self, x):
            return x

    with pytest.raises(TypeError, match="core must be a Core with mvm and pulse"):
        cx.program_core(key, Half(), np.ones((2, 2)), cx.GDP())
    with pytest.raises(ValueError, match=r"normalise the weights"):
        cx.program_core(key, Instrument(2, 2), 3 * np.ones((2, 2)), cx.GDP())


def test_a_method_must_be_an_instance(key):
    with pytest.raises(TypeError, match="an instance, not the class"):
        cx.program(key, cx.presets.ideal(), np.ones((2, 2)), cx.GDP)
    with pytest.raises(ValueError, match="one-shot, iterative, row-wise, gdp"):
        method("magic")


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: cx.GDP(step=0.0), "GDP.step must be > 0"),
        (lambda: cx.GDP(iterations=0), "GDP.iterations"),
        (lambda: cx.GDP(gradient="adam"), "'outer', 'vjp'"),
        (lambda: cx.Iterative(reads=0), "Iterative.reads"),
        (lambda: cx.Iterative(tolerance=-0.1), "Iterative.tolerance"),
    ],
)
def test_bad_hyper_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_simulation_repeats_a_step(key):
    tile = cx.Tile(4, 4)
    core = SimulatedCore(tile, tile.device.reset(key, (2, 4, 4)))

    def step(core, state, key, k):
        core, pulses = core.pulse(key, jnp.full((4, 4), 0.1))
        return core, state + pulses, {"weight": core.weights().mean()}

    core, total, record = core.repeat(step, jnp.zeros((), jnp.int32), key, 3)
    np.testing.assert_allclose(record["weight"], [0.1, 0.2, 0.3], rtol=1e-5)
    assert int(total) == 3 * 16


# ------------------------------------------------------------------------------- legal but unusual hardware


@pytest.mark.parametrize("split", ["equal", "msp_first", "lsp_first", "one"])
def test_the_first_write_shares_weights_as_the_split_says(key, split):
    cell = cx.Pairs((2.0, 1.0), split)
    w = WEIGHTS["gaussian"][:8, :8]
    chips = [cx.program(key, cx.Tile(8, 8, cell=cell), w, how)[0] for how in (cx.OneShot(), cx.Iterative(iterations=2))]
    np.testing.assert_allclose(chips[0].cells.g, chips[1].cells.g, atol=1e-4)


@pytest.mark.parametrize("how", [cx.Iterative(iterations=10), cx.GDP(iterations=30, batch=256)], ids=["ip", "gdp"])
@pytest.mark.parametrize("cell", [cx.Pairs(), cx.SharedReference()], ids=["pair", "reference"])
def test_devices_that_cannot_be_switched_off_are_programmed_exactly(key, how, cell):
    device = cx.replace(cx.devices.reram_milo(), programming=None, **{"write.error": None})
    w = WEIGHTS["gaussian"][:21, :9]
    _, history = cx.program(key, cx.Tile(5, 5, device=device, cell=cell), w, how)
    assert float(history.weight_error[-1]) < 1e-3


@pytest.mark.parametrize("how", [cx.OneShot(), cx.Iterative(iterations=3), cx.GDP(iterations=3, batch=32)])
def test_any_floating_type_of_weights_is_taken(key, how):
    tile = cx.replace(cx.presets.hermes(), rows=16, cols=16)
    for dtype in (jnp.float16, jnp.bfloat16, jnp.float32):
        _, history = cx.program(key, tile, WEIGHTS["gaussian"][:10, :10].astype(dtype), how)
        assert history.mvm_error.dtype == jnp.float32
    with jax.enable_x64(True):
        cx.program(jax.random.key(0), tile, np.float32(WEIGHTS["gaussian"][:10, :10]), how)


def test_unused_cells_of_a_tile_with_a_reference_column_carry_nothing(key):
    tile = cx.Tile(5, 64, device=cx.devices.noisy(sigma=0.1), cell=cx.SharedReference())
    w = WEIGHTS["gaussian"][:21, :40]
    chip, history = cx.program(key, tile, w)
    np.testing.assert_allclose(history.mvm_error[-1], cx.mvm_error(key, tile, chip, w), rtol=0.1)
    assert int(history.pulses[-1]) == tile.devices_for(w.shape)


def test_pulse_level_devices_have_no_free_lunch(key):
    """Without a statistical law, one shot is one write request, with all the noise of its pulses."""
    tile = cx.Tile(32, 32, device=cx.devices.pcm_pulsed(10.0))
    assert float(cx.program(key, tile, WEIGHTS["gaussian"][:32, :32])[1].weight_error[-1]) > 0.05


def test_iterative_needs_a_dac_with_a_level_at_zero(key):
    tile = cx.Tile(8, 8, dac=cx.DAC(bits=1))
    with pytest.raises(ValueError, match="level at 0"):
        cx.program(key, tile, WEIGHTS["gaussian"][:8, :8], cx.Iterative())


def test_history_has_a_gradient_where_the_error_is_zero(key):
    w = jnp.array([[1.0, -0.5], [0.25, 0.0]])
    g = jax.grad(lambda w: cx.program(key, cx.Tile(4, 4), w)[1].weight_error[-1])(w)
    assert bool(jnp.isfinite(g).all())
