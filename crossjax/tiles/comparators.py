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
        ValueError: for a tile without ADCs, or one whose converters see sums that are not outputs on a scale of their
            own (inputs in slices, rescaled by vector, or halved; lines that are digitised one by one), or thresholds of
            another number.
    """
    rows, cols = reading.shape
    if tile.adc is None:
        raise ValueError("thresholds are those of comparators, and this tile has no ADC (one bit: ADC(bits=1))")
    dac, adc = tile.dac, tile.adc
    if tile.subtraction.digital or adc.sends_again or (
        dac is not None and (dac.slice_bits is not None or dac.per_vector)
    ):  # fmt: skip
        raise ValueError(
            "thresholds are of whole sums: they need a tile with subtract='analog', on_saturation='clip', and a DAC "
            "without slices and of fixed range"
        )
    if thresholds.shape != (cols,):
        raise ValueError(f"thresholds must be one for each of {cols} columns, got shape {thresholds.shape}")
    each = tile.grid(reading.shape).cut(jnp.broadcast_to(thresholds / rows, (rows, cols)))
    share = jnp.sum(each, axis=-2) / reading.scale  # (down, across, c)
    if dac is not None:
        share = share / dac.range
    columns = reading.columns or ColumnSpread()
    offset = -(share / tile.adc.range)[:, None]
    return replace(
        reading, columns=replace(columns, offset=offset if columns.offset is None else columns.offset + offset)
    )
