"""Parameters of others' layers as those of NNX layers, one map a kind of layer, and networks filled by them.

PyTorch's layout is the reference: matrices are (out, in, …), an LSTM's gates lie in the order i, f, g, o with two
biases that add up, attention has query, key and value in one matrix. Every number of the source must find a place, and
every parameter of the network a number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from crossjax._checks import check_name
from crossjax.nn.convert import Model
from crossjax.nn.flatten import channels_last, check
from crossjax.nn.language import LSTM

Tensors = Mapping[str, np.ndarray]
Made = dict[str, np.ndarray]
ENDINGS = ("num_batches_tracked",)  # of tensors that no layer needs


@dataclasses.dataclass(frozen=True)
class Map:
    """What fills one layer.

    Attributes:
        name: of the layer in the source.
        make: (tensors, layer) → arrays by the parameter's path inside the layer.
        flatten: shape, channels first, of the map that the layer sees flattened; None: none, or in the same order.
    """

    name: str
    make: Callable[[Tensors, Any], Made]
    flatten: tuple[int, ...] | None = None


class _Taken(Mapping[str, np.ndarray]):
    """Tensors that remember which of them were asked for."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors, self.taken = tensors, set[str]()

    def __getitem__(self, name: str) -> np.ndarray:
        check_name(name, tuple(self.tensors), "tensor")
        self.taken.add(name)
        return np.asarray(self.tensors[name])

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def _join(name: str, end: str) -> str:
    """A tensor's name; that of a network that is one layer has nothing before it."""
    return f"{name}.{end}" if name else end


def _matrix(weight: np.ndarray) -> np.ndarray:
    """(out, in, …) → (…, in, out)."""
    return weight.transpose(*range(2, weight.ndim), 1, 0)


def _with_bias(found: Made, tensors: Tensors, name: str) -> Made:
    return found | ({"bias": tensors[_join(name, "bias")].ravel()} if _join(name, "bias") in tensors else {})


def dense(name: str, *, flatten: tuple[int, ...] | None = None) -> Map:
    """A dense layer; ``flatten``: the (channels, height, width) that it sees flattened channels first."""

    def make(tensors: Tensors, layer: Any) -> Made:
        kernel = _matrix(tensors[_join(name, "weight")])
        return _with_bias({"kernel": kernel if flatten is None else channels_last(kernel, 0, flatten)}, tensors, name)

    return Map(name, make, flatten)


def conv(name: str) -> Map:
    """A convolution of any rank."""

    def make(tensors: Tensors, layer: Any) -> Made:
        return _with_bias({"kernel": _matrix(tensors[_join(name, "weight")])}, tensors, name)

    return Map(name, make)


def norm(name: str) -> Map:
    """A batch, layer or group norm, statistics included where there are some."""

    def make(tensors: Tensors, layer: Any) -> Made:
        theirs = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
        return {ours: tensors[_join(name, other)] for ours, other in theirs.items() if _join(name, other) in tensors}

    return Map(name, make)


def embedding(name: str) -> Map:
    """A table that is looked up."""
    return Map(name, lambda tensors, layer: {"embedding": tensors[_join(name, "weight")]})


def lstm(name: str, layer: int | None = 0) -> Map:
    """One layer of an LSTM, gates i, f, g, o: ``weight_ih_l0`` …; ``layer=None`` for a cell (``weight_ih``).

    For `crossjax.nn.language.LSTM`, whose gates are one matrix [x, h] → 4 h, ``nnx.LSTMCell`` and
    ``nnx.OptimizedLSTMCell``. The two biases are added.
    """
    end = "" if layer is None else f"_l{layer}"

    def make(tensors: Tensors, module: Any) -> Made:
        along, back = (_matrix(tensors[_join(name, f"weight_{side}{end}")]) for side in ("ih", "hh"))
        biases = [
            tensors[full]
            for full in (_join(name, f"bias_ih{end}"), _join(name, f"bias_hh{end}"), _join(name, f"bias{end}"))
            if full in tensors
        ]
        bias = sum(biases, np.zeros(along.shape[1], along.dtype))
        if isinstance(module, LSTM):
            return {"gates.kernel": np.concatenate([along, back]), "gates.bias": bias}
        if isinstance(module, nnx.OptimizedLSTMCell):
            return {"dense_i.kernel": along, "dense_h.kernel": back, "dense_h.bias": bias}
        found: Made = {}
        parts = zip("ifgo", *(np.split(a, 4, axis=-1) for a in (along, back, bias)), strict=True)
        for gate, a, b, c in parts:
            inner = "if_" if gate == "f" else f"i{gate}"
            found |= {f"{inner}.kernel": a, f"h{gate}.kernel": b, f"h{gate}.bias": c}
        return found

    return Map(name, make)


def gru(name: str, layer: int | None = 0) -> Map:
    """One layer of a GRU, gates r, z, n, for ``nnx.GRUCell``; ``layer=None`` for a cell.

    Its candidate has no hidden bias there: one that is not 0 is refused.
    """
    end = "" if layer is None else f"_l{layer}"

    def make(tensors: Tensors, module: Any) -> Made:
        along, back = (_matrix(tensors[_join(name, f"weight_{side}{end}")]) for side in ("ih", "hh"))
        zeros = np.zeros(along.shape[1], along.dtype)

        def bias(*ends: str) -> np.ndarray:
            return next((tensors[full] for e in ends if (full := _join(name, e)) in tensors), zeros)

        first, second = bias(f"bias_ih{end}", f"bias{end}"), bias(f"bias_hh{end}")
        hidden = np.concatenate([second[-len(second) // 3 :], bias("bias_n")[: len(zeros) // 3]])
        if np.any(hidden):
            raise ValueError(f"{name or 'the cell'} has a hidden bias of the candidate, and nnx.GRUCell has none")
        return {"dense_i.kernel": along, "dense_h.kernel": back, "dense_i.bias": first + second}

    return Map(name, make)


def attention(name: str) -> Map:
    """Multi-head attention, of one matrix (``in_proj_weight``) or of three (``q_proj`` or ``query_proj`` …)."""

    def make(tensors: Tensors, layer: Any) -> Made:
        heads, found = layer.num_heads, {}
        whole = _join(name, "in_proj_weight")
        parts = np.split(tensors[whole], 3) if whole in tensors else None
        biases = np.split(tensors[_join(name, "in_proj_bias")], 3) if _join(name, "in_proj_bias") in tensors else None
        for k, part in enumerate(("query", "key", "value")):
            other = next(
                (o for o in (f"{part}_proj", f"{part[0]}_proj") if _join(name, f"{o}.weight") in tensors), None
            )
            weight = parts[k] if parts is not None else tensors[_join(name, f"{other or part + '_proj'}.weight")]
            bias = biases[k] if biases is not None else None
            if bias is None and _join(name, f"{other}.bias") in tensors:
                bias = tensors[_join(name, f"{other}.bias")]
            found[f"{part}.kernel"] = weight.T.reshape(weight.shape[1], heads, -1)
            if bias is not None:
                found[f"{part}.bias"] = bias.reshape(heads, -1)
        out = "output_proj" if _join(name, "output_proj.weight") in tensors else "out_proj"
        weight = tensors[_join(name, f"{out}.weight")]
        found["out.kernel"] = weight.T.reshape(heads, -1, weight.shape[0])
        if _join(name, f"{out}.bias") in tensors:
            found["out.bias"] = tensors[_join(name, f"{out}.bias")]
        return found

    return Map(name, make)


KINDS: tuple[tuple[Any, Callable[[str], Map]], ...] = (
    (nnx.MultiHeadAttention, attention),
    (LSTM, lstm),
    ((nnx.LSTMCell, nnx.OptimizedLSTMCell), lambda name: lstm(name, None)),
    (nnx.GRUCell, lambda name: gru(name, None)),
    ((nnx.BatchNorm, nnx.LayerNorm, nnx.GroupNorm, nnx.RMSNorm), norm),
    (nnx.Embed, embedding),
    (nnx.Linear, dense),
    (nnx.Conv, conv),
)


def load(
    model: Model,
    tensors: Tensors,
    maps: Mapping[str, Map | str],
    source: str,
    kinds: tuple[tuple[Any, Callable[[str], Map]], ...] = KINDS,
) -> Model:
    """A copy of the network with the source's numbers.

    Args:
        model: of NNX, of the same architecture.
        tensors: of the source, by name.
        maps: by the layer's path in the network; a name alone is mapped by the kind of the layer. Layers that are not
            named are looked for under their own path.
        source: what the numbers are from, for messages.
        kinds: which map is a kind of layer's own.

    Raises:
        ValueError: for a path or a tensor that is not there (the nearest is suggested), another shape, NaN or infinity,
            a parameter without a number, numbers without a place, or a dense layer that may see a flattened map.
    """
    model, given = nnx.clone(model), _Taken(tensors)
    found = dict(_chosen(model, maps, kinds))
    for path in maps:
        check_name(path, tuple(found), "layer of the network")
    if any(isinstance(layer, nnx.Conv) for layer, _ in found.values()):
        check(model, {path: m.flatten for path, (layer, m) in found.items() if _declares(layer, maps.get(path))}, {})
    state = {
        ".".join(map(str, where)): v for where, v in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))
    }
    missing = set(state)
    for path, (layer, how) in found.items():
        try:
            made = how.make(given, layer)
        except ValueError as error:
            raise ValueError(f"{source}, for {path or 'the network'}: {error}") from error
        for inner, value in made.items():
            where = f"{path}.{inner}" if path else inner
            check_name(where, tuple(state), f"parameter of the network, for {how.name} of {source}")
            variable = state[where]
            if value.shape != jnp.shape(variable.get_value()):
                raise ValueError(
                    f"{source}: {how.name} gives {where} the shape {value.shape}, and it is "
                    f"{jnp.shape(variable.get_value())}"
                )
            if not np.isfinite(value).all():
                raise ValueError(f"{source}: {how.name} holds NaN or infinite numbers")
            variable.set_value(jnp.asarray(value, variable.get_value().dtype))
            missing.discard(where)
    if missing:
        raise ValueError(f"{source} has nothing for {_some(missing)} of the network")
    left = {name for name in tensors if name not in given.taken and not name.endswith(ENDINGS)}
    if left:
        raise ValueError(f"{source} holds what the network has no place for: {_some(left)}")
    return model


def _declares(layer: Any, given: Map | str | None) -> bool:
    return isinstance(layer, nnx.Linear) and isinstance(given, Map)


def _chosen(
    module: Any, maps: Mapping[str, Map | str], kinds: tuple[tuple[Any, Callable[[str], Map]], ...], path: str = ""
) -> Iterator[tuple[str, tuple[Any, Map]]]:
    """Layers by path, outermost first, each with its map."""
    given = maps.get(path)
    own = next((maker for kind, maker in kinds if isinstance(module, kind)), None)
    if isinstance(given, Map):
        yield path, (module, given)
    elif own is not None:
        yield path, (module, own(path if given is None else given))
    else:
        for name, child in nnx.iter_children(module):
            yield from _chosen(child, maps, kinds, f"{path}.{name}" if path else str(name))


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:6]) + (f" and {len(shown) - 6} more" if len(shown) > 6 else "")
