"""Steep device laws, numbers at the edge of a float, and bad input of the wires."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kirchhoff import agree, close, nodal, random_array

import crossjax as cx
from crossjax.circuits.wires import (
    CubicLaw,
    NotConvergedError,
    SinhLaw,
    currents,
    effective_conductance,
    first_order_conductance,
    solve,
)

pytestmark = pytest.mark.slow


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
        (lambda g: effective_conductance(g, 1.0, 1.0, drive="up"), "unknown drive 'up'; choose from left"),
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
