import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_gradients
from hypothesis import given
from hypothesis import strategies as st

from crossjax._numerics import (
    clip_inside,
    norm,
    quantize,
    ratio,
    relative_error,
    round_through,
    safe_log,
    safe_sqrt,
)


@given(st.integers(2, 300), st.floats(0.1, 100))
def test_quantize_hits_exactly_the_levels(levels, limit):
    x = jnp.linspace(-1.5 * limit, 1.5 * limit, 5000)
    y = np.unique(np.asarray(quantize(x, limit, levels)).round(6))
    ideal = np.linspace(-limit, limit, levels)
    assert len(y) <= levels
    assert np.abs(y[:, None] - ideal[None]).min(axis=1).max() < 1e-5 * limit


def test_one_bit_is_plus_minus_the_limit_and_odd_counts_hold_zero():
    x = jnp.array([-2.0, -0.1, 0.1, 2.0])
    np.testing.assert_allclose(quantize(x, 0.5, 2), [-0.5, -0.5, 0.5, 0.5])
    assert float(quantize(jnp.zeros(()), 0.7, 255)) == 0.0


def test_rounding_error_is_uniform_with_the_textbook_variance():
    x = jnp.linspace(-1, 1, 100_001)
    step = 2 / 254
    np.testing.assert_allclose(float(jnp.var(quantize(x, 1.0, 255) - x)), step**2 / 12, rtol=1e-2)


def test_surrogate_gradient_is_one_inside_and_zero_outside():
    g = jax.vmap(jax.grad(lambda x: quantize(x, 1.0, 15)))(jnp.array([-1.5, -0.3, 0.0, 0.9, 1.5]))
    np.testing.assert_array_equal(g, [0, 1, 1, 1, 0])
    forward = jax.jvp(lambda x: quantize(x, 1.0, 15), (jnp.array(0.3),), (jnp.array(1.0),))[1]
    assert forward == 1.0


def test_range_gradient_is_the_sign_of_clipped_inputs_plus_the_rounding_error():
    g = jax.grad(lambda r: quantize(jnp.array(2.0), r, 15))(1.0)
    assert g == 1.0
    x, r, levels = 0.33, 1.0, 15
    half = (levels - 1) / 2
    wanted = round(x / r * half) / half - x / r
    np.testing.assert_allclose(jax.grad(lambda r: quantize(jnp.array(x), r, levels))(r), wanted, atol=1e-6)


@given(st.integers(1, 150), st.floats(0.1, 100))
def test_an_even_number_of_levels_can_have_one_at_zero_and_lacks_the_upper_end(half, limit):
    x = jnp.linspace(-1.5 * limit, 1.5 * limit, 4001)
    y = np.asarray(quantize(x, limit, 2 * half, "mid-tread"))
    np.testing.assert_allclose(y * half / limit, np.round(y * half / limit), atol=1e-4)
    assert float(quantize(jnp.zeros(()), limit, 2 * half, "mid-tread")) == 0.0
    np.testing.assert_allclose([y.min(), y.max()], [-limit, limit * (half - 1) / half], rtol=1e-6)
    inside = np.asarray(x) < limit * (1 - 1.01 / half)
    assert np.abs(y - np.clip(x, -limit, limit))[inside].max(initial=0) <= limit / half * 0.5001


RESOLUTIONS = [(None, "mid-rise"), (2, "mid-rise"), (15, "mid-rise"), (420, "mid-rise"), (420, "mid-tread")]


@pytest.mark.parametrize("levels, even", RESOLUTIONS)
def test_a_rounding_has_derivatives_of_every_order(x64, levels, even):
    """The surrogate is linear in x and limit wherever it is smooth, so d²(q²) = 2 ∇q ∇qᵀ, whoever differentiates."""

    def q(v):
        return quantize(v[0], v[1], levels, even)

    def squared(v):
        return q(v) ** 2

    v = jnp.array([[x, 0.7] for x in (-2.0, -0.7, -0.33, 0.0, 0.123, 0.7, 1.4)])
    first = jax.vmap(jax.grad(q))(v)
    wanted = 2 * first[:, :, None] * first[:, None, :]
    np.testing.assert_allclose(first[:, 0], [0, 1, 1, 1, 1, 1, 0], rtol=1e-12)
    for second in (jax.hessian(squared), jax.jacfwd(jax.jacrev(squared)), jax.jacrev(jax.jacfwd(squared)),
                   jax.jacrev(jax.grad(squared)), jax.jit(jax.hessian(squared))):  # fmt: skip
        np.testing.assert_allclose(jax.vmap(second)(v), wanted, atol=1e-12)
    assert float(jax.grad(jax.grad(jax.grad(lambda x: quantize(x, 0.7, levels, even) ** 3)))(0.3)) == pytest.approx(6.0)


def test_round_through_is_the_identity_to_a_derivative_of_any_order():
    assert float(jax.grad(jax.grad(lambda x: round_through(x) ** 2))(3.3)) == 2.0
    assert float(jax.grad(jax.grad(round_through))(3.3)) == 0.0


@pytest.mark.parametrize("limit", [0.1, 1.0, 1 / 3, 7.2, 40.0, 1e-20])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_at_full_scale_is_that_of_the_inside(dtype, limit):
    limit = jnp.asarray(limit, dtype)
    ends = jnp.stack([-limit, limit])
    for levels, even in RESOLUTIONS:
        g = jax.vmap(jax.grad(lambda x, n=levels, e=even: quantize(x, limit, n, e)))(ends)
        np.testing.assert_allclose(np.asarray(g, np.float32), [1, 1], rtol=3 * float(jnp.finfo(dtype).eps))
        assert g.dtype == dtype
    for of, wanted in ((0, [1, 1, 0, 0]), (1, [0, 0, 1, 0]), (2, [0, 0, 0, 1])):
        g = jax.vmap(jax.grad(clip_inside, of), (0, None, None))(
            jnp.stack([-limit, limit, -2 * limit, 2 * limit]), -limit, limit
        )
        np.testing.assert_array_equal(np.asarray(g, np.float32), wanted)


@pytest.mark.parametrize("f", [lambda x: quantize(x, 1.0, 255), lambda x: clip_inside(x, -1.0, 1.0)])
def test_a_clip_keeps_one_bit_for_the_backward_pass_and_does_not_hide_nan(f):
    x = jnp.array([jnp.nan, 0.3, jnp.inf, -jnp.inf])
    y, back = jax.vjp(f, x)
    np.testing.assert_allclose(y, [np.nan, 0.3, 1, -1], atol=1 / 255)
    np.testing.assert_array_equal(back(jnp.ones(4))[0][1:], [1, 0, 0])
    many = jax.vjp(lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=7)[0], x)[1]
    kept = [leaf.dtype for leaf in jax.tree.leaves(many) if getattr(leaf, "shape", ())[:1] == (7,)]
    assert kept == [jnp.bool_]


def test_clip_gradients_by_finite_differences(x64):
    check_gradients(lambda a: jnp.sum(jnp.sin(clip_inside(*a))), (jnp.linspace(-2, 2, 9), -0.9, 1.3))


@pytest.mark.parametrize("f", [safe_log, safe_sqrt, lambda x: ratio(jnp.ones(()), x, 3.0)])
def test_no_nan_at_zero(f):
    value, gradient = jax.value_and_grad(f)(jnp.zeros(()))
    assert jnp.isfinite(value) and gradient == 0.0


# --------------------------------------------------------------------------------------------- errors


@given(st.floats(-30, 30), st.floats(0.01, 100))
def test_a_relative_error_is_the_same_at_any_scale(power, error):
    wanted = jnp.asarray(np.random.default_rng(0).normal(size=50) * 10.0**power, jnp.float32)
    found = relative_error(wanted * jnp.float32(1 + error), wanted)
    np.testing.assert_allclose(found, np.float32(1 + error) - 1, rtol=2e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1])
def test_nan_and_infinity_pass_through_every_measure(bad, where):
    good = jnp.array([1.0, 2.0])
    pair = [good, good]
    pair[where] = jnp.array([1.0, bad])
    assert not bool(jnp.isfinite(relative_error(*pair)))
    assert not bool(jnp.isfinite(norm(pair[where])))
    for f in (safe_sqrt, lambda x: ratio(x, jnp.ones(2)), lambda x: ratio(x, jnp.zeros(2), 3.0)):
        assert bool(jnp.isnan(f(jnp.array([1.0, np.nan]))[1]))
    assert bool(jnp.isnan(safe_sqrt(jnp.array(-1.0))))


def test_an_error_relative_to_nothing_is_zero_or_infinite():
    nothing = jnp.zeros(3)
    assert float(relative_error(nothing, nothing)) == 0.0
    assert float(relative_error(nothing + 1e-30, nothing)) == np.inf


def test_the_gradient_of_an_error_is_right_and_zero_where_there_is_none(x64):
    wanted = jnp.array([1.0, -2.0, 0.5])
    check_gradients(lambda found: relative_error(found, wanted), jnp.array([1.1, -2.3, 0.0]))
    np.testing.assert_array_equal(jax.grad(lambda found: relative_error(found, wanted))(wanted), 0.0)
