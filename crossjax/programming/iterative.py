"""Program and verify: every cell is read, and pulsed until it is right."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import check_choice, check_count, check_range, spec, static
from crossjax._random import named, split
from crossjax.programming.core import AnyCore, Instrument, SimulatedCore, iterate
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

    def run(self, key: Array, core: AnyCore, weights: Array, loudest: Array) -> tuple[AnyCore, Sums]:
        """See `Method.run`."""
        self._check_core(core)
        core, first = core.write(named(key, "first"), weights)
        integration = self.counted(core)
        enough = self.tolerance + core.rounding(weights)
        mvms = integration * self.reads * weights.shape[0]

        def step(core: AnyCore, done: Array, key: Array, k: Array) -> tuple[AnyCore, Array, Sums]:
            error = self.read(named(key, "verify"), core, weights.shape[0], integration) - weights
            error = error + core.expected_change(self.iterations - 1.0 - k)
            inside = jnp.abs(error) <= enough
            done = (done | inside) if self.keep else inside
            core, pulses = core.pulse(named(key, "pulse"), jnp.where(done, 0.0, -self.step * error))
            spent = Spent(pulses + jnp.where(k == 0, first, 0), mvms, self.reads * weights.size)
            return core, done, measure(core, probe(key, core, weights, loudest), weights, spent, done)

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
            return jnp.mean(jax.vmap(one)(split(key, self.reads)), axis=0)
        return core.verify(key, rows, self.reads, integration)
