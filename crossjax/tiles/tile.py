"""Tiles: the specification of a crossbar, the chip that is built from it, and what the chip conducts.

    Tile ──build──► Chip ──write──► Chip ──read(t)──► Reading ──mvm(x)──► y

A `Tile` says what the hardware is, a `Chip` what one piece of it holds, a `Reading` what it conducts at one
moment. What is computed with them is in `writing.py` and `mvm.py`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import KindError, as_array, ensure, is_finite, is_real, is_traced
from crossjax._numerics import ratio, safe_sqrt
from crossjax._pytree import check_choice, check_count, check_range, replace, spec, static
from crossjax._random import named, normal
from crossjax.circuits.converters import ADC, DAC, ColumnSpread
from crossjax.circuits.noise import OutputNoise
from crossjax.circuits.wires import Interconnect
from crossjax.devices.device import Device, DeviceState
from crossjax.devices.mixed import Mixed
from crossjax.tiles.cells import Pairs, UnitCell
from crossjax.tiles.grid import Grid
from crossjax.tiles.subtraction import SUBTRACTIONS, Subtraction


@spec
class Tile:
    """A crossbar tile: its devices, its cells and the circuits around it. What is None is off.

    Attributes:
        rows, cols: size; larger matrices are cut into a grid of tiles, smaller ones use part of one.
        device: the memory device; `Mixed` for several kinds in a cell.
        cell: how a weight is made of devices.
        dac, adc: converters; None for ideal ones.
        noise: standard deviation of the output noise of one MVM, in full inputs on full weights, before the ADC; or a
            law of what every line carries (`OutputNoise`: `photonic.Detector`).
        wires: what the lines make of the conductances, found once per reading, not per MVM: resistance (`Wires`),
            crosstalk of wavelengths (`photonic.WDM`); or a `StaticDrop`, the approximation of Rasch et al. (2023),
            taken off the sums of every MVM.
        scaling: one digital scale per "tile" or per "column" (largest weight ↔ g_max).
        subtract: where the lines of a cell are combined: "analog" (one ADC per column), "digital" (one per line), or
            a part of your own (`subtraction.py`).
        compensation: drift compensation by one factor per "tile" (GDC, Joshi 2020) or per "column"; None for none.
        calibration_vectors: inputs that drift compensation is measured with.
        reference: what drift compensation compares with: the "first" reading as the hardware sees it, all noise
            included; or an "ideal" read of what was programmed, without 1/f and output noise.
    """

    rows: int = static(default=256)
    cols: int = static(default=256)
    device: Device | Mixed = Device()
    cell: UnitCell = Pairs()
    dac: DAC | None = None
    adc: ADC | None = None
    noise: float | OutputNoise | None = None
    wires: Interconnect | None = None
    scaling: str = static(default="tile")
    subtract: Subtraction | str = static(default="analog")
    compensation: str | None = static(default="tile")
    calibration_vectors: int = static(default=32)
    reference: str = static(default="first")

    def _check(self) -> None:
        check_count(self, "rows")
        check_count(self, "cols")
        check_count(self, "calibration_vectors")
        check_range(self, "noise", low=0)
        if isinstance(self.subtract, str):
            check_choice(self, "subtract", tuple(SUBTRACTIONS))
        if getattr(self.noise, "one_by_one", False) and not self.subtraction.digital:
            raise ValueError(f'{type(self.noise).__name__} is of every line on its own: set Tile.subtract to "digital"')
        check_choice(self, "scaling", ("tile", "column"))
        check_choice(self, "compensation", (None, "tile", "column"))
        check_choice(self, "reference", ("first", "ideal"))
        if isinstance(self.device, Mixed) and self.cell.devices % len(self.device.parts):
            raise ValueError(
                f"Tile.device mixes {len(self.device.parts)} kinds, and a cell of {self.cell.devices} devices cannot "
                "be shared equally among them: repeat parts, or take another cell"
            )
        if isinstance(self.device, Device | Mixed) and self.device.states is not None:
            levels = self.cell.levels or 2
            if (self.device.states - 1) % (levels - 1):
                raise ValueError(
                    f"Device.states ({self.device.states}) must hold the {levels} levels of the cell's digits: "
                    f"{levels}, {2 * levels - 1}, {3 * levels - 2}, …"
                )
        if self.cell.one_line and self.subtraction.digital:
            raise ValueError(f'{type(self.cell).__name__} is read as one line: set Tile.subtract to "analog"')
        if self.cols <= self.cell.extra_columns:
            raise ValueError(f"Tile.cols must leave room for weights beside {self.cell.extra_columns} reference column")

    @property
    def subtraction(self) -> Subtraction:
        """Where lines are combined, where it was given by its name too."""
        return SUBTRACTIONS[self.subtract] if isinstance(self.subtract, str) else self.subtract

    @property
    def hardware(self) -> tuple[str, ...]:
        """What no chip of this tile can change about itself, in words."""
        drift, flicker = self.device.kinds
        adc = "none" if self.adc is None else type(self.adc).__name__
        kinds = f"cell {type(self.cell).__name__}", f"drift {drift}", f"1/f noise {flicker}", f"ADC {adc}"
        reference = "drift compensation" if self.compensated else "no drift compensation"
        return (
            *kinds,
            f"scaling per {self.scaling}",
            f"{type(self.subtraction).__name__.lower()} subtraction",
            reference,
        )

    @property
    def compensated(self) -> bool:
        """Whether drift is compensated, because there is something to compensate."""
        return self.compensation is not None and self.device.ages

    def grid(self, shape: tuple[int, int]) -> Grid:
        """How a matrix of this shape lies on tiles."""
        return Grid.cut_to(shape, self.rows, self.cols - self.cell.extra_columns)

    @property
    def states(self) -> int | None:
        """Conductances that a device is written to: its own states, or the levels of a digit of the cell; None: any."""
        return self.cell.levels if self.device.states is None else self.device.states

    @property
    def written(self) -> Device | Mixed:
        """The device as it is written, with `states`."""
        return self.device if self.states == self.device.states else self.device.with_states(self.states)

    def targets(self, w: Array) -> Array:
        """Target conductances (devices, …, r, c'), µS, of normalised weights (…, r, c): states, where there are few.

        The gradient is that of the cell's `encode`.
        """
        x = self.cell.encode(w) if self.states is None else self.cell.rounded(w, self.states)
        return self.device.conductance(x)

    def devices_for(self, shape: tuple[int, int]) -> int:
        """Physical devices that a matrix of this shape uses."""
        grid = self.grid(shape)
        per_row = grid.cols + grid.across * self.cell.extra_columns
        return grid.rows * per_row * self.device.physical(self.cell.devices)


@spec
class Reference:
    """What drift compensation remembers of the day the chip was programmed.

    Attributes:
        sums: bit-line sums of the calibration inputs on that day, with the noise of that one measurement, before the
            converters, (down, vectors, lines, across, c'): the converters in use look at them and at today's alike.
        deviation: standard deviation of the calibration inputs, in full inputs, (down, 1, 1).
        time: seconds after the chip's first read.
    """

    sums: Array
    deviation: Array
    time: Array


@spec
class Chip:
    """A matrix on its tiles. Its clock counts seconds from its first read.

    Attributes:
        cells: the devices, (devices, down, across, r, c').
        scale: weight that a normalised weight of 1 stands for, (down, across, 1 or c).
        columns: the converters' spread, (down, lines, across, c').
        reference: for drift compensation; None without.
        time: when it was written last.
        shape: (rows, cols) of the matrix.
        hardware: kinds of the parts that it has, see `Tile.hardware`.
    """

    cells: DeviceState
    scale: Array
    columns: ColumnSpread | None
    reference: Reference | None
    time: Array
    shape: tuple[int, int] = static()
    hardware: tuple[str, ...] = static()

    def readable(self) -> Chip:
        """The chip without what only a next write would look at, in half the memory."""
        return replace(self, cells=self.cells.readable())


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
    """A finite matrix (rows, cols) in JAX's default float, or a ``ValueError`` that says what is wrong with it."""
    dtype = jnp.zeros(()).dtype
    if not is_traced(weights):  # concrete numbers, even while something else is traced
        values = as_array("weights", weights)
        sizes = np.abs(values.astype(np.float64))
        if not np.isfinite(sizes).all():
            bad = int(np.sum(~np.isfinite(sizes)))
            raise ValueError(f"{bad} of {values.size} weights are NaN or infinite: clean them before programming")
        if sizes.max(initial=0.0) > float(jnp.finfo(dtype).max):
            raise ValueError(f"weights up to {sizes.max():.3g} do not fit {dtype}: rescale them")
    elif is_real(weights) or weights.dtype == bool:
        ensure(is_finite, "weights must be finite", weights)
    else:
        raise KindError(f"weights must be real numbers, got {weights.dtype}")
    w = jnp.asarray(weights, dtype)
    if w.ndim != 2:
        raise ValueError(f"weights must be a matrix (rows = inputs, cols = outputs), got shape {w.shape}")
    if w.size == 0:
        raise ValueError(f"weights are empty: shape {w.shape}")
    return w


def check_chip(tile: Tile, chip: Chip | Reading) -> None:
    """Raise ``ValueError`` unless the chip, or the reading of one, was made for a tile like this one.

    Numbers may differ, and converters' resolutions; shapes and kinds may not. Both are known under every
    transformation.
    """
    grid, extra = tile.grid(chip.shape), tile.cell.extra_columns
    if isinstance(chip, Reading):
        lines, wide = tile.subtraction.size(tile.cell, grid.c)
        found, wanted = chip.w.shape, (grid.down, grid.r, lines, grid.across, wide)
        names = ("tiles along the rows", "rows on a tile", "lines per column", "tiles along the columns", "columns")
    else:
        found, wanted = chip.cells.g.shape, (tile.cell.devices, grid.down, grid.across, grid.r, grid.c + extra)
        names = (
            "devices per weight", "tiles along the rows", "tiles along the columns", "rows on a tile", "columns",
        )  # fmt: skip
    if len(found) > len(wanted):
        raise ValueError(
            f"chip is a population with leading axes {found[: len(found) - len(wanted)]}: take jax.vmap over the chips"
        )
    differs = [f"{n}: {a}, the tile {b}" for n, a, b in zip(names, found, wanted, strict=True) if a != b]
    if isinstance(chip, Chip):
        differs += _other_hardware(tile, chip)
    if differs:
        raise ValueError(
            f"this chip was made for another tile ({'; '.join(differs)}): use the tile that it was programmed with"
        )


def check_age(chip: Chip, t: Array | float) -> None:
    """Raise ``ValueError`` for a time at which the chip was still to be written."""
    ensure(lambda t, last: t >= last, "t must not be before the time at which the chip was written last", t, chip.time)


def _other_hardware(tile: Tile, chip: Chip) -> list[str]:
    found = [f"{a}, the tile {b}" for a, b in zip(chip.hardware, tile.hardware, strict=True) if a != b]
    if not tile.compensated:  # as it is for a chip whose reference was taken away
        found = [f for f in found if not f.startswith("drift compensation")]
    spread = chip.columns or ColumnSpread()
    if tile.adc is not None:
        for name, asked, has in (("gain", tile.adc.gain, spread.gain), ("offset", tile.adc.offset, spread.offset),
                                 ("inl", tile.adc.inl, spread.bow)):  # fmt: skip
            if asked is not None and has is None:
                found.append(f"ADCs without a spread of {name}, the tile with")
    reference = chip.reference
    if tile.compensated and reference is not None and reference.sums.shape[1] != tile.calibration_vectors:
        found.append(f"calibration vectors: {reference.sums.shape[1]}, the tile {tile.calibration_vectors}")
    return found


# --------------------------------------------------------------------------------- from weights to a chip


def normalise(tile: Tile, weights: Array) -> tuple[Array, Array]:
    """Weights (rows, cols) to normalised tiles (down, across, r, c) with |w| ≤ 1, and their scales.

    The scale of an all-zero tile or column is 1.
    """
    w = tile.grid((weights.shape[0], weights.shape[1])).cut(weights)
    scale = scales(tile, w)
    return w / scale[..., None, :], scale


def scales(tile: Tile, w: Array) -> Array:
    """What a normalised weight of 1 stands for, (down, across, 1 or c), on tiles of weights (down, across, r, c)."""
    scale = jnp.max(jnp.abs(w), axis=(-2, -1) if tile.scaling == "tile" else -2, keepdims=True)[..., 0, :]
    return jnp.where(scale == 0, 1.0, scale)


def blank(
    key: Array, tile: Tile, shape: tuple[int, int], *, count: bool = False
) -> tuple[DeviceState, ColumnSpread | None]:
    """One tile fresh from RESET with room for (r, c) weights: devices (devices, r, c'), converters (lines, c').

    Draws what is fixed for the life of the chip: faults, cells, converters. ``count``: whether pulses are counted.
    """
    r, c = shape
    wide = c + tile.cell.extra_columns
    cells = tile.written.reset(named(key, "devices"), (tile.cell.devices, r, wide), count=count)
    converters = tile.subtraction.size(tile.cell, c)
    return cells, None if tile.adc is None else tile.adc.draw(named(key, "adc"), converters)


def ideal_lines(tile: Tile, w: Array) -> Array:
    """What the ADCs would see of perfectly programmed weights, (lines, down, across, r, c')."""
    if tile.subtraction.exact:
        return w[None]
    return tile.subtraction.lines(tile.cell, tile.device.in_spans(tile.targets(w)))


def input_deviation(tile: Tile, w: Array, wanted: float = 1 / 3) -> Array:
    """Standard deviation of test inputs, (down, 1, 1): as wanted, or less where ADCs would saturate.

    Four standard deviations of the largest output of the normalised weights ``w`` fit the ADC's range.
    """
    return fitting(tile, ideal_lines(tile, w), wanted)


def fitting(tile: Tile, lines: Array, wanted: float = 1 / 3) -> Array:
    """See `input_deviation`; for normalised conductances of lines (lines, down, across, r, c')."""
    if tile.adc is None:
        return jnp.full((lines.shape[1], 1, 1), wanted, lines.dtype)
    largest = jnp.max(safe_sqrt(jnp.sum(lines * lines, axis=-2)), axis=(0, 2, 3))[:, None, None]
    return jnp.minimum(wanted, ratio(jnp.asarray(tile.adc.range / 4.0), largest, wanted))


def test_inputs(key: Array, tile: Tile, shape: tuple[int, ...], deviation: Array) -> Array:
    """Random normalised inputs (…, batch, r): Gaussian, within the range, on the DAC's levels."""
    u = jnp.clip(normal(key, shape) * deviation, -1.0, 1.0)
    return u if tile.dac is None else tile.dac.convert(u)
