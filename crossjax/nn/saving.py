"""Whole networks in files: parameters, tiles, chips, readings, keys and modes, exact and sealed (`crossjax.store`).

A file does not hold the network's code. It is loaded into a network of the same structure, digital or on tiles; what
the file says of tiles, chips and readings is made anew in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from crossjax import store
from crossjax.hardware import differences, fingerprint
from crossjax.nn import ops as parts
from crossjax.nn.convert import Model, layers, matrices, path_name, to_analog
from crossjax.nn.ops import Op
from crossjax.tensors import BadFileError

_MODES = ("deterministic", "use_running_average")  # what model.train() and model.eval() change


def save(path: str | Path, model: nnx.Module) -> None:
    """Write a network, digital, on tiles, programmed or read, to a .safetensors file, whole or not at all.

    Raises:
        OSError: if there is no such folder, or it cannot be written.
        TypeError: for something else than an `nnx.Module`, or a variable that cannot be saved.
        ValueError: for a network that `load` could not make anew: two variables of one name, chips of other shapes
            than the kernels, conductances that are negative or not finite.
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(f"crossjax.nn.save keeps flax.nnx modules, got {type(model).__name__}: see crossjax.save")
    saved = _describe(model)
    if wrong := _misfits(model):
        raise ValueError(f"cannot save {path}: {wrong}")
    store.write(Path(path), "network", saved)


def load(path: str | Path, model: Model, *, types: store.Types = ()) -> Model:
    """A copy of a network with every number and mode as `save` wrote it, on the tiles and chips of the file.

        net = cx.nn.load("chip.safetensors", MLP(rngs=nnx.Rngs(0)))

    Args:
        path: the file.
        model: a network of the same structure: the digital one, which is converted as the saved one was; or one that
            is on the same hardware already (the ranges of its converters may differ: those of the file hold).
        types: your own spec classes, as for `crossjax.load`.

    Raises:
        OSError: if there is no such file.
        ValueError: if it is damaged, or of a network of another structure, other types or other hardware.
    """
    path = Path(path)
    kind, saved, _ = store.read(path, types)
    if kind != "network":
        raise BadFileError(f"{path} holds no network: use crossjax.load(path)")
    there: dict[str, Any] = saved["layers"]
    model = nnx.clone(model)
    if there and not any(True for _ in layers(model)):
        _refuse(path, _compare({**saved, "layers": {}}, _describe(model)))
        rules = [(re.escape(name), layer["state"]["tile"]["value"]) for name, layer in there.items()]
        try:
            model = to_analog(model, None, rules, report=None)
        except ValueError as error:
            raise BadFileError(
                f"{path} cannot be put on tiles here, give load the converted network: {error}"
            ) from error
    _refuse(path, _compare(saved, _describe(model)))
    for name, _, op in layers(model):
        _restore_op(op, there[name])
    for name, variable in _variables(model):
        variable.set_value(saved["variables"][name])
    for name, module in _modules(model):
        for mode in _MODES:
            if mode in saved["modules"][name]["settings"]:
                setattr(module, mode, saved["modules"][name]["settings"][mode])
    _refuse(path, _misfits(model))
    return model


def _refuse(path: Path, wrong: str) -> None:
    if wrong:
        raise BadFileError(f"{path} is of a network with another structure: {wrong}")


# ------------------------------------------------------------------------------- what a network consists of


def _describe(model: nnx.Module) -> dict[str, Any]:
    """Layers on tiles, other modules and other variables of a network, by path."""
    described: dict[str, Any] = {"layers": {}, "modules": {}, "variables": {}}
    for name, _, op in layers(model):
        state = {
            k: {"type": type(v).__name__, "value": v.get_value()}
            for k, v in vars(op).items()
            if isinstance(v, nnx.Variable)
        }
        described["layers"][name] = {
            "type": type(op).__name__,
            "settings": _settings(op),
            "state": state,
            "fingerprint": fingerprint(op.tile.get_value()),
        }
    for name, module in _modules(model):
        described["modules"][name] = {"type": type(module).__name__, "settings": _settings(module)}
    for name, variable in _variables(model):
        if name in described["variables"]:
            raise ValueError(f"two variables of this network are called {name}: a file could not tell them apart")
        described["variables"][name] = variable.get_value()
    return described


def _nodes(model: nnx.Module) -> Iterator[tuple[str, Any]]:
    """(path, node) of everything outside of ops."""
    nodes = list(nnx.iter_graph(model))
    inside = [path for path, node in nodes if isinstance(node, Op)]
    return ((path_name(p), n) for p, n in nodes if not any(p[: len(op)] == op for op in inside))


def _modules(model: nnx.Module) -> Iterator[tuple[str, nnx.Module]]:
    return ((name, node) for name, node in _nodes(model) if isinstance(node, nnx.Module))


def _variables(model: nnx.Module) -> Iterator[tuple[str, nnx.Variable]]:
    return ((name, node) for name, node in _nodes(model) if isinstance(node, nnx.Variable))


def _settings(module: nnx.Module) -> dict[str, Any]:
    """The plain attributes of a module: sizes, strides, switches, names of functions and number types."""
    own = {k: v for k, v in vars(module).items() if not k.startswith("_") and not k.endswith("_init")}
    return {k: _plain(v) for k, v in own.items() if not isinstance(v, nnx.Pytree | nnx.Variable)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(v) for v in value)
    if isinstance(value, bool | int | float | str | None):
        return value
    return getattr(value, "__name__", type(value).__name__)


# --------------------------------------------------------------------------------- comparing and restoring


def _compare(saved: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """How the network of a file differs from one that is to take it, as one line; empty if it does not."""
    found = []
    for what, one in (("layers", "layer on tiles"), ("variables", "variable"), ("modules", "module")):
        lacks, adds = sorted(set(here[what]) - set(saved[what])), sorted(set(saved[what]) - set(here[what]))
        found += [f"it lacks the {one} {_some(lacks)}"] if lacks else []
        found += [f"it adds the {one} {_some(adds)}"] if adds else []
    if found:
        return "; ".join(found)
    for name, value in here["variables"].items():
        a, b = _form(saved["variables"][name]), _form(value)
        found += [] if a == b else [f"{name} is {a} there and {b} here"]
    for what in ("layers", "modules"):
        for name, module in here[what].items():
            other, label = saved[what][name], name or "the model"
            if other["type"] != module["type"]:
                found.append(f"{label} is {other['type']} there and {module['type']} here")
            for key in other["settings"].keys() & module["settings"].keys():
                a, b = other["settings"][key], module["settings"][key]
                switch = what == "layers" and any(isinstance(v, bool | None) for v in (a, b))
                if a != b and not switch and key not in _MODES:
                    found.append(f"{label}.{key} is {a} there and {b} here")
    for name, layer in here["layers"].items():
        other = saved["layers"][name]
        if other["fingerprint"] != layer["fingerprint"]:
            tiles = other["state"]["tile"]["value"], layer["state"]["tile"]["value"]
            found.append(f"{name} is on other hardware, {differences(*tiles)}")
    return "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")


def _form(value: Any) -> str:
    leaves, structure = jax.tree.flatten(value)
    shapes = ", ".join(f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(jnp.shape(leaf))}" for leaf in leaves)
    return shapes if jax.tree_util.treedef_is_leaf(structure) else f"{structure} of {shapes}"


def _restore_op(op: Any, saved: Mapping[str, Any]) -> None:
    for name, setting in saved["settings"].items():
        if isinstance(getattr(op, name, None), nnx.Variable):
            setattr(op, name, nnx.data(None))
        elif name in vars(op):
            setattr(op, name, setting)
    for name, variable in saved["state"].items():
        if isinstance(getattr(op, name, None), nnx.Variable):
            getattr(op, name).set_value(variable["value"])
            continue
        kind = vars(parts).get(variable["type"])
        if not (isinstance(kind, type) and issubclass(kind, nnx.Variable)):
            raise BadFileError(f"this crossjax knows no {variable['type']} of a layer: the file is of another version")
        setattr(op, name, kind(variable["value"]))


def _misfits(model: nnx.Module) -> str:
    """The first layer whose chip or reading is not of its kernel's shape, as one line; empty if there is none."""
    for name, layer, op in layers(model):
        groups, rows, cols = matrices(layer, op).shape
        for held in (op.chip, op.reading):
            if held is None:
                continue
            made = held.get_value()
            if not hasattr(made, "shape"):
                continue  # of other hardware, which has to see for itself
            size = made.shape if isinstance(made, jax.Array) else (jax.tree.leaves(made)[0].shape[0], *made.shape)
            if size != (groups, rows, cols):
                return f"{name} has a chip of (groups, rows, cols) = {size} and a kernel of {(groups, rows, cols)}"
    return ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
