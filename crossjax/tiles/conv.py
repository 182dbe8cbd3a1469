"""Convolutions on tiles: a kernel is a matrix (taps · inputs, outputs) that every patch of the input meets.

The padding of the input is word lines that are not driven: they carry exactly nothing, whatever the DAC makes of a 0.

Where one tile holds all rows of the kernel, converters act on each pixel and each output alone, and the bit-line sums
of all patches are a plain convolution: the same arithmetic at the speed of `lax.conv_general_dilated`. Where tiles
divide the rows, or a vector is scaled by its own maximum, patches are laid out (im2col) and sent through `mvm`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import spec, static
from crossjax.tiles.mvm import as_multiplied, forward, multiply, scaled
from crossjax.tiles.tile import Reading, Tile


@spec
class Window:
    """How a kernel moves: sizes, strides, dilation and padding (before, after) along every spatial axis.

    ``holes`` is the dilation of the input (2: a zero between neighbours), as in a transposed convolution.

    Attributes:
        size, strides, dilation: of the kernel, along every spatial axis.
        padding: (before, after) along every spatial axis.
        holes: dilation of the input.
    """

    size: tuple[int, ...] = static()
    strides: tuple[int, ...] = static()
    dilation: tuple[int, ...] = static()
    padding: tuple[tuple[int, int], ...] = static()
    holes: tuple[int, ...] = static()

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        size: Sequence[int],
        strides: Sequence[int],
        dilation: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        holes: Sequence[int] | None = None,
    ) -> Window:
        """A window over spatial axes of this shape; ``padding`` as `lax.conv_general_dilated` takes it.

        Raises:
            ValueError: for padding by name of an input with holes.
        """
        holes = tuple(holes or (1,) * len(size))
        if isinstance(padding, str) and set(holes) != {1}:
            raise ValueError(f"padding {padding!r} has no meaning with input dilation {holes}: give it in numbers")
        if isinstance(padding, str):
            spread = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
            padding = lax.padtype_to_pads(shape, spread, strides, padding)
        return cls(tuple(size), tuple(strides), tuple(dilation), tuple((int(a), int(b)) for a, b in padding), holes)

    def patches(self, x: Array) -> Array:
        """(batch, …, inputs) to (batch, …, taps · inputs): what the word lines see at every position."""
        gaps = [(a, b, h - 1) for (a, b), h in zip(self.padding, self.holes, strict=True)]
        x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *gaps, (0, 0, 0)))
        starts = [range(0, k * d, d) for k, d in zip(self.size, self.dilation, strict=True)]
        counts = [
            (n - (k - 1) * d - 1) // s + 1
            for n, k, d, s in zip(x.shape[1:-1], self.size, self.dilation, self.strides, strict=True)
        ]
        taps = []
        for at in itertools.product(*starts):
            window = [slice(a, a + s * (c - 1) + 1, s) for a, c, s in zip(at, counts, self.strides, strict=True)]
            taps.append(x[(slice(None), *window)])
        return jnp.concatenate(taps, axis=-1)

    def driven(self, tile: Tile, x: Array) -> Array | None:
        """Which word lines of the `patches` of ``x`` carry an input, same shape; None where it makes no difference."""
        return None if tile.dac is None or tile.dac.has_zero else self.patches(jnp.ones(x.shape, bool))

    def convolve(self, x: Array, kernel: Array) -> Array:
        """(batch, …, inputs) with a kernel (taps · inputs, outputs)."""
        axes = "DHW"[-len(self.size) :] if len(self.size) <= 3 else "".join(map(str, range(len(self.size))))
        x, kind = as_multiplied(x, kernel)
        return lax.conv_general_dilated(
            x, kernel.reshape(*self.size, x.shape[-1], -1), self.strides, self.padding, lhs_dilation=self.holes,
            rhs_dilation=self.dilation, dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
            preferred_element_type=kind,
        )  # fmt: skip


def direct(tile: Tile, shape: tuple[int, int]) -> bool:
    """Whether the convolution of a kernel matrix of this shape is one convolution on its tiles."""
    alone = tile.dac is None or not tile.dac.per_vector
    once = tile.adc is None or not tile.adc.sends_again
    return tile.grid(shape).down == 1 and alone and once


def convolve(key: Array, tile: Tile, reading: Reading, x: Array, window: Window) -> Array:
    """A convolution by the MVMs of a chip: every patch of ``x`` times the kernel that the chip holds.

    Args:
        key: noise of the MVMs.
        tile: the hardware.
        reading: what it conducts; its matrix is (taps · inputs, outputs), the last spatial axis varying fastest.
        x: (batch, …, inputs), any number of spatial axes.
        window: how the kernel moves.

    Returns:
        (batch, …, outputs).
    """
    if not direct(tile, reading.shape):
        return _patchwise(key, tile, reading, x, window)
    return _convolve(key, tile, reading, x, window)


@jax.jit
def _patchwise(key: Array, tile: Tile, reading: Reading, x: Array, window: Window) -> Array:
    return multiply(key, tile, reading, window.patches(x), driven=window.driven(tile, x))


@jax.jit
def _convolve(key: Array, tile: Tile, reading: Reading, x: Array, window: Window) -> Array:
    scale = 1.0 if tile.dac is None else tile.dac.input_scale(x)
    u = (x if tile.dac is None else x / scale).reshape(1, -1, x.shape[-1])
    out = jax.eval_shape(window.convolve, x, jax.ShapeDtypeStruct((reading.w.shape[1], 1), x.dtype)).shape[:-1]

    def product(signals: Array, w: Array) -> Array:
        y = window.convolve(signals.reshape(-1, *x.shape[1:]), w[0].reshape(w.shape[1], -1))
        return y.reshape(1, -1, *w.shape[2:])

    y = scaled(tile, reading, forward(key, tile, reading, u, product))
    return (y * scale).reshape(*out, -1)
