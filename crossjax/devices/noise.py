"""The random parts of one memory device: programming error, drift, accumulated 1/f noise, noise of one MVM.

Each part is a law of the normalised conductance (`laws.py`) plus what the law does to a conductance. Units:
conductance µS, time s. Coefficients in µS belong to the device they were measured on: they are scaled by
g_max / g_ref when a spec is given another g_max.
"""

from __future__ import annotations

import math
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.stats import norm

from crossjax._numerics import clip_inside, positive_part, safe_sqrt
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax._random import normal, normal_pair, numbered, uniform
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

    def logarithm(self, t: Array | float) -> Array:
        """The logarithm of time that it goes by, ``t`` seconds after the first read."""
        ...

    def apply(self, g: Array, drawn: Array, logarithm: Array, g_max: Array | float) -> Array:
        """Conductance (µS) at such a time of devices programmed to ``g`` µS."""
        ...

    def typical(self, x: Array) -> Array:
        """What `draw` gives a typical device: all that a controller can know of it."""
        ...


@spec
class PowerLawDrift:
    """g(t) = g_P ((t + t_0) / t_0)^(−ν), with ν = |μ(x) + σ(x) ξ| drawn once per programming event.

    Attributes:
        mean, spread: laws of x = g_T / g_max, the target, for μ and σ of the drift exponent.
        t_0: seconds between programming and the first read, where t = 0.
    """

    mean: Law
    spread: Law | None
    t_0: float

    def _check(self) -> None:
        check_range(self, "t_0", low=0, strict=True)

    def draw(self, key: Array, x: Array) -> Array:
        """See `Drift.draw`: the exponent ν."""
        if self.spread is None:
            return self.mean(x)
        return jnp.abs(self.mean(x) + self.spread(x) * normal(key, x.shape, x.dtype))

    def logarithm(self, t: Array | float) -> Array:
        """See `Drift.logarithm`: ln((t + t_0) / t_0)."""
        return jnp.log1p(jnp.asarray(t) / self.t_0)

    def apply(self, g: Array, drawn: Array, logarithm: Array, g_max: Array | float) -> Array:
        """See `Drift.apply`."""
        return g * jnp.exp(-drawn * logarithm)

    def typical(self, x: Array) -> Array:
        """See `Drift.typical`: μ, as good as the mean of |N(μ, σ)|."""
        return self.mean(x)

    def moments(self, g: Array, x: Array, logarithm: Array, g_max: Array | float) -> tuple[Array, Array]:
        """E[g(t)] and E[g(t)²] over ν, of devices programmed to ``g`` µS at a normalised target ``x``."""
        return g * self._decay(x, logarithm), g * g * self._decay(x, 2.0 * logarithm)

    def _decay(self, x: Array, a: Array) -> Array:
        """E[exp(−a |N(μ, σ)|)]: both halves of the folded Gaussian, completed to squares."""
        mean = self.mean(x)
        if self.spread is None:
            return jnp.exp(-a * mean)
        sigma = jnp.maximum(self.spread(x), 1e-6)

        def half(m: Array) -> Array:
            return jnp.exp(0.5 * (a * sigma) ** 2 - a * m) * norm.cdf(m / sigma - a * sigma)

        return half(mean) + half(-mean)


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

    def typical(self, x: Array) -> Array:
        """See `Drift.typical`: ξ = 0."""
        return jnp.zeros_like(x)

    def logarithm(self, t: Array | float) -> Array:
        """See `Drift.logarithm`: ln τ."""
        return jnp.log(jnp.asarray(t) + self.t_0)

    def apply(self, g: Array, drawn: Array, logarithm: Array, g_max: Array | float) -> Array:
        """See `Drift.apply`."""
        change = self.mean * logarithm + (self.spread[0] + self.spread[1] * logarithm) * drawn
        return clip_inside(g + change * (g_max / self.g_ref), 0.0, jnp.inf)

    def moments(self, g: Array, x: Array, logarithm: Array, g_max: Array | float) -> tuple[Array, Array]:
        """See `PowerLawDrift.moments`; over ξ."""
        mean, spread = self.mean * logarithm, self.spread[0] + self.spread[1] * logarithm
        return positive_part(g + mean * (g_max / self.g_ref), jnp.broadcast_to(spread * (g_max / self.g_ref), g.shape))


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

    # ---- while a chip is being programmed: the same law on the clock of every device, one value an iteration

    def between(self, seconds: Array | float, reads: Array | float) -> Array:
        """Relative deviation, in units of Q, of one mean over ``reads`` reads, ``seconds`` after a write pulse."""
        return safe_sqrt(jnp.log(jnp.maximum(seconds / (2.0 * reads * self.t_read), 1.0)))

    @staticmethod
    def octaves(iterations: int) -> int:
        """Octaves of the spectrum between one iteration and all of them."""
        return math.ceil(math.log2(max(iterations, 1)))

    @staticmethod
    def advance(key: Array, deviation: Array, age: Array, k: Array, octaves: int) -> tuple[Array, Array]:
        """What 1/f noise has added since a device was pulsed, in units of Q, from one iteration to the next.

        A sum of one source an octave, each of variance ln 2, as the law gives an octave of time. The n-th is drawn
        again every 2ⁿ⁺¹ iterations, one source an iteration (Voss and McCartney; Gardner, Sci. Am. 238(4):16, 1978),
        and counts for a device from the first time that this happens after its pulse: ``age`` iterations after it the
        variance is about ln(age), correlated over all times in between. Faster fluctuations are `between`; slower
        ones are part of what was written.

        Args:
            key: the same for all iterations.
            deviation: before iteration ``k``, 0 for a device that was just pulsed.
            age: iterations since the pulse, at least 1, same shape.
            k: the iteration, from 0.
            octaves: see above.

        Returns:
            The deviation in iteration ``k``, and standard normal numbers that are new in it.
        """
        n = lax.population_count(((k + 1) & -(k + 1)) - 1)  # how often 2 divides k + 1
        m = (k + 1) >> (n + 1)
        unit = math.log(2.0) ** 0.5
        new, fresh = normal_pair(_source(key, n, m), age.shape)
        old = jnp.where(age > 2.0 ** (n + 1), normal(_source(key, n, m - 1), age.shape), 0.0)
        return jnp.where(n < octaves, deviation + unit * (new - old), deviation), fresh

    @staticmethod
    def variances_of_means(weights: np.ndarray, octaves: int) -> np.ndarray:
        """Variance, in units of Q², of the weighted mean of `advance` over the first n iterations after a pulse.

        Args:
            weights: of the first, second … iteration.
            octaves: see `advance`.

        Returns:
            For n = 1, 2 …, as many as there are weights; a mean over when the sources are drawn.
        """
        age = np.arange(1, len(weights) + 1)
        apart = np.abs(age[:, None] - age)
        common = np.zeros(apart.shape)
        for period in 2.0 ** np.arange(1, octaves + 1):  # drawn after the pulse, and not again in between
            common += np.clip(np.minimum(np.minimum(age[:, None], age), period - apart), 0.0, None) / period
        sums = np.cumsum(np.cumsum(np.outer(weights, weights) * common, axis=0), axis=1)
        return math.log(2.0) * np.diagonal(sums) / np.cumsum(weights) ** 2


def _source(key: Array, n: Array, m: Array) -> Array:
    """The key of the m-th value of source n: the old one is drawn again, so that only the sum needs to be kept."""
    return numbered(numbered(key, n), m)


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
