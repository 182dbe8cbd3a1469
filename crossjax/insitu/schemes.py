"""Schemes of training on the chip: what a layer's update does to its devices. All have one shape, state in, state out.

    start(w) ──► state ──weights──► what the array multiplies with
                   ▲  └──update(x, d)──┐
                   └───────────────────┘

`PulsedSGD` here; `Significance` (MSP/LSP, hybrid cells), `MixedPrecision` and `TikiTaka` in rooms of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import check_choice, check_count, spec, static
from crossjax._random import named, numbered
from crossjax.insitu import at_once
from crossjax.insitu.synapses import Single, Synapse
from crossjax.insitu.trains import Counts, Trains, of_example

Scalar = Array | float


class Scheme(Protocol):
    """How a layer learns on its devices."""

    def start(self, key: Array, w: Array, *, count: bool = False) -> Any:
        """Devices as they were made, holding normalised weights (rows, cols); ``count``: whether pulses are counted."""
        ...

    def weights(self, state: Any) -> Array:
        """What the array multiplies with, (rows, cols)."""
        ...

    def update(self, key: Array, state: Any, x: Array, d: Array, rate: Scalar, n: Array) -> Any:
        """One mini-batch: w is to change by rate · Σ_b x_b d_bᵀ.

        Args:
            key: of this update.
            state: the devices, and what else the scheme keeps.
            x: what was on the rows, (batch, rows); of a convolution (batch, …, rows), whose positions add up.
            d: what came back on the columns, with the sign in which weights are to move, (batch, …, cols).
            rate: learning rate, of normalised weights.
            n: examples that came before, a whole number that is the same for all chips of a vmap.
        """
        ...

    def pulses(self, state: Any) -> dict[str, Array]:
        """Pulses that devices have had, (devices, rows, cols) by what they are; where they are counted."""
        ...


def in_sequence(
    one: Callable[[Array, Any, Array, Array, Array], Any], key: Array, state: Any, x: Array, d: Array, n: Array
) -> Any:
    """``one(key, state, x (…, rows), d (…, cols), n)`` for every example of a batch, one after the other."""
    if x.shape[0] == 1:
        return one(key, state, x[0], d[0], n)

    def step(state: Any, example: tuple[Array, Array, Array]) -> tuple[Any, None]:
        k, x, d = example
        return one(numbered(key, k), state, x, d, n + k), None

    return lax.scan(step, state, (jnp.arange(x.shape[0]), x, d))[0]


def moved(key: Array, synapse: Synapse, state: Any, counts: Counts, n: Array) -> Any:
    """The devices after pulses, or after mean steps where counts are real numbers."""
    return synapse.drive(state, n) if counts.real else synapse.pulse(named(key, "pulses"), state, n)


@spec
class PulsedSGD:
    """Every example sends its pulses to the devices that are the weights.

    Attributes:
        synapse: the devices.
        counts: how an outer product becomes pulses.
        batch: "sequence", one example after the other, or "sum": one update of the net counts of a batch.
        every: examples between two rests, in which devices leak and pairs are refreshed; at least a mini-batch.
    """

    synapse: Synapse = Single()
    counts: Counts = Trains()
    batch: str = static(default="sequence")
    every: int = static(default=1)

    def _check(self) -> None:
        check_count(self, "every")
        check_choice(self, "batch", ("sequence", "sum"))

    def start(self, key: Array, w: Array, *, count: bool = False) -> Any:
        """See `Scheme.start`."""
        state = self.synapse.draw(named(key, "devices"), (w.shape[0], w.shape[1]), count=count)
        return self.synapse.put(named(key, "put"), state, w)

    def weights(self, state: Any) -> Array:
        """See `Scheme.weights`."""
        return self.synapse.value(state)

    def update(self, key: Array, state: Any, x: Array, d: Array, rate: Scalar, n: Array) -> Any:
        """See `Scheme.update`."""
        synapse, step = self.synapse, self.synapse.step

        def one(key: Array, state: Any, x: Array, d: Array, n: Array) -> Any:
            counts = of_example(self.counts, named(key, "counts"), x, d, rate, step)
            return moved(key, synapse, state, self.counts, counts)

        if self.batch == "sum":
            counts = of_example(self.counts, named(key, "counts"), x, d, rate, step)
            state = moved(key, synapse, state, self.counts, counts)
        elif x.shape[0] > 1 and isinstance(synapse, Single) and at_once.fits(synapse.device, self.counts, x):
            assert isinstance(self.counts, Trains)
            state = at_once.updated(named(key, "batch"), synapse.device, state, self.counts, x, d, rate)
        else:
            state = in_sequence(one, key, state, x, d, n)
        due = (n + x.shape[0]) // self.every > n // self.every
        if self.every <= x.shape[0]:
            return synapse.rest(named(key, "rest"), state)
        return lax.cond(due, lambda s: synapse.rest(named(key, "rest"), s), lambda s: s, state)

    def pulses(self, state: Any) -> dict[str, Array]:
        """See `Scheme.pulses`."""
        return {"devices": self.synapse.pulses(state)}
