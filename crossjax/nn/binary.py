"""Binary networks: weights and activations of ±1, trained through their signs, on tiles of XNOR cells.

    x ──► BinaryLinear: x · sign(kernel) ──► batch norm ──► sign ──► …         in training, and with ADCs
                        popcount          ──► s ≥ θ ? ──────────────► …         folded: a comparator

Kernels are latent weights in [−1, 1]; what a layer's chip holds are their signs. Hubara et al., NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax

from crossjax._kinds import door
from crossjax.circuits.converters import ADC
from crossjax.nn.hardware import OnTiles
from crossjax.nn.ops import Conducting, ConvOp, Op
from crossjax.nn.registry import register
from crossjax.tiles.comparators import with_thresholds

COMPARATOR = ADC(bits=1, range=1.0)
"""The ADC of a layer whose tiles decide by themselves: ±1 on either side of a threshold (see `fold`)."""


@jax.custom_jvp
def sign_through(x: Array) -> Array:
    """+1 for x ≥ 0, −1 below, NaN for NaN; the surrogate gradient is 1 within [−1, 1] and 0 outside."""
    return jnp.where(jnp.isnan(x), x, jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype))


@sign_through.defjvp
def _sign_through_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return sign_through(x), jnp.where(jnp.abs(x) <= 1, dx, jnp.zeros_like(dx))


class BinaryLinear(nnx.Module):
    """x · sign(kernel), without a bias: inputs (…, inputs) → sums (…, outputs)."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(_latent(rngs, (inputs, outputs)))
        self.product: Any = lax.dot_general

    def __call__(self, x: Array) -> Array:
        """See the class."""
        kernel = sign_through(self.kernel[...])
        return self.product(x, kernel.astype(x.dtype), (((x.ndim - 1,), (0,)), ((), ())))


class BinaryConv(nnx.Module):
    """A convolution by sign(kernel), ``size`` × ``size``, padded with nothing (undriven word lines), without a bias."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, *, rngs: nnx.Rngs) -> None:
        self.kernel = nnx.Param(_latent(rngs, (size, size, inputs, outputs)))
        self.product: Any = lax.conv_general_dilated

    def __call__(self, x: Array) -> Array:
        """(batch, height, width, inputs) → (batch, height, width, outputs)."""
        kernel, layout = sign_through(self.kernel[...]).astype(x.dtype), ("NHWC", "HWIO", "NHWC")
        return self.product(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def _latent(rngs: nnx.Rngs, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(rngs.params(), shape, minval=-0.1, maxval=0.1)


def _signs(layer: Any) -> Array:
    return sign_through(layer.kernel[...])


register(BinaryLinear, "product", holds=_signs)
register(BinaryConv, "product", op=lambda layer: partial(ConvOp, 1), holds=_signs)


class Comparator(nnx.Module):
    """What is left of a batch norm and a sign: ± whether a sum reaches a threshold.

    Attributes:
        thresholds: of every output; 0 where they are those of the tile's comparators.
        flips: −1 for an output that is inverted.
    """

    def __init__(self, thresholds: Array, flips: Array) -> None:
        self.thresholds = nnx.Variable(thresholds)
        self.flips = nnx.Variable(flips)

    def __call__(self, s: Array) -> Array:
        """Sums (…, outputs) → ±1."""
        return self.flips[...] * sign_through(s - self.thresholds[...])


class BinaryBlock(nnx.Module):
    """A binary layer, perhaps 2 × 2 max pooling, a batch norm and the sign."""

    def __init__(self, layer: Any, outputs: int, *, pool: bool = False, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)
        self.pool = pool
        self.comparator: Comparator | None = nnx.data(None)

    def __call__(self, x: Array) -> Array:
        """Activations to ±1."""
        s = self.layer(x)
        if self.pool:
            s = nnx.max_pool(s, (2, 2), (2, 2))
        return sign_through(self.norm(s)) if self.comparator is None else self.comparator(s)

    def folded(self) -> tuple[Array, Array]:
        """Thresholds and flips of the batch norm before the sign: γ (s − μ) / σ + β ≥ 0 as s ≥ θ, or not.

        An output whose γ is 0 is what β says, always.
        """
        scale, bias = self.norm.scale, self.norm.bias
        assert scale is not None and bias is not None
        gamma, beta = scale[...], bias[...]
        never = jnp.where(beta >= 0, -1e9, 1e9)  # beyond any sum
        sigma = jnp.sqrt(self.norm.var[...] + self.norm.epsilon)
        theta = jnp.where(gamma == 0, never, self.norm.mean[...] - beta * sigma / jnp.where(gamma == 0, 1.0, gamma))
        return theta, jnp.where(gamma < 0, -1.0, 1.0)


class BinaryMLP(nnx.Module):
    """A binary perceptron: ``sizes`` from inputs to outputs; the outputs are batch-normed sums.

    Inputs are real numbers within ±1, which the first layer multiplies with its signs.
    """

    def __init__(self, sizes: Sequence[int], *, rngs: nnx.Rngs) -> None:
        pairs = list(pairwise(sizes))
        self.blocks = nnx.List([BinaryBlock(BinaryLinear(a, b, rngs=rngs), b, rngs=rngs) for a, b in pairs[:-1]])
        self.last = BinaryLinear(*pairs[-1], rngs=rngs)
        self.norm = nnx.BatchNorm(sizes[-1], momentum=0.9, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(batch, …) → (batch, outputs)."""
        x = x.reshape(x.shape[0], -1)
        for block in self.blocks:
            x = block(x)
        return self.norm(self.last(x))


class BinaryVGG(nnx.Module):
    """BinaryNet for 32 × 32 × 3 images (Hubara et al., NeurIPS 2016): 14.0 million weights, 617 million products.

    2 × 128C3 – MP2 – 2 × 256C3 – MP2 – 2 × 512C3 – MP2 – 1024 – 1024 – 10; ``width`` 1 is that.
    """

    def __init__(self, width: float = 1.0, *, rngs: nnx.Rngs) -> None:
        sizes = [max(1, round(width * n)) for n in (128, 128, 256, 256, 512, 512)]
        pairs = list(pairwise([3, *sizes]))
        self.convs = nnx.List([
            BinaryBlock(BinaryConv(a, b, rngs=rngs), b, pool=k % 2 == 1, rngs=rngs) for k, (a, b) in enumerate(pairs)
        ])  # fmt: skip
        wide = max(1, round(width * 1024))
        self.head = BinaryMLP((16 * sizes[-1], wide, wide, 10), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(batch, 32, 32, 3) → (batch, 10)."""
        for block in self.convs:
            x = block(x)
        return self.head(x)


@door
def fold(model: Any) -> Any:
    """A copy whose batch norms before signs are thresholds: what comparators do.

    Layers on tiles whose ADCs have one bit get them there, one share a tile: a layer on several tiles along its rows
    is then a majority of their decisions (a tie is +1), not the sign of the sum. Others compare digital sums.

    Args:
        model: a network in evaluation mode: digital, or read at some time (`crossjax.nn.read`).

    Raises:
        ValueError: for a network without a `BinaryBlock`, or one on comparators that is not read.
    """
    model = nnx.clone(model)
    blocks = [m for _, m in nnx.iter_modules(model) if isinstance(m, BinaryBlock)]
    if not blocks:
        raise ValueError("fold turns the batch norms of BinaryBlocks into thresholds, and this network has none")
    for block in blocks:
        theta, flips = block.folded()
        op = block.layer.product
        if isinstance(op, Op) and op.conducts and _compares(op):
            if op.reading is None:
                raise ValueError("thresholds are set in the comparators of a chip: call crossjax.nn.read first")
            tile = op.hardware()
            readings = jax.vmap(lambda r, t=theta, tile=tile: with_thresholds(tile, r, t))(op.reading.get_value())
            op.reading = Conducting(readings)
            theta = jnp.zeros_like(theta)
        block.comparator = Comparator(theta, flips)
    return model


def _compares(op: Op) -> bool:
    """Whether the ADCs of a layer's tiles are comparators."""
    return isinstance(op.on, OnTiles) and op.on.tile.adc is not None and op.on.tile.adc.steps == 2


def binary_layers(model: Any) -> list[Any]:
    """The binary layers of a network."""
    return [layer for _, layer in nnx.iter_modules(model) if isinstance(layer, BinaryLinear | BinaryConv)]


@door
def products(model: Any, example: Array) -> dict[str, float]:
    """What an inference takes on binary layers: ``weights``, ``products`` (XNORs, with padding), ``sums`` (outputs).

    Args:
        model: a digital network.
        example: inputs (batch, …), of which the shape counts.
    """
    model, found = nnx.clone(model), {"weights": 0.0, "products": 0.0, "sums": 0.0}
    model.eval()
    for layer in binary_layers(model):

        def counted(x: Array, kernel: Array, *rest: Any, exact: Any = layer.product, **options: Any) -> Array:
            y = exact(x, kernel, *rest, **options)
            found["weights"] += kernel.size
            found["sums"] += y.size / x.shape[0]
            found["products"] += y.size / x.shape[0] * (kernel.size / kernel.shape[-1])
            return y

        layer.product = nnx.static(counted)
    jax.eval_shape(model, example)
    return found
