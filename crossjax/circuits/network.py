"""The resistive network of a crossbar for a few input vectors: currents, node voltages, power, nonlinear devices.

Conjugate gradients on the device voltages, which see a network of M N unknowns whose condition is mild however large
the array; Newton's method around them. Derivatives come from the adjoint equation and from the solution itself, never
from the iterations. `crossjax.circuits.wires` has the drawing, the units and the whole linear map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from crossjax._numerics import ratio, safe_sqrt

DRIVES, SENSES = ("left", "right", "both"), ("bottom", "top", "both")


class NotConvergedError(ArithmeticError):
    """An iterative solution did not reach its tolerance; the message holds the residual."""


class Network(NamedTuple):
    """Lines in the orientation of the drawing, MΩ: mirrored if they are driven or sensed at the other end."""

    word: Array  # (M, N): segment to the left of every device; column 0 leads to the driver
    bit: Array  # (M, N): segment below every device; the last row leads to virtual ground
    right: Array | None  # (M,): to a second driver at the right end
    top: Array | None  # (N,): to virtual ground at the top end


def network(
    shape: tuple[int, int], r_word: ArrayLike, r_bit: ArrayLike, r_driver: ArrayLike | None,
    r_sense: ArrayLike | None, drive: str, sense: str, dtype: np.dtype,
) -> Network:  # fmt: skip
    """Check and bring into one form. Raises ValueError for what is negative, NaN, unknown or of the wrong shape."""
    for name, value, options in (("drive", drive, DRIVES), ("sense", sense, SENSES)):
        if value not in options:
            raise ValueError(f"{name} must be one of {', '.join(options)}, got {value!r}")
    checked = {}
    for name, value, allowed in (
        ("r_word", r_word, shape), ("r_bit", r_bit, shape), ("r_driver", r_driver, shape[:1]),
        ("r_sense", r_sense, shape[1:]),
    ):  # fmt: skip
        if value is None:
            continue
        _check_finite(name, value, "Ω", low=0.0)
        a = jnp.asarray(value, dtype) * 1e-6
        if a.ndim and a.shape != allowed:
            raise ValueError(f"{name} must be a number or have shape {allowed}, got {a.shape}")
        checked[name] = a
    word, bit = (jnp.broadcast_to(checked[k], shape) for k in ("r_word", "r_bit"))
    driver = jnp.broadcast_to(checked.get("r_driver", word[:, 0]), shape[:1])
    ground = jnp.broadcast_to(checked.get("r_sense", bit[-1]), shape[1:])
    if drive == "right":
        word = jnp.roll(word[:, ::-1], 1, axis=1)
    if sense == "top":
        bit = jnp.roll(bit[::-1], -1, axis=0)
    right, top = driver if drive == "both" else None, ground if sense == "both" else None
    return Network(word.at[:, 0].set(driver), bit.at[-1].set(ground), right, top)


def _check_finite(name: str, value: ArrayLike, unit: str, low: float | None = None) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    a = np.asarray(value)
    if not np.isfinite(a).all():
        raise ValueError(f"{name} has {int((~np.isfinite(a)).sum())} values that are NaN or infinite")
    if low is not None and (a < low).any():
        raise ValueError(f"{name} must be ≥ {low:g} {unit}, its smallest value is {a.min():g}")


def check_conductances(g: ArrayLike) -> Array:
    """A non-empty matrix of finite, non-negative floats, or a ``ValueError`` that says what is wrong with it."""
    a = jnp.asarray(g)
    if a.ndim != 2 or a.size == 0:
        raise ValueError(
            f"g must be a matrix of conductances (rows, cols), got shape {a.shape}; use jax.vmap for batches"
        )
    _check_finite("g", g, "µS", low=0.0)
    return a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(jnp.zeros(()).dtype)


def flips(drive: str, sense: str) -> tuple[bool, bool]:
    """Whether columns and rows are mirrored."""
    return drive == "right", sense == "top"


def mirror(a: Array, flip: tuple[bool, bool]) -> Array:
    """Columns and rows (the last two axes) in mirrored order, as ``flip`` says; its own inverse."""
    a = a[..., ::-1] if flip[0] else a
    return a[..., ::-1, :] if flip[1] else a


# ----------------------------------------------------------------------------------- a few vectors


class Solution(NamedTuple):
    """Currents and voltages of a crossbar, for inputs (…, M).

    Attributes:
        currents: of every bit line, (…, N), µA.
        word: word-line voltage at every device, (…, M, N), V.
        bit: bit-line voltage at every device, (…, M, N), V.
        power: dissipated in devices and lines, (…,), µW.
        residual: relative residual that the iteration ended with, (…,).
        iterations: Newton steps that it took (1 for linear devices).
    """

    currents: Array
    word: Array
    bit: Array
    power: Array
    residual: Array
    iterations: Array


def line_drop(current: Array, r: Array, far: Array | None) -> Array:
    """Voltage that device currents drop along lines that run along the last axis from a driver on the left.

    With a second driver of resistance ``far`` at the right end, the current that it takes over.
    """
    drop = jnp.cumsum(r * jnp.flip(jnp.cumsum(jnp.flip(current, -1), axis=-1), -1), axis=-1)
    if far is None:
        return drop
    along = jnp.cumsum(r, axis=-1)
    total = along[..., -1:] + far[..., None]
    return drop - along * ratio(jnp.sum(along * current, axis=-1, keepdims=True), total)


def drop(current: Array, net: Network) -> tuple[Array, Array]:
    """Voltages lost on the word lines and gained on the bit lines by device currents (…, M, N)."""

    def turned(a: Array) -> Array:
        return jnp.flip(jnp.swapaxes(a, -1, -2), -1)

    word = line_drop(current, net.word, net.right)
    bit = line_drop(turned(current), turned(net.bit), net.top)
    return word, jnp.swapaxes(jnp.flip(bit, -1), -1, -2)


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


def _device_voltages(g: Array, applied: Array, net: Network, tolerance: float, limit: int) -> Array:
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


def solve(
    g: ArrayLike, v: ArrayLike, r_word: ArrayLike, r_bit: ArrayLike, *, r_driver: ArrayLike | None = None,
    r_sense: ArrayLike | None = None, v_sense: ArrayLike = 0.0, drive: str = "left", sense: str = "bottom",
    law: Callable[[Array], Array] | None = None, tolerance: float | None = None, max_iterations: int = 500,
    max_newton: int = 30,
) -> Solution:  # fmt: skip
    """Currents, node voltages and power of a crossbar for a few input vectors.

    Conjugate gradients on the device voltages, for all vectors at once. Nonlinear devices, I = G f(v), by
    Newton's method around it, with gradients of the solution itself (implicit differentiation).

    Args:
        g: conductances (M, N), µS.
        v: word-line voltages (…, M), V.
        r_word, r_bit, r_driver, r_sense, drive, sense: as for `effective_conductance`.
        v_sense: voltage of the sense nodes, a number or (N,), V.
        law: f, for devices with I = G f(v), f(0) = 0: `SinhLaw`, `CubicLaw`, any spec that is callable (its numbers
            can be differentiated) or any function; None for linear devices.
        tolerance: relative residual; None: 1e-12 in float64, 1e-6 in float32.
        max_iterations: of conjugate gradients; max_newton: of Newton's method.

    Returns:
        The `Solution`. Where it did not converge under a transformation, its values are NaN.

    Raises:
        ValueError: for negative or non-finite numbers, wrong shapes or unknown ends.
        NotConvergedError: if the residual stays above the tolerance.
    """
    a = check_conductances(g)
    _check_finite("v", v, "V")
    v = jnp.asarray(v, a.dtype)
    if v.ndim < 1 or v.shape[-1] != a.shape[0]:
        raise ValueError(f"v must end in {a.shape[0]} voltages for {a.shape} conductances, got shape {v.shape}")
    net = network((a.shape[0], a.shape[1]), r_word, r_bit, r_driver, r_sense, drive, sense, a.dtype)
    if tolerance is None:
        tolerance = 1e-12 if a.dtype == jnp.float64 else 1e-6
    ground = jnp.broadcast_to(jnp.asarray(v_sense, a.dtype), (a.shape[1],))
    if law is not None and jax.tree_util.all_leaves([law]):  # a plain function
        law = jax.tree_util.Partial(law)
    found = _solve(a, v, ground, net, law, flips(drive, sense), tolerance, max_iterations, max_newton)
    limit = 100 * tolerance
    if not isinstance(found.residual, jax.core.Tracer):
        worst = float(jnp.max(found.residual))
        if not worst <= limit:
            raise NotConvergedError(
                f"relative residual {worst:.2g} is above {limit:.2g} after {max_iterations} iterations: raise"
                " max_iterations or tolerance, or use effective_conductance (linear devices)"
            )
    good = found.residual <= limit
    return jax.tree.map(lambda x: _where_good(good, x), found)


def _where_good(good: Array, x: Array) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return jnp.where(good.reshape(*good.shape, *[1] * (x.ndim - good.ndim)), x, jnp.nan)


@partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _solve(
    g: Array, v: Array, ground: Array, net: Network, law: Callable[[Array], Array] | None,
    flip: tuple[bool, bool], tolerance: float, limit: int, newton: int,
) -> Solution:  # fmt: skip
    g = mirror(g, flip)
    v = v[..., ::-1] if flip[1] else v
    ground = ground[::-1] if flip[0] else ground
    applied = jnp.broadcast_to(v[..., None] - ground, (*v.shape, ground.shape[0]))
    x = _device_voltages(g, applied, net, tolerance, limit)
    current, count = g * x, jnp.asarray(1)
    if law is not None:
        x, count = _newton(x, _Problem(g, net, applied, law), tolerance, limit, newton)
        current = g * law(x)
    word_drop, bit_rise = drop(current, net)
    word, bit = v[..., None] - word_drop, ground + bit_rise
    norm = jnp.linalg.norm(applied, axis=(-2, -1))
    residual = ratio(jnp.linalg.norm(x + word_drop + bit_rise - applied, axis=(-2, -1)), norm)
    currents = jnp.sum(current, axis=-2)
    power = jnp.sum(v * jnp.sum(current, axis=-1), axis=-1) - jnp.sum(ground * currents, axis=-1)
    currents = currents[..., ::-1] if flip[0] else currents
    return Solution(currents, mirror(word, flip), mirror(bit, flip), power, residual, count)


class _Problem(NamedTuple):
    """A nonlinear network: x + Z G f(x) = applied."""

    g: Array
    net: Network
    applied: Array
    law: Callable[[Array], Array]

    def miss(self, x: Array) -> Array:
        """By how much device voltages ``x`` miss the equation."""
        word, bit = drop(self.g * self.law(x), self.net)
        return x + word + bit - self.applied

    def correct(self, x: Array, tolerance: float, limit: int) -> Array:
        """One Newton step: the linear network of the local conductances G f'(x), solved for what is missing."""
        fixed = jax.tree.map(lax.stop_gradient, self)
        slope = jax.vmap(jax.grad(fixed.law))(x.reshape(-1)).reshape(x.shape)
        # every vector has local conductances of its own: one solution after the other
        flat = [a.reshape(-1, *self.g.shape) for a in (fixed.g * slope, self.miss(x))]
        delta = lax.map(lambda a: _device_voltages(lax.stop_gradient(a[0]), a[1], fixed.net, tolerance, limit), flat)
        return x - delta.reshape(x.shape)


def _newton(x: Array, problem: _Problem, tolerance: float, limit: int, newton: int) -> tuple[Array, Array]:
    """Device voltages and the number of steps, with the derivatives of the solution (not of the iteration)."""
    fixed = jax.tree.map(lax.stop_gradient, problem)
    size = jnp.maximum(jnp.linalg.norm(fixed.applied), 1e-30)

    def unfinished(state: tuple[Array, Array]) -> Array:
        return (state[1] < newton) & (jnp.linalg.norm(fixed.miss(state[0])) > tolerance * size)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        return fixed.correct(state[0], tolerance, limit), state[1] + 1

    x, count = lax.while_loop(unfinished, step, (lax.stop_gradient(x), jnp.asarray(0)))
    # one more step, from the solution: no change of value, and exactly the implicit derivative
    return problem.correct(lax.stop_gradient(x), tolerance, limit), count
