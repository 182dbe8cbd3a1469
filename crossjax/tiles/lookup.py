"""Rows of a chip, looked up: what a one-hot vector is multiplied to, without a product over all rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._random import split
from crossjax.circuits.wires import StaticDrop
from crossjax.tiles.mvm import forward, multiply
from crossjax.tiles.tile import Reading, Tile


@jax.jit
def look_up(key: Array, tile: Tile, reading: Reading, rows: Array) -> Array:
    """A full signal on one word line for every index: the other lines are not driven, the other tiles not read.

    Costs one row of devices an index. A `StaticDrop` depends on where a row lies, and takes the whole product.

    Args:
        key: for the noise of these MVMs.
        tile: the hardware.
        reading: what its chip conducts.
        rows: indices (…), from 0 to one less than the rows of the matrix; others give its first or last row.

    Returns:
        Outputs (…, cols).
    """
    grid, which = tile.grid(reading.shape), jnp.clip(rows.reshape(-1), 0, reading.shape[0] - 1)
    if isinstance(tile.wires, StaticDrop):
        one_hot = jax.nn.one_hot(which, grid.rows, dtype=reading.w.dtype)
        return multiply(key, tile, reading, one_hot, driven=one_hot > 0).reshape(*rows.shape, grid.cols)
    full = jnp.ones((1, 1), reading.w.dtype)
    scale = jnp.ones(()) if tile.dac is None else jnp.asarray(tile.dac.input_scale(full))

    def one(key: Array, row: Array) -> Array:
        at, line = row // grid.r, row % grid.r
        variance = None if reading.variance is None else reading.variance[at, line][None, None]
        columns = jax.tree.map(lambda a: a[at][None], reading.columns)
        own = Reading(reading.w[at, line][None, None], variance, reading.scale[at][None], columns, (1, grid.cols))
        y = forward(key, tile, own, (full / scale)[None])[0]  # (1, across, c)
        return grid.join_outputs(y * reading.scale[at] * scale)[0]

    return jax.vmap(one)(split(key, which.size), which).reshape(*rows.shape, grid.cols)
