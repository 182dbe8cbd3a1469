"""Closed-loop tuning, a row at a time: every cell adapts the size of its own pulses."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import check_choice, check_count, check_order, check_range, spec, static
from crossjax._random import named
from crossjax.programming.core import Programmable
from crossjax.programming.history import Spent, Sums, measure
from crossjax.programming.methods import probe


@spec
class RowWise:
    """Tune all weights of a row at once: read the row, pulse what is off, more gently where a pulse went too far.

    Narayanan et al., IEEE T-ED 68:6629 (2021), on the 14 nm chip of four PCM devices a weight: one pulse per row and
    column, whose duration is α_ij times the error; an overshoot shrinks α_ij, an undershoot grows it, and the opposite
    device of the secondary pair cancels what went too far; mean |error| below 3 %. Read in the abstract and in
    descriptions of it: the factors are ours. The 512 cells of a row take their pulses together, so that a row costs
    rounds × (pulse + read), however many they are.

    Attributes:
        rounds: reads, each followed by a pulse where it is needed.
        reads: reads that are averaged for one verification; read noise falls by their root.
        step: α at the beginning, the fraction of the error that a pulse is to correct.
        shrink, grow: what α is multiplied with after an overshoot and after an undershoot.
        most: largest α.
        tolerance: a weight within this error (fraction of the range) is done.
        integration, keep, verify: as of `Iterative`.
        verify_time: seconds between a pulse and the read that verifies it. Drift slows with time: what is verified
            later drifts less from there on (Nandakumar et al., ICECS 2020). None: at once.
    """

    rounds: int = static(default=30)
    reads: int = static(default=5)
    step: float = 0.5
    shrink: float = 0.5
    grow: float = 1.2
    most: float = 1.0
    tolerance: float = 0.01
    integration: float | None = None
    keep: bool = static(default=True)
    verify: str = static(default="mvm")
    verify_time: float | None = 1.0

    def _check(self) -> None:
        check_count(self, "rounds")
        check_count(self, "reads")
        check_range(self, "step", low=0, high=2, strict=True)
        check_range(self, "shrink", low=0, high=1, strict=True)
        check_range(self, "grow", low=1)
        check_order(self, "step", "most")
        check_range(self, "tolerance", low=0)
        check_range(self, "integration", low=1)
        check_range(self, "verify_time", low=0, strict=True)
        check_choice(self, "verify", ("mvm", "cell"))

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`."""
        integration = core.integration(self.integration, self.reads, jnp.maximum(self.tolerance, 1e-6))
        core, first = core.write(named(key, "first"), weights)
        enough = self.tolerance + core.rounding(weights)
        mvms = integration * self.reads * weights.shape[0]

        def tune(core: Programmable, last: Any, key: Array, k: Array) -> tuple[Programmable, Any, Sums]:
            alpha, before, done = last
            read = core.verify(named(key, "verify"), weights.shape[0], self.reads, integration, self.verify)
            error = read - weights + core.expected_change(self.rounds - 1.0 - k)
            inside = jnp.abs(error) <= enough
            done = (done | inside) if self.keep else inside
            turned = error * before  # < 0: the last pulse went too far; 0: there was none
            factor = jnp.where(turned < 0, self.shrink, jnp.where(turned > 0, self.grow, 1.0))
            alpha = jnp.clip(alpha * factor, 0.0, self.most)
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(done, 0.0, -alpha * error))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), mvms, self.reads * weights.size)
            sums = measure(core, probe(key, core, weights, input_limit), weights, spent, done)
            return core, (alpha, jnp.where(done, 0.0, error), done), sums

        begin = jnp.full(weights.shape, self.step), jnp.zeros(weights.shape), jnp.zeros(weights.shape, bool)
        core, _, sums = core.repeat(tune, begin, key, self.rounds, reads=mvms, seconds=self.verify_time)
        return core, sums
