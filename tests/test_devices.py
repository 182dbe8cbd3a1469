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
    "reram cmo": devices.reram_cmo(),
    "reram cmo 2 %": devices.reram_cmo(acceptance=2.0),
    "sonos": devices.sonos(),
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
    low = programmed(device, jnp.full((10_000,), 0.0)).g  # half of a Gaussian of 4.33 µS
    assert float(low.min()) == 50.0 and float(low.mean()) == pytest.approx(50.0 + 4.33 / (2 * np.pi) ** 0.5, abs=0.1)


@pytest.mark.parametrize("name", STATISTICAL)
@pytest.mark.slow
def test_ends_of_the_range_have_the_gradient_of_the_inside(name):
    key, exact = jax.random.key(0), devices.ProgrammingError(devices.Constant(0.0), 1.0)
    for error in (None, exact):
        device = cx.replace(STATISTICAL[name], programming=error, drift=None, flicker=None)
        w = jnp.array([[-1.0, 0.0, 0.5, 1.0]])
        for cell in (cx.Pairs(), cx.Pairs((2.0, 1.0)), cx.Pairs((2.0, 1.0), "msp_first"), cx.SharedReference()):

            def weights(w, cell=cell, device=device):
                g = device.conductance(cell.encode(w))
                g = device.program(key, device.reset(key, g.shape), g).g
                return cell.decode(device.in_spans(g))

            np.testing.assert_allclose(jax.grad(lambda w: weights(w).sum())(w), 1.0, rtol=1e-5)


def test_a_zero_target_is_the_users_choice():
    noisy = programmed(devices.pcm(), jnp.zeros(10_000)).g
    assert 0.09 < float(noisy.mean()) < 0.12  # half of a Gaussian of 0.263 µS: 0.105
    assert float(jnp.abs(programmed(devices.pcm(reset_zero=True), jnp.zeros(10_000)).g).max()) == 0.0


@pytest.mark.parametrize("acceptance, c", {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}.items())
def test_cmo_reram_is_as_good_as_its_acceptance(acceptance, c):
    device = devices.reram_cmo(acceptance=acceptance)
    g = jnp.array([9.0, 30.0, 88.0])
    sigma = device.programming.deviation(g, device.g_max)
    np.testing.assert_allclose(sigma, c[0] + c[1] * np.asarray(g), rtol=1e-5)
    np.testing.assert_allclose(sigma / g, acceptance / 100 / 3**0.5, rtol=0.1)  # uniform within the window


def test_sonos_error_depends_on_the_current_alone():
    current = np.array([0.0, 20.0, 200.0, 1600.0])
    for i_max in (1600.0, 3200.0):
        device = devices.sonos(i_max)
        g = jnp.asarray(current / 100)
        wanted = 0.1988665 * (1 - np.exp(-current / 176.3115))
        np.testing.assert_allclose(device.programming.deviation(g, device.g_max), wanted, rtol=1e-5)
        noise = 0.1258037 * (1 - np.exp(-current / 215.36557))
        np.testing.assert_allclose(device.read_variance(g), noise**2, rtol=1e-5)
    assert float(devices.sonos().programming.deviation(jnp.array([16.0]), 16.0)[0]) == pytest.approx(0.1989, abs=1e-4)


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


@pytest.mark.parametrize("g_max", [88.19, 44.095])
def test_cmo_reram_relaxes_by_the_logarithm_of_time(g_max):
    device = cx.replace(devices.reram_cmo(), flicker=None, programming=None, g_max=g_max)
    scale = g_max / 88.19
    for x in (0.3, 0.9):
        state = programmed(device, jnp.full((100_000,), x * g_max))
        for t in (0.0, 3599.0, 3.15e8):  # from 1 s after programming on
            change = np.asarray(device.at(jax.random.key(2), state, t) - x * g_max) / scale
            sigma = 0.04201137 * np.log(t + 1) + 0.41183342
            assert abs(change.mean() + 0.08900206 * np.log(t + 1)) < 5 * sigma / 1e5**0.5
            np.testing.assert_allclose(change.std(), sigma, rtol=0.01)
            assert abs(((change - change.mean()) ** 3).mean()) / sigma**3 < 0.05  # normal, not clipped
    late = device.at(jax.random.key(5), state, 1e6)
    np.testing.assert_array_equal(late, device.at(jax.random.key(6), state, 1e6))  # drawn once


@pytest.mark.parametrize("g", [10.0, 40.0, 85.0])
def test_cmo_read_noise_is_the_published_one(g):
    device = cx.replace(devices.reram_cmo(), drift=None, programming=None)
    state = programmed(device, jnp.full((100_000,), g))
    for t in (0.0, 3600.0):
        sigma = 0.0277316483 * np.log10(g) * np.sqrt(np.log((t + 1 + 1e-6) / 2e-6))
        np.testing.assert_allclose(float(device.at(jax.random.key(2), state, t).std()), sigma, rtol=0.01)


def test_relaxation_does_not_end_below_zero(x64):
    law = devices.LogRelaxation(-1.0, (0.5, 0.5), g_ref=25.0)
    g = law.apply(jnp.array([0.0, 1.0, 24.0]), jnp.array([-1.0, 0.0, 1.0]), law.logarithm(1e3), 25.0)
    assert float(g[0]) == float(g[1]) == 0.0 < float(g[2])
    xi = jnp.array([0.3, -0.4])
    check_gradients(lambda a: jnp.sum(jnp.sin(a[0].apply(a[1], xi, a[2], 20.0))), (law, jnp.array([9.0, 15.0]), 3.9))


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
        device.at(key, state, 1e6),
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
        (lambda: devices.reram_cmo(acceptance=1.0), "0.2 or 2 %"),
        (lambda: devices.sonos(5000.0), "3200 nA"),
        (lambda: devices.sonos(float("nan")), "3200 nA"),
        (lambda: devices.LogRelaxation(-0.1, (0.4, 0.04), 88.0, t_0=0.5), "t_0 must be ≥ 1"),
        (lambda: devices.LogRelaxation(-0.1, (-0.4, 0.04), 88.0), "spread must be"),
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
