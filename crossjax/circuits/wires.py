r"""Wire resistance: what a crossbar's word and bit lines do to its currents (IR drop), exactly and differentiably.

           r_driver     r_word       r_word
    V_i ──/\/\/──●──────/\/\/──●──────/\/\/──●   word line i, open at its right end
                 │ G_i0        │ G_i1        │ G_i2
                 ●             ●             ●
                 │ r_bit       │             │   bit lines, open at their top ends
                 ⋮             ⋮             ⋮
                 │ r_sense
                 ⏚ I_j = Σ_i G_eff[i, j] V_i     sensed at virtual ground at the bottom

Linear devices make the array a linear map: `effective_conductance` finds it once, and every MVM afterwards is one
matrix product. `solve` finds the currents for a few vectors without it, and for nonlinear devices; `currents`
chooses. Units: µS, Ω, V, µA, µW. Resistances may be numbers or arrays (one per segment); lines may be driven or
sensed at the other end or at both. All of it is differentiable in conductances, resistances and voltages, and finite
at r = 0 and G = 0.
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
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax.circuits import star

DRIVES, SENSES = ("left", "right", "both"), ("bottom", "top", "both")


class NotConvergedError(ArithmeticError):
    """An iterative solution did not reach its tolerance; the message holds the residual."""


@spec
class Wires:
    """The lines of a tile.

    Attributes:
        r_word: resistance of one word-line segment between neighbouring devices, Ω.
        r_bit: resistance of one bit-line segment, Ω.
        r_driver: resistance between a word line's driver and its first device, Ω; None: one segment.
        r_sense: resistance between a bit line's last device and virtual ground, Ω; None: one segment.
        drive: "left", "right" or "both" ends of the word lines.
        sense: "bottom", "top" or "both" ends of the bit lines.
        pairs: how the devices of a cell lie: "separate" (each has word lines of its own: one array per device of a
            cell) or "interleaved" (their bit lines alternate on shared word lines, which carry all their currents).
        gradient: "exact", through the network; or "ideal", as if the wires had no resistance (cheap, for training).
    """

    r_word: float = 1.0
    r_bit: float = 1.0
    r_driver: float | None = None
    r_sense: float | None = None
    drive: str = static(default="left")
    sense: str = static(default="bottom")
    pairs: str = static(default="separate")
    gradient: str = static(default="exact")

    def _check(self) -> None:
        for name in ("r_word", "r_bit", "r_driver", "r_sense"):
            check_range(self, name, low=0)
        check_choice(self, "drive", DRIVES)
        check_choice(self, "sense", SENSES)
        check_choice(self, "pairs", ("separate", "interleaved"))
        check_choice(self, "gradient", ("exact", "ideal"))

    def effective(self, g: Array) -> Array:
        """Effective conductances of the devices of cells, (devices, …, rows, cols) in µS, all arrays at once."""

        def one(a: Array) -> Array:
            return effective_conductance(
                a, self.r_word, self.r_bit, r_driver=self.r_driver, r_sense=self.r_sense, drive=self.drive,
                sense=self.sense,
            )  # fmt: skip

        array = jnp.moveaxis(g, 0, -1).reshape(*g.shape[1:-1], -1) if self.pairs == "interleaved" else g
        flat = array.reshape(-1, *array.shape[-2:])
        # one array after the other: a vmap would hold the blocks of all of them at once
        out = (one(flat[0])[None] if flat.shape[0] == 1 else lax.map(one, flat)).reshape(array.shape)
        if self.pairs == "interleaved":
            out = jnp.moveaxis(out.reshape(*g.shape[1:], g.shape[0]), -1, 0)
        return g + lax.stop_gradient(out - g) if self.gradient == "ideal" else out


# ------------------------------------------------------------------------------------- the network


class _Network(NamedTuple):
    """Lines in the orientation of the drawing, MΩ: mirrored if they are driven or sensed at the other end."""

    word: Array  # (M, N): segment to the left of every device; column 0 leads to the driver
    bit: Array  # (M, N): segment below every device; the last row leads to virtual ground
    right: Array | None  # (M,): to a second driver at the right end
    top: Array | None  # (N,): to virtual ground at the top end


def _network(
    shape: tuple[int, int], r_word: ArrayLike, r_bit: ArrayLike, r_driver: ArrayLike | None,
    r_sense: ArrayLike | None, drive: str, sense: str, dtype: np.dtype,
) -> _Network:  # fmt: skip
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
    return _Network(word.at[:, 0].set(driver), bit.at[-1].set(ground), right, top)


def _check_finite(name: str, value: ArrayLike, unit: str, low: float | None = None) -> None:
    if isinstance(value, jax.core.Tracer):
        return
    a = np.asarray(value)
    if not np.isfinite(a).all():
        raise ValueError(f"{name} has {int((~np.isfinite(a)).sum())} values that are NaN or infinite")
    if low is not None and (a < low).any():
        raise ValueError(f"{name} must be ≥ {low:g} {unit}, its smallest value is {a.min():g}")


def _check_conductances(g: ArrayLike) -> Array:
    a = jnp.asarray(g)
    if a.ndim != 2 or a.size == 0:
        raise ValueError(
            f"g must be a matrix of conductances (rows, cols), got shape {a.shape}; use jax.vmap for batches"
        )
    _check_finite("g", g, "µS", low=0.0)
    return a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(jnp.zeros(()).dtype)


def _flips(drive: str, sense: str) -> tuple[bool, bool]:
    """Whether columns and rows are mirrored."""
    return drive == "right", sense == "top"


def _mirror(a: Array, flip: tuple[bool, bool]) -> Array:
    a = a[..., ::-1] if flip[0] else a
    return a[..., ::-1, :] if flip[1] else a


# ------------------------------------------------------------------------- the whole linear map


def effective_conductance(
    g: ArrayLike, r_word: ArrayLike, r_bit: ArrayLike, *, r_driver: ArrayLike | None = None,
    r_sense: ArrayLike | None = None, drive: str = "left", sense: str = "bottom",
) -> Array:  # fmt: skip
    """The exact linear map of a crossbar with resistive lines: I = G_effᵀ V (lines sensed at both ends: their sum).

    Merges blocks of devices in O(N³) (see `star.py`), about 0.1 s for 256² and 0.5 s for 512² in float32 on two
    CPU cores. Exact for r = 0 and for G = 0, where gradients are finite. Batches by ``jax.vmap``.

    Args:
        g: conductances (M, N) = (word lines, bit lines), µS.
        r_word: resistance of a word-line segment, Ω: a number, or (M, N) with the segment to the left of every device
            (column 0 is the driver's, unless ``r_driver`` is given).
        r_bit: the same for bit lines: (M, N) with the segment below every device (the last row is the sense node's).
        r_driver: between driver and first device, Ω, a number or (M,); None: as a segment.
        r_sense: between last device and virtual ground, Ω, a number or (N,); None: as a segment.
        drive: ends of the word lines that are driven: "left", "right", "both".
        sense: ends of the bit lines at virtual ground: "bottom", "top", "both".

    Returns:
        G_eff (M, N), µS.

    Raises:
        ValueError: for negative or non-finite numbers, wrong shapes or unknown ends.
    """
    a = _check_conductances(g)
    shape = (a.shape[0], a.shape[1])
    net = _network(shape, r_word, r_bit, r_driver, r_sense, drive, sense, a.dtype)
    return _effective(a, net, _flips(drive, sense))


@partial(jax.jit, static_argnums=2)
def _effective(g: Array, net: _Network, flip: tuple[bool, bool]) -> Array:
    g = _mirror(g, flip)
    if net.right is None and net.top is None:
        return _mirror(star.conductance_map(g, net.word, net.bit), flip)
    (m, n), block = g.shape, star.block_map(g, net.word, net.bit)
    left, bottom = slice(0, m), slice(2 * m + n, None)
    # unknown: current leaving on the right, current entering at the top; conditions at those ends, V on all rows
    inner = block[m : 2 * m + n, m : 2 * m + n]
    known = block[m : 2 * m + n, left]
    end = jnp.concatenate(
        [
            jnp.zeros(m, g.dtype) if net.right is None else -net.right,
            jnp.zeros(n, g.dtype) if net.top is None else net.top,
        ]
    )
    # a second end without any resistance to the first one changes nothing: leave it open
    active = jnp.concatenate(
        [
            jnp.zeros(m, bool) if net.right is None else net.right + jnp.sum(net.word, axis=1) > 0,
            jnp.zeros(n, bool) if net.top is None else net.top + jnp.sum(net.bit, axis=0) > 0,
        ]
    )
    matrix = jnp.where(active[:, None], inner + jnp.diag(end), jnp.eye(m + n, dtype=g.dtype))
    wanted = jnp.concatenate([jnp.eye(m, dtype=g.dtype) - known[:m], -known[m:]])
    unknown = jnp.linalg.solve(matrix, jnp.where(active[:, None], wanted, 0.0))
    current = block[bottom, left] + block[bottom, m : 2 * m + n] @ unknown
    if net.top is not None:
        current = current - unknown[m:]
    return _mirror(current.T, flip)


# ----------------------------------------------------------------------------------- a few vectors


class Solution(NamedTuple):
    """Currents and voltages of a crossbar, for inputs (…, M).

    Attributes:
        currents: of every bit line, (…, N), µA.
        word: word-line voltage at every device, (…, M, N), V.
        bit: bit-line voltage at every device, (…, M, N), V.
        power: dissipated in devices and lines, (…,), µW.
        residual: relative residual that the iteration ended with, (…,).
        iterations: that it took.
    """

    currents: Array
    word: Array
    bit: Array
    power: Array
    residual: Array
    iterations: Array


def _line_drop(current: Array, r: Array, far: Array | None) -> Array:
    """Voltage that device currents drop along lines that run along the last axis from a driver on the left.

    With a second driver of resistance ``far`` at the right end, the current that it takes over.
    """
    drop = jnp.cumsum(r * jnp.flip(jnp.cumsum(jnp.flip(current, -1), axis=-1), -1), axis=-1)
    if far is None:
        return drop
    along = jnp.cumsum(r, axis=-1)
    total = along[..., -1:] + far[..., None]
    return drop - along * ratio(jnp.sum(along * current, axis=-1, keepdims=True), total)


def _drop(current: Array, net: _Network) -> tuple[Array, Array]:
    """Voltages lost on the word lines and gained on the bit lines by device currents (…, M, N)."""

    def turned(a: Array) -> Array:
        return jnp.flip(jnp.swapaxes(a, -1, -2), -1)

    word = _line_drop(current, net.word, net.right)
    bit = _line_drop(turned(current), turned(net.bit), net.top)
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


def _device_voltages(g: Array, applied: Array, net: _Network, tolerance: float, limit: int) -> Array:
    """X with (1 + Z G) x = applied: conjugate gradients on (1 + √G Z √G), differentiated by the adjoint equation."""
    s = safe_sqrt(lax.stop_gradient(g))
    fixed = jax.tree.map(lax.stop_gradient, net)

    def z(current: Array) -> Array:
        word, bit = _drop(current, fixed)
        return word + bit

    def symmetric(b: Array) -> Array:
        return _conjugate_gradients(lambda y: y + s * z(s * y), b, tolerance, limit)

    def apply(x: Array) -> Array:
        word, bit = _drop(g * x, net)
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

    Conjugate gradients on the device voltages: 5 to 20 iterations from 128² to 512² at 1 to 5 Ω. Nonlinear devices,
    I = G f(v), by Newton's method around it, with gradients of the solution itself (implicit differentiation).

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
    a = _check_conductances(g)
    _check_finite("v", v, "V")
    v = jnp.asarray(v, a.dtype)
    if v.ndim < 1 or v.shape[-1] != a.shape[0]:
        raise ValueError(f"v must end in {a.shape[0]} voltages for {a.shape} conductances, got shape {v.shape}")
    net = _network((a.shape[0], a.shape[1]), r_word, r_bit, r_driver, r_sense, drive, sense, a.dtype)
    if tolerance is None:
        tolerance = 1e-12 if a.dtype == jnp.float64 else 1e-6
    ground = jnp.broadcast_to(jnp.asarray(v_sense, a.dtype), (a.shape[1],))
    if law is not None and jax.tree_util.all_leaves([law]):  # a plain function
        law = jax.tree_util.Partial(law)
    found = _solve(a, v, ground, net, law, _flips(drive, sense), tolerance, max_iterations, max_newton)
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
    g: Array, v: Array, ground: Array, net: _Network, law: Callable[[Array], Array] | None,
    flip: tuple[bool, bool], tolerance: float, limit: int, newton: int,
) -> Solution:  # fmt: skip
    g = _mirror(g, flip)
    v = v[..., ::-1] if flip[1] else v
    ground = ground[::-1] if flip[0] else ground
    applied = jnp.broadcast_to(v[..., None] - ground, (*v.shape, ground.shape[0]))
    x = _device_voltages(g, applied, net, tolerance, limit)
    current, count = g * x, jnp.asarray(1)
    if law is not None:
        x, count = _newton(x, _Problem(g, net, applied, law), tolerance, limit, newton)
        current = g * law(x)
    word_drop, bit_rise = _drop(current, net)
    word, bit = v[..., None] - word_drop, ground + bit_rise
    norm = jnp.linalg.norm(applied, axis=(-2, -1))
    residual = ratio(jnp.linalg.norm(x + word_drop + bit_rise - applied, axis=(-2, -1)), norm)
    currents = jnp.sum(current, axis=-2)
    power = jnp.sum(v * jnp.sum(current, axis=-1), axis=-1) - jnp.sum(ground * currents, axis=-1)
    currents = currents[..., ::-1] if flip[0] else currents
    return Solution(currents, _mirror(word, flip), _mirror(bit, flip), power, residual, count)


class _Problem(NamedTuple):
    """A nonlinear network: x + Z G f(x) = applied."""

    g: Array
    net: _Network
    applied: Array
    law: Callable[[Array], Array]

    def miss(self, x: Array) -> Array:
        """By how much device voltages ``x`` miss the equation."""
        word, bit = _drop(self.g * self.law(x), self.net)
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


def currents(
    g: ArrayLike, v: ArrayLike, r_word: ArrayLike, r_bit: ArrayLike, *, method: str = "auto", **ends: object
) -> Array:
    """Bit-line currents (…, N) in µA for inputs ``v`` (…, M) in V, by whichever way is cheaper.

    Args:
        g, v, r_word, r_bit: as for `solve`; ``ends``: its other arguments.
        method: "map" (`effective_conductance`, then a product), "iterative" (`solve`), or "auto": iterative for up to
            one vector per 16 lines, and for nonlinear devices.

    Raises:
        ValueError: as `solve`, and for an unknown method.
    """
    if method not in ("auto", "map", "iterative"):
        raise ValueError(f"method must be 'auto', 'map' or 'iterative', got {method!r}")
    v = jnp.asarray(v)
    few = v.size // max(v.shape[-1], 1) * 16 <= v.shape[-1]
    solver_only = {"law", "tolerance", "max_iterations", "max_newton", "v_sense"} & set(ends)
    if method == "iterative" or (method == "auto" and (few or solver_only)):
        return solve(g, v, r_word, r_bit, **ends).currents  # type: ignore[arg-type]
    return v @ effective_conductance(g, r_word, r_bit, **ends)  # type: ignore[arg-type]


# ------------------------------------------------------------------------- device laws, approximations


@spec
class SinhLaw:
    """f(v) = sinh(α v) / α: hopping conduction. α in 1/V, not 0."""

    alpha: float

    def __call__(self, v: Array) -> Array:  # noqa: D102
        return jnp.sinh(self.alpha * v) / self.alpha


@spec
class CubicLaw:
    """f(v) = v + b v³, b in 1/V²."""

    b: float

    def __call__(self, v: Array) -> Array:  # noqa: D102
        return v + self.b * v**3


def first_order_conductance(g: ArrayLike, r_word: float, r_bit: float) -> Array:
    """G_eff to first order in the resistances: every current as without wires, the drops it causes subtracted.

    Error of the currents against the exact map, G uniform in [1, 25] µS, 1 Ω a segment: 0.011 % at N = 32, 0.15 % at
    64, 2.4 % at 128 (without any correction 1.0, 3.7 and 15 %). The error grows with the square of r.
    """
    a = _check_conductances(g)
    net = _network((a.shape[0], a.shape[1]), r_word, r_bit, None, None, "left", "bottom", a.dtype)
    unit = jnp.broadcast_to(jnp.eye(a.shape[0], dtype=a.dtype)[..., None], (a.shape[0], *a.shape))
    word, bit = _drop(a * unit, net)
    return jnp.sum(a * (unit - word - bit), axis=-2)


def rasch_drop(w: Array, x: Array, *, segment: float = 0.35, g_max: float = 5.0) -> Array:
    """Outputs x @ w with the polynomial IR drop of Rasch et al., Nat. Commun. 14:5282 (2023): bit lines only.

    ``a = n γ Σ|w||x|``, ``c = a (0.05 a² − 0.2 a + 0.5)``, ``Δy = −c Σ w x (1 − (1 − j/n)²)`` with γ = segment · g_max.

    j counts rows from the sense node, so row n − 1, at the bottom, loses nothing. Against the exact map with Gaussian
    weights and inputs it halves the error of ignoring the wires: 2.3 to 1.1 % (n = 512, 0.35 Ω, 5 µS), 8.0 to 3.6 %
    (n = 256, 1 Ω, 25 µS).

    Args:
        w: normalised weights (n, cols); x: normalised inputs (…, n).
        segment: resistance of one segment, Ω; g_max: µS.
    """
    n = w.shape[0]
    a = n * segment * g_max * 1e-6 * (jnp.abs(x) @ jnp.abs(w))
    c = a * (0.05 * a * a - 0.2 * a + 0.5)
    place = (1.0 - (1.0 - jnp.arange(n) / n) ** 2)[::-1]
    return x @ w - c * ((x * place) @ w)
