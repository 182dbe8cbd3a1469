"""Unit cells: how one weight becomes the conductances of a few devices, and back.

    Pairs            w ∝ Σ_p F_p (G_p⁺ − G_p⁻)       one pair, MSP/LSP, N pairs, bit slices
    SharedReference  w ∝ G − G_ref                   one device per weight, one reference device per row

Weights come normalised, |w| ≤ 1; conductances carry a leading axis over the devices of a cell and are in µS.
``decode(encode(w)) == w`` for every cell. All of it is linear or piecewise linear, and differentiable.
"""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._kinds import door
from crossjax._numerics import clip_inside, safe_sqrt
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax.tiles.splits import SPLITS, Digits, Split


class UnitCell(Protocol):
    """What a tile needs to know about its cells. Weights (…, rows, cols), conductances (devices, …, rows, cols')."""

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

    def encode(self, w: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """Target conductances (µS) of normalised weights."""
        ...

    def decode(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """Normalised weights that conductances stand for."""
        ...

    def correct(self, target: Array, change: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """Target conductances after the weights are to change by ``change``."""
        ...

    def lines(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """Normalised conductances of the bit lines that are digitised one by one, (lines, …, rows, cols')."""
        ...

    def combine(self, y: Array) -> Array:
        """Outputs (…, cols) from what the lines gave, (lines, …, cols')."""
        ...

    def variance(self, variance: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """Variance of the normalised weights from the variance (µS²) of the conductances."""
        ...


@spec
class Pairs:
    """Differential pairs of decreasing significance: w Σ F_p = Σ_p F_p (G_p⁺ − G_p⁻) / (g_max − g_min).

    In a pair only one device is above g_min. How a weight is shared among pairs is the split (`splits.py`) or its name:
    "lsp_first" (the default), "msp_first", "equal", "one", "residual".

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
        check_range(self, "factors", low=0, strict=True)
        known = [f for f in self.factors if isinstance(f, float)]
        if len(known) == len(self.factors) and known != sorted(known, reverse=True):
            raise ValueError(f"Pairs.factors must go from the most significant pair down, got {self.factors}")

    @property
    def way(self) -> Split:
        """The split, where it was given by its name too."""
        return SPLITS[self.split] if isinstance(self.split, str) else self.split

    @property
    def levels(self) -> int | None:
        """See `UnitCell.levels`."""
        return self.way.levels

    @property
    def devices(self) -> int:
        """See `UnitCell.devices`."""
        return 2 * len(self.factors)

    @property
    def extra_columns(self) -> int:
        """See `UnitCell.extra_columns`."""
        return 0

    @property
    def _used(self) -> tuple[float, ...]:
        return self.factors[: self.way.used(len(self.factors))]

    @property
    def full_scale(self) -> Array | float:
        """Σ F_p of the pairs that hold weights: the conductance, in units of g_max, of a weight of 1."""
        return sum(self._used)

    def shares(self, w: Array) -> list[Array]:
        """Normalised difference (G⁺ − G⁻) / (g_max − g_min) of every pair, most significant first."""
        shares = self.way.shares(w * self.full_scale, self._used)
        return shares + [jnp.zeros_like(w)] * (len(self.factors) - len(shares))

    def rounded(self, w: Array, states: int) -> list[Array]:
        """`shares` on the levels of devices of few states; the gradient is that of the shares.

        Every pair is at the level nearest to its share that leaves the less significant ones no more than they hold.
        """
        rest, top, found, used = w * self.full_scale, states - 1, [], self._used
        shares = self.shares(w)
        for p, (share, factor) in enumerate(zip(shares, used, strict=False)):
            below = sum(used[p + 1 :])
            low = jnp.ceil((rest - below) / factor * top - 1e-4)
            high = jnp.floor((rest + below) / factor * top + 1e-4)
            level = jnp.round(share * top)
            level = jnp.where(low < high, jnp.clip(level, low, high), jnp.round(rest / factor * top))
            level = jnp.clip(level, -top, top) / top
            rest = rest - factor * level
            found.append(share + lax.stop_gradient(level - share))
        return found + shares[len(used) :]

    def pair(self, share: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """(G⁺, G⁻) of one pair."""
        span = g_max - g_min
        sign = np.asarray([1.0, -1.0], share.dtype).reshape(2, *[1] * share.ndim)
        return g_min + span * jnp.maximum(sign * share, 0.0)

    def encode(self, w: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.encode`; devices in the order G₁⁺, G₁⁻, G₂⁺, G₂⁻, …"""
        return jnp.concatenate([self.pair(s, g_min, g_max) for s in self.shares(w)])

    def decode(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.decode`."""
        return self.combine(g / (g_max - g_min))

    def correct(self, target: Array, change: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.correct`: the least significant pair first, the next for what it cannot hold."""
        rest = change * self.full_scale
        pairs = []
        for p in reversed(range(len(self._used))):
            now = (target[2 * p] - target[2 * p + 1]) / (g_max - g_min)
            then = clip_inside(now + rest / self.factors[p], -1.0, 1.0)
            rest = rest - self.factors[p] * (then - now)
            pairs.insert(0, jnp.where(then == now, target[2 * p : 2 * p + 2], self.pair(then, g_min, g_max)))
        used = 2 * len(pairs)
        return jnp.concatenate([*pairs, target[used:]])

    def lines(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.lines`: one line per device."""
        return g / (g_max - g_min)

    def combine(self, y: Array) -> Array:
        """See `UnitCell.combine`."""
        pairs = [f * (y[2 * p] - y[2 * p + 1]) for p, f in enumerate(self.factors)]
        return sum(pairs[1:], pairs[0]) / self.full_scale

    def variance(self, variance: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.variance`."""
        pairs = [f**2 * (variance[2 * p] + variance[2 * p + 1]) for p, f in enumerate(self.factors)]
        return sum(pairs[1:], pairs[0]) / (self.full_scale * (g_max - g_min)) ** 2


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
class SharedReference:
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

    @property
    def levels(self) -> None:
        """See `UnitCell.levels`."""
        return None

    def encode(self, w: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.encode`; the last column is the reference."""
        with_reference = jnp.concatenate([w, jnp.zeros_like(w[..., :1])], axis=-1)
        return (0.5 * (g_max + g_min) + 0.5 * (g_max - g_min) * with_reference)[None]

    def decode(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.decode`."""
        return self.combine(self.lines(g, g_min, g_max))

    def correct(self, target: Array, change: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.correct`; the reference stays."""
        half = 0.5 * (g_max - g_min)
        change = jnp.concatenate([change, jnp.zeros_like(change[..., :1])], axis=-1)
        return clip_inside(target + half * change[None], g_min, g_max)

    def lines(self, g: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.lines`: every column and the reference."""
        return g / (0.5 * (g_max - g_min))

    def combine(self, y: Array) -> Array:
        """See `UnitCell.combine`."""
        return y[0, ..., :-1] - y[0, ..., -1:]

    def variance(self, variance: Array, g_min: Array | float, g_max: Array | float) -> Array:
        """See `UnitCell.variance`; the reference's noise, common to a row, is added to every column."""
        v = variance / (0.5 * (g_max - g_min)) ** 2
        return v[0, ..., :-1] + v[0, ..., -1:]


def deviation(cell: UnitCell, sigma: Array, g_min: Array | float, g_max: Array | float) -> Array:
    """Standard deviation of the normalised weights from that (µS) of their conductances."""
    return safe_sqrt(cell.variance(sigma**2, g_min, g_max))
