"""A matrix of any size, cut into a grid of equal tiles: padding, masks, and putting outputs together again."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclasses.dataclass(frozen=True)
class Grid:
    """How a (rows, cols) matrix lies on tiles: ``down × across`` tiles that each use ``r × c`` cells.

    The cut is even: 300 rows on tiles of 256 become two tiles of 150. What is left over (301 rows: one row) lies
    at the end of the last tiles. Unused cells are never programmed, carry no current and enter no statistic.
    """

    rows: int
    cols: int
    r: int
    c: int

    @classmethod
    def cut_to(cls, shape: tuple[int, int], tile_rows: int, tile_cols: int) -> Grid:
        """The even cut of a matrix onto tiles of at most ``tile_rows × tile_cols`` cells."""
        rows, cols = shape
        down, across = -(-rows // tile_rows), -(-cols // tile_cols)
        return cls(rows, cols, -(-rows // down), -(-cols // across))

    @property
    def down(self) -> int:
        """Tiles along the rows (their outputs are summed)."""
        return -(-self.rows // self.r)

    @property
    def across(self) -> int:
        """Tiles along the columns."""
        return -(-self.cols // self.c)

    @property
    def padded(self) -> bool:
        """Whether some tile has unused cells."""
        return (self.down * self.r, self.across * self.c) != (self.rows, self.cols)

    def mask(self) -> Array:
        """Which cells are used, (down, across, r, c): made of rows and columns, so that no program embeds it whole."""
        row = np.arange(self.down * self.r).reshape(self.down, 1, self.r, 1) < self.rows
        col = np.arange(self.across * self.c).reshape(1, self.across, 1, self.c) < self.cols
        return jnp.asarray(row) & jnp.asarray(col)

    def columns(self) -> np.ndarray:
        """Which columns are used, (across, c)."""
        return (np.arange(self.across * self.c) < self.cols).reshape(self.across, self.c)

    def cut(self, w: Array) -> Array:
        """(rows, cols) → (down, across, r, c), zero-padded."""
        w = jnp.pad(w, ((0, self.down * self.r - self.rows), (0, self.across * self.c - self.cols)))
        return w.reshape(self.down, self.r, self.across, self.c).transpose(0, 2, 1, 3)

    def join(self, tiles: Array) -> Array:
        """(down, across, r, c) → (rows, cols), the inverse of `cut`."""
        w = tiles.transpose(0, 2, 1, 3).reshape(self.down * self.r, self.across * self.c)
        return w[: self.rows, : self.cols]

    def cut_inputs(self, x: Array) -> Array:
        """(batch, rows) → (down, batch, r), zero-padded."""
        x = jnp.pad(x, ((0, 0), (0, self.down * self.r - self.rows)))
        return x.reshape(-1, self.down, self.r).transpose(1, 0, 2)

    def join_outputs(self, y: Array) -> Array:
        """(batch, across, c) → (batch, cols)."""
        return y.reshape(y.shape[0], self.across * self.c)[:, : self.cols]
