"""Photonic parts: levels of GST, rings, crosstalk, detectors, and arrays of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients

import crossjax as cx
from crossjax import photonic

KEY = jax.random.key(8)
TAILS = [133.5, 116.3, 101.3, 89.4, 78.7, 69.9, 62.0, 54.5, 47.2, 41.0, 35.2, 29.6, 24.3, 19.4, 14.6, 10.1]  # ns
LEVELS = [0.1622, 0.1650, 0.1742, 0.1829, 0.1922, 0.2007, 0.2093, 0.2182, 0.2277, 0.2363, 0.2451, 0.2539, 0.2628,
          0.2716, 0.2805, 0.2893]  # fmt: skip


def test_levels_of_the_published_tails():
    pulse = photonic.GSTPulse()
    np.testing.assert_allclose(pulse.written(jnp.asarray(TAILS)), LEVELS, atol=1e-3)
    assert float(pulse.film.steady(1.0)) == pytest.approx(505.5, abs=0.1)  # K per mW
    assert float(pulse.film.transmission(3.5)) == pytest.approx(0.3248, abs=1e-4)


def test_the_tail_of_a_level_writes_it_and_what_was_there_does_not_matter():
    pulse = photonic.GSTPulse(levels=None)
    goal = jnp.linspace(0.163, 0.30, 30)
    np.testing.assert_allclose(pulse.written(pulse.length(pulse.film.amorphous(goal))), goal, rtol=1e-5)
    device = photonic.gst(None)
    state = device.reset(KEY, goal.shape)
    for there in (0.28, 0.17):
        state = device.program(KEY, state, jnp.full_like(goal, there))
        np.testing.assert_allclose(
            device.program(KEY, state, jnp.clip(goal, 0.1622, 0.289)).g, jnp.clip(goal, 0.1622, 0.289), rtol=1e-5
        )


def test_sixteen_levels_are_evenly_spaced_and_energy_spreads_them():
    device = photonic.gst(16)
    goal = jnp.linspace(0.1622, 0.2893, 1000)
    found = np.unique(np.asarray(device.program(KEY, device.reset(KEY, goal.shape), goal).g).round(5))
    assert len(found) == 16
    np.testing.assert_allclose(np.diff(found), (0.2893 - 0.16215) / 15, atol=1e-4)
    noisy = photonic.gst(16, noise=0.02)
    many = jnp.full(20_000, 0.25)
    spread = float(noisy.program(KEY, noisy.reset(KEY, many.shape), many).g.std())
    assert spread == pytest.approx(float(noisy.write.deviation(jnp.asarray(0.25), 0.3)), rel=0.1)


def test_gradients_of_transmission_by_power_tail_and_film(x64):
    def total(pulse, tail=jnp.asarray([12.0, 40.0, 90.0])):
        return jnp.sum(pulse.written(tail) * jnp.asarray([1.0, -2.0, 0.5]))

    check_gradients(total, photonic.GSTPulse(levels=None), rtol=1e-5)
    check_gradients(lambda tail: total(photonic.GSTPulse(), tail), jnp.asarray([12.0, 40.0, 90.0]))
    ends = jax.grad(lambda t: jnp.sum(photonic.GSTPulse().written(t)))(jnp.asarray([200.0, 1000.0]))
    assert (np.asarray(ends) == 0).all()  # crystalline: nothing is left to recede


def test_rings_conserve_power_and_are_critical_where_loss_meets_coupling():
    phase = jnp.linspace(-3.0, 3.0, 50)
    through, drop = photonic.add_drop(1.0, 0.9, phase)
    np.testing.assert_allclose(through + drop, 1.0, rtol=1e-5)
    np.testing.assert_allclose(photonic.all_pass(1.0, 0.9, phase), 1.0, rtol=1e-5)
    assert float(photonic.all_pass(0.9, 0.9)) == 0.0
    near = (0.999 - 0.9995) ** 2 / (1 - 0.999 * 0.9995) ** 2
    assert float(photonic.all_pass(0.999, 0.9995)) == pytest.approx(near, rel=2e-3)
    crossing = photonic.Ring(coupling=0.9)
    p = jnp.linspace(0.0, 1.0, 501)
    turn = float(p[crossing.transmission(p).argmin()])
    assert not bool(crossing.monotonic) and turn == pytest.approx(float(crossing.critical), abs=2e-3)
    for r in (0.85, 0.95):
        slopes = np.sign(np.diff(np.asarray(photonic.Ring(coupling=r).transmission(p))))
        assert bool(photonic.Ring(coupling=r).monotonic) and len(set(slopes)) == 1


def test_a_ring_is_half_as_deep_at_its_bandwidth():
    ring = photonic.Ring(coupling=0.97)
    half = np.pi * float(ring.bandwidth(0.0)) / float(ring.free_spectral_range)  # phase at half the width
    depth = [1.0 - float(photonic.all_pass(ring.amplitude(0.0), 0.97, phase)) for phase in (0.0, half)]
    assert depth[1] == pytest.approx(depth[0] / 2, rel=0.01)


def test_filters_of_a_ring_lie_within_its_free_spectral_range():
    ring = photonic.Ring(radius=5.0, coupling=0.98)
    assert ring.filters(16, 0.8).channels == 16
    with pytest.raises(ValueError, match="must hold 40 channels"):
        ring.filters(40, 0.8)


def test_requests_outside_the_film_or_below_a_level():
    device = cx.Device(g_max=0.32, g_min=0.0, programming=cx.devices.ByPulses(), write=photonic.GSTPulse(levels=None))
    goal = jnp.linspace(0.0, 0.32, 9)
    found = device.program(KEY, device.reset(KEY, goal.shape), goal).g
    assert np.isfinite(found).all() and float(found.min()) >= 0.162 and float(found.max()) <= 0.316
    fine, step = photonic.gst(16), (0.2893 - 0.16215) / 15
    state = fine.program(KEY, fine.reset(KEY, (1,)), jnp.array([0.2]))
    start = state.g
    for _ in range(4):  # a quarter of a level each: they add up
        state, _ = fine.pulse(KEY, state, jnp.array([step / 4]))
    assert float((state.g - start)[0]) == pytest.approx(step, rel=0.05)


def test_an_effective_medium_is_its_phases_at_the_ends():
    c, a = 6.1 + 0.8j, 3.9 + 0.04j
    np.testing.assert_allclose(photonic.mixed_index(jnp.array([0.0, 1.0]), c, a), [a, c], rtol=1e-6)
    middle = complex(photonic.mixed_index(0.5, c, a))
    assert a.real < middle.real < c.real and a.imag < middle.imag < c.imag


def test_crosstalk_is_its_dense_matrix():
    wdm = photonic.WDM(channels=5, spacing=0.8, bandwidth=0.6, free_spectral_range=4.5)
    x_matrix = np.zeros((12, 12))
    for i in range(12):
        for k in range(12):
            if i // 5 == k // 5:
                apart = abs(i - k) * 0.8
                x_matrix[i, k] = 1.0 / (1.0 + (2.0 * min(apart, 4.5 - apart) / 0.6) ** 2)
    np.testing.assert_allclose(wdm.matrix(12), x_matrix, rtol=1e-6)
    w, x = np.random.default_rng(0).uniform(-1, 1, (12, 4)), np.random.default_rng(1).uniform(0, 1, (6, 12))
    tile = photonic.array(12, 4, levels=None, energy_noise=None, crosstalk=wdm, detector=None)
    found = cx.mvm(KEY, tile, cx.program(KEY, tile, w)[0], x)
    np.testing.assert_allclose(found, (x @ x_matrix.T) @ w, atol=2e-5)


def test_noise_of_detectors_follows_its_law():
    detector = photonic.Detector(thermal=0.02, shot=1e-3, rin=0.01)
    w, x = np.full((50, 1), 0.7), np.ones((1, 50))
    tile = photonic.array(50, 1, levels=None, energy_noise=None, crosstalk=None, detector=detector)
    chip, _ = cx.program(KEY, tile, w)
    found = jax.vmap(lambda k: cx.mvm(k, tile, chip, x)[0, 0])(jax.random.split(KEY, 8000)) / 0.7
    g = np.asarray([0.2893, 0.16215]) / (0.2893 - 0.16215) * 50  # both lines of the pair
    variance = sum(0.02**2 + 1e-3 * s + (0.01 * s) ** 2 for s in g)
    assert float(found.var()) == pytest.approx(variance, rel=0.06)
    signed = np.tile([1.0, -1.0], 25)[None]  # no net light, but all of its shot noise
    still = jax.vmap(lambda k: cx.mvm(k, tile, chip, signed)[0, 0])(jax.random.split(KEY, 8000)) / 0.7
    assert float(still.var()) == pytest.approx(sum(0.02**2 + 1e-3 * s for s in g), rel=0.06)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: photonic.WDM(channels=40), "free_spectral_range must hold 40 channels"),
        (lambda: photonic.WDM(bandwidth=0.0), "bandwidth"),
        (lambda: photonic.GSTPulse(power=-1.0), "power"),
        (lambda: photonic.GSTPulse(tail=2.0), "must not melt"),
        (lambda: photonic.GSTPulse(power=0.74), "must melt"),
        (lambda: photonic.GSTNeuron(ring=photonic.Ring(coupling=0.9)), "monotonic and on resonance"),
        (lambda: photonic.GSTPulse(levels=1), "levels"),
        (lambda: photonic.gst(highest=0.35), "main pulse reaches"),
        (lambda: photonic.Film(absorption_amorphous=0.1), "below"),
        (lambda: photonic.Ring(coupling=1.2), "coupling"),
        (lambda: photonic.Detector(shot=-1.0), "shot"),
        (lambda: cx.replace(photonic.array(), subtract="analog"), "every line on its own"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
