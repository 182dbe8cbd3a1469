"""Wires against independent solutions (sparse LU and ngspice, tests/data/wires), physics, gradients and bad input."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st

import crossjax as cx
from crossjax.circuits import star
from crossjax.circuits.lines import DRIVES, SENSES
from crossjax.circuits.wires import (
    CubicLaw,
    NotConvergedError,
    SinhLaw,
    currents,
    effective_conductance,
    first_order_conductance,
    rasch_drop,
    solve,
)

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent / "data" / "wires"
ENDS = [(d, s) for d in DRIVES for s in SENSES]


def reference(name):
    with np.load(DATA / f"{name}.npz") as d:
        return {k: d[k] for k in d.files}


def close(ours, wanted, tolerance):
    assert np.abs(np.asarray(ours) - wanted).max() <= tolerance * np.abs(wanted).max()


def random_array(m, n, seed=0, low=1.0, high=25.0):
    return jnp.asarray(np.random.default_rng(seed).uniform(low, high, (m, n)))


def nodal(g, v, r_word, r_bit, r_driver, r_sense, drive="left", sense="bottom", law=None):
    """Kirchhoff's equations of every node, solved densely, for devices I = g f(v). Written to be obvious.

    Resistances in the array's own geography: r_word[i, j] between columns j − 1 and j, r_bit[i, j] between rows i and
    i + 1; infinite ones are left out. Returns currents (vectors, N) in µA, word and bit voltages, power in µW.
    """
    g = np.asarray(g, np.float64)
    (m, n), v = g.shape, np.asarray(v, np.float64)
    r_word, r_bit = (np.broadcast_to(r, (m, n)) for r in (r_word, r_bit))
    r_driver, r_sense = np.broadcast_to(r_driver, m), np.broadcast_to(r_sense, n)
    lines, source = np.zeros((2 * m * n, 2 * m * n)), np.zeros((2 * m * n, len(v)))
    word, bit = np.arange(m * n).reshape(m, n), m * n + np.arange(m * n).reshape(m, n)

    def connect(matrix, a, b, conductance):
        for p, q in ((a, b), (b, a)):
            matrix[p, p] += conductance
            matrix[p, q] -= conductance

    for i in range(m):
        for j in range(n):
            if j:
                connect(lines, word[i, j - 1], word[i, j], 1e6 / r_word[i, j])
            if i:
                connect(lines, bit[i - 1, j], bit[i, j], 1e6 / r_bit[i - 1, j])
    for end in [0] * (drive != "right") + [n - 1] * (drive != "left"):
        for i in range(m):
            lines[word[i, end], word[i, end]] += 1e6 / r_driver[i]
            source[word[i, end]] += 1e6 * v[:, i] / r_driver[i]
    for end in [m - 1] * (sense != "top") + [0] * (sense != "bottom"):
        for j in range(n):
            lines[bit[end, j], bit[end, j]] += 1e6 / r_sense[j]

    def solve_linear(matrix, right):  # least squares: islands float
        return np.linalg.lstsq(matrix, right, rcond=1e-15)[0]

    f, slope = law or (lambda x: x, lambda x: np.ones_like(x))
    voltage = np.zeros((2 * m * n, len(v)))
    for k in range(len(v)):
        u = voltage[:, k]

        def miss(u, k=k):
            current = g * f(u[word] - u[bit])
            left = lines @ u - source[:, k]
            left[word] += current
            left[bit] -= current
            return left

        for _ in range(500):
            matrix, local = lines.copy(), g * slope(u[word] - u[bit])
            for i in range(m):
                for j in range(n):
                    connect(matrix, word[i, j], bit[i, j], local[i, j])
            step, t = solve_linear(matrix, -miss(u)), 1.0
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # downhill in a convex potential: its slope along the step
                while not miss(u + t * step) @ step <= 1e-9 * abs(miss(u) @ step):
                    t *= 0.7
            u = u + t * step
            if np.abs(t * step).max() < 1e-15 * np.abs(v).max() or law is None:
                break
        voltage[:, k] = u
    word, bit = (np.moveaxis(voltage[at], -1, 0) for at in (word, bit))
    current = g * f(word - bit)
    return current.sum(1), word, bit, np.sum(v * current.sum(2), axis=1)


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


# ------------------------------------------------------------------------------- resistances of every kind


def resistances(kind, m, n, seed=0):
    """r_word, r_bit, r_driver and r_sense: numbers, one per line, or one per segment."""
    rng = np.random.default_rng(seed)
    if kind == "number":
        return 100.0, 150.0, 300.0, 200.0
    word, bit = {"line": ((m,), (n,)), "column": ((1, n), (m, 1)), "segment": ((m, n), (m, n))}[kind]
    return tuple(rng.uniform(50, 500, s) for s in (word, bit, (m,), (n,)))


def full(r, m, n):
    """The same, one per segment."""
    word, bit, driver, sense = (np.asarray(a) for a in r)
    return (word[:, None] if word.ndim == 1 else word), bit, driver, sense


def terminals(r, drive, sense):
    return {"r_driver": r[2], "r_sense": r[3], "drive": drive, "sense": sense}


def agree(found, wanted, tolerance=1e-9):
    for ours, theirs in zip((found.currents, found.word, found.bit, found.power), wanted, strict=True):
        close(ours, theirs, tolerance)


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


# ----------------------------------------------------------------------------- strong nonlinearities


def test_a_steep_law_in_float32_matches_a_damped_newton_in_float64():
    rng = np.random.default_rng(0)
    g, v = rng.uniform(1, 25, (8, 8)).astype(np.float32), rng.uniform(0.3, 1, 8).astype(np.float32)
    found = solve(g, v, 5.0, 5.0, law=SinhLaw(40.0))
    assert found.currents.dtype == np.float32 and float(found.currents[0]) == pytest.approx(55251.0017, rel=1e-6)
    law = (lambda x: np.sinh(40 * x) / 40, lambda x: np.cosh(40 * x))
    agree(jax.tree.map(lambda x: x[None], found), nodal(g, v[None], 5.0, 5.0, 5.0, 5.0, law=law), 1e-6)
    under = jax.jit(jax.vmap(lambda g, v: solve(g, v, 5.0, 5.0, law=SinhLaw(40.0)).currents))
    np.testing.assert_allclose(under(np.stack([g, g / 2]), np.stack([v, v]))[0], found.currents, rtol=1e-6)


@pytest.mark.parametrize("m, n", [(6, 5), (20, 12)])
def test_laws_of_every_steepness_satisfy_kirchhoffs_equations(x64, m, n):
    """Device currents of the node voltages, dropped along the lines, give these node voltages."""
    rng = np.random.default_rng(3)
    for law in (*map(SinhLaw, (1.0, 10.0, 40.0, 100.0)), *map(CubicLaw, (1.0, 1e3, 1e6))):
        for r in (0.0, 0.5, 5.0, 500.0):
            for v in (rng.uniform(0.3, 1.5, m), rng.uniform(-1.5, 1.5, m)):
                g = 10 ** rng.uniform(-2, 2, (m, n))
                found = solve(g, v, r, r, law=law)
                current = g * np.asarray(law(found.word - found.bit)) * 1e-6 * r
                drop = np.cumsum(np.cumsum(current[:, ::-1], 1)[:, ::-1], 1)
                rise = np.cumsum(np.cumsum(current, 0)[::-1], 0)[::-1]
                np.testing.assert_allclose(found.word, np.broadcast_to(v[:, None], (m, n)) - drop, atol=1e-7)
                np.testing.assert_allclose(found.bit, rise, atol=1e-7)


def test_a_law_that_has_no_solution_or_no_float_is_named():
    g, v = random_array(6, 5), np.ones(6)
    with pytest.raises(NotConvergedError, match=r"law is too nonlinear .* finite, smooth and increasing"):
        solve(g, v, 500.0, 500.0, law=lambda x: jnp.sin(300.0 * x), max_newton=5)
    with pytest.raises(OverflowError, match="float32 holds"):
        solve(g, v, 0.0, 0.0, law=SinhLaw(120.0))
    under = jax.jit(lambda g: solve(g, v, 0.0, 0.0, law=SinhLaw(120.0)).currents)(g)
    assert bool(jnp.isnan(under).all()), "never silently wrong"
    held = solve(g, v, 5.0, 5.0, law=SinhLaw(120.0)).currents
    assert bool(jnp.isfinite(held).all()), "lines hold the currents back"


@pytest.mark.thorough
def test_a_sinh_law_goes_over_into_a_linear_device(x64):
    g, v = random_array(5, 4), jnp.linspace(0.1, 0.4, 5)

    def total(alpha):
        return jnp.sum(solve(g, v, 300.0, 200.0, law=SinhLaw(alpha), tolerance=1e-13).currents)

    linear = float(jnp.sum(solve(g, v, 300.0, 200.0).currents))
    assert float(total(0.0)) == pytest.approx(linear, rel=1e-12)
    alphas = jnp.asarray([-2.0, -1e-3, 0.0, 1e-12, 1e-3, 2.0])
    value, slope = jax.vmap(jax.value_and_grad(total))(alphas)
    np.testing.assert_allclose(value[::-1][:1], value[:1], rtol=1e-12)
    step = 1e-4
    np.testing.assert_allclose(
        slope, [(total(a + step) - total(a - step)) / (2 * step) for a in alphas], rtol=1e-5, atol=1e-7
    )
    for x in (0.0, 1e-8, 0.3, 0.999, 1.001, 5.0):
        for alpha in (1e-6, 0.5, 1.0, 3.0):
            wanted = np.sinh(alpha * x) / alpha
            assert float(SinhLaw(alpha)(x)) == pytest.approx(wanted, rel=1e-13)
    curve = jax.vmap(jax.grad(jax.grad(lambda a: SinhLaw(a)(0.7))))(jnp.asarray([-1e-3, 0.0, 1e-3]))
    np.testing.assert_allclose(curve, 0.7**3 / 3, rtol=1e-5)


# ----------------------------------------------------------------------------- numbers at the edge


@pytest.mark.parametrize("where", ["r_word", "r_bit", "r_driver", "r_sense"])
def test_float32_is_right_or_left_at_absurd_ratios(where):
    g = random_array(8, 8).astype(jnp.float32)
    shape = {"r_driver": (8,), "r_sense": (8,)}.get(where, (8, 8))
    for exponent in (2, 5, 8, 20):
        r = np.full(shape, 1.0)
        r[3] = 10.0**exponent
        arguments = {"r_word": 1.0, "r_bit": 1.0, where: r}
        ours = effective_conductance(g, **arguments)
        with jax.enable_x64(True):
            wanted = nodal(g, np.eye(8), **full_of(arguments))[0]
        close(ours, wanted, 2e-6)
        close(solve(g, jnp.eye(8), **arguments).currents, wanted, 1e-5)


def full_of(arguments):
    ends = {"r_driver": 1.0, "r_sense": 1.0}
    for name, end, at in (("r_word", "r_driver", np.s_[:, 0]), ("r_bit", "r_sense", np.s_[-1])):
        if np.ndim(arguments[name]):
            ends[end] = arguments[name][at]
    return ends | arguments


@pytest.mark.thorough
def test_what_cannot_be_solved_under_jit_is_nan():
    g, v = random_array(6, 5).astype(jnp.float32), jnp.ones(6)
    for f in (effective_conductance, lambda g, a, b: solve(g, v, a, b).currents,
              lambda g, a, b: solve(g, v, a, b, law=SinhLaw(2.0)).currents):  # fmt: skip
        run = jax.jit(f)
        whole = run(g, 1.0, 1.0)
        assert bool(jnp.isfinite(whole).all())
        for bad in (jnp.nan, jnp.inf, -1.0, 1e12):
            assert bool(jnp.isnan(run(g, bad, 1.0)).all()) and bool(jnp.isnan(run(g, 1.0, bad)).all()), bad
        for bad in (jnp.nan, -1.0):
            assert bool(jnp.isnan(run(g.at[2, 3].set(bad), 1.0, 1.0)).all()), bad
            assert bool(jnp.isnan(run(g, jnp.ones((6, 5)).at[1, 2].set(bad), 1.0)).all()), bad
        np.testing.assert_allclose(run(g, jnp.ones((6, 5)), 1.0), whole, rtol=1e-5)


def test_conductances_in_siemens_are_questioned():
    si = np.random.default_rng(0).uniform(1e-6, 1e-4, (4, 5))
    for call in (
        lambda g: effective_conductance(g, 1.0, 1.0), lambda g: solve(g, np.ones(4), 1.0, 1.0),
        lambda g: first_order_conductance(g, 1.0, 1.0), lambda g: currents(g, np.ones((99, 4)), 1.0, 1.0),
    ):  # fmt: skip
        with pytest.warns(UserWarning, match="in siemens"):
            call(si)
        call(1e6 * si), call(np.zeros((4, 5))), call(np.eye(4, 5) * 2e-3)  # warnings are errors here


# ----------------------------------------------------------------------------------- tiles


def wired(pairs="separate", r=20.0, n=32, gradient="exact"):
    return cx.Tile(n, n, device=cx.devices.ideal(), wires=cx.Wires(r, r, pairs=pairs, gradient=gradient))


def test_a_tile_without_resistance_is_the_tile_without_wires(x64, key):
    w, x = jax.random.normal(key, (40, 20)), jax.random.normal(jax.random.key(1), (3, 40))
    for pairs in ("separate", "interleaved"):
        tile = wired(pairs, r=0.0, n=16)
        np.testing.assert_allclose(cx.mvm(key, tile, cx.program(key, tile, w)[0], x), x @ w, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("pairs", ["separate", "interleaved"])
@pytest.mark.parametrize("subtract", ["analog", "digital"])
def test_a_tile_computes_what_its_network_conducts(x64, key, pairs, subtract):
    tile = cx.replace(wired(pairs, n=8), subtract=subtract)
    w, x = jax.random.normal(key, (8, 5)), jax.random.normal(jax.random.key(1), (3, 8))
    chip, _ = cx.program(key, tile, w)
    g = chip.cells.g[:, 0, 0]
    if pairs == "separate":
        plus, minus = (effective_conductance(a, 20.0, 20.0) for a in g)
    else:
        both = effective_conductance(jnp.stack([g[0], g[1]], axis=-1).reshape(8, 10), 20.0, 20.0)
        plus, minus = both[:, 0::2], both[:, 1::2]
    np.testing.assert_allclose(
        cx.mvm(key, tile, chip, x), x @ (plus - minus) / 25.0 * chip.scale[0, 0], rtol=1e-9, atol=1e-9
    )


def test_a_static_drop_is_the_published_one_on_every_tile_of_a_matrix(x64, key):
    """37 rows on tiles of 16: three of 13, the last row of the last tile unused and nearest to the sense node."""
    drop = cx.wires.StaticDrop(segment=50.0, g_ref=25.0)
    tile = cx.Tile(16, 8, device=cx.devices.ideal(), wires=drop, compensation=None)
    w, x = jax.random.normal(key, (37, 6)), jax.random.normal(jax.random.key(1), (4, 37))
    chip, _ = cx.program(key, tile, w)
    wanted = 0.0
    for k, scale in enumerate(chip.scale[:, 0]):
        rows = np.s_[13 * k : 13 * k + 13]
        part, u = np.pad(w, ((0, 2), (0, 0)))[rows] / scale, np.pad(x, ((0, 0), (0, 2)))[:, rows]
        wanted += rasch_drop(jnp.asarray(part), jnp.asarray(u), segment=50.0, g_max=25.0) * scale
    np.testing.assert_allclose(cx.mvm(key, tile, chip, x), wanted, rtol=1e-9)
    off = cx.replace(tile, wires=None)
    none = cx.replace(tile, **{"wires.segment": 0.0})
    np.testing.assert_allclose(cx.mvm(key, none, chip, x), cx.mvm(key, off, chip, x), rtol=1e-12)
    assert float(jnp.abs(cx.mvm(key, off, chip, x) - wanted).max()) > 1e-3

    def loss(args):
        x, drop = args
        return jnp.sum(jnp.sin(cx.mvm(key, cx.replace(tile, wires=drop), chip, x)))

    check_gradients(jax.jit(loss), (x, drop), rtol=1e-6, step=1e-6)


def test_a_network_trains_through_its_wires(x64, key):
    """Weights learned through the network's solution make up for its drops; an ideal gradient gets part of it."""
    x = jax.random.normal(jax.random.key(1), (64, 16))
    wanted = x @ jax.random.normal(key, (16, 8))
    errors = {}
    for gradient in ("exact", "ideal"):
        tile = wired(r=200.0, n=16, gradient=gradient)

        def loss(w, tile=tile):
            chip, _ = cx.program(key, tile, w)
            return jnp.mean((cx.mvm(key, tile, chip, x) - wanted) ** 2)

        w, step = jax.random.normal(key, (16, 8)), jax.jit(jax.value_and_grad(loss))
        first = None
        for _ in range(150):
            value, slope = step(w)
            first = value if first is None else first
            w = w - 0.5 * slope
        errors[gradient] = float(value / first)
    assert errors["exact"] < 0.05 and errors["exact"] <= errors["ideal"] < 0.5


@pytest.mark.thorough
def test_gradient_programming_compensates_wires_that_reading_cells_cannot_see(key):
    tile = cx.replace(
        cx.presets.hermes(), rows=64, cols=64, wires=cx.Wires(10.0, 10.0), compensation=None,
        adc=cx.ADC(range=8.0), noise=0.01, **{"device.flicker": None, "device.drift": None},
    )  # fmt: skip
    w = jnp.clip(jax.random.normal(key, (64, 64)), -3, 3)
    errors = {}
    methods = {"cell": cx.Iterative(verify="cell"), "mvm": cx.Iterative(), "gdp": cx.GDP(iterations=60, batch=512)}
    for name, how in methods.items():
        chip, _ = cx.program(key, tile, w, how)
        errors[name] = float(cx.mvm_error(key, tile, chip, w))
    assert errors["gdp"] < 0.5 * errors["cell"]
    assert errors["mvm"] < 0.5 * errors["cell"], "reads through the lines that count for long enough see them too"


# -------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda g: effective_conductance(g, -1.0, 1.0), "r_word must be ≥ 0 Ω"),
        (lambda g: effective_conductance(g, 1.0, np.nan), "r_bit has 1 values that are NaN"),
        (lambda g: effective_conductance(-g, 1.0, 1.0), "g must be ≥ 0 µS"),
        (lambda g: effective_conductance(g[0], 1.0, 1.0), "matrix of conductances"),
        (
            lambda g: effective_conductance(g, np.ones(3), 1.0),
            r"one number per word line \(4,\) or one per segment \(4, 5",
        ),
        (lambda g: effective_conductance(g, np.ones(5), 1.0), r"one number per word line \(4,\)"),
        (lambda g: effective_conductance(g, 1.0, np.ones(4)), r"one number per bit line \(5,\)"),
        (lambda g: effective_conductance(g, 1.0, np.ones((5, 4))), r"got shape \(5, 4\)"),
        (
            lambda g: effective_conductance(g, 1.0, 1.0, r_driver=np.ones(5)),
            r"r_driver .* one number per word line \(4,\)",
        ),
        (lambda g: effective_conductance(g, 1.0, 1.0, r_sense=np.ones((1, 5))), r"r_sense .* per bit line \(5,\)"),
        (lambda g: solve(g, np.ones(4), 1.0, 1.0, v_sense=np.nan), "v_sense has 1 values that are NaN"),
        (lambda g: first_order_conductance(g, np.inf, 1.0), "first_order_conductance .* broken"),
        (lambda g: SinhLaw(np.inf), r"SinhLaw\.alpha"),
        (lambda g: CubicLaw(-1.0), r"CubicLaw\.b must be ≥ 0"),
        (lambda g: effective_conductance(g, 1.0, 1.0, drive="up"), "drive must be one of"),
        (lambda g: solve(g, np.ones(5), 1.0, 1.0), "v must end in 4 voltages"),
        (lambda g: solve(g, np.full(4, np.inf), 1.0, 1.0), "v has 4 values that are NaN or infinite"),
        (lambda g: currents(g, np.ones(4), 1.0, 1.0, method="guess"), "method must be"),
        (lambda g: cx.Wires(r_word=-1.0), r"Wires\.r_word"),
        (lambda g: cx.Wires(pairs="stacked"), "'separate', 'interleaved'"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(random_array(4, 5))


def test_a_solution_that_does_not_converge_is_an_error_with_its_residual():
    g, v = random_array(64, 64), jnp.ones(64)
    with pytest.raises(NotConvergedError, match=r"relative residual .* after 1 iterations"):
        solve(g, v, 100.0, 100.0, max_iterations=1)
    under_jit = jax.jit(lambda g: solve(g, v, 100.0, 100.0, max_iterations=1).currents)(g)
    assert bool(jnp.isnan(under_jit).all()), "never silently wrong"


def test_the_choice_of_method_is_automatic_and_can_be_forced(x64):
    g, few, many = random_array(32, 8), jnp.ones((1, 32)), jnp.ones((40, 32))
    for v in (few, many):
        results = [currents(g, v, 10.0, 10.0, method=m) for m in ("auto", "map", "iterative")]
        for other in results[1:]:
            np.testing.assert_allclose(other, results[0], rtol=1e-9)
    assert currents(g, few, 10.0, 10.0, law=CubicLaw(1.0)).shape == (1, 8)
