"""Partial RESET of phase-change memory: a pulse melts and quenches, and conductance falls with its amplitude."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside
from crossjax._pytree import check_range, spec
from crossjax._random import normal
from crossjax.devices.noise import ProgrammingError
from crossjax.devices.writes import OwnError, Plan, Scalar, missed, write_noise


@spec
class MeltQuench:
    """A pulse of amplitude A leaves g = g_min + (g_max − g_min)(1 − s(A − δ)) and write noise.

    ``s`` is an S-shaped curve of two parabolas, 2u² and 1 − 2(1 − u)², between amplitude 0 (crystalline) and 1
    (fully amorphous), and δ a threshold of each cell, drawn once per chip. The controller knows the mean curve
    only: it turns a wanted conductance into an amplitude by the inverse of the mean curve, so the first pulse
    lands as far off as the cell's threshold says, and later requests walk along the curve. History does not
    matter: a melt erases it.

    Attributes:
        error: σ_P, of which a pulse's write noise is a fraction; by default the device's programming error. None
            for pulses without write noise.
        noise: that fraction.
        spread: standard deviation of δ over cells, in units of the amplitude window.
    """

    error: ProgrammingError | OwnError | None = OwnError()
    noise: float = 0.7
    spread: float = 0.05

    def _check(self) -> None:
        check_range(self, "noise", low=0)
        check_range(self, "spread", low=0, high=1)

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Array, None]:
        """See `Write.start`: g_min, and the threshold δ of each cell."""
        return jnp.full(shape, g_min), self.spread * normal(key, shape), None

    def respond(
        self, key: Array, memory: Array, g: Array, stimulus: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Array]:
        """See `Write.respond`; the stimulus is an amplitude."""
        after = g_min + (g_max - g_min) * self.curve(stimulus, memory)
        return clip_inside(missed(key, self, after, g_max), g_min, g_max), memory

    def curve(self, amplitude: Array, threshold: Array) -> Array:
        """Fraction of the conductance range after a noiseless pulse of ``amplitude``."""
        u = clip_inside(amplitude - threshold, 0.0, 1.0)
        return jnp.where(u < 0.5, 1.0 - 2.0 * u * u, 2.0 * (1.0 - u) * (1.0 - u))

    def plan(self, target: Array, known: None, goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """See `Write.plan`: the amplitude whose mean curve gives the goal; a goal may be half a range too far."""
        span = g_max - g_min
        wanted = clip_inside(goal, g_min - 0.5 * span, g_max + 0.5 * span)
        return Plan(self.amplitude((wanted - g_min) / span), (goal != target).astype(jnp.int32), wanted)

    def amplitude(self, y: Array) -> Array:
        """The amplitude whose mean curve gives the fraction ``y`` of the range; beyond [0, 1] it goes on in a line."""
        inside = clip_inside(y, 0.0, 1.0)
        near = jnp.sqrt(0.5 * jnp.maximum(jnp.minimum(inside, 1.0 - inside), 1e-9))  # distance to the nearer end
        return jnp.where(inside < 0.5, 1.0 - near, near) - 0.5 * (y - inside)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        return write_noise(self, g, g_max)
