"""The matrix-vector product of a chip, and the reading of a chip at one moment of its life.

`forward` is the only product: programming, drift compensation, inference and training all call it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._checks import as_array, checking, ensure, is_finite, is_traced
from crossjax._kinds import door
from crossjax._numerics import at_least_single, ratio
from crossjax._pytree import replace, strong
from crossjax._random import named
from crossjax.circuits.converters import ColumnSpread
from crossjax.circuits.noise import with_noise
from crossjax.circuits.wires import StaticDrop
from crossjax.devices.device import DeviceState
from crossjax.tiles.tile import Chip, Reading, Reference, Tile, check_age, check_chip, fitting, test_inputs


def as_inputs(x: Array | np.ndarray, shape: tuple[int, int]) -> Array:
    """Inputs (…, rows) as floats of single precision at least: a chip computes in no less.

    Raises:
        ValueError: for a wrong inner dimension or complex numbers.
    """
    x = x if is_traced(x) else jnp.asarray(as_array("x", x))
    if x.ndim < 1 or x.shape[-1] != shape[0]:
        raise ValueError(f"x must end in {shape[0]} rows for a {shape} matrix, got shape {x.shape}")
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError("inputs are complex; a crossbar multiplies real numbers")
    if checking():
        ensure(is_finite, "x must be finite", x)
    return at_least_single(x)


# ----------------------------------------------------------------------------------------- the product


def line_conductances(tile: Tile, g: Array, shape: tuple[int, int]) -> tuple[Array, Array | None]:
    """Conductances (devices, down, across, r, c') to what an MVM multiplies with, and its noise variance.

    Both are (down, r, lines, across, c'), normalised; unused cells are exactly 0. With wires, the product is with
    the effective conductances of the whole network; read noise stays that of the devices themselves.
    """
    cell, device, mask = tile.cell, tile.device, _mask(tile, g.shape, shape)
    variance = device.read_variance(g)
    if tile.wires is not None:  # the lines of unused cells carry nothing
        g = tile.wires.effective(g if mask is None else jnp.where(mask, g, 0.0))
    x = device.in_spans(g)
    w = tile.subtraction.lines(cell, x)
    if mask is not None:
        w = jnp.where(mask[..., : w.shape[-1]], w, 0.0)
    return cell.misread(w.transpose(_LINES), None if variance is None else line_variance(tile, variance, shape))


_LINES = (1, 3, 0, 2, 4)  # (lines, down, across, r, c') → (down, r, lines, across, c')


def _mask(tile: Tile, cells: tuple[int, ...], shape: tuple[int, int]) -> Array | None:
    """Which cells of tiles (…, r, c') a matrix of this shape uses, its reference columns included; None for all."""
    grid = tile.grid(shape)
    if not grid.padded:
        return None
    mask = grid.mask()
    extra = cells[-1] - mask.shape[-1]
    return jnp.concatenate([mask, jnp.repeat(mask[..., :1], extra, axis=-1)], axis=-1) if extra else mask


def line_variance(tile: Tile, variance: Array, shape: tuple[int, int]) -> Array:
    """Variance (µS²) of devices (devices, down, across, r, c') to that of `line_conductances`."""
    mask = _mask(tile, variance.shape, shape)
    v = tile.subtraction.variance(tile.cell, tile.device.in_spans(tile.device.in_spans(variance)))
    if mask is not None:
        v = jnp.where(mask[..., : v.shape[-1]], v, 0.0)
    return v.transpose(_LINES)


Product = Callable[[Array, Array], Array]


def forward(
    key: Array,
    tile: Tile,
    reading: Reading,
    u: Array,
    product: Product | None = None,
    extra: Array | None = None,
    driven: Array | None = None,
) -> Array:
    """Normalised inputs to normalised outputs of every tile: the one forward path.

    DAC, sum, output and read noise, ADC, input slices added up, lines combined.

    Args:
        key: for the noise of this MVM.
        tile: the hardware.
        reading: what it conducts.
        u: inputs in units of the input range, (down, batch, r).
        product: how signals (down, batch, r) meet conductances (down, r, lines, across, c'); None for `line_sums`.
            A convolution passes its own, which must be the same sums.
        extra: variance that every line's output has besides, to broadcast against (down, batch, lines, across, c').
        driven: which word lines carry a signal; see `signals`.

    Returns:
        (down, batch, across, c), in full inputs on full weights, before digital scales.
    """
    product = product or line_sums
    x, times = signals(tile, u, driven), None

    def lines(x: Array, w: Array) -> Array:
        return bit_lines(tile, x, w, product)

    if tile.adc is not None and tile.adc.sends_again:
        first = tile.adc.distort(lines(x, reading.w), per_vector(reading.columns))
        times = tile.adc.share(first.reshape(*first.shape[:2], -1))
        sliced = tile.dac is not None and tile.dac.slice_bits is not None
        x = x / times if sliced else signals(tile, u / times, driven)  # slices are digits already: halve their signal
    sums = lines(x, reading.w)
    variance = extra
    if reading.variance is not None:
        variance = product(x * x, reading.variance) + (0.0 if extra is None else extra)
    y = _digitise(tile, reading.columns, noisy(key, tile, x, reading.w, sums, variance, product))
    if times is not None:
        y = y * times[..., None]
    if tile.dac is not None and tile.dac.slice_bits is not None:
        weights = jnp.asarray(tile.dac.slice_weights, y.dtype)
        y = jnp.einsum("s,dsb...->db...", weights, y.reshape(y.shape[0], len(weights), -1, *y.shape[2:]))
    return y


def signals(tile: Tile, u: Array, driven: Array | None = None) -> Array:
    """Word-line signals (down, slices · batch, r).

    A DAC without a level at 0 gives every input a signal, so that it takes ``driven``, to broadcast against ``u``, to
    say which word lines get none; None: all do. With a level at 0 an input of 0 is the same.
    """
    if tile.dac is None:
        return u
    if tile.dac.slice_bits is None:
        x = tile.dac.convert(u)
        return x if driven is None else jnp.where(driven, x, 0.0)
    slices = tile.dac.slices(u)  # (slices, down, batch, r)
    return slices.transpose(1, 0, 2, 3).reshape(u.shape[0], -1, u.shape[2])


def line_sums(x: Array, w: Array) -> Array:
    """(down, batch, r) times (down, r, lines, across, c') → (down, batch, lines, across, c').

    Conductances in half precision, of a reading whose arrays were cast to it, are multiplied as such; sums are single.
    """
    flat = w.reshape(*w.shape[:2], -1)
    x, kind = as_multiplied(x, w)
    if w.shape[0] == 1:  # a plain matrix product: XLA's fastest
        y = jnp.matmul(x[0], flat[0], preferred_element_type=kind)[None]
    else:
        y = jnp.einsum("dbr,drn->dbn", x, flat, preferred_element_type=kind)
    return y.reshape(*y.shape[:2], *w.shape[2:])


def as_multiplied(x: Array, w: Array) -> tuple[Array, jnp.dtype]:
    """Signals in the precision in which they meet conductances ``w``, and that of the sums: single at least."""
    x = x.astype(w.dtype) if w.dtype.itemsize < 4 else x
    return x, jnp.promote_types(jnp.promote_types(x.dtype, w.dtype), jnp.float32)


def bit_lines(tile: Tile, x: Array, w: Array, product: Product = line_sums) -> Array:
    """The sums that reach the converters, less what the lines of a `StaticDrop` lose of them."""
    return tile.wires.sums(product, x, w) if isinstance(tile.wires, StaticDrop) else product(x, w)


def per_vector(columns: ColumnSpread | None) -> ColumnSpread:
    """(down, lines, across, c') → (down, 1, lines, across, c'), to broadcast over a batch."""
    return jax.tree.map(lambda a: a[:, None], columns or ColumnSpread())


def noisy(
    key: Array, tile: Tile, x: Array, w: Array, sums: Array, variance: Array | None, product: Product = line_sums
) -> Array:
    """Bit-line sums with the output noise of the tile and that of given variance; ``x`` and ``w``: what they are of."""
    return with_noise(named(key, "mvm"), tile.noise, sums, variance, lambda: product(jnp.abs(x), jnp.abs(w)))


def _digitise(tile: Tile, columns: ColumnSpread | None, y: Array) -> Array:
    """What the ADCs make of noisy sums, and the lines of a cell combined: (down, batch, across, c)."""
    if tile.adc is not None:
        y = tile.adc.convert(tile.adc.distort(y, per_vector(columns)))
    return tile.subtraction.combine(tile.cell, jnp.moveaxis(y, 2, 0))


@door
def mvm(key: Array, tile: Tile, chip: Chip | Reading, x: Array, t: Array | float = 0.0) -> Array:
    """Matrix-vector products of a chip: y ≈ x @ weights, as the hardware computes it.

    Args:
        key: randomness of this call: noise of the MVM, and of the reading if ``chip`` is one.
        tile: the hardware.
        chip: a programmed chip, read at time ``t``; or a `Reading` (see `read`), whose time and conductances are
            already fixed, as they are for all vectors that a network sends through at one moment (``t`` is then
            without effect). ``mvm(key, tile, chip, x, t)`` equals ``mvm(key, tile, read(key, tile, chip, t), x)``.
        x: inputs, (…, rows), in the units of the weights' inputs; half precision is taken as it is.
        t: seconds after the first read, ≥ 0.

    Returns:
        Outputs (…, cols), in single precision at least: the chip's, not that of half-precision inputs.

    Raises:
        ValueError: for a wrong inner dimension, a negative time, or a chip that was made for another kind of tile.
    """
    check_chip(tile, chip)
    x = as_inputs(x, chip.shape)
    now = chip if isinstance(chip, Reading) else read(key, tile, chip, t)
    return multiply(key, strong(tile), now, x)


@jax.jit
def multiply(key: Array, tile: Tile, reading: Reading, x: Array, driven: Array | None = None) -> Array:
    """`mvm` of checked arguments; ``driven`` as in `driven_lines`."""
    grid = tile.grid(reading.shape)
    flat = x.reshape(-1, grid.rows)
    scale = 1.0 if tile.dac is None else tile.dac.input_scale(flat)
    u = grid.cut_inputs(flat if tile.dac is None else flat / scale)
    lines = driven_lines(tile, flat, driven)
    y = forward(key, tile, reading, u, driven=None if lines is None else grid.cut_inputs(lines))
    return (scaled(tile, reading, y) * scale).reshape(*x.shape[:-1], grid.cols)


def driven_lines(tile: Tile, x: Array, driven: Array | None = None) -> Array | None:
    """Which word lines of inputs (batch, rows) carry a signal, (1 or batch, rows); None where that makes no difference.

    Args:
        tile: the hardware.
        x: the inputs.
        driven: which of them are inputs, and not padding, (…, rows); None: all.
    """
    if tile.dac is None or tile.dac.has_zero:
        return None
    lines = jnp.ones((1, x.shape[1]), bool) if driven is None else driven.reshape(-1, x.shape[1])
    return lines & jnp.any(x != 0, axis=1, keepdims=True) if tile.dac.per_vector else lines


def scaled(tile: Tile, reading: Reading, y: Array) -> Array:
    """Normalised outputs of every tile (down, batch, across, c) to outputs (batch, cols) in units of the weights."""
    y = jnp.sum(y * reading.scale[:, None], axis=0) if y.shape[0] > 1 else y[0] * reading.scale
    return tile.grid(reading.shape).join_outputs(y)


# -------------------------------------------------------------------------------------- a chip at a time t


@door
def read(key: Array, tile: Tile, chip: Chip, t: Array | float = 0.0) -> Reading:
    """The chip as it conducts ``t`` seconds after its first read: drift, 1/f noise, drift compensation.

    Accumulated noise is drawn here, once: every MVM of the reading sees the same conductances.

    Raises:
        ValueError: for a negative or non-finite time, or a chip that was made for another kind of tile.
    """
    check_chip(tile, chip)
    check_age(chip, t)
    return reading(key, tile, chip, t)


def reading(key: Array, tile: Tile, chip: Chip, t: Array | float) -> Reading:
    """See `read`; for a chip that is known to fit its tile, and may have nothing to compare with yet."""
    tile, t = strong(tile), strong(t)
    w, variance = _conducting(key, tile, chip.cells, t, chip.shape)
    now = Reading(w, variance, chip.scale, chip.columns, chip.shape)
    if chip.reference is None or tile.compensation is None:
        return now
    return replace(now, scale=_compensated(key, tile, now, chip.reference, t))


@partial(jax.jit, static_argnums=4)  # on its own: programming, reading and MVMs share what it compiles to
def _conducting(
    key: Array, tile: Tile, cells: DeviceState, t: Array, shape: tuple[int, int]
) -> tuple[Array, Array | None]:
    g = lax.optimization_barrier(tile.device.at(named(key, "read"), cells, t))  # drawn once, used twice
    return line_conductances(tile, g, shape)


@jax.jit
def _compensated(key: Array, tile: Tile, reading: Reading, reference: Reference, t: Array) -> Array:
    return reading.scale * drift_factor(named(key, "calibration"), tile, reading, reference, t)


def _calibration_inputs(tile: Tile, shape: tuple[int, ...], deviation: Array) -> Array:
    pattern = jax.random.key(0)  # a constant of the method: the same inputs at every time, on every chip
    return test_inputs(pattern, tile, (shape[0], tile.calibration_vectors, shape[1]), deviation)


def _calibration_sums(key: Array, tile: Tile, reading: Reading, deviation: Array) -> Array:
    """What the ADCs are given for the calibration inputs, noise included, (down, vectors, lines, across, c')."""
    x = _calibration_inputs(tile, reading.w.shape, deviation)
    sums = bit_lines(tile, x, reading.w)
    variance = None if reading.variance is None else line_sums(x * x, reading.variance)
    return noisy(key, tile, x, reading.w, sums, variance)


def drift_factor(key: Array, tile: Tile, reading: Reading, reference: Reference, t: Array | float) -> Array:
    """Drift compensation α(t) = s(t_0) / s(t) of every tile or column, (down, across, 1 or c).

    ``s`` is the summed magnitude of the outputs for a fixed test pattern (GDC; Joshi et al. 2020). The reference
    s(t_0) was measured once, when programming ended; only the converters in use look at it. The first reading is
    its own reference, so α(0) = 1 exactly (unless the reference is an ideal one).
    """

    def signal(sums: Array) -> Array:
        y = jnp.abs(_digitise(tile, reading.columns, sums))
        y = jnp.where(tile.grid(reading.shape).columns(), y, 0.0)
        return jnp.sum(y, axis=1) if tile.compensation == "column" else jnp.sum(y, axis=(1, 3))[..., None]

    now = _calibration_sums(key, tile, reading, reference.deviation)
    alpha = ratio(signal(reference.sums), signal(now), 1.0)
    return alpha if tile.reference == "ideal" else jnp.where(t == reference.time, 1.0, alpha)


@door
def remember(key: Array, tile: Tile, chip: Chip, t: Array | float = 0.0) -> Chip:
    """The chip with what its drift compensation is to compare with from now on: what it conducts at ``t``.

    `crossjax.program` does it at the end; after a `crossjax.write` it is up to you, as it takes calibration MVMs.

    Raises:
        ValueError: for a time before the chip was written last, or a chip of another kind of tile.
    """
    check_chip(tile, chip)
    check_age(chip, t)
    tile, chip = strong(tile), replace(chip, reference=None)
    first = reading(named(key, "first read"), tile, chip, t)
    lines = first.w.transpose(2, 0, 3, 1, 4)
    return remembered(named(key, "reference"), tile, chip, first, fitting(tile, lines), t)


def remembered(key: Array, tile: Tile, chip: Chip, first: Reading, deviation: Array, t: Array | float = 0.0) -> Chip:
    """See `remember`; ``first`` is the reading at ``t``, ``deviation`` that of the calibration inputs."""
    if not tile.compensated:
        return chip
    if tile.reference == "ideal":
        sums = _ideal_reference(tile, chip.cells.g, chip.shape, deviation)
    else:
        sums = _first_reference(key, tile, first, deviation)
    return replace(chip, reference=Reference(sums, deviation, jnp.asarray(t, sums.dtype)))


@jax.jit
def _first_reference(key: Array, tile: Tile, first: Reading, deviation: Array) -> Array:
    return _calibration_sums(key, tile, first, deviation)


@partial(jax.jit, static_argnums=2)
def _ideal_reference(tile: Tile, g: Array, shape: tuple[int, int], deviation: Array) -> Array:
    conducts = line_conductances(tile, g, shape)[0]
    return bit_lines(tile, _calibration_inputs(tile, conducts.shape, deviation), conducts)


@door
def weights_at(key: Array, tile: Tile, chip: Chip, t: Array | float = 0.0) -> Array:
    """The weights (rows, cols) that the chip's conductances stand for at time ``t``, compensation included.

    Raises:
        ValueError: for a negative or non-finite time, or a chip that was made for another kind of tile.
    """
    check_chip(tile, chip)
    check_age(chip, t)
    return _weights(strong(tile), reading(key, tile, chip, t))


@jax.jit
def _weights(tile: Tile, reading: Reading) -> Array:
    lines = reading.w.transpose(2, 0, 3, 1, 4)  # (lines, down, across, r, c')
    w = tile.subtraction.combine(tile.cell, lines)
    return tile.grid(reading.shape).join(w * reading.scale[:, :, None])
