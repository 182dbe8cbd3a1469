"""Networks from files of others: parameters from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from crossjax.data import read_tensors
from crossjax.nn.convert import Model, path_name

_TORCH = {"kernel": "weight", "scale": "weight", "embedding": "weight", "mean": "running_mean", "var": "running_var"}


def load_torch(model: Model, path: str | Path, rename: Mapping[str, str] | None = None) -> Model:
    """A copy of a network with the parameters and statistics of a .safetensors file written from PyTorch.

    Names are the paths of the network with PyTorch's last part ("res1.0.conv1.weight" for ``res1.0.conv1.kernel``);
    kernels come as (out, in, …) and are transposed.

    Args:
        model: a digital network of the same architecture.
        path: the file.
        rename: layers that are called otherwise there, e.g. ``{"classifier": "classifier.2"}``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, lacks a tensor, holds another shape, or holds tensors that nothing takes.
    """
    path, model = Path(path), nnx.clone(model)
    tensors = read_tensors(path, (".safetensors",))
    left = {name for name in tensors if not name.endswith("num_batches_tracked")}
    for where, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
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
        variable.set_value(jnp.asarray(value, variable.get_value().dtype))
        left.discard(name)
    if left:
        raise ValueError(f"{path.name} holds tensors that this network has no place for: {_some(left)}")
    return model


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
