"""The core that a programming method talks to: it multiplies, and it takes write pulses. Nothing else.

`Core` is what a laboratory implements over its own instrument; `SimulatedCore` is one simulated tile. A method
is written once, as a step (core, state) → (core, state), and `iterate` drives it: compiled, by `lax.scan`, when
the core is a pytree; one call after the other when it is an instrument.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._pytree import replace, spec
from crossjax._random import named, normal
from crossjax.circuits.converters import ColumnSpread
from crossjax.devices.device import DeviceState
from crossjax.tiles.cells import deviation
from crossjax.tiles.mvm import conduct, forward
from crossjax.tiles.tile import Reading, Tile


@runtime_checkable
class Core(Protocol):
    """A real core, in normalised units: inputs in [−1, 1], weights in [−1, 1].

    A write pulse is requested as a signed change of weight, 0 for no pulse. How the core makes it (a number
    of SET pulses, a step of the RESET amplitude) is its own business.
    """

    def mvm(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, cols) for inputs (batch, rows), through the core's own converters."""
        ...

    def pulse(self, change: np.ndarray) -> None:
        """Send write pulses to the cells whose requested change (rows, cols) is not 0."""
        ...


@spec
class SimulatedCore:
    """One simulated tile, all state explicit; `mvm` and `pulse` take keys and return new state.

    Attributes:
        tile: the hardware.
        cells: its devices, (devices, r, c').
        target: conductances that the write circuit believes in, same shape, µS.
        columns: converter spread, (lines, c').
        used: which weights (r, c) exist; None if all do.
    """

    tile: Tile
    cells: DeviceState
    target: Array
    columns: ColumnSpread | None
    used: Array | None = None

    def mvm(self, key: Array, x: Array) -> Array:
        """Outputs (batch, c) for inputs (batch, r) in [−1, 1], all noise and converters included."""
        y = forward(key, self.tile, self.reading(), x[None])[0, :, 0]
        return y if self.used is None else jnp.where(jnp.any(self.used, axis=0), y, 0.0)

    def pulse(self, key: Array, change: Array) -> tuple[SimulatedCore, Array]:
        """The core after write pulses for the requested changes of weight (r, c), and how many pulses that took."""
        device = self.tile.device
        if self.used is not None:
            change = jnp.where(self.used, change, 0.0)
        return self._send(key, self.tile.cell.correct(self.target, change, device.g_min, device.g_max))

    def write(self, key: Array, weights: Array) -> tuple[SimulatedCore, Array]:
        """The core after the first write of normalised weights (r, c), shared among devices by the cell's split."""
        target = self.tile.cell.encode(weights, self.tile.device.g_min, self.tile.device.g_max)
        return self._send(key, target if self.used is None else jnp.where(self.cells_used(), target, self.target))

    def _send(self, key: Array, target: Array) -> tuple[SimulatedCore, Array]:
        cells, pulses = self.tile.device.pulse(key, self.cells, target - self.target)
        return replace(self, cells=cells, target=target), jnp.sum(pulses)

    def cells_used(self) -> Array:
        """Which cells (r, c') carry devices that are used, the reference column included."""
        used = jnp.ones(self.shape, bool) if self.used is None else self.used
        return jnp.concatenate([used, *[used[:, :1]] * self.tile.cell.extra_columns], axis=1)

    def read_cells(self, key: Array) -> Array:
        """One read of every cell on its own (r, c), by the ADC but past the lines and the columns' gains."""
        w, adc = self.weights(), self.tile.adc
        if self.tile.noise is not None:
            w = w + self.tile.noise * normal(named(key, "cells"), w.shape, w.dtype)
        return w if adc is None else adc.convert(w)

    def weights(self) -> Array:
        """True normalised weights (r, c): what no instrument sees."""
        return self.tile.cell.decode(self.cells.g, self.tile.device.g_min, self.tile.device.g_max)

    def write_noise(self, weights: Array) -> Array:
        """Standard deviation (r, c) of the weight that a write pulse leaves, at normalised ``weights``."""
        device, cell = self.tile.device, self.tile.cell
        g = cell.encode(weights, device.g_min, device.g_max)
        sigma = jnp.where(g > device.g_min, device.write_deviation(g), 0.0)  # the idle half of a pair is not pulsed
        return deviation(cell, sigma, device.g_min, device.g_max)

    @property
    def level(self) -> Array | float:
        """One level of the ADC in weight units: how finely a single cell can be read. 0 without rounding."""
        adc = self.tile.adc
        return 0.0 if adc is None else adc.step

    def reading(self) -> Reading:
        """What the core conducts while it is being programmed (t = 0)."""
        g = self.cells.g if self.used is None else jnp.where(self.cells_used(), self.cells.g, 0.0)
        w, variance = conduct(self.tile, g[:, None, None], self.shape)
        if self.used is not None:
            off = ~self.cells_used()[None, :, None, None, : w.shape[-1]]
            w = jnp.where(off, 0.0, w)
            variance = None if variance is None else jnp.where(off, 0.0, variance)
        columns = jax.tree.map(lambda a: a[None, :, None], self.columns)
        return Reading(w, variance, jnp.ones((1, 1, 1), w.dtype), columns, self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        """(r, c)."""
        return self.cells.g.shape[-2], self.cells.g.shape[-1] - self.tile.cell.extra_columns


@spec
class Instrument:
    """A `Core` in the clothes of a `SimulatedCore`, so that the methods need to know one interface."""

    core: Any
    noise: Any = 0.0
    level: Any = 0.0

    def mvm(self, key: Array, x: Array) -> Array:
        """See `Core.mvm`."""
        return jnp.asarray(self.core.mvm(np.asarray(x)))

    def pulse(self, key: Array, change: Array) -> tuple[Instrument, Array]:
        """See `Core.pulse`; counts one pulse per cell."""
        self.core.pulse(np.asarray(change))
        return self, jnp.sum(change != 0)

    def write(self, key: Array, weights: Array) -> tuple[Instrument, Array]:
        """The first write: a request for the whole weight."""
        return self.pulse(key, weights)

    def write_noise(self, weights: Array) -> Array:
        """The instrument's known write noise, in weight units."""
        return jnp.broadcast_to(jnp.asarray(self.noise, weights.dtype), weights.shape)

    def weights(self) -> Array | None:
        """Unknown: an instrument shows its outputs only."""
        return None


AnyCore = SimulatedCore | Instrument
State = TypeVar("State")
Step = Callable[[AnyCore, State, Array, Array], tuple[AnyCore, State, Any]]


def iterate(step: Step[State], core: AnyCore, state: State, key: Array, count: int) -> tuple[AnyCore, State, Any]:
    """Run ``step(core, state, key_k, k)`` for k = 0 … count − 1 and stack what it records.

    A simulated core is scanned (one compilation, no Python); an instrument is called step by step.
    """
    keys = jax.random.split(named(key, "iterations"), count)
    if isinstance(core, Instrument):
        records = []
        for k in range(count):
            core, state, record = step(core, state, keys[k], jnp.asarray(k))
            records.append(record)
        return core, state, jax.tree.map(lambda *values: jnp.stack(values), *records)

    def body(carry: tuple[AnyCore, State], at: tuple[Array, Array]) -> tuple[tuple[AnyCore, State], Any]:
        core, state, record = step(carry[0], carry[1], *at)
        return (core, state), record

    (core, state), history = lax.scan(body, (core, state), (keys, jnp.arange(count)))
    return core, state, history
