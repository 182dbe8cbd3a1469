"""One cell of a content-addressable memory: the current that it adds to its match line, for a query and what it stores.

A query reaches the cells of a row as a few signals, and every cell answers each of them with a current; the current
of a match line is Σ signals · answers over its cells, a matrix product. For most cells the signals are "the query is
level k": a cell then answers by any table, and by one of its own where devices differ.

Queries between two levels are answered in between (linear interpolation), which is what gradients by queries are of.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._checks import ensure
from crossjax._pytree import check_range, spec
from crossjax._random import normal_pair

THERMAL_VOLTAGE = 0.02585
"""kT/q at 300 K, V."""


class Cell(Protocol):
    """How a cell answers. Levels are whole numbers from 0 to ``levels`` − 1."""

    @property
    def kind(self) -> str:
        """What a chip of such cells cannot change about itself, in words."""
        ...

    def check(self, levels: int) -> None:
        """Raise ``ValueError`` if the cell cannot hold so many levels."""
        ...

    def draw(self, key: Array, shape: tuple[int, ...]) -> Any:
        """What one write makes of cells of this shape, besides their levels: arrays (…, *shape), or None."""
        ...

    def signals(self, query: Array, levels: int) -> Array:
        """Queries (…) as the signals (k, …) that reach the cells."""
        ...

    def answers(self, stored: Array, drawn: Any, levels: int) -> Array:
        """Currents (k, …) of cells that store ``stored`` (…), for a full signal of each kind."""
        ...

    def lines(self, query: Array, answers: Array, levels: int) -> Array:
        """Σ signals · answers over the cells of lines, as few products as the cell needs.

        Args:
            query: (lines, batch, cells).
            answers: of the stored rows, (k, lines, cells, rows).
            levels: of a cell.

        Returns:
            (lines, batch, rows).
        """
        ...


def _derivative(x: Array, levels: int) -> Array:
    """Derivative of `shares`; at a level that of a line through its neighbours."""
    below, above = (jnp.clip(a, 0, levels - 2) for a in (jnp.ceil(x) - 1, jnp.floor(x)))
    k = jnp.arange(levels, dtype=x.dtype).reshape(-1, *[1] * x.ndim)

    def slope(start: Array) -> Array:
        return (k == start + 1).astype(x.dtype) - (k == start).astype(x.dtype)

    return 0.5 * (slope(below) + slope(above))


@jax.custom_jvp
def _shares(x: Array, k: Array) -> Array:
    return jnp.maximum(1.0 - jnp.abs(x - k), 0.0)


@_shares.defjvp
def _shares_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    (x, k), dx = primals, tangents[0]
    return _shares(x, k), _derivative(x, k.shape[0]) * dx


def shares(x: Array, levels: int) -> Array:
    """How much of each level numbers (…) within [0, levels − 1] have: (levels, …), which sum to 1.

    1 of its own for a whole number, linear between two. The gradient at a whole number is the central difference
    (one-sided at the ends), so that numbers that were rounded straight-through still feel the table's slope.
    """
    x = jnp.asarray(x, jnp.promote_types(jnp.result_type(x), jnp.float32))
    return _shares(x, jnp.arange(levels, dtype=x.dtype).reshape(-1, *[1] * x.ndim))


class BaseCell:
    """Lines of any cell: one product for every signal."""

    def lines(self: Any, query: Array, answers: Array, levels: int) -> Array:
        """See `Cell.lines`."""
        first, *others = zip(self.signals(query, levels), answers, strict=True)
        total = product(*first)
        for pair in others:
            total = total + product(*pair)
        return total


def product(a: Array, b: Array) -> Array:
    """The matrix product that match lines are made of, in full precision everywhere."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


class Alike(BaseCell):
    """What cells that are all alike, and hold any number of levels, have in common."""

    @property
    def kind(self) -> str:
        """See `Cell.kind`."""
        return type(self).__name__

    def check(self, levels: int) -> None:
        """See `Cell.check`: any."""

    def draw(self, key: Array, shape: tuple[int, ...]) -> None:
        """See `Cell.draw`: nothing."""


class PerLevel(Alike):
    """Cells whose signals are "the query is level k", all alike: a subclass has a ``table`` of what they answer."""

    def signals(self, query: Array, levels: int) -> Array:
        """See `Cell.signals`."""
        return shares(query, levels)

    def answers(self, stored: Array, drawn: None, levels: int) -> Array:
        """See `Cell.answers`."""
        return jnp.tensordot(self.table(levels), shares(stored, levels), 1)

    @abstractmethod
    def table(self, levels: int) -> Array:
        """What a cell answers, (levels of the query, levels that are stored)."""
        ...


@spec
class Squared(Alike):
    """(q − s)², the squared distance of levels: q² · 1 − 2 q · s + 1 · s², of which one is a product.

    With one bit it is the Hamming distance. Exact where the sums of q² over a subarray stay below 2²⁴ (in single
    precision): for 3 bits any realistic one.
    """

    def signals(self, query: Array, levels: int) -> Array:
        """See `Cell.signals`."""
        return jnp.stack([query * query, query, jnp.ones_like(query)])

    def answers(self, stored: Array, drawn: None, levels: int) -> Array:
        """See `Cell.answers`."""
        return jnp.stack([jnp.ones_like(stored), -2.0 * stored, stored * stored])

    def lines(self, query: Array, answers: Array, levels: int) -> Array:
        """See `Cell.lines`: what does not mix queries with rows is a sum."""
        of_rows = jnp.sum(answers[2], axis=-2, keepdims=True)
        here = jnp.any(answers[0] != 0, axis=-1).astype(query.dtype)  # no current where there is no cell
        of_queries = jnp.sum(query * query * here[:, None, :], axis=-1, keepdims=True)
        return of_queries + product(query, answers[1]) + of_rows


@spec
class Absolute(PerLevel):
    """|q − s|, the distance of levels."""

    def table(self, levels: int) -> Array:
        """See `PerLevel.table`."""
        k = jnp.arange(levels, dtype=float)
        return jnp.abs(k[:, None] - k)


@spec
class Hamming(PerLevel):
    """1 for cells that differ, however much, 0 for those that match."""

    def table(self, levels: int) -> Array:
        """See `PerLevel.table`."""
        return 1.0 - jnp.eye(levels)


@spec
class Table(PerLevel):
    """Any function of the distance of levels: a measured one, say.

    Attributes:
        values: g(0), g(1), … in any unit of current; one for every distance that there is.
    """

    values: tuple[float, ...] = (0.0, 1.0)

    def check(self, levels: int) -> None:
        """See `Cell.check`: as many values as distances."""
        if len(self.values) < levels:
            raise ValueError(
                f"Table.values has {len(self.values)} distances, and {levels} levels are up to {levels - 1} apart"
            )

    def table(self, levels: int) -> Array:
        """See `PerLevel.table`."""
        k = jnp.arange(levels)
        return jnp.stack([jnp.asarray(v, jnp.zeros(()).dtype) for v in self.values])[jnp.abs(k[:, None] - k)]


@spec
class FeFET(BaseCell):
    """Two ferroelectric transistors in parallel: one conducts where the query is above what is stored, one below.

        I = I_0 [f((q − s) Δ − V_m − δ₁) + f((s − q) Δ − V_m − δ₂)],   f(u) = ln(1 + e^(u / 2 n v_T))²

    The EKV law: exponential below threshold (n times 60 mV a decade at 300 K), quadratic above. Multi-bit FeFET cells
    store a level in two threshold voltages (Kazemi et al., DATE 2021, arXiv:2011.07095, and Sci. Rep. 12, 2022: a
    distance "natively" given by the cell; of both the abstract was read). The formula follows from device physics, and
    its numbers are of a plausible transistor; they are not the papers'.

    Attributes:
        spacing: Δ, between neighbouring levels of threshold voltage and of the query, V.
        spread: standard deviation of every threshold voltage, drawn at a write, V. The ratio to ``spacing`` counts.
        margin: V_m, by how much both transistors are off in a match, V; None: half of the spacing.
        window: memory window: the threshold voltages of all levels lie within it, V.
        slope: n, subthreshold slope in units of the ideal one (59.5 mV a decade at 300 K).
        current: I_0, µA.
    """

    spacing: float = 0.15
    spread: float | None = None
    margin: float | None = None
    window: float = 1.2
    slope: float = 1.5
    current: float = 0.05

    def _check(self) -> None:
        for name in ("spacing", "window", "slope", "current"):
            check_range(self, name, low=0, strict=True)
        check_range(self, "spread", low=0)

    @property
    def kind(self) -> str:
        """See `Cell.kind`."""
        return "FeFET" if self.spread is None else "FeFET with spread"

    def check(self, levels: int) -> None:
        """See `Cell.check`: the window must hold them."""
        wanted = f"FeFET.window must hold {levels} levels: (levels − 1) · spacing must be at most the window (V)"
        ensure(lambda step, window: (levels - 1) * step <= window * (1 + 1e-6), wanted, self.spacing, self.window)

    def draw(self, key: Array, shape: tuple[int, ...]) -> Array | None:
        """See `Cell.draw`: by how much the threshold voltages of both transistors miss, V, (2, …)."""
        return None if self.spread is None else self.spread * jnp.stack(normal_pair(key, shape))

    def signals(self, query: Array, levels: int) -> Array:
        """See `Cell.signals`."""
        return shares(query, levels)

    def answers(self, stored: Array, drawn: Array | None, levels: int) -> Array:
        """See `Cell.answers`; its gradient by what is stored is the slope through the neighbouring levels."""
        return _stepped(self, stored, drawn, levels)

    def _at(self, stored: Array, drawn: Array | None, levels: int) -> Array:
        """Currents for queries of every level, by the law."""
        k = jnp.arange(levels, dtype=stored.dtype).reshape(-1, *[1] * stored.ndim)
        return self.law((k - stored) * self.spacing, drawn)

    def law(self, above: Array, drawn: Array | None = None) -> Array:
        """Current (µA) of cells whose query is ``above`` volts above what they store."""
        first, second = (0.0, 0.0) if drawn is None else (drawn[0], drawn[1])
        margin = 0.5 * self.spacing if self.margin is None else self.margin
        scale = 2.0 * self.slope * THERMAL_VOLTAGE

        def current(u: Array) -> Array:
            return jnp.logaddexp(0.0, u / scale) ** 2

        return self.current * (current(above - margin - first) + current(-above - margin - second))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _stepped(cell: FeFET, stored: Array, drawn: Array | None, levels: int) -> Array:
    return cell._at(stored, drawn, levels)


@_stepped.defjvp
def _stepped_jvp(levels: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    cell, stored, drawn = primals
    value, moved = jax.jvp(lambda c, d: c._at(stored, d, levels), (cell, drawn), (tangents[0], tangents[2]))
    above, below = jnp.minimum(stored + 1, levels - 1), jnp.maximum(stored - 1, 0)
    rise = cell._at(above, drawn, levels) - cell._at(below, drawn, levels)
    return value, moved + rise / (above - below) * tangents[1]
