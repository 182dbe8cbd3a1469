"""Chips, readings, tiles, devices and whatever else is made of specs, in files: exact, sealed and checked.

    thing ──encode──► tree (JSON) + arrays ──write──► one .safetensors file ──load──► the same thing, bit for bit

The arrays lie in the file as such, the specs as JSON in its metadata, with a format version, the fingerprint of the
hardware and a SHA-256 over every byte. A file names classes of specs; it never causes one to be imported or any code of
its own to run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from crossjax import _pytree
from crossjax.devices.device import DeviceState
from crossjax.hardware import differences, fingerprint
from crossjax.tensors import BLANK, BadFileError, door, seal, unsealed
from crossjax.tiles.tile import Tile

FORMAT = 1
_NATIVE = "?bhilqBHILQefd"  # NumPy types that every version of safetensors knows; others are stored as bytes

Types = Sequence[type]


def save(path: str | Path, thing: Any, *, tile: Tile | None = None) -> None:
    """Write a chip, a reading, a tile, a device, a cell, a programming method, a history …, whole or not at all.

        cx.save("chip.safetensors", chip, tile=tile)
        chip = cx.load("chip.safetensors", tile=tile)

    Anything that is made of specs (your own `crossjax.spec` classes too), arrays, keys, numbers, text, tuples, lists
    and dictionaries with text for keys. Networks have `crossjax.nn.save`.

    Args:
        path: the file; an existing one is replaced.
        thing: what to save.
        tile: the hardware that a chip or a reading belongs to, so that `load` can refuse another one. A thing with one
            tile in it brings its own.

    Raises:
        OSError: if there is no such folder, or it cannot be written.
        TypeError: for something of another kind (functions, traced numbers, networks); says where it is.
        ValueError: for conductances that are negative or not finite.
    """
    if tile is None:
        inside = [x for x in jax.tree.leaves(thing, is_leaf=_is_tile) if _is_tile(x)]
        tile = inside[0] if len(inside) == 1 else None
    write(Path(path), "thing", thing, tile)


def load(path: str | Path, *, tile: Tile | None = None, types: Types = ()) -> Any:
    """What `save` wrote, bit for bit: arrays as JAX or NumPy arrays as they were, numbers and classes as they were.

    Args:
        path: the file.
        tile: the hardware that is to be used with it: another one than the saved thing's is refused. The converters'
            ranges are settings, not hardware, and may differ.
        types: your own spec classes, where the modules that they are from are not imported or are called otherwise.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is damaged, of another hardware, of a class that is not there, or not a file of `save`.
    """
    kind, thing, saved = read(Path(path), types)
    if kind != "thing":
        raise BadFileError(f"{path} holds a network: use crossjax.nn.load(path, model), its digital model")
    if tile is not None:
        if saved is None:
            raise BadFileError(f"{path} does not say which hardware it is of: save it with crossjax.save(…, tile=tile)")
        if differ := differences(saved, tile):
            raise BadFileError(f"{path} is of other hardware: {differ}")
    return thing


# -------------------------------------------------------------------------------------------------- files


def write(path: Path, kind: str, thing: Any, tile: Any = None) -> None:
    """Write one file of any kind; see `save` for the errors."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} in: make it first")
    arrays: dict[str, np.ndarray] = {}
    document: dict[str, Any] = {"format": FORMAT, "kind": kind, "tree": encode(thing, "", arrays), "hardware": None}
    if tile is not None:
        document["hardware"] = {"tile": encode(tile, "tile", arrays), "fingerprint": fingerprint(tile)}
    if bad := bad_conductances(thing):
        raise ValueError(f"cannot save {path}: it {bad}")
    metadata = {"crossjax": json.dumps(document, ensure_ascii=True), "sha256": BLANK}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(arrays, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error
        temporary.chmod(mode)  # safetensors makes files for their owner's eyes only
        seal(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, types: Types = ()) -> tuple[str, Any, Tile | None]:
    """(kind, what was written, its hardware) of a file; see `load` for the errors."""
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    with door(path, "a file of crossjax"):
        document, arrays = _contents(path)
        tile = None
        if hardware := document["hardware"]:
            tile = decode(hardware["tile"], arrays, types)
            if fingerprint(tile) != hardware["fingerprint"]:
                raise BadFileError("does not agree with the fingerprint of its own hardware: it was edited")
        thing = decode(document["tree"], arrays, types)
        if bad := bad_conductances(thing):
            raise BadFileError(bad)
    return document["kind"], thing, tile


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The document and the arrays of a file that is what was saved."""
    metadata = unsealed(path)
    if not {"crossjax", "sha256"} <= set(metadata):
        raise BadFileError(
            "was not written by crossjax.save or crossjax.nn.save, or is damaged (PyTorch's files: load_torch)"
        )
    document = json.loads(metadata["crossjax"])
    if document["format"] != FORMAT:
        raise BadFileError(f"is of format {document['format']!r}, and this crossjax reads format {FORMAT}")
    with safe_open(path, framework="numpy") as archive:
        return document, {name: archive.get_tensor(name) for name in archive.keys()}


# ------------------------------------------------------------------------------ things to trees and back


def encode(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for ``value``, found at ``where`` of the thing; its arrays go into ``arrays``.

    Raises:
        TypeError: for what cannot be saved.
    """
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"{where or 'this'} is traced: save outside of jit, vmap and grad")
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _encode_array(value, where, arrays)
    if isinstance(value, list):
        return [encode(v, _join(where, k), arrays) for k, v in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": [encode(v, _join(where, k), arrays) for k, v in enumerate(value)]}
    if isinstance(value, Mapping) and all(isinstance(k, str) for k in value):
        return {"dict": {k: encode(v, _join(where, k), arrays) for k, v in value.items()}}
    if is_spec(type(value)):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
        return {
            "spec": f"{type(value).__module__}:{type(value).__qualname__}",
            "fields": {k: encode(v, _join(where, k), arrays) for k, v in fields.items()},
        }
    network = any(cls.__module__.startswith("flax.") for cls in type(value).__mro__)
    raise TypeError(
        f"{where or 'this'} cannot be saved: it is a {type(value).__module__}.{type(value).__qualname__}; "
        + ("use crossjax.nn.save for a network" if network else "make it a crossjax.spec class")
    )


def _encode_array(value: Any, where: str, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    node = {"array" if isinstance(value, jax.Array) else "numpy": ""}
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        node = {"key": "", "impl": str(jax.random.key_impl(value))}
        value = jax.random.key_data(value)
    plain = np.asarray(value, order="C")
    if plain.dtype.hasobject or plain.dtype.names or not plain.dtype.isnative:
        raise TypeError(f"{where or 'this'} cannot be saved: it is an array of {plain.dtype}, not of plain numbers")
    if plain.dtype.char not in _NATIVE:
        node["dtype"] = plain.dtype.name
        plain = plain.reshape(-1).view(np.uint8).reshape(*plain.shape, plain.dtype.itemsize)
    name = where or "array"
    while name in arrays or name == "__metadata__":
        name += "'"
    arrays[name] = plain
    return {**node, next(iter(node)): name}


def decode(node: Any, arrays: Mapping[str, np.ndarray], types: Types) -> Any:
    """What `encode` was given.

    Raises:
        BadFileError: for a class that is not there, or arrays that this process cannot hold exactly.
    """
    if isinstance(node, list):
        return [decode(v, arrays, types) for v in node]
    if not isinstance(node, dict):
        return node
    if "float" in node:
        return float(node["float"])
    if "tuple" in node:
        return tuple(decode(v, arrays, types) for v in node["tuple"])
    if "dict" in node:
        return {k: decode(v, arrays, types) for k, v in node["dict"].items()}
    if "spec" in node:
        cls = _class(node["spec"], types)
        known = {f.name for f in dataclasses.fields(cls)}
        if other := known ^ set(node["fields"]):
            raise BadFileError(f"is of another version of {cls.__name__}: one of them lacks {', '.join(sorted(other))}")
        return cls(**{k: decode(v, arrays, types) for k, v in node["fields"].items()})
    if "key" in node:
        return jax.random.wrap_key_data(jnp.asarray(arrays[node["key"]]), impl=node["impl"])
    plain = arrays[node["array"] if "array" in node else node["numpy"]]
    if "dtype" in node:
        plain = plain.reshape(-1).view(jnp.dtype(node["dtype"])).reshape(plain.shape[:-1])
    if "numpy" in node:
        return plain
    made = jnp.asarray(plain)
    if made.dtype != plain.dtype:
        raise BadFileError(f"holds {plain.dtype} arrays, which this process would round: set jax_enable_x64")
    return made


def is_spec(cls: type) -> bool:
    """Whether a class was made by `crossjax.spec`."""
    return getattr(vars(cls).get("__post_init__"), "__module__", None) == _pytree.__name__


def _class(name: str, types: Types) -> Any:
    """A spec class by its name: of ``types``, of crossjax, or of a module that is imported already."""
    module, _, path = name.partition(":")
    for cls in types:
        if is_spec(cls) and path.split(".")[-1] == cls.__name__:
            return cls
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = None if found is None else vars(found).get(part)
    if not (isinstance(found, type) and is_spec(found)):
        raise BadFileError(f"needs the spec class {path} of {module}: import that module, or give types=[{path}]")
    return found


def bad_conductances(thing: Any) -> str:
    """What is wrong with the devices in ``thing``, if any conductance is negative or not finite; else empty."""
    for state in jax.tree.leaves(thing, is_leaf=lambda x: isinstance(x, DeviceState)):
        if isinstance(state, DeviceState):
            g = np.asarray(state.g)
            if bad := int(np.sum(~(np.isfinite(g) & (g >= 0)))):
                return f"holds {bad} of {g.size} conductances that are negative or not finite"
    return ""


def _is_tile(value: Any) -> bool:
    return isinstance(value, Tile)


def _join(where: str, part: Any) -> str:
    return f"{where}.{part}" if where else str(part)
