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

    @property
    def in_turn(self) -> bool:
        """Whether the pairs are programmed one after the other, each for what the earlier ones missed."""
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

    @property
    def in_turn(self) -> bool:
        """See `Split.in_turn`."""
        return False

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

    @property
    def in_turn(self) -> bool:
        """See `Split.in_turn`."""
        return True

    def shares(self, rest: Array, factors: Factors) -> list[Array]:
        """See `Split.shares`."""
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
    "digits": Digits(),
}  # fmt: skip
"""The ways that have a name."""
