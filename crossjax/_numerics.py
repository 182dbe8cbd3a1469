"""Functions that would break a gradient, with the gradient they have here instead.

* `round_through` and `quantize`: roundings whose surrogate gradient is straight-through.
* `safe_log`, `safe_sqrt`: exact where defined, finite with zero gradient at 0.
* `ratio`: a/b, and a chosen value where b is 0.
* `norm`, `relative_error`, `relative`: for numbers of any scale.

None of them hides a NaN.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike


@jax.custom_jvp
def round_through(x: Array) -> Array:
    """Round to the nearest integer; the surrogate gradient is 1 (straight-through)."""
    return jnp.round(x)


@round_through.defjvp
def _round_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return jnp.round(primals[0]), tangents[0]


def quantize(x: Array, limit: ArrayLike, levels: int | None, finer: ArrayLike | None = None) -> Array:
    """Clip to [−limit, limit] and round to ``levels`` evenly spaced values that include both ends.

    An odd number of levels has a level at 0 (mid-tread); an even one does not (mid-rise), so one bit is ±limit.
    Surrogate gradient: straight-through inside the range, 0 outside. ``limit`` gets ±1 from every clipped
    element, and from the others what rounding error they would save (learned step size, Esser 2020).

    Args:
        x: values of any shape.
        limit: half the range, > 0, broadcast against ``x``.
        levels: number of levels, or None for clipping alone.
        finer: a factor by which they are closer together than that; None: 1.
    """
    u = lax.clamp(-1.0, x / limit, 1.0)  # keeps one bit for the backward pass; jnp.clip keeps two floats
    if levels is not None:
        half = (levels - 1) / 2 * (1.0 if finer is None else finer)
        if levels % 2:
            u = round_through(u * half) / half
        else:
            u = (round_through((u + 1.0) * half) - half) / half
    return u * limit


def safe_log(x: Array, floor: float = 1e-12) -> Array:
    """log(max(x, floor)), with zero gradient below the floor."""
    return jnp.log(jnp.maximum(x, floor))


def safe_sqrt(x: Array) -> Array:
    """√x, with zero gradient at 0. NaN stays NaN, and a negative number becomes one."""
    zero = x == 0
    return jnp.where(zero, x, jnp.sqrt(jnp.where(zero, 1.0, x)))


def ratio(a: Array, b: Array, otherwise: ArrayLike = 0.0) -> Array:
    """A / b where b ≠ 0, ``otherwise`` (with zero gradient) where b = 0. NaN in either stays NaN."""
    zero = b == 0
    return jnp.where(zero & ~jnp.isnan(a), otherwise, a / jnp.where(zero, 1.0, b))


def relative_error(found: Array, wanted: Array) -> Array:
    """‖found − wanted‖ / ‖wanted‖ over all elements, for numbers of any scale that the type holds; see `relative`."""
    return relative(norm(found - wanted), norm(wanted))


def relative(miss: Array, size: Array) -> Array:
    """An error ``miss`` ≥ 0 relative to ``size`` ≥ 0. Of nothing: 0 if nothing is missed, infinite otherwise."""
    nothing = size == 0
    return jnp.where(nothing & (miss > 0), jnp.inf, miss / jnp.where(nothing, 1.0, size))


def norm(x: Array) -> Array:
    """√Σ x² over all elements, without overflow or underflow of the squares; its gradient at 0 is 0."""
    largest = lax.stop_gradient(jnp.max(jnp.abs(x)))
    scale = jnp.where((largest == 0) | jnp.isinf(largest), 1.0, largest)
    return scale * safe_sqrt(jnp.sum((x / scale) ** 2))
