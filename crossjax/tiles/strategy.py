"""A unit cell whose conductances may be any piecewise linear functions of the weight: a programming strategy.

Mackin et al., Nat. Commun. 13:3765 (2022): G⁺(w), G⁻(w), g⁺(w), g⁻(w) at a few weights, mirrored, linear in between.
What puts the conductances where they are best is in `crossjax.strategies`.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import is_traced
from crossjax._kinds import door
from crossjax._numerics import ratio
from crossjax._pytree import check_range, spec
from crossjax.tiles.cells import Differential, Pairs, check_factors


@spec
class Strategy(Differential):
    """Pairs of decreasing significance with every conductance given at D weights: w β = Σ_p F_p (x_p⁺ − x_p⁻).

    Weights below 0 exchange the devices of each pair. Between knots conductances are linear in the weight, and so is
    what they stand for. All fields are leaves: knots are swept, vmapped and differentiated like other numbers.

    Attributes:
        factors: significance F_p of every pair, largest first.
        knots: the D weights, ascending from 0 to 1; a kink of a fixed split is one of them.
        x: normalised conductances at the knots, (devices, D), in the order x₁⁺, x₁⁻, x₂⁺, x₂⁻, …
        scale: β, what a weight of 1 conducts, in units of g_max − g_min.
    """

    factors: tuple[float, ...]
    knots: Array
    x: Array
    scale: float | Array

    def _check(self) -> None:
        check_factors(self)
        check_range(self, "scale", low=0, strict=True)
        if any(is_traced(a) for a in (self.knots, self.x, self.scale, *self.factors)) or np.ndim(self.scale):
            return
        knots, x = np.asarray(self.knots), np.asarray(self.x)
        if knots.ndim != 1 or len(knots) < 2 or knots[0] != 0 or knots[-1] != 1 or np.any(np.diff(knots) <= 0):
            raise ValueError(f"Strategy.knots must be weights that ascend from 0 to 1, got {knots}")
        if x.shape != (self.devices, len(knots)):
            raise ValueError(f"Strategy.x must be (devices, knots) = {self.devices, len(knots)}, got shape {x.shape}")
        if x.min() < -1e-6 or x.max() > 1 + 1e-6:
            raise ValueError(f"Strategy.x must be within [0, 1], got {x.min():.3g} to {x.max():.3g}")
        misses = np.abs(np.asarray(self.decode(jnp.asarray(x))) - knots).max()
        if misses > 1e-4:
            raise ValueError(
                f"Strategy.x must stand for the weights of its knots, Σ F (x⁺ − x⁻) / β; off by {misses:.3g}"
            )

    @property
    def full_scale(self) -> Array | float:
        """See `Differential.full_scale`."""
        return self.scale

    def encode(self, w: Array) -> Array:
        """See `UnitCell.encode`."""
        size = jnp.abs(w)
        slopes = ratio(self.x[:, 1:] - self.x[:, :-1], self.knots[1:] - self.knots[:-1], 0.0)
        bends = jnp.concatenate([slopes[:, :1], slopes[:, 1:] - slopes[:, :-1]], axis=1)  # at every knot but the last
        column = (-1, *[1] * w.ndim)
        found = self.x[:, 0].reshape(column)
        for k in range(bends.shape[1]):  # over the few knots: sums that fuse, where a table would be looked up
            found = found + bends[:, k].reshape(column) * jnp.maximum(size - self.knots[k], 0.0)
        found = jnp.clip(found, 0.0, 1.0).reshape(len(self.factors), 2, *w.shape)
        return jnp.where(w < 0, found[:, ::-1], found).reshape(self.devices, *w.shape)


@door
def as_strategy(cell: Pairs, knots: Sequence[float] | None = None) -> Strategy:
    """A fixed split as a strategy, the same conductances at every weight.

    Args:
        cell: pairs, and how weights are shared among them.
        knots: where it bends; None: wherever any order of filling the pairs could.

    Raises:
        ValueError: for a split that rounds or looks at what was programmed, which no function of the weight is.
    """
    if cell.turns > 1 or cell.levels is not None:
        raise ValueError(f"the split {cell.split!r} is no function of the weight: it rounds, or looks at the devices")
    full = float(cell.full_scale)
    ends = {0.0, 1.0} | {sum(cell.factors[a:b]) / full for a in range(cell.used) for b in range(a + 1, cell.used + 1)}
    at = jnp.asarray(sorted({round(e, 9) for e in ends if e <= 1}) if knots is None else knots)
    return Strategy(cell.factors, at, cell.encode(at), full)
