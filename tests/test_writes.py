"""Write pulses against their published equations, their range, their noise and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from test_devices import STATISTICAL, programmed

import crossjax as cx
from crossjax import devices
from crossjax.devices import MeltQuench, SetPulses

# ------------------------------------------------------------------------------ write pulses


def test_set_pulses_reproduce_the_published_growth():
    """Mean and deviation after 1, 5, 10, 20 SET pulses, Nandakumar 2018 (40,000 devices)."""
    model, device = SetPulses(), devices.pcm_pulsed()
    key = jax.random.key(0)
    g, p = model.reset(key, (40_000,)), jnp.ones(40_000)
    seen = {}
    for k in range(1, 21):
        g, p = model.set_once(jax.random.fold_in(key, k), p, g, device.g_max)
        seen[k] = (float(g.mean()), float(g.std()))
    for k, (mean, sd) in {1: (2.06, 1.52), 5: (5.92, 2.38), 10: (7.83, 2.46), 20: (9.40, 2.67)}.items():
        assert abs(seen[k][0] - mean) < 0.05 and abs(seen[k][1] - sd) < 0.05, (k, seen[k])


def test_set_pulse_requests_go_up_by_pulses_and_down_by_a_reset():
    device = devices.pcm_pulsed()
    key = jax.random.key(1)
    state = device.reset(key, (5000,))
    up, n_up = device.pulse(key, state, jnp.full((5000,), 5.0))
    assert float(state.g.std()) > 0.005, "RESET leaves a spread"
    assert abs(float(up.g.mean()) - 5.1) < 0.8 and 2 <= int(n_up[0]) <= 5
    down, n_down = device.pulse(jax.random.key(2), up, jnp.full((5000,), -2.0))
    assert float(down.g.mean()) < float(up.g.mean()) - 1.0 and int(n_down.min()) >= 1
    same, none = device.pulse(key, up, jnp.zeros(5000))
    np.testing.assert_array_equal(same.g, up.g)
    assert int(none.sum()) == 0


def test_melt_quench_falls_with_amplitude_and_the_controller_inverts_the_mean_curve(x64):
    model = MeltQuench()
    y = model.curve(jnp.linspace(-0.2, 1.2, 200), jnp.zeros(()))
    assert bool(jnp.all(jnp.diff(y) <= 1e-12)) and float(y[0]) == 1.0 and float(y[-1]) == 0.0
    wanted = jnp.linspace(0, 1, 101)
    np.testing.assert_allclose(model.curve(model.amplitude(wanted), jnp.zeros(())), wanted, atol=1e-8)


@pytest.mark.parametrize("device", [devices.reram_milo(), cx.replace(devices.hermes(), g_min=2.0)])
def test_pulses_cover_the_range_from_g_min_to_g_max(device):
    device = cx.replace(device, programming=None)
    state = device.reset(jax.random.key(0), (3,))
    np.testing.assert_allclose(state.g, device.g_min)
    if isinstance(device.write, MeltQuench):
        device = cx.replace(device, **{"write.spread": 0.0})
        state = device.reset(jax.random.key(0), (3,))
    span = device.g_max - device.g_min
    after, _ = device.pulse(jax.random.key(1), state, jnp.array([0.25, 0.5, 1.0]) * span)
    np.testing.assert_allclose(after.g, device.g_min + jnp.array([0.25, 0.5, 1.0]) * span, rtol=1e-4)


def test_melt_quench_spread_is_fixed_per_cell_and_write_noise_is_not():
    device = devices.hermes()
    key = jax.random.key(3)
    state = device.reset(key, (20_000,))
    first, _ = device.pulse(jax.random.key(4), state, jnp.full((20_000,), 10.0))
    again, _ = device.pulse(jax.random.key(5), state, jnp.full((20_000,), 10.0))
    assert 0.5 < np.corrcoef(first.g, again.g)[0, 1] < 0.95
    difference = np.asarray(first.g - again.g)
    noise = 0.7 * float(device.programming.deviation(jnp.array([10.0]), device.g_max)[0])
    np.testing.assert_allclose(difference.std(), noise * 2**0.5, rtol=0.05)


@pytest.mark.parametrize("device", [devices.hermes(), devices.pcm_pulsed(), devices.noisy()])
def test_no_request_no_pulse(device):
    key = jax.random.key(0)
    state = device.reset(key, (50,))
    after, pulses = device.pulse(key, state, jnp.zeros(50))
    np.testing.assert_array_equal(after.g, state.g)
    assert int(pulses.sum()) == 0


@pytest.mark.parametrize("device", [devices.hermes(), devices.noisy()])
def test_pulse_gradient(x64, device):
    key = jax.random.key(2)
    state = device.reset(key, (8,))
    check_gradients(lambda r: jnp.sum(device.pulse(key, state, r)[0].g ** 2), jnp.linspace(2.0, 17.0, 8))


@pytest.mark.parametrize("name", [*STATISTICAL, "pcm pulsed", "pcm from 2 µS"])
def test_no_write_lands_below_g_min(name):
    more = {"pcm pulsed": devices.pcm_pulsed(), "pcm from 2 µS": cx.replace(devices.pcm(), g_min=2.0)}
    device, key = {**STATISTICAL, **more}[name], jax.random.key(3)
    target = device.g_min + (device.g_max - device.g_min) * jnp.linspace(0.0, 1.0, 5000) ** 4
    state = programmed(device, target)
    up, _ = device.pulse(key, state, 0.1 * (device.g_max - state.g))
    down, _ = device.pulse(key, up, device.g_min - up.g)
    spread = 0.5 * device.g_min if name == "pcm pulsed" else 0.0  # its published RESET is 0.1 µS ± 10 %
    for after in (device.reset(key, target.shape), state, up, down):
        assert float(after.g.min()) >= device.g_min - spread
    assert float(device.at(key, down, 1e7).min()) >= 0.0  # time may take it below g_min


# ------------------------------------------------------------------- one programming error per device


ERROR = devices.ProgrammingError(devices.Constant(2.0), g_ref=25.0)
WRITES = [devices.Rewrite(), devices.Rewrite(noise=0.5), devices.MeltQuench()]


@pytest.mark.parametrize("write", WRITES)
def test_a_write_pulse_has_the_devices_own_programming_error_unless_told_otherwise(write):
    g = jnp.array([10.0])
    device = devices.Device(g_max=25.0, programming=ERROR, write=write)
    assert float(device.write_deviation(g)[0]) == pytest.approx(write.noise * 2.0)
    wider = cx.replace(device, **{"programming.sigma.value": 4.0})
    assert float(wider.write_deviation(g)[0]) == pytest.approx(write.noise * 4.0)
    for silent in (cx.replace(device, programming=None), cx.replace(device, **{"write.error": None})):
        assert float(silent.write_deviation(g)[0]) == 0.0
    other = cx.replace(device, write=cx.replace(write, error=ERROR), programming=None)
    assert float(other.write_deviation(g)[0]) == pytest.approx(write.noise * 2.0)


@pytest.mark.parametrize("name", [*STATISTICAL, "a user's own"])
def test_no_device_with_a_programming_error_is_pulsed_without_noise(name):
    device = {**STATISTICAL, "a user's own": devices.Device(g_max=100.0, programming=ERROR)}[name]
    key, n = jax.random.key(0), 4000
    request = jnp.full((n,), 0.6 * (device.g_max - device.g_min))
    g = device.pulse(key, device.reset(key, (n,)), request)[0].g
    sigma = float(device.programming.deviation(g.mean()[None], device.g_max)[0])
    assert float(g.std()) > 0.5 * sigma > 0.0


def test_an_ideal_device_is_written_without_noise():
    device, key = devices.ideal(), jax.random.key(0)
    after, _ = device.pulse(key, device.reset(key, (4,)), jnp.linspace(1.0, 25.0, 4))
    np.testing.assert_array_equal(after.g, jnp.linspace(1.0, 25.0, 4))


def test_a_write_model_without_an_error_to_take_is_refused():
    for write in WRITES:
        with pytest.raises(ValueError, match=r"give write\.error"):
            devices.Device(programming=devices.ByPulses(), write=write)
        with pytest.raises(ValueError, match=r"Device\.writer"):
            write.deviation(jnp.ones(1), 25.0)
    devices.Device(programming=devices.ByPulses(), write=devices.Rewrite(error=None))
