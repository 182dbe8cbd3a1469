"""Mean and variance of a conductance, in closed form: what sampling many devices converges to, without the noise.

What a device does is a programming error, then drift, then accumulated 1/f noise, each independent of the last given
what it left. Drift and 1/f noise have closed forms (Gaussians folded or clipped at 0); over the programming error,
which decides by how much they act, it is a Gauss-Legendre sum over the error that is not clipped.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.stats import norm

from crossjax._kinds import door
from crossjax._numerics import positive_part, ratio
from crossjax.devices.device import Device
from crossjax.devices.noise import ByPulses, ProgrammingError

REACH, NODES = 6.0, 32  # standard deviations that the sum covers, and its terms


def has_moments(device: Device) -> str | None:
    """Why a device has no closed form, or None if it has one."""
    if isinstance(device.programming, ByPulses):
        return "it is known by its pulses only"
    if device.ceiling is not None:
        return "its devices end at conductances of their own (ceiling)"
    if device.drift is not None and not callable(getattr(device.drift, "moments", None)):
        return f"its drift, {type(device.drift).__name__}, has no method moments"
    return None


@door
def moments(device: Device, target: Array, t: Array | float) -> tuple[Array, Array]:
    """Mean (µS) and variance (µS²) of devices programmed to ``target`` µS, ``t`` seconds after the first read.

    Programming error, drift, accumulated 1/f noise and faults, as `Device.program` and `Device.at` draw them;
    differentiable in the target, the time and the device's numbers.

    Args:
        device: any device with a programming law.
        target: conductances of any shape.
        t: one time.

    Raises:
        ValueError: for a device that is known by its pulses only, or whose parts give no moments; says which.
    """
    if why := has_moments(device):
        raise ValueError(f"this device has no closed form, since {why}: sample it")
    aim = device.nearest(jnp.asarray(target))
    g, mass = _programmed(device, aim)
    x = jnp.clip(aim, device.g_min, device.g_max) / device.g_max
    first, second = g, g * g
    if device.drift is not None:
        drift: Any = device.drift
        first, second = drift.moments(g, x, drift.logarithm(t), device.g_max)
    if device.flicker is not None:
        spread = device.flicker.q(g / device.g_max) * device.flicker.growth(t)
        one, two = positive_part(jnp.ones_like(spread), spread)
        first, second = first * one, second * two
    first, second = jnp.sum(first * mass, axis=0), jnp.sum(second * mass, axis=0)
    if device.faults is not None:
        first, second = _with_faults(device, first, second)
    return first, jnp.maximum(second - first * first, 0.0)


def _programmed(device: Device, aim: Array) -> tuple[Array, Array]:
    """Conductances that programming leaves and their probabilities, both (nodes, …)."""
    error = device.programming
    if not isinstance(error, ProgrammingError):
        return aim[None], jnp.ones_like(aim)[None]
    sigma = error.deviation(aim, device.g_max)
    even = error.distribution == "uniform"
    reach = 3.0**0.5 if even else REACH
    low = jnp.clip(ratio(device.g_min - aim, sigma, -reach), -reach, reach)  # errors below are clipped to g_min
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    column = (-1, *[1] * aim.ndim)
    half = 0.5 * (reach - low)
    xi = low + half * (1.0 + nodes.reshape(column))
    density = 0.5 / reach if even else norm.pdf(xi)
    mass = half * weights.reshape(column) * density
    clipped = 1.0 - jnp.sum(mass, axis=0)
    g = jnp.concatenate([aim + sigma * xi, jnp.full_like(aim, device.g_min)[None]])
    mass = jnp.concatenate([mass, clipped[None]])
    if device.reset_zero:
        g = jnp.where(aim <= device.g_min, device.g_min, g)
    return g, mass


def _with_faults(device: Device, first: Array, second: Array) -> tuple[Array, Array]:
    faults, low, high = device.faults, device.g_min, device.g_max
    assert faults is not None
    between = (low + high) / 2, (low * low + low * high + high * high) / 3
    stuck = (faults.low, low, low * low), (faults.high, high, high * high), (faults.anywhere, *between)
    first, second = faults.device_yield * first, faults.device_yield * second
    for share, one, two in stuck:
        first, second = first + share * one, second + share * two
    return first, second
