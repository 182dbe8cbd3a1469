"""Networks from files of others: parameters from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from crossjax.nn.convert import Model, path_name
from crossjax.nn.flatten import Shapes, channels_last, check, declared
from crossjax.tensors import read_tensors

_TORCH = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}


def load_torch(
    model: Model,
    path: str | Path,
    rename: Mapping[str, str] | None = None,
    *,
    flatten: Shapes | None = None,
    unflatten: Shapes | None = None,
) -> Model:
    """A copy of a network with the parameters and statistics of a .safetensors file written from PyTorch.

    Names are the paths of the network with PyTorch's last part ("res1.0.conv1.weight" for ``res1.0.conv1.kernel``);
    kernels come as (out, in, …) and are transposed. A map that PyTorch flattens channels first is channels last here:
    the weights that see it are reordered where that is declared, by the network's class (``flattened``, as `LeNet5`
    does) or by ``flatten``, and a network that may need it and declares nothing is refused.

    Args:
        model: a digital network of the same architecture.
        path: the file.
        rename: layers that are called otherwise there, e.g. ``{"classifier": "classifier.2"}``.
        flatten: shapes, channels first, of the maps that dense layers (or norms) see flattened, by path:
            ``{"fc1": (16, 5, 5)}``; None for a layer whose inputs have the same order in both.
        unflatten: the same of dense layers whose outputs become a map.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, lacks a tensor, holds another shape, or holds tensors that nothing takes; for
            layers that may see a flattened map, or transposed convolutions.
    """
    path, model = Path(path), nnx.clone(model)
    tensors = read_tensors(path, (".safetensors",))
    flattened = declared(model, "flattened", flatten)
    unflattened = declared(model, "unflattened", unflatten)
    check(model, flattened, unflattened)
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    variables = list(nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))))
    matrices = {path_name(where[:-1]) for where, _ in variables if where[-1] == "kernel"}
    for where, variable in variables:
        layer, last = path_name(where[:-1]), str(where[-1])
        name = f"{(rename or {}).get(layer, layer)}.{_TORCH.get(last, last)}"
        if name not in tensors:
            raise ValueError(f"{path.name} has no tensor {name!r} for {path_name(where)}; it has {_some(left)}")
        value = np.asarray(tensors[name])
        if last == "kernel":
            value = value.transpose(*range(2, value.ndim), 1, 0)
        wanted = jnp.shape(variable.get_value())
        if value.shape != wanted:
            raise ValueError(f"{path.name}: {name} has shape {tensors[name].shape}, {path_name(where)} is {wanted}")
        if not np.isfinite(value).all():
            raise ValueError(f"{path.name}: {name} holds NaN or infinite numbers")
        if (shape := flattened.get(layer)) is not None and (last == "kernel" or layer not in matrices):
            value = channels_last(value, 0, shape)
        if (shape := unflattened.get(layer)) is not None:
            value = channels_last(value, -1, shape)
        variable.set_value(jnp.asarray(value, variable.get_value().dtype))
        left.discard(name)
    if left:
        raise ValueError(f"{path.name} holds tensors that this network has no place for: {_some(left)}")
    return model


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
