"""Equinox networks: their numbers into a network of NNX of the same architecture.

    from crossjax.interop import equinox
    net = equinox.load(cx.nn.models.MLP((64, 32, 10), rngs=nnx.Rngs(0)), eqx_mlp)

Equinox lays its arrays out as PyTorch does; names are the paths of the module ("layers.0.weight").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from crossjax._checks import KindError, is_array
from crossjax.interop import maps as _maps
from crossjax.interop.maps import Map, attention, conv, dense, embedding, gru, lstm, norm
from crossjax.nn.convert import Model


def state_dict(net: Any) -> dict[str, np.ndarray]:
    """The arrays of an Equinox module by path.

    Raises:
        TypeError: for something without arrays.
    """
    found = {}
    for where, leaf in jax.tree_util.tree_flatten_with_path(net)[0]:
        if is_array(leaf) and leaf.dtype.kind in "fiub":
            name = re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", jax.tree_util.keystr(where)).strip(".")
            found[name] = np.asarray(leaf)
    if not found:
        raise KindError(f"this {type(net).__name__} holds no arrays: an Equinox module is a pytree of them")
    return found


def load(model: Model, net: Any, maps: Mapping[str, Map | str] | None = None) -> Model:
    """A copy of a network with the numbers of an Equinox module.

    Args:
        model: a network of NNX of the same architecture.
        net: the Equinox module.
        maps: as of `crossjax.interop.torch.load`; Equinox's LSTM and GRU cells are ``lstm(path, None)``, ``gru(path,
            None)``.

    Raises:
        TypeError: for something without arrays.
        ValueError: as `crossjax.interop.torch.load`.
    """
    return _maps.load(model, state_dict(net), maps or {}, f"the {type(net).__name__}")


__all__ = ["Map", "attention", "conv", "dense", "embedding", "gru", "load", "lstm", "norm", "state_dict"]
