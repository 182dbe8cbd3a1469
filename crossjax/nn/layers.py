"""Layers of Flax that have no slot for their product, with one: `to_analog` turns Flax's own into these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from crossjax.nn.ops import ConvOp, MatrixOp

Pads = str | Sequence[tuple[int, int]]


class Embed(nnx.Embed):
    """`nnx.Embed` whose table is on tiles: a token is a full signal on one word line."""

    analog: MatrixOp

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        """See `nnx.Embed`."""
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(f"an embedding looks up integers, got {inputs.dtype}")
        table = self.embedding[...]
        rows = table.shape[0]
        tokens = jnp.zeros_like(inputs) if rows == 1 else jnp.where(inputs < 0, inputs + rows, inputs)
        if isinstance(self.analog, MatrixOp) and self.analog.conducts:
            found = self.analog.look_up(tokens, table).astype(self.dtype)
        else:  # the exact product, or a batch of one-hot vectors to calibrate with
            signals = jax.nn.one_hot(tokens, rows, dtype=table.dtype)
            found = self.analog(signals, table, (((inputs.ndim,), (0,)), ((), ()))).astype(self.dtype)
        return jnp.where(((tokens >= 0) & (tokens < rows))[..., None], found, jnp.nan)  # as Flax: no such row

    def attend(self, query: Array, out_sharding: Any = None) -> Array:
        """See `nnx.Embed`; exact, hence of the digital network only.

        Raises:
            ValueError: on tiles, which are read from their word lines and do not compute the transposed product.
        """
        if self.analog.digital:
            return super().attend(query, out_sharding)
        raise ValueError(
            "attend multiplies with the transpose of the table, and an nnx.Embed on tiles only looks up: keep the "
            "embedding digital (no rule for it), or compute the outputs with an nnx.Linear, which has tiles of its own"
        )


class ConvTranspose(nnx.ConvTranspose):
    """`nnx.ConvTranspose` on tiles: a convolution over an input with holes, where word lines get no signal."""

    conv_general_dilated: ConvOp

    def __call__(self, inputs: Array) -> Array:
        """See `nnx.ConvTranspose`."""
        rank = len(self.kernel_size)
        strides, dilation = (_each(v, rank) for v in (self.strides, self.kernel_dilation))
        kernel = self.kernel[...]
        if self.mask is not None:
            if self.mask.shape != kernel.shape:
                raise ValueError(f"the mask has shape {self.mask.shape}, the kernel {kernel.shape}")
            kernel = kernel * self.mask
        bias = None if self.bias is None else self.bias[...]
        x, kernel, bias = self.promote_dtype((inputs, kernel, bias), dtype=self.dtype)
        batch = x.shape[: x.ndim - rank - 1]
        x = x.reshape(-1, *x.shape[x.ndim - rank - 1 :])
        spread = [(k - 1) * d + 1 for k, d in zip(self.kernel_size, dilation, strict=True)]
        if self.padding == "CIRCULAR":
            x, padding = self._around(x, spread, strides)
        else:
            padding = _pads(self.padding, spread, strides)
        last = (0, rank + 1, *range(1, rank + 1))
        axes = lax.ConvDimensionNumbers(last, (rank + 1, rank, *range(rank)), last)
        y = self.conv_general_dilated(
            x, kernel, (1,) * rank, padding, strides, dilation, axes, precision=self.precision,
            preferred_element_type=self.preferred_element_type,
        )  # fmt: skip
        y = y if bias is None else y + bias
        return y.reshape(*batch, *y.shape[1:])

    def _around(self, x: Array, spread: Sequence[int], strides: Sequence[int]) -> tuple[Array, Pads]:
        """Inputs (batch, …, channels) continued periodically, and the padding that cuts them to one period of outputs.

        Flax computes more outputs than a period and adds what is beyond to the other side; this is the same, with
        every output one MVM.
        """
        padding = []
        for axis, (k, s) in enumerate(zip(spread, strides, strict=True), 1):
            n = x.shape[axis]
            beyond = -max(k - s, 0) % (2 * n * s)
            first = 1 - k - (beyond // 2 if self.transpose_kernel else (beyond + 1) // 2)
            last = first + n * s + k - 2
            near, far = first // s, last // s
            x = jnp.take(x, jnp.arange(near, far + 1) % n, axis=axis)
            padding.append((near * s - first, last - far * s))
        return x, padding


def _each(value: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    return (1,) * rank if value is None else (value,) * rank if isinstance(value, int) else tuple(value)


def _pads(padding: Any, spread: Sequence[int], strides: Sequence[int]) -> Pads:
    """Zeros around the input with holes, as `lax.conv_transpose` adds them."""
    if padding == "VALID":
        return [(k - 1, max(k, s) - 1) for k, s in zip(spread, strides, strict=True)]
    if padding == "SAME":
        before = [k - 1 if s > k - 1 else (k + s - 1) // 2 for k, s in zip(spread, strides, strict=True)]
        return [(a, k + s - 2 - a) for a, k, s in zip(before, spread, strides, strict=True)]
    if isinstance(padding, str):
        return padding
    pairs = (padding,) * len(spread) if isinstance(padding, int) else padding
    return [(p, p) if isinstance(p, int) else tuple(p) for p in pairs]
