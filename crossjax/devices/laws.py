"""How a number depends on the normalised conductance x = g / g_max: the shapes that device papers publish.

Every law is a small frozen dataclass, called on an array of any shape, differentiable in x and in its own
coefficients, with finite values and gradients at x = 0.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from crossjax._numerics import ratio, safe_log
from crossjax._pytree import check_order, check_range, spec

Law = Callable[[Array], Array]


@spec
class Constant:
    """The same value at every conductance.

    Attributes:
        value: what it is, in the units of the law.
    """

    value: float

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return jnp.full_like(x, self.value)


@spec
class Polynomial:
    """c₀ + c₁ x + c₂ x² + …

    Attributes:
        coefficients: c₀, c₁, …, of growing powers of x, in the units of the law.
    """

    coefficients: tuple[float, ...]

    def __call__(self, x: Array) -> Array:  # noqa: D102
        value = jnp.zeros_like(x)
        for c in reversed(self.coefficients):
            value = value * x + c
        return value


@spec
class ClippedLog:
    """clip(slope · ln x + offset, low, high).

    Attributes:
        slope: change for a factor e of x.
        offset: value at x = 1, before clipping.
        low, high: ends that it is clipped to.
    """

    slope: float
    offset: float
    low: float
    high: float

    def _check(self) -> None:
        check_order(self, "low", "high")

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return jnp.clip(self.slope * safe_log(x) + self.offset, self.low, self.high)


@spec
class ClippedPower:
    """min(scale / x^power, cap).

    Attributes:
        scale: value at x = 1.
        power: exponent with which it falls.
        cap: largest value: what it is at small x.
    """

    scale: float
    power: float
    cap: float

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return jnp.minimum(self.scale * jnp.exp(-self.power * safe_log(x)), self.cap)


@spec
class ClippedLine:
    """max(slope · x + offset, low).

    Attributes:
        slope: change from x = 0 to 1.
        offset: value at x = 0.
        low: smallest value.
    """

    slope: float
    offset: float
    low: float = 0.0

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return jnp.maximum(self.slope * x + self.offset, self.low)


@spec
class Saturating:
    """scale · (1 − e^(−rate · x)).

    Attributes:
        scale: value that it ends at.
        rate: how fast, per unit of x.
    """

    scale: float
    rate: float

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return -self.scale * jnp.expm1(-self.rate * x)


@spec
class Squared:
    """law(x)²: a variance from the law of a standard deviation.

    Attributes:
        law: of the standard deviation.
    """

    law: Law

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return self.law(x) ** 2


@spec
class Relative:
    """law(x) / (g_ref · x): a relative deviation from one in µS, measured at g_max = g_ref µS. 0 at x = 0.

    Attributes:
        law: deviation in µS.
        g_ref: g_max (µS) of the device that it was measured on.
    """

    law: Law
    g_ref: float

    def _check(self) -> None:
        check_range(self, "g_ref", low=0, strict=True)

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return ratio(self.law(x), self.g_ref * x, 0.0)


@spec
class Branches:
    """``below`` for x < split, ``above`` elsewhere.

    Attributes:
        split: x at which the laws change.
        below: law of smaller x.
        above: law of larger x.
    """

    split: float
    below: Law
    above: Law

    def __call__(self, x: Array) -> Array:  # noqa: D102
        return jnp.where(x < self.split, self.below(x), self.above(x))
