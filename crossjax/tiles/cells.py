"""Unit cells: how one weight becomes the conductances of a few devices, and back.

    Pairs            w ∝ Σ_p F_p (x_p⁺ − x_p⁻)       one pair, MSP/LSP, N pairs, bit slices
    Strategy         the same, every conductance any piecewise linear function of the weight (`strategy.py`)
    SharedReference  w ∝ x − x_ref                   one device per weight, one reference device per row
    Complementary    w = ±1, a bit and its opposite, which may be written or read wrong (`binary.py`)

Weights come normalised, |w| ≤ 1, and so do conductances: x = (G − g_min) / (g_max − g_min), with a leading axis over
the devices of a cell. ``decode(encode(w)) == w`` for every cell. All of it is linear or piecewise linear, and
differentiable.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._kinds import door
from crossjax._numerics import clip_inside, round_through, safe_sqrt
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax.tiles.splits import SPLITS, Digits, Split


class UnitCell(Protocol):
    """What a tile needs to know about its cells. Weights (…, rows, cols), conductances (devices, …, rows, cols').

    Where conductances are what a line carries (`decode`, `lines`, `variance`) they are G / (g_max − g_min), g_min
    included: a cell that subtracts does not see it.
    """

    @property
    def devices(self) -> int:
        """Conductances per weight."""
        ...

    @property
    def extra_columns(self) -> int:
        """Columns of devices beside the weights' own."""
        ...

    @property
    def levels(self) -> int | None:
        """Conductance levels that its devices are written to; None for any."""
        ...

    @property
    def turns(self) -> int:
        """How often its devices are programmed, one after the other."""
        ...

    @property
    def one_line(self) -> bool:
        """Whether it is read as one line, so that a tile must subtract before its ADCs."""
        ...

    def encode(self, w: Array) -> Array:
        """Target conductances of normalised weights."""
        ...

    def rounded(self, w: Array, states: int) -> Array:
        """The same, of devices of so many conductances; the gradient is that of `encode`."""
        ...

    def turn(self, k: int, w: Array, found: Array) -> tuple[Array, Array]:
        """Targets of turn k of several, and which devices it writes, all in turn 0.

        ``found``: what the turn before left; in turn 0 the targets of devices without errors.
        """
        ...

    def decode(self, x: Array) -> Array:
        """Normalised weights that conductances stand for."""
        ...

    def correct(self, target: Array, change: Array) -> Array:
        """Target conductances after the weights are to change by ``change``."""
        ...

    def lines(self, x: Array) -> Array:
        """What the bit lines that are digitised one by one conduct, (lines, …, rows, cols')."""
        ...

    def combine(self, y: Array) -> Array:
        """Outputs (…, cols) from what the lines gave, (lines, …, cols')."""
        ...

    def variance(self, variance: Array) -> Array:
        """Variance of the normalised weights from that of the conductances."""
        ...

    def slip(self, key: Array, g: Array, hit: Array) -> Array:
        """Conductances (devices, …, r, c') after a write of the devices ``hit``, where a whole cell can go wrong."""
        ...

    def misread(self, w: Array, variance: Array | None) -> tuple[Array, Array | None]:
        """What lines conduct on average, and the variance from MVM to MVM, where a whole cell can be read wrong.

        Of the weights and the variance of their devices, elementwise.
        """
        ...


def nearest_level(x: Array, states: int) -> Array:
    """Conductances at the nearest of so many evenly spaced ones; the gradient is straight-through."""
    return round_through(clip_inside(x, 0.0, 1.0) * (states - 1)) / (states - 1)


class BaseCell:
    """What cells that need nothing special have in common."""

    @property
    def levels(self) -> int | None:
        """See `UnitCell.levels`: any."""
        return None

    @property
    def turns(self) -> int:
        """See `UnitCell.turns`: all devices at once."""
        return 1

    def turn(self, k: int, w: Array, found: Array) -> tuple[Array, Array]:
        """See `UnitCell.turn`: there is none."""
        raise ValueError(f"{type(self).__name__} is programmed in one turn")

    @property
    def one_line(self) -> bool:
        """See `UnitCell.one_line`: no."""
        return False

    def slip(self, key: Array, g: Array, hit: Array) -> Array:
        """See `UnitCell.slip`: devices err on their own."""
        return g

    def misread(self, w: Array, variance: Array | None) -> tuple[Array, Array | None]:
        """See `UnitCell.misread`: devices err on their own."""
        return w, variance

    def rounded(self: Any, w: Array, states: int) -> Array:
        """See `UnitCell.rounded`: what one device misses is another's to make up for."""
        x = nearest_level(self.encode(w), states)
        return nearest_level(self.correct(x, w - self.decode(x)), states)


class Differential(BaseCell):
    """Cells of pairs, w β = Σ_p F_p (x_p⁺ − x_p⁻), their devices in the order x₁⁺, x₁⁻, x₂⁺, x₂⁻, …

    A subclass has the ``factors`` F, the ``full_scale`` β, and says how many pairs are ``used``.
    """

    factors: tuple[float, ...]

    @property
    @abstractmethod
    def full_scale(self) -> Array | float:
        """β: what a weight of 1 conducts, in units of g_max − g_min."""
        ...

    @property
    def used(self) -> int:
        """How many pairs hold weights, the most significant ones first."""
        return len(self.factors)

    @property
    def devices(self) -> int:
        """See `UnitCell.devices`."""
        return 2 * len(self.factors)

    @property
    def extra_columns(self) -> int:
        """See `UnitCell.extra_columns`."""
        return 0

    def decode(self, x: Array) -> Array:
        """See `UnitCell.decode`."""
        return self.combine(x)

    def correct(self, target: Array, change: Array) -> Array:
        """See `UnitCell.correct`: the least significant pair first, the next for what it cannot hold.

        In a pair the device that holds the other sign gives way first.
        """
        rest = change * self.full_scale
        pairs = []
        for p in reversed(range(self.used)):
            plus, minus = target[2 * p], target[2 * p + 1]
            now = plus - minus
            then = clip_inside(now + rest / self.factors[p], -1.0, 1.0)
            step = then - now
            rest = rest - self.factors[p] * step
            other = jnp.where(step > 0, jnp.maximum(minus - step, 0.0), jnp.maximum(plus + step, 0.0) - then)
            moved = clip_inside(jnp.stack([other + then, other]), 0.0, 1.0)
            pairs.insert(0, jnp.where(step == 0, target[2 * p : 2 * p + 2], moved))
        return jnp.concatenate([*pairs, target[2 * self.used :]])

    def lines(self, x: Array) -> Array:
        """See `UnitCell.lines`: one line per device."""
        return x

    def combine(self, y: Array) -> Array:
        """See `UnitCell.combine`."""
        pairs = [f * (y[2 * p] - y[2 * p + 1]) for p, f in enumerate(self.factors)]
        return sum(pairs[1:], pairs[0]) / self.full_scale

    def variance(self, variance: Array) -> Array:
        """See `UnitCell.variance`."""
        pairs = [f**2 * (variance[2 * p] + variance[2 * p + 1]) for p, f in enumerate(self.factors)]
        return sum(pairs[1:], pairs[0]) / self.full_scale**2


@spec
class Pairs(Differential):
    """Differential pairs of decreasing significance: w Σ F_p = Σ_p F_p (G_p⁺ − G_p⁻) / (g_max − g_min).

    In a pair only one device is above g_min. How a weight is shared among pairs is the split (`splits.py`) or its name:
    "lsp_first" (the default), "msp_first", "equal", "one", "residual", "measured".

    Attributes:
        factors: significance F_p of every pair, largest first. Leaves: F can be swept.
        split: how a weight is shared among them.
    """

    factors: tuple[float, ...] = (1.0,)
    split: Split | str = static(default="lsp_first")

    def _check(self) -> None:
        if isinstance(self.split, str):
            check_choice(self, "split", tuple(SPLITS))
        elif not callable(getattr(self.split, "shares", None)):
            raise ValueError(f"Pairs.split must be a split or one of {', '.join(SPLITS)}, got {self.split!r}")
        check_factors(self)

    @property
    def way(self) -> Split:
        """The split, where it was given by its name too."""
        return SPLITS[self.split] if isinstance(self.split, str) else self.split

    @property
    def levels(self) -> int | None:
        """See `UnitCell.levels`."""
        return self.way.levels

    @property
    def used(self) -> int:
        """See `Differential.used`."""
        return self.way.used(len(self.factors))

    @property
    def full_scale(self) -> Array | float:
        """Σ F_p of the pairs that hold weights: the conductance, in units of g_max, of a weight of 1."""
        return sum(self.factors[: self.used])

    @property
    def turns(self) -> int:
        """See `UnitCell.turns`."""
        return self.way.turns(self.used)

    def _on_devices(self, shares: Sequence[Array]) -> Array:
        """Conductances of shares, the normalised differences of the pairs that are used, most significant first."""
        sign = np.asarray([1.0, -1.0], shares[0].dtype).reshape(2, *[1] * shares[0].ndim)
        pairs = [jnp.maximum(sign * share, 0.0) for share in shares]
        return jnp.concatenate(pairs + [jnp.zeros_like(pairs[0])] * (len(self.factors) - len(pairs)))

    def encode(self, w: Array) -> Array:
        """See `UnitCell.encode`."""
        return self._on_devices(self.way.shares(w * self.full_scale, self.factors[: self.used]))

    def turn(self, k: int, w: Array, found: Array) -> tuple[Array, Array]:
        """See `UnitCell.turn`: as the split says."""
        read = [found[2 * p] - found[2 * p + 1] for p in range(self.used)]
        shares, written = self.way.turn(k, w * self.full_scale, self.factors[: self.used], read)
        pairs = np.zeros(len(self.factors), bool)
        pairs[list(written)] = True
        return self._on_devices(shares), jnp.asarray(np.repeat(pairs, 2)).reshape(-1, *[1] * w.ndim)

    def rounded(self, w: Array, states: int) -> Array:
        """See `UnitCell.rounded`.

        Every pair is at the level nearest to its share that leaves the less significant ones no more than they hold.
        """
        rest, top, found, used = w * self.full_scale, states - 1, [], self.factors[: self.used]
        for p, (share, factor) in enumerate(zip(self.way.shares(rest, used), used, strict=True)):
            below = sum(used[p + 1 :])
            low = jnp.ceil((rest - below) / factor * top - 1e-4)
            high = jnp.floor((rest + below) / factor * top + 1e-4)
            level = jnp.round(share * top)
            level = jnp.where(low < high, jnp.clip(level, low, high), jnp.round(rest / factor * top))
            level = jnp.clip(level, -top, top) / top
            rest = rest - factor * level
            found.append(share + lax.stop_gradient(level - share))
        return self._on_devices(found)


def check_factors(cell: Any) -> None:
    """Raise ``ValueError`` unless a cell's ``factors`` are positive and go down."""
    check_range(cell, "factors", low=0, strict=True)
    known = [f for f in cell.factors if isinstance(f, float)]
    if len(known) == len(cell.factors) and known != sorted(known, reverse=True):
        raise ValueError(
            f"{type(cell).__name__}.factors must go from the most significant pair down, got {cell.factors}"
        )


@door
def bit_slices(bits: int, slices: int) -> Pairs:
    """Weights as integers in ``slices`` pairs of ``bits`` bits each (factors 2^bits apart).

    Integer weights k / (2^(bits·slices) − 1) are what 2^bits conductances per device hold exactly. A tile writes no
    other conductances (`Tile.targets`): other weights are rounded to integers.

    Raises:
        ValueError: if either is below 1.
    """
    if bits < 1 or slices < 1:
        raise ValueError(f"bit slices need at least 1 bit and 1 slice, got {bits} and {slices}")
    return Pairs(tuple(2.0 ** (bits * s) for s in reversed(range(slices))), Digits(2**bits))


@spec
class SharedReference(BaseCell):
    """One device per weight against a reference device in every row: w = (G − G_ref) / half the span.

    The reference column is one more column of the tile, programmed half way between g_min and g_max; its
    errors are shared by all weights of a row.
    """

    @property
    def devices(self) -> int:
        """See `UnitCell.devices`."""
        return 1

    @property
    def extra_columns(self) -> int:
        """See `UnitCell.extra_columns`: the reference."""
        return 1

    def encode(self, w: Array) -> Array:
        """See `UnitCell.encode`; the last column is the reference."""
        return (0.5 + 0.5 * _with_reference(w))[None]

    def decode(self, x: Array) -> Array:
        """See `UnitCell.decode`."""
        return self.combine(self.lines(x))

    def correct(self, target: Array, change: Array) -> Array:
        """See `UnitCell.correct`; the reference stays."""
        return clip_inside(target + 0.5 * _with_reference(change)[None], 0.0, 1.0)

    def lines(self, x: Array) -> Array:
        """See `UnitCell.lines`: every column and the reference."""
        return 2.0 * x

    def combine(self, y: Array) -> Array:
        """See `UnitCell.combine`."""
        return y[0, ..., :-1] - y[0, ..., -1:]

    def variance(self, variance: Array) -> Array:
        """See `UnitCell.variance`; the reference's noise, common to a row, is added to every column."""
        return 4.0 * (variance[0, ..., :-1] + variance[0, ..., -1:])


def _with_reference(w: Array) -> Array:
    """Weights with a column of zeros for the reference."""
    return jnp.concatenate([w, jnp.zeros_like(w[..., :1])], axis=-1)


def deviation(cell: UnitCell, sigma: Array) -> Array:
    """Standard deviation of the normalised weights from that of their conductances."""
    return safe_sqrt(cell.variance(sigma**2))
