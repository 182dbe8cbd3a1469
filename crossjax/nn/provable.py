"""Without an example: whether a layer's slot is bound to receive the layer's own kernel, as far as the code tells."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax

from crossjax.nn.registry import kind_of
from crossjax.nn.walk import RESCALING, Place, kernel_of, reach, slot_of

_LAYERS = (nnx.Linear, nnx.LinearGeneral, nnx.Conv, nnx.ConvTranspose, nnx.Einsum, nnx.Embed)
_WRITES = {"update", "merge", "set_value"}


def refused(place: Place, why: str) -> ValueError:
    """The error for a module that cannot be converted."""
    name, kind = place.names[0], type(place.module).__name__
    return ValueError(
        f"{name or 'the model'} ({kind}) cannot be converted: {why}. Keep it digital with the rule ({name!r}, None), "
        "or build it from layers of flax.nnx as they are"
    )


def unfit(layer: Any) -> str | None:
    """Why a layer cannot be converted, whatever calls it; None if it can."""
    slot, kind = slot_of(layer) or "", kind_of(layer)
    if kind is not None and kind.own:
        lacks = [name for name in (slot, kind.kernel) if not hasattr(layer, name)]
        return f"its type is registered with {' and '.join(lacks)}, which it does not have" if lacks else None
    shape, rank = jnp.shape(kernel_of(layer)[...]), _rank(layer)
    base = next(kind for kind in _LAYERS if isinstance(layer, kind))
    if len(shape) != rank:
        return (
            f"its kernel has shape {shape}, and that of one layer {rank} axes: a stack of layers (nnx.vmap, nnx.scan) "
            "is several matrices, to be made one by one, in an nnx.List"
        )
    if isinstance(layer, nnx.LinearGeneral) and (layer.batch_axis or layer.dot_general_cls is not None):
        return "its kernel has batch axes, or it makes its own dot_general"
    if getattr(layer, slot, None) not in (None, lax.dot_general, lax.conv_general_dilated, jnp.einsum):
        return f"its {slot} is not Flax's own, and would be replaced"
    if base in (nnx.Embed, nnx.ConvTranspose) and type(layer) is not base:
        return f"its type is made from nnx.{base.__name__}, and a module that holds an nnx.{base.__name__} is wanted"
    return None


def check(model: nnx.Module, places: Sequence[Place]) -> None:
    """Refuse parameters that inputs may be multiplied with outside layers, and layers whose slots may receive others.

    A parameter that broadcasts is not multiplied with. What a slot receives is left open by a layer's own ``__call__``,
    and by code above it that mentions ``kernel``, ``embedding``, or functions that rewrite the state of a part.

    Args:
        model: the network.
        places: its modules, but for those that stay digital.

    Raises:
        ValueError: for the first such parameter or layer.
    """
    for place in places:
        kind, loose = type(place.module), [k for k, v in place.matrices.items() if 1 not in v.shape]
        if loose:
            raise _open(place, f"it holds {', '.join(loose)} itself, and crossjax has tiles for layers only")
        registered = kind_of(place.module)
        if registered is not None and registered.own:
            continue
        if place.slot and not _flax(kind.__call__):
            raise _open(place, f"{kind.__name__}.__call__ need not multiply with the layer's kernel")
        if place.slot and not _flax(place.module.promote_dtype):
            raise _open(place, "its promote_dtype is not Flax's own, and may change the kernel")
    layers = {id(place.module): place for place in places if place.slot}
    ways: dict[int, set[bool]] = {}
    code: dict[int, list[tuple[str, set[str]]]] = {}
    for _, node, above in reach(model):
        if id(node) not in layers:
            continue
        place = layers[id(node)]
        ways.setdefault(id(node), set()).add(any(isinstance(m, RESCALING) for m in above))
        if len(ways[id(node)]) > 1:
            raise _open(place, "one path to it leads through nnx.WeightNorm or SpectralNorm, another past them")
        kernel = getattr(kind_of(node), "kernel", "kernel")
        for module in above:
            if id(module) not in code:
                code[id(module)] = [(f.__qualname__, _names(f.__code__)) for f in _functions(module)]
            for function, names in code[id(module)]:
                mentions = kernel in names and not hasattr(module, kernel)  # its own, or a part that is called so
                if mentions or ("nnx" in names and names & {"state", "split"} and names & _WRITES):
                    raise _open(place, f"{function} seems to use or change kernels itself")


def _open(place: Place, why: str) -> ValueError:
    return refused(place, f"{why}. Pass example=inputs that reach it, and the trace of a call will tell")


def _functions(module: nnx.Module) -> Iterator[FunctionType]:
    """The functions of a module that are not Flax's: methods other than its constructor, and functions it holds."""
    classes = [cls for cls in type(module).__mro__ if not _flax(cls)]
    own = [v for cls in classes for name, v in vars(cls).items() if name != "__init__"]
    for value in [*own, *vars(module).values()]:
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if callable(value):
            value = inspect.unwrap(value)
            if isinstance(value, FunctionType) and not _flax(value):
                yield value


def _names(code: CodeType) -> set[str]:
    """The names and short texts that code mentions, functions inside it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found


def _flax(function: Any) -> bool:
    return (getattr(function, "__module__", None) or "").split(".")[0] in ("flax", "jax", "crossjax")


def _rank(layer: Any) -> int:
    """How many axes the kernel of one layer has."""
    if isinstance(layer, nnx.LinearGeneral):
        return len(layer.batch_axis) + len(layer.in_features) + len(layer.out_features)
    if isinstance(layer, nnx.Conv | nnx.ConvTranspose):
        return len(layer.kernel_size) + 2
    return len(layer.kernel_shape) if isinstance(layer, nnx.Einsum) else 2
