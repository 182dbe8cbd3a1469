"""Time on a core that is being programmed: 1/f noise and drift from one iteration to the next."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import replace, spec, static
from crossjax._random import named, normal
from crossjax.devices.device import Device, DeviceState
from crossjax.devices.mixed import Mixed
from crossjax.devices.noise import FlickerNoise


@spec
class Clock:
    """What the devices of a core fluctuate and drift by, every one since it was pulsed last.

    Within an iteration nothing moves but what its reads average, or see as noise. A pulse starts a device again; what
    is slower than the time since then is part of what was written.

    Attributes:
        age: iterations since the last pulse, or since programming began, (devices, r, c').
        before: seconds that had passed by then since a device was written; None for fresh devices.
        q: 1/f noise coefficient Q at the conductance that a device is to have; None without 1/f noise.
        deviation: relative deviation by 1/f noise since the pulse, in units of Q; see `FlickerNoise.advance`.
        moment: what is new of it in every iteration; None where iterations follow one another at once.
        seconds: from one iteration to the next; None: as long as its reads take, too short for drift.
        slope: µS that typical devices at these targets change by per unit of the drift's logarithm of time; None where
            nothing drifts.
        octaves: of the 1/f noise.
    """

    age: Array
    before: Array | None = None
    q: Array | None = None
    deviation: Array | None = None
    moment: Array | None = None
    seconds: Array | float | None = None
    slope: Array | None = None
    octaves: int = static(default=0)

    @classmethod
    def start(cls, device: Device | Mixed, target: Array, iterations: int, seconds: Array | float | None) -> Clock:
        """Before the first of so many iterations, for devices that are to have ``target`` µS."""
        clock = cls(jnp.zeros_like(target), seconds=seconds)
        if device.flickers:
            none, moment = clock.age, None if seconds is None else clock.age
            octaves, q = FlickerNoise.octaves(iterations), device.flicker_q(device.within(target))
            clock = replace(clock, q=q, deviation=none, moment=moment, octaves=octaves)
        return clock if seconds is None else replace(clock, slope=device.drift_slope(target))

    def of_old(self, key: Array, device: Device | Mixed, passed: Array) -> Clock:
        """The clock of devices that were written ``passed`` seconds before the first iteration."""
        clock = replace(self, before=passed)
        if not device.flickers:
            return clock
        return replace(clock, deviation=device.flicker_growth(passed) * normal(key, passed.shape, passed.dtype))

    def tick(self, key: Array, device: Device | Mixed, k: Array, reads: Array | float) -> Clock:
        """At the beginning of iteration ``k``, which takes ``reads`` reads; the same key for every iteration."""
        clock = replace(self, age=self.age + 1.0)
        if clock.deviation is None:
            return clock
        deviation, fresh = FlickerNoise.advance(named(key, "flicker"), clock.deviation, clock.age, k, clock.octaves)
        clock = replace(clock, deviation=deviation)
        if clock.moment is None or clock.seconds is None:
            return clock
        return replace(clock, moment=device.flicker_between(clock.seconds, reads, fresh) * fresh)

    def pulsed(self, hit: Array) -> Clock:
        """Devices that were ``hit`` start again."""
        begun = (None if a is None else jnp.where(hit, 0.0, a) for a in (self.age, self.before, self.deviation))
        age, before, deviation = begun
        return replace(self, age=age, before=before, deviation=deviation)

    def conductances(self, device: Device | Mixed, cells: DeviceState) -> Array:
        """What devices conduct at this moment, µS."""
        g = cells.g
        if self.slope is not None or self.before is not None:
            g = device.drifted(g, cells.nu, self._seconds())
        if self.q is not None and self.deviation is not None:
            now = self.deviation if self.moment is None else self.deviation + self.moment
            g = jnp.maximum(g * (1.0 + self.q * now), 0.0)
        g = g if cells.stuck is None else jnp.where(cells.stuck.mask, cells.stuck.g, g)
        return lax.optimization_barrier(g)  # computed once, used several times

    def expected_change(self, device: Device | Mixed, left: Array) -> Array | None:
        """Change in µS that typical drift will bring in the iterations that are left; None for none.

        As far as a controller knows: from the targets, from when it pulsed a device, and to first order.
        """
        if self.slope is None:
            return None
        return self.slope * (device.drift_logarithm(self._seconds(left)) - device.drift_logarithm(self._seconds()))

    def _seconds(self, more: Array | float = 0.0) -> Array:
        """Since a device was written, ``more`` iterations from now."""
        passed = (self.age + more) * (0.0 if self.seconds is None else self.seconds)
        return passed if self.before is None else passed + self.before
