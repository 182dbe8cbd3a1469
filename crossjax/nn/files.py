"""Networks in files: parameters from PyTorch, and whole programmed networks saved and loaded exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from crossjax.data import read_tensors
from crossjax.nn.convert import Model, path_name
from crossjax.nn.flatten import Shapes, channels_last, check, declared

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


# ----------------------------------------------------------------------------------- saving what was built


def save(path: str | Path, model: nnx.Module) -> None:
    """Write every number of a network (parameters, chips, readings, keys) to a .safetensors file, whole or not at all.

    Raises:
        OSError: if it cannot be written.
    """
    path = Path(path)
    arrays, kinds = _flatten(nnx.state(model))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(arrays, temporary, metadata={"crossjax": json.dumps(kinds)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path, model: Model) -> Model:
    """A copy of a network with every number as `save` wrote it.

    Args:
        path: the file.
        model: a network of the same structure: converted with the same tiles and, if the saved one was programmed
            or read, programmed or read too (by `OneShot`, at any time: its numbers are replaced).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is truncated, or of another structure.
    """
    path, model = Path(path), nnx.clone(model)
    tensors = read_tensors(path, (".safetensors",))
    wanted, kinds = _flatten(nnx.state(model))
    missing, extra = set(wanted) - set(tensors), set(tensors) - set(wanted)
    if missing or extra:
        raise ValueError(
            f"{path.name} is of a network with another structure: "
            + "; ".join(f"{what} {_some(names)}" for what, names in (("lacks", missing), ("adds", extra)) if names)
        )
    for name, value in wanted.items():
        if tensors[name].shape != value.shape:
            raise ValueError(f"{path.name}: {name} has shape {tensors[name].shape}, the network {value.shape}")
    leaves, structure = jax.tree.flatten(nnx.state(model))
    names = list(kinds)
    values = [
        jax.random.wrap_key_data(jnp.asarray(tensors[n]), impl=kinds[n]) if kinds[n] else jnp.asarray(tensors[n])
        for n in names
    ]
    assert len(values) == len(leaves)
    nnx.update(model, jax.tree.unflatten(structure, values))
    return model


def _flatten(state: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by path, kind of random key or "" by path), in the order of the tree's leaves."""
    arrays, kinds = {}, {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        kinds[name] = str(jax.random.key_impl(leaf)) if is_key else ""
        arrays[name] = np.asarray(jax.random.key_data(leaf) if is_key else leaf, order="C")
    return arrays, kinds
