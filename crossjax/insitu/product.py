"""Forward and backward through one array: the transposed product has converters and noise of its own.

Both directions are the MVM of `crossjax.tiles.mvm`. What an update needs comes out of the same differentiation: the
derivative by a *tape*, zeros in the shapes of the inputs and outputs, is what was on the rows and what came back on the
columns, so that `jax.grad` of any network gives every layer its two sides of the outer product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._pytree import replace, spec
from crossjax._random import named
from crossjax.circuits.converters import ADC, DAC
from crossjax.circuits.wires import StaticDrop
from crossjax.tiles.cells import Pairs
from crossjax.tiles.mvm import multiply
from crossjax.tiles.tile import Reading, Tile


class Tape(NamedTuple):
    """What a call put on the rows (…, rows) and got back on the columns (…, cols); zeros to differentiate by.

    Of a layer that is called several times every field has one more axis in front, the calls. ``calls`` counts them, so
    that two that were written over each other do not pass for one.
    """

    x: Array
    d: Array
    calls: Array | float = 0.0

    @property
    def whole(self) -> Array:
        """Whether every call was written once."""
        return jnp.all(jnp.asarray(self.calls) == 1)

    def by_example(self) -> Tape:
        """Examples first, calls behind them: they add up like the positions of a convolution."""
        if jnp.ndim(self.calls) == 0:
            return self
        return Tape(jnp.moveaxis(self.x, 0, 1), jnp.moveaxis(self.d, 0, 1), self.calls)


@spec
class Sides:
    """The circuits around an array that learns.

    Attributes:
        forward: converters, noise and size of the tile for products with the rows as inputs. Its wires may be a
            `StaticDrop`: the map of a network would have to be found anew after every update.
        backward: for products with the columns as inputs. None: the forward ones, every vector scaled to the DAC's
            range by its largest element, because errors have no range of their own.
    """

    forward: Tile = Tile()
    backward: Tile | None = None

    def _check(self) -> None:
        for name in ("forward", "backward"):
            tile = getattr(self, name)
            if tile is not None and not isinstance(tile.wires, StaticDrop | None):
                raise ValueError(
                    f"Sides.{name} has wires whose map changes with every update of pulsed arrays: a StaticDrop, or "
                    "None, is what they can have"
                )

    @property
    def back(self) -> Tile:
        """The tile of backward products."""
        if self.backward is not None:
            return self.backward
        dac = self.forward.dac
        scaled = None if dac is None else replace(dac, scaling="absmax", range=1.0)
        return replace(self.forward, rows=self.forward.cols, cols=self.forward.rows, dac=scaled)


def training_periphery() -> Sides:
    """The periphery of aihwkit's training presets: 7-bit DACs, 9-bit ADCs of range 20, output noise 0.1, absmax."""
    tile = Tile(
        cell=Pairs(), dac=DAC(levels=127, scaling="absmax"), adc=ADC(levels=511, range=20.0, on_saturation="halve"),
        noise=0.1, compensation=None,
    )  # fmt: skip
    return Sides(tile)


def conducting(tile: Tile, w: Array, scale: Array) -> Reading:
    """The reading of an array whose devices stand for normalised weights ``w`` (rows, cols), times ``scale``."""
    grid = tile.grid((w.shape[0], w.shape[1]))
    lines = grid.cut(w).transpose(0, 2, 1, 3)[:, :, None]
    scales = jnp.broadcast_to(scale, (grid.down, grid.across, 1))
    return Reading(lines, None, scales, None, (w.shape[0], w.shape[1]))


@jax.custom_vjp
def product(key: Array, sides: Sides, w: Array, scale: Array, tape: Tape, x: Array) -> Array:
    """Outputs (…, cols) of inputs (…, rows) for weights ``w · scale``.

    The derivative by x is the product with the transposed array, by the tape (x, δ), by w and scale zero: what a chip
    learns is its scheme's affair. δ is the derivative of the loss by the outputs.
    """
    return multiply(named(key, "forward"), sides.forward, conducting(sides.forward, w, scale), x)


def _forward(key: Array, sides: Sides, w: Array, scale: Array, tape: Tape, x: Array) -> tuple[Array, Any]:
    return product(key, sides, w, scale, tape, x), (key, sides, w, scale, x, tape.calls)


def _backward(kept: Any, d: Array) -> tuple[Any, ...]:
    key, sides, w, scale, x, calls = kept
    back = sides.back
    along = multiply(named(key, "backward"), back, conducting(back, w.T, scale), d)
    none = jax.tree.map(_no_tangent, (key, sides, w, scale))
    return *none, Tape(x, d, jnp.ones_like(jnp.asarray(calls))), along.astype(x.dtype)


def _no_tangent(a: Any) -> Any:
    a = jnp.asarray(a)
    if jnp.issubdtype(a.dtype, jnp.floating):
        return jnp.zeros_like(a)
    return np.zeros(a.shape, jax.dtypes.float0)


product.defvjp(_forward, _backward)
