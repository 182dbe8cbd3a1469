"""Time on a core that is being programmed: 1/f noise and drift from one iteration to the next."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import replace, spec, static
from crossjax._random import named
from crossjax.devices.device import Device, DeviceState


@spec
class Clock:
    """What the devices of a core fluctuate and drift by, every one since it was pulsed last.

    Within an iteration nothing moves but what its reads average, or see as noise. A pulse starts a device again; what
    is slower than the time since then is part of what was written.

    Attributes:
        age: iterations since the last pulse, (devices, r, c').
        q: 1/f noise coefficient Q at the conductance that a device is to have; None without 1/f noise.
        deviation: relative deviation by 1/f noise since the pulse, in units of Q; see `FlickerNoise.advance`.
        moment: what is new of it in every iteration; None where iterations follow one another at once.
        seconds: from one iteration to the next; None: as long as its reads take, too short for drift.
        logarithms: of time as the drift goes by it, of every age in iterations; None without drift.
        slope: µS that typical devices at these targets change by per unit of that logarithm; None likewise.
        octaves: of the 1/f noise.
    """

    age: Array
    q: Array | None = None
    deviation: Array | None = None
    moment: Array | None = None
    seconds: Array | float | None = None
    logarithms: Array | None = None
    slope: Array | None = None
    octaves: int = static(default=0)

    @classmethod
    def start(cls, device: Device, target: Array, iterations: int, seconds: Array | float | None) -> Clock:
        """Before the first of so many iterations, for devices that are to have ``target`` µS."""
        clock = cls(jnp.zeros_like(target), seconds=seconds)
        x = jnp.clip(target, device.g_min, device.g_max) / device.g_max
        if device.flicker is not None:
            none, moment = clock.age, None if seconds is None else clock.age
            octaves = device.flicker.octaves(iterations)
            clock = replace(clock, q=device.flicker.q(x), deviation=none, moment=moment, octaves=octaves)
        if device.drift is not None and seconds is not None:
            drift, typical = device.drift, device.drift.typical(x)
            ages = drift.logarithm(jnp.arange(iterations + 1) * seconds)
            at = (ages[0],), (jnp.ones_like(ages[0]),)
            slope = jax.jvp(lambda age: drift.apply(target, typical, age, device.g_max), *at)[1]
            clock = replace(clock, logarithms=ages, slope=slope)
        return clock

    def tick(self, key: Array, device: Device, k: Array, reads: Array | float) -> Clock:
        """At the beginning of iteration ``k``, which takes ``reads`` reads; the same key for every iteration."""
        clock, flicker = replace(self, age=self.age + 1.0), device.flicker
        if flicker is None or clock.deviation is None:
            return clock
        deviation, fresh = flicker.advance(named(key, "flicker"), clock.deviation, clock.age, k, clock.octaves)
        clock = replace(clock, deviation=deviation)
        if clock.moment is None or clock.seconds is None:
            return clock
        return replace(clock, moment=flicker.between(clock.seconds, reads) * fresh)

    def pulsed(self, hit: Array) -> Clock:
        """Devices that were ``hit`` start again."""
        deviation = None if self.deviation is None else jnp.where(hit, 0.0, self.deviation)
        return replace(self, age=jnp.where(hit, 0.0, self.age), deviation=deviation)

    def conductances(self, device: Device, cells: DeviceState) -> Array:
        """What devices conduct at this moment, µS."""
        g = cells.g
        if device.drift is not None and self.logarithms is not None and cells.nu is not None:
            g = device.drift.apply(g, cells.nu, self._logarithm(), device.g_max)
        if self.q is not None and self.deviation is not None:
            now = self.deviation if self.moment is None else self.deviation + self.moment
            g = jnp.maximum(g * (1.0 + self.q * now), 0.0)
        g = g if cells.stuck is None else jnp.where(cells.stuck.mask, cells.stuck.g, g)
        return lax.optimization_barrier(g)  # computed once, used several times

    def expected_change(self, left: Array) -> Array | None:
        """Change in µS that typical drift will bring in the iterations that are left; None for none.

        As far as a controller knows: from the targets, from when it pulsed a device, and to first order.
        """
        return None if self.slope is None else self.slope * (self._logarithm(left) - self._logarithm())

    def age_in_seconds(self) -> Array | None:
        """Seconds since the last pulse; None where iterations take no time to speak of."""
        return None if self.seconds is None else self.age * self.seconds

    def _logarithm(self, more: Array | float = 0.0) -> Array:
        assert self.logarithms is not None
        return self.logarithms[(self.age + more).astype(jnp.int32)]
