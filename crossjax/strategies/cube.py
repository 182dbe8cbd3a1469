"""Strategies as points of a unit cube: every point is a valid one, so that any optimiser can search.

The construction of Mackin et al., Nat. Commun. 13:3765 (2022): at every knot, from the most significant pair down, one
coordinate places the difference of a pair where the remaining pairs can still make up the weight, another places its
conductances; the last pair takes what is left. Two more coordinates are the scale of the column and, if it is free,
the significance of the most significant pair.
"""

from __future__ import annotations

import itertools

import jax.numpy as jnp
from jax import Array

from crossjax._checks import ensure_range
from crossjax._kinds import door
from crossjax._pytree import spec
from crossjax.tiles.cells import check_factors
from crossjax.tiles.strategy import Strategy


@spec
class Cube:
    """The space of strategies that is searched.

    Attributes:
        factors: significance of the pairs, largest first; the first one is free within ``significance``, if given.
        knots: weights at which conductances are chosen, ascending from 0 to 1.
        significance: smallest and largest significance of the first pair; None: it is fixed.
        scale: smallest scale of the column, as a fraction of Σ F, the largest.
        low, high: smallest and largest normalised conductance that may be aimed at.
    """

    factors: tuple[float, ...] = (2.0, 1.0)
    knots: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    significance: tuple[float, float] | None = None
    scale: float = 0.3
    low: float = 0.0
    high: float = 1.0

    def _check(self) -> None:
        check_factors(self)
        knots = self.knots
        if len(knots) < 2 or knots[0] != 0 or knots[-1] != 1 or any(b <= a for a, b in itertools.pairwise(knots)):
            raise ValueError(f"Cube.knots must be weights that ascend from 0 to 1, got {knots}")
        for name in ("scale", "low", "high"):
            ensure_range(f"Cube.{name}", getattr(self, name), low=0, high=1)
        if not self.low < self.high:
            raise ValueError(f"Cube.low must be less than Cube.high, got {self.low} and {self.high}")
        if not 0 < self.scale <= self.high - self.low:
            raise ValueError(
                f"no strategy can reach a scale of {self.scale} with conductances from {self.low} to {self.high}: "
                f"Cube.scale must be in (0, {self.high - self.low:g}]"
            )
        ends = self.significance
        if ends is not None and not (0 < ends[0] <= ends[1] and (len(self.factors) < 2 or ends[0] >= self.factors[1])):
            raise ValueError(
                f"Cube.significance must be an ascending pair, not below the next factor, got {self.significance}"
            )

    @property
    def dimensions(self) -> int:
        """Coordinates of a point."""
        return len(self.knots) * (2 * len(self.factors) - 1) + 1 + (self.significance is not None)


@door
def point_of(cube: Cube, strategy: Strategy) -> Array:
    """The point at which a strategy lies, as near as the cube has one: the inverse of `at_point`.

    Conductances are taken at the cube's knots, the scale and a free significance as they are. Coordinates that make no
    difference are 0.
    """
    w = jnp.asarray(cube.knots)
    x, span = strategy.encode(w), cube.high - cube.low
    factors = list(cube.factors)
    last = [_within(strategy.scale / sum(strategy.factors), cube.scale, span)]
    if cube.significance is not None:
        factors[0] = strategy.factors[0]
        last.append(_within(strategy.factors[0], *cube.significance))
    left, found = w * strategy.scale, []
    for p, factor in enumerate(factors):
        change = x[2 * p] - x[2 * p + 1]
        if p < len(factors) - 1:
            below = span * sum(factors[p + 1 :])
            ends = jnp.maximum(left - below, -factor * span), jnp.minimum(left + below, factor * span)
            found.append(_within(factor * change, *ends))
        found.append(_within(x[2 * p], cube.low + jnp.maximum(change, 0.0), cube.high + jnp.minimum(change, 0.0)))
        left = left - factor * change
    return jnp.concatenate([jnp.stack(found).ravel(), jnp.stack([jnp.asarray(a) for a in last])])


def _within(value: Array | float, low: Array | float, high: Array | float) -> Array:
    """Where a value is between two ends, 0 where they are one."""
    room = jnp.asarray(high) - low
    return jnp.where(room > 1e-6, jnp.clip((value - low) / jnp.maximum(room, 1e-6), 0.0, 1.0), 0.0)


@door
def at_point(cube: Cube, point: Array) -> Strategy:
    """The strategy at a point of the cube, (dimensions,) numbers in [0, 1]; differentiable.

    Raises:
        ValueError: for another number of coordinates.
    """
    if point.shape != (cube.dimensions,):
        raise ValueError(f"a point of this cube has {cube.dimensions} coordinates, got shape {point.shape}")
    factors = list(cube.factors)
    scale_at, *rest = point[len(cube.knots) * (2 * len(factors) - 1) :]
    if cube.significance is not None:
        low, high = cube.significance
        factors[0] = low + (high - low) * rest[0]
    span = cube.high - cube.low
    full = sum(factors)
    scale = full * (cube.scale + (span - cube.scale) * scale_at)
    weights = jnp.asarray(cube.knots)
    u = point[: len(cube.knots) * (2 * len(factors) - 1)].reshape(-1, len(cube.knots))
    left, found = weights * scale, []
    for p, factor in enumerate(factors):
        below = span * sum(factors[p + 1 :])
        if p < len(factors) - 1:
            least, most = jnp.maximum(left - below, -factor * span), jnp.minimum(left + below, factor * span)
            change = (least + (most - least) * u[2 * p]) / factor
            place = u[2 * p + 1]
        else:
            change, place = left / factor, u[2 * p]
        least, most = cube.low + jnp.maximum(change, 0.0), cube.high + jnp.minimum(change, 0.0)
        plus = least + (most - least) * place
        found += [plus, plus - change]
        left = left - factor * change
    return Strategy(tuple(factors), weights, jnp.stack(found), scale)
