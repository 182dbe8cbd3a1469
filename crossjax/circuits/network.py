"""The resistive network of a crossbar for a few input vectors: currents, node voltages, power, nonlinear devices.

Conjugate gradients on the device voltages (`conjugate`), which see a network of M N unknowns whose condition is mild
however large the array; Newton's method around them (`newton`); elimination where lines are broken (`nodal`).
Derivatives come from the adjoint equation and from the solution itself, never from the iterations.
`crossjax.circuits.wires` has the drawing, the units and the whole linear map.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax._numerics import ratio
from crossjax.circuits import newton, nodal
from crossjax.circuits.conjugate import device_voltages
from crossjax.circuits.lines import (
    Lines,
    Network,
    beyond,
    check_conductances,
    check_numbers,
    check_voltages,
    drop,
    in_double,
    mended,
    mirror,
    network,
    way,
)


class NotConvergedError(ArithmeticError):
    """An iterative solution did not reach its tolerance; the message holds the residual."""


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


@door
def solve(
    g: ArrayLike, v: ArrayLike, r_word: Any, r_bit: ArrayLike | None = None, *, r_driver: ArrayLike | None = None,
    r_sense: ArrayLike | None = None, v_sense: ArrayLike = 0.0, drive: str = "left", sense: str = "bottom",
    law: Callable[[Array], Array] | None = None, tolerance: float | None = None, max_iterations: int = 500,
    max_newton: int = 100,
) -> Solution:  # fmt: skip
    """Currents, node voltages and power of a crossbar for a few input vectors.

    Conjugate gradients on the device voltages, for all vectors at once. Nonlinear devices, I = G f(v), by
    Newton's method around it (`newton`: in float64, one vector after the other), with gradients of the solution itself
    (implicit differentiation). Broken lines (r = ∞) by elimination; what nothing holds at a voltage is given as 0 V.

    Args:
        g: conductances (M, N), µS.
        v: word-line voltages (…, M), V.
        r_word, r_bit, r_driver, r_sense, drive, sense: as for `effective_conductance`.
        v_sense: voltage of the sense nodes, a number or (N,), V.
        law: f, for devices with I = G f(v), f(0) = 0: `SinhLaw`, `CubicLaw`, any spec that is callable (its numbers
            can be differentiated) or any function; None for linear devices.
        tolerance: relative residual; None: 1e-12 in float64, 1e-6 in float32, 1e-10 in float32 with a ``law``.
        max_iterations: of conjugate gradients; max_newton: of Newton's method.

    Returns:
        The `Solution`. Where it did not converge under a transformation, its values are NaN.

    Raises:
        ValueError: for negative or NaN numbers, infinite conductances or voltages, wrong shapes or unknown ends.
        NotConvergedError: if the residual stays above the tolerance.
        OverflowError: if the law's currents are larger than the floats of ``g`` can be (NaN under a transformation).

    Warns:
        UserWarning: if the conductances look like siemens (the largest is below 1e-3 µS).
    """
    a = check_conductances(g)
    check_numbers("v_sense", v_sense, "V")
    v = check_voltages(v, a)
    if np.shape(v_sense) not in ((), (a.shape[1],)):
        raise ValueError(f"v_sense must be a number or one per bit line ({a.shape[1]},), got shape {np.shape(v_sense)}")
    for name, count in (("max_iterations", max_iterations), ("max_newton", max_newton)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if tolerance is not None:
        ensure_range("tolerance", float(tolerance) if np.ndim(tolerance) == 0 else np.nan, low=0, strict=True)
    shape = (a.shape[0], a.shape[1])
    lines = Lines.given(r_word, r_bit, r_driver=r_driver, r_sense=r_sense, drive=drive, sense=sense)
    net = network(shape, lines, a.dtype)
    if tolerance is None:
        double = a.dtype == jnp.float64
        tolerance = (1e-12 if double else 1e-6) if law is None else (1e-12 if double else 1e-10)
    ground = jnp.broadcast_to(jnp.asarray(v_sense, a.dtype), (a.shape[1],))
    if law is not None and jax.tree_util.all_leaves([law]):  # a plain function
        law = jax.tree_util.Partial(law)
    how = way(g, a.dtype, shape, lines.resistances)
    accuracy = newton.Accuracy(tolerance, max_iterations, max_newton)
    found = _solve(a, v, ground, net, law, lines.mirrored, how, accuracy)
    limit = 100 * tolerance
    good = found.residual <= limit
    if not isinstance(found.residual, jax.core.Tracer) and not bool(jnp.all(good)):
        raise NotConvergedError(_reason(found, law, limit, accuracy))
    if law is not None:
        fits = jnp.isfinite(jnp.sum(found.currents, axis=-1)) & jnp.isfinite(found.power)
        if not isinstance(fits, jax.core.Tracer) and not bool(jnp.all(fits)):
            raise OverflowError(
                f"the law gives currents beyond {jnp.finfo(a.dtype).max:.2g} µA, more than {a.dtype} holds: lower the"
                " voltages or give the lines their resistance"
            )
        good = good & fits
    return jax.tree.map(lambda x: _where_good(good, x), found)


def _reason(found: Solution, law: object, limit: float, how: newton.Accuracy) -> str:
    worst = float(jnp.max(found.residual))
    if law is None:
        return (
            f"relative residual {worst:.2g} is above {limit:.2g} after {how.iterations} iterations: raise"
            " max_iterations or tolerance, or use effective_conductance"
        )
    device = float(jnp.max(jnp.abs(found.word - found.bit)))
    return (
        f"the device law is too nonlinear for its solution to be found: relative residual {worst:.2g} is"
        f" above {limit:.2g} after {int(jnp.max(found.iterations))} of {how.newton} Newton steps, with up to"
        f" {device:.3g} V at a device. The law must be finite, smooth and increasing at these voltages, f(0) = 0: check"
        " it, or lower them"
    )


def _where_good(good: Array, x: Array) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return jnp.where(good.reshape(*good.shape, *[1] * (x.ndim - good.ndim)), x, jnp.nan)


Law = Callable[[Array], Array] | None


@partial(jax.jit, static_argnums=(5, 6, 7))
def _solve(
    g: Array,
    v: Array,
    ground: Array,
    net: Network,
    law: Law,
    flip: tuple[bool, bool],
    how: str,
    accuracy: newton.Accuracy,
) -> Solution:
    g = mirror(g, flip)
    v = v[..., ::-1] if flip[1] else v
    ground = ground[::-1] if flip[0] else ground

    whole, broken = partial(_any, False, accuracy), partial(_any, True, accuracy)

    def fast(*args: Any) -> Solution:
        return whole(*args) if law is None else in_double(whole, *args)

    def slow(*args: Any) -> Solution:
        return in_double(broken, *args)

    def fast_if_whole(g: Array, v: Array, ground: Array, net: Network, law: Law) -> Solution:
        return fast(g, v, ground, mended(net), law)

    args = (g, v, ground, net, law)
    if how == "nodal":
        found = slow(*args)
    elif how == "either":
        found = lax.cond(beyond(g, net), slow, fast_if_whole, *args)
    else:
        found = fast(*args)
        if how == "guarded":
            found = found._replace(residual=jnp.where(beyond(g, net), jnp.nan, found.residual))
    currents = found.currents[..., ::-1] if flip[0] else found.currents
    return found._replace(currents=currents, word=mirror(found.word, flip), bit=mirror(found.bit, flip))


def _any(
    broken: bool, accuracy: newton.Accuracy, g: Array, v: Array, ground: Array, net: Network, law: Law
) -> Solution:
    """The solution in the orientation of the drawing; with broken lines by `nodal`."""
    applied = jnp.broadcast_to(v[..., None] - ground, (*v.shape, ground.shape[0]))
    cases, away, count = applied.reshape(-1, *g.shape), None, jnp.asarray(1)
    word = bit = None
    if broken:
        x, word, bit = nodal.voltages(g, cases, net)
        away = jnp.sum(x, axis=(-2, -1)) * 0.0  # a direct solution
    else:
        x = device_voltages(g, cases, net, accuracy.tolerance, accuracy.iterations)
    current = g * x
    if law is not None:
        x, word, bit, away, count = newton.solve(x, newton.Problem(g, net, cases, law), broken, accuracy)
        current = g * law(x)
    if word is None or bit is None:
        drops = drop(current, net)
        word, bit = -drops[0], drops[1]
    if away is None:
        away = ratio(jnp.linalg.norm(x - word + bit - cases, axis=(-2, -1)), jnp.linalg.norm(cases, axis=(-2, -1)))
    word, bit, current = (a.reshape(applied.shape) for a in (word, bit, current))
    currents = jnp.sum(current, axis=-2)
    power = jnp.sum(v * jnp.sum(current, axis=-1), axis=-1) - jnp.sum(ground * currents, axis=-1)
    word, bit = v[..., None] + word, ground + bit
    if broken:  # a part that nothing holds at a voltage
        apart = nodal.islands(g, net)
        word, bit = jnp.where(apart.word, 0.0, word), jnp.where(apart.bit, 0.0, bit)
    return Solution(currents, word, bit, power, away.reshape(v.shape[:-1]), lax.convert_element_type(count, jnp.int32))
