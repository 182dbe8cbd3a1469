"""What a device conducts at large voltages, relative to its conductance at small ones: I = G f(v), f(0) = 0, f'(0) = 1.

A law is any increasing, smooth function of a voltage; as a spec, its numbers can be differentiated and swept.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import check_range, spec


@spec
class SinhLaw:
    """f(v) = sinh(α v) / α: hopping conduction.

    Attributes:
        alpha: α in 1/V; 0 is the linear device, f(v) = v, of which the law is a smooth continuation.
    """

    alpha: float

    def _check(self) -> None:
        check_range(self, "alpha")

    def __call__(self, v: Array) -> Array:  # noqa: D102
        z = self.alpha * v
        small = jnp.abs(z) < 1.0
        square, large = jnp.square(jnp.where(small, z, 0.0)), jnp.where(small, 1.0, z)
        series = jnp.ones_like(square)
        for k in range(16, 0, -2):  # sinh(z)/z = Σ z^k / (k + 1)!; the next term is below 1e-17
            series = 1.0 + series * square / (k * (k + 1))
        return v * jnp.where(small, series, jnp.sinh(large) / large)


@spec
class CubicLaw:
    """f(v) = v + b v³.

    Attributes:
        b: in 1/V², ≥ 0 (a law must increase).
    """

    b: float

    def _check(self) -> None:
        check_range(self, "b", low=0)

    def __call__(self, v: Array) -> Array:  # noqa: D102
        return v + self.b * v**3
