"""``python -m benchmarks.bad_calls [--out FILE]``: thousands of bad calls of the Python face, and what becomes of them.

Generated, not written: every field of every spec and every argument of every public function gets values that its
annotation or its docstring forbids, keys that are none, and related arguments that do not belong together. A value that
means something anywhere is not a bad one: an integer or a NumPy scalar for a number, an array for a leaf (a sweep), a
list for a matrix, an ADC of another resolution at the read, NaN among inputs (it stays NaN).

    clear        a ValueError or TypeError of crossjax in one line that names the argument or field
    unclear      any other error
    NaN          an answer with NaN in it
    finite       an answer of finite numbers: the worst
    accepted     nothing computed: a spec that was made, a function that was returned
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import time
import traceback
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import crossjax as cx
from crossjax import devices, training
from crossjax._kinds import fields_of
from crossjax.circuits.laws import CubicLaw, SinhLaw
from crossjax.circuits.wires import StaticDrop

NAN, INF = float("nan"), float("inf")
OUTCOMES = ("clear", "unclear", "NaN", "finite", "accepted")


class Case(NamedTuple):
    """One bad call: what it is about, how it reads, the call, and words of which its error must hold one."""

    group: str
    name: str
    call: Callable[[], Any]
    words: tuple[str, ...]


# ------------------------------------------------------------------------------------------------ specs

NUMBERS: list[Any] = [
    "0.1", "", b"1", True, False, 1j, {}, set(), (), [1.0, 2.0], (0.1,), object(), NAN, INF, -INF, math.sin, float,
    np.array("a"), np.array([1j]), np.array([True]), np.array([0.5, NAN]), np.array(INF), jnp.array(NAN),
    jnp.array([1, INF]), jnp.array(True), jnp.array(1j), np.datetime64(1, "s"), jax.random.key(0),
]  # fmt: skip
SEQUENCES: list[Any] = [
    "0.1", True, 1.0, 1j, {}, (), [], ("a",), (None,), (True,), (1.0, "a"), (1.0, None), (NAN,), (1.0, INF), ((1.0,),),
    object(), np.array(["a"]), np.array([1j]), np.array([]), np.array([1.0, NAN]), jnp.array([INF]),
]  # fmt: skip
WHOLE: list[Any] = [
    "3", "", 2.5, 3.0, True, False, 1j, NAN, INF, [], [3], (3,), {}, object(), np.array([3]), jnp.array(3),
    np.float32(3), -1,
]  # fmt: skip
FLAGS: list[Any] = ["yes", "", 0, 1, 1.0, [], [True], {}, object(), np.array([True]), jnp.array(True), NAN]
CHOICES: list[Any] = ["nowhere", "", " tile", 3, 1.5, True, [], ["tile"], {}, object(), b"tile", jnp.array(1)]
PARTS: list[Any] = [
    "pcm", "", 3, -1, 0.5, True, False, [], {}, (), object(), math.sin, lambda x: x, int, NAN, jnp.ones(3), np.ones(()),
    cx.Tile(), cx.Tile, cx.Device,
]  # fmt: skip

LAW = devices.Constant(0.1)
SPECS: list[Any] = [
    cx.Tile(), cx.Device(), cx.Pairs((2.0, 1.0)), cx.ADC(), cx.DAC(), cx.Wires(), cx.Faults(), cx.GDP(), cx.Iterative(),
    StaticDrop(), SinhLaw(1.0), CubicLaw(1.0), training.WeightNoise(), training.DeviceNoise(), training.DropConnect(),
    LAW, devices.Polynomial((1.0, 2.0)), devices.ClippedLog(1.0, 0.0, 0.1, 0.2), devices.ClippedPower(1.0, 1.0, 1.0),
    devices.ClippedLine(1.0, 1.0), devices.Saturating(1.0, 1.0), devices.Squared(LAW), devices.Relative(LAW, 25.0),
    devices.Branches(0.5, LAW, LAW), devices.ProgrammingError(LAW, 25.0), devices.PowerLawDrift(LAW, LAW, 20.0),
    devices.LogRelaxation(0.1, (0.1, 0.1), 25.0), devices.FlickerNoise(LAW, 20.0, 1e-6), devices.ReadNoise(LAW, 25.0),
    devices.Rewrite(), devices.MeltQuench(), devices.SetPulses(),
]  # fmt: skip

NEGATIVE = {  # fields that may be negative: coefficients
    "Constant": "value", "Polynomial": "coefficients", "ClippedLog": "slope offset low high", "Saturating": "scale rate",
    "ClippedPower": "scale power cap", "ClippedLine": "slope offset low", "Branches": "split", "SinhLaw": "alpha",
    "LogRelaxation": "mean", "SetPulses": "mean",
}  # fmt: skip
LAWS = {"law", "below", "above", "sigma", "mean", "spread", "q", "variance"}  # of these, any function of an array is one


def spec_cases() -> Iterator[Case]:
    """Every field of every spec, constructed and replaced, also deep inside a tile."""
    for good in SPECS:
        kind = type(good)
        for name, hint, use in fields_of(kind):
            for bad in _bad_values(kind.__name__, name, hint, use):
                yield Case("spec, constructed", f"{kind.__name__}({name}={_text(bad)})", _made(good, name, bad), (name,))
                if isinstance(good, cx.ADC | cx.DAC | cx.Device | cx.Pairs):
                    yield _inside(good, name, bad)


def _made(good: Any, name: str, bad: Any) -> Callable[[], Any]:
    fields = {f.name: getattr(good, f.name) for f in dataclasses.fields(good)} | {name: bad}
    return lambda: type(good)(**fields)


def _inside(good: Any, name: str, bad: Any) -> Case:
    part = {cx.ADC: "adc", cx.DAC: "dac", cx.Device: "device", cx.Pairs: "cell"}[type(good)]
    path = f"{part}.{name}"
    tile = cx.replace(cx.Tile(), **{part: good})
    return Case("spec, replaced", f"replace(tile, {path}={_text(bad)})", lambda: cx.replace(tile, **{path: bad}), (name,))


def _bad_values(kind: str, name: str, hint: Any, use: str) -> Iterator[Any]:
    parts = typing.get_args(hint) or (hint,)
    optional = type(None) in parts
    if not optional:
        yield None
    if any(typing.get_origin(p) is tuple for p in (hint, *parts)):
        yield from SEQUENCES
    elif use == "leaf" and float in parts:
        yield from NUMBERS
        if name not in NEGATIVE.get(kind, "").split():
            yield from (-1.0, -3, np.array([-1.0, -2.0]), jnp.array(-1.0))
    elif int in parts:
        yield from (v for v in WHOLE)
        yield 0
    elif bool in parts:
        yield from FLAGS
    elif str in parts:
        yield from CHOICES
    else:
        law = kind != "Device" and name in LAWS
        yield from (v for v in PARTS if not (isinstance(v, cx.Device) and name == "device"))
        yield from (cx.ADC(), cx.GDP()) if name not in ("adc",) else (cx.DAC(), cx.GDP())
        if not law:
            yield LAW


# -------------------------------------------------------------------------------------------- functions

KEYS: list[Any] = [
    0, 1, -1, 2**40, 1.5, NAN, None, "key", b"key", True, [], [0, 0], (0, 1), {}, object(), np.zeros(2), np.int64(3),
    np.zeros(2, np.int32), np.zeros(3, np.uint32), np.uint32(5), jnp.zeros(2), jnp.zeros((2, 2), jnp.uint32),
    jnp.asarray(3), jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.key(0), 1), jax.random.key,
    jax.random.PRNGKey(0)[:1], [jax.random.key(0)],
]  # fmt: skip
TIMES: list[Any] = [
    "1 d", "", None, True, False, 1j, [], [1.0], (1.0,), {}, object(), -1.0, -1, NAN, INF, -INF, np.ones(2), jnp.ones(1),
    jnp.array(-1.0), jnp.array(NAN), np.array("a"), np.array(True), 1e39, np.datetime64(1, "s"),
]  # fmt: skip
ARRAYS: list[Any] = [
    None, "text", "", True, {}, object(), set(), [], "1234", [["a"]], [[1.0], [1.0, 2.0]], np.array(["a", "b"]), math.sin,
    np.array([[None]]), np.array([1j] * 4), jnp.ones(4) * 1j, 3.0, NAN, np.ones(3), np.ones((4, 5)), np.ones((0,)),
    np.zeros((4, 0)), np.array([[1.0, 2.0]]), np.array([1], "datetime64[s]"),
]  # fmt: skip
TILES: list[Any] = ["hermes", "", None, 3, True, {}, [], object(), cx.Tile, cx.presets.hermes, cx.Device(), cx.ADC()]
METHODS: list[Any] = [
    "gdp", "", None, 3, True, {}, object(), cx.GDP, cx.OneShot, cx.Tile(), lambda *a: None, math.sin, [cx.GDP()],
]  # fmt: skip


class Setting(NamedTuple):
    """What good calls are made of: tiny, so that all of them share a few compiled functions."""

    key: Any
    tiles: dict[str, cx.Tile]
    chips: dict[str, cx.Chip]
    weights: np.ndarray
    x: np.ndarray
    network: Any
    analog: Any
    programmed: Any


def setting() -> Setting:
    """Chips of a 4 × 3 matrix on every kind of tile, and a network of one layer with a batch norm."""
    key, w = jax.random.key(0), np.linspace(-1, 1, 12).reshape(4, 3)
    tiles = {name: make() for name, make in cx.presets.PRESETS.items()}
    tiles["digital"] = cx.replace(tiles["hermes"], subtract="digital")
    tiles["column"] = cx.replace(tiles["pcm"], scaling="column")
    tiles["reference"] = cx.replace(tiles["pcm"], cell=cx.SharedReference())
    tiles["relaxing"] = cx.replace(tiles["pcm"], device=devices.reram_cmo())
    tiles["uncompensated"] = cx.replace(tiles["pcm"], compensation=None)
    tiles["vectors"] = cx.replace(tiles["pcm"], calibration_vectors=8)
    tiles["small"] = cx.replace(tiles["pcm"], rows=2)
    tiles["spread"] = cx.presets.hermes(gain=0.03)
    chips = {name: _blank(key, tile, w) for name, tile in tiles.items()}
    network = nnx.Sequential(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), nnx.BatchNorm(3, rngs=nnx.Rngs(0)))
    network.eval()
    analog = cx.nn.to_analog(network, tiles["pcm"], report=None)
    chip, _ = cx.nn.program(key, analog, cx.Exact(), report=None)
    return Setting(key, tiles, chips, w, np.ones((5, 4)) / 3, network, analog, cx.nn.read(key, chip))


def _blank(key: Any, tile: cx.Tile, weights: np.ndarray) -> cx.Chip:
    """A chip of the right shapes and kinds that was not programmed: whether it is refused is known from those."""
    made = jax.eval_shape(lambda k: cx.program(k, tile, weights, cx.Exact())[0], key)
    return jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), made)


def functions(s: Setting) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Every public function and a good call of it, by keywords (those of ``*args`` apart)."""
    tile, chip, k = s.tiles["pcm"], s.chips["pcm"], s.key
    held = {"key": k, "tile": tile, "chip": chip}
    nets = {"images": s.x, "labels": np.zeros(5, int)}
    g = {"g": np.ones((4, 3)), "r_word": 1.0, "r_bit": 1.0}
    lines = g | {"r_driver": 1.0, "r_sense": 1.0, "drive": "left", "sense": "bottom"}
    instrument = _Instrument()
    fit = {"key": k, "model": s.network, "data": (s.x, np.zeros(5, int)), "optimiser": optax.sgd(0.1), "steps": 1}
    fit |= {"batch": 5, "remat": False, "every": 1, "progress": False, "loss": training.cross_entropy, "prepare": None}
    found: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "program": (cx.program, {"key": k, "tile": tile, "weights": s.weights, "method": cx.Exact()}),
        "mvm": (cx.mvm, held | {"x": s.x, "t": 0.0}),
        "read": (cx.read, held | {"t": 0.0}),
        "weights_at": (cx.weights_at, held | {"t": 0.0}),
        "mvm_error": (cx.mvm_error, held | {"weights": s.weights, "x": s.x, "t": 0.0, "vectors": 8}),
        "random_inputs": (cx.random_inputs, {"key": k, "tile": tile, "weights": s.weights, "vectors": 8}),
        "program_core": (
            cx.program_core,
            {"key": k, "core": instrument, "weights": s.weights, "method": cx.OneShot(), "write_noise": 0.0,
             "flicker": 0.0, "loudest": 1.0},
        ),
        "calibrate_ranges": (
            cx.calibrate_ranges, {"tile": s.tiles["hermes"], "weights": s.weights, "x": s.x, "percentile": 99.0}
        ),
        "typical_ranges": (
            cx.typical_ranges, {"tile": s.tiles["hermes"], "weights": s.weights, "percentile": 99.0, "vectors": 8}
        ),
        "percentile_range": (cx.percentile_range, {"values": s.x, "percentile": 99.0}),
        "stream": (cx.stream, {"f": jnp.sin, "chips": s.x, "batch": 1}),
        "bit_slices": (cx.bit_slices, {"bits": 2, "slices": 2}),
        "replace": (cx.replace, {"spec": tile, "rows": 3}),
        "presets.get": (cx.presets.get, {"name": "pcm"}),
        "presets.ideal": (cx.presets.ideal, {"rows": 8, "cols": 8}),
        "presets.pcm": (cx.presets.pcm, {"g_max": 25.0, "rows": 8, "cols": 8}),
        "presets.pcm_msp_lsp": (cx.presets.pcm_msp_lsp, {"F": 2.0, "g_max": 25.0, "split": "one"}),
        "presets.hermes": (cx.presets.hermes, {"devices_per_polarity": 2, "gain": None}),
        "presets.standard": (cx.presets.standard, {"rows": 8, "cols": 8, "ir_drop": False}),
        "devices.ideal": (devices.ideal, {"g_max": 25.0}),
        "devices.noisy": (
            devices.noisy,
            {"g_max": 25.0, "sigma": 0.1, "dependence": "independent", "distribution": "normal", "drift": None,
             "t_0": 20.0},
        ),
        "devices.pcm": (devices.pcm, {"g_max": 25.0, "reset_zero": False}),
        "devices.pcm_pulsed": (devices.pcm_pulsed, {"g_max": 20.0}),
        "devices.hermes": (devices.hermes, {"devices_per_polarity": 2, "reset_zero": False}),
        "devices.reram_wan": (devices.reram_wan, {"g_max": 40.0, "after": "1 s"}),
        "devices.reram_cmo": (devices.reram_cmo, {"acceptance": 0.2}),
        "devices.sonos": (devices.sonos, {"i_max": 1600.0}),
        "wires.effective_conductance": (cx.wires.effective_conductance, dict(lines)),
        "wires.first_order_conductance": (cx.wires.first_order_conductance, dict(g)),
        "wires.solve": (cx.wires.solve, lines | {"v": np.ones(4), "v_sense": 0.0, "tolerance": None, "law": None}),
        "wires.currents": (cx.wires.currents, g | {"v": np.ones(4), "method": "map"}),
        "wires.rasch_drop": (cx.wires.rasch_drop, {"w": s.weights, "x": s.x, "segment": 0.35, "g_max": 5.0}),
        "nn.program": (
            cx.nn.program, {"key": k, "model": s.analog, "method": cx.Exact(), "ranges": "keep", "report": None}
        ),
        "nn.read": (cx.nn.read, {"key": k, "model": s.programmed, "t": 0.0, "compensate": True}),
        "nn.evaluate": (
            cx.nn.evaluate,
            {"key": k, "model": s.analog, "measure": lambda net: net(s.x), "chips": 1, "times": [0.0],
             "method": cx.Exact(), "compensate": True, "ranges": "keep", "batch": 1},
        ),
        "nn.set_key": (cx.nn.set_key, {"model": s.programmed, "key": k}),
        "nn.calibrate": (lambda model, percentile: cx.nn.calibrate(model, s.x, percentile=percentile), {"model": s.analog, "percentile": 99.0}),
        "nn.accuracy": (cx.nn.accuracy, nets | {"model": s.programmed, "batch": 5}),
        "nn.logits": (cx.nn.logits, {"model": s.programmed, "images": s.x, "batch": 5}),
        "nn.adabs": (cx.nn.adabs, {"model": s.programmed, "batches": np.ones((2, 5, 4)), "floor": 0.1}),
        "training.fit": (training.fit, fit),
        "training.clip_weights": (training.clip_weights, {"alpha": 2.0}),
        "training.ranges": (training.ranges, {"decay": 0.1, "speed": 1.0, "smallest": 0.1}),
        "training.distillation": (training.distillation, {"teacher": s.network, "temperature": 4.0, "weight": 0.5}),
    }  # fmt: skip
    return found


class _Instrument:
    """A core that holds what it is told."""

    def __init__(self) -> None:
        self.w = np.zeros((4, 3))

    def mvm(self, x: np.ndarray) -> np.ndarray:
        return x @ self.w

    def pulse(self, change: np.ndarray) -> None:
        self.w = self.w + change


WRONG: dict[str, list[Any]] = {
    "key": KEYS, "t": TIMES, "tile": TILES, "method": METHODS, "x": ARRAYS, "v": ARRAYS, "g": ARRAYS, "w": ARRAYS,
    "chip": [None, 3, "chip", True, {}, [], object(), cx.Chip, cx.Tile(), np.ones((4, 3))],
    "core": [None, 3, "core", True, {}, object(), cx.Tile(), math.sin],
    "model": [None, 3, "net", True, {}, [], object(), nnx.Linear, math.sin, np.ones(3)],
    "teacher": [None, 3, "net", True, {}, object(), nnx.Linear, np.ones(3)],
    "measure": [None, 3, "accuracy", True, {}, object()],
    "f": [None, 3, "error", True, {}, object()],
    "loss": [None, 3, "mse", True, {}, object()],
    "prepare": [3, "flip", True, {}, object()],
    "report": [3, "print", True, {}, object()],
    "law": [3, "sinh", True, {}, object(), SinhLaw],
    "optimiser": [None, 3, "adam", 0.1, True, {}, object(), optax.adam],
    "data": [
        None, 3, "mnist", True, {}, object(), (), np.ones(5), (np.ones((5, 4)),), (np.ones((5, 4)), np.zeros(4, int)),
        (np.ones((5, 4)), np.zeros(5)), (np.ones((5, 4)), np.zeros((5, 3), int)), (np.ones((5, 4)), np.arange(5)),
        (np.ones((5, 4)), np.arange(5) - 1), (np.array(["a"] * 5), np.zeros(5, int)), (np.ones((5, 4)), ["a"] * 5),
    ],
    "labels": [
        None, 3, "cat", True, {}, object(), [], [0], np.zeros(1, int), np.zeros(5), np.zeros((5, 3), int), np.zeros(6, int),
        np.zeros(5, bool), np.full(5, 3), np.full(5, -1), np.array(["a"] * 5), np.zeros((5, 1), int), np.arange(5),
        [0, 0, 0, 0, 7], np.zeros(5, complex),
    ],
    "images": [None, 3, "cat", True, {}, object(), [], np.ones((0, 4)), np.array(["a"]), np.ones((5, 3)), [["a"]]],
    "batches": [None, 3, "cat", True, {}, object(), [], np.ones((5, 4)), np.ones(4), np.ones((0, 5, 4)), np.ones((2, 5, 3))],
    "times": [None, 3.0, "1 d", "", True, {}, object(), [], [None], ["a"], [-1.0], [NAN], [INF], [1j], [True], [[1.0]]],
    "weights": [
        *ARRAYS, np.ones((4, 3, 1)), np.ones((12, 1)), np.ones((1, 4, 3)), np.full((4, 3), NAN), np.full((4, 3), INF),
        np.ones((4, 3)) * 1j, [["a"] * 3] * 4, "hermes",
    ],
    "values": [None, "text", True, {}, object(), np.array(["a"]), [["a"]], set()],
    "chips": WHOLE, "chips of stream": [None, 3.0, "text"], "spec": [None, 3, "tile", {}, object(), np.ones(3), [], True],
    "percentile": [v for v in NUMBERS if not isinstance(v, jax.Array | np.ndarray)] + [None, 0.0, -1.0, 100.5],
    "name": [None, 3, True, [], "", "hermess", object()], "drive": [*CHOICES, None], "sense": [*CHOICES, None],
    "r_word": [*NUMBERS[:14], None, -1.0, np.ones(7), np.ones((2, 2)), np.array("a"), [["a"]], NAN],
    "bits": [*WHOLE, None, 0], "slices": [*WHOLE, None, 0],
    "acceptance": [*NUMBERS[:14], None, 1.0, -1.0], "floor": [*NUMBERS[:15], None, 0.0, 1.0, -1.0, 2.0],
    "decay": [*NUMBERS[:15], None, 1.0, -0.1, 2.0], "weight": [*NUMBERS[:15], None, -0.1, 1.1],
    "v_sense": [*NUMBERS[:6], None, NAN, INF, np.ones(7), "a"],
}  # fmt: skip
for _name in ("r_bit", "r_driver", "r_sense"):
    WRONG[_name] = [v for v in WRONG["r_word"] if not (v is None and _name != "r_bit")]


ALSO = {  # other words for an argument, or the argument that does not fit to it
    "t": ("time",), "weights": ("x",), "name": ("tile",), "images": ("x",), "data": ("label",), "g": ("conductances",),
}  # fmt: skip


def _fits(function: str, name: str, bad: Any) -> bool:
    """Whether this wrong value happens to be right here."""
    shape = np.shape(bad) if isinstance(bad, np.ndarray | float) else None
    real = shape is not None and np.asarray(bad).dtype.kind == "f"
    if name == "weights" and function == "mvm_error":  # documented to pass through
        return shape == (4, 3) and real
    if name == "weights" and function == "calibrate_ranges":
        return shape == (4, 5)
    if name == "weights" and function in ("program", "program_core", "random_inputs", "typical_ranges"):
        return shape in ((4, 5), (12, 1), (1, 2))  # an instrument's shape only it knows
    if name == "x" and function == "mvm_error":
        return bad is None
    if name in ("g", "w"):
        return shape == (4, 5) or (shape == (1, 2) and function.endswith("_conductance"))
    if name.startswith("r_") and function != "wires.first_order_conductance":  # a broken line
        return isinstance(bad, float) and bad == INF
    if name == "loudest":  # nothing saturates
        return real and bool(np.all(np.asarray(bad) == INF))
    return name == "report" or (name == "measure" and callable(bad))


def argument_cases(s: Setting) -> Iterator[Case]:
    """Every argument of every public function."""
    for label, (function, good) in functions(s).items():
        for name, value in good.items():
            if label == "replace" and name == "rows":
                continue
            for bad in _wrong(label, name, value):
                if _fits(label, name, bad):
                    continue
                group = "keys" if name == "key" else "arguments"
                words = (name, *ALSO.get(name, ()))
                yield Case(group, f"{label}({name}={_text(bad)})", _called(label, function, good, name, bad), words)


def _wrong(label: str, name: str, value: Any) -> list[Any]:
    if label == "stream" and name == "chips":
        return []
    if name in WRONG:
        return WRONG[name]
    if isinstance(value, bool):
        return [*FLAGS, None]
    if isinstance(value, int):
        return [*WHOLE, None, 0]
    if isinstance(value, str):
        return [*CHOICES, None]
    optional = value is None
    return [v for v in (*NUMBERS, None, -1.0) if not (optional and v is None) and not isinstance(v, jax.Array)]


def _called(label: str, function: Callable[..., Any], good: dict[str, Any], name: str, bad: Any) -> Callable[[], Any]:
    if label == "replace":
        return lambda: function(bad, rows=3)
    return lambda: function(**(good | {name: bad}))


# --------------------------------------------------------------------------------------- related arguments


def pair_cases(s: Setting) -> Iterator[Case]:
    """Chips with other tiles, weights of other chips, populations without vmap, values inside jit."""
    doors = {
        "mvm": lambda tile, chip: cx.mvm(s.key, tile, chip, s.x),
        "read": lambda tile, chip: cx.read(s.key, tile, chip, 1e4),
        "weights_at": lambda tile, chip: cx.weights_at(s.key, tile, chip),
        "mvm_error": lambda tile, chip: cx.mvm_error(s.key, tile, chip, s.weights, s.x),
    }
    for door, call in doors.items():
        for mine, tile in s.tiles.items():
            for theirs, chip in s.chips.items():
                if mine == theirs or _compatible(mine, theirs):
                    continue
                name = f"{door}({mine}, chip of {theirs})"
                yield Case("chip and tile", name, lambda c=call, a=tile, b=chip: c(a, b), ("tile",))
        population = jax.tree.map(lambda a: jnp.stack([a, a]), s.chips["pcm"])
        yield Case(
            "chip and tile", f"{door}(population)", lambda c=call, p=population: c(s.tiles["pcm"], p), ("population",)
        )
    reading = cx.read(s.key, s.tiles["pcm"], s.chips["pcm"])
    for mine in ("small", "digital"):
        call = lambda tile=s.tiles[mine]: cx.mvm(s.key, tile, reading, s.x)  # noqa: E731
        yield Case("chip and tile", f"mvm({mine}, reading of pcm)", call, ("tile",))
    for door in ("read", "weights_at"):
        function = getattr(cx, door)
        yield Case(
            "chip and tile", f"{door}(reading)", lambda f=function: f(s.key, s.tiles["pcm"], reading), ("chip",)
        )


def _compatible(mine: str, theirs: str) -> bool:
    """What differs is the converters' spread that the chip has and the tile does not ask for, or no compensation."""
    return (mine, theirs) in (("hermes", "spread"), ("uncompensated", "pcm"), ("uncompensated", "vectors"))


def traced_cases(s: Setting) -> Iterator[Case]:
    """Values that are unknown until they are computed, inside `crossjax.checks`."""
    tile, chip = s.tiles["ideal"], s.chips["ideal"]

    def product(x: Any, t: Any, noise: Any) -> Any:
        return cx.mvm(s.key, cx.replace(tile, noise=noise), chip, x, t)

    def program(w: Any) -> Any:
        return cx.program(s.key, tile, w, cx.Exact())[0]

    def checked(f: Callable[..., Any], *args: Any) -> Callable[[], Any]:
        def call() -> Any:
            with cx.checks():
                return f(*args)

        return call

    jitted, swept, written = jax.jit(product), jax.jit(jax.vmap(product, (None, 0, 0))), jax.jit(program)
    one, two = jnp.asarray(s.x), jnp.ones(2)
    for bad in (NAN, INF, -INF):
        yield Case("traced", f"jit(mvm)(x={bad})", checked(jitted, one.at[1, 2].set(bad), 0.0, 0.1), ("x",))
        yield Case("traced", f"jit(program)(weights={bad})", checked(written, s.weights * bad), ("weights",))
    for bad in (NAN, INF, -1.0):
        yield Case("traced", f"jit(mvm)(t={bad})", checked(jitted, one, bad, 0.1), ("time",))
        yield Case("traced", f"jit(mvm)(noise={bad})", checked(jitted, one, 0.0, bad), ("noise",))
        yield Case("traced", f"vmap(mvm)(t={bad})", checked(swept, one, two.at[1].set(bad), two), ("time",))
        yield Case("traced", f"vmap(mvm)(noise={bad})", checked(swept, one, two, two.at[1].set(bad)), ("noise",))


# -------------------------------------------------------------------------------------------- outcomes


def outcome(case: Case) -> tuple[str, str]:
    """What becomes of a bad call, and its message."""
    try:
        answer = case.call()
    except Exception as error:
        message = str(error)
        frames = traceback.extract_tb(error.__traceback__)
        ours = re.search(r"/crossjax/[^\n]*\.py$", frames[-1].filename) is not None
        plain = isinstance(error, ValueError | TypeError) and ours and "\n" not in message and len(message) < 500
        clear = plain and any(re.search(rf"\b{w.rstrip('s').replace('_', '[ _]')}", message) for w in case.words)
        return ("clear" if clear else "unclear"), f"{type(error).__name__}: {message}"
    leaves = [a for a in jax.tree.leaves(answer) if isinstance(a, jax.Array | np.ndarray) and np.size(a)]
    numbers = [np.asarray(a, float) for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)]
    if dataclasses.is_dataclass(answer) and not isinstance(answer, cx.Chip | cx.Reading) or not numbers:
        return "accepted", repr(answer)[:80]
    return ("finite" if all(np.isfinite(a).all() for a in numbers) else "NaN"), ""


def _text(value: Any) -> str:
    text = " ".join(re.sub(r" at 0x[0-9a-f]+", "", repr(value)).split())
    return text if len(text) < 50 else text[:47] + "..."


def main() -> None:
    """Run all cases; print a table, and every one that was not refused clearly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="write every case as JSON")
    out = parser.parse_args().out
    jax.config.update("jax_traceback_filtering", "off")  # where an error comes from, not where JAX says so
    begin, s = time.perf_counter(), setting()
    table: dict[str, Counter[str]] = {}
    rows = []
    for cases in (spec_cases(), argument_cases(s), pair_cases(s), traced_cases(s)):
        for case in cases:
            what, message = outcome(case)
            table.setdefault(case.group, Counter())[what] += 1
            rows.append({"group": case.group, "call": case.name, "outcome": what, "message": message})
            if what != "clear":
                print(f"{what:9s} {case.name}  {' '.join(message.split())[:160]}")
    total = sum(table.values(), Counter())
    print(f"\n{'bad calls':20s}{'tried':>8s}" + "".join(f"{o:>10s}" for o in OUTCOMES))
    for group, counts in (*table.items(), ("all", total)):
        print(f"{group:20s}{sum(counts.values()):8d}" + "".join(f"{counts[o]:10d}" for o in OUTCOMES))
    accepted = sum(total[o] for o in OUTCOMES[2:]) / len(rows)
    print(f"\n{100 * accepted:.2f} % of {len(rows)} accepted, {time.perf_counter() - begin:.0f} s")
    if out is not None:
        summary = {group: dict(counts) for group, counts in table.items()}
        out.write_text(json.dumps({"table": summary, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
