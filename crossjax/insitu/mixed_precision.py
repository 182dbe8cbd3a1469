"""Mixed-precision training: updates add up digitally, and whole pulses are sent when there is one to send.

Nandakumar et al., Front. Neurosci. 14:406 (2020): χ ← χ + η δ xᵀ;  n = trunc(χ / ε);  χ ← χ − n ε;  n pulses. Of the
paper the abstract was read: ε, rates and the refresh rule of the presets are ours.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import ratio
from crossjax._pytree import check_choice, check_count, check_range, replace, spec, static
from crossjax._random import named, numbered, uniform
from crossjax.insitu.schemes import BaseScheme
from crossjax.insitu.synapses import OneSided, Synapse

Scalar = Array | float


@spec
class MixedState:
    """The devices, and χ (rows, cols)."""

    synapse: Any
    chi: Array


@spec
class MixedPrecision(BaseScheme):
    """A digital accumulator of updates in front of pulsed devices.

    Attributes:
        synapse: the devices.
        epsilon: ε, the change that one pulse stands for; None: the devices' mean step.
        sent: "deterministic", n pulses; or "stochastic", trains with n pulses on average (aihwkit), in which a count is
            binomial, and beyond 31 is lost.
        most: pulses of one update at most; what is beyond stays in χ.
        x_bins, d_bins: levels to which x and d are rounded, stochastically, before they are multiplied; None: exact.
    """

    synapse: Synapse = OneSided()
    epsilon: float | None = None
    sent: str = static(default="deterministic")
    most: int = static(default=31)
    x_bins: int | None = static(default=None)
    d_bins: int | None = static(default=None)

    def _check(self) -> None:
        check_range(self, "epsilon", low=0, strict=True)
        check_choice(self, "sent", ("deterministic", "stochastic"))
        check_count(self, "most")
        for name in ("x_bins", "d_bins"):
            if getattr(self, name) is not None:
                check_count(self, name, low=2)

    def start(self, key: Array, w: Array, *, count: bool = False) -> MixedState:
        """See `Scheme.start`."""
        state = self.synapse.draw(named(key, "devices"), (w.shape[0], w.shape[1]), count=count)
        return MixedState(self.synapse.put(named(key, "put"), state, w), jnp.zeros_like(w))

    def weights(self, state: MixedState) -> Array:
        """See `Scheme.weights`."""
        return self.synapse.value(state.synapse)

    def learn(self, key: Array, state: MixedState, x: Array, d: Array, rate: Scalar, n: Array) -> MixedState:
        """See `Scheme.learn`: the batch is summed in χ."""
        epsilon = self.synapse.step if self.epsilon is None else self.epsilon
        x, d = x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1])
        x, d = binned(named(key, "x"), x, self.x_bins), binned(named(key, "d"), d, self.d_bins)
        chi = state.chi + rate * (x.T @ d)
        wanted = jnp.clip(jnp.trunc(chi / epsilon), -self.most, self.most)
        sent = wanted.astype(jnp.int32)
        if self.sent == "stochastic":
            sent = binomial(named(key, "trains"), sent, self.most)
        devices = self.synapse.pulse(named(key, "pulses"), state.synapse, sent)
        return replace(
            state, synapse=self.synapse.rest(named(key, "rest"), devices), chi=chi - wanted * epsilon
        )  # fmt: skip

    def pulses(self, state: MixedState) -> dict[str, Array]:
        """See `Scheme.pulses`."""
        return {"devices": self.synapse.pulses(state.synapse)}


def binned(key: Array, a: Array, bins: int | None) -> Array:
    """Numbers (batch, lines) rounded stochastically to so many levels between ± the largest of each example."""
    if bins is None:
        return a
    largest = jnp.max(jnp.abs(a), axis=-1, keepdims=True)
    place = (ratio(a, largest) + 1.0) * (bins - 1) / 2
    level = jnp.floor(place + uniform(key, a.shape))
    return (2.0 * level / (bins - 1) - 1.0) * largest


def binomial(key: Array, n: Array, longest: int = 31) -> Array:
    """Signed counts with mean ``n`` (rows, cols) of trains whose columns are as long as a row's largest |n| asks."""
    size = jnp.abs(n)
    slots = jnp.clip(jnp.max(size, axis=-1, keepdims=True), 1, longest)
    p = size / slots

    def slot(t: Array, count: Array) -> Array:
        return count + ((uniform(numbered(key, t), n.shape) < p) & (t < slots))

    return jnp.sign(n) * lax.fori_loop(0, jnp.max(slots), slot, jnp.zeros_like(n))
