"""What a programming method reports, the same for all of them."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._numerics import relative, safe_sqrt
from crossjax._pytree import spec
from crossjax.programming.core import Programmable


@spec
class History:
    """One entry per iteration (leading axes: chips), so that a plot is one line.

    Attributes:
        mvm_error: relative error ‖ŷ − y‖ / ‖y‖ of the MVMs that the method made, of its probe vectors if it only
            reads cells, or of the first reading (128 Gaussian vectors) for a method that never looks.
        weight_error: standard deviation of the true normalised weights' errors, as a fraction of the range
            (|w| = 1), read noise of any kind apart; NaN for an instrument, which does not show them.
        pulses: write pulses so far.
        converged: fraction of the weights that the method considers done.
        mvms: time that reading has taken so far, in MVMs, all tiles together (a verify read that counts ten times
            longer is ten).
        reads: reads of single cells so far.
    """

    mvm_error: Array
    weight_error: Array
    pulses: Array
    converged: Array
    mvms: Array
    reads: Array

    def to_pandas(self) -> Any:
        """A data frame with a row an iteration; of a population one more level of the index, the chip."""
        import pandas

        columns = {f.name: np.asarray(getattr(self, f.name)) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        shape = columns["pulses"].shape
        index = pandas.MultiIndex.from_product(
            [range(n) for n in shape], names=[*(f"chip{k or ''}" for k in range(len(shape) - 1)), "iteration"]
        )
        flat = {name: np.broadcast_to(a, shape).ravel() for name, a in columns.items()}
        return pandas.DataFrame(flat, index=index if len(shape) > 1 else index.get_level_values(0))


class Spent(NamedTuple):
    """What one iteration cost: write pulses, time of reading in MVMs, reads of single cells."""

    pulses: Array | int = 0
    mvms: Array | float = 0
    reads: Array | int = 0


@spec
class Sums:
    """Additive parts of the errors of one tile, so that tiles of one matrix can be merged exactly."""

    error2: Array | None
    signal2: Array | None
    weight2: Array
    spent: Spent
    done: Array
    cells: Array


def measure(core: Programmable, errors: tuple[Array, Array] | None, target: Array, spent: Spent, done: Array) -> Sums:
    """The sums of one iteration on one tile.

    Args:
        core: what is being programmed.
        errors: ‖ŷ − y‖² and ‖y‖² of its MVMs; None if there were none: `crossjax.program` will look.
        target: wanted weights (r, c).
        spent: what the iteration cost.
        done: which weights the method considers done (r, c).
    """
    weights, used = core.weights(), core.mask()
    weight = jnp.ones_like(target) if used is None else used.astype(target.dtype)
    miss = jnp.full_like(target, jnp.nan) if weights is None else jnp.where(weight > 0, weights - target, 0.0)
    spent = Spent(jnp.asarray(spent.pulses), *(jnp.asarray(a, target.dtype) for a in spent[1:]))
    return Sums(*(errors or (None, None)), jnp.sum(miss * miss), spent, jnp.sum(done * weight), jnp.sum(weight))


@partial(jax.jit, static_argnums=1)
def merge(sums: Sums, axes: tuple[int, ...] = ()) -> History:
    """Sums over iterations (last axis), and tiles (``axes``), to a history."""
    s = jax.tree.map(lambda a: jnp.sum(a, axis=axes), sums) if axes else sums
    error = jnp.full_like(s.weight2, jnp.nan)
    if s.error2 is not None and s.signal2 is not None:
        error = relative(safe_sqrt(s.error2), safe_sqrt(s.signal2))
    return History(
        mvm_error=error,
        weight_error=safe_sqrt(s.weight2 / s.cells),
        pulses=jnp.cumsum(s.spent.pulses, axis=-1),
        converged=s.done / s.cells,
        mvms=jnp.cumsum(s.spent.mvms, axis=-1),
        reads=jnp.cumsum(s.spent.reads, axis=-1),
    )
