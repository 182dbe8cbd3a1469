"""Pulsed devices: trajectories, distributions, jump tables, and what devices do on their own."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossjax import pulsed, replace
from crossjax.pulsed import named

KEY = jax.random.key(0)
SPREADS = ("step_spread", "asymmetry_spread", "low_spread", "high_spread", "noise", "write_noise", "lifetime",
           "reset_noise", "reference_spread", "faults", "diffusion")  # fmt: skip


def clean(device):
    """A device without anything random."""
    quiet = replace(device, **dict.fromkeys(SPREADS))
    return replace(quiet, **{"law.spread": None}) if hasattr(device.law, "spread") else quiet


def after(device, begin, counts):
    """Where a device is after so many pulses in all."""
    state = device.put(KEY, device.draw(KEY, (1,)), jnp.full(1, begin))
    found, last = [], 0
    for count in counts:
        state, last = device.pulse(KEY, state, jnp.full(1, count - last)), count
        found.append(float(state.x[0]))
    return found


PULSES = (1, 10, 100, 300, 1000)
UP = {
    "reram_es": (-0.9971, -0.9710, -0.7478, -0.3697, 0.6556),
    "reram_sb": (-0.7468, -0.7182, -0.4541, 0.0129, 0.8467),
    "ecram": (-0.8254, -0.8060, -0.6134, -0.1975, 1.1359),
    "capacitor": (-0.9948, -0.9476, -0.4814, 0.5176, 1.0),
}
DOWN = {"reram_es": (0.9869, 0.8843, 0.3774, -0.1009, -0.9981), "ecram": (1.1690, 1.1382, 0.8484, 0.3086, -0.8088)}


@pytest.mark.parametrize("name", UP)
def test_trajectories_of_known_devices(name):
    device = clean(pulsed.get(name))
    assert after(device, device.low, PULSES) == pytest.approx(UP[name], abs=6e-5)
    if name in DOWN:
        assert after(device, device.high, [-n for n in PULSES]) == pytest.approx(DOWN[name], abs=6e-5)


def test_pcm_under_set_pulses_and_reset_by_one_down():
    device = replace(clean(pulsed.get("pcm")), reset=0.0)
    wanted = (0.2823, 0.4268, 0.6817, 0.9244, 1.2174, 1.7297)
    assert after(device, 0.0, (1, 2, 5, 10, 20, 50)) == pytest.approx(wanted, abs=2e-4)
    assert after(device, 2.0, (-1,)) == [0.0]


def test_soft_bounds_follow_their_closed_form():
    device = pulsed.Pulsed(pulsed.soft_bounds(), step=0.01, low=-0.8, high=1.2)
    n = np.array([1, 7, 40])
    wanted = 1.2 - (1.2 + 0.3) * (1 - 0.01 / 1.2) ** n
    assert after(device, -0.3, n) == pytest.approx(wanted, rel=1e-5)


def test_neurosim_steps_are_its_closed_form_and_labels_its_curvatures():
    a = {1.0: 1.25165, 2.4: 0.49918, 4.88: 0.20030, 5.0: 0.19241, 9.0: 0.02281}
    for label, curvature in a.items():
        assert pulsed.neurosim_curvature(label) == pytest.approx(curvature, rel=2e-3)
    law = pulsed.SaturatingStep(100.0, 0.5, 0.2)
    device = pulsed.Pulsed(law, step=0.01, low=0.0, high=1.0)
    p = np.array([1, 20, 60, 100])
    assert after(device, 0.0, p) == pytest.approx(-np.expm1(-p / 50) / -np.expm1(-2), rel=1e-4)
    assert after(device, 1.0, -p) == pytest.approx(1 + np.expm1(-p / 20) / -np.expm1(-5), abs=1e-4)
    with pytest.raises(ValueError, match="0 to 9"):
        pulsed.neurosim_curvature(0)


def test_asymmetry_only_weakens_one_direction():
    for u, up, down in ((0.3, 1.0, 0.7), (-0.3, 0.7, 1.0)):
        state = pulsed.Pulsed(step=0.01, asymmetry=u).draw(KEY, (3,))
        np.testing.assert_allclose(state.up, 0.01 * up, rtol=1e-6)
        np.testing.assert_allclose(state.down, 0.01 * down, rtol=1e-6)


def test_a_piecewise_step_and_a_power_at_their_ends():
    law = pulsed.PiecewiseStep((1.0, 3.0, 0.0), (0.5, 0.5))
    x, ends = jnp.array([-1.0, -0.5, 0.0, 0.5, 1.0]), (None, -1.0, 1.0)
    np.testing.assert_allclose(law.up(KEY, x, *ends), [1, 2, 3, 1.5, 0], atol=1e-6)
    np.testing.assert_allclose(law.down(KEY, x, *ends), 0.5)
    power = pulsed.PowStep(0.5, 2.0)
    np.testing.assert_allclose(power.up(KEY, x, *ends), np.sqrt((1 - x) / 2), atol=1e-6)
    assert np.isfinite(jax.grad(lambda x: power.up(KEY, x, *ends).sum())(x)).all()


def test_a_steep_jump_is_crossed_in_few_pulses_at_once_or_later():
    plain = pulsed.Pulsed(pulsed.JumpingStep(), step=0.01, low=0.0)
    at_once = replace(plain, law=pulsed.JumpingStep(jump=0.3, steepness=10.0))
    later = replace(plain, law=pulsed.JumpingStep(jump=0.3, steepness=10.0, delay=0.2))
    assert after(plain, 0.0, (20,)) == pytest.approx([0.2], abs=1e-6)
    assert after(at_once, 0.0, (4,))[0] > 0.3
    assert after(later, 0.0, (15,))[0] < 0.2
    assert after(later, 0.2, (5,))[0] > 0.45


# ------------------------------------------------------------------------------------------------ randomness


def test_spreads_between_devices_and_noise_of_pulses():
    device = pulsed.Pulsed(
        step=0.01, step_spread=0.2, high_spread=0.1, low_spread=0.05, asymmetry_spread=0.03, noise=0.5
    )
    state = device.draw(KEY, (40_000,))
    assert float(state.high.std()) == pytest.approx(0.1, rel=0.02)
    assert float(state.low.std()) == pytest.approx(0.05, rel=0.02)
    assert float((state.up + state.down).std() / 2) == pytest.approx(0.002, rel=0.02)
    assert float((state.up - state.down).std() / 2) == pytest.approx(0.0003, rel=0.02)
    same = replace(device, step_spread=None, asymmetry_spread=None)
    moved = same.pulse(KEY, same.draw(KEY, (40_000,)), jnp.full(40_000, 9)).x
    assert float(moved.mean()) == pytest.approx(0.09, rel=0.01)
    assert float(moved.std()) == pytest.approx(0.01 * 0.5 * 3, rel=0.02)


def test_noise_of_each_pulse_is_its_own_where_steps_depend_on_the_place():
    device = pulsed.Pulsed(pulsed.LinearStep(0.0, 0.0), step=0.01, noise=0.5)
    moved = device.pulse(KEY, device.draw(KEY, (40_000,)), jnp.full(40_000, 9)).x
    assert float(moved.std()) == pytest.approx(0.01 * 0.5 * 3, rel=0.02)


def test_write_noise_is_redrawn_only_by_a_pulse():
    device = pulsed.Pulsed(step=0.01, write_noise=2.0)
    state = device.draw(KEY, (20_000,))
    hit = jnp.arange(20_000) % 2
    then = device.pulse(jax.random.key(1), state, hit)
    old, new = np.asarray(device.value(state)), np.asarray(device.value(then))
    assert np.array_equal(old[::2], new[::2])
    assert (new[1::2] - 0.01).std() == pytest.approx(0.02, rel=0.03)


def test_leak_diffusion_and_stuck_devices():
    leak = pulsed.Pulsed(lifetime=8.0)
    state = leak.put(KEY, leak.draw(KEY, (5,)), jnp.linspace(-0.8, 0.8, 5))
    np.testing.assert_array_equal(leak.rest(KEY, state).x, state.x * (1 - 1 / 8))
    walk = pulsed.Pulsed(diffusion=0.1)
    assert float(walk.rest(KEY, walk.draw(KEY, (100, 122))).x.std()) == pytest.approx(0.1, rel=0.1)
    bad = pulsed.Pulsed(step=0.01, faults=0.3)
    state = bad.draw(KEY, (20_000,))
    moved = np.asarray(bad.pulse(KEY, state, jnp.full(20_000, 3)).x != state.x)
    assert 1 - moved.mean() == pytest.approx(0.3, abs=0.01)


def test_a_reference_at_the_symmetry_point_is_where_up_and_down_cancel():
    device = replace(pulsed.get("reram_om"), reference_spread=None, write_noise=None, noise=None)
    state = device.draw(KEY, (2000,))
    at = replace(state, x=state.reference)
    both = device.pulse(KEY, device.pulse(KEY, at, jnp.ones(2000, int)), -jnp.ones(2000, int))
    inside = np.asarray((state.reference < state.high * 0.8) & (state.reference > state.low * 0.8))
    miss = np.abs(np.asarray(both.x - at.x))[inside]
    assert np.median(miss / np.asarray(state.up)[inside]) < 0.15  # second order in the step


@given(st.integers(-40, 40), st.floats(-1.0, 1.0), st.sampled_from(sorted(named.PULSED)))
@settings(max_examples=20, deadline=None)
def test_devices_stay_within_their_bounds(n, begin, name):
    device = pulsed.get(name)
    state = device.put(KEY, device.draw(KEY, (16,), count=True), jnp.full(16, begin))
    then = device.pulse(KEY, state, jnp.full(16, n))
    assert np.all((then.x >= then.low) & (then.x <= then.high))
    assert np.all(np.asarray(then.pulses) == abs(n))


def test_pulses_under_vmap_and_jit_are_those_of_a_loop():
    device = pulsed.get("reram_es")
    states = jax.vmap(lambda k: device.draw(k, (6, 5)))(jax.random.split(KEY, 3))
    n = jax.random.randint(KEY, (3, 6, 5), -3, 4)
    keys = jax.random.split(jax.random.key(2), 3)
    together = jax.jit(jax.vmap(device.pulse))(keys, states, n)
    for k in range(3):
        one = device.pulse(keys[k], jax.tree.map(lambda a, k=k: a[k], states), n[k])
        np.testing.assert_allclose(together.x[k], one.x, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(named.PULSED)))
def test_gradients_of_mean_steps_match_finite_differences(name):
    with jax.enable_x64(True):
        device = pulsed.get(name)
        state = device.draw(KEY, (8,))
        state = replace(state, x=0.4 * state.low + 0.6 * state.high * 0.7)

        def moved(step, x):
            scaled = replace(state, x=x, up=state.up * step, down=state.down * step)
            n = jnp.array([2.5, -1.0, 0.3, -0.7, 1.0, 0.0, 0.2, -3.0])
            return jnp.sum(jnp.sin(device.drive(scaled, n).x * 3.0))

        for which in (0, 1):
            args = [jnp.float64(0.7), jnp.asarray(state.x, jnp.float64)]
            slope = jax.grad(moved, which)(*args)
            bump = jnp.ones_like(args[which])
            e = 1e-6
            up, down = ([a + s * e * bump if k == which else a for k, a in enumerate(args)] for s in (1, -1))
            wanted = (moved(*up) - moved(*down)) / (2 * e)
            assert float(jnp.sum(slope * bump)) == pytest.approx(float(wanted), rel=1e-5, abs=1e-8)


# ----------------------------------------------------------------------------------------------- jump tables


def gaussian_table(**changes):
    """A table whose jumps are Gaussian with known moments at every conductance."""
    from scipy.stats import norm

    g, axis = np.linspace(5, 30, 26), np.linspace(-30, 30, 241)
    mean, sd = 4 - 0.15 * (g - 5), 1 + 0.05 * (g - 5)
    up = norm.cdf(axis[None], mean[:, None], sd[:, None])
    down = norm.cdf(axis[None], -mean[::-1, None], sd[::-1, None])
    given = {"conductances": g, "jumps": axis, "set_cdf": up, "reset_cdf": down} | changes
    return given, g, mean, sd


def test_a_jump_table_has_its_distribution_at_every_decile():
    given, g, mean, sd = gaussian_table()
    table = pulsed.from_cdf(**given)
    for place in np.linspace(0, 1, 11):
        at = jnp.full(20_000, place)
        for draw, m, s in ((table.up, mean, sd), (table.down, mean[::-1], sd[::-1])):
            jumps = np.asarray(draw(KEY, at, None, 0.0, 1.0)) * table.mean * table.span
            wanted_sd = np.interp(place, np.linspace(0, 1, len(g)), s)
            assert abs(jumps.mean() - np.interp(place, np.linspace(0, 1, len(g)), m)) < 0.05 * wanted_sd
            assert jumps.std() == pytest.approx(wanted_sd, rel=0.05)


def test_the_device_of_a_table_moves_by_its_jumps():
    given, g, mean, sd = gaussian_table()
    table = pulsed.from_cdf(**given)
    device = pulsed.from_table(table)
    state = device.put(KEY, device.draw(KEY, (20_000,)), jnp.full(20_000, 0.5))
    jumps = np.asarray(device.pulse(KEY, state, jnp.ones(20_000, int)).x - 0.5) * table.span
    assert jumps.mean() == pytest.approx(np.interp(17.5, g, mean), rel=0.02)
    assert jumps.std() == pytest.approx(np.interp(17.5, g, sd), rel=0.05)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"conductances": np.linspace(30, 5, 26)}, "ascend"),
        ({"conductances": np.geomspace(5, 30, 26)}, "evenly spaced"),
        ({"jumps": np.linspace(-30, 30, 100)}, "must be \\(conductances, jumps\\)"),
        ({"set_cdf": np.full((26, 241), np.nan)}, "gaps"),
        ({"set_cdf": np.linspace(0, 1.5, 241)[None].repeat(26, 0)}, "probabilities"),
        ({"reset_cdf": np.linspace(1, 0, 241)[None].repeat(26, 0)}, "fall"),
        ({"set_cdf": np.linspace(0, 0.9, 241)[None].repeat(26, 0)}, "incomplete"),
        ({"incomplete": "ignore"}, "incomplete must be"),
    ],
)
def test_bad_tables_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        pulsed.from_cdf(**gaussian_table(**changes)[0])


def test_an_incomplete_table_is_renormalised_on_request():
    given, *_ = gaussian_table()
    short = given | {"set_cdf": given["set_cdf"] * 0.95}
    whole = pulsed.from_cdf(**given)
    mended = pulsed.from_cdf(**short, incomplete="renormalise")
    np.testing.assert_allclose(whole.up_quantiles * whole.mean, mended.up_quantiles * mended.mean, atol=1e-4)


def test_a_table_from_ramps_repeats_their_steps():
    rng = np.random.default_rng(0)
    ups = [np.cumsum(rng.normal(1.0, 0.3, 60)) for _ in range(40)]
    downs = [60 - np.cumsum(rng.normal(1.0, 0.3, 60)) for _ in range(40)]
    table = pulsed.from_ramps([np.append(r, [np.nan] * 3) for r in ups], downs)
    steps = np.asarray(table.up(KEY, jnp.full(20_000, 0.5), None, 0.0, 1.0)) * table.mean * table.span
    assert steps.mean() == pytest.approx(1.0, abs=0.03)
    assert steps.std() == pytest.approx(0.3, rel=0.05)
    with pytest.raises(ValueError, match="places"):
        pulsed.from_ramps([ups[0][:5]], [downs[0][:5]])


def test_a_table_file_of_another_kind_or_voltage(tmp_path: Path):
    given, g, *_ = gaussian_table()
    parts = {f"1V_{way}_{n}": a for way, cdf in (("set", given["set_cdf"]), ("reset", given["reset_cdf"]))
             for n, a in (("G", g / 1e6), ("dG", given["jumps"] / 1e6), ("cdf", cdf))}  # fmt: skip
    np.savez(tmp_path / "t.npz", **parts)
    table = pulsed.load_table(tmp_path / "t.npz", "1V")
    assert table.start == pytest.approx(5.0)
    with pytest.raises(ValueError, match="it has 1V"):
        pulsed.load_table(tmp_path / "t.npz", "2V")
    (tmp_path / "no.npz").write_text("no archive")
    with pytest.raises(ValueError, match="not a NumPy archive"):
        pulsed.load_table(tmp_path / "no.npz")


@pytest.mark.parametrize(
    "bad",
    [{"asymmetry": 1.5}, {"step": 0.0}, {"step": -0.1}, {"low": 1.0, "high": 0.5}, {"faults": 1.2}, {"lifetime": 0.5},
     {"noise": -1.0}, {"law": "linear"}],
)  # fmt: skip
def test_bad_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="Pulsed"):
        pulsed.Pulsed(**bad)


def test_unknown_names():
    with pytest.raises(ValueError, match="did you mean 'reram_om'"):
        pulsed.get("reram_gone")
