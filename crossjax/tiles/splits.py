"""How a weight is shared among the pairs of a cell, from the most significant one down: one class for every way.

A pair's *share* is its normalised difference (G⁺ − G⁻) / (g_max − g_min), within ± 1; shares times factors add up to
the weight times the full scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside
from crossjax._pytree import check_count, spec, static

Factors = Sequence[Array | float]


class Split(Protocol):
    """A way to share weights among pairs."""

    @property
    def levels(self) -> int | None:
        """Conductance levels that its devices are written to; None for any."""
        ...

    def turns(self, pairs: int) -> int:
        """How often so many pairs are programmed, one after the other."""
        ...

    def turn(self, k: int, rest: Array, factors: Factors, found: Sequence[Array]) -> tuple[list[Array], Sequence[int]]:
        """Shares to aim at in turn k of several, and the pairs that it writes, all in turn 0.

        ``found``: what the turn before left; in turn 0 the shares of a device without errors, rounded to its states.
        """
        ...

    def used(self, pairs: int) -> int:
        """How many of so many pairs hold weights, the most significant ones first."""
        ...

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """The share of every pair that holds weights; ``rest`` is the weight times the sum of their factors."""
        ...


class _AllPairs:
    """What most ways have in common."""

    @property
    def levels(self) -> int | None:
        """See `Split.levels`: any."""
        return None

    def turns(self, pairs: int) -> int:
        """See `Split.turns`: all at once."""
        return 1

    def turn(self, k: int, rest: Array, factors: Factors, found: Sequence[Array]) -> tuple[list[Array], Sequence[int]]:
        """See `Split.turn`: there is none."""
        raise ValueError(f"{type(self).__name__} programs all pairs at once")

    def used(self, pairs: int) -> int:
        """See `Split.used`: all."""
        return pairs


def _in_order(rest: Array, factors: Factors, order: Sequence[int]) -> list[Array]:
    """Every pair as far as it goes, one after the other."""
    shares: list[Array] = [rest] * len(factors)
    for p in order:
        shares[p] = clip_inside(rest / factors[p], -1.0, 1.0)
        rest = rest - factors[p] * shares[p]
    return shares


@spec
class LSPFirst(_AllPairs):
    """The least significant pair as far as it goes, then the next."""

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        return _in_order(rest, factors, list(reversed(range(len(factors)))))


@spec
class MSPFirst(_AllPairs):
    """The most significant pair as far as it goes, then the next."""

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        return _in_order(rest, factors, range(len(factors)))


@spec
class Residual(_AllPairs):
    """As `MSPFirst`, but what a pair missed when it was programmed and read goes onto the next ones."""

    def turns(self, pairs: int) -> int:
        """See `Split.turns`: one for each pair."""
        return pairs

    def turn(self, k: int, rest: Array, factors: Factors, found: Sequence[Array]) -> tuple[list[Array], Sequence[int]]:
        """See `Split.turn`: pair k takes what all before it left."""
        if k == 0:
            return list(found), range(len(factors))
        missing = rest - sum(f * share for f, share in zip(factors[:k], found, strict=False))
        share = clip_inside(missing / factors[k], -1.0, 1.0)
        return [share if p == k else s for p, s in enumerate(found)], (k,)

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        return _in_order(rest, factors, range(len(factors)))


@spec
class Measured(_AllPairs):
    """As `MSPFirst`, but every device only as far as it goes itself: all are SET and read before they are programmed.

    For devices whose largest conductance spreads (`Device.ceiling`): filled to a nominal one, some would miss it. The
    two-device programming of Le Gallo et al., Nat. Electron. 6:680 (2023), with factors of 1.
    """

    def turns(self, pairs: int) -> int:
        """See `Split.turns`: SET, then the weights."""
        return 2

    def turn(self, k: int, rest: Array, factors: Factors, found: Sequence[Array]) -> tuple[list[Array], Sequence[int]]:
        """See `Split.turn`: what the SET devices conduct is what they hold."""
        if k == 0:
            return [jnp.sign(rest)] * len(factors), range(len(factors))
        shares = []
        for factor, top in zip(factors, found, strict=True):
            top = jnp.abs(top)
            shares.append(clip_inside(rest / factor, -top, top))
            rest = rest - factor * shares[-1]
        return shares, range(len(factors))

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`: those of devices that all reach the nominal conductance."""
        return _in_order(rest, factors, range(len(factors)))


@spec
class Equal(_AllPairs):
    """Every pair the same conductance."""

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        return [rest / sum(factors)] * len(factors)


@spec
class One(_AllPairs):
    """Everything on the most significant pair; the others stay at g_min."""

    def used(self, pairs: int) -> int:
        """See `Split.used`."""
        return 1

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        return [rest / factors[0]]


@spec
class Digits(_AllPairs):
    """The digits of the integer weight (bit slices), the least significant one taking the rest, which a tile rounds.

    Attributes:
        base: conductance levels of one slice.
    """

    base: int = static(default=2)

    def _check(self) -> None:
        check_count(self, "base", low=2)

    @property
    def levels(self) -> int:
        """See `Split.levels`."""
        return self.base

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
        top = self.base - 1
        shares = []
        for p, factor in enumerate(factors[:-1]):
            digit = jnp.ceil((jnp.abs(rest) - sum(factors[p + 1 :])) / factor * top - 1e-4)
            shares.append(jnp.sign(rest) * jnp.clip(digit, 0, top) / top)
            rest = rest - factor * shares[-1]
        return [*shares, rest / factors[-1]]


SPLITS: dict[str, Split] = {
    "lsp_first": LSPFirst(), "msp_first": MSPFirst(), "equal": Equal(), "one": One(), "residual": Residual(),
    "measured": Measured(), "digits": Digits(),
}  # fmt: skip
"""The ways that have a name."""
