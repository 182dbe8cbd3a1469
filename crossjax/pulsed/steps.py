"""What one pulse moves a device by: its response to a pulse as a function of where it is.

A response is a multiple of the device's own step. `MeanSteps` say how large it is on average, and the device adds its
cycle-to-cycle noise; a `JumpTable` (`tables.py`) has the whole distribution. Formulas of ConstantStep, LinearStep,
SoftBounds, ExpStep, PowStep and PiecewiseStep are those of IBM's aihwkit 1.2, whose names they keep.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import ensure
from crossjax._numerics import clip_inside
from crossjax._pytree import check_range, spec, static
from crossjax._random import named, normal

Scalar = Array | float


class Steps(Protocol):
    """How a device answers to a pulse."""

    @property
    def steady(self) -> bool:
        """Whether a step is the same everywhere, so that several may be taken at once."""
        ...

    @property
    def noisy(self) -> bool:
        """Whether `up` and `down` are draws, with all the noise that a pulse has."""
        ...

    def draw(self, key: Array, shape: tuple[int, ...]) -> Any:
        """What is each device's own, drawn once: a pytree of arrays; None for nothing."""
        ...

    def up(self, key: Array, x: Array, own: Any, low: Array, high: Array) -> Array:
        """Steps up of devices at ``x`` between their bounds, in units of a device's own step up."""
        ...

    def down(self, key: Array, x: Array, own: Any, low: Array, high: Array) -> Array:
        """Steps down, in units of a device's own step down; > 0 moves down."""
        ...

    def either(self, key: Array, x: Array, up: Array, own: Any, low: Array, high: Array) -> Array:
        """Steps up where ``up``, else down."""
        ...


class MeanSteps:
    """What responses that are means, and need nothing of their own, have in common."""

    steady = False
    noisy = False

    def either(self: Any, key: Array, x: Array, up: Array, own: Any, low: Array, high: Array) -> Array:
        """See `Steps.either`: both, and the one that is asked for."""
        return jnp.where(up, self.up(key, x, own, low, high), self.down(key, x, own, low, high))

    def draw(self, key: Array, shape: tuple[int, ...]) -> Any:
        """See `Steps.draw`: nothing."""
        return None


@spec
class ConstantStep(MeanSteps):
    """The same step everywhere."""

    steady = True

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return jnp.ones_like(x)

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return jnp.ones_like(x)


@spec
class LinearStep(MeanSteps):
    """A step that shrinks towards the bound: up 1 − γ_up x / high, down 1 − γ_down x / low.

    Attributes:
        slope_up, slope_down: γ.
        spread: standard deviation of γ among devices; γ ≥ 0 stays so.
        own_bounds: the bound is each device's own; False: their mean, ``high`` and ``low``.
        high, low: the mean bounds, where they are asked for.
    """

    slope_up: float = 0.0
    slope_down: float = 0.0
    spread: float | None = None
    own_bounds: bool = static(default=False)
    high: float = 1.0
    low: float = -1.0

    def _check(self) -> None:
        for name in ("slope_up", "slope_down", "spread"):
            check_range(self, name, low=0)
        check_range(self, "high", low=0, strict=True)
        check_range(self, "low", high=0)
        if not self.own_bounds:
            wanted = "LinearStep.low must be below 0, as a slope refers to it: set own_bounds, or take PowStep"
            ensure(lambda low: low < 0, wanted, self.low)

    def draw(self, key: Array, shape: tuple[int, ...]) -> Any:
        """See `Steps.draw`: both slopes."""
        if self.spread is None:
            return None
        return tuple(
            jnp.abs(slope + self.spread * normal(named(key, name), shape))
            for name, slope in (("slope up", self.slope_up), ("slope down", self.slope_down))
        )

    def up(self, key: Array, x: Array, own: Any, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return 1.0 - (self.slope_up if own is None else own[0]) * x / (high if self.own_bounds else self.high)

    def down(self, key: Array, x: Array, own: Any, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return 1.0 - (self.slope_down if own is None else own[1]) * x / (low if self.own_bounds else self.low)


def soft_bounds(spread: float | None = None) -> LinearStep:
    """Steps that vanish at each device's own bound (SoftBounds): x(n) = high − (high − x₀)(1 − Δ/high)ⁿ going up."""
    return LinearStep(1.0, 1.0, spread, own_bounds=True)


@spec
class ExpStep(MeanSteps):
    """Up max(1 − A_up e^(γ_up z), 0), down max(1 − A_down e^(−γ_down z), 0), z = 2 a x / (high − low) + b.

    Gong et al., Nat. Commun. 9:2102 (2018), by aihwkit's ExpStepDevice.

    Attributes:
        a_up, a_down: how far a step has shrunk at z = 0.
        gamma_up, gamma_down: how fast it shrinks with z.
        a, b: slope and offset of z over the weight.
    """

    a_up: float = 0.00081
    a_down: float = 0.36833
    gamma_up: float = 12.44625
    gamma_down: float = 12.78785
    a: float = 0.244
    b: float = 0.2425

    def _at(self, x: Array, low: Array, high: Array) -> Array:
        return 2.0 * self.a * x / (high - low) + self.b

    def either(self, key: Array, x: Array, up: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.either`: one exponential."""
        power = jnp.where(up, self.gamma_up, -self.gamma_down) * self._at(x, low, high)
        return jnp.maximum(1.0 - jnp.where(up, self.a_up, self.a_down) * jnp.exp(power), 0.0)

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return jnp.maximum(1.0 - self.a_up * jnp.exp(self.gamma_up * self._at(x, low, high)), 0.0)

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return jnp.maximum(1.0 - self.a_down * jnp.exp(-self.gamma_down * self._at(x, low, high)), 0.0)


@spec
class PowStep(MeanSteps):
    """Up ((high − x) / (high − low))^γ_up, down ((x − low) / (high − low))^γ_down.

    Attributes:
        gamma_up, gamma_down: powers; 0 for equal steps, 1 for soft bounds.
    """

    gamma_up: float = 1.0
    gamma_down: float = 1.0

    def _check(self) -> None:
        for name in ("gamma_up", "gamma_down"):
            check_range(self, name, low=0)

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return _power((high - x) / (high - low), self.gamma_up)

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return _power((x - low) / (high - low), self.gamma_down)


def _power(base: Array, exponent: Scalar) -> Array:
    """``base`` to a power, 0 where it is not positive, with a finite gradient there."""
    inside = base > 0
    return jnp.where(inside, jnp.where(inside, base, 1.0) ** exponent, 0.0)


@spec
class PiecewiseStep(MeanSteps):
    """Steps given at nodes evenly spaced from low to high, linear in between.

    Attributes:
        nodes_up, nodes_down: multiples of the step, two at least.
    """

    nodes_up: tuple[float, ...] = (1.0, 1.0)
    nodes_down: tuple[float, ...] = (1.0, 1.0)

    def _check(self) -> None:
        for name in ("nodes_up", "nodes_down"):
            if len(getattr(self, name)) < 2:
                raise ValueError(f"PiecewiseStep.{name} needs two nodes at least, got {len(getattr(self, name))}")
            check_range(self, name, low=0)

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return piecewise(clip_inside((x - low) / (high - low), 0.0, 1.0), self.nodes_up)

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return piecewise(clip_inside((x - low) / (high - low), 0.0, 1.0), self.nodes_down)


def piecewise(place: Array, nodes: tuple[float, ...]) -> Array:
    """What evenly spaced nodes give at places in [0, 1]: a sum over their few kinks, which fuses."""
    last = len(nodes) - 1
    slopes = [(b - a) * last for a, b in pairwise(nodes)]
    found = nodes[0] + slopes[0] * place
    for k in range(1, last):
        found = found + (slopes[k] - slopes[k - 1]) * jnp.maximum(place - k / last, 0.0)
    return found


@spec
class JumpingStep(MeanSteps):
    """A saturating response with a steep initial jump, at once or after a delay; both directions alike, mirrored.

    Cristiano et al., J. Appl. Phys. 124:151901 (2018) sweep the size of the jump, whose dynamic range is lost to
    small steps; the formula is ours: at a fraction p of the range, counted from where the pulses start, the step is
    (1 + (steepness − 1) · window(p)) · (1 − saturation · p), and window is 1 on [delay, delay + jump] with edges as
    wide as ``edge``.

    Attributes:
        jump: fraction of the range that is crossed steeply; 0 for none.
        steepness: how many times larger steps are there.
        delay: fraction of the range below the steep part: 0 for "immediate".
        saturation: how much smaller a step is at the end of the range: 1 for none at all.
        edge: width of the edges of the steep part.
        two_way: down pulses do the same from the upper end; False: they follow the same curve backwards.
    """

    jump: float = 0.0
    steepness: float = 10.0
    delay: float = 0.0
    saturation: float = 0.0
    edge: float = 0.02
    two_way: bool = static(default=True)

    def _check(self) -> None:
        for name in ("jump", "delay", "saturation"):
            check_range(self, name, low=0, high=1)
        check_range(self, "steepness", low=0, strict=True)
        check_range(self, "edge", low=0, strict=True)

    def _size(self, place: Array) -> Array:
        rise = clip_inside((place - self.delay) / self.edge + 0.5, 0.0, 1.0)
        rise = jnp.where(jnp.asarray(self.delay) > 0, rise, 1.0)
        fall = clip_inside((self.delay + self.jump - place) / self.edge + 0.5, 0.0, 1.0)
        window = jnp.where(jnp.asarray(self.jump) > 0, rise * fall, 0.0)
        return (1.0 + (self.steepness - 1.0) * window) * jnp.maximum(1.0 - self.saturation * place, 0.0)

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return self._size((x - low) / (high - low))

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return self._size(((high - x) if self.two_way else (x - low)) / (high - low))


@spec
class SaturatingStep(MeanSteps):
    """NeuroSim's response: x(n) = low + B (1 − e^(−n/A)), B = (high − low) / (1 − e^(−N/A)); down mirrored.

    DNN+NeuroSim V2.1 manual, eq. 8.1 to 8.3. A step is exact from pulse to pulse, in units of the mean step
    (high − low) / N, which ``Pulsed.step`` is to be.

    Attributes:
        pulses: N, from one end to the other.
        curvature_up, curvature_down: A / N, from the label by `neurosim_curvature`; large for a straight line.
    """

    pulses: float = 100.0
    curvature_up: float = 1.0
    curvature_down: float = 1.0

    def _check(self) -> None:
        for name in ("pulses", "curvature_up", "curvature_down"):
            check_range(self, name, low=0, strict=True)

    def _size(self, left: Array, curvature: Scalar) -> Array:
        """A step with a fraction ``left`` of the range to go: what is left of B shrinks by e^(−1/A) a pulse."""
        full = 1.0 / -jnp.expm1(-1.0 / jnp.asarray(curvature))
        return self.pulses * (left + full - 1.0) * -jnp.expm1(-1.0 / (jnp.asarray(curvature) * self.pulses))

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`."""
        return self._size((high - x) / (high - low), self.curvature_up)

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`."""
        return self._size((x - low) / (high - low), self.curvature_down)


def neurosim_curvature(label: float) -> float:
    """A / N of NeuroSim's nonlinearity label: its largest deviation from the straight line is 0.099 · label.

    The relation is one we found in NeuroSim's table (1 → 1.25165, 2.4 → 0.49918, 4.88 → 0.20030), to 1 %.

    Raises:
        ValueError: for a label that is not in (0, 9].
    """
    if not 0 < label <= 9:
        raise ValueError(f"NeuroSim's labels go from 0 to 9, got {label:g}; for 0 take ConstantStep")

    def bend(a: float) -> float:
        p = np.linspace(0.0, 1.0, 4001)
        return float(np.max(-np.expm1(-p / a) / -np.expm1(-1.0 / a) - p))

    low, high = 1e-3, 1e3
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if bend(middle) > 0.099 * label else (low, middle)
    return (low * high) ** 0.5
