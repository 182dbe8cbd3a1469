"""Wires against independent solutions (sparse LU and ngspice, tests/data/wires), physics and gradients."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from kirchhoff import ENDS, close, nodal, random_array

from crossjax._pytree import replace
from crossjax.circuits import star
from crossjax.circuits.wires import (
    CubicLaw,
    SinhLaw,
    Wires,
    currents,
    effective_conductance,
    first_order_conductance,
    rasch_drop,
    solve,
)
from crossjax.interop.spice import netlist

pytestmark = pytest.mark.slow


DATA = Path(__file__).parent / "data" / "wires"


def reference(name):
    with np.load(DATA / f"{name}.npz") as d:
        return {k: d[k] for k in d.files}


# ------------------------------------------------------------------------------ references


@pytest.mark.parametrize("name", ["geff_N16_R5", "geff_N64_R1"])
def test_effective_conductance_matches_sparse_lu(x64, name):
    d = reference(name)
    close(1e-6 * effective_conductance(1e6 * d["G"], float(d["R"]), float(d["R"])), d["G_eff"], 1e-9)


@pytest.mark.parametrize("name", ["xbar_N16_R1", "xbar_N16_R5"])
@pytest.mark.parametrize("method", ["map", "iterative"])
def test_currents_match_sparse_lu(x64, name, method):
    d = reference(name)
    ours = currents(1e6 * d["G"], d["V"].T, float(d["R_wl"]), float(d["R_bl"]), method=method)
    close(1e-6 * ours, d["I_out"].T, 1e-9)


def test_currents_match_ngspice(x64):
    d, spice = reference("xbar_N16_R5"), reference("ngspice_N16_R5_b64")["I_out"]
    close(1e-6 * currents(1e6 * d["G"], d["V"].T[: spice.shape[1]], 5.0, 5.0), spice.T, 1e-9)


@pytest.mark.parametrize("name", ["gen_driver_sense_32x32", "gen_rect_48x80_asym"])
def test_general_terminals_match_sparse_lu_at_every_node(x64, name):
    d = reference(name)
    wires = (float(d["r_wl_seg"]), float(d["r_bl_seg"]))
    ends = {"r_driver": float(d["R_wl"]), "r_sense": float(d["R_bb"])}
    found = solve(1e6 * d["G"], d["V_wl"], *wires, **ends)
    for ours, wanted in (
        (1e-6 * found.currents, d["I_bb"]),
        (found.word, d["V_word_nodes"]),
        (found.bit, d["V_bit_nodes"]),
    ):
        close(ours, wanted, 1e-9)
    close(1e-6 * d["V_wl"] @ effective_conductance(1e6 * d["G"], *wires, **ends), d["I_bb"], 1e-9)


def test_nonlinear_devices_match_newton_and_ngspice(x64):
    d = reference("nonlinear_sinh_N16")
    found = solve(1e6 * d["G"], d["V"], 5.0, 5.0, law=SinhLaw(float(d["alpha"])))
    close(1e-6 * found.currents, d["I_out"], 1e-8)
    close(found.word, d["V_word_nodes"], 1e-8)
    close(found.bit, d["V_bit_nodes"], 1e-8)


@pytest.mark.parametrize("drive, sense", ENDS)
def test_every_choice_of_ends_matches_kirchhoffs_equations(x64, drive, sense):
    g, v = random_array(9, 7), np.random.default_rng(1).uniform(-0.2, 0.2, (3, 9))
    ends = {"r_driver": 300.0, "r_sense": 200.0, "drive": drive, "sense": sense}
    wanted, *_ = nodal(g, v, 50.0, 70.0, 300.0, 200.0, drive, sense)
    close(v @ effective_conductance(g, 50.0, 70.0, **ends), wanted, 1e-9)
    close(solve(g, v, 50.0, 70.0, **ends).currents, wanted, 1e-9)


def test_leaves_and_joins_make_the_same_map(x64, monkeypatch):
    """Large leaves do what joins of small ones do, derivatives too, with perfect segments among them."""
    args = [jnp.asarray(a) for a in np.random.default_rng(0).uniform(0.0, 25.0, (3, 11, 9))]
    args = [args[0].at[2, 3].set(0.0), args[1].at[:, 2].set(0.0) * 1e-3, args[2].at[4].set(0.0) * 1e-3]
    pattern = jnp.asarray(np.random.default_rng(1).normal(size=(40, 40)))

    def all_of(leaf):
        def total(args):
            maps = star.conductance_map(*args), star.block_map(*args)
            return sum(jnp.sum(m * pattern[: m.shape[0], : m.shape[1]]) for m in maps), maps

        monkeypatch.setattr(star, "LEAF", leaf)
        return jax.jit(jax.value_and_grad(total, has_aux=True))(args)

    (_, maps), slopes = all_of(16)
    (_, same), found = all_of(2)
    for ours, theirs in zip((*maps, *slopes), (*same, *found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("r", [5.0])
def test_float32_keeps_its_digits_at_256(r):
    g = random_array(256, 256)
    exact = np.asarray(jax.jit(lambda: effective_conductance(g.astype(jnp.float32), r, r))(), np.float64)
    with jax.enable_x64(True):
        wanted = np.asarray(effective_conductance(jnp.asarray(np.asarray(g, np.float64)), r, r))
    close(exact, wanted, 5e-6)


def test_ignoring_wires_is_the_error_that_is_known(x64):
    """G uniform in [1, 25] µS at 1 Ω a segment: outputs wrong by 3.6 % (N = 64) and 15 % (128)."""
    for n, wanted in ((64, 0.036), (128, 0.15)):
        g, v = random_array(n, n), np.random.default_rng(2).uniform(0, 0.2, (20, n))
        real = v @ np.asarray(effective_conductance(g, 1.0, 1.0))
        assert np.linalg.norm(v @ np.asarray(g) - real) / np.linalg.norm(real) == pytest.approx(wanted, rel=0.15)


# ---------------------------------------------------------------------------------- physics


@pytest.mark.parametrize(
    "m, n, ends", [(1, 1, ENDS[0]), (1, 9, ENDS[4]), (13, 3, ENDS[8]), (6, 7, ENDS[2]), (5, 8, ENDS[6])]
)
@given(r_word=st.floats(0, 500), r_bit=st.floats(0, 500), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_map_and_iteration_agree_and_energy_is_conserved(m, n, ends, r_word, r_bit, seed):
    with jax.enable_x64(True):
        g, v = random_array(m, n, seed, low=0.0), jnp.asarray(np.random.default_rng(seed).normal(size=(2, m)))
        where = {"drive": ends[0], "sense": ends[1]}
        found = solve(g, v, r_word, r_bit, **where)
        exact = v @ effective_conductance(g, r_word, r_bit, **where)
        np.testing.assert_allclose(exact, found.currents, rtol=1e-8, atol=1e-9)
        device = jnp.sum(g * (found.word - found.bit) ** 2, axis=(-2, -1))
        assert bool(jnp.all(found.power >= device * (1 - 1e-9) - 1e-9)), "lines dissipate what the devices do not"


def test_currents_into_all_terminals_sum_to_zero(x64):
    g, v = random_array(8, 6), np.random.default_rng(0).normal(size=8)
    found = solve(g, v, 20.0, 30.0)
    into = jnp.sum((v - found.word[:, 0]) / 20.0) * 1e6
    np.testing.assert_allclose(into, jnp.sum(found.currents), rtol=1e-9)
    leaving = found.bit[-1] / 30.0 * 1e6
    np.testing.assert_allclose(leaving, found.currents, rtol=1e-9)


def test_the_network_is_reciprocal(x64):
    """Drive and sense exchanged: the transposed, mirrored array has the transposed map."""
    g = random_array(7, 5)
    there = effective_conductance(g, 20.0, 30.0, r_driver=100.0, r_sense=50.0)
    back = effective_conductance(g.T[::-1, ::-1], 30.0, 20.0, r_driver=50.0, r_sense=100.0)
    np.testing.assert_allclose(back, there.T[::-1, ::-1], rtol=1e-10)


def test_more_resistance_means_less_current(x64):
    g, v = random_array(12, 10), jnp.ones(12)
    totals = [float(jnp.sum(v @ effective_conductance(g, r, r))) for r in (0.0, 1.0, 10.0, 100.0, 1000.0)]
    assert totals == sorted(totals, reverse=True) and totals[0] == pytest.approx(float(g.sum()), rel=1e-12)


def test_segments_of_any_resistance(x64):
    g, rng = random_array(6, 5), np.random.default_rng(3)
    r_word, r_bit, v = rng.uniform(0, 100, (6, 5)), rng.uniform(0, 100, (6, 5)), rng.normal(size=(2, 6))
    np.testing.assert_allclose(
        v @ effective_conductance(g, r_word, r_bit), solve(g, v, r_word, r_bit).currents, rtol=1e-9
    )
    same = effective_conductance(g, np.full((6, 5), 7.0), np.full((6, 5), 9.0))
    np.testing.assert_allclose(same, effective_conductance(g, 7.0, 9.0), rtol=1e-12)


def test_perfect_wires_open_rows_and_missing_devices_are_exact(x64):
    g = random_array(9, 6).at[2].set(0.0).at[:, 3].set(0.0)
    np.testing.assert_allclose(effective_conductance(g, 0.0, 0.0), g, rtol=1e-12)
    np.testing.assert_allclose(solve(g, jnp.ones(9), 0.0, 0.0).currents, g.sum(0), rtol=1e-12)
    bent = effective_conductance(g, 10.0, 10.0)
    assert float(jnp.abs(bent[2]).max()) < 1e-12 and float(jnp.abs(bent[:, 3]).max()) < 1e-12


def test_the_wires_of_a_tile_are_an_argument_of_every_function(x64):
    g, v = random_array(6, 5), np.linspace(-0.2, 0.2, 6)
    wires = Wires(3.0, 5.0, r_driver=40.0, r_sense=20.0, drive="both", sense="top")
    numbers = {"r_driver": 40.0, "r_sense": 20.0, "drive": "both", "sense": "top"}
    ways = [
        effective_conductance,
        *(partial(currents, v=v, method=m) for m in ("map", "iterative")),
        partial(solve, v=v),
    ]
    for f in (*ways, partial(netlist, v=v)):
        ours, wanted = f(g, r_word=wires), f(g, r_word=3.0, r_bit=5.0, **numbers)
        jax.tree.map(np.testing.assert_array_equal, ours, wanted)
        with pytest.raises(ValueError, match="Wires say all"):
            f(g, r_word=wires, r_bit=np.ones((6, 5)))
        with pytest.raises(ValueError, match="r_bit"):
            f(g, r_word=1.0)
    np.testing.assert_allclose(ways[0](g, wires), wires.effective(g[None])[0], rtol=1e-12)
    slope = jax.grad(lambda w: jnp.sum(effective_conductance(g, w)))(wires)
    step = 1e-4
    for name in ("r_word", "r_bit", "r_driver", "r_sense"):
        ends = [replace(wires, **{name: getattr(wires, name) + s * step}) for s in (1, -1)]
        change = np.subtract(*(float(jnp.sum(effective_conductance(g, w))) for w in ends)) / (2 * step)
        np.testing.assert_allclose(getattr(slope, name), change, rtol=1e-5)


def test_batches_are_a_vmap(x64):
    g = jnp.stack([random_array(9, 7, seed) for seed in range(3)])
    together = jax.vmap(lambda a: effective_conductance(a, 5.0, 5.0))(g)
    np.testing.assert_allclose(together, jnp.stack([effective_conductance(a, 5.0, 5.0) for a in g]), rtol=1e-12)


def test_first_order_approximation_is_of_first_order(x64):
    g = random_array(16, 16)
    exact, first = (
        jnp.linalg.norm(f(g, r, r) - g) for f, r in ((effective_conductance, 0.01), (first_order_conductance, 0.01))
    )
    assert float(exact) == pytest.approx(float(first), rel=1e-2)
    errors = [
        float(jnp.linalg.norm(first_order_conductance(g, r, r) - effective_conductance(g, r, r))) for r in (0.1, 0.2)
    ]
    assert errors[1] / errors[0] == pytest.approx(4.0, rel=0.05)


def test_rasch_polynomial_halves_the_error_of_ignoring_bit_lines(x64):
    rng = np.random.default_rng(1)
    w, x = (jnp.asarray(np.clip(rng.normal(size=s) / 3, -1, 1)) for s in ((128, 16), (20, 128)))
    pair = [effective_conductance(jnp.maximum(s * w, 0) * 25.0, 0.0, 1.0) for s in (1, -1)]
    real = x @ (pair[0] - pair[1]) / 25.0
    ignored, corrected = (float(jnp.linalg.norm(y - real)) for y in (x @ w, rasch_drop(w, x, segment=1.0, g_max=25.0)))
    assert corrected < 0.55 * ignored
    np.testing.assert_allclose(rasch_drop(w, x, segment=0.0), x @ w)


# -------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("drive, sense", [("left", "bottom"), ("both", "both"), ("right", "top")])
def test_gradients_of_the_map(x64, drive, sense):
    g = random_array(7, 6)
    r = {"word": 50.0, "bit": 30.0, "driver": 200.0, "sense": 100.0}
    pattern = jnp.asarray(np.random.default_rng(1).normal(size=(7, 6)))

    def loss(args):
        g, r = args
        e = effective_conductance(
            g, r["word"], r["bit"], r_driver=r["driver"], r_sense=r["sense"], drive=drive, sense=sense
        )
        return jnp.sum(pattern * e)

    check_gradients(loss, (g, r), rtol=1e-6, step=1e-5)


def test_gradient_is_the_adjoint_formula(x64):
    """dG_eff[i, j] / dG[k, l] = (device voltage at k, l for input i) · (the same for output j)."""
    g, i, j = random_array(6, 5), 2, 3
    ours = jax.grad(lambda g: effective_conductance(g, 40.0, 60.0)[i, j])(g)
    forward = solve(g, jnp.eye(6)[i], 40.0, 60.0)
    backward = solve(g, jnp.zeros(6), 40.0, 60.0, v_sense=-jnp.eye(5)[j])
    np.testing.assert_allclose(ours, (forward.word - forward.bit) * (backward.word - backward.bit), rtol=1e-6)


@pytest.mark.parametrize("law", [None, SinhLaw(3.0), CubicLaw(2.0)], ids=["linear", "sinh", "cubic"])
def test_gradients_of_the_solution(x64, law):
    g, v = random_array(6, 5), jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 6)))
    r = {"word": 300.0, "bit": 200.0, "driver": 500.0}

    def loss(args):
        g, v, r = args
        found = solve(g, v, r["word"], r["bit"], r_driver=r["driver"], law=law, tolerance=1e-13)
        return jnp.sum(jnp.sin(found.currents))

    check_gradients(loss, (g, v, r), rtol=1e-6, atol=1e-7, step=1e-5)


def test_gradients_of_a_device_law_and_plain_functions(x64):
    g, v = random_array(5, 4), jnp.linspace(0.2, 0.6, 5)

    def total(law):
        return jnp.sum(solve(g, v, 300.0, 200.0, law=law, tolerance=1e-13).currents)

    check_gradients(total, SinhLaw(4.0), rtol=1e-6, step=1e-5)
    np.testing.assert_allclose(total(lambda x: jnp.sinh(4.0 * x) / 4.0), total(SinhLaw(4.0)), rtol=1e-10)


@pytest.mark.parametrize("f", [effective_conductance, lambda g, a, b: solve(g, jnp.ones(g.shape[0]), a, b).currents])
def test_gradients_are_finite_without_resistance_and_without_devices(x64, f):
    g = random_array(5, 4).at[1].set(0.0).at[0, 0].set(0.0)
    for r in (0.0, 10.0):
        gradient = jax.grad(lambda g, a, b: jnp.sum(f(g, a, b)), argnums=(0, 1, 2))(g, r, r)
        assert all(bool(jnp.isfinite(x).all()) for x in gradient)
    at_zero = jax.grad(lambda r: jnp.sum(f(g, r, r)))(0.0)
    step = 1e-4
    slope = (float(jnp.sum(f(g, step, step))) - float(jnp.sum(f(g, 0.0, 0.0)))) / step
    assert float(at_zero) == pytest.approx(slope, rel=1e-3)
