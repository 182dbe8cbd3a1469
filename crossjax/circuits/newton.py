"""Nonlinear devices, I = G f(v), on resistive lines: Newton's method, made safe for steep laws, in float64.

With device voltages x, applied voltages e and the resistance Z that device currents share on their lines:
x + Z G f(x) = e. Where f is steep (sinh(40 v)/40 grows by e for every 25 mV) a plain Newton step from a voltage that is
too low lands where currents are astronomical, and comes back by 25 mV a step. Three things prevent it:

* a start from the devices one by one, x + (Z G) f(x) = e, as if all of a line carried the same multiple of G;
* no device goes further than to the current that the linear model of the step gives it (as SPICE limits junctions);
* a step that does not come closer to a solution is halved, and at last replaced by Newton's own, halved until it does
  (where no line is broken).

float64 always: currents of steep laws span more than float32 holds, sinh overflows it at α v = 88.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax.circuits import nodal
from crossjax.circuits.conjugate import device_voltages
from crossjax.circuits.lines import Network, drop, mended

BISECTIONS = 50


class Problem(NamedTuple):
    """A nonlinear network: x + Z G f(x) = applied, for one vector or (K, M, N) of them."""

    g: Array
    net: Network
    applied: Array
    law: Callable[[Array], Array]


class Accuracy(NamedTuple):
    """How well to solve it: relative residual, and the most iterations of conjugate gradients and of Newton."""

    tolerance: float
    iterations: int
    newton: int


def _slope(law: Callable[[Array], Array], x: Array) -> Array:
    return jax.vmap(jax.grad(law))(x.reshape(-1)).reshape(x.shape)


def _miss(x: Array, p: Problem) -> Array:
    """By how much device voltages ``x`` miss the equation, V."""
    word, bit = drop(p.g * p.law(x), p.net)
    return x + word + bit - p.applied


def _linear(
    x: Array, p: Problem, islands: nodal.Islands | None, tolerance: float, iterations: int
) -> tuple[Array, Array, Array]:
    """Where the network would be, were the devices linear around ``x`` (M, N): one full Newton step.

    Device voltages, and by how much word and bit lines are away from their ends. Seen as a function of g, net, applied
    and law at a fixed x, its derivatives at the solution are the solution's.
    """
    fixed = jax.tree.map(lax.stop_gradient, p)
    local = fixed.g * _slope(fixed.law, x)
    if islands is None:
        x = x - device_voltages(local, _miss(x, p), fixed.net, tolerance, iterations)
        word, bit = drop(p.g * p.law(x), p.net)
        return x, -word, bit
    source = local * (p.applied - x) + p.g * p.law(x)
    word, bit = (a[0] for a in nodal.shifts(local, source[None], p.net, islands))
    return p.applied + word - bit, word, bit


def _bisect(above: Callable[[Array], Array], like: Array) -> Array:
    """The largest t in [0, 1], for every device, that is not yet ``above``, which grows with t."""

    def halve(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = state
        middle = (low + high) / 2
        over = above(middle)
        return jnp.where(over, low, middle), jnp.where(over, middle, high)

    one = jnp.ones_like(like)
    low, _ = lax.fori_loop(0, BISECTIONS, halve, (jnp.zeros_like(like), one))
    return jnp.where(above(one), low, one)


def _start(linear: Array, p: Problem, broken: bool) -> Array:
    """Device voltages that are about right, from those of linear devices."""
    word, bit = drop(p.g, mended(p.net))
    z = word + bit
    e = linear + z * linear if broken else p.applied
    t = _bisect(lambda t: jnp.abs(t * e) + z * jnp.abs(p.law(t * e)) > jnp.abs(e), e)
    return t * e


def _step(x: Array, p: Problem, islands: nodal.Islands | None, how: Accuracy) -> tuple[Array, Array]:
    """New device voltages, and how far away from the solution these or the old ones were, V (norm)."""
    full, _, _ = _linear(x, p, islands, min(how.tolerance, 1e-8), how.iterations)
    delta = full - x
    wanted = p.law(x) + _slope(p.law, x) * delta
    t = _bisect(lambda t: jnp.sign(delta) * (p.law(x + t * delta) - wanted) > 0, delta)
    delta = t * delta
    if islands is not None:
        return x + delta, jnp.linalg.norm(full - x)
    before = jnp.linalg.norm(_miss(x, p))

    def search(direction: Array, halvings: int) -> tuple[Array, Array]:
        """The direction, halved until the residual is smaller than before, and the residual there."""

        def halve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            half = state[0] / 2
            return half, jnp.linalg.norm(_miss(x + half, p)), state[2] + 1

        def worse(state: tuple[Array, Array, Array]) -> Array:
            return (state[2] < halvings) & ~(state[1] < before)

        first = (direction, jnp.linalg.norm(_miss(x + direction, p)), jnp.asarray(0))
        return lax.while_loop(worse, halve, first)[:2]

    delta, after = search(delta, 4)
    # Newton's own direction leads down from everywhere, if only a little
    delta, after = lax.cond(after < before, lambda: (delta, after), lambda: search(full - x, 40))
    return x + delta, after


def _iterate(linear: Array, p: Problem, islands: nodal.Islands | None, how: Accuracy) -> tuple[Array, Array, Array]:
    """Solve for one vector: device voltages, how far the last were away (V), and the number of steps."""
    size = jnp.maximum(jnp.linalg.norm(p.applied), 1e-30)
    x = _start(linear, p, islands is not None)
    away = jnp.linalg.norm(_miss(x, p)) if islands is None else jnp.asarray(jnp.inf, x.dtype)

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        return (state[2] < how.newton) & (state[1] > how.tolerance * size)

    def step(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return *_step(state[0], p, islands, how), state[2] + 1

    return lax.while_loop(unfinished, step, (x, away, jnp.asarray(0)))


def solve(linear: Array, p: Problem, broken: bool, how: Accuracy) -> tuple[Array, Array, Array, Array, Array]:
    """Solve for all vectors, one after the other.

    Returns device voltages and by how much word and bit lines are away from their ends, (K, M, N), relative residuals
    (K,) and the largest number of steps.

    Derivatives are those of the solution, not of the iteration: they come from one more step, from the solution.

    Args:
        linear: voltages of linear devices, (K, M, N).
        p: the network; broken: whether it has broken lines, and is solved by `nodal`.
        how: accuracy.
    """
    islands = nodal.islands(p.g, p.net) if broken else None
    if islands is not None:
        p = p._replace(applied=jnp.where(islands.word, 0.0, p.applied))
    fixed = jax.tree.map(lax.stop_gradient, p)

    def one(a: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        return _iterate(a[0], fixed._replace(applied=a[1]), islands, how)

    x, away, count = lax.map(one, (lax.stop_gradient(linear), fixed.applied))

    def last(a: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        return _linear(a[0], p._replace(applied=a[1]), islands, min(how.tolerance, 1e-10), how.iterations)

    x, word, bit = lax.map(last, (lax.stop_gradient(x), p.applied))
    if islands is None:
        away = jnp.linalg.norm(lax.stop_gradient(x - word + bit - p.applied), axis=(-2, -1))
    size = jnp.linalg.norm(fixed.applied, axis=(-2, -1))
    away = jnp.where(size == 0, away, away / jnp.where(size == 0, 1.0, size))
    return x, word, bit, away, jnp.max(count)
