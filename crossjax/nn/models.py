"""The networks of the papers, built of Flax NNX: MLP, LeNet-5, ResNet-9, and ResNet-20/32 for CIFAR-10."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


class MLP(nnx.Module):
    """A multilayer perceptron: ``sizes`` from inputs to outputs, ReLU between, inputs (…, features…) flattened."""

    def __init__(self, sizes: Sequence[int], *, bias: bool = True, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(a, b, use_bias=bias, rngs=rngs) for a, b in pairwise(sizes)])

    def __call__(self, x: Array) -> Array:
        """(batch, …) → (batch, outputs)."""
        x = x.reshape(x.shape[0], -1)
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


class BiasRowMLP(nnx.Module):
    """A multilayer perceptron whose biases are on the chip: one more row of every matrix, driven with 1.

    ``sizes`` from inputs to outputs, tanh between; 528-250-125-10 has 164,885 weights (Burr et al., 2015).
    """

    def __init__(self, sizes: Sequence[int], *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(a + 1, b, use_bias=False, rngs=rngs) for a, b in pairwise(sizes)])

    def __call__(self, x: Array) -> Array:
        """(batch, …) → (batch, outputs)."""
        x = x.reshape(x.shape[0], -1)
        one = jnp.ones((x.shape[0], 1), x.dtype)
        for layer in self.layers[:-1]:
            x = jnp.tanh(layer(jnp.concatenate([x, one], axis=1)))
        return self.layers[-1](jnp.concatenate([x, one], axis=1))


class LeNet5(nnx.Module):
    """LeNet-5 for 28 × 28 × 1 images (LeCun et al., Proc. IEEE 86:2278, 1998), with ReLU and max pooling."""

    flattened: ClassVar[dict[str, tuple[int, ...]]] = {"fc1": (16, 5, 5)}  # for `load_torch`

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 6, (5, 5), padding=2, rngs=rngs)
        self.conv2 = nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs)
        self.fc1 = nnx.Linear(400, 120, rngs=rngs)
        self.fc2 = nnx.Linear(120, 84, rngs=rngs)
        self.fc3 = nnx.Linear(84, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(batch, 28, 28, 1) → (batch, 10)."""
        x = nnx.max_pool(nnx.relu(self.conv1(x)), (2, 2), (2, 2))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        x = nnx.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return self.fc3(nnx.relu(self.fc2(x)))


def _conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, *, rngs: nnx.Rngs) -> nnx.Conv:
    """A convolution without bias, padded alike on all sides at every stride."""
    start = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    return nnx.Conv(
        inputs, outputs, (size, size), strides=stride, padding=size // 2, use_bias=False, kernel_init=start, rngs=rngs
    )


def _norm(features: int, epsilon: float = 1e-5, *, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, momentum=0.9, epsilon=epsilon, rngs=rngs)


class Block(nnx.Module):
    """Two 3 × 3 convolutions with batch norms, and a shortcut (1 × 1 where the shape changes)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = _conv(inputs, outputs, stride=stride, rngs=rngs)
        self.bn1 = _norm(outputs, rngs=rngs)
        self.conv2 = _conv(outputs, outputs, rngs=rngs)
        self.bn2 = _norm(outputs, rngs=rngs)
        self.downsample = nnx.List([])
        if stride != 1 or inputs != outputs:
            self.downsample = nnx.List([_conv(inputs, outputs, 1, stride, rngs=rngs), _norm(outputs, rngs=rngs)])

    def __call__(self, x: Array) -> Array:
        """(batch, height, width, inputs) → (batch, height / stride, width / stride, outputs)."""
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for part in self.downsample:
            x = part(x)
        return nnx.relu(x + y)


class ResNet(nnx.Module):
    """The CIFAR ResNet of depth 6n + 2 (He et al., CVPR 2016): three stages of n blocks.

    Joshi's ResNet-32 has 16, 28 and 56 channels: 361,722 weights.

    Args:
        depth: 20, 32, 44, …
        channels: of the three stages.
        epsilon: of the first batch norm.
        rngs: for the initial weights.

    Raises:
        ValueError: for a depth that is not 6n + 2.
    """

    def __init__(
        self, depth: int = 32, channels: Sequence[int] = (16, 32, 64), *, epsilon: float = 1e-5, rngs: nnx.Rngs
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"a CIFAR ResNet has 6n + 2 layers (20, 32, 44, …), got {depth}")
        a, b, c = channels
        self.conv1 = _conv(3, a, rngs=rngs)
        self.bn1 = _norm(a, epsilon, rngs=rngs)
        count = (depth - 2) // 6

        def stage(inputs: int, outputs: int, stride: int) -> nnx.List:
            first = Block(inputs, outputs, stride, rngs=rngs)
            return nnx.List([first, *(Block(outputs, outputs, 1, rngs=rngs) for _ in range(count - 1))])

        self.res1, self.res2, self.res3 = stage(a, a, 1), stage(a, b, 2), stage(b, c, 2)
        self.classifier = nnx.Linear(c, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(batch, 32, 32, 3) → (batch, 10)."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        for stage in (self.res1, self.res2, self.res3):
            for block in stage:
                x = block(x)
        return self.classifier(jnp.mean(x, axis=(1, 2)))


class ResNet9(nnx.Module):
    """ResNet-9 with 100,726 parameters: eight convolutions of 28 or 56 channels (252 or 504 rows) and one dense layer.

    28 input channels of a 3 × 3 kernel fill the 256 rows of a HERMES core.
    """

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        pairs = {"conv1": (3, 28), "conv2": (28, 28), "conv3": (28, 28), "conv4": (28, 28), "conv5": (28, 28)}
        pairs |= {"conv6": (28, 56), "conv7": (56, 56), "conv8": (56, 56)}
        for name, (inputs, outputs) in pairs.items():
            setattr(self, name, _conv(inputs, outputs, rngs=rngs))
            setattr(self, name.replace("conv", "bn"), _norm(outputs, rngs=rngs))
        self.classifier = nnx.Linear(56, 10, rngs=rngs)

    def _unit(self, x: Array, k: int) -> Array:
        return nnx.relu(getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(x)))

    def __call__(self, x: Array) -> Array:
        """(batch, 32, 32, 3) → (batch, 10)."""
        x = _pool(self._unit(self._unit(x, 1), 2))
        x = x + self._unit(self._unit(x, 3), 4)
        x = _pool(self._unit(_pool(self._unit(x, 5)), 6))
        x = x + self._unit(self._unit(x, 7), 8)
        return self.classifier(jnp.max(x, axis=(1, 2)))


def _pool(x: Array) -> Array:
    """2 × 2 maximum."""
    batch, height, width, channels = x.shape
    return jnp.max(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


def parameters(model: nnx.Module) -> int:
    """How many numbers a network trains."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
