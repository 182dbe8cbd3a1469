"""A laboratory's core in the clothes of a simulated one, so that methods need to know one interface."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._pytree import spec
from crossjax._random import named, normal, split
from crossjax.programming.core import State, Step


@spec
class Instrument:
    """A `Core` as a `Programmable`.

    Attributes:
        core: the instrument.
        noise: standard deviation of the weight that one write pulse leaves, a number or one per cell.
        flicker: relative 1/f noise of a device over a factor e of time, Q.
    """

    core: Any
    noise: Any = 0.0
    flicker: Any = 0.0

    def inputs(self, key: Array, batch: int, rows: int, deviation: Array | float) -> Array:
        """See `Programmable.inputs`."""
        return jnp.clip(normal(key, (batch, rows)) * deviation, -1.0, 1.0)

    def mvm(self, key: Array, x: Array) -> Array:
        """See `Core.mvm`."""
        return jnp.asarray(self.core.mvm(np.asarray(x)))

    def backward(self, key: Array, d: Array) -> Array:
        """See `Programmable.backward`: by the instrument's own ``backward``, if it has one."""
        if not callable(getattr(self.core, "backward", None)):
            raise ValueError(f"{type(self.core).__name__} has no backward(d): it multiplies one way only")
        return jnp.asarray(self.core.backward(np.asarray(d)))

    def verify(self, key: Array, rows: int, reads: int, integration: Array | float, how: str) -> Array:
        """See `Programmable.verify`."""
        if how == "cell":
            raise ValueError("an instrument shows its outputs only: use Iterative(verify='mvm')")
        lines = jnp.tile(jnp.eye(rows), (reads, 1))
        return jnp.mean(self.mvm(key, lines).reshape(reads, rows, -1), axis=0)

    def integration(self, wanted: float | None, reads: int, tolerance: Array) -> Array:
        """See `Programmable.integration`: an instrument's MVM takes the time it takes."""
        if wanted is not None:
            raise ValueError("an instrument's MVM takes the time it takes: raise Iterative.reads, not integration")
        return jnp.asarray(1.0)

    def pull_back(self, x: Array, residual: Array, weights: Array, how: str) -> Array:
        """See `Programmable.pull_back`: there is no model."""
        return x.T @ residual

    def pulse(self, key: Array, change: Array) -> tuple[Instrument, Array]:
        """See `Core.pulse`; counts one pulse per cell."""
        self.core.pulse(np.asarray(change))
        return self, jnp.sum(change != 0)

    def write(self, key: Array, weights: Array) -> tuple[Instrument, Array]:
        """See `Programmable.write`: a request for the whole weight."""
        return self.pulse(key, weights)

    def program(self, key: Array, weights: Array) -> tuple[Instrument, Array]:
        """See `Programmable.program`."""
        return self.write(key, weights)

    def exact(self, key: Array, weights: Array) -> Instrument:
        """See `Programmable.exact`."""
        raise TypeError("Exact sets the devices of a simulated chip; an instrument is programmed by pulses")

    def repeat(
        self, step: Step[State], state: State, key: Array, count: int, *, reads: Array | float = 1.0,
        seconds: Array | float | None = None,
    ) -> tuple[Instrument, State, Any]:  # fmt: skip
        """See `Programmable.repeat`: one call after the other."""
        core, records, keys = self, [], split(named(key, "iterations"), count)
        for k in range(count):
            core, state, record = step(core, state, keys[k], jnp.asarray(k))
            records.append(record)
        return core, state, jax.tree.map(lambda *values: jnp.stack(values), *records)

    def write_noise(self, weights: Array) -> Array:
        """See `Programmable.write_noise`: what is known."""
        return jnp.broadcast_to(jnp.asarray(self.noise, weights.dtype), weights.shape)

    def rounding(self, weights: Array) -> float:
        """See `Programmable.rounding`: unknown."""
        return 0.0

    @property
    def flickers(self) -> bool:
        """See `Programmable.flickers`: if it is said to."""
        return self.flicker != 0.0

    def flicker_noise(self, weights: Array) -> Array:
        """See `Programmable.flicker_noise`: Q, relative to the weight."""
        return jnp.asarray(self.flicker, weights.dtype) * jnp.abs(weights)

    def moment_noise(self, weights: Array, seconds: Array | float | None, reads: Array | float) -> float:
        """See `Programmable.moment_noise`: unknown, and left out."""
        return 0.0

    def expected_change(self, left: Array) -> float:
        """See `Programmable.expected_change`: unknown."""
        return 0.0

    def weights(self) -> None:
        """See `Programmable.weights`."""
        return None

    def mask(self) -> None:
        """See `Programmable.mask`."""
        return None
