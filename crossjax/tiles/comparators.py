"""Sense comparators: ADCs of one bit whose threshold is not 0."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import replace
from crossjax.circuits.converters import ColumnSpread
from crossjax.tiles.tile import Reading, Tile


def with_thresholds(tile: Tile, reading: Reading, thresholds: Array) -> Reading:
    """The reading with converters whose zero is at ``thresholds`` (cols,), in outputs: a comparator says s ≥ θ.

    Of a matrix on several tiles along its rows every tile gets the share of its rows, and decides on its own; their
    decisions add up to a majority.

    Raises:
        ValueError: for a tile without ADCs, or thresholds of another number.
    """
    rows, cols = reading.shape
    if tile.adc is None:
        raise ValueError("thresholds are those of comparators, and this tile has no ADC (one bit: ADC(bits=1))")
    if thresholds.shape != (cols,):
        raise ValueError(f"thresholds must be one for each of {cols} columns, got shape {thresholds.shape}")
    each = tile.grid(reading.shape).cut(jnp.broadcast_to(thresholds / rows, (rows, cols)))
    share = jnp.sum(each, axis=-2) / reading.scale  # (down, across, c)
    columns = reading.columns or ColumnSpread()
    offset = -(share / tile.adc.range)[:, None]
    return replace(
        reading, columns=replace(columns, offset=offset if columns.offset is None else columns.offset + offset)
    )
