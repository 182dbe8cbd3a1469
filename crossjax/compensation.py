"""Calibration of a tile to what flows through it: the ranges of its converters.

Drift compensation is part of reading a chip (`crossjax.tiles.mvm.read`): it follows from what the chip
remembers of the day it was programmed.
"""

from __future__ import annotations

import jax
import numpy as np
from jax import Array

from crossjax._kinds import door
from crossjax._pytree import replace
from crossjax._random import normal
from crossjax.circuits.converters import check_percentile, percentile_range
from crossjax.tiles.mvm import as_inputs, line_sums, signals
from crossjax.tiles.tile import Tile, check_weights, ideal_lines, normalise


@door
def calibrate_ranges(tile: Tile, weights: Array, x: Array, percentile: float = 99.995) -> Tile:
    """The tile with converter ranges that hold ``percentile`` % of what inputs ``x`` cause in it.

    The DAC's range from the inputs, the ADC's from the line sums of the ideal weights that it digitises. A
    converter that is off stays off. Joshi et al., Nat. Commun. 11:2473 (2020) find 99.995 lossless for 8-bit ADCs.

    Args:
        tile: the hardware.
        weights: the matrix it is to hold, (rows, cols).
        x: typical inputs, (…, rows).
        percentile: in (0, 100].

    Raises:
        ValueError: for a percentile out of range, weights that are not a matrix, or a wrong inner dimension.
    """
    check_percentile(percentile)
    weights = check_weights(weights)
    shape = (weights.shape[0], weights.shape[1])
    flat = as_inputs(x, shape).reshape(-1, shape[0])
    if tile.dac is not None and tile.dac.scaling == "fixed":
        tile = replace(tile, **{"dac.range": percentile_range(flat, percentile)})
    return _with_adc_range(tile, weights, flat, percentile)


def _with_adc_range(tile: Tile, weights: Array, x: Array, percentile: float) -> Tile:
    """The tile whose ADC holds ``percentile`` % of the line sums that inputs (vectors, rows) cause in it."""
    if tile.adc is None:
        return tile
    grid = tile.grid((weights.shape[0], weights.shape[1]))
    u = grid.cut_inputs(x if tile.dac is None else x / tile.dac.input_scale(x))
    lines = ideal_lines(tile, normalise(tile, weights)[0])
    sums = line_sums(signals(tile, u), lines.transpose(1, 3, 0, 2, 4))
    used = grid.columns()
    if sums.shape[-1] > grid.c:  # the reference column of every tile
        used = np.concatenate([used, np.ones((grid.across, sums.shape[-1] - grid.c), bool)], axis=1)
    return replace(tile, **{"adc.range": percentile_range(sums[..., used], percentile)})


@door
def typical_ranges(tile: Tile, weights: Array, percentile: float = 99.995, vectors: int = 1024) -> Tile:
    """The tile with an ADC range for these weights and Gaussian inputs of a third of the DAC's range.

    What can be said before there are data: the DAC's range stays. On 256² Gaussian weights it is the range of the
    HERMES preset; a layer of 27 inputs needs a third of it.

    Args:
        tile, weights, percentile: as for `calibrate_ranges`.
        vectors: how many inputs are tried; always the same ones.

    Raises:
        ValueError: as `calibrate_ranges`.
    """
    if vectors < 1:
        raise ValueError(f"vectors must be at least 1, got {vectors}")
    check_percentile(percentile)
    weights = check_weights(weights)
    full = 1.0 if tile.dac is None or tile.dac.scaling != "fixed" else tile.dac.range
    x = normal(jax.random.key(0), (vectors, weights.shape[0])) * (full / 3.0)
    return _with_adc_range(tile, weights, x, percentile)
