"""Each device against its published equations, its limits, and its own gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients

import crossjax as cx
from crossjax import devices
from crossjax.devices import MeltQuench, SetPulses

STATISTICAL = {
    "pcm": devices.pcm(),
    "hermes 2": devices.hermes(2),
    "hermes 1": devices.hermes(1),
    "reram wan": devices.reram_wan(),
    "reram milo": devices.reram_milo(),
    "noisy": devices.noisy(drift=0.05),
    "inverse uniform": devices.noisy(dependence="inverse", distribution="uniform"),
}


def programmed(device, target, seed=0):
    key = jax.random.key(seed)
    return device.program(key, device.reset(key, target.shape), target)


# ---------------------------------------------------------------- programming errors


@pytest.mark.parametrize("name", STATISTICAL)
def test_programming_error_has_the_published_mean_and_deviation(name):
    device = STATISTICAL[name]
    for x in (0.3, 0.6, 0.9):
        target = jnp.full((200_000,), x * device.g_max)
        g = programmed(device, target).g
        sigma = float(device.programming.deviation(target[:1], device.g_max)[0])
        assert abs(float(g.mean()) - x * device.g_max) < 0.02 * max(sigma, 0.05) + 1e-3
        np.testing.assert_allclose(float(g.std()), sigma, rtol=0.02)


def test_pcm_median_programming_error():
    device = devices.pcm()
    g = jnp.linspace(0, 25, 11)
    np.testing.assert_allclose(np.median(device.programming.deviation(g, 25.0)), 0.953, atol=1e-3)


def test_programming_error_scales_with_g_max():
    small, large = devices.pcm(25.0), devices.pcm(50.0)
    np.testing.assert_allclose(
        2 * small.programming.deviation(jnp.array([5.0]), 25.0),
        large.programming.deviation(jnp.array([10.0]), 50.0),
        rtol=1e-6,
    )


def test_uniform_error_is_bounded_and_has_the_same_deviation():
    device = devices.noisy(sigma=0.02, distribution="uniform")
    g = programmed(device, jnp.full((100_000,), 12.0)).g
    assert float(jnp.abs(g - 12.0).max()) <= 0.02 * 25 * 3**0.5 + 1e-5
    np.testing.assert_allclose(float(g.std()), 0.5, rtol=0.01)


@pytest.mark.parametrize("dependence, power", [("independent", 0), ("proportional", 1), ("inverse", -1)])
def test_generic_error_depends_on_conductance_as_named(dependence, power):
    device = devices.noisy(sigma=0.01, dependence=dependence)
    s = device.programming.deviation(jnp.array([10.0, 20.0]), device.g_max)
    np.testing.assert_allclose(float(s[1] / s[0]), 2.0**power, rtol=1e-5)


def test_wan_reram_at_three_times():
    x = np.linspace(0.05, 1, 9)
    for after, c in {
        "1 s": (0.348, 16.03, -43.853, 45.393, -16.815),
        "1 d": (0.701, 22.086, -50.773, 47.095, -16.458),
        "2 d": (0.782, 20.274, -43.507, 37.062, -11.934),
    }.items():
        device = devices.reram_wan(after=after)
        got = device.programming.deviation(jnp.asarray(40 * x), 40.0)
        np.testing.assert_allclose(got, sum(ck * x**k for k, ck in enumerate(c)), rtol=1e-4, atol=1e-5)


def test_milo_reram_and_its_smallest_conductance():
    device = devices.reram_milo()
    g = jnp.array([50.0, 100.0, 225.0])
    np.testing.assert_allclose(device.programming.deviation(g, 225.0), -0.009107 * np.asarray(g) + 4.782321, rtol=1e-5)
    assert float(programmed(device, jnp.full((1000,), 0.0)).g.mean()) == pytest.approx(50.0, abs=0.6)


def test_a_zero_target_is_the_users_choice():
    noisy = programmed(devices.pcm(), jnp.zeros(10_000)).g
    assert 0.09 < float(noisy.mean()) < 0.12  # half of a Gaussian of 0.263 µS: 0.105
    assert float(jnp.abs(programmed(devices.pcm(reset_zero=True), jnp.zeros(10_000)).g).max()) == 0.0


# -------------------------------------------------------------------- drift and 1/f noise


def hermes_reference(x, pairs):
    """The table of HERMES branches, written out a second time in NumPy."""
    log = np.log(np.maximum(x, 1e-12))
    mean = np.where(x < 0.0945, np.clip(-0.0387 * log - 0.0182, 0.072, 0.13), -0.0436 * x**2 - 0.0126 * x + 0.0736)
    if pairs == 2:
        sigma = 0.16603222 + 4.71806468 * x - 8.48101252 * x**2 + 4.68961419 * x**3
        spread = np.where(
            x < 0.3055, np.clip(-0.0117 * log - 0.0057, 0.0091, 0.04), -0.0118 * x**2 + 0.0093 * x + 0.0073
        )
        q = np.where(
            x < 0.16, np.clip(-0.0117 * log - 0.0069, 0.015, 0.04), 0.0069 * x**3 - 0.0280 * x**2 + 0.0211 * x + 0.0123
        )
    else:
        sigma = 0.15781817 + 2.32443916 * x - 2.16310839 * x**2 + 0.68841818 * x**3
        spread = np.where(
            x < 0.3039, np.clip(-0.0120 * log - 0.0023, 0.0124, 0.04), -0.0165 * x**2 + 0.0116 * x + 0.0104
        )
        q = np.where(
            x < 0.1591,
            np.clip(-0.0078 * log + 0.0038, 0.0179, 0.04),
            0.0664 * x**3 - 0.1352 * x**2 + 0.0768 * x + 0.0088,
        )
    return sigma, mean, spread, q


@pytest.mark.parametrize("pairs, g_max, t_0", [(2, 20.7, 300.0), (1, 10.35, 200.0)])
def test_hermes_branches_at_twenty_conductances(x64, pairs, g_max, t_0):
    device = devices.hermes(pairs)
    x = np.linspace(0, 1, 20)
    sigma, mean, spread, q = hermes_reference(x, pairs)
    np.testing.assert_allclose(device.programming.deviation(jnp.asarray(x * g_max), g_max), sigma, rtol=1e-9)
    np.testing.assert_allclose(device.drift.mean(jnp.asarray(x)), mean, rtol=1e-9)
    np.testing.assert_allclose(device.drift.spread(jnp.asarray(x)), spread, rtol=1e-9)
    np.testing.assert_allclose(device.flicker.q(jnp.asarray(x)), q, rtol=1e-9)
    assert (device.g_max, device.drift.t_0, device.flicker.t_read, device.parallel) == (g_max, t_0, 512e-9, pairs)


def test_drift_follows_the_power_law_exactly(x64):
    device = cx.replace(devices.pcm(), flicker=None)
    state = programmed(device, jnp.linspace(1.0, 25.0, 50))
    for t in (0.0, 25.0, 3600.0, 3.15e7):
        wanted = np.asarray(state.g) * ((t + 20.0) / 20.0) ** (-np.asarray(state.nu))
        np.testing.assert_allclose(device.at(jax.random.key(1), state, t), wanted, rtol=1e-12)


def test_drift_exponents_are_drawn_once_per_programming_and_conductances_are_not_derived_again():
    device = cx.replace(devices.pcm(), flicker=None)
    state = programmed(device, jnp.full((100,), 12.0))
    late = device.at(jax.random.key(5), state, 1e6)
    np.testing.assert_array_equal(late, device.at(jax.random.key(6), state, 1e6))
    np.testing.assert_array_equal(device.at(jax.random.key(5), state, 0.0), state.g)


def test_drift_statistics_of_pcm():
    device = devices.pcm()
    nu = programmed(device, jnp.full((200_000,), 12.5)).nu
    assert abs(float(nu.mean()) - 0.049) < 1e-3  # μ_ν is clipped to 0.049 from 5.1 µS up
    assert abs(float(nu.std()) - 0.008) < 1e-3


def test_flicker_noise_grows_with_the_logarithm_of_time():
    device = cx.replace(devices.pcm(), drift=None, programming=None)
    state = programmed(device, jnp.full((200_000,), 12.5))
    for t in (0.0, 86400.0):
        g = device.at(jax.random.key(2), state, t)
        wanted = 0.0088 / 0.5**0.65 * np.sqrt(np.log((t + 20 + 250e-9) / 500e-9))
        np.testing.assert_allclose(float(g.std() / 12.5), wanted, rtol=0.01)


def test_mvm_read_noise_of_pcm_and_of_the_pulse_model():
    g = jnp.array([0.0, 5.0, 20.0])
    np.testing.assert_allclose(devices.pcm().read_variance(g), 0.0175**2 * np.asarray(g) * 25.0, rtol=1e-5)
    np.testing.assert_allclose(devices.pcm_pulsed().read_variance(g), (0.03 * np.asarray(g) + 0.13) ** 2, rtol=1e-5)


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
    device = cx.replace(device, **{"write.error": None})
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


# ------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("device", [devices.ideal(), devices.pcm(), devices.pcm_pulsed(), devices.reram_wan()])
def test_faults_compose_with_any_device_and_survive_every_operation(device):
    device = cx.replace(device, faults=cx.Faults(low=0.1, high=0.05, anywhere=0.02))
    key = jax.random.key(0)
    state = device.reset(key, (100_000,))
    stuck = np.asarray(state.stuck.mask)
    assert abs(stuck.mean() - 0.17) < 0.005 and device.faults.device_yield == pytest.approx(0.83)
    held = np.asarray(state.stuck.g)[stuck]
    assert abs((held == np.float32(device.g_min)).mean() - 0.1 / 0.17) < 0.02
    for after in (
        device.program(key, state, jnp.full((100_000,), 0.5 * device.g_max)).g,
        device.pulse(key, state, jnp.full((100_000,), 2.0))[0].g,
        device.at(key, device.settle(key, state), 1e6),
    ):
        np.testing.assert_array_equal(np.asarray(after)[stuck], held)


# -------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", STATISTICAL)
def test_every_device_number_has_the_right_gradient(x64, name):
    device = STATISTICAL[name]
    key = jax.random.key(1)
    target = jnp.linspace(0.07, 0.93, 12) * device.g_max

    def loss(device):
        state = device.program(key, device.reset(key, target.shape), target)
        g = device.at(key, state, 1000.0)
        noise = device.read_variance(g)
        return jnp.sum(jnp.sin(g)) + (0.0 if noise is None else jnp.sum(noise)) + jnp.sum(device.write_deviation(g))

    check_gradients(loss, device, rtol=2e-5, atol=1e-6)


def test_target_gradient(x64):
    device, key = devices.pcm(), jax.random.key(1)
    check_gradients(
        lambda g: jnp.sum(device.at(key, device.program(key, device.reset(key, g.shape), g), 1000.0) ** 2),
        jnp.linspace(0.5, 24.0, 8),
    )


@pytest.mark.parametrize("device", [devices.hermes(), devices.noisy()])
def test_pulse_gradient(x64, device):
    key = jax.random.key(2)
    state = device.reset(key, (8,))
    check_gradients(lambda r: jnp.sum(device.pulse(key, state, r)[0].g ** 2), jnp.linspace(2.0, 17.0, 8))


@pytest.mark.parametrize("name", STATISTICAL)
def test_no_nan_at_the_edges(name):
    device = STATISTICAL[name]
    key = jax.random.key(0)
    target = jnp.array([0.0, 1e-30, device.g_max, 2 * device.g_max])

    def loss(device, target):
        state = device.program(key, device.reset(key, target.shape), target)
        return jnp.sum(device.at(key, state, 1e7))

    value, gradient = jax.value_and_grad(loss, argnums=(0, 1))(device, target)
    assert jnp.isfinite(value)
    assert all(bool(jnp.isfinite(g).all()) for g in jax.tree.leaves(gradient))


# -------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: devices.pcm(0.0), "g_max must be > 0"),
        (lambda: devices.pcm(float("nan")), "g_max must be > 0"),
        (lambda: devices.hermes(3), "1 or 2 devices"),
        (lambda: devices.reram_wan(after="1 h"), "1 s, 1 d, 2 d"),
        (lambda: devices.noisy(dependence="cubic"), "independent"),
        (lambda: devices.noisy(distribution="cauchy"), "normal"),
        (lambda: cx.Faults(low=0.7, high=0.6), "sum to 1.3"),
        (lambda: cx.Faults(low=-0.1), "≥ 0"),
        (lambda: cx.Device(g_max=10.0, g_min=20.0), "below g_max"),
        (lambda: MeltQuench(spread=-1.0), "spread must be"),
        (lambda: SetPulses(max_pulses=0), "whole number"),
    ],
)
def test_bad_numbers_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_replace_reaches_into_what_it_replaces():
    tile = cx.replace(cx.Tile(), adc=cx.ADC(range=5.0), **{"adc.bits": 6})
    assert (tile.adc.range, tile.adc.bits) == (5.0, 6)


def test_flicker_noise_of_a_slow_read_is_not_nan():
    noise = devices.FlickerNoise(devices.Constant(0.01), t_0=1e-7, t_read=250e-9)
    assert float(noise.growth(0.0)) == 0.0


def test_unknown_fields_are_named():
    with pytest.raises(TypeError, match="it has g_max, programming"):
        cx.replace(devices.pcm(), gmax=3.0)
    with pytest.raises(TypeError, match="is None"):
        cx.replace(devices.ideal(), **{"drift.t_0": 3.0})


# ----------------------------------------------------------------------------- no recompilation


def test_changing_a_number_does_not_recompile():
    traces = []

    @jax.jit
    def f(device):
        traces.append(1)
        return device.programming.deviation(jnp.ones(3), device.g_max)

    for g_max in (25, 26.0, np.float32(27), np.float64(28)):
        f(devices.pcm(g_max))
    assert len(traces) == 1


def test_a_number_can_be_swept():
    stacked = jax.tree.map(
        lambda *a: jnp.stack([jnp.asarray(v) for v in a]), *[devices.pcm(g) for g in (20.0, 25.0, 30.0)]
    )
    sigma = jax.vmap(lambda d: d.programming.deviation(d.g_max * 0.5, d.g_max))(stacked)
    np.testing.assert_allclose(sigma, np.array([20, 25, 30]) / 25 * float(sigma[1]), rtol=1e-5)
