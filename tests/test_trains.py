"""Pulse trains: counts, their covariance, their totals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crossjax import insitu

KEY = jax.random.key(0)


# ---------------------------------------------------------------------------------------------- pulse trains


def test_counts_are_binomial_and_cells_that_share_a_line_are_correlated():
    trains = insitu.Trains(balanced=False, adaptive=False)
    rate = 31.0  # with step 1: p = |x|, q = |d|
    x, d = jnp.array([0.5, 1.0]), jnp.array([0.4, 0.7])
    n = jax.vmap(lambda k: trains.count(k, x, d, rate, 1.0))(jax.random.split(KEY, 40_000))
    n = np.asarray(n, float)
    assert n[:, 0].mean(0) == pytest.approx([6.2, 10.85], rel=0.01)
    assert n[:, 0].var(0) == pytest.approx([4.96, 7.0525], rel=0.03)
    shared = np.cov(n[:, 0, 0], n[:, 0, 1])[0, 1]  # one row: L q q' p (1 - p)
    assert shared == pytest.approx(31 * 0.4 * 0.7 * 0.5 * 0.5, rel=0.05)
    column = np.cov(n[:, 0, 0], n[:, 1, 0])[0, 1]  # one column: L p p' q (1 - q)
    assert column == pytest.approx(31 * 0.5 * 1.0 * 0.4 * 0.6, rel=0.05)
    apart = np.corrcoef(n[:, 0, 0], n[:, 1, 1])[0, 1]
    assert abs(apart) < 0.02


@pytest.mark.parametrize("rate", [0.002, 0.05, 0.6])
def test_managed_trains_have_the_wanted_mean_until_a_train_is_full(rate):
    trains, step = insitu.Trains(), 0.01
    x, d = jnp.array([0.9, -0.3, 0.0]), jnp.array([0.5, -0.02])
    mean = jax.vmap(lambda k: trains.count(k, x, d, rate, step))(jax.random.split(KEY, 30_000)).mean(0)
    wanted = np.asarray(rate / step * x[:, None] * d[None])
    full = 31 / abs(wanted).max()
    wanted = wanted if full > 1 else np.asarray(rate / step * x[:, None] * jnp.clip(d, -0.5 * full, 0.5 * full)[None])
    np.testing.assert_allclose(mean, wanted, atol=4 * np.sqrt(abs(wanted).max() / 30_000) + 1e-4)
    assert float(trains.probabilities(x, d, rate, step)[0].max()) <= 1.0


def test_totals_are_sums_of_counts():
    x = jax.random.normal(KEY, (40, 5))
    d = jax.random.normal(jax.random.key(1), (40, 3))
    rate, step = 0.02, 0.01
    wanted = rate / step * np.asarray(x.T @ d)
    found = jax.vmap(lambda k: insitu.Trains().total(k, x, d, rate, step))(jax.random.split(KEY, 300)).mean(0)
    np.testing.assert_allclose(found, wanted, atol=3.0)
    dithered = jax.vmap(lambda k: insitu.Dithered().total(k, x, d, rate, step))(jax.random.split(KEY, 300))
    np.testing.assert_allclose(dithered.mean(0), wanted, atol=0.15)
    assert np.all(np.abs(np.asarray(dithered) - wanted) < 1)
    np.testing.assert_allclose(insitu.Expected().total(KEY, x, d, rate, step), wanted, rtol=1e-5)
    for counts in (insitu.Rounded(), insitu.MeanCount(), insitu.Implicit()):
        one = sum(counts.count(KEY, a, b, rate, step) for a, b in zip(x, d, strict=True))
        np.testing.assert_array_equal(counts.total(KEY, x, d, rate, step), one)


def test_deterministic_counts():
    x, d = jnp.array([1.0, -0.5]), jnp.array([0.8, 0.06])
    np.testing.assert_array_equal(insitu.Rounded().count(KEY, x, d, 0.05, 0.01), [[4, 0], [-2, 0]])
    np.testing.assert_array_equal(insitu.Rounded(most=2).count(KEY, x, d, 0.05, 0.01), [[2, 0], [-2, 0]])
    np.testing.assert_array_equal(insitu.Implicit().count(KEY, x, d, 0.05, 0.01), [[4, 0], [-2, 0]])
    assert abs(np.asarray(insitu.MeanCount().count(KEY, x, d, 0.05, 0.01)) - [[4, 0.3], [-2, -0.15]]).max() <= 1


def test_nothing_to_do_is_no_pulse():
    for counts in (insitu.Trains(), insitu.Rounded(), insitu.MeanCount(), insitu.Implicit(), insitu.Expected()):
        found = counts.count(KEY, jnp.zeros(3), jnp.ones(2), 0.1, 0.01)
        assert np.all(np.asarray(found) == 0)
