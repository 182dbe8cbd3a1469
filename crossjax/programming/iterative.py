"""Program and verify: every cell is read, and pulsed until it is right."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import check_choice, check_count, check_range, spec, static
from crossjax._random import named
from crossjax.programming.core import Programmable
from crossjax.programming.history import Spent, Sums, measure
from crossjax.programming.methods import probe


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
            HERMES core a sweep over tolerance and step finds these best at some nine pulses a cell.
        integration: how many times longer than an MVM a read counts: its levels are finer, its noise smaller by the
            root. None: until neither limits (a level and the noise of the mean are half of the tolerance).
        keep: a cell once verified is never touched again; if False it is verified at every iteration.
        verify: "mvm", through the core as above, so that the lines' resistance and the columns' gains are part of
            what is read; or "cell", by a read circuit at the cell, which sees the device alone.
        seconds: from one iteration to the next, for drift and 1/f noise meanwhile; None: no longer than its reads.
    """

    iterations: int = static(default=55)
    reads: int = static(default=5)
    step: float = 0.3
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

    def run(self, key: Array, core: Programmable, weights: Array, input_limit: Array) -> tuple[Programmable, Sums]:
        """See `Method.run`."""
        tolerance = jnp.maximum(self.tolerance, 1e-6)
        integration = core.integration(self.integration, self.reads, tolerance)
        core, first = core.write(named(key, "first"), weights)
        enough = self.tolerance + core.rounding(weights)
        mvms = integration * self.reads * weights.shape[0]

        def step(core: Programmable, done: Array, key: Array, k: Array) -> tuple[Programmable, Array, Sums]:
            read = core.verify(named(key, "verify"), weights.shape[0], self.reads, integration, self.verify)
            error = read - weights + core.expected_change(self.iterations - 1.0 - k)
            inside = jnp.abs(error) <= enough
            done = (done | inside) if self.keep else inside
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(done, 0.0, -self.step * error))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), mvms, self.reads * weights.size)
            return core, done, measure(core, probe(key, core, weights, input_limit), weights, spent, done)

        core, _, sums = core.repeat(
            step, jnp.zeros(weights.shape, bool), key, self.iterations, reads=mvms, seconds=self.seconds
        )
        return core, sums
