"""Finding one's way through a Flax NNX network: layers and their paths, who holds a parameter, what a chip holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx
from jax import Array

from crossjax.nn.ops import Op
from crossjax.nn.registry import kind_of

Model = TypeVar("Model", bound=nnx.Module)

RESCALING = (nnx.WeightNorm, nnx.SpectralNorm)
_NORMS = (nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm, nnx.GroupNorm, nnx.InstanceNorm, *RESCALING)


def path_name(path: Sequence[Any]) -> str:
    """("layers", 0, "conv") → "layers.0.conv"."""
    return ".".join(str(part) for part in path)


def slot_of(module: Any) -> str | None:
    """The attribute that a layer's product is injected into; None for a module that has none."""
    kind = kind_of(module)
    return None if kind is None else kind.slot


def reach(node: Any, path: tuple[Any, ...] = (), above: tuple[Any, ...] = ()) -> Iterator[tuple[tuple, Any, tuple]]:
    """(path, value, modules that lead to it, outermost first) of modules, variables and functions, by every path."""
    if isinstance(node, nnx.Module | nnx.Variable | FunctionType):
        yield path, node, above
    if isinstance(node, nnx.Module):
        above = (*above, node)
    if isinstance(node, nnx.List | list | tuple):
        parts = enumerate(node)
    elif isinstance(node, dict):
        parts = node.items()
    elif isinstance(node, nnx.Pytree) and not isinstance(node, nnx.Variable):
        parts = ((k, v) for k, v in vars(node).items() if not k.startswith("_pytree__"))
    else:
        return
    for key, value in parts:
        if not any(value is m for m in above):
            yield from reach(value, (*path, key), above)


@dataclass
class Place:
    """A module in its network.

    Attributes:
        name: the path that it is known by.
        module: it.
        names: every path that leads to it.
        own: the variables that it holds itself, lists and dictionaries included, by path.
    """

    name: str
    module: Any
    names: list[str] = field(default_factory=list)
    own: dict[str, nnx.Variable] = field(default_factory=dict)

    @property
    def slot(self) -> str | None:
        """See `slot_of`."""
        return slot_of(self.module)

    @property
    def parameters(self) -> dict[str, nnx.Variable]:
        """Its parameters, a layer's kernel included, of whatever type that is."""
        kernel = None if self.slot is None else kernel_of(self.module)
        return {k: v for k, v in self.own.items() if isinstance(v, nnx.Param) or v is kernel}

    @property
    def matrices(self) -> dict[str, nnx.Variable]:
        """Its parameters of two axes and more that are no layer's: a product with them would stay digital."""
        known = [kernel_of(self.module), getattr(self.module, "bias", None)] if self.slot else []
        loose = {} if isinstance(self.module, _NORMS) else self.own
        params = {k: v for k, v in loose.items() if isinstance(v, nnx.Param) and v.ndim > 1}
        return {k: v for k, v in params.items() if not any(v is one for one in known)}


def places(model: nnx.Module) -> list[Place]:
    """Every module of a network, parts before what they are part of."""
    found = {id(module): Place(path_name(path), module) for path, module in nnx.iter_modules(model)}
    for path, node, above in reach(model):
        if id(node) in found:
            found[id(node)].names.append(path_name(path))
        elif isinstance(node, nnx.Variable) and above:
            own = found[id(above[-1])].own
            if not any(node is v for v in own.values()):
                own[path_name(path)] = node
    return list(found.values())


def layers(model: nnx.Module) -> Iterator[tuple[str, Any, Op]]:
    """(path, layer, op) of every layer on tiles, in the order of the model's definition."""
    for path, module in nnx.iter_graph(model):
        slot = slot_of(module)
        op = None if slot is None else getattr(module, slot, None)
        if isinstance(op, Op):
            yield path_name(path), module, op


def ops(model: nnx.Module) -> Iterator[Op]:
    """Every op of a network."""
    return (op for _, _, op in layers(model))


def kernel_of(layer: Any) -> nnx.Variable:
    """The parameter that a layer's chip holds."""
    kind = kind_of(layer)
    assert kind is not None
    return getattr(layer, kind.kernel)


def masked(layer: Any) -> Array:
    """The kernel that a layer multiplies with: its parameter, times its mask if it has one, or what it `holds`."""
    kind = kind_of(layer)
    if kind is not None and kind.holds is not None:
        return kind.holds(layer)
    kernel, mask = kernel_of(layer)[...], getattr(layer, "mask", None)
    return kernel if mask is None else kernel * jnp.asarray(mask)


def matrices(layer: Any, op: Any) -> Array:
    """The matrices (groups, rows, cols) of a layer."""
    return op.matrices(masked(layer))


def received(model: Model) -> Model:
    """A copy in which every kernel is what its layer's slot receives: `nnx.WeightNorm` and `SpectralNorm` applied.

    Both rescale the kernels of what they wrap in place whenever they are called, so that twice is as once.
    """
    model = nnx.clone(model)
    for _, norm in reversed(list(nnx.iter_modules(model))):  # the outer one first, as in a call
        if isinstance(norm, nnx.WeightNorm):
            for path, variable in nnx.to_flat_state(nnx.state(norm.layer_instance)):
                norm._weightnorm_inplace(path, variable)
        elif isinstance(norm, nnx.SpectralNorm):
            for path, variable in nnx.to_flat_state(nnx.state(norm.layer_instance, nnx.Param)):
                norm._spectral_normalize_inplace(path, variable, update_stats=False)
    return model
