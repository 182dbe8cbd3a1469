"""Devices that do not switch: stuck low, stuck high, or stuck anywhere. Composable with any device."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._checks import ensure
from crossjax._pytree import check_range, spec
from crossjax._random import named, uniform


@spec
class Stuck:
    """Which devices of one chip are stuck (boolean) and where (µS)."""

    mask: Array
    g: Array


@spec
class Faults:
    """Independent probabilities that a device is stuck for life. The yield is one minus their sum.

    Drawn once per chip. A threshold on a uniform draw has no useful gradient in the probabilities: sweep them.

    Attributes:
        low: stuck at g_min.
        high: stuck at g_max.
        anywhere: stuck at a conductance uniform in [g_min, g_max].
    """

    low: float = 0.0
    high: float = 0.0
    anywhere: float = 0.0

    def _check(self) -> None:
        for name in ("low", "high", "anywhere"):
            check_range(self, name, low=0, high=1)
        total = self.low + self.high + self.anywhere
        ensure(lambda p: p <= 1 + 1e-6, "the fault probabilities sum to {}; together they must be ≤ 1", total)

    @property
    def device_yield(self) -> float:
        """Fraction of devices that switch."""
        return 1.0 - self.low - self.high - self.anywhere

    def draw(self, key: Array, shape: tuple[int, ...], g_min: Array | float, g_max: Array | float) -> Stuck:
        """The stuck devices of one chip."""
        u = uniform(named(key, "fault"), shape)
        anywhere = g_min + (g_max - g_min) * uniform(named(key, "value"), shape)
        value = jnp.where(u < self.low, g_min, jnp.where(u < self.low + self.high, g_max, anywhere))
        return Stuck(u < self.low + self.high + self.anywhere, value)
