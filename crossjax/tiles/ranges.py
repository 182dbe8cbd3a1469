"""The ranges of a tile's converters, calibrated to what flows through it."""

from __future__ import annotations

import warnings

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._kinds import door
from crossjax._pytree import replace
from crossjax._random import normal
from crossjax.circuits.converters import check_percentile, needed_range
from crossjax.tiles.grid import Grid
from crossjax.tiles.mvm import as_inputs, bit_lines, driven_lines, line_sums, noisy, per_vector, read, signals
from crossjax.tiles.tile import Chip, Reading, Tile, check_chip, check_weights, ideal_lines, normalise


@door
def calibrate_ranges(tile: Tile, weights: Array, x: Array, percentile: float = 99.995) -> Tile:
    """The tile with converter ranges that hold ``percentile`` % of what inputs ``x`` cause in it.

    The DAC's range from the inputs, the ADC's from the line sums of the ideal weights that it digitises. A
    converter that is off stays off, and a range about which the data say nothing (they cause nothing but zeros)
    stays as it is, with a warning. Joshi et al., Nat. Commun. 11:2473 (2020) find 99.995 lossless for 8-bit ADCs.

    Args:
        tile: the hardware.
        weights: the matrix it is to hold, (rows, cols).
        x: typical inputs, (…, rows).
        percentile: in (0, 100].

    Raises:
        ValueError: for a percentile out of range, weights that are not a matrix, a wrong inner dimension, no inputs,
            or inputs that are NaN or infinite (under jit, where they are not known yet, the ranges are NaN).
    """
    check_percentile(percentile)
    weights = check_weights(weights)
    needed = needed_ranges(tile, weights, as_inputs(x, (weights.shape[0], weights.shape[1])), percentile)
    tuned, silent = with_ranges(tile, needed)
    if silent:
        warnings.warn(f"all-zero data say nothing about the range of the {' and '.join(silent)}: kept", stacklevel=2)
    return tuned


Needed = tuple[Array | None, Array | None]


def needed_ranges(tile: Tile, weights: Array, x: Array, percentile: float, driven: Array | None = None) -> Needed:
    """Ranges of (DAC, ADC) that hold ``percentile`` % of what inputs (…, rows) cause; None where there is none to set.

    0 where they cause nothing but zeros, NaN where they cause NaN or infinity. ``driven`` as in `driven_lines`.
    """
    flat, dac = x.reshape(-1, x.shape[-1]), None
    if tile.dac is not None and not tile.dac.per_vector:
        dac = needed_range(flat, percentile)
        tile = with_ranges(tile, (dac, None))[0]
    return dac, _adc_range(tile, weights, flat, percentile, driven)


def with_ranges(tile: Tile, needed: Needed) -> tuple[Tile, list[str]]:
    """The tile with `needed_ranges`, and the converters whose range stays as it is because that is 0.

    Raises:
        ValueError: for a range that is not finite.
    """
    kept = []
    for name, value in zip(("dac", "adc"), needed, strict=True):
        if value is None:
            continue
        if not isinstance(value, jax.core.Tracer):
            if not np.isfinite(value):
                raise ValueError("calibration data are NaN or infinite, or cause such sums: clean them")
            kept += [name.upper()] if value == 0 else []
        tile = replace(tile, **{f"{name}.range": jnp.where(value == 0, getattr(tile, name).range, value)})
    return tile, kept


def _adc_range(tile: Tile, weights: Array, x: Array, percentile: float, driven: Array | None = None) -> Array | None:
    """The range that holds ``percentile`` % of the line sums that inputs (vectors, rows) cause in a tile's ADC."""
    if tile.adc is None:
        return None
    grid = tile.grid((weights.shape[0], weights.shape[1]))
    u = grid.cut_inputs(x if tile.dac is None else x / tile.dac.input_scale(x))
    lines = ideal_lines(tile, normalise(tile, weights)[0])
    live = driven_lines(tile, x, driven)
    x = signals(tile, u, None if live is None else grid.cut_inputs(live))
    sums = line_sums(x, lines.transpose(1, 3, 0, 2, 4))
    return needed_range(_of_columns(sums, grid), percentile)


@door
def typical_ranges(tile: Tile, weights: Array, percentile: float = 99.995, vectors: int = 1024) -> Tile:
    """The tile with an ADC range for these weights and Gaussian inputs of a third of the DAC's range.

    What can be said before there are data: the DAC's range stays. On 256² Gaussian weights it is the range of the
    HERMES preset; a layer of 27 inputs needs a third of it. Weights that are all 0 need none: the range stays.

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
    full = 1.0 if tile.dac is None or tile.dac.per_vector else tile.dac.range
    x = normal(jax.random.key(0), (vectors, weights.shape[0])) * (full / 3.0)
    return with_ranges(tile, (None, _adc_range(tile, weights, x, percentile)))[0]


@door
def adc_inputs(key: Array, tile: Tile, chip: Chip | Reading, x: Array, t: Array | float = 0.0) -> Array:
    """What the ADCs of a chip are given for inputs, with noise, gains and offsets, before they clip and round.

    Args:
        key, tile, chip, x, t: as for `mvm`. Input slices are conversions of their own; a vector that
            ``on_saturation="halve"`` would send again is shown as it was sent first.

    Returns:
        One number for every conversion, in full inputs on full weights, in no order.

    Raises:
        ValueError: as `mvm`.
    """
    check_chip(tile, chip)
    x = as_inputs(x, chip.shape)
    grid, flat = tile.grid(chip.shape), x.reshape(-1, chip.shape[0])
    now = chip if isinstance(chip, Reading) else read(key, tile, chip, t)
    live = driven_lines(tile, flat)
    u = grid.cut_inputs(flat if tile.dac is None else flat / tile.dac.input_scale(flat))
    sent = signals(tile, u, None if live is None else grid.cut_inputs(live))
    variance = None if now.variance is None else line_sums(sent * sent, now.variance)
    sums = noisy(key, tile, sent, now.w, bit_lines(tile, sent, now.w), variance)
    if tile.adc is not None:
        sums = tile.adc.distort(sums, per_vector(now.columns))
    return _of_columns(sums, grid).ravel()


def _of_columns(sums: Array, grid: Grid) -> Array:
    """Sums (…, across, c') of the columns that a matrix uses, reference columns included."""
    used = grid.columns()
    if sums.shape[-1] > grid.c:  # the reference column of every tile
        used = np.concatenate([used, np.ones((grid.across, sums.shape[-1] - grid.c), bool)], axis=1)
    return sums[..., used]
