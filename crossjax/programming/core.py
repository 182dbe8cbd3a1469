"""The core that a programming method talks to: it multiplies, and it takes write pulses. Nothing else.

`Core` is what a laboratory implements over its own instrument; `SimulatedCore` is one simulated tile. A method
is written once, as a step (core, state) → (core, state), and `iterate` drives it: compiled, by `lax.scan`, when
the core is a pytree; one call after the other when it is an instrument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._numerics import safe_sqrt
from crossjax._pytree import replace, spec
from crossjax._random import named, normal, split
from crossjax.circuits.converters import ColumnSpread
from crossjax.devices.device import DeviceState
from crossjax.programming.clock import Clock
from crossjax.tiles.cells import deviation
from crossjax.tiles.mvm import conduct, forward, line_sums, line_variance
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
        clock: 1/f noise and drift while programming; None for neither.
    """

    tile: Tile
    cells: DeviceState
    target: Array
    columns: ColumnSpread | None
    used: Array | None = None
    clock: Clock | None = None

    # ------------------------------------------------------------------------------ multiply and read

    def mvm(self, key: Array, x: Array) -> Array:
        """Outputs (batch, c) for inputs (batch, r) in [−1, 1], all noise and converters included.

        One batch takes ``batch`` reads: what the devices' 1/f noise does meanwhile is noise of every output, with
        the mean square of the inputs for that of each vector.
        """
        extra = self._flicker_variance(x.shape[0])
        if extra is not None:
            extra = line_sums(jnp.mean(x * x, axis=0)[None, None], extra)
        return self._outputs(key, self.tile, self.reading(), x, extra)

    def verify(self, key: Array, rows: int, reads: int, integration: Array | float) -> Array:
        """Mean of ``reads`` reads of every weight (r, c), through the lines and the columns' converters.

        One word line at a time at full input, for ``integration`` times as long as an MVM: so much finer are the
        ADC's levels (its counter counts on) and so much smaller the variance of the output noise. The reads are
        spread over the iteration; 1/f noise that changes meanwhile is averaged like them.
        """
        tile, reading = self.tile, self.reading()
        if tile.noise is not None:
            tile = replace(tile, noise=tile.noise / integration**0.5)
        if reading.variance is not None:
            reading = replace(reading, variance=reading.variance / integration)
        if tile.adc is not None:
            tile = replace(tile, adc=replace(tile.adc, integration=integration))
        extra = self._flicker_variance(reads * rows)
        if extra is not None:  # a line at a time: its devices are the outputs
            extra = jnp.tile(extra, (1, reads, 1, 1, 1))
        lines = jnp.tile(jnp.eye(rows), (reads, 1))
        return jnp.mean(self._outputs(key, tile, reading, lines, extra).reshape(reads, rows, -1), axis=0)

    def _outputs(self, key: Array, tile: Tile, reading: Reading, x: Array, extra: Array | None) -> Array:
        y = forward(key, tile, reading, x[None], extra=extra)[0, :, 0]
        return y if self.used is None else jnp.where(jnp.any(self.used, axis=0), y, 0.0)

    def _flicker_variance(self, reads: int) -> Array | None:
        """Variance (1, r, lines, 1, c') of every line in one of ``reads`` reads: 1/f noise faster than all of them."""
        if self.clock is None or self.clock.q is None or reads < 2:
            return None
        sigma = self.clock.q * self.cells.g
        sigma = sigma if self.used is None else jnp.where(self.cells_used(), sigma, 0.0)
        return line_variance(self.tile, (sigma * sigma)[:, None, None], self.shape) * math.log(reads)

    def read_cells(self, key: Array, integration: Array | float = 1.0) -> Array:
        """One read of every cell on its own (r, c), by the ADC but past the lines and the columns' gains."""
        device, adc = self.tile.device, self.tile.adc
        w = self.tile.cell.decode(self.conductances(), device.g_min, device.g_max)
        if self.tile.noise is not None:
            w = w + self.tile.noise / integration**0.5 * normal(named(key, "cells"), w.shape, w.dtype)
        return w if adc is None else replace(adc, integration=jnp.asarray(integration)).convert(w)

    # ------------------------------------------------------------------------------------------ write

    def pulse(self, key: Array, change: Array) -> tuple[SimulatedCore, Array]:
        """The core after write pulses for the requested changes of weight (r, c), and how many pulses that took."""
        device = self.tile.device
        if self.used is not None:
            change = jnp.where(self.used, change, 0.0)
        return self._send(key, self.tile.cell.correct(self.target, change, device.g_min, device.g_max))

    def write(self, key: Array, weights: Array) -> tuple[SimulatedCore, Array]:
        """The core after the first write of normalised weights (r, c), shared among devices by the cell's split.

        Drift exponents belong to these targets: they are what the controller wants, whatever it requests later.
        """
        device, target = self.tile.written, self.tile.targets(weights)
        aimed = replace(self, cells=device.aim(named(key, "aim"), self.cells, target))
        return aimed._send(key, target if self.used is None else jnp.where(self.cells_used(), target, self.target))

    def _send(self, key: Array, target: Array) -> tuple[SimulatedCore, Array]:
        device = self.tile.written
        cells, pulses = device.pulse(key, self.cells, target - self.target, off=target <= device.g_min)
        clock = None if self.clock is None else self.clock.pulsed(pulses > 0)
        return replace(self, cells=cells, target=target, clock=clock), jnp.sum(pulses)

    # ----------------------------------------------------------------------------------- time goes on

    def started(self, iterations: int, seconds: Array | float | None) -> SimulatedCore:
        """The core with its clock running, before the first of so many iterations."""
        return replace(self, clock=Clock.start(self.tile.device, self.target, iterations, seconds))

    def ticked(self, key: Array, k: Array, reads: Array | float) -> SimulatedCore:
        """The core at the beginning of iteration ``k``, which takes ``reads`` reads; the same key for every one."""
        return self if self.clock is None else replace(self, clock=self.clock.tick(key, self.tile.device, k, reads))

    def stopped(self) -> SimulatedCore:
        """The core at the end of its programming: its devices remember how long ago they were written."""
        age = None if self.clock is None else self.clock.age_in_seconds()
        return replace(self, clock=None, cells=self.cells if age is None else replace(self.cells, age=age))

    def conductances(self) -> Array:
        """What the devices conduct at this moment of their programming (devices, r, c'), µS."""
        return self.cells.g if self.clock is None else self.clock.conductances(self.tile.device, self.cells)

    def expected_change(self, left: Array) -> Array | float:
        """Change of the weights (r, c) that typical drift will bring in the iterations that are left."""
        change = None if self.clock is None else self.clock.expected_change(left)
        device = self.tile.device
        return 0.0 if change is None else self.tile.cell.decode(change, device.g_min, device.g_max)

    # ----------------------------------------------------------------------- what a simulation may look at

    def cells_used(self) -> Array:
        """Which cells (r, c') carry devices that are used, the reference column included."""
        used = jnp.ones(self.shape, bool) if self.used is None else self.used
        return jnp.concatenate([used, *[used[:, :1]] * self.tile.cell.extra_columns], axis=1)

    def weights(self) -> Array:
        """True normalised weights (r, c): what no instrument sees."""
        return self.tile.cell.decode(self.cells.g, self.tile.device.g_min, self.tile.device.g_max)

    def write_noise(self, weights: Array) -> Array:
        """Standard deviation (r, c) of the weight that a write pulse leaves, at normalised ``weights``."""
        device, cell = self.tile.device, self.tile.cell
        g = cell.encode(weights, device.g_min, device.g_max)
        sigma = jnp.where(g > device.g_min, device.write_deviation(g), 0.0)  # the idle half of a pair is not pulsed
        return deviation(cell, sigma, device.g_min, device.g_max)

    def rounding(self, weights: Array) -> Array | float:
        """How far (r, c) the states of the devices are from normalised ``weights``: no pulse makes up for it."""
        device = self.tile.device
        if self.tile.states is None:
            return 0.0
        return jnp.abs(self.tile.cell.decode(self.tile.targets(weights), device.g_min, device.g_max) - weights)

    @property
    def flickers(self) -> bool:
        """Whether its devices have 1/f noise."""
        return self.tile.device.flicker is not None

    def flicker_noise(self, weights: Array) -> Array:
        """Standard deviation (r, c) of normalised ``weights`` by 1/f noise, per unit of its deviation; 0 without."""
        device, cell = self.tile.device, self.tile.cell
        if device.flicker is None:
            return jnp.zeros_like(weights)
        g = cell.encode(weights, device.g_min, device.g_max)
        return deviation(cell, device.flicker.q(g / device.g_max) * g, device.g_min, device.g_max)

    def moment_noise(self, seconds: Array | float | None, reads: Array | float) -> Array | float:
        """Deviation of 1/f noise that is new in every iteration of so many seconds and reads."""
        flicker = self.tile.device.flicker
        return 0.0 if flicker is None or seconds is None else flicker.between(seconds, reads)

    @property
    def level(self) -> Array | float:
        """One level of the ADC in weight units: how finely a single cell is read by an MVM. 0 without rounding."""
        adc = self.tile.adc
        return 0.0 if adc is None else adc.step

    @property
    def output_noise(self) -> Array:
        """Standard deviation of the noise of one MVM's output, a single full weight on its line, in weight units."""
        device, cell = self.tile.device, self.tile.cell
        variance = jnp.asarray(0.0 if self.tile.noise is None else self.tile.noise**2)
        read = device.read_variance(cell.encode(jnp.ones((1, 1)), device.g_min, device.g_max))
        if read is not None:
            variance = variance + cell.variance(read, device.g_min, device.g_max)[0, 0]
        return safe_sqrt(variance)

    def reading(self) -> Reading:
        """What the core conducts at this moment of its programming."""
        g = self.conductances()
        g = g if self.used is None else jnp.where(self.cells_used(), g, 0.0)
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
    flicker: Any = 0.0

    def mvm(self, key: Array, x: Array) -> Array:
        """See `Core.mvm`."""
        return jnp.asarray(self.core.mvm(np.asarray(x)))

    def verify(self, key: Array, rows: int, reads: int, integration: Array | float) -> Array:
        """Mean of several reads, one word line at a time, (r, c); each takes as long as the instrument's MVM takes."""
        lines = jnp.tile(jnp.eye(rows), (reads, 1))
        return jnp.mean(self.mvm(key, lines).reshape(reads, rows, -1), axis=0)

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

    def rounding(self, weights: Array) -> float:
        """See `SimulatedCore.rounding`: unknown."""
        return 0.0

    @property
    def flickers(self) -> bool:
        """See `SimulatedCore.flickers`: if it is said to."""
        return self.flicker != 0.0

    def flicker_noise(self, weights: Array) -> Array:
        """The instrument's known 1/f noise: Q, relative to the weight."""
        return jnp.asarray(self.flicker, weights.dtype) * jnp.abs(weights)

    def moment_noise(self, seconds: Array | float | None, reads: Array | float) -> float:
        """See `SimulatedCore.moment_noise`: unknown, and left out."""
        return 0.0

    def expected_change(self, left: Array) -> float:
        """See `SimulatedCore.expected_change`: unknown."""
        return 0.0

    def weights(self) -> Array | None:
        """Unknown: an instrument shows its outputs only."""
        return None


AnyCore = SimulatedCore | Instrument
State = TypeVar("State")
Step = Callable[[AnyCore, State, Array, Array], tuple[AnyCore, State, Any]]


def iterate(
    step: Step[State],
    core: AnyCore,
    state: State,
    key: Array,
    count: int,
    *,
    reads: Array | float = 1.0,
    seconds: Array | float | None = None,
) -> tuple[AnyCore, State, Any]:
    """Run ``step(core, state, key_k, k)`` for k = 0 … count − 1 and stack what it records.

    A simulated core is scanned (one compilation, no Python), its devices fluctuating and drifting from one iteration
    to the next; an instrument is called step by step.

    Args:
        step, core, state, key, count: as above.
        reads: that one iteration makes, in times of one MVM.
        seconds: from one iteration to the next; None: no longer than its reads take.
    """
    keys = split(named(key, "iterations"), count)
    if isinstance(core, Instrument):
        records = []
        for k in range(count):
            core, state, record = step(core, state, keys[k], jnp.asarray(k))
            records.append(record)
        return core, state, jax.tree.map(lambda *values: jnp.stack(values), *records)

    clock = named(key, "clock")

    def body(carry: tuple[SimulatedCore, State], at: tuple[Array, Array]) -> tuple[tuple[SimulatedCore, State], Any]:
        core, state, record = step(carry[0].ticked(clock, at[1], reads), carry[1], *at)
        assert isinstance(core, SimulatedCore)
        return (core, state), record

    (core, state), history = lax.scan(body, (core.started(count, seconds), state), (keys, jnp.arange(count)))
    return core.stopped(), state, history
