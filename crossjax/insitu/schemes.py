"""Schemes of training on the chip: what a layer's update does to its devices. All have one shape, state in, state out.

    start(w) ──► state ──weights──► what the array multiplies with
                   ▲  └──learn(x, d)──settle──┐      every example, and every so many
                   └──────────update──────────┘

`PulsedSGD` here; `Significance` (MSP/LSP, hybrid cells), `MixedPrecision` and `TikiTaka` in rooms of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import check_choice, check_count, spec, static
from crossjax._random import named, numbered
from crossjax.insitu import at_once, in_turn
from crossjax.insitu.synapses import Single, Synapse
from crossjax.insitu.trains import Counts, Trains, coincidences, of_example

Scalar = Array | float


class Scheme(Protocol):
    """How a layer learns on its devices."""

    def start(self, key: Array, w: Array, *, count: bool = False) -> Any:
        """Devices as they were made, holding normalised weights (rows, cols); ``count``: whether pulses are counted."""
        ...

    def weights(self, state: Any) -> Array:
        """What the array multiplies with, (rows, cols)."""
        ...

    @property
    def period(self) -> int | None:
        """Examples between two times that there may be something to `settle`; None for never."""
        ...

    def settle(self, key: Array, state: Any, before: Array, after: Array) -> Any:
        """What is due between examples ``before`` and ``after``: transfers, refreshes."""
        ...

    def learn(self, key: Array, state: Any, x: Array, d: Array, rate: Scalar, n: Array) -> Any:
        """One mini-batch without what is settled later: w is to change by rate · Σ_b x_b d_bᵀ.

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


class BaseScheme:
    """A scheme that has nothing to settle, and the update that is made of both."""

    @property
    def period(self) -> int | None:
        """See `Scheme.period`: never."""
        return None

    def settle(self, key: Array, state: Any, before: Array, after: Array) -> Any:
        """See `Scheme.settle`: nothing."""
        return state

    def update(self: Any, key: Array, state: Any, x: Array, d: Array, rate: Scalar, n: Array) -> Any:
        """A whole mini-batch: `learn`, and what is due to `settle`. Arguments as of `Scheme.learn`."""
        state = self.learn(key, state, x, d, rate, n)
        return self.settle(named(key, "settle"), state, n, n + x.shape[0])


def is_due(every: int, before: Array, after: Array) -> Array:
    """Whether a multiple of ``every`` examples lies in (before, after]."""
    return after // every > before // every


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
class PulsedSGD(BaseScheme):
    """Every example sends its pulses to the devices that are the weights.

    Attributes:
        synapse: the devices.
        counts: how an outer product becomes pulses.
        batch: "sequence", one example after the other, or "sum": one update of the net counts of a batch.
        every: examples between two rests, in which devices leak and pairs are refreshed; 1: one after every mini-batch.
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

    @property
    def period(self) -> int | None:
        """See `Scheme.period`: of the rests, where they are not after every mini-batch."""
        return self.every if self.every > 1 else None

    def settle(self, key: Array, state: Any, before: Array, after: Array) -> Any:
        """See `Scheme.settle`: rests."""
        if self.every == 1:
            return state
        due = is_due(self.every, before, after)
        return lax.cond(due, lambda s: self.synapse.rest(named(key, "rest"), s), lambda s: s, state)

    def learn(self, key: Array, state: Any, x: Array, d: Array, rate: Scalar, n: Array) -> Any:
        """See `Scheme.learn`."""
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
        elif isinstance(self.counts, Trains) and x.ndim == 2:
            state = self._by_trains(key, state, x, d, rate)
        else:
            state = in_sequence(one, key, state, x, d, n)
        return synapse.rest(named(key, "rest"), state) if self.every == 1 else state

    def _by_trains(self, key: Array, state: Any, x: Array, d: Array, rate: Scalar) -> Any:
        """After a batch in sequence, whose trains are drawn together."""
        assert isinstance(self.counts, Trains)
        words = self.counts.words(named(key, "counts"), x, d, rate, self.synapse.step)
        if x.shape[0] > 1 and getattr(self.synapse, "one_by_one", False):
            return in_turn.updated(named(key, "pulses"), self.synapse, state, words, x, d)

        def one(state: Any, example: tuple[Array, ...]) -> tuple[Any, None]:
            k, *sides = example
            return self.synapse.pulse(numbered(named(key, "pulses"), k), state, coincidences(*sides)), None

        sides = (*words, x, d)
        if x.shape[0] == 1:
            return one(state, (jnp.zeros((), jnp.int32), *(a[0] for a in sides)))[0]
        return lax.scan(one, state, (jnp.arange(x.shape[0]), *sides))[0]

    def pulses(self, state: Any) -> dict[str, Array]:
        """See `Scheme.pulses`."""
        return {"devices": self.synapse.pulses(state)}
