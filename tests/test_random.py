"""The noise every simulation stands on: is it Gaussian, independent, and the same under every transformation?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crossjax._random import named, normal, uniform

N = 1 << 20


def draw(seed, n=N):
    return np.asarray(normal(jax.random.key(seed), (n,)), np.float64)


def test_moments_match_a_gaussian():
    z = draw(0)
    se = 1 / np.sqrt(N)
    assert abs(z.mean()) < 4 * se
    assert abs(z.var() - 1) < 4 * np.sqrt(2) * se
    assert abs(stats.skew(z)) < 4 * np.sqrt(6) * se
    assert abs(stats.kurtosis(z)) < 4 * np.sqrt(24) * se


def test_distribution_matches_a_gaussian():
    for seed in range(3):
        assert stats.kstest(draw(seed), "norm").pvalue > 1e-3


@pytest.mark.parametrize("sigma", [2.0, 3.0, 4.0])
def test_tails_are_gaussian(sigma):
    z = np.concatenate([draw(seed) for seed in range(8)])
    expected = 2 * stats.norm.sf(sigma) * z.size
    assert abs((np.abs(z) > sigma).sum() - expected) < 4 * np.sqrt(expected)


def test_bits_are_balanced_and_neighbours_independent():
    u = np.asarray(uniform(jax.random.key(3), (N,)), np.float64)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    for lag in (1, 2, 64, 512, 4096):
        assert abs(np.corrcoef(u[:-lag], u[lag:])[0, 1]) < 5 / np.sqrt(N)


def test_keys_are_independent_even_when_consecutive():
    z = np.stack([draw(seed, 1 << 16) for seed in range(16)])
    correlation = np.corrcoef(z) - np.eye(16)
    assert np.abs(correlation).max() < 5 / np.sqrt(1 << 16)
    shifted = np.corrcoef(z[0][1:], z[1][:-1])[0, 1]
    assert abs(shifted) < 5 / np.sqrt(1 << 16)


def test_vmap_equals_loop_and_jit_equals_eager():
    keys = jax.random.split(jax.random.key(1), 5)
    together = jax.vmap(lambda k: normal(k, (3, 7)))(keys)
    one_by_one = jnp.stack([normal(k, (3, 7)) for k in keys])
    np.testing.assert_allclose(together, jax.jit(jax.vmap(lambda k: normal(k, (3, 7))))(keys), atol=1e-6)
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)


def test_named_keys_differ_by_name_and_not_by_order(key):
    assert not jnp.array_equal(normal(named(key, "a"), (8,)), normal(named(key, "b"), (8,)))
    np.testing.assert_array_equal(normal(named(key, "a"), (8,)), normal(named(key, "a"), (8,)))


def test_legacy_keys_work():
    z = normal(jax.random.PRNGKey(0), (1000,))
    assert abs(float(z.mean())) < 0.2


def test_float64_is_respected(x64):
    assert normal(jax.random.key(0), (3,)).dtype == jnp.float64
    assert normal(jax.random.key(0), (3,), jnp.float32).dtype == jnp.float32


def test_too_large_a_draw_is_refused():
    with pytest.raises(ValueError, match="split the key"):
        jax.eval_shape(lambda: normal(jax.random.key(0), (2**17, 2**16)))
