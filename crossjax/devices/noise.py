"""The random parts of one memory device: programming error, drift, accumulated 1/f noise, noise of one MVM.

Each part is a law of the normalised conductance (`laws.py`) plus what the law does to a conductance. Units:
conductance µS, time s. Coefficients in µS belong to the device they were measured on: they are scaled by
g_max / g_ref when a spec is given another g_max.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside, safe_sqrt
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax._random import normal, uniform
from crossjax.devices.laws import Law


@spec
class ProgrammingError:
    """What is left between a target conductance and the programmed one: g_P = g_T + σ_P(g_T/g_max) ξ.

    Attributes:
        sigma: standard deviation in µS, a law of x = g_T / g_max.
        g_ref: the g_max (µS) at which ``sigma`` was measured; at another g_max, σ_P scales in proportion.
        distribution: "normal" or "uniform" (of the same standard deviation).
    """

    sigma: Law
    g_ref: float
    distribution: str = static(default="normal")

    def _check(self) -> None:
        check_range(self, "g_ref", low=0, strict=True)
        check_choice(self, "distribution", ("normal", "uniform"))

    def deviation(self, g: Array, g_max: Array | float) -> Array:
        """σ_P in µS at conductance ``g`` (µS)."""
        return self.sigma(g / g_max) * (g_max / self.g_ref)

    def draw(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Errors of unit standard deviation."""
        if self.distribution == "uniform":
            return uniform(key, shape, -(3**0.5), 3**0.5)
        return normal(key, shape)


@spec
class ByPulses:
    """In place of a `ProgrammingError`: the device is known by its pulses only, and programming is a write request."""


class Drift(Protocol):
    """What time does to a programmed conductance. Elementwise on arrays of any shape."""

    def draw(self, key: Array, x: Array) -> Array:
        """What is random about it, once per device and programming event, at normalised conductances ``x``."""
        ...

    def apply(self, g: Array, drawn: Array, t: Array | float, g_max: Array | float) -> Array:
        """Conductance (µS) ``t`` seconds after the first read of devices programmed to ``g`` µS."""
        ...


@spec
class PowerLawDrift:
    """g(t) = g_P ((t + t_0) / t_0)^(−ν), with ν = |μ(x) + σ(x) ξ| drawn once per programming event.

    Attributes:
        mean, spread: laws of x = g_P / g_max for μ and σ of the drift exponent.
        t_0: seconds between programming and the first read, where t = 0.
    """

    mean: Law
    spread: Law | None
    t_0: float

    def _check(self) -> None:
        check_range(self, "t_0", low=0, strict=True)

    def exponent(self, key: Array, x: Array) -> Array:
        """One drift exponent per device, for normalised conductances ``x``."""
        if self.spread is None:
            return self.mean(x)
        return jnp.abs(self.mean(x) + self.spread(x) * normal(key, x.shape, x.dtype))

    def factor(self, nu: Array, t: Array | float) -> Array:
        """g(t) / g_P."""
        return jnp.exp(-nu * jnp.log1p(t / self.t_0))

    def draw(self, key: Array, x: Array) -> Array:
        """See `Drift.draw`: the exponent."""
        return self.exponent(key, x)

    def apply(self, g: Array, drawn: Array, t: Array | float, g_max: Array | float) -> Array:
        """See `Drift.apply`."""
        return g * self.factor(drawn, t)


@spec
class LogRelaxation:
    """g(t) = max(g_P + μ ln τ + (s₀ + s₁ ln τ) ξ, 0), τ = (t + t_0) / 1 s; ξ normal, once per programming event.

    The same at every conductance. It may leave [g_min, g_max]. At t = 0 the spread is already s₀ + s₁ ln t_0.

    Attributes:
        mean: μ, µS per factor e of time.
        spread: (s₀, s₁), µS and µS per factor e of time.
        g_ref: the g_max (µS) at which they were measured; at another g_max they scale in proportion.
        t_0: seconds between programming and the first read, where t = 0; the law holds from 1 s on, so ≥ 1.
    """

    mean: float
    spread: tuple[float, float]
    g_ref: float
    t_0: float = 1.0

    def _check(self) -> None:
        check_range(self, "g_ref", low=0, strict=True)
        check_range(self, "spread", low=0)
        check_range(self, "t_0", low=1)

    def draw(self, key: Array, x: Array) -> Array:
        """See `Drift.draw`: ξ."""
        return normal(key, x.shape, x.dtype)

    def apply(self, g: Array, drawn: Array, t: Array | float, g_max: Array | float) -> Array:
        """See `Drift.apply`."""
        age = jnp.log(t + self.t_0)
        change = self.mean * age + (self.spread[0] + self.spread[1] * age) * drawn
        return clip_inside(g + change * (g_max / self.g_ref), 0.0, jnp.inf)


@spec
class FlickerNoise:
    """1/f noise accumulated between programming and a read: relative σ = Q(x) √ln((t + t_0 + t_read) / 2 t_read).

    Attributes:
        q: law of x = g_P / g_max.
        t_0: seconds between programming and t = 0.
        t_read: duration of one read, s.
    """

    q: Law
    t_0: float
    t_read: float

    def _check(self) -> None:
        check_range(self, "t_0", low=0, strict=True)
        check_range(self, "t_read", low=0, strict=True)

    def growth(self, t: Array | float) -> Array:
        """How the relative deviation grows with time: σ_g / g = Q · growth."""
        return safe_sqrt(jnp.log(jnp.maximum((t + self.t_0 + self.t_read) / (2 * self.t_read), 1.0)))


@spec
class ReadNoise:
    """Noise of one device in one MVM, fresh for every input vector: variance as a law of x, in µS².

    An MVM sums many devices, so their noise is drawn once per output with the exact variance
    Σ_i var(g_i) x_i² instead of once per device (physics: output-referred noise).

    Attributes:
        variance: law of x = g / g_max, in µS² at ``g_ref``.
        g_ref: the g_max (µS) at which it was measured.
    """

    variance: Law
    g_ref: float

    def _check(self) -> None:
        check_range(self, "g_ref", low=0, strict=True)

    def at(self, g: Array, g_max: Array | float) -> Array:
        """Variance in µS² at conductance ``g`` (µS)."""
        return jnp.maximum(self.variance(g / g_max), 0.0) * (g_max / self.g_ref) ** 2
