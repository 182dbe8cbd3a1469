"""What one write pulse does to a device.

A write model answers three questions: what does it remember about every device (`start`), what does a pulse
that requests a signed change of conductance do (`pulse`), and how noisy is a pulse (`deviation`). A request
of exactly 0 means no pulse. All are elementwise on arrays of any shape; conductances in µS.

* `Rewrite`     : a pulse aims at a conductance and hits it with write noise (any device, no physics assumed).
* `MeltQuench`  : PCM partial RESET; a pulse of amplitude A melts and quenches, conductance falls with A.
* `SetPulses`   : PCM crystallisation; each SET pulse adds a little less; going down takes a RESET.
* `Stepped`     : any of them, on a device of few states.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import clip_inside, round_through
from crossjax._pytree import check_count, check_range, replace, spec, static
from crossjax._random import named, normal, numbered
from crossjax.devices.noise import ProgrammingError

Scalar = Array | float


class Write(Protocol):
    """One kind of write pulse."""

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Any]:
        """Conductances of devices that have just been RESET, and what the model remembers of them (a pytree)."""
        ...

    def pulse(
        self, key: Array, memory: Any, g: Array, request: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Any, Array]:
        """Conductance, memory and number of pulses after a request for a change in µS (0: no pulse)."""
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

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Array]:
        """g_min, and the aim of the last pulse (µS)."""
        return jnp.full(shape, g_min), jnp.full(shape, g_min)

    def pulse(
        self, key: Array, memory: Array, g: Array, request: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Array, Array]:
        """See `Write.pulse`."""
        hit = request != 0
        aim = jnp.where(hit, clip_inside(memory + request, g_min, g_max), memory)
        after = aim if self.error is None else aim + self.deviation(aim, g_max) * self.error.draw(key, aim.shape)
        return jnp.where(hit, clip_inside(after, g_min, g_max), g), aim, hit.astype(jnp.int32)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        if self.error is None:
            return jnp.zeros_like(g)
        return self.noise * self.error.deviation(g, g_max)


@spec
class MeltQuench:
    """Partial RESET of PCM: a pulse of amplitude A leaves g = g_min + (g_max − g_min)(1 − s(A − δ)) and write noise.

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

    def start(
        self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, tuple[Array, Array]]:
        """g_min; (conductance the amplitude stands for on the mean curve, µS; threshold δ of each cell)."""
        return jnp.full(shape, g_min), (jnp.full(shape, g_min), self.spread * normal(key, shape))

    def amplitude(self, y: Array) -> Array:
        """The amplitude whose mean curve gives the fraction ``y`` of the range; beyond [0, 1] it goes on in a line."""
        inside = clip_inside(y, 0.0, 1.0)
        near = jnp.sqrt(0.5 * jnp.maximum(jnp.minimum(inside, 1.0 - inside), 1e-9))  # distance to the nearer end
        return jnp.where(inside < 0.5, 1.0 - near, near) - 0.5 * (y - inside)

    def curve(self, amplitude: Array, threshold: Array) -> Array:
        """Fraction of the conductance range after a noiseless pulse of ``amplitude``."""
        u = clip_inside(amplitude - threshold, 0.0, 1.0)
        return jnp.where(u < 0.5, 1.0 - 2.0 * u * u, 2.0 * (1.0 - u) * (1.0 - u))

    def pulse(
        self, key: Array, memory: tuple[Array, Array], g: Array, request: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, tuple[Array, Array], Array]:
        """See `Write.pulse`."""
        wanted, threshold = memory
        hit, span = request != 0, g_max - g_min
        wanted = jnp.where(hit, clip_inside(wanted + request, g_min - 0.5 * span, g_max + 0.5 * span), wanted)
        after = g_min + span * self.curve(self.amplitude((wanted - g_min) / span), threshold)
        if self.error is not None:
            after = after + self.deviation(after, g_max) * self.error.draw(key, after.shape)
        return jnp.where(hit, clip_inside(after, g_min, g_max), g), (wanted, threshold), hit.astype(jnp.int32)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        if self.error is None:
            return jnp.zeros_like(g)
        return self.noise * self.error.deviation(g, g_max)


@spec
class SetPulses:
    """Accumulating SET pulses of PCM (Nandakumar et al., J. Appl. Phys. 124:152135, 2018).

    State (g, P), P = 1 after RESET. Per SET pulse ``P ← P e^(−1/τ)`` and
    ``Δg ~ N(a₀ + a₁ g + a₂ P, (b₀ + b₁ g + b₂ P)²)``, g clipped to [g_low, g_max]; RESET leaves
    g_low (1 ± reset_spread). A positive request is answered by as many SET pulses as the mean curve needs for
    it from here, a negative one by a RESET and the SET pulses that lead back to g + request.

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

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Array]:
        """Conductance after RESET, and P = 1."""
        return self.reset(named(key, "reset"), shape), jnp.ones(shape)

    def reset(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Conductance (µS) after a RESET pulse."""
        return jnp.maximum(self.g_low * (1.0 + self.reset_spread * normal(key, shape)), 0.0)

    def set_once(self, key: Array, p: Array, g: Array, g_max: Scalar) -> tuple[Array, Array]:
        """(g, P) after one SET pulse on every device."""
        p = p * jnp.exp(-1.0 / self.decay)
        step = self._mean_step(g, p) + (self.spread[0] + self.spread[1] * g + self.spread[2] * p) * normal(
            key, g.shape, g.dtype
        )
        return clip_inside(g + step, self.g_low, g_max), p

    def pulse(
        self, key: Array, memory: Array, g: Array, request: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Array, Array]:
        """See `Write.pulse`."""
        down = request < 0
        goal = clip_inside(g + request, self.g_low, g_max)
        g = jnp.where(down, self.reset(named(key, "reset"), g.shape), g)
        p = jnp.where(down, 1.0, memory)
        wanted = jnp.where(request == 0, 0, self._count(p, g, goal, g_max))

        def step(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
            g, p = carry
            after, faded = self.set_once(numbered(key, k), p, g, g_max)
            due = k < wanted
            return (jnp.where(due, after, g), jnp.where(due, faded, p)), None

        (g, p), _ = lax.scan(step, (g, p), jnp.arange(self.max_pulses))
        return g, p, wanted + down.astype(jnp.int32)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`: the spread of one late SET pulse (P = 0)."""
        return self.spread[0] + self.spread[1] * g

    def _mean_step(self, g: Array, p: Array) -> Array:
        return self.mean[0] + self.mean[1] * g + self.mean[2] * p

    def _count(self, p: Array, g: Array, goal: Array, g_max: Scalar) -> Array:
        """How many pulses bring the mean curve nearest to ``goal``."""

        def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
            g, p = carry
            p = p * jnp.exp(-1.0 / self.decay)
            after = jnp.minimum(g + jnp.maximum(self._mean_step(g, p), 0.0), g_max)
            return (after, p), 0.5 * (g + after) < goal

        _, worth = lax.scan(step, (g, p), None, length=self.max_pulses)
        return jnp.sum(worth, axis=0, dtype=jnp.int32)


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

    It remembers the conductance that all requests together ask for, so that small ones add up: a pulse is sent when
    their sum is nearer to another state. Where a model has no write noise of its own to add (`SetPulses` spreads at
    every pulse), what the pulses left is the nearest state.

    Attributes:
        write: the write model without states.
        states: how many, evenly spaced from g_min to g_max.
    """

    write: Write
    states: int = static()

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, Any]:
        """The state of a RESET; (what the model remembers, conductance asked for in µS)."""
        g, memory = self.write.start(key, shape, g_min, g_max)
        g = nearest_state(g, self.states, g_min, g_max)
        return g, (memory, g)

    def pulse(
        self, key: Array, memory: Any, g: Array, request: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, Any, Array]:
        """See `Write.pulse`."""
        inner, asked = memory
        error = getattr(self.write, "error", None)
        exact: Any = self.write if error is None else replace(self.write, error=None)
        wanted = clip_inside(asked + request, g_min, g_max)
        step = nearest_state(wanted, self.states, g_min, g_max) - nearest_state(asked, self.states, g_min, g_max)
        after, inner, pulses = exact.pulse(key, inner, g, step, g_min, g_max)
        after = nearest_state(after, self.states, g_min, g_max)
        if error is not None:
            after = clip_inside(after + self.deviation(after, g_max) * error.draw(key, after.shape), g_min, g_max)
        return jnp.where(pulses > 0, after, g), (inner, wanted), pulses

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`."""
        return self.write.deviation(g, g_max)
