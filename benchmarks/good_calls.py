"""A good call of every public function, on one tiny setting; `benchmarks.bad_calls` spoils an argument of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import crossjax as cx
from crossjax import devices, training


class Setting(NamedTuple):
    """What good calls are made of: tiny, so that all of them share a few compiled functions."""

    key: Any
    tiles: dict[str, cx.Tile]
    chips: dict[str, cx.Chip]
    weights: Any
    x: Any
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
    return cx.replace(jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), made), time=jnp.zeros(()))


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
        "program": (
            cx.program,
            held | {"weights": s.weights, "method": cx.Exact(), "t": 0.0, "count": False},
        ),
        "build": (cx.build, {"key": k, "tile": tile, "shape": (5, 3), "scale": 1.0, "count": False}),
        "write": (cx.write, held | {"change": 0.1 * s.weights, "where": np.ones(s.weights.shape, bool), "t": 0.0}),
        "remember": (cx.remember, held | {"t": 0.0}),
        "mvm": (cx.mvm, held | {"x": s.x, "t": 0.0}),
        "read": (cx.read, held | {"t": 0.0}),
        "weights_at": (cx.weights_at, held | {"t": 0.0}),
        "mvm_error": (cx.mvm_error, held | {"weights": s.weights, "x": s.x, "t": 0.0, "vectors": 8}),
        "random_inputs": (cx.random_inputs, {"key": k, "tile": tile, "weights": s.weights, "vectors": 8}),
        "program_core": (
            cx.program_core,
            {"key": k, "core": instrument, "weights": s.weights, "method": cx.OneShot(), "write_noise": 0.0,
             "flicker": 0.0, "input_limit": 1.0},
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
        "nn.calibrate": (
            lambda model, percentile: cx.nn.calibrate(model, s.x, percentile=percentile),
            {"model": s.analog, "percentile": 99.0},
        ),
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
