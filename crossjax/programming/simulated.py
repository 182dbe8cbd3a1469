"""One tile of a simulated chip as the core that a programming method talks to."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._checks import is_real
from crossjax._numerics import safe_sqrt
from crossjax._pytree import replace, spec
from crossjax._random import named, normal, split
from crossjax.circuits.converters import ColumnSpread
from crossjax.circuits.noise import Noise, averaged, noise_variance
from crossjax.devices.device import DeviceState
from crossjax.programming.clock import Clock
from crossjax.programming.core import State, Step
from crossjax.tiles.cells import deviation
from crossjax.tiles.mvm import forward, line_conductances, line_sums, line_variance
from crossjax.tiles.tile import Reading, Tile, test_inputs
from crossjax.tiles.writing import programmed, pulsed, sent


@spec
class SimulatedCore:
    """A `Programmable` view of one tile of a chip, all state explicit.

    Attributes:
        tile: the hardware.
        cells: its devices, (devices, r, c').
        columns: converter spread, (lines, c').
        used: which weights (r, c) exist; None if all do.
        clock: 1/f noise and drift while programming; None for neither.
        begin: seconds after the chip's first read at which programming begins; None for fresh devices.
    """

    tile: Tile
    cells: DeviceState
    columns: ColumnSpread | None = None
    used: Array | None = None
    clock: Clock | None = None
    begin: Array | None = None

    # ------------------------------------------------------------------------------ multiply and read

    def inputs(self, key: Array, batch: int, rows: int, deviation: Array | float) -> Array:
        """See `Programmable.inputs`: Gaussian, on the DAC's levels."""
        return test_inputs(key, self.tile, (batch, rows), jnp.asarray(deviation))

    def mvm(self, key: Array, x: Array) -> Array:
        """See `Programmable.mvm`.

        One batch takes ``batch`` reads: what the devices' 1/f noise does meanwhile is noise of every output, with
        the mean square of the inputs for that of each vector.
        """
        extra = self._flicker_variance(x.shape[0])
        if extra is not None:
            extra = line_sums(jnp.mean(x * x, axis=0)[None, None], extra)
        return self._outputs(key, self.tile, self.reading(), x, extra)

    def backward(self, key: Array, d: Array) -> Array:
        """See `Programmable.backward`: the array driven from its bit lines.

        By converters like those of the columns, without a spread of their own; the devices of a cell are subtracted
        before them. A linear network of resistors is reciprocal: with wires the map is the transposed one.
        """
        if self.tile.noise is not None and not is_real(self.tile.noise):
            raise ValueError(
                "backward subtracts the lines of a cell before its converters, and "
                f"{type(self.tile.noise).__name__} is noise of every line: give the tile a number, or none"
            )
        tile = replace(self.tile, subtract="analog")
        now = replace(self, tile=tile).reading()
        turned = Reading(
            now.w.transpose(0, 4, 2, 3, 1), None if now.variance is None else now.variance.transpose(0, 4, 2, 3, 1),
            now.scale, None, (self.shape[1], self.shape[0]),
        )  # fmt: skip
        return forward(key, tile, turned, d[None])[0, :, 0]

    def verify(self, key: Array, rows: int, reads: int, integration: Array | float, how: str) -> Array:
        """See `Programmable.verify`.

        The ADC's levels are finer by the integration time (its counter counts on), the variance of the output noise
        smaller. The reads are spread over the iteration; 1/f noise that changes meanwhile is averaged like them.
        """
        if how == "cell":
            return jnp.mean(jax.vmap(lambda k: self.read_cells(k, integration))(split(key, reads)), axis=0)
        tile, reading = self.tile, self.reading()
        if tile.dac is not None and not tile.dac.has_zero:
            raise ValueError("cells are read one word line at a time: the DAC needs a level at 0 (2 bits or more)")
        if tile.noise is not None:
            tile = replace(tile, noise=averaged(tile.noise, integration))
        if reading.variance is not None:
            reading = replace(reading, variance=reading.variance / integration)
        if tile.adc is not None:
            tile = replace(tile, adc=replace(tile.adc, integration=integration))
        extra = self._flicker_variance(reads * rows)
        if extra is not None:  # a line at a time: its devices are the outputs
            extra = jnp.tile(extra, (1, reads, 1, 1, 1))
        lines = jnp.tile(jnp.eye(rows), (reads, 1))
        return jnp.mean(self._outputs(key, tile, reading, lines, extra).reshape(reads, rows, -1), axis=0)

    def read_cells(self, key: Array, integration: Array | float = 1.0) -> Array:
        """One read of every cell on its own (r, c), by the ADC but past the lines and the columns' gains."""
        device, adc = self.tile.device, self.tile.adc
        x = device.in_spans(self.conductances())
        w = self.tile.cell.decode(x)
        if self.tile.noise is not None:
            sigma = safe_sqrt(self._cell_variance(averaged(self.tile.noise, integration), x))
            w = w + sigma * normal(named(key, "cells"), w.shape, w.dtype)
        return w if adc is None else replace(adc, integration=jnp.asarray(integration)).convert(w)

    def integration(self, wanted: float | None, reads: int, tolerance: Array) -> Array:
        """See `Programmable.integration`: a level, and the noise of the mean, are to be half of the tolerance."""
        if wanted is not None:
            return jnp.asarray(wanted)
        level = 0.0 if self.tile.adc is None else self.tile.adc.step
        quiet = (self._output_noise() / (0.5 * tolerance)) ** 2 / reads
        return lax.stop_gradient(jnp.maximum(jnp.maximum(level / (0.5 * tolerance), quiet), 1.0))

    def pull_back(self, x: Array, residual: Array, weights: Array, how: str) -> Array:
        """See `Programmable.pull_back`; lines that are digitised one by one use the outer product."""
        adc, device, cell = self.tile.adc, self.tile.device, self.tile.cell
        known = self.tile.subtraction.digital or (adc is None and self.tile.wires is None)
        if how == "outer" or known:
            return lax.optimization_barrier(x.T) @ residual  # transposing first makes the product a third faster
        columns = jax.tree.map(lambda a: a[0], self.columns)

        def outputs(w: Array) -> Array:
            if self.tile.wires is not None:  # what the network makes of these weights
                g = device.conductance(cell.encode(w))
                w = line_conductances(self.tile, g[:, None, None], self.shape)[0][0, :, 0, 0]
            y = x @ w
            return y if adc is None else adc.convert(adc.distort(y, ColumnSpread() if columns is None else columns))

        _, pull = jax.vjp(outputs, weights)
        return pull(residual)[0]

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

    def _cell_variance(self, noise: Noise, x: Array) -> Array:
        """Variance of a weight that is read alone, of lines x in units of a span; a law is of each of its lines."""
        if is_real(noise):
            return jnp.asarray(noise) ** 2
        lines = self.tile.cell.lines(x)
        return self.tile.cell.variance(noise_variance(noise, lines, lines) / self.tile.cell.lines(jnp.ones(())) ** 2)

    def _output_noise(self) -> Array:
        """Standard deviation of the noise of one MVM's output, a single full weight on its line, in weight units."""
        device, cell = self.tile.device, self.tile.cell
        full = device.in_spans(device.conductance(cell.encode(jnp.ones((1, 1)))))
        variance = jnp.zeros(()) if self.tile.noise is None else self._cell_variance(self.tile.noise, full)
        variance = jnp.max(variance)
        read = device.read_variance(device.conductance(cell.encode(jnp.ones((1, 1)))))
        if read is not None:
            variance = variance + cell.variance(device.in_spans(device.in_spans(read)))[0, 0]
        return safe_sqrt(variance)

    # ------------------------------------------------------------------------------------------ write

    def pulse(self, key: Array, change: Array) -> tuple[SimulatedCore, Array]:
        """See `Programmable.pulse`."""
        change = change if self.used is None else jnp.where(self.used, change, 0.0)
        return self._written(*pulsed(key, self.tile, self.cells, change))

    def write(self, key: Array, weights: Array) -> tuple[SimulatedCore, Array]:
        """See `Programmable.write`.

        Drift exponents belong to these targets: they are what the controller wants, whatever it requests later.
        """
        device, target = self.tile.written, self.tile.targets(weights)
        old = self.cells if self.begin is not None else device.aim(named(key, "aim"), self.cells, target)
        goal = target if self.used is None else jnp.where(self.cells_used(), target, old.believed)
        cells, pulses = sent(key, self.tile, old, goal)
        if self.begin is not None:  # what gets no pulse goes on drifting as it did
            cells = device.aim(named(key, "aim"), cells, target, pulses > 0)
        return self._written(cells, pulses)

    def program(self, key: Array, weights: Array) -> tuple[SimulatedCore, Array]:
        """See `Programmable.program`."""
        cells, pulses = programmed(key, self.tile, self.cells, weights)
        core, _ = self._written(cells, pulses)
        return core, jnp.sum(jnp.where(self.cells_used(), pulses, 0))

    def exact(self, key: Array, weights: Array) -> SimulatedCore:
        """See `Programmable.exact`."""
        target = self.tile.targets(weights)
        cells = self.tile.written.aim(named(key, "aim"), self.cells, target)
        return self._written(replace(cells, g=target, target=target), jnp.ones(target.shape, jnp.int32))[0]

    def _written(self, cells: DeviceState, pulses: Array) -> tuple[SimulatedCore, Array]:
        clock = None if self.clock is None else self.clock.pulsed(pulses > 0)
        if self.clock is None and self.begin is not None and self.tile.device.ages:
            before = 0.0 if cells.written is None else cells.written
            cells = replace(cells, written=jnp.where(pulses > 0, self.begin, before))
        return replace(self, cells=cells, clock=clock), jnp.sum(pulses)

    # ----------------------------------------------------------------------------------- time goes on

    def repeat(
        self, step: Step[State], state: State, key: Array, count: int, *, reads: Array | float = 1.0,
        seconds: Array | float | None = None,
    ) -> tuple[SimulatedCore, State, Any]:  # fmt: skip
        """See `Programmable.repeat`: one scan, the devices fluctuating and drifting from one iteration to the next."""
        clock, keys = named(key, "clock"), split(named(key, "iterations"), count)

        def body(carry: tuple[SimulatedCore, State], at: tuple[Array, Array]) -> tuple[Any, Any]:
            core, state, record = step(carry[0]._ticked(clock, at[1], reads), carry[1], *at)
            return (core, state), record

        begun = replace(self, clock=self._started(named(key, "begin"), count, seconds))
        (core, state), history = lax.scan(body, (begun, state), (keys, jnp.arange(count)))
        return core._stopped(named(key, "end"), count), state, history

    def _started(self, key: Array, count: int, seconds: Array | float | None) -> Clock:
        device = self.tile.device
        clock = Clock.start(device, self.cells.believed, count, seconds)
        if self.begin is None or self.cells.written is None:  # the first write of an old chip has said when
            return clock
        return clock.of_old(key, device, self.begin - self.cells.written)

    def _ticked(self, key: Array, k: Array, reads: Array | float) -> SimulatedCore:
        return self if self.clock is None else replace(self, clock=self.clock.tick(key, self.tile.device, k, reads))

    def _stopped(self, key: Array, count: int) -> SimulatedCore:
        """After so many iterations: the devices remember when they were written, and drift anew where they were."""
        clock, cells = self.clock, self.cells
        if clock is not None and self.tile.device.ages:
            ago = clock.age * (0.0 if clock.seconds is None else clock.seconds)
            if self.begin is not None:
                end = self.begin + count * (0.0 if clock.seconds is None else clock.seconds)
                before, hit = 0.0 if cells.written is None else cells.written, clock.age < count
                cells = replace(cells, written=jnp.where(hit, end - ago, before))
                cells = self.tile.device.aim(key, cells, cells.believed, hit)
            elif clock.seconds is not None:
                cells = replace(cells, written=-ago)  # the first read, t = 0, is now
        return replace(self, clock=None, cells=cells)

    def conductances(self) -> Array:
        """What the devices conduct at this moment of their programming (devices, r, c'), µS."""
        return self.cells.g if self.clock is None else self.clock.conductances(self.tile.device, self.cells)

    def expected_change(self, left: Array) -> Array | float:
        """See `Programmable.expected_change`."""
        change = None if self.clock is None else self.clock.expected_change(self.tile.device, left)
        device = self.tile.device
        return 0.0 if change is None else self.tile.cell.decode(device.in_spans(change))

    def reading(self) -> Reading:
        """What the core conducts at this moment of its programming."""
        g = self.conductances()
        g = g if self.used is None else jnp.where(self.cells_used(), g, 0.0)
        w, variance = line_conductances(self.tile, g[:, None, None], self.shape)
        if self.used is not None:
            off = ~self.cells_used()[None, :, None, None, : w.shape[-1]]
            w = jnp.where(off, 0.0, w)
            variance = None if variance is None else jnp.where(off, 0.0, variance)
        columns = jax.tree.map(lambda a: a[None, :, None], self.columns)
        return Reading(w, variance, jnp.ones((1, 1, 1), w.dtype), columns, self.shape)

    # -------------------------------------------------------------------------- what is known of the core

    def write_noise(self, weights: Array) -> Array:
        """See `Programmable.write_noise`."""
        device, cell = self.tile.device, self.tile.cell
        g = device.conductance(cell.encode(weights))
        sigma = jnp.where(device.at_rest(g), 0.0, device.write_deviation(g))  # the idle half of a pair is not pulsed
        return deviation(cell, device.in_spans(sigma))

    def rounding(self, weights: Array) -> Array | float:
        """See `Programmable.rounding`."""
        device = self.tile.device
        if self.tile.states is None:
            return 0.0
        return jnp.abs(self.tile.cell.decode(device.in_spans(self.tile.targets(weights))) - weights)

    @property
    def flickers(self) -> bool:
        """See `Programmable.flickers`."""
        return self.tile.device.flickers

    def flicker_noise(self, weights: Array) -> Array:
        """See `Programmable.flicker_noise`."""
        device, cell = self.tile.device, self.tile.cell
        g = device.conductance(cell.encode(weights))
        q = device.flicker_q(g)
        return jnp.zeros_like(weights) if q is None else deviation(cell, device.in_spans(q * g))

    def moment_noise(self, weights: Array, seconds: Array | float | None, reads: Array | float) -> Array | float:
        """See `Programmable.moment_noise`."""
        device, cell = self.tile.device, self.tile.cell
        g = device.conductance(cell.encode(weights))
        q = device.flicker_q(g)
        if q is None or seconds is None:
            return 0.0
        return deviation(cell, device.in_spans(q * g * device.flicker_between(seconds, reads, g)))

    def weights(self) -> Array:
        """See `Programmable.weights`."""
        return self.tile.cell.decode(self.tile.device.in_spans(self.cells.g))

    def mask(self) -> Array | None:
        """See `Programmable.mask`."""
        return self.used

    def cells_used(self) -> Array:
        """Which cells (r, c') carry devices that are used, the reference column included."""
        used = jnp.ones(self.shape, bool) if self.used is None else self.used
        return jnp.concatenate([used, *[used[:, :1]] * self.tile.cell.extra_columns], axis=1)

    @property
    def shape(self) -> tuple[int, int]:
        """(r, c)."""
        return self.cells.g.shape[-2], self.cells.g.shape[-1] - self.tile.cell.extra_columns
