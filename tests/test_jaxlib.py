"""The compiler bug that decides which jaxlib may be used (jax issue 39103): our core pattern must be computed right."""

import jax
import jax.numpy as jnp
import pytest


@pytest.mark.parametrize("n", [16_385, 32_769, 65_537])
def test_vmapped_product_followed_by_a_reduction(n):
    i = jnp.arange(n, dtype=jnp.float32)
    x = jnp.stack((i, jnp.zeros_like(i), jnp.zeros_like(i)), axis=1)
    f = jax.vmap(lambda row: jnp.sum((jnp.eye(3, dtype=jnp.float32) @ row) ** 2))
    assert float(jax.jit(f)(x)[-1]) == pytest.approx(float(n - 1) ** 2, rel=1e-6)
