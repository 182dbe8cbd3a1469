"""Turning a Flax NNX network into one that computes on tiles, and telling what was turned and what was not."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
from flax import nnx
from jax import Array
from rich.console import Console
from rich.table import Table

from crossjax._kinds import door
from crossjax._pytree import replace
from crossjax._random import all_named, named, numbered
from crossjax.circuits.converters import check_percentile
from crossjax.compensation import typical_ranges, with_ranges
from crossjax.nn.ops import ConvOp, EinsumOp, Embed, MatrixOp, Observed, Op
from crossjax.tiles.injection import Injection
from crossjax.tiles.tile import Tile

Model = TypeVar("Model", bound=nnx.Module)
Rule = tuple[str | type, Tile | None]

_SLOTS: tuple[tuple[type, str], ...] = (
    (nnx.Linear, "dot_general"),
    (nnx.LinearGeneral, "dot_general"),
    (nnx.Conv, "conv_general_dilated"),
    (nnx.Einsum, "einsum_op"),
    (nnx.Embed, "analog"),
)


def to_analog(
    model: Model,
    tile: Tile | None,
    rules: Sequence[Rule] = (),
    *,
    injections: Sequence[Injection] = (),
    learn_ranges: bool = False,
    key: Array | None = None,
    share: bool = False,
    report: Callable[[str], None] | None = print,
) -> Model:
    """The same network with its matrix products on tiles: same call, same parameter paths.

    Linear, LinearGeneral (hence attention), Conv of any rank, Einsum and recurrent cells are converted, whatever
    contains them; Embed where a rule says so. Biases, norms and products of activations stay digital.

        analog = cx.nn.to_analog(model, cx.presets.standard(), rules=[("head", None), (nnx.Conv, other_tile)])

    Args:
        model: any `nnx.Module`.
        tile: the hardware of layers that no rule matches; None keeps them digital.
        rules: (what, tile) in order, the first match decides: ``what`` is a regular expression for the whole path
            ("layers.0.conv1") or a layer type, ``tile`` a `Tile` or None to keep the layer digital.
        injections: what disturbs weights while training (`WeightNoise`, `DeviceNoise`, `DropConnect`).
        learn_ranges: make the DACs' input ranges parameters (`InputRange`), to be trained with the others.
        key: of the noise; see `set_key`. None: ``jax.random.key(0)``.
        share: keep the parameters those of ``model``, so that training one trains the other, instead of a copy.
        report: what to do with the account of what was converted; None for silence.

    Raises:
        ValueError: for a rule that matches no layer, or a layer that holds matrices and cannot be converted.
        TypeError: for a model that is not an `nnx.Module`, or a rule of another form.
    """
    if not isinstance(model, nnx.Module):
        raise TypeError(f"to_analog converts flax.nnx modules, got {type(model).__name__}")
    _check_rules(rules)
    if any(True for _ in ops(model)):
        raise ValueError("this network is on tiles already: convert the digital one, or take crossjax.nn.digital")
    model = nnx.view(model) if share else nnx.clone(model)
    key = jax.random.key(0) if key is None else key
    used = [False] * len(rules)
    for path, module in list(nnx.iter_modules(model)):
        name = path_name(path)
        kernels = {k: v for k, v in vars(module).items() if isinstance(v, nnx.Param) and jnp.ndim(v.get_value()) > 1}
        slot = next((slot for kind, slot in _SLOTS if isinstance(module, kind)), None)
        match = next((k for k, (what, _) in enumerate(rules) if _matches(what, name, module)), None)
        if match is not None and (kernels or slot):
            used[match] = True
        chosen = tile if match is None else rules[match][1]
        if chosen is None or not kernels or (match is None and isinstance(module, nnx.Embed)):
            continue
        options: Any = {"key": named(key, name), "learn_range": learn_ranges}
        op = _op(module, name, set(kernels), chosen, injections, options)
        if isinstance(module, nnx.Embed):
            module.__class__ = Embed
        setattr(module, slot or "", nnx.data(op))
    for (what, _), hit in zip(rules, used, strict=True):
        if not hit:
            layers = [path_name(p) for p, m in nnx.iter_modules(model) if any(isinstance(m, k) for k, _ in _SLOTS)]
            raise ValueError(f"rule {what!r} matches no layer; layers are {', '.join(layers) or 'none'}")
    if report is not None:
        report(summary(model))
    return model


def _check_rules(rules: Sequence[Rule]) -> None:
    for rule in rules:
        fits = isinstance(rule, tuple) and len(rule) == 2 and isinstance(rule[0], str | type)
        if not fits or not (rule[1] is None or isinstance(rule[1], Tile)):
            raise TypeError(f"a rule is (path pattern or layer type, Tile or None), got {rule!r}")


def _matches(what: str | type, name: str, module: nnx.Module) -> bool:
    return isinstance(module, what) if isinstance(what, type) else re.fullmatch(what, name) is not None


def _op(module: Any, name: str, kernels: set[str], tile: Tile, injections: Sequence[Injection], options: Any) -> Op:
    """The op for a layer, or a ``ValueError`` that says why there is none."""
    why = None
    if isinstance(module, nnx.LinearGeneral) and (module.batch_axis or module.dot_general_cls is not None):
        why = "its kernel has batch axes, or it makes its own dot_general"
    elif isinstance(module, nnx.Conv) and set(_tuple(module.input_dilation)) != {1}:
        why = "it dilates its input"
    elif isinstance(module, nnx.LinearGeneral):
        return MatrixOp(len(_tuple(module.axis)), tile, injections, **options)
    elif isinstance(module, nnx.Linear | nnx.Embed):
        return MatrixOp(1, tile, injections, **options)
    elif isinstance(module, nnx.Conv):
        causal = module.padding == "CAUSAL"
        return ConvOp(module.feature_group_count, tile, injections, causal=causal, **options)
    elif isinstance(module, nnx.Einsum):
        try:
            return EinsumOp(module.einsum_str or "", tile, injections, **options)
        except ValueError as error:
            why = str(error)
    else:
        why = f"crossjax has no tiles for the matrices it holds itself ({', '.join(sorted(kernels))})"
    raise ValueError(
        f"{name or 'the model'} ({type(module).__name__}) cannot be converted: {why}. Keep it digital with the rule "
        f"({name!r}, None), or build it from nnx.Linear and nnx.Conv"
    )


def _tuple(value: Any) -> tuple[int, ...]:
    return (1,) if value is None else (value,) if isinstance(value, int) else tuple(value)


# --------------------------------------------------------------------------------------- walking a network


def path_name(path: Sequence[Any]) -> str:
    """("layers", 0, "conv") → "layers.0.conv"."""
    return ".".join(str(part) for part in path)


def layers(model: nnx.Module) -> Iterator[tuple[str, Any, Op]]:
    """(path, layer, op) of every layer on tiles, in the order of the model's definition."""
    for path, module in nnx.iter_graph(model):
        if not isinstance(module, nnx.Module):
            continue
        for _, slot in _SLOTS:
            op = getattr(module, slot, None)
            if isinstance(op, Op):
                yield path_name(path), module, op
                break


def ops(model: nnx.Module) -> Iterator[Op]:
    """Every op of a network."""
    return (op for _, _, op in layers(model))


def kernel_of(layer: Any) -> nnx.Param:
    """The parameter that a layer's chip holds."""
    return layer.embedding if isinstance(layer, nnx.Embed) else layer.kernel


def matrices(layer: Any, op: Any) -> Array:
    """The matrices (groups, rows, cols) of a layer."""
    kernel = kernel_of(layer).get_value()
    mask = getattr(layer, "mask", None)
    return op.matrices(kernel if mask is None else kernel * mask)


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
        op.observe, op.observed = percentile, Observed(jnp.zeros(3))
    probe.eval()
    graph, state = nnx.split(probe)

    @jax.jit
    def observe(state: nnx.State, inputs: tuple[Any, ...]) -> list[Array]:
        watched = nnx.merge(graph, state)
        watched(*inputs)  # type: ignore[operator]
        return [op.observed.get_value() for op in ops(watched)]  # type: ignore[union-attr]

    tuned, missed, silent = nnx.clone(model), [], []
    for (path, _, op), (calls, dac, adc) in zip(layers(tuned), observe(state, inputs), strict=True):
        name, tile = path or "the model", op.hardware()
        fixed = tile.dac is not None and tile.dac.scaling == "fixed"
        if not isinstance(calls, jax.core.Tracer) and calls == 0:
            missed.append(name)
            continue
        try:
            tile, kept = with_ranges(tile, (dac if fixed else None, None if tile.adc is None else adc))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        silent += [f"{name} ({' and '.join(kept)})"] if kept else []
        if op.input_range is not None and tile.dac is not None:
            op.input_range.set_value(jnp.asarray(tile.dac.range))
        op.tile.set_value(tile)
        op.calibrated = True
    for what, names in (("do not reach", missed), ("bring nothing but zeros to", silent)):
        if names:
            warnings.warn(f"these inputs {what} {', '.join(names)}: ranges kept as they were", stacklevel=2)
    return tuned


@jax.jit
def _typical_range(tile: Tile, matrices: Array) -> Array:
    """The ADC range of a layer's matrices (groups, rows, cols) on one kind of tile."""

    def one(w: Array) -> Array:
        adc = typical_ranges(tile, w).adc
        assert adc is not None
        return jnp.asarray(adc.range)

    return jnp.max(jax.vmap(one)(matrices))


def with_typical_ranges(model: Model) -> tuple[Model, dict[str, Array]]:
    """A copy whose ADCs have the ranges of `crossjax.typical_ranges`, and those ranges by layer.

    Layers that were calibrated to data stay as they are.
    """
    tuned, found = nnx.clone(model), {}
    for name, layer, op in layers(tuned):
        tile: Tile = op.hardware()
        if op.calibrated or tile.adc is None:
            continue
        found[name] = _typical_range(tile, matrices(layer, op))
        if not isinstance(found[name], jax.core.Tracer) and not jnp.isfinite(found[name]):
            raise ValueError(f"layer {name!r} has weights that are NaN or infinite: clean them before programming")
        op.tile.set_value(replace(op.tile.get_value(), **{"adc.range": found[name]}))
    return tuned, found


# ------------------------------------------------------------------------------------------------ accounts


def account(model: nnx.Module) -> list[dict[str, Any]]:
    """One entry per layer with parameters: path, type, matrix, tiles, weights, devices, utilisation of its tiles.

    Layers that stay digital have no tiles; utilisation is weights over the cells of their tiles.
    """
    rows = []
    analog = {name: (layer, op) for name, layer, op in layers(model)}
    for path, module in nnx.iter_graph(model):
        name = path_name(path)
        if not isinstance(module, nnx.Module) or isinstance(module, Op):
            continue
        own = [v for v in vars(module).values() if isinstance(v, nnx.Param)]
        if not own:
            continue
        row: dict[str, Any] = {"path": name, "type": type(module).__name__}
        if name in analog:
            layer, op = analog[name]
            groups, r, c = matrices(layer, op).shape
            tile: Tile = op.tile.get_value()
            grid = tile.grid((r, c))
            count = groups * grid.down * grid.across
            row |= {
                "matrix": (r, c) if groups == 1 else (groups, r, c), "tiles": count, "weights": groups * r * c,
                "devices": groups * tile.devices_for((r, c)),
                "utilisation": groups * r * c / (count * tile.rows * tile.cols),
            }  # fmt: skip
        else:
            row |= {"matrix": None, "tiles": 0, "weights": sum(math.prod(jnp.shape(v.get_value())) for v in own)}
            row |= {"devices": 0, "utilisation": None}
        rows.append(row)
    return rows


def summary(model: nnx.Module) -> str:
    """Layers, matrices, tiles, devices and utilisation as a table to print."""
    rows = account(model)
    table = Table(title=None)
    for k, head in enumerate(("layer", "type", "matrix", "tiles", "weights", "devices", "utilisation")):
        table.add_column(head, justify="left" if k < 2 else "right")
    for r in rows:
        shape = "digital" if r["matrix"] is None else " × ".join(map(str, r["matrix"]))
        used = "" if r["utilisation"] is None else f"{100 * r['utilisation']:.0f} %"
        table.add_row(
            r["path"], r["type"], shape, str(r["tiles"] or ""), f"{r['weights']:,}",
            f"{r['devices']:,}" if r["devices"] else "", used,
        )  # fmt: skip
    tiles, devices = sum(r["tiles"] for r in rows), sum(r["devices"] for r in rows)
    on = sum(r["weights"] for r in rows if r["tiles"])
    table.add_section()
    table.add_row("all", "", "", str(tiles), f"{on:,} on tiles", f"{devices:,}", "")
    console = Console(width=110, color_system=None, force_terminal=False, force_jupyter=False)
    with console.capture() as text:
        console.print(table)
    return text.get().rstrip()
