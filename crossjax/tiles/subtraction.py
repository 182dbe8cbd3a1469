"""Where the lines of a cell are combined: before the ADCs of a tile, or behind them."""

from __future__ import annotations

from typing import Protocol

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import spec
from crossjax.tiles.cells import UnitCell


class Subtraction(Protocol):
    """What reaches the ADCs of a tile, and what is made of what they give.

    Conductances (devices, …, r, c') are those that a line carries (see `UnitCell`), c' = c and the reference columns.
    """

    @property
    def digital(self) -> bool:
        """Whether lines are digitised one by one and combined behind the ADCs."""
        ...

    @property
    def exact(self) -> bool:
        """Whether what reaches the ADCs of perfectly written cells is their weights."""
        ...

    def size(self, cell: UnitCell, c: int) -> tuple[int, int]:
        """(lines, columns) of the ADCs for c columns of weights."""
        ...

    def lines(self, cell: UnitCell, x: Array) -> Array:
        """What reaches the ADCs of conductances ``x``, (lines, …, r, columns)."""
        ...

    def variance(self, cell: UnitCell, variance: Array) -> Array:
        """Variance of the same from that of the conductances."""
        ...

    def combine(self, cell: UnitCell, y: Array) -> Array:
        """Outputs (…, c) from what the ADCs gave, (lines, …, columns)."""
        ...


@spec
class Analog:
    """The lines of a cell are subtracted as currents: one ADC per column of weights."""

    @property
    def digital(self) -> bool:
        """See `Subtraction.digital`."""
        return False

    @property
    def exact(self) -> bool:
        """See `Subtraction.exact`."""
        return True

    def size(self, cell: UnitCell, c: int) -> tuple[int, int]:
        """See `Subtraction.size`."""
        return 1, c

    def lines(self, cell: UnitCell, x: Array) -> Array:
        """See `Subtraction.lines`: weights."""
        return cell.decode(x)[None]

    def variance(self, cell: UnitCell, variance: Array) -> Array:
        """See `Subtraction.variance`."""
        return cell.variance(variance)[None]

    def combine(self, cell: UnitCell, y: Array) -> Array:
        """See `Subtraction.combine`: nothing is left to do."""
        return y[0]


@spec
class Digital:
    """Every line of a cell has an ADC of its own, and their codes are subtracted."""

    @property
    def digital(self) -> bool:
        """See `Subtraction.digital`."""
        return True

    @property
    def exact(self) -> bool:
        """See `Subtraction.exact`."""
        return False

    def size(self, cell: UnitCell, c: int) -> tuple[int, int]:
        """See `Subtraction.size`."""
        return cell.devices, c + cell.extra_columns

    def lines(self, cell: UnitCell, x: Array) -> Array:
        """See `Subtraction.lines`."""
        return cell.lines(x)

    def variance(self, cell: UnitCell, variance: Array) -> Array:
        """See `Subtraction.variance`."""
        return variance * cell.lines(jnp.ones(())) ** 2

    def combine(self, cell: UnitCell, y: Array) -> Array:
        """See `Subtraction.combine`."""
        return cell.combine(y)


SUBTRACTIONS: dict[str, Subtraction] = {"analog": Analog(), "digital": Digital()}
"""Those that have a name."""
