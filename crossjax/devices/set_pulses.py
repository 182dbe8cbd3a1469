"""Accumulating SET pulses of phase-change memory (Nandakumar et al., J. Appl. Phys. 124:152135, 2018)."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import clip_inside
from crossjax._pytree import check_count, check_range, spec, static
from crossjax._random import named, normal, numbered
from crossjax.devices.writes import Plan, Scalar


@spec
class SetPulses:
    """State (g, P), P = 1 after RESET. Each SET pulse crystallises a little less than the one before.

    Per SET pulse ``P ← P e^(−1/τ)`` and ``Δg ~ N(a₀ + a₁ g + a₂ P, (b₀ + b₁ g + b₂ P)²)``, g clipped to
    [g_low, g_max]; RESET leaves g_low (1 ± reset_spread) and P = 1. The controller counts pulses, so that it knows P;
    of g it knows the mean curve. Upwards it sends as many SET pulses as that needs from where it believes the device to
    be; downwards a RESET, and the SET pulses that lead back to the goal.

    Attributes:
        mean: (a₀, a₁, a₂): µS, 1, µS.
        spread: (b₀, b₁, b₂): µS, 1, µS.
        decay: τ, in pulses.
        g_low: conductance after RESET, µS.
        reset_spread: relative standard deviation of it.
        max_pulses: most SET pulses that one request may use.
    """

    mean: tuple[float, float, float] = (0.880, -0.084, 1.40)
    spread: tuple[float, float, float] = (0.260, 0.091, 2.15)
    decay: float = 2.6
    g_low: float = 0.1
    reset_spread: float = 0.1
    max_pulses: int = static(default=20)

    def _check(self) -> None:
        check_range(self, "decay", low=0, strict=True)
        check_range(self, "g_low", low=0)
        check_range(self, "reset_spread", low=0)
        check_range(self, "spread", low=0)
        check_count(self, "max_pulses")

    # ------------------------------------------------------------------------------------ the device

    def start(
        self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Array, tuple[Array, Array]]:
        """See `Write.start`: conductance after RESET and P = 1; the controller knows the mean of both."""
        return self.reset(named(key, "reset"), shape), jnp.ones(shape), (jnp.full(shape, self.g_low), jnp.ones(shape))

    def reset(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Conductance (µS) after a RESET pulse."""
        return jnp.maximum(self.g_low * (1.0 + self.reset_spread * normal(key, shape)), 0.0)

    def set_once(self, key: Array, p: Array, g: Array, g_max: Scalar) -> tuple[Array, Array]:
        """(g, P) after one SET pulse on every device."""
        p = p * jnp.exp(-1.0 / self.decay)
        sigma = self.spread[0] + self.spread[1] * g + self.spread[2] * p
        step = self._mean_step(g, p) + sigma * normal(key, g.shape, g.dtype)
        return clip_inside(g + step, self.g_low, g_max), p

    def respond(
        self, key: Array, memory: Array, g: Array, stimulus: tuple[Array, Array], g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Array]:
        """See `Write.respond`; the stimulus is (whether it begins with a RESET, how many SET pulses)."""
        down, count = stimulus
        g = jnp.where(down, self.reset(named(key, "reset"), g.shape), g)

        def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
            g, p = carry
            after, faded = self.set_once(numbered(key, k), p, g, g_max)
            return (jnp.where(k < count, after, g), jnp.where(k < count, faded, p)), None

        return lax.scan(step, (g, jnp.where(down, 1.0, memory)), jnp.arange(self.max_pulses))[0]

    def _mean_step(self, g: Array, p: Array) -> Array:
        return self.mean[0] + self.mean[1] * g + self.mean[2] * p

    # -------------------------------------------------------------------------------- its controller

    def plan(self, target: Array, known: tuple[Array, Array], goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """See `Write.plan`: as many pulses as bring the mean curve nearest to the goal.

        It keeps P and where the mean curve has got to; what is less than half a pulse is kept for the next request.
        """
        goal = clip_inside(goal, self.g_low, g_max)
        down = (goal < target) & (goal < known[0])
        start = jnp.where(down, self.g_low, known[0]), jnp.where(down, 1.0, known[1])

        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            g, p = carry
            faded = p * jnp.exp(-1.0 / self.decay)
            after = jnp.minimum(g + jnp.maximum(self._mean_step(g, faded), 0.0), g_max)
            worth = 0.5 * (g + after) < goal  # never again, once it is not
            return (jnp.where(worth, after, g), jnp.where(worth, faded, p)), worth

        known, worth = lax.scan(step, start, None, length=self.max_pulses)
        count = jnp.sum(worth, axis=0, dtype=jnp.int32)
        return Plan((down, count), count + down.astype(jnp.int32), goal, known)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`: the spread of one late SET pulse (P = 0)."""
        return self.spread[0] + self.spread[1] * g
