"""What a programming method reports, the same for all of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._numerics import ratio, safe_sqrt
from crossjax._pytree import spec


@spec
class History:
    """One entry per iteration (leading axes: chips), so that a plot is one line.

    Attributes:
        mvm_error: relative error ‖ŷ − y‖ / ‖y‖ of the MVMs that the method made, its probe vectors for a
            method that makes none.
        weight_error: standard deviation of the true normalised weights' errors, as a fraction of the range
            (|w| = 1); NaN for an instrument, which does not show them.
        pulses: write pulses so far.
        converged: fraction of the weights that the method considers done.
    """

    mvm_error: Array
    weight_error: Array
    pulses: Array
    converged: Array


@spec
class Sums:
    """Additive parts of the errors of one tile, so that tiles of one matrix can be merged exactly."""

    error2: Array
    signal2: Array
    weight2: Array
    pulses: Array
    done: Array
    cells: Array


def measure(
    error2: Array, signal2: Array, weights: Array | None, target: Array, used: Array | None, pulses: Array, done: Array
) -> Sums:
    """The sums of one iteration on one tile: ‖ŷ − y‖² and ‖y‖² of its MVMs, true and wanted weights (r, c)."""
    weight = jnp.ones_like(target) if used is None else used.astype(target.dtype)
    miss = jnp.full_like(target, jnp.nan) if weights is None else jnp.where(weight > 0, weights - target, 0.0)
    return Sums(error2, signal2, jnp.sum(miss * miss), pulses, jnp.sum(done * weight), jnp.sum(weight))


def merge(sums: Sums, axes: tuple[int, ...] = ()) -> History:
    """Sums over iterations (last axis), and tiles (``axes``), to a history."""
    s = jax.tree.map(lambda a: jnp.sum(a, axis=axes), sums) if axes else sums
    return History(
        mvm_error=safe_sqrt(ratio(s.error2, s.signal2)),
        weight_error=jnp.where(jnp.isnan(s.weight2), jnp.nan, safe_sqrt(s.weight2 / s.cells)),
        pulses=jnp.cumsum(s.pulses, axis=-1),
        converged=s.done / s.cells,
    )
