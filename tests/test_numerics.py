import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossjax._numerics import quantize, ratio, safe_log, safe_sqrt


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


@pytest.mark.parametrize("f", [safe_log, safe_sqrt, lambda x: ratio(jnp.ones(()), x, 3.0)])
def test_no_nan_at_zero(f):
    value, gradient = jax.value_and_grad(f)(jnp.zeros(()))
    assert jnp.isfinite(value) and gradient == 0.0
