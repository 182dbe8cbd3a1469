"""Ways to write weights into a core, and those that send no pulse twice: one shot, open loop, and exactly.

Each is a frozen dataclass of hyper-parameters with one method, ``run(key, core, weights, input_limit)``, on normalised
weights (r, c) of one tile; `crossjax.program` applies it to all tiles of a matrix. `iterative.py` has
program-and-verify, `gdp.py` gradient descent on the MVM error.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._pytree import spec
from crossjax._random import named
from crossjax.programming.core import Programmable
from crossjax.programming.history import Spent, Sums, measure


class Method(Protocol):
    """A programming method."""

    def run(self, key: Array, core: Any, weights: Array, input_limit: Array) -> tuple[Any, Sums]:
        """Write normalised ``weights`` (r, c) into ``core``, a `Programmable`; returns the new one.

        Inputs above σ = ``input_limit`` saturate its ADCs.
        """
        ...


def probe(key: Array, core: Programmable, weights: Array, input_limit: Array, batch: int = 128) -> tuple[Array, Array]:
    """(‖ŷ − y‖², ‖y‖²) of the core for random inputs."""
    x = core.inputs(named(key, "probe inputs"), batch, weights.shape[0], jnp.minimum(input_limit, 1 / 3))
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

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`."""
        core, pulses = core.program(key, weights)
        errors = probe(key, core, weights, input_limit) if core.weights() is None else None
        return core, _once(measure(core, errors, weights, Spent(pulses), jnp.ones_like(weights)))


@spec
class OpenLoop:
    """One pulse for every device, by the mean response of its kind: nobody looks where it landed."""

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`."""
        core, pulses = core.write(key, weights)
        errors = probe(key, core, weights, input_limit) if core.weights() is None else None
        return core, _once(measure(core, errors, weights, Spent(pulses), jnp.ones_like(weights)))


@spec
class Exact:
    """Every device at its target, exactly: what the hardware leaves of perfectly written weights, the floor of all."""

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`.

        Raises:
            TypeError: for an instrument, whose devices nobody can set.
        """
        core = core.exact(key, weights)
        return core, _once(measure(core, None, weights, Spent(), jnp.ones_like(weights)))


def _once(sums: Sums) -> Sums:
    """The history of one iteration."""
    return jax.tree.map(lambda a: jnp.asarray(a)[None], sums)


__all__ = ["Exact", "Method", "OneShot", "OpenLoop", "power", "probe"]
