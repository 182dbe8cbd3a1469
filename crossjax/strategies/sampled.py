"""The published objective, in NumPy: weights drawn again for every strategy, as a peer computes it.

It shares nothing with the closed form but the laws of the device, tabulated: what one is measured against the other by.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from crossjax.devices.device import Device
from crossjax.devices.noise import LogRelaxation, PowerLawDrift, ProgrammingError
from crossjax.strategies.cube import Cube
from crossjax.strategies.density import Density

FINE = 1001


class SampledLoss:
    """Time-averaged square error of ``samples`` weights of every value of a density, fresh at every call.

    Raises:
        ValueError: for a device with faults, an end of its own, or a drift other than the two that are built in.
    """

    def __init__(self, device: Device, density: Density, times: Sequence[float], samples: int = 100) -> None:
        known = device.drift is None or isinstance(device.drift, PowerLawDrift | LogRelaxation)
        if not known or device.faults is not None or device.ceiling is not None or not isinstance(
            device.programming, ProgrammingError | None
        ):  # fmt: skip
            raise ValueError("the published objective knows devices with a programming law and built-in drift only")
        self.device, self.samples = device, samples
        self.times = (0.0, *map(float, times))
        self.weights = np.asarray(density.weights, float)
        self.mass = np.asarray(density.mass, float)
        x = jnp.linspace(0.0, 1.5, FINE)
        self.grid = np.asarray(x)
        error = device.programming
        power = device.drift if isinstance(device.drift, PowerLawDrift) else None
        laws = {
            "sigma": error and error.deviation(x * device.g_max, device.g_max),
            "mean": None if power is None else power.mean(x),
            "spread": None if power is None or power.spread is None else power.spread(x),
            "q": None if device.flicker is None else device.flicker.q(x),
        }
        self.laws = {name: np.zeros(FINE) if law is None else np.asarray(law, float) for name, law in laws.items()}

    def _law(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.interp(x, self.grid, self.laws[name])

    def conductances(self, random: np.random.Generator, target: np.ndarray) -> np.ndarray:
        """µS of devices programmed to ``target`` µS, (times, …, samples), the first read first."""
        d, g_max, error = self.device, float(self.device.g_max), self.device.programming
        shape = (*target.shape, self.samples)
        x = target[..., None] / g_max
        even = error is not None and error.distribution == "uniform"  # pyright: ignore[reportAttributeAccessIssue]
        xi = random.uniform(-(3**0.5), 3**0.5, shape) if even else random.standard_normal(shape)
        g = np.maximum(target[..., None] + self._law("sigma", x) * xi, float(d.g_min))
        if d.reset_zero:
            g = np.where(target[..., None] <= float(d.g_min), float(d.g_min), g)
        drawn = random.standard_normal(shape)
        nu, q = np.abs(self._law("mean", x) + self._law("spread", x) * drawn), self._law("q", g / g_max)
        found = []
        for t in self.times:
            now = g
            if isinstance(d.drift, PowerLawDrift):
                now = g * (1 + t / float(d.drift.t_0)) ** -nu
            elif isinstance(d.drift, LogRelaxation):
                log = np.log(t + float(d.drift.t_0))
                change = d.drift.mean * log + (d.drift.spread[0] + d.drift.spread[1] * log) * drawn
                now = np.maximum(g + change * g_max / float(d.drift.g_ref), 0.0)
            if d.flicker is not None:
                age = (t + float(d.flicker.t_0) + float(d.flicker.t_read)) / (2 * float(d.flicker.t_read))
                noise = q * np.sqrt(np.log(max(age, 1.0))) * random.standard_normal(shape)
                now = np.maximum(now * (1 + noise), 0.0)
            found.append(now)
        return np.stack(found)

    def __call__(
        self, random: np.random.Generator, factors: np.ndarray, knots: np.ndarray, x: np.ndarray, scale: float
    ) -> float:
        """The loss of a strategy with these numbers (see `Strategy`)."""
        low, span = float(self.device.g_min), float(self.device.g_max) - float(self.device.g_min)
        places = np.stack([np.interp(self.weights, knots, row) for row in x])
        g = self.conductances(random, low + span * places) / span
        pairs = g[:, 0::2] - g[:, 1::2]
        w = np.einsum("p,tpjk->tjk", factors, pairs) / scale
        power = np.einsum("j,tjk->t", self.mass, w**2)
        alpha = np.sqrt(power[0] / power[1:])[:, None, None]
        missed = np.mean((alpha * w[1:] - self.weights[:, None]) ** 2, axis=(0, 2))
        return float(missed @ self.mass)


def in_numpy(cube: Cube, point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """`at_point` in NumPy: factors, knots, conductances and scale of the strategy at a point."""
    factors, knots, low, high, least = cube.factors, cube.knots, float(cube.low), float(cube.high), float(cube.scale)
    fs, at = [float(f) for f in factors], np.asarray(knots, float)
    many = len(at) * (2 * len(fs) - 1)
    if cube.significance is not None:
        fs[0] = cube.significance[0] + (cube.significance[1] - cube.significance[0]) * point[many + 1]
    span = high - low
    scale = sum(fs) * (least + (span - least) * point[many])
    u, left, rows = point[:many].reshape(-1, len(at)), at * scale, []
    for p, factor in enumerate(fs):
        if p < len(fs) - 1:
            below = span * sum(fs[p + 1 :])
            start = np.maximum(left - below, -factor * span)
            end = np.minimum(left + below, factor * span)
            change, place = (start + (end - start) * u[2 * p]) / factor, u[2 * p + 1]
        else:
            change, place = left / factor, u[2 * p]
        start, end = low + np.maximum(change, 0.0), high + np.minimum(change, 0.0)
        plus = start + (end - start) * place
        rows += [plus, plus - change]
        left = left - factor * change
    return np.asarray(fs), at, np.stack(rows), scale
