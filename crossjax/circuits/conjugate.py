"""Conjugate gradients on the device voltages of a crossbar: M N unknowns, well conditioned however large the array."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import ratio, safe_sqrt
from crossjax.circuits.lines import Network, drop


def _conjugate_gradients(apply: Callable[[Array], Array], b: Array, tolerance: float, limit: int) -> Array:
    """Solve a symmetric positive definite system for every leading index of ``b`` (…, M, N)."""

    def dot(x: Array, y: Array) -> Array:
        return jnp.sum(x * y, axis=(-2, -1), keepdims=True)

    goal = tolerance**2 * dot(b, b)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, r, p, rr, k = state
        q = apply(p)
        alpha = jnp.where(rr > goal, ratio(rr, dot(p, q)), 0.0)
        x, r = x + alpha * p, r - alpha * q
        new = dot(r, r)
        return x, r, r + ratio(new, rr) * p, new, k + 1

    def unfinished(state: tuple[Array, ...]) -> Array:
        return (state[4] < limit) & jnp.any(state[3] > goal)

    return lax.while_loop(unfinished, step, (jnp.zeros_like(b), b, b, dot(b, b), jnp.asarray(0)))[0]


def device_voltages(g: Array, applied: Array, net: Network, tolerance: float, limit: int) -> Array:
    """X with (1 + Z G) x = applied: conjugate gradients on (1 + √G Z √G), differentiated by the adjoint equation."""
    s = safe_sqrt(lax.stop_gradient(g))
    fixed = jax.tree.map(lax.stop_gradient, net)

    def z(current: Array) -> Array:
        word, bit = drop(current, fixed)
        return word + bit

    def symmetric(b: Array) -> Array:
        return _conjugate_gradients(lambda y: y + s * z(s * y), b, tolerance, limit)

    def apply(x: Array) -> Array:
        word, bit = drop(g * x, net)
        return x + word + bit

    return lax.custom_linear_solve(
        apply, applied,
        solve=lambda _, b: b - z(s * symmetric(s * b)),
        transpose_solve=lambda _, c: c - s * symmetric(s * z(c)),
    )  # fmt: skip
