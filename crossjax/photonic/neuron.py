"""An integrate-and-fire cell of GST on a ring: pulses amorphise it step by step, until its ring lets light through."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._checks import ensure
from crossjax._numerics import fire, ratio
from crossjax._pytree import check_range, spec
from crossjax._random import named, normal
from crossjax.photonic.rings import Ring


@spec
class GSTNeuron:
    """A membrane that is the amorphous share m of a film: it grows with what comes in, fires, and is RESET.

    m ← m + current / threshold · m_fire, within [0, 1]: light can only amorphise further, so that a negative sum does
    nothing. It fires when the transmission of its ring has crossed that of m_fire; a pulse crystallises it then, which
    is a hard reset: what was beyond the threshold is lost. Chakraborty et al., Sci. Rep. 8:12980 (2018) and Phys. Rev.
    Applied 11:014063 (2019), of which the abstracts were read; the linear growth is ours.

    Attributes:
        ring: what is read; its transmission must be monotonic.
        fire: m_fire.
        noise: of one step of amorphisation, relative to m_fire; None for none.
    """

    ring: Ring = Ring(coupling=0.95)
    fire: float = 0.6
    noise: float | None = None

    def _check(self) -> None:
        check_range(self, "fire", low=0, high=1, strict=True)
        check_range(self, "noise", low=0)
        ends = jnp.asarray(self.ring.coupling), jnp.asarray(self.ring.detuning)
        ensure(
            lambda r, phase: self.ring.monotonic & (phase == 0),
            "GSTNeuron.ring must be monotonic and on resonance: (coupling, detuning)",
            *ends,
        )

    def start(self, shape: tuple[int, ...]) -> Array:
        """Crystalline membranes."""
        return jnp.zeros(shape)

    def step(self, key: Array, state: Array, current: Array, threshold: Array) -> tuple[Array, Array]:
        """(membranes, spikes) after one step of weighted inputs; ``threshold``: the current that fires at once."""
        grown = jnp.maximum(ratio(current, threshold), 0.0)
        if self.noise is not None:
            grown = grown + jnp.where(grown > 0, self.noise * normal(named(key, "step"), current.shape), 0.0)
        state = jnp.clip(state + self.fire * grown, 0.0, 1.0)
        away = jnp.abs(self.transmission(state) - self.transmission(jnp.zeros(())))
        limit = jnp.abs(self.transmission(jnp.asarray(self.fire)) - self.transmission(jnp.zeros(())))
        spikes = fire(away, limit * (1 - 1e-6))
        return state * (1.0 - spikes), spikes

    def transmission(self, state: Array) -> Array:
        """Transmission of the ring of a membrane."""
        return self.ring.transmission(1.0 - state)
