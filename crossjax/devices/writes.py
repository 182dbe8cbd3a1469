"""What a write does to a device, and what the write circuit makes of a wanted change.

Two parts that know different things. The *device law* (`Write.respond`) is physics: what a stimulus does to a device
with this conductance and this memory. The *controller* (`Write.plan`) never sees either: from the conductance that it
believes it wrote, it turns a goal into a stimulus by the mean response, and believes the outcome. A stimulus is
whatever the law takes: a conductance to aim at, an amplitude, a number of pulses.

* `Rewrite`                  : a stimulus is a conductance, hit with write noise (any device, no physics assumed).
* `melt_quench.MeltQuench`   : PCM partial RESET; a pulse of some amplitude melts and quenches.
* `set_pulses.SetPulses`     : PCM crystallisation; each SET pulse adds a little less; going down takes a RESET.
* `Stepped`                  : any of them, on a device of few states.

All are elementwise on arrays of any shape; conductances in µS. Laws and plans answer for all devices; which of them a
stimulus reaches is said by `Device.pulse`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside, round_through
from crossjax._pytree import check_range, replace, spec, static
from crossjax._random import named
from crossjax.devices.noise import ProgrammingError

Scalar = Array | float


class Plan(NamedTuple):
    """What a controller sends, and what it believes then.

    Attributes:
        stimulus: for the law.
        pulses: write pulses that the stimulus takes on every device; 0: it is not touched.
        target: conductance that it believes in afterwards, µS.
        known: what else it keeps count of.
    """

    stimulus: Any
    pulses: Array
    target: Array
    known: Any = None


class Write(Protocol):
    """One kind of write pulse."""

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Any, Any]:
        """Devices that have just been RESET: conductances, what they remember, and what a controller knows of it."""
        ...

    def respond(
        self, key: Array, memory: Any, g: Array, stimulus: Any, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Any]:
        """The device law: conductance and memory after ``stimulus``."""
        ...

    def plan(self, target: Array, known: Any, goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """The controller: how to get from ``target`` µS, which it believes in, to ``goal`` µS."""
        ...

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """Standard deviation in µS of the conductance that a pulse leaves, at conductance ``g``."""
        ...


@spec
class OwnError:
    """In place of a `ProgrammingError`: the programming error of the device that is written (`Device.writer`)."""

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """Refused: only the device knows."""
        raise ValueError("this write model takes its error from its device: use the device's methods or Device.writer")

    def draw(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Refused: only the device knows."""
        return self.deviation(jnp.zeros(shape), 1.0)


@spec
class Rewrite:
    """A pulse aims at a conductance and leaves it with write noise: g = clip(aim + noise · σ_P(aim) ξ).

    Attributes:
        error: what a pulse misses by; by default the device's programming error. None for a noiseless write.
        noise: write noise of one pulse as a fraction of σ_P (an iterated write is better than one pulse).
    """

    error: ProgrammingError | OwnError | None = OwnError()
    noise: float = 1.0

    def _check(self) -> None:
        check_range(self, "noise", low=0)

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, None, None]:
        """See `Write.start`: g_min."""
        return jnp.full(shape, g_min), None, None

    def respond(
        self, key: Array, memory: None, g: Array, stimulus: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, None]:
        """See `Write.respond`; the stimulus is the conductance to aim at, µS."""
        return clip_inside(missed(key, self, stimulus, g_max), g_min, g_max), None

    def plan(self, target: Array, known: None, goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """See `Write.plan`: aim at the goal."""
        aim = clip_inside(goal, g_min, g_max)
        return Plan(aim, (goal != target).astype(jnp.int32), aim)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        return write_noise(self, g, g_max)


def write_noise(write: Any, g: Array, g_max: Scalar) -> Array:
    """Standard deviation (µS) of a write whose noise is a fraction of a programming error."""
    return jnp.zeros_like(g) if write.error is None else write.noise * write.error.deviation(g, g_max)


def missed(key: Array, write: Any, g: Array, g_max: Scalar) -> Array:
    """Conductances (µS) around ``g`` that such a write leaves."""
    return g if write.error is None else g + write_noise(write, g, g_max) * write.error.draw(key, g.shape)


def nearest_state(g: Array, states: int | None, g_min: Scalar, g_max: Scalar) -> Array:
    """``g`` µS within [g_min, g_max], at the nearest of evenly spaced states (None: any), straight-through."""
    g = clip_inside(g, g_min, g_max)
    if states is None:
        return g
    span = (g_max - g_min) / (states - 1)
    return g_min + span * round_through((g - g_min) / span)


@spec
class Stepped:
    """A write model on a device of few states: a pulse goes from state to state, then misses by its write noise.

    The controller believes in the conductance that all requests together ask for, so that small ones add up: a pulse
    is sent when their sum is nearer to another state. Where a model has no write noise of its own to add
    (`SetPulses` spreads at every pulse), what the pulses left is the nearest state.

    Attributes:
        write: the write model without states.
        states: how many, evenly spaced from g_min to g_max.
    """

    write: Write
    states: int = static()

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Any, Any]:
        """See `Write.start`: the state of a RESET."""
        g, memory, known = self.write.start(key, shape, g_min, g_max)
        return nearest_state(g, self.states, g_min, g_max), memory, known

    def respond(
        self, key: Array, memory: Any, g: Array, stimulus: Any, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Any]:
        """See `Write.respond`."""
        error = getattr(self.write, "error", None)
        exact: Any = self.write if error is None else replace(self.write, error=None)
        g, memory = exact.respond(key, memory, g, stimulus, g_min, g_max)
        g = nearest_state(g, self.states, g_min, g_max)
        if error is not None:
            g = clip_inside(missed(named(key, "state"), self.write, g, g_max), g_min, g_max)
        return g, memory

    def plan(self, target: Array, known: Any, goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """See `Write.plan`: from the state nearest to what is believed in to the one nearest to the goal."""
        goal = clip_inside(goal, g_min, g_max)
        now, then = (nearest_state(g, self.states, g_min, g_max) for g in (target, goal))
        return self.write.plan(now, known, then, g_min, g_max)._replace(target=goal)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        return self.write.deviation(g, g_max)
