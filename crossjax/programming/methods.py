"""Three ways to write weights into a core: once, program-and-verify, gradient descent on the MVM error.

Each is a frozen dataclass of hyper-parameters with one method, ``run(key, core, weights)``, on normalised
weights (r, c) of one tile; `crossjax.program` applies it to all tiles of a matrix.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import ratio, safe_sqrt
from crossjax._pytree import check_choice, check_count, check_range, replace, spec, static
from crossjax._random import named, normal
from crossjax.circuits.converters import ColumnSpread
from crossjax.devices.noise import ByPulses, FlickerNoise
from crossjax.programming.core import AnyCore, Instrument, SimulatedCore, iterate
from crossjax.programming.history import Spent, Sums, measure
from crossjax.tiles.cells import Pairs
from crossjax.tiles.mvm import conduct
from crossjax.tiles.tile import test_inputs


class Method(Protocol):
    """A programming method."""

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """Write normalised ``weights`` (r, c) into ``core``; inputs above σ = ``loudest`` saturate its ADCs."""
        ...


def _inputs(key: Array, core: AnyCore, batch: int, rows: int, deviation: Array) -> Array:
    if isinstance(core, SimulatedCore):
        return test_inputs(key, core.tile, (batch, rows), deviation)
    return jnp.clip(normal(key, (batch, rows)) * deviation, -1.0, 1.0)


def _probe(key: Array, core: AnyCore, weights: Array, loudest: Array, batch: int = 128) -> tuple[Array, Array]:
    """(‖ŷ − y‖², ‖y‖²) of the core for random inputs."""
    x = _inputs(named(key, "probe inputs"), core, batch, weights.shape[0], jnp.minimum(loudest, 1 / 3))
    y = x @ weights
    residual = core.mvm(named(key, "probe"), x) - y
    return jnp.sum(_power(residual)), jnp.sum(_power(y))


def _power(a: Array) -> Array:
    """Σ a² of every column (over the batch)."""
    return jnp.sum(a * a, axis=0)


@spec
class OneShot:
    """Program every device to its target once, with the device's published programming error.

    The error law of a device (σ_P) is what its authors' own procedure left. With a cell whose split is
    "residual", the pairs are programmed one after the other, each for what the earlier ones missed. A device
    that is known by its pulses only, and an instrument, gets one write request per weight.
    """

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """See `Method.run`."""
        if isinstance(core, Instrument) or isinstance(core.tile.device.programming, ByPulses):
            core, pulses = core.write(key, weights)
        else:
            pulses = jnp.sum(core.cells_used()) * core.cells.g.shape[0]
            core = self._program(key, core, weights)
        sums = measure(core, _probe(key, core, weights, loudest), weights, Spent(pulses), jnp.ones_like(weights))
        return core, jax.tree.map(lambda a: jnp.asarray(a)[None], sums)

    def _program(self, key: Array, core: SimulatedCore, weights: Array) -> SimulatedCore:
        device, cell = core.tile.device, core.tile.cell
        target = cell.encode(weights, device.g_min, device.g_max)
        cells = device.program(named(key, "program"), core.cells, target)
        if isinstance(cell, Pairs) and cell.split == "residual":
            order = jnp.arange(cell.devices)[:, None, None] // 2
            for p in range(1, len(cell.factors)):  # over the few pairs of a cell
                written = jnp.where(order < p, cells.g, device.g_min)
                missing = weights - cell.decode(written, device.g_min, device.g_max)
                change = jnp.clip(missing * cell.full_scale / cell.factors[p], -1.0, 1.0)
                pair = cell.pair(change, device.g_min, device.g_max)
                target = target.at[2 * p : 2 * p + 2].set(pair)
                again = device.program(named(key, f"program pair {p}"), core.cells, target)
                cells = replace(cells, g=jnp.where(order == p, again.g, cells.g))
        return replace(core, cells=cells, target=target)


@spec
class Exact:
    """Every device at its target, exactly: what the hardware leaves of perfectly written weights, the floor of all."""

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """See `Method.run`.

        Raises:
            TypeError: for an instrument, whose devices nobody can set.
        """
        if isinstance(core, Instrument):
            raise TypeError("Exact sets the devices of a simulated chip; an instrument is programmed by pulses")
        device = core.tile.device
        target = core.tile.cell.encode(weights, device.g_min, device.g_max)
        cells = replace(device.aim(named(key, "aim"), core.cells, target), g=target)
        core = replace(core, cells=cells, target=target)
        sums = measure(core, _probe(key, core, weights, loudest), weights, Spent(), jnp.ones_like(weights))
        return core, jax.tree.map(lambda a: jnp.asarray(a)[None], sums)


@spec
class Iterative:
    """Program and verify: read every cell through the core, pulse the ones outside the tolerance, repeat.

    A cell is read by an MVM with one word line at full input, and the read is the mean of several. Joshi et al.,
    Nat. Commun. 11:2473 (2020): up to 55 iterations, 5 reads, pulses whose amplitude steps in proportion to the
    error.

    Attributes:
        iterations: verifications, each followed by a pulse where it is needed: the pulse budget per cell.
        reads: reads averaged for one verification.
        step: fraction of the measured error that a pulse is to correct.
        tolerance: a cell within this error (fraction of the range) is done. Joshi's is ± 0.25 µS of 25, 0.01; on the
            HERMES core a sweep over tolerance and step finds this one best.
        integration: how many times longer than an MVM a read counts: its levels are finer, its noise smaller by the
            root. None: until neither limits (a level and the noise of the mean are half of the tolerance).
        keep: a cell once verified is never touched again; if False it is verified at every iteration.
        verify: "mvm", through the core as above, so that the lines' resistance and the columns' gains are part of
            what is read; or "cell", by a read circuit at the cell, which sees the device alone.
        seconds: from one iteration to the next, for drift and 1/f noise meanwhile; None: no longer than its reads.
    """

    iterations: int = static(default=55)
    reads: int = static(default=5)
    step: float = 0.5
    tolerance: float = 0.006
    integration: float | None = None
    keep: bool = static(default=True)
    verify: str = static(default="mvm")
    seconds: float | None = 1.0

    def _check(self) -> None:
        check_count(self, "iterations")
        check_count(self, "reads")
        check_range(self, "step", low=0, high=2, strict=True)
        check_range(self, "tolerance", low=0)
        check_range(self, "integration", low=1)
        check_range(self, "seconds", low=0, strict=True)
        check_choice(self, "verify", ("mvm", "cell"))

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """See `Method.run`."""
        self._check_core(core)
        core, first = core.write(named(key, "first"), weights)
        integration = self.counted(core)
        mvms = integration * self.reads * weights.shape[0]

        def step(core: AnyCore, done: Array, key: Array, k: Array) -> tuple[AnyCore, Array, Sums]:
            error = self.read(named(key, "verify"), core, weights.shape[0], integration) - weights
            error = error + core.expected_change(self.iterations - 1.0 - k)
            inside = jnp.abs(error) <= self.tolerance
            done = (done | inside) if self.keep else inside
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(done, 0.0, -self.step * error))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), mvms, self.reads * weights.size)
            return core, done, measure(core, _probe(key, core, weights, loudest), weights, spent, done)

        core, _, sums = iterate(
            step, core, jnp.zeros(weights.shape, bool), key, self.iterations,
            reads=mvms, seconds=self.seconds,
        )  # fmt: skip
        return core, sums

    def _check_core(self, core: AnyCore) -> None:
        if isinstance(core, Instrument):
            if self.verify == "cell":
                raise ValueError("an instrument shows its outputs only: use Iterative(verify='mvm')")
            if self.integration is not None:
                raise ValueError("an instrument's MVM takes the time it takes: raise Iterative.reads, not integration")
        elif core.tile.dac is not None and not core.tile.dac.has_zero:
            raise ValueError(
                "Iterative reads cells one word line at a time: the DAC needs a level at 0 (2 bits or more)"
            )

    def counted(self, core: AnyCore) -> Array:
        """How many times longer than an MVM one read of a cell counts."""
        if self.integration is not None or isinstance(core, Instrument):
            return jnp.asarray(1.0 if self.integration is None else self.integration)
        tolerance = jnp.maximum(self.tolerance, 1e-6)
        fine = core.level / (0.5 * tolerance)
        quiet = (core.output_noise / (0.5 * tolerance)) ** 2 / self.reads
        return lax.stop_gradient(jnp.maximum(jnp.maximum(fine, quiet), 1.0))

    def read(self, key: Array, core: AnyCore, rows: int, integration: Array | float = 1.0) -> Array:
        """Mean of several reads of every weight, (r, c)."""
        if self.verify == "cell" and isinstance(core, SimulatedCore):
            one = partial(core.read_cells, integration=integration)
            return jnp.mean(jax.vmap(one)(jax.random.split(key, self.reads)), axis=0)
        return core.verify(key, rows, self.reads, integration)


@spec
class GDP:
    """Gradient-descent-based programming: descend the MVM error that the core itself shows.

    Each iteration sends random inputs X through the core's own converters, compares with Y = X W, and takes
    the gradient of ½‖Ŷ − Y‖² with respect to the weights, Xᵀ(Ŷ − Y). Divided by Σ x² it estimates every
    weight's error without reading a single cell. Büchel et al., IEDM 2022 / JETCAS 2023.

    A pulse rewrites a cell with fresh noise, so it must be worth it. The estimates since a cell's last pulse are
    averaged, and the cell is pulsed when the mean exceeds both what a rewrite would leave and the
    estimate's own standard error: m² > (dead_zone σ_write)² + confidence² SE². Both come from the device and
    from the measured residual, so one set of numbers serves any weights, any write noise and any converter.

    Attributes:
        iterations: number of batches.
        batch: random inputs per iteration.
        step: fraction of the estimated error that a pulse is to correct.
        decay: step_k = step / (1 + decay k).
        drive: standard deviation of the Gaussian inputs, in full inputs; less where the ADCs would saturate.
        dead_zone: in units of the write noise.
        confidence: in standard errors of the estimate.
        memory: most estimates averaged (1: the plain gradient).
        patience: stop pulsing once the smoothed MVM error has not improved by 0.1 % for so many iterations;
            None: never.
        gradient: "outer", Xᵀ(Ŷ − Y), which needs no model; or "vjp", the vector-Jacobian product of the core's
            model, which knows each column's gain, leaves out saturated outputs and sees the wires. An instrument
            has no model, and lines that are digitised one by one use the outer product.
        seconds: from one iteration to the next, for drift and 1/f noise meanwhile; None: no longer than its reads.
    """

    iterations: int = static(default=100)
    batch: int = static(default=2048)
    step: float = 0.5
    decay: float = 0.0
    drive: float = 0.6
    dead_zone: float = 0.3
    confidence: float = 1.0
    flick: float = 1.5
    g: float = 0.4
    mem: float = 1000.0
    memory: int = static(default=20)
    patience: int | None = static(default=None)
    gradient: str = static(default="outer")
    seconds: float | None = 1.0

    def _check(self) -> None:
        check_count(self, "iterations")
        check_count(self, "batch")
        check_count(self, "memory")
        check_range(self, "step", low=0, high=2, strict=True)
        check_range(self, "drive", low=0, high=10, strict=True)
        for name in ("decay", "dead_zone", "confidence"):
            check_range(self, name, low=0)
        check_range(self, "seconds", low=0, strict=True)
        check_choice(self, "gradient", ("outer", "vjp"))
        if self.patience is not None:
            check_count(self, "patience")

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """See `Method.run`."""
        core, first = core.write(named(key, "first"), weights)
        quiet = jnp.minimum(loudest, self.drive)
        sw = core.write_noise(weights); sb = safe_sqrt(jnp.mean(sw * sw))
        dead = (self.dead_zone * sw ** (1 - self.g) * sb ** self.g) ** 2
        q2 = core.flicker_noise(weights) ** 2
        moment = core.moment_noise(self.seconds, self.batch) ** 2
        octaves = FlickerNoise.octaves(self.iterations)

        def step(core: AnyCore, state: tuple[Array, ...], key: Array, k: Array) -> tuple[AnyCore, tuple[Array, ...], Sums]:
            mean, count, precision, best, waited = state
            x = _inputs(named(key, "inputs"), core, self.batch, weights.shape[0], quiet)
            wanted = x @ weights
            residual = core.mvm(named(key, "mvm"), x) - wanted
            power = _power(x)[:, None]
            estimate = ratio(self._gradient(core, x, residual, weights), power)
            estimate = estimate + core.expected_change(self.iterations - 1.0 - k)
            error2 = _power(residual)
            white = ratio(error2 / self.batch, power) + q2 * moment

            count = count + 1.0
            mean = mean + (estimate - mean) / jnp.minimum(count, self.mem)
            left = jnp.maximum(self.iterations - 1.0 - k, 0.5)
            unsure = white / count + q2 * FlickerNoise.variance_of_mean(count, octaves)
            floor = white / left + q2 * FlickerNoise.variance_of_mean(left, octaves)
            enough = dead + self.confidence**2 * unsure + self.flick * floor
            due = mean * mean > enough
            loss = jnp.where(k == 0, jnp.sum(error2), 0.8 * best[1] + 0.2 * jnp.sum(error2))
            better = loss < 0.998 * best[0]
            waited = jnp.where(better, 0, waited + 1)
            if self.patience is not None:
                due = due & (waited < self.patience)
            size = self.step / (1.0 + self.decay * k)
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(due, -size * mean, 0.0))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), self.batch, 0)
            errors = jnp.sum(error2), jnp.sum(_power(wanted))
            record = measure(core, errors, weights, spent, mean * mean <= enough)
            mean, count, precision = (jnp.where(due, 0.0, a) for a in (mean, count, precision))
            best = jnp.stack([jnp.where(better, loss, best[0]), loss])
            return core, (mean, count, precision, best, waited), record

        zero = jnp.zeros(weights.shape, weights.dtype)
        start = (zero, zero, zero, jnp.full(2, jnp.inf, weights.dtype), jnp.zeros((), jnp.int32))
        core, _, sums = iterate(step, core, start, key, self.iterations, reads=self.batch, seconds=self.seconds)
        return core, sums

    def _gradient(self, core: AnyCore, x: Array, residual: Array, weights: Array) -> Array:
        if self.gradient == "outer" or not isinstance(core, SimulatedCore):
            return lax.optimization_barrier(x.T) @ residual  # transposing first makes the product a third faster
        return model_gradient(core, x, residual, weights)


def model_gradient(core: SimulatedCore, x: Array, residual: Array, weights: Array) -> Array:
    """Xᵀ diag(∂y/∂sum) (Ŷ − Y): the residual pulled back through converters and wires, at the wanted weights."""
    adc = core.tile.adc
    if core.tile.subtract == "digital" or (adc is None and core.tile.wires is None):
        return x.T @ residual
    columns = jax.tree.map(lambda a: a[0], core.columns)
    device, cell = core.tile.device, core.tile.cell

    def outputs(w: Array) -> Array:
        if core.tile.wires is not None:  # what the network makes of these weights
            g = cell.encode(w, device.g_min, device.g_max)
            w = conduct(core.tile, g[:, None, None], core.shape)[0][0, :, 0, 0]
        y = x @ w
        return y if adc is None else adc.convert(adc.distort(y, ColumnSpread() if columns is None else columns))

    _, pull = jax.vjp(outputs, weights)
    return pull(residual)[0]


__all__ = ["GDP", "Exact", "Iterative", "Method", "OneShot", "model_gradient"]
