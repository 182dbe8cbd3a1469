"""Turning a Flax NNX network into one that computes on tiles, and telling what was turned and what was not."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from flax import nnx
from jax import Array
from rich.console import Console
from rich.table import Table

from crossjax._checks import KindError, shown
from crossjax._kinds import door
from crossjax._random import all_named, named, numbered
from crossjax.circuits.converters import check_percentile
from crossjax.nn.hardware import Hardware, as_hardware, is_hardware
from crossjax.nn.ops import Observed, Op
from crossjax.nn.provable import check, refused, unfit
from crossjax.nn.registry import kind_of
from crossjax.nn.trace import follow
from crossjax.nn.walk import Model, Place, kernel_of, layers, matrices, ops, path_name, places, received
from crossjax.tiles.injection import Injection
from crossjax.tiles.tile import Tile

__all__ = ["account", "advance", "calibrate", "digital", "kernel_of", "layers", "matrices", "ops", "path_name",
           "set_key", "summary", "to_analog", "with_typical_ranges"]  # fmt: skip

Rule = tuple[str | type, Tile | Hardware | None]

_FOREIGN = {
    "flax.linen": "build the same network of layers of flax.nnx, and fill it with crossjax.interop.linen.load",
    "equinox": "build the same network of layers of flax.nnx, and fill it with crossjax.interop.equinox.load",
    "torch.nn": "build the same network of layers of flax.nnx, and fill it with crossjax.interop.torch.load",
}


def to_analog(
    model: Model,
    tile: Tile | Hardware | None,
    rules: Sequence[Rule] = (),
    *,
    injections: Sequence[Injection] = (),
    learn_ranges: bool = False,
    key: Array | None = None,
    share: bool = False,
    example: Any = None,
    report: Callable[[str], None] | None = print,
) -> Model:
    """The same network with its matrix products on tiles: same call, same parameter paths.

    Linear, LinearGeneral (hence attention), Conv and ConvTranspose of any rank, Einsum and recurrent cells are
    converted, whatever contains them; Embed where a rule says so. Biases, norms, parameters that broadcast (an axis of
    1) and products of activations stay digital.

        analog = cx.nn.to_analog(model, cx.presets.standard(), rules=[("head", None), (nnx.Conv, other_tile)])

    A chip holds one kernel, so that a layer's slot must receive the kernel that the layer holds (times its mask, and
    rescaled by `nnx.WeightNorm` or `nnx.SpectralNorm`). Where the code leaves that open, the layer is refused, unless
    an example settles it.

    Args:
        model: any `nnx.Module`.
        tile: the hardware of layers that no rule matches, a `Tile` or what is `Hardware`; None keeps them digital.
        rules: (what, tile) in order, the first match decides: ``what`` is a regular expression for the whole path
            ("layers.0.conv1"; any path of a layer that has several) or a layer type, ``tile`` a `Tile` or None to keep
            the layer digital (or `Hardware`).
        injections: what disturbs weights while training (`WeightNoise`, `DeviceNoise`, `DropConnect`).
        learn_ranges: make the DACs' input ranges parameters (`InputRange`), to be trained with the others.
        key: of the noise; see `set_key`. None: ``jax.random.key(0)``.
        share: keep the parameters those of ``model``, so that training one trains the other, instead of a copy.
        example: an input, or a tuple of the call's arguments (shapes suffice: `jax.ShapeDtypeStruct`). One call is
            traced: every layer's slot must receive its kernel, parameters outside layers are told by whether inputs
            are multiplied with them (refused) or not (listed), and the account says how often each layer is called.
        report: what to do with the account of what was converted; None for silence.

    Raises:
        ValueError: for a network without a layer to convert, a rule that matches no layer, or a layer or parameter that
            inputs are multiplied with and that cannot be converted.
        TypeError: for a model that is not an `nnx.Module`, a tile that is no hardware, or a rule of another form.
    """
    _check_model(model)
    if tile is not None and not is_hardware(tile):
        raise KindError(f"tile must be a Tile, other hardware (a crossjax.spec) or None, got {shown(tile)}")
    _check_rules(rules)
    if any(True for _ in ops(model)):
        raise ValueError("this network is on tiles already: convert the digital one, or take crossjax.nn.digital")
    model = nnx.view(model) if share else nnx.clone(model)
    key = jax.random.key(0) if key is None else key
    where = places(model)
    hardware = _choose(where, tile, rules)
    for place, own in zip(where, hardware, strict=True):
        if own is not None and place.slot is not None:
            options: Any = {"key": named(key, place.name), "learn_range": learn_ranges}
            op = _op(place, own, injections, options)
            setattr(place.module, place.slot, nnx.data(op))
    rest = [p for p, own in zip(where, hardware, strict=True) if own is not None]
    on = [p for p in rest if p.slot]
    if example is None:
        check(model, rest)
    else:
        kept = [p for p, own in zip(where, hardware, strict=True) if own is None]
        calls = follow(model, where, kept, example)
        check(model, [p for p in on if not calls[p.name]])
        for name, _, op in layers(model):
            op.calls = calls[name]
    if not on and tile is not None and all(own is not None for _, own in rules):
        raise ValueError(
            "nothing to convert: this network has no layer that goes on tiles (nnx.Linear, Conv, ConvTranspose, Einsum "
            "and what is made of them; nnx.Embed by a rule)"
        )
    if report is not None:
        report(summary(model))
    return model


def _check_model(model: Any) -> None:
    if isinstance(model, nnx.Module):
        return
    kinds = [f"{cls.__module__}." for cls in (model if isinstance(model, type) else type(model)).__mro__]
    todo = next((todo for name, todo in _FOREIGN.items() if any(kind.startswith(f"{name}.") for kind in kinds)), None)
    what = f"the class {model.__name__}, not a model" if isinstance(model, type) else f"a {type(model).__name__}"
    raise TypeError(f"to_analog converts flax.nnx modules, got {what}" + (f": {todo}" if todo else ""))


def _check_rules(rules: Sequence[Rule]) -> None:
    for rule in rules:
        fits = isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[0], str | type)
        if not fits or not (rule[1] is None or is_hardware(rule[1])):
            raise TypeError(f"a rule is (path pattern or layer type, Tile or None), got {rule!r}")


def _choose(where: Sequence[Place], tile: Any, rules: Sequence[Rule]) -> list[Any]:
    """The hardware of every module, None to keep it digital: by the first rule that matches, or the given one."""
    chosen: list[Any] = []
    used = [False] * len(rules)
    for place in where:
        match = next((k for k, (what, _) in enumerate(rules) if _matches(what, place)), None)
        if match is None:
            chosen.append(None if isinstance(place.module, nnx.Embed) else tile)
        else:
            chosen.append(rules[match][1])
            used[match] |= bool(place.slot or place.matrices or (place.own and rules[match][1] is None))
    for (what, _), hit in zip(rules, used, strict=True):
        if not hit:
            names = [name for place in where if place.slot for name in place.names]
            raise ValueError(f"rule {what!r} matches no layer; layers are {', '.join(names) or 'none'}")
    return chosen


def _matches(what: str | type, place: Place) -> bool:
    if isinstance(what, type):
        return isinstance(place.module, what)
    return any(re.fullmatch(what, name) for name in place.names)


def _op(place: Place, tile: Any, injections: Sequence[Injection], options: Any) -> Op:
    """The op for a layer, which gets its slot if it has none, or a ``ValueError`` that says why there is none."""
    module, why, kind = place.module, unfit(place.module), kind_of(place.module)
    if why is not None:
        raise refused(place, why)
    assert kind is not None
    try:
        op = kind.op(module)(tile, injections, **options)
    except ValueError as error:
        raise refused(place, str(error)) from None
    if kind.becomes is not None:
        module.__class__ = kind.becomes
    return op


@door
def set_key(model: nnx.Module, key: Array) -> None:
    """Give every layer a new key of its noise, in place (inside jit: of the merged model). Once a batch, to train."""
    found = list(layers(model))
    if found:
        keys = all_named(key, [name for name, _, _ in found])
        for k, (_, _, op) in enumerate(found):
            op.key.set_value(keys[k])


def advance(model: nnx.Module, n: Array | int) -> None:
    """Give every layer the n-th key after its own, in place: noise of another batch."""
    for op in ops(model):
        op.key.set_value(numbered(op.key.get_value(), n))


def digital(model: Model) -> Model:
    """A copy that computes the exact products, tiles set aside: the baseline to compare with."""
    model = nnx.clone(model)
    for op in ops(model):
        op.digital = True
    return model


@door
def calibrate(model: Model, *inputs: Any, percentile: float = 99.995) -> Model:
    """A copy whose converters' ranges hold ``percentile`` % of what a batch of inputs causes in each layer.

    The DAC's range from the layer's inputs, the ADC's from its bit-line sums with the digital weights. Learned
    ranges start there. Joshi et al., Nat. Commun. 11:2473 (2020) find 99.995 lossless for 8-bit ADCs. Layers that the
    inputs never reach, or reach with nothing but zeros, keep their ranges, and a warning names them.

    Args:
        model: a network on tiles.
        *inputs: what the model is called with; a batch of typical data.
        percentile: in (0, 100].

    Raises:
        ValueError: for a network without tiles, a percentile out of range, or a layer whose inputs or sums are NaN or
            infinite.
    """
    check_percentile(percentile)
    probe = nnx.clone(model)
    if not any(True for _ in ops(probe)):
        raise ValueError("this network has no layers on tiles: convert it with to_analog first")
    for op in ops(probe):
        op.observe, op.observed = percentile, Observed(jnp.zeros(1 + _measured(op)))
    probe.eval()
    graph, state = nnx.split(probe)

    @jax.jit
    def observe(state: nnx.State, inputs: tuple[Any, ...]) -> list[Array]:
        watched = nnx.merge(graph, state)
        watched(*inputs)  # type: ignore[operator]
        return [op.observed.get_value() for op in ops(watched)]  # type: ignore[union-attr]

    tuned, missed, silent = nnx.clone(model), [], []
    for (path, _, op), found in zip(layers(tuned), observe(state, inputs), strict=True):
        name, calls = path or "the model", found[0]
        if not isinstance(calls, jax.core.Tracer) and calls == 0:
            missed.append(name)
            continue
        try:
            tile, kept = op.on.calibrated(found[1:])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        silent += [f"{name} ({' and '.join(kept)})"] if kept else []
        if op.input_range is not None:
            op.input_range.set_value(jnp.asarray(as_hardware(tile).input_range))
        op.tile.set_value(tile)
        op.calibrated = True
    for what, names in (("do not reach", missed), ("bring nothing but zeros to", silent)):
        if names:
            warnings.warn(f"these inputs {what} {', '.join(names)}: ranges kept as they were", stacklevel=2)
    return tuned


def _measured(op: Op) -> int:
    """How many numbers the calibration of a layer's hardware measures."""
    one = jnp.ones((1, 1))
    return jax.eval_shape(lambda: op.on.needed(one, one, 100.0, None)).shape[0]


def with_typical_ranges(model: Model) -> tuple[Model, dict[str, Array]]:
    """A copy whose ADCs have the ranges of `crossjax.typical_ranges`, and those ranges by layer.

    Layers that were calibrated to data stay as they are.
    """
    tuned, found = nnx.clone(model), {}
    for (_, _, op), (name, layer, _) in zip(layers(tuned), layers(received(model)), strict=True):
        if op.calibrated:
            continue
        tile, value = op.on.typical(matrices(layer, op))
        if value is not None:
            if not isinstance(value, jax.core.Tracer) and not jnp.isfinite(value):
                raise ValueError(f"layer {name!r} has weights that are NaN or infinite: clean them before programming")
            found[name] = value
            op.tile.set_value(tile)
    return tuned, found


# ------------------------------------------------------------------------------------------------ accounts


def account(model: nnx.Module) -> list[dict[str, Any]]:
    """One entry per layer with parameters: path, type, matrix, tiles, weights, devices, utilisation, calls.

    Layers that stay digital have no tiles; utilisation is weights over the cells of their tiles; calls is how often one
    call of the network calls the layer where an example told (see `to_analog`), and None elsewhere.
    """
    rows = []
    analog = {name: (layer, op) for name, layer, op in layers(model)}
    for place in places(model):
        name, own = place.name, place.parameters.values()
        if not own or isinstance(place.module, Op):
            continue
        row: dict[str, Any] = {"path": name, "type": type(place.module).__name__, "calls": None}
        if name in analog:
            layer, op = analog[name]
            groups, r, c = matrices(layer, op).shape
            count, devices, room = as_hardware(op.tile.get_value()).size((r, c))
            row |= {
                "matrix": (r, c) if groups == 1 else (groups, r, c), "tiles": groups * count,
                "weights": groups * r * c, "devices": groups * devices, "utilisation": r * c / room, "calls": op.calls,
            }  # fmt: skip
        else:
            row |= {"matrix": None, "tiles": 0, "weights": sum(math.prod(jnp.shape(v.get_value())) for v in own)}
            row |= {"devices": 0, "utilisation": None}
        rows.append(row)
    return rows


def summary(model: nnx.Module) -> str:
    """Layers, matrices, tiles, devices and utilisation as a table to print."""
    rows = account(model)
    counted = any(r["calls"] is not None for r in rows)
    table = Table(title=None)
    heads = ("layer", "type", "matrix", "tiles", "weights", "devices", "utilisation", *(["calls"] if counted else []))
    for k, head in enumerate(heads):
        table.add_column(head, justify="left" if k < 2 else "right")
    for r in rows:
        shape = "digital" if r["matrix"] is None else " × ".join(map(str, r["matrix"]))
        used = "" if r["utilisation"] is None else f"{100 * r['utilisation']:.0f} %"
        table.add_row(
            r["path"], r["type"], shape, str(r["tiles"] or ""), f"{r['weights']:,}",
            f"{r['devices']:,}" if r["devices"] else "", used,
            *(["" if r["calls"] is None else str(r["calls"])] if counted else []),
        )  # fmt: skip
    tiles, devices = sum(r["tiles"] for r in rows), sum(r["devices"] for r in rows)
    on = sum(r["weights"] for r in rows if r["tiles"])
    table.add_section()
    table.add_row("all", "", "", str(tiles), f"{on:,} on tiles", f"{devices:,}", "")
    console = Console(width=110, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as text:
        console.print(table)
    return text.get().rstrip()
