"""What a layer asks of the hardware that its matrices are on: a protocol, and how tiles answer.

A `crossjax.Tile` is given to `to_analog` as it is. Other hardware, a content-addressable memory or a photonic core, is
a `crossjax.spec` that derives from `Hardware` and says how it imagines, programs, reads and multiplies; the rest has
defaults, and a default that would guess refuses.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import replace
from crossjax.programming import History, Method
from crossjax.programming import program as program_tiles
from crossjax.tiles import lookup
from crossjax.tiles.conv import Window, convolve
from crossjax.tiles.injection import Injection, ideal_reading
from crossjax.tiles.mvm import mvm
from crossjax.tiles.mvm import read as read_tiles
from crossjax.tiles.ranges import needed_ranges, typical_ranges, with_ranges
from crossjax.tiles.tile import Chip, Reading, Tile


@runtime_checkable
class Hardware(Protocol):
    """What a layer asks of its hardware, for one matrix (rows, cols) at a time.

    Chips and readings are pytrees of arrays, whatever else they are.
    """

    @abstractmethod
    def ideal_reading(self, key: Array, weights: Array, injections: Sequence[Injection]) -> Any:
        """The reading of a perfect chip, disturbed by ``injections``, to train against; differentiable in weights."""
        ...

    @abstractmethod
    def program(self, key: Array, weights: Array, method: Method) -> tuple[Any, Any]:
        """A chip with these weights, and the history of its programming."""
        ...

    @abstractmethod
    def read(self, key: Array, chip: Any, t: Array | float, compensate: bool) -> Any:
        """What the chip conducts ``t`` seconds after its first read, drift compensated or not."""
        ...

    @abstractmethod
    def multiply(self, key: Array, reading: Any, x: Array) -> Array:
        """Outputs (…, cols) for inputs (…, rows), with noise by the key."""
        ...

    # ------------------------------------------------------------------------------ what may be left as it is

    def at_step(self, reading: Any, step: Array) -> Any:
        """The reading as a call at a step, or nested steps (k,), meets it; see `crossjax.nn.at_step`."""
        return reading

    def convolve(self, key: Array, reading: Any, x: Array, window: Window) -> Array:
        """A convolution of ``x`` (batch, …, inputs) by a matrix (taps · inputs, outputs): every patch multiplied."""
        return self.multiply(key, reading, window.patches(x))

    def look_up(self, key: Array, reading: Any, rows: Array, count: int) -> Array:
        """Outputs (…, cols) for a full signal on one of ``count`` rows, for indices (…)."""
        return self.multiply(key, reading, jax.nn.one_hot(rows, count))

    def follow(self, key: Array, reading: Any, weights: Array) -> Any:
        """The reading, with the derivative of a perfect one by the weights (``straight_through``)."""
        raise ValueError(f"{type(self).__name__} has no straight-through gradient: give it a method follow")

    @property
    def input_range(self) -> Array | float | None:
        """The input that becomes a full signal, where it is a number that can be learned."""
        return None

    def with_input_range(self, value: Array) -> Any:
        """The same hardware with another one."""
        raise ValueError(f"{type(self).__name__} has no input range to set: give it a method with_input_range")

    def needed(self, weights: Array, x: Array, percentile: float, driven: Array | None) -> Array:
        """What calibration measures with inputs (…, rows), a vector of numbers of which the largest count."""
        return jnp.zeros(0)

    def calibrated(self, needed: Array) -> tuple[Any, list[str]]:
        """The hardware after calibration, and the names of what the data say nothing about."""
        return self, []

    def typical(self, matrices: Array) -> tuple[Any, Array | None]:
        """The hardware calibrated without data for matrices (groups, rows, cols), and a number that says how."""
        return self, None

    def driven(self, window: Window, x: Array) -> Array | None:
        """Which inputs of the patches of ``x`` are inputs and not padding, where it makes a difference."""
        return None

    def size(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        """Arrays that a matrix takes, devices that it uses, and weights that those arrays would hold."""
        return 1, shape[0] * shape[1], shape[0] * shape[1]


@dataclass(frozen=True)
class OnTiles(Hardware):
    """A `Tile` as the hardware of a layer."""

    tile: Tile

    def ideal_reading(self, key: Array, weights: Array, injections: Sequence[Injection]) -> Reading:
        """See `Hardware.ideal_reading`."""
        return ideal_reading(key, self.tile, weights, injections)

    def program(self, key: Array, weights: Array, method: Method) -> tuple[Chip, History]:
        """See `Hardware.program`."""
        return program_tiles(key, self.tile, weights, method)

    def read(self, key: Array, chip: Chip, t: Array | float, compensate: bool) -> Reading:
        """See `Hardware.read`."""
        return read_tiles(key, self.tile if compensate else replace(self.tile, compensation=None), chip, t)

    def multiply(self, key: Array, reading: Reading, x: Array) -> Array:
        """See `Hardware.multiply`."""
        return mvm(key, self.tile, reading, x)

    def convolve(self, key: Array, reading: Reading, x: Array, window: Window) -> Array:
        """See `Hardware.convolve`."""
        return convolve(key, self.tile, reading, x, window)

    def look_up(self, key: Array, reading: Reading, rows: Array, count: int) -> Array:
        """See `Hardware.look_up`."""
        return lookup.look_up(key, self.tile, reading, rows)

    def follow(self, key: Array, reading: Reading, weights: Array) -> Reading:
        """See `Hardware.follow`: that of the plain product, on the scale of the reading."""
        ideal = ideal_reading(
            key, replace(self.tile, wires=None, device=self.tile.device.without_read_noise()), weights
        )
        share = (ideal.scale / reading.scale)[:, None, None]
        if share.shape[-1] > 1:  # a scale per column, none for a column of references
            spare = ideal.w.shape[-1] - share.shape[-1]
            share = jnp.pad(share, [(0, 0)] * 4 + [(0, spare)], constant_values=1.0)
        lines = ideal.w * share
        return replace(reading, w=reading.w + (lines - lax.stop_gradient(lines)))

    @property
    def input_range(self) -> Array | float | None:
        """See `Hardware.input_range`: that of a DAC of fixed range."""
        return self.tile.dac.range if self.tile.dac is not None and not self.tile.dac.per_vector else None

    def with_input_range(self, value: Array) -> Tile:
        """See `Hardware.with_input_range`."""
        return replace(self.tile, **{"dac.range": value})

    def needed(self, weights: Array, x: Array, percentile: float, driven: Array | None) -> Array:
        """See `Hardware.needed`: the ranges of DAC and ADC, 0 for one that is not set."""
        needed = needed_ranges(self.tile, weights, x, percentile, driven)
        return jnp.stack([jnp.zeros(()) if a is None else a for a in needed])

    def calibrated(self, needed: Array) -> tuple[Tile, list[str]]:
        """See `Hardware.calibrated`."""
        dac, adc = needed
        return with_ranges(
            self.tile, (None if self.input_range is None else dac, None if self.tile.adc is None else adc)
        )

    def typical(self, matrices: Array) -> tuple[Tile, Array | None]:
        """See `Hardware.typical`: the range of the ADC."""
        if self.tile.adc is None:
            return self.tile, None
        found = _typical_range(self.tile, matrices)
        return replace(self.tile, **{"adc.range": found}), found

    def driven(self, window: Window, x: Array) -> Array | None:
        """See `Hardware.driven`."""
        return window.driven(self.tile, x)

    def size(self, shape: tuple[int, int]) -> tuple[int, int, int]:
        """See `Hardware.size`."""
        grid = self.tile.grid(shape)
        count = grid.down * grid.across
        return count, self.tile.devices_for(shape), count * self.tile.rows * self.tile.cols


@jax.jit
def _typical_range(tile: Tile, matrices: Array) -> Array:
    """The ADC range of a layer's matrices (groups, rows, cols) on one kind of tile."""

    def one(w: Array) -> Array:
        adc = typical_ranges(tile, w).adc
        assert adc is not None
        return jnp.asarray(adc.range)

    return jnp.max(jax.vmap(one)(matrices))


def as_hardware(made: Any) -> Hardware:
    """The hardware of a layer that was given a `Tile` or other hardware."""
    return OnTiles(made) if isinstance(made, Tile) else made


def is_hardware(value: Any) -> bool:
    """Whether a layer can be on it: an instance, of a spec."""
    fits = isinstance(value, Tile | Hardware) and not isinstance(value, type)
    return fits and not jax.tree_util.all_leaves([value])
