"""Tiles: the specification of a crossbar, the chip that was built from it, and its matrix-vector product.

    Tile ──start──► Chip (RESET) ──programming──► Chip ──read(t)──► Reading ──mvm(x)──► y

A `Tile` says what the hardware is, a `Chip` what one piece of it holds, a `Reading` what it conducts at one
moment. `forward` is the only product: programming, compensation, inference and training all call it.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._numerics import ratio, safe_sqrt
from crossjax._pytree import check_choice, check_count, check_range, is_concrete, replace, spec, static
from crossjax._random import named, normal
from crossjax.circuits.converters import ADC, DAC, ColumnSpread
from crossjax.devices.device import Device, DeviceState
from crossjax.tiles.cells import Pairs, UnitCell
from crossjax.tiles.grid import Grid


@spec
class Tile:
    """A crossbar tile: its devices, its cells and the circuits around it. What is None is off.

    Attributes:
        rows, cols: size; larger matrices are cut into a grid of tiles, smaller ones use part of one.
        device: the memory device.
        cell: how a weight is made of devices.
        dac, adc: converters; None for ideal ones.
        noise: standard deviation of the output noise of one MVM, in full inputs on full weights, before the ADC.
        scaling: one digital scale per "tile" or per "column" (largest weight ↔ g_max).
        subtract: where the lines of a cell are combined: "analog" (one ADC per column) or "digital" (one per line).
        compensation: drift compensation by one factor per "tile" (GDC, Joshi 2020) or per "column"; None for none.
        calibration_vectors: inputs that drift compensation is measured with.
    """

    rows: int = static(256)
    cols: int = static(256)
    device: Device = Device()
    cell: UnitCell = Pairs()
    dac: DAC | None = None
    adc: ADC | None = None
    noise: float | None = None
    scaling: str = static("tile")
    subtract: str = static("analog")
    compensation: str | None = static("tile")
    calibration_vectors: int = static(32)

    def check(self) -> None:
        check_count(self, "rows")
        check_count(self, "cols")
        check_count(self, "calibration_vectors")
        check_range(self, "noise", low=0)
        check_choice(self, "scaling", ("tile", "column"))
        check_choice(self, "subtract", ("analog", "digital"))
        check_choice(self, "compensation", (None, "tile", "column"))

    def grid(self, shape: tuple[int, int]) -> Grid:
        """How a matrix of this shape lies on tiles."""
        return Grid.cut_to(shape, self.rows, self.cols - self.cell.extra_columns)

    def devices_for(self, shape: tuple[int, int]) -> int:
        """Physical devices that a matrix of this shape uses."""
        grid = self.grid(shape)
        per_row = grid.cols + grid.across * self.cell.extra_columns
        return grid.rows * per_row * self.cell.devices * self.device.parallel


@spec
class Reference:
    """What drift compensation remembers of the day the chip was programmed.

    Attributes:
        sums: bit-line sums of the calibration inputs at t = 0, before the converters, (down, vectors, lines,
            across, c'): the converters in use look at them and at today's sums alike.
        drive: standard deviation of the calibration inputs, in full inputs, (down, 1, 1).
    """

    sums: Array
    drive: Array


@spec
class Chip:
    """A programmed matrix on its tiles.

    Attributes:
        cells: the devices, (devices, down, across, r, c').
        scale: weight that a normalised weight of 1 stands for, (down, across, 1 or c).
        columns: the converters' spread, (down, lines, across, c').
        reference: for drift compensation; None without.
        shape: (rows, cols) of the matrix.
    """

    cells: DeviceState
    scale: Array
    columns: ColumnSpread | None
    reference: Reference | None
    shape: tuple[int, int] = static()


@spec
class Reading:
    """A chip as it conducts at one moment: what an MVM needs, and nothing else.

    Attributes:
        w: normalised conductance of every line, (down, r, lines, across, c').
        variance: what each adds to the variance of one MVM, same shape; None without read noise.
        scale: digital scale of every output, drift compensation included, (down, across, 1 or c).
        columns: the converters' spread.
        shape: (rows, cols) of the matrix.
    """

    w: Array
    variance: Array | None
    scale: Array
    columns: ColumnSpread | None
    shape: tuple[int, int] = static()


# ------------------------------------------------------------------------------------------- checks


def check_weights(weights: Array | np.ndarray) -> Array:
    """A finite float matrix (rows, cols), or a ``ValueError`` that says what is wrong with it."""
    if not isinstance(weights, jax.core.Tracer):  # concrete numbers, even while something else is traced
        values = np.asarray(weights)
        if values.dtype.kind not in "fiub" and not jnp.issubdtype(values.dtype, jnp.floating):
            raise ValueError(f"weights must be real numbers, got {values.dtype}")
        if not np.isfinite(values.astype(np.float64)).all():
            bad = int(np.sum(~np.isfinite(values.astype(np.float64))))
            raise ValueError(f"{bad} of {values.size} weights are NaN or infinite: clean them before programming")
    w = jnp.asarray(weights)
    if w.ndim != 2:
        raise ValueError(f"weights must be a matrix (rows = inputs, cols = outputs), got shape {w.shape}")
    if w.size == 0:
        raise ValueError(f"weights are empty: shape {w.shape}")
    if not jnp.issubdtype(w.dtype, jnp.floating):
        w = w.astype(jnp.zeros(()).dtype)
    return w


def _check_time(t: Array | float) -> None:
    if is_concrete(t) and not (t >= 0 and math.isfinite(t)):
        raise ValueError(f"time must be finite and ≥ 0 seconds after the first read, got {t:g}")


# --------------------------------------------------------------------------------- from weights to a chip


def normalise(tile: Tile, weights: Array) -> tuple[Array, Array]:
    """Weights (rows, cols) to normalised tiles (down, across, r, c) with |w| ≤ 1, and their scales.

    The scale of an all-zero tile or column is 1.
    """
    w = tile.grid((weights.shape[0], weights.shape[1])).cut(weights)
    scale = jnp.max(jnp.abs(w), axis=(-2, -1) if tile.scaling == "tile" else -2, keepdims=True)
    scale = jnp.where(scale > 0, scale, 1.0)
    return w / scale, scale[..., 0, :]


def start(key: Array, tile: Tile, weights: Array) -> tuple[Chip, Array]:
    """A chip fresh from RESET with room for ``weights``, and the normalised weights it is to hold.

    Draws what is fixed for the life of the chip: faults, cells, converters.
    """
    w, scale = normalise(tile, weights)
    down, across, r, c = w.shape
    wide = c + tile.cell.extra_columns
    cells = tile.device.reset(named(key, "devices"), (tile.cell.devices, down, across, r, wide))
    lines, c = (tile.cell.devices, wide) if tile.subtract == "digital" else (1, c)
    columns = None if tile.adc is None else tile.adc.draw(named(key, "adc"), (down, lines, across, c))
    return Chip(cells, scale, columns, None, (weights.shape[0], weights.shape[1])), w


def conductance_targets(tile: Tile, w: Array) -> Array:
    """Target conductances (devices, down, across, r, c'), µS, of normalised weights."""
    return tile.cell.encode(w, tile.device.g_min, tile.device.g_max)


def drive(tile: Tile, w: Array, wanted: float = 1 / 3) -> Array:
    """Standard deviation of test inputs, (down, 1, 1): as wanted, or less where ADCs would saturate.

    Four standard deviations of the largest output of the normalised weights ``w`` fit the ADC's range.
    """
    if tile.adc is None:
        return jnp.full((w.shape[0], 1, 1), wanted, w.dtype)
    largest = jnp.max(safe_sqrt(jnp.sum(w * w, axis=-2)), axis=(1, 2))[:, None, None]
    return jnp.minimum(wanted, ratio(jnp.min(jnp.asarray(tile.adc.range)) / 4.0, largest, wanted))


def test_inputs(key: Array, tile: Tile, shape: tuple[int, int, int], deviation: Array) -> Array:
    """Random normalised inputs (down, batch, r): Gaussian, within the range, on the DAC's levels."""
    u = jnp.clip(normal(key, shape) * deviation, -1.0, 1.0)
    return u if tile.dac is None else tile.dac.convert(u)


# ----------------------------------------------------------------------------------------- the product


def conduct(tile: Tile, g: Array, shape: tuple[int, int]) -> tuple[Array, Array | None]:
    """Conductances (devices, down, across, r, c') to what an MVM multiplies with, and its noise variance.

    Both are (down, r, lines, across, c'), normalised; unused cells are exactly 0.
    """
    cell, device = tile.cell, tile.device
    variance = device.read_variance(g)
    if tile.subtract == "analog":
        w = cell.decode(g, device.g_min, device.g_max)[None]
        v = None if variance is None else cell.variance(variance, device.g_min, device.g_max)[None]
    else:
        w = cell.lines(g, device.g_min, device.g_max)
        unit = cell.lines(jnp.ones(()), device.g_min, device.g_max)
        v = None if variance is None else variance * unit**2
    grid = tile.grid(shape)
    if grid.padded:
        mask = grid.mask()
        extra = w.shape[-1] - mask.shape[-1]
        mask = np.concatenate([mask, np.repeat(mask[..., :1], extra, axis=-1)], axis=-1) if extra else mask
        w = jnp.where(mask, w, 0.0)
        v = None if v is None else jnp.where(mask, v, 0.0)
    order = (1, 3, 0, 2, 4)
    return w.transpose(order), None if v is None else v.transpose(order)


def forward(key: Array, tile: Tile, reading: Reading, u: Array) -> Array:
    """Normalised inputs to normalised outputs of every tile: the one forward path.

    DAC, sum, output and read noise, ADC, input slices added up, lines combined.

    Args:
        key: for the noise of this MVM.
        tile: the hardware.
        reading: what it conducts.
        u: inputs in units of the input range, (down, batch, r).

    Returns:
        (down, batch, across, c), in full inputs on full weights, before digital scales.
    """
    if tile.adc is not None and tile.adc.on_saturation == "halve":
        first = _product(u if tile.dac is None else tile.dac.convert(u), reading.w)
        first = tile.adc.distort(first, _per_vector(reading.columns))
        times = tile.adc.halvings(first.reshape(*first.shape[:2], -1))
        return _once(key, tile, reading, u / times) * times[..., None]
    return _once(key, tile, reading, u)


def _signals(tile: Tile, u: Array) -> Array:
    """Word-line signals (down, slices · batch, r)."""
    if tile.dac is None:
        return u
    if tile.dac.slice_bits is None:
        return tile.dac.convert(u)
    slices = tile.dac.slices(u)  # (slices, down, batch, r)
    return slices.transpose(1, 0, 2, 3).reshape(u.shape[0], -1, u.shape[2])


def _product(x: Array, w: Array) -> Array:
    """(down, batch, r) times (down, r, lines, across, c') → (down, batch, lines, across, c')."""
    flat = w.reshape(*w.shape[:2], -1)
    if w.shape[0] == 1:  # a plain matrix product: XLA's fastest
        y = (x[0] @ flat[0])[None]
    else:
        y = jnp.einsum("dbr,drn->dbn", x, flat)
    return y.reshape(*y.shape[:2], *w.shape[2:])


def _per_vector(columns: ColumnSpread | None) -> ColumnSpread:
    """(down, lines, across, c') → (down, 1, lines, across, c'), to broadcast over a batch."""
    return jax.tree.map(lambda a: a[:, None], columns or ColumnSpread())


def _once(key: Array, tile: Tile, reading: Reading, u: Array) -> Array:
    x = _signals(tile, u)
    sums = _product(x, reading.w)
    variance = None if reading.variance is None else _product(x * x, reading.variance)
    y = _convert(key, tile, reading.columns, sums, variance)
    if tile.dac is not None and tile.dac.slice_bits is not None:
        weights = jnp.asarray(tile.dac.slice_weights, y.dtype)
        y = jnp.einsum("s,dsb...->db...", weights, y.reshape(y.shape[0], len(weights), -1, *y.shape[2:]))
    return y


def _convert(key: Array, tile: Tile, columns: ColumnSpread | None, sums: Array, variance: Array | None) -> Array:
    """Bit-line sums (down, batch, lines, across, c') to digital outputs (down, batch, across, c)."""
    y = sums
    if variance is not None:
        sigma = safe_sqrt(variance if tile.noise is None else variance + tile.noise**2)
        y = y + sigma * normal(named(key, "mvm"), y.shape, y.dtype)
    elif tile.noise is not None:
        y = y + tile.noise * normal(named(key, "mvm"), y.shape, y.dtype)
    if tile.adc is not None:
        y = tile.adc.convert(tile.adc.distort(y, _per_vector(columns)))
    if tile.subtract == "digital":
        return tile.cell.combine(jnp.moveaxis(y, 2, 0))
    return y[:, :, 0]


def mvm(key: Array, tile: Tile, chip: Chip | Reading, x: Array, t: Array | float = 0.0) -> Array:
    """Matrix-vector products of a chip: y ≈ x @ weights, as the hardware computes it.

    Args:
        key: randomness of this call: noise of the MVM, and of the reading if ``chip`` is one.
        tile: the hardware.
        chip: a programmed chip, read at time ``t``; or a `Reading` (see `read`), whose conductances are already
            fixed, as they are for all vectors that a network sends through at one moment.
        x: inputs, (…, rows), in the units of the weights' inputs.
        t: seconds after the first read, ≥ 0.

    Returns:
        Outputs (…, cols).

    Raises:
        ValueError: for a wrong inner dimension or a negative time.
    """
    x = jnp.asarray(x)
    if x.ndim < 1 or x.shape[-1] != chip.shape[0]:
        raise ValueError(f"x must end in {chip.shape[0]} rows for a {chip.shape} matrix, got shape {x.shape}")
    _check_time(t)
    return _mvm(key, tile, chip, x, t)


@jax.jit
def _mvm(key: Array, tile: Tile, chip: Chip | Reading, x: Array, t: Array | float) -> Array:
    rows = chip.shape[0]
    reading = chip if isinstance(chip, Reading) else _read(named(key, "read"), tile, chip, t)
    grid = tile.grid(chip.shape)
    flat = x.reshape(-1, rows)
    scale = 1.0 if tile.dac is None else tile.dac.input_scale(flat)
    u = grid.cut_inputs(flat if tile.dac is None else flat / scale)
    y = forward(key, tile, reading, u)
    y = jnp.sum(y * reading.scale[:, None], axis=0) if grid.down > 1 else y[0] * reading.scale
    return (grid.join_outputs(y) * scale).reshape(*x.shape[:-1], grid.cols)


# -------------------------------------------------------------------------------------- a chip at a time t


def read(key: Array, tile: Tile, chip: Chip, t: Array | float = 0.0) -> Reading:
    """The chip as it conducts ``t`` seconds after its first read: drift, 1/f noise, drift compensation.

    Accumulated noise is drawn here, once: every MVM of the reading sees the same conductances.

    Raises:
        ValueError: for a negative or non-finite time.
    """
    _check_time(t)
    return _read(key, tile, chip, t)


@jax.jit
def _read(key: Array, tile: Tile, chip: Chip, t: Array | float) -> Reading:
    g = lax.optimization_barrier(tile.device.at(named(key, "devices"), chip.cells, t))  # drawn once, used twice
    w, variance = conduct(tile, g, chip.shape)
    reading = Reading(w, variance, chip.scale, chip.columns, chip.shape)
    if chip.reference is None or tile.compensation is None:
        return reading
    now = _product(_calibration_inputs(tile, w.shape, chip.reference.drive), w)
    return replace(reading, scale=chip.scale * drift_factor(named(key, "calibration"), tile, reading, now, chip))


def _calibration_inputs(tile: Tile, shape: tuple[int, ...], deviation: Array) -> Array:
    pattern = jax.random.key(0)  # a constant of the method: the same inputs at every time, on every chip
    return test_inputs(pattern, tile, (shape[0], tile.calibration_vectors, shape[1]), deviation)


def drift_factor(key: Array, tile: Tile, reading: Reading, now: Array, chip: Chip) -> Array:
    """Drift compensation α(t) = s(t_0) / s(t) of every tile or column, (down, across, 1 or c).

    ``s`` is the summed magnitude of the outputs for a fixed test pattern (GDC; Joshi et al. 2020).
    """

    def signal(name: str, sums: Array) -> Array:
        y = jnp.abs(_convert(named(key, name), tile, reading.columns, sums, None))
        return jnp.sum(y, axis=1) if tile.compensation == "column" else jnp.sum(y, axis=(1, 3))[..., None]

    assert chip.reference is not None
    return ratio(signal("reference", chip.reference.sums), signal("now", now), 1.0)


def finish(key: Array, tile: Tile, chip: Chip, w: Array) -> Chip:
    """End of programming: drift exponents are drawn, and drift compensation takes its reference at t = 0."""
    chip = replace(chip, cells=tile.device.settle(named(key, "settle"), chip.cells))
    if tile.compensation is None or (tile.device.drift is None and tile.device.flicker is None):
        return chip
    deviation = drive(tile, w)
    first = _read(named(key, "first read"), tile, chip, 0.0).w
    sums = _product(_calibration_inputs(tile, first.shape, deviation), first)
    return replace(chip, reference=Reference(sums, deviation))


def weights_at(key: Array, tile: Tile, chip: Chip, t: Array | float = 0.0) -> Array:
    """The weights (rows, cols) that the chip's conductances stand for at time ``t``, compensation included.

    Raises:
        ValueError: for a negative or non-finite time.
    """
    _check_time(t)
    return _weights_at(key, tile, chip, t)


@jax.jit
def _weights_at(key: Array, tile: Tile, chip: Chip, t: Array | float) -> Array:
    reading = _read(key, tile, chip, t)
    lines = reading.w.transpose(2, 0, 3, 1, 4)  # (lines, down, across, r, c')
    w = tile.cell.combine(lines) if tile.subtract == "digital" else lines[0]
    return tile.grid(chip.shape).join(w * reading.scale[:, :, None])
