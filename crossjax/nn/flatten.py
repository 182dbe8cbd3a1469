"""Flattened feature maps: PyTorch's go channels first, those of networks here channels last.

A dense layer (or a norm) that sees a flattened map has its rows in the order of the map, so that weights from PyTorch
must be reordered. Where a network flattens is in its call, not in its layers: it is declared, by a class attribute
``flattened = {"fc1": (16, 5, 5)}`` or by the caller of `crossjax.nn.load_torch`, and never guessed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

Shapes = Mapping[str, "tuple[int, ...] | None"]
_DENSE = (nnx.Linear, nnx.LinearGeneral)
_NORMS = (nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm, nnx.GroupNorm)


def declared(model: nnx.Module, which: str, given: Shapes | None) -> dict[str, tuple[int, ...] | None]:
    """The shapes, channels first, that layers by path see flattened: those of the classes, then the given ones.

    Args:
        model: the network.
        which: the class attribute, "flattened" or "unflattened".
        given: by path; None for a layer whose order is the same in both.

    Raises:
        ValueError: for a path without a layer, or a shape that is not of its size.
    """
    layers, shapes = _layers(model), {}
    for path, module in layers.items():
        for name, shape in getattr(type(module), which, {}).items():
            shapes[f"{path}.{name}" if path else name] = shape
    shapes |= given or {}
    for name, shape in shapes.items():
        sizes = _sizes(layers.get(name))
        if sizes is None:
            known = ", ".join(path for path, module in layers.items() if _sizes(module)) or "none"
            raise ValueError(f"{which}: the network has no dense layer or norm {name!r}; it has {known}")
        size = sizes[which == "unflattened"]
        if shape is not None and math.prod(shape) != size:
            raise ValueError(f"{which}: {name!r} has {size} features, and {tuple(shape)} is {math.prod(shape)}")
    return shapes


def check(model: nnx.Module, flattened: Shapes, unflattened: Shapes) -> None:
    """Refuse a network with layers that may see, or give, a flattened map and of which nothing is declared.

    What follows what is in the call, and a copy of a network does not even keep the order of definition, so that widths
    are counted. The channels that more convolutions give than take leave the convolutions: a dense layer of as many
    inputs is what pooling leads to. One of as many inputs as other dense layers give, each to one, follows those, but
    the first of a chain. What is left may be a map, as may the outputs that no dense layer takes where convolutions go
    on.

    Raises:
        ValueError: names the layers and says what to declare.
    """
    layers = _layers(model)
    if any(isinstance(module, nnx.ConvTranspose) for module in layers.values()):
        raise ValueError("transposed convolutions have another layout in PyTorch files, which is not known here")
    convolutions = [m for m in layers.values() if isinstance(m, nnx.Conv)]
    if not convolutions:
        return
    dense = {name: sizes for name, m in layers.items() if isinstance(m, _DENSE) and (sizes := _sizes(m))}
    takes, gives = Counter(m.in_features for m in convolutions), Counter(m.out_features for m in convolutions)
    leaves = set(gives - takes)
    outputs = Counter(size for _, size in dense.values())
    unknown = {name: size for name, (size, _) in dense.items() if name not in flattened and size not in leaves}
    excess = Counter(unknown.values()) - outputs
    if len(unknown) == len(dense):  # the first of them follows no dense layer, whichever it is
        excess = excess or Counter(unknown.values())
    maybe = [name for name, size in unknown.items() if size in excess and size >= 2 * min(gives)]
    if maybe:
        raise ValueError(_message(maybe, "inputs", "flatten"))
    widths = set(gives) | set(outputs)
    seen = {math.prod(shape) for shape in flattened.values() if shape is not None} - widths
    norms = {name: sizes[0] for name, m in layers.items() if isinstance(m, _NORMS) and (sizes := _sizes(m))}
    maybe = [name for name, size in norms.items() if size in seen and name not in flattened]
    if maybe:
        raise ValueError(_message(maybe, "features", "flatten"))
    ends = leaves - {size for size, _ in dense.values()} - {shape[0] for shape in flattened.values() if shape}
    enters = set(takes - gives)
    if not ends and len(enters) < 2:
        return  # the dense layers are the end
    last, starts = outputs - Counter(unknown.values()), [c for c in takes if c > 1]
    maybe = [
        name for name, (_, size) in dense.items()
        if name not in unflattened and size in last and any(size > c and size % c == 0 for c in starts)
    ]  # fmt: skip
    if maybe:
        raise ValueError(_message(maybe, "outputs", "unflatten"))


def _message(names: list[str], what: str, argument: str) -> str:
    return (
        f"the {what} of {', '.join(names)} may be a flattened feature map, which PyTorch orders channels first and "
        f"this network channels last. Pass {argument}={{{names[0]!r}: (channels, height, width)}} to reorder the "
        f"weights of a layer, or {argument}={{{names[0]!r}: None}} if the order is the same"
    )


def channels_last(value: np.ndarray, axis: int, shape: tuple[int, ...]) -> np.ndarray:
    """``value`` with the order of one axis changed from that of a map flattened channels first to channels last."""
    order = np.moveaxis(np.arange(value.shape[axis]).reshape(shape), 0, -1).ravel()
    return np.take(value, order, axis=axis)


def _sizes(module: Any) -> tuple[int, int] | None:
    """(inputs, outputs) of a dense layer or a norm; None for anything else."""
    if isinstance(module, _NORMS):
        vector = getattr(module, "bias", None) if module.scale is None else module.scale
        size = 0 if vector is None else jnp.size(vector.get_value())
        return (size, size) if size else None
    if isinstance(module, _DENSE):
        shape = jnp.shape(module.kernel.get_value())
        return (shape[0], shape[1]) if len(shape) == 2 else None
    return None


def _layers(model: nnx.Module) -> dict[str, nnx.Module]:
    return {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
