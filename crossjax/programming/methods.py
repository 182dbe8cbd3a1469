"""Ways to write weights into a core, and the two that send no pulse twice: once, and exactly.

Each is a frozen dataclass of hyper-parameters with one method, ``run(key, core, weights, loudest)``, on normalised
weights (r, c) of one tile; `crossjax.program` applies it to all tiles of a matrix. `iterative.py` has
program-and-verify, `gdp.py` gradient descent on the MVM error.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._pytree import replace, spec
from crossjax._random import named, normal
from crossjax.devices.noise import ByPulses
from crossjax.programming.core import AnyCore, Instrument, SimulatedCore
from crossjax.programming.history import Spent, Sums, measure
from crossjax.tiles.cells import Pairs
from crossjax.tiles.tile import test_inputs


class Method(Protocol):
    """A programming method."""

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """Write normalised ``weights`` (r, c) into ``core``; inputs above σ = ``loudest`` saturate its ADCs."""
        ...


def inputs(key: Array, core: AnyCore, batch: int, rows: int, deviation: Array) -> Array:
    """Random inputs (batch, r) of a standard deviation, as the core can be given them."""
    if isinstance(core, SimulatedCore):
        return test_inputs(key, core.tile, (batch, rows), deviation)
    return jnp.clip(normal(key, (batch, rows)) * deviation, -1.0, 1.0)


def probe(key: Array, core: AnyCore, weights: Array, loudest: Array, batch: int = 128) -> tuple[Array, Array]:
    """(‖ŷ − y‖², ‖y‖²) of the core for random inputs."""
    x = inputs(named(key, "probe inputs"), core, batch, weights.shape[0], jnp.minimum(loudest, 1 / 3))
    y = x @ weights
    residual = core.mvm(named(key, "probe"), x) - y
    return jnp.sum(power(residual)), jnp.sum(power(y))


def power(a: Array) -> Array:
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
        errors = probe(key, core, weights, loudest) if isinstance(core, Instrument) else None
        return core, _once(measure(core, errors, weights, Spent(pulses), jnp.ones_like(weights)))

    def _program(self, key: Array, core: SimulatedCore, weights: Array) -> SimulatedCore:
        device, cell, target = core.tile.written, core.tile.cell, core.tile.targets(weights)
        cells = device.program(named(key, "program"), core.cells, target)
        if isinstance(cell, Pairs) and cell.split == "residual":
            order = jnp.arange(cell.devices)[:, None, None] // 2
            for p in range(1, len(cell.factors)):  # over the few pairs of a cell
                written = jnp.where(order < p, cells.g, device.g_min)
                missing = weights - cell.decode(written, device.g_min, device.g_max)
                change = jnp.clip(missing * cell.full_scale / cell.factors[p], -1.0, 1.0)
                pair = cell.pair(change, device.g_min, device.g_max)
                target = target.at[2 * p : 2 * p + 2].set(device.nearest(pair))
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
        device, target = core.tile.written, core.tile.targets(weights)
        cells = replace(device.aim(named(key, "aim"), core.cells, target), g=target)
        core = replace(core, cells=cells, target=target)
        return core, _once(measure(core, None, weights, Spent(), jnp.ones_like(weights)))


def _once(sums: Sums) -> Sums:
    """The history of one iteration."""
    return jax.tree.map(lambda a: jnp.asarray(a)[None], sums)


__all__ = ["Exact", "Method", "OneShot", "inputs", "power", "probe"]
