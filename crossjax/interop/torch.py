"""PyTorch's networks: a state_dict, through explicit maps, into one of NNX.

    from crossjax.interop import torch
    net = torch.load(net, "model.safetensors", {"rnn": torch.lstm("encoder", layer=0), "head": "classifier.2"})

PyTorch itself is not needed: a file is .safetensors (``safetensors.torch.save_file(net.state_dict(), …)``), .npz, or a
dictionary of arrays or tensors. `crossjax.nn.load_torch` is the short way for networks whose paths are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossjax._checks import KindError
from crossjax.interop import maps as _maps
from crossjax.interop.maps import Map, attention, conv, dense, embedding, gru, lstm, norm
from crossjax.nn.convert import Model
from crossjax.tensors import read_tensors


def load(model: Model, source: str | Path | Mapping[str, Any], maps: Mapping[str, Map | str] | None = None) -> Model:
    """A copy of a network with a state_dict's parameters and statistics.

    Args:
        model: a network of NNX of the same architecture.
        source: a .safetensors or .npz file, or the state_dict.
        maps: by the layer's path here: `dense`, `conv`, `norm`, `embedding`, `lstm`, `gru`, `attention`, or only the
            name there, for the map of the layer's own kind. Layers that are not named are looked for under their own
            path.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: for something that is no dictionary of arrays.
        ValueError: for a pickled file, a path or a name that is not there (the nearest is suggested), another shape,
            NaN, numbers without a place, parameters without a number, or a dense layer that may see a flattened map
            (``dense(name, flatten=(channels, height, width))``, or ``dense(name)`` where the order is the same).
    """
    if isinstance(source, Mapping):
        return _maps.load(model, {k: _array(k, v) for k, v in source.items()}, maps or {}, "the state_dict")
    path = Path(source)
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise ValueError(
            f"{path} is a pickle, which only PyTorch can read: there, "
            "safetensors.torch.save_file(net.state_dict(), 'net.safetensors')"
        )
    return _maps.load(model, read_tensors(path, (".safetensors", ".npz")), maps or {}, path.name)


def _array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    found = np.asarray(value)
    if found.dtype.kind not in "fiub":
        raise KindError(f"the state_dict's {name} must be an array of numbers, got {type(value).__name__}")
    return found


__all__ = ["Map", "attention", "conv", "dense", "embedding", "gru", "load", "lstm", "norm"]
