"""Flax linen's networks: their variables into a network of NNX of the same architecture.

    from crossjax.interop import linen
    net = linen.load(net, variables, {"layers.0": "Dense_0", "layers.1": "Dense_1"})

Linen and NNX lay their arrays out alike; only the paths differ, and linen's names are mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from crossjax._checks import KindError
from crossjax.interop import maps as _maps
from crossjax.interop.maps import KINDS, Made, Map, Tensors
from crossjax.nn.convert import Model

_INNER = {"if_": "if"}  # a word of Python


def _same(name: str) -> Map:
    """Every parameter under the same name."""

    def make(tensors: Tensors, layer: Any) -> Made:
        found = {}
        for where, _ in nnx.to_flat_state(nnx.state(layer, (nnx.Param, nnx.BatchStat))):
            inner = ".".join(_INNER.get(str(part), str(part)) for part in where)
            full = f"{name}.{inner}" if name else inner
            found[".".join(map(str, where))] = tensors[full]
        return found

    return Map(name, make)


def load(model: Model, variables: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Model:
    """A copy of a network with the variables of a linen module.

    Args:
        model: a network of NNX of the same architecture.
        variables: what ``module.init`` or training gave: ``{"params": …, "batch_stats": …}``, or the parameters alone.
        names: linen's names by the layer's path here; layers that are not named are looked for under their own path.

    Raises:
        TypeError: for something that is no dictionary of arrays.
        ValueError: as `crossjax.interop.torch.load`.
    """
    if not isinstance(variables, Mapping) or not variables:
        raise KindError(f"linen's variables are a dictionary such as {{'params': …}}, got {type(variables).__name__}")
    groups = [variables[k] for k in ("params", "batch_stats") if k in variables] or [variables]
    tensors: dict[str, np.ndarray] = {}
    for group in groups:
        tensors |= {".".join(map(str, k)): np.asarray(v) for k, v in flatten_dict(dict(group)).items()}
    kinds: tuple[tuple[Any, Callable[[str], Map]], ...] = tuple((kind, _same) for kind, _ in KINDS)
    return _maps.load(model, tensors, {**(names or {})}, "linen's variables", (*kinds, (nnx.LinearGeneral, _same)))


__all__ = ["load"]
