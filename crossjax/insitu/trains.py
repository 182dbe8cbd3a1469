"""From an outer product to pulses: how many each cell gets, of a vector on its rows and one on its columns.

The wanted change is rate · x_i · d_j, a pulse moves a weight by ``step``, and the mean count is rate · x_i d_j / step.

* `Trains`      : stochastic pulse trains, coincidences counted by the cells, which SHARE the trains of their lines;
* `Dithered`    : the mean count of a batch, rounded at random;
* `Rounded`     : the nearest whole number for every cell, as a digital controller sends it;
* `MeanCount`   : whole pulses on every line, their product over the length rounded;
* `Implicit`    : the mean count of the trains, rounded;
* `Expected`    : the mean count itself, any real number; differentiable.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import ratio
from crossjax._pytree import check_count, check_range, spec, static
from crossjax._random import named, uniform

Scalar = Array | float


class Counts(Protocol):
    """How an outer product becomes pulses."""

    @property
    def real(self) -> bool:
        """Whether counts are real numbers, for mean steps (`Pulsed.drive`)."""
        ...

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """Signed counts (rows, cols) for x (rows,) and d (cols,)."""
        ...

    def total(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """The net counts of a batch, (rows, cols) for x (batch, rows) and d (batch, cols): opposite ones cancel."""
        ...


@spec
class Trains:
    """Stochastic trains with update management; aihwkit 1.2, after Gokmen and Vlasov, Front. Neurosci. 10:333 (2016).

    k = rate · x_max d_max / step pulses are wanted where both are largest. Trains have L = min(⌈k⌉, longest) slots;
    in each a row has a pulse with p = min(1, B|x|), a column with q = min(1, A|d|), where

        B = √(rate / (step L)) √(d_max / x_max),    A = √(rate / (step L)) √(x_max / d_max),

    so that a cell counts Binomial(L, p q), and cells that share a line are correlated: Cov = L q q′ p (1 − p). Where k
    exceeds L, d is clipped and x is not.

    Attributes:
        longest: slots of a train at most, 32 or fewer: a train is one word.
        balanced: shift probability from rows to columns as above (update management).
        adaptive: as many slots as k asks for; False: always the longest.
    """

    longest: int = static(default=31)
    balanced: bool = static(default=True)
    adaptive: bool = static(default=True)

    real = False

    def _check(self) -> None:
        check_count(self, "longest")
        if self.longest > 32:
            raise ValueError(f"Trains.longest must be at most 32 slots, got {self.longest}")

    def probabilities(self, x: Array, d: Array, rate: Scalar, step: Scalar) -> tuple[Array, Array, Array]:
        """(p of the rows, q of the columns, L)."""
        sizes, deltas = jnp.abs(x), jnp.abs(d)
        x_max, d_max = jnp.max(sizes, -1, keepdims=True), jnp.max(deltas, -1, keepdims=True)
        wanted = rate * x_max * d_max / step
        slots = jnp.clip(jnp.ceil(wanted), 1.0, self.longest) if self.adaptive else jnp.full_like(wanted, self.longest)
        d_max = d_max / jnp.maximum(wanted / slots, 1.0)
        share = jnp.sqrt(rate / (step * slots))
        tilt = jnp.sqrt(ratio(d_max, x_max, 1.0)) if self.balanced else jnp.ones_like(x_max)
        p = jnp.minimum(share * tilt * sizes, 1.0)
        return p, jnp.minimum(ratio(share, tilt, 0.0) * deltas, 1.0), slots

    def words(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> tuple[Array, Array]:
        """The trains of the rows and of the columns, a bit a slot, (…, rows) and (…, cols)."""
        p, q, slots = self.probabilities(x, d, rate, step)

        def word(name: str, p: Array) -> Array:
            slot = jnp.arange(self.longest).reshape(-1, *[1] * p.ndim)
            bits = (uniform(named(key, name), (self.longest, *p.shape)) < p) & (slot < slots)
            return jnp.sum(bits.astype(jnp.uint32) << slot.astype(jnp.uint32), axis=0, dtype=jnp.uint32)

        return lax.optimization_barrier((word("rows", p), word("columns", q)))  # drawn once, used by every cell

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        return coincidences(*self.words(key, x, d, rate, step), x, d)

    def total(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.total`: one product of the trains."""
        rows, columns = self.words(key, x, d, rate, step)
        slots = jnp.arange(self.longest, dtype=jnp.uint32)[:, None, None]
        signed = [
            (((word >> slots) & 1).astype(x.dtype) * jnp.sign(a)).reshape(-1, a.shape[-1])
            for word, a in ((rows, x), (columns, d))
        ]
        return jnp.round(signed[0].T @ signed[1]).astype(jnp.int32)


def coincidences(rows: Array, columns: Array, x: Array, d: Array) -> Array:
    """Signed counts of cells (rows, cols) from the trains of their lines."""
    size = lax.population_count(rows[:, None] & columns[None, :]).astype(jnp.int32)
    down = (x < 0)[:, None] ^ (d < 0)[None, :]
    return jnp.where(down, -size, size)


def of_example(counts: Counts, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
    """Counts of one example: of one vector a side (rows,), or the net ones of its positions (…, rows)."""
    if x.ndim == 1:
        return counts.count(key, x, d, rate, step)
    return counts.total(key, x.reshape(-1, x.shape[-1]), d.reshape(-1, d.shape[-1]), rate, step)


class _Single:
    """What counts one example at a time have in common."""

    real = False

    def total(self: Counts, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.total`."""

        def one(found: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
            return found + self.count(key, *pair, rate, step), None

        return lax.scan(one, jnp.zeros((x.shape[-1], d.shape[-1]), jnp.int32), (x, d))[0]


@spec
class Rounded(_Single):
    """The nearest whole number of rate · x_i d_j / step, as open-loop tuning sends it (Ambrogio et al., 2018).

    Attributes:
        most: pulses of one update at most; None for any number.
    """

    most: int | None = static(default=None)

    def _check(self) -> None:
        if self.most is not None:
            check_count(self, "most")

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        n = jnp.round((rate / step * x)[:, None] * d[None, :])
        return (n if self.most is None else jnp.clip(n, -self.most, self.most)).astype(jnp.int32)


@spec
class Dithered:
    """The mean count rounded up or down at random so that it is right on average: one draw a cell, of a whole batch.

    What a digital controller can send: net counts of examples or positions, with one random number for each weight.
    """

    real = False

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        return self.total(key, x[None], d[None], rate, step)

    def total(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.total`."""
        wanted = rate / step * (x.T @ d)
        return jnp.floor(wanted + uniform(named(key, "dither"), wanted.shape)).astype(jnp.int32)


@spec
class MeanCount(_Single):
    """Whole pulses on every line, round(L p) and round(L q); a cell gets their product over L, rounded.

    Attributes:
        trains: the pulse trains of the lines.
    """

    trains: Trains = Trains()

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        p, q, slots = self.trains.probabilities(x, d, rate, step)
        size = jnp.round(jnp.round(slots * p)[:, None] * jnp.round(slots * q)[None, :] / slots)
        return (size * jnp.sign(x)[:, None] * jnp.sign(d)[None, :]).astype(jnp.int32)


@spec
class Implicit(_Single):
    """The mean count of the trains, rounded, after rounding the probabilities to a resolution.

    Attributes:
        trains: whose probabilities.
        resolution: of p and q, a fraction of 1; None: exact.
    """

    trains: Trains = Trains()
    resolution: float | None = None

    def _check(self) -> None:
        check_range(self, "resolution", low=0, strict=True)

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        p, q, slots = self.trains.probabilities(x, d, rate, step)
        if self.resolution is not None:
            p, q = (jnp.round(a / self.resolution) * self.resolution for a in (p, q))
        return (jnp.round(slots * p[:, None] * q[None, :]) * jnp.sign(x)[:, None] * jnp.sign(d)[None, :]).astype(
            jnp.int32
        )


@spec
class Expected:
    """The mean count, any real number."""

    real = True

    def count(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.count`."""
        return (rate / step * x)[:, None] * d[None, :]

    def total(self, key: Array, x: Array, d: Array, rate: Scalar, step: Scalar) -> Array:
        """See `Counts.total`."""
        return rate / step * (x.T @ d)
