"""Calibration of a tile to what flows through it: the ranges of its converters.

Drift compensation is part of reading a chip (`crossjax.tiles.mvm.read`): it follows from what the chip
remembers of the day it was programmed.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import replace
from crossjax.circuits.converters import percentile_range
from crossjax.tiles.mvm import line_sums
from crossjax.tiles.tile import Tile, check_weights, normalise


def calibrate_ranges(tile: Tile, weights: Array, x: Array, percentile: float = 99.995) -> Tile:
    """The tile with converter ranges that hold ``percentile`` % of what inputs ``x`` cause in it.

    The DAC's range from the inputs, the ADC's from the bit-line sums of the ideal weights. A converter that is
    off stays off. Joshi et al., Nat. Commun. 11:2473 (2020) find 99.995 lossless for 8-bit ADCs.

    Args:
        tile: the hardware.
        weights: the matrix it is to hold, (rows, cols).
        x: typical inputs, (…, rows).
        percentile: in (0, 100].

    Raises:
        ValueError: for a percentile out of range, weights that are not a matrix, or a wrong inner dimension.
    """
    weights = check_weights(weights)
    x = jnp.asarray(x)
    if x.ndim < 1 or x.shape[-1] != weights.shape[0]:
        raise ValueError(f"x must end in {weights.shape[0]} rows for a {weights.shape} matrix, got shape {x.shape}")
    flat = x.reshape(-1, weights.shape[0])
    if tile.dac is not None and tile.dac.scaling == "fixed":
        tile = replace(tile, **{"dac.range": percentile_range(x, percentile)})
    if tile.adc is None:
        return tile
    scale = 1.0 if tile.dac is None else tile.dac.input_scale(flat)
    w, _ = normalise(tile, weights)
    u = tile.grid((weights.shape[0], weights.shape[1])).cut_inputs(
        jnp.clip(flat / scale, -1.0, 1.0) if tile.dac else flat
    )
    sums = line_sums(u, w.transpose(0, 2, 1, 3)[:, :, None])
    return replace(tile, **{"adc.range": percentile_range(sums, percentile)})
