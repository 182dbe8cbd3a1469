"""Flattened feature maps: PyTorch's go channels first, those of networks here channels last.

A dense layer (or a norm) that sees a flattened map has its rows in the order of the map, so that weights from PyTorch
must be reordered. Where a network flattens is in its call, not in its layers: it is declared, by a class attribute
``flattened = {"fc1": (16, 5, 5)}`` or by the caller of `crossjax.nn.load_torch`, and never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

Shapes = Mapping[str, "tuple[int, ...] | None"]
_CONVOLUTIONS = (nnx.Conv, nnx.ConvTranspose)
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
    layers, shapes = dict(_in_order(model)), {}
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

    In the order of definition, a dense layer after a convolution has as many inputs as that has channels, or as a
    dense layer in between has outputs; with more it may be a flattened map. A dense layer that a convolution of fewer
    channels follows may give one.

    Raises:
        ValueError: names the layer and says what to declare.
    """
    layers = [
        (name, module) for name, module in _in_order(model) if _sizes(module) or isinstance(module, _CONVOLUTIONS)
    ]
    channels = [module.out_features for _, module in layers if isinstance(module, _CONVOLUTIONS)]
    widths: set[int] = set()
    last: tuple[str, int] | None = None  # dense layer right before
    norms: list[tuple[str, int]] = []
    for name, module in layers if channels else []:
        if isinstance(module, nnx.ConvTranspose):
            raise ValueError(f"{name} is a transposed convolution, whose layout in PyTorch files is not known here")
        if isinstance(module, _CONVOLUTIONS):
            if last is not None and last[0] not in unflattened and last[1] > module.in_features:
                raise ValueError(_message(last[0], f"gives {last[1]} outputs to a convolution", "unflatten"))
            widths, last, norms = {module.out_features}, None, []
            continue
        inputs, outputs = _sizes(module) or (0, 0)
        maybe = inputs not in widths and inputs > min(channels)
        if isinstance(module, _NORMS):
            norms += [(name, inputs)] if maybe else []
            continue
        if maybe and name not in flattened:
            raise ValueError(_message(name, f"has {inputs} inputs beside convolutions", "flatten"))
        for norm, features in norms:
            if flattened.get(name) is not None and features == inputs and norm not in flattened:
                raise ValueError(_message(norm, f"has the {inputs} features of {name}", "flatten"))
        widths.add(outputs)
        last, norms = (name, outputs), []


def _message(name: str, what: str, argument: str) -> str:
    return (
        f"{name} {what}: if these are a flattened feature map, PyTorch orders it channels first and this network "
        f"channels last. Pass {argument}={{{name!r}: (channels, height, width)}} to reorder its weights, or "
        f"{argument}={{{name!r}: None}} if the order is the same"
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
    if isinstance(module, nnx.Linear | nnx.LinearGeneral):
        shape = jnp.shape(module.kernel.get_value())
        return (shape[0], shape[1]) if len(shape) == 2 else None
    return None


def _in_order(module: nnx.Module, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, nnx.Module]]:
    """(path, module) in the order of definition, which Flax's own walks do not keep."""
    seen = set() if seen is None else seen
    if id(module) in seen:
        return
    seen.add(id(module))
    yield path, module
    for name, child in vars(module).items():
        if isinstance(child, nnx.Module):
            yield from _in_order(child, f"{path}.{name}" if path else name, seen)
