"""Functions that would break a gradient, with the gradient they have here instead.

* `clip_inside`: a clip whose gradient at the ends of the range is that of the inside.
* `round_through`, `floor_through` and `quantize`: roundings whose surrogate gradient is straight-through.
* `safe_log`, `safe_sqrt`: exact where defined, finite with zero gradient at 0.
* `ratio`: a/b, and a chosen value where b is 0.
* `norm`, `relative_error`, `relative`: for numbers of any scale.
* `positive_part`: moments of a clipped Gaussian.
* `at_least_single`: numbers in the precision that chips compute in.

None of them hides a NaN.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.scipy.stats import norm as normal_law
from jax.typing import ArrayLike


def clip_inside(x: Array, low: ArrayLike, high: ArrayLike) -> Array:
    """Clip ``x`` to [low, high], a closed range: where x is exactly an end, the gradient is that of the inside.

    A weight of 1 sits exactly at g_max and an input may be exactly full scale: they are not saturated, so x gets
    gradient 1 and the limit 0 there (`jnp.clip` halves both). Outside, x gets 0 and the limit 1. NaN stays NaN.

    Args:
        x: values of any shape; the backward pass keeps one bit of each when the limits are constants.
        low, high: ends of the range, low ≤ high, broadcast against ``x``.
    """
    return _clip(*_same_type(x, low, high))


def _same_type(*values: ArrayLike) -> tuple[Array, ...]:
    dtype = jnp.result_type(*values)  # before a custom derivative: there, plain numbers lose that they are weak
    return tuple(jnp.asarray(v, dtype) for v in values)


@jax.custom_jvp
def _clip(x: Array, low: Array, high: Array) -> Array:
    return jnp.minimum(jnp.maximum(x, low), high)


def _clip_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    x, low, high = primals
    y = _clip(x, low, high)
    tangent = jnp.zeros_like(y)
    for chosen, t in zip(((x >= low) & (x <= high), x < low, x > high), tangents, strict=True):
        if not isinstance(t, SymbolicZero):
            tangent = jnp.where(chosen, t, tangent)
    return y, tangent


_clip.defjvp(_clip_jvp, symbolic_zeros=True)


@jax.custom_jvp
def round_through(x: Array) -> Array:
    """Round to the nearest integer; the surrogate gradient is 1 (straight-through), its derivatives are 0."""
    return jnp.round(x)


@round_through.defjvp
def _round_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return round_through(primals[0]), tangents[0]  # not jnp.round: the value is differentiated again


@jax.custom_jvp
def floor_through(x: Array) -> Array:
    """The largest integer below; the surrogate gradient is that of `round_through`."""
    return jnp.floor(x)


@floor_through.defjvp
def _floor_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return floor_through(primals[0]), tangents[0]


@jax.custom_jvp
def _fraction(x: Array, limit: Array) -> Array:
    """The ratio x / limit clipped to [−1, 1]; its gradient's closed range is decided on x, which has the exact ends."""
    one = jnp.ones((), x.dtype)
    return lax.clamp(-one, x / limit, one)


def _fraction_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, limit), (dx, dlimit) = primals, tangents
    u = _fraction(x, limit)
    moved = 0.0 if isinstance(dx, SymbolicZero) else dx
    if not isinstance(dlimit, SymbolicZero):
        moved = moved - u * dlimit
    return u, jnp.where(jnp.abs(x) <= limit, moved / limit, jnp.zeros((), u.dtype))


_fraction.defjvp(_fraction_jvp, symbolic_zeros=True)


def quantize(
    x: Array, limit: ArrayLike, levels: int | None, even: str = "mid-rise", finer: ArrayLike | None = None
) -> Array:
    """Clip to [−limit, limit] and round to ``levels`` evenly spaced values.

    An odd number of levels includes 0 and both ends (mid-tread). An even number has two forms: "mid-rise" includes
    both ends and has no level at 0, so one bit is ±limit; 0 becomes the level above it. "mid-tread" includes 0 and,
    like two's complement, ends one step short of the upper end: k · 2 limit / levels for k = −levels/2 … levels/2 − 1.

    Surrogate gradient: straight-through in the closed range [−limit, limit], 0 outside, with derivatives of every
    order. ``limit`` gets the last level's sign and size from every clipped element, and from the others what
    rounding error they would save (learned step size, Esser 2020).

    Args:
        x: values of any shape; the backward pass keeps one bit of each.
        limit: half the range, > 0, broadcast against ``x``.
        levels: number of levels, or None for clipping alone.
        even: "mid-rise" or "mid-tread", where ``levels`` is even.
        finer: a factor by which the levels are closer together than that; None: 1.
    """
    u = _fraction(*_same_type(x, limit))
    if levels is not None:
        half = (levels - 1) / 2 * (1.0 if finer is None else finer)
        if levels % 2:
            u = round_through(u * half) / half
        elif even == "mid-rise" and finer is None:
            u = (floor_through(u * half) + 0.5) / half
        elif even == "mid-rise":
            u = (round_through((u + 1.0) * half) - half) / half
        else:
            half = levels / 2 * (1.0 if finer is None else finer)
            k = round_through(u * half)
            u = (k - (k >= half)) / half  # a bool has no gradient: the top step is straight-through too
    return u * limit


@jax.custom_jvp
def fire(state: Array, threshold: Array) -> Array:
    """1 where a membrane has reached its threshold, else 0; NaN stays NaN.

    The surrogate gradient by the membrane is a triangle, max(0, 1 − |V / θ − 1|) / θ; by the threshold −V / θ times it.
    """
    return jnp.where(jnp.isnan(state), state, (state >= threshold).astype(state.dtype))


@fire.defjvp
def _fire_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (state, threshold), (moved, raised) = primals, tangents
    slope = jnp.maximum(1.0 - jnp.abs(state / threshold - 1.0), 0.0) / threshold
    return fire(state, threshold), slope * (moved - state / threshold * raised)


def at_least_single(x: ArrayLike) -> Array:
    """``x`` as it is in float32 or float64; integers and half (or less) precision in JAX's default float."""
    x = jnp.asarray(x)
    enough = jnp.issubdtype(x.dtype, jnp.floating) and x.dtype.itemsize >= 4
    return x if enough else x.astype(jnp.zeros(()).dtype)


def safe_log(x: Array, floor: float = 1e-12) -> Array:
    """log(max(x, floor)), with zero gradient below the floor."""
    return jnp.log(jnp.maximum(x, floor))


def safe_sqrt(x: Array) -> Array:
    """√x, with zero gradient at 0. NaN stays NaN, and a negative number becomes one."""
    zero = x == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))


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


def positive_part(mean: Array, spread: Array) -> tuple[Array, Array]:
    """E[max(X, 0)] and E[max(X, 0)²] of X normal."""
    sigma = jnp.maximum(spread, 1e-6)
    z = mean / sigma
    above, edge = normal_law.cdf(z), sigma * normal_law.pdf(z)
    return mean * above + edge, (mean * mean + sigma * sigma) * above + mean * edge
