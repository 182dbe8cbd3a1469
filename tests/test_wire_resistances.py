"""Resistances of every kind at every choice of ends, and broken lines, against Kirchhoff's equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from kirchhoff import ENDS, agree, close, full, nodal, random_array, resistances, terminals

from crossjax.circuits.wires import (
    CubicLaw,
    SinhLaw,
    effective_conductance,
    solve,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("drive, sense", ENDS)
def test_resistances_follow_the_devices_at_every_choice_of_ends(x64, drive, sense):
    g, v = random_array(6, 5, low=100.0, high=2500.0), np.random.default_rng(1).uniform(-0.2, 0.2, (2, 6))
    for kind in ("number", "line", "column", "segment"):
        r = resistances(kind, 6, 5)
        wanted = nodal(g, v, *full(r, 6, 5), drive, sense)
        where = terminals(r, drive, sense)
        agree(solve(g, v, r[0], r[1], **where), wanted)
        close(v @ effective_conductance(g, r[0], r[1], **where), wanted[0], 1e-9)


@pytest.mark.parametrize("drive, sense", ENDS)
def test_ends_without_numbers_of_their_own_have_the_first_columns_and_the_last_rows(x64, drive, sense):
    g = random_array(6, 5, low=100.0, high=2500.0)
    word, bit, *_ = resistances("segment", 6, 5)
    ours = effective_conductance(g, word, bit, drive=drive, sense=sense)
    same = effective_conductance(g, word, bit, **terminals((0, 0, word[:, 0], bit[-1]), drive, sense))
    np.testing.assert_allclose(ours, same, rtol=1e-12)


@pytest.mark.parametrize("drive, sense, broken", [(*e, False) for e in ENDS[::4]] + [(*ENDS[8], True)])
def test_gradients_by_every_resistance_at_every_choice_of_ends(x64, drive, sense, broken):
    r, v = resistances("segment", 3, 4), jnp.asarray([0.1, -0.2, 0.15])
    pattern = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)))
    cut = broken_segments(3, 4, 2) if broken else tuple(np.zeros_like(a, bool) for a in r)

    def loss(args):
        g, r, v = args
        r = [jnp.where(c, jnp.inf, a) for c, a in zip(cut, r, strict=True)]
        where = terminals(r, drive, sense)
        found = solve(g, v, r[0], r[1], tolerance=1e-13, **where)
        total = (
            jnp.sum(jnp.sin(found.currents / 100)) + jnp.sum(found.word * pattern) + jnp.sum(found.bit**2) + found.power
        )
        return total + jnp.sum(pattern * effective_conductance(g, r[0], r[1], **where)) / 100

    check_gradients(
        loss, (random_array(3, 4, low=100.0, high=2500.0), r, v), rtol=2e-5, atol=1e-8, step=1e-5, samples=3
    )


# ------------------------------------------------------------------------------------ broken lines


def broken_segments(m, n, seed=0, share=0.2):
    rng = np.random.default_rng(seed)
    return tuple(rng.uniform(size=s) < share for s in ((m, n), (m, n), (m,), (n,)))


def broken_resistances(m, n, seed=0, share=0.2):
    return tuple(
        np.where(c, np.inf, r)
        for c, r in zip(broken_segments(m, n, seed, share), resistances("segment", m, n, seed), strict=True)
    )


@pytest.mark.parametrize("drive, sense", ENDS[::2])
def test_broken_lines_match_kirchhoffs_equations_without_them(x64, drive, sense):
    v = np.random.default_rng(1).uniform(-0.2, 0.2, (2, 6))
    map_of = jax.jit(lambda g, a, b, c, d: effective_conductance(g, a, b, **terminals((a, b, c, d), drive, sense)))
    for seed, share in ((0, 0.1), (1, 0.3)):
        g, r = random_array(6, 5, seed, low=100.0, high=2500.0), broken_resistances(6, 5, seed, share)
        g = g.at[seed].set(0.0).at[:, seed + 1].mul(1e-3)
        wanted = nodal(g, v, *r, drive, sense)
        found = solve(g, v, r[0], r[1], **terminals(r, drive, sense))
        scale = 100.0  # µA: what one device carries
        np.testing.assert_allclose(found.currents, wanted[0], rtol=1e-8, atol=1e-9 * scale)
        np.testing.assert_allclose(found.power, wanted[3], rtol=1e-8, atol=1e-9 * scale)
        flow = g * (found.word - found.bit)
        np.testing.assert_allclose(flow, g * (wanted[1] - wanted[2]), rtol=1e-7, atol=1e-9 * scale)
        for e in (effective_conductance(g, r[0], r[1], **terminals(r, drive, sense)), map_of(g, *r)):
            np.testing.assert_allclose(v @ e, wanted[0], rtol=1e-8, atol=1e-9 * scale)


def test_a_line_driven_from_both_ends_survives_a_break_in_its_middle(x64):
    """Two arrays side by side: the left half of the cut line is driven from the left, the right half from the right."""
    g, r = random_array(1, 6), np.full((1, 6), 50.0)
    r[0, 3] = np.inf
    whole = effective_conductance(g, r, 0.0, r_driver=100.0, drive="both")
    halves = [
        effective_conductance(g[:, :3], 50.0, 0.0, r_driver=100.0),
        effective_conductance(g[:, 3:], 50.0, 0.0, r_driver=100.0, drive="right"),
    ]
    np.testing.assert_allclose(whole, jnp.concatenate(halves, axis=1), rtol=1e-10)
    assert float(jnp.abs(effective_conductance(g, r, 0.0)[0, 3:]).max()) == 0.0, (
        "driven from the left: nothing behind it"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_open_ends_carry_nothing_and_perfect_wires_stay_exact(dtype):
    with jax.enable_x64(dtype == np.float64):
        g = random_array(5, 4).astype(dtype)
        tolerance = 1e-6 if dtype == np.float32 else 1e-12
        cut = np.array([0.0, np.inf, 0.0, 0.0, 0.0])
        close(effective_conductance(g, 0.0, 0.0, r_driver=cut), np.asarray(g) * np.isfinite(cut)[:, None], tolerance)
        close(effective_conductance(g, 0.0, 0.0, r_sense=cut[:4]), np.asarray(g) * np.isfinite(cut)[:4], tolerance)
        nothing = solve(g, jnp.ones(5), np.inf, np.inf)
        assert all(bool((x == 0).all()) for x in (nothing.currents, nothing.word, nothing.bit, nothing.power))
        assert effective_conductance(g, np.inf, 1.0).dtype == dtype


@pytest.mark.thorough
@pytest.mark.parametrize("law", [SinhLaw(40.0), CubicLaw(50.0)], ids=["sinh", "cubic"])
def test_nonlinear_devices_on_broken_lines(x64, law):
    plain = {SinhLaw: (lambda x: np.sinh(40 * x) / 40, lambda x: np.cosh(40 * x)),
             CubicLaw: (lambda x: x + 50 * x**3, lambda x: 1 + 150 * x**2)}[type(law)]  # fmt: skip
    g, r, v = random_array(5, 4), broken_resistances(5, 4, 4), np.random.default_rng(0).uniform(0.1, 0.6, (2, 5))
    for drive, sense in (("left", "bottom"), ("both", "both")):
        wanted = nodal(g, v, *r, drive, sense, plain)
        found = solve(g, v, r[0], r[1], law=law, **terminals(r, drive, sense))
        np.testing.assert_allclose(found.currents, wanted[0], rtol=1e-7, atol=1e-9 * np.abs(wanted[0]).max())
        np.testing.assert_allclose(found.power, wanted[3], rtol=1e-7)

    def total(args):
        g, word, law = args
        found = solve(g, v, jnp.where(np.isinf(r[0]), jnp.inf, word), r[1], law=law, **terminals(r, "left", "bottom"))
        return jnp.sum(jnp.sin(found.currents / 100))

    check_gradients(
        jax.jit(total), (g, np.where(np.isinf(r[0]), 1.0, r[0]), law), rtol=1e-5, atol=1e-8, step=1e-5, samples=3
    )
