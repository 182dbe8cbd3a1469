"""Binary weights: a bit and its opposite in two devices, read as one, in memories that make errors."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import clip_inside
from crossjax._pytree import check_range, spec
from crossjax._random import uniform
from crossjax.tiles.cells import BaseCell


@spec
class Complementary(BaseCell):
    """A weight of ±1 as a bit and its opposite, w = x⁺ − x⁻: the XNOR cell, for inputs of ±1.

    Two ways in which a whole bit goes wrong, of a stochastic memory; the third, noise of the comparator, is the
    ``noise`` of the tile:

    * a write error, drawn whenever a cell is written: the other bit is stored with probability p_w, and the controller,
      which believes in the right one, does not write it again, verified or not (`Exact` alone makes none). Its
      surrogate gradient by p_w is that of the mean, w (1 − 2 p_w).
    * a read error, drawn for every product: x w is taken for − x w with probability p_r, in every cell and MVM on its
      own. A sum s = Σ x w becomes s − 2 Bin(n₊, p) + 2 Bin(n₋, p), of mean (1 − 2 p) s and variance 4 N p (1 − p)
      whatever s is: one draw for every output, exact in both.

    Weights that are not ±1 are rounded to them, 0 to +1.

    Attributes:
        write_errors: p_w; None for none.
        read_errors: p_r; None for none.
    """

    write_errors: float | None = None
    read_errors: float | None = None

    def _check(self) -> None:
        check_range(self, "write_errors", low=0, high=1)
        check_range(self, "read_errors", low=0, high=1)

    @property
    def devices(self) -> int:
        """See `UnitCell.devices`."""
        return 2

    @property
    def extra_columns(self) -> int:
        """See `UnitCell.extra_columns`."""
        return 0

    @property
    def levels(self) -> int:
        """See `UnitCell.levels`: on and off."""
        return 2

    @property
    def one_line(self) -> bool:
        """See `UnitCell.one_line`: two devices are one bit."""
        return True

    def encode(self, w: Array) -> Array:
        """See `UnitCell.encode`."""
        return jnp.stack([0.5 + 0.5 * w, 0.5 - 0.5 * w])

    def rounded(self, w: Array, states: int) -> Array:
        """See `UnitCell.rounded`: the bit, whatever the devices could hold between."""
        x = self.encode(w)
        bit = self.encode(jnp.where(w >= 0, 1.0, -1.0).astype(w.dtype))
        return x + lax.stop_gradient(bit - x)

    def decode(self, x: Array) -> Array:
        """See `UnitCell.decode`."""
        return x[0] - x[1]

    def correct(self, target: Array, change: Array) -> Array:
        """See `UnitCell.correct`: both devices, in opposite directions."""
        moved = self.encode(clip_inside(self.decode(target) + change, -1.0, 1.0))
        return jnp.where(change == 0, target, moved)

    def lines(self, x: Array) -> Array:
        """See `UnitCell.lines`: one."""
        return self.decode(x)[None]

    def combine(self, y: Array) -> Array:
        """See `UnitCell.combine`."""
        return y[0]

    def variance(self, variance: Array) -> Array:
        """See `UnitCell.variance`."""
        return variance[0] + variance[1]

    def slip(self, key: Array, g: Array, hit: Array) -> Array:
        """See `UnitCell.slip`: the devices of a cell change places."""
        if self.write_errors is None:
            return g
        share = jnp.asarray(self.write_errors, g.dtype)
        wrong = (uniform(key, g.shape[1:]) < share).astype(g.dtype) + (share - lax.stop_gradient(share))
        return jnp.where(jnp.any(hit, axis=0), g + wrong * (g[::-1] - g), g)

    def misread(self, w: Array, variance: Array | None) -> tuple[Array, Array | None]:
        """See `UnitCell.misread`: with read errors."""
        if self.read_errors is None:
            return w, variance
        p = self.read_errors
        spread = 4.0 * p * (1.0 - p) * w * w
        return (1.0 - 2.0 * p) * w, spread if variance is None else variance + spread
