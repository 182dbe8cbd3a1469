"""Values that are wrong for a number, a key, a time, an array, a tile…: what `benchmarks.bad_calls` calls with."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import crossjax as cx
from crossjax.circuits.laws import SinhLaw

NAN, INF = float("nan"), float("inf")

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

KEYS: list[Any] = [
    0, 1, -1, 2**40, 1.5, NAN, None, "key", b"key", True, [], [0, 0], (0, 1), {}, object(), np.zeros(2), np.int64(3),
    np.zeros(2, np.int32), np.zeros(3, np.uint32), np.uint32(5), jnp.zeros(2), jnp.zeros((2, 2), jnp.uint32),
    jnp.asarray(3), jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.key(0), 1), jax.random.key,
    jax.random.PRNGKey(0)[:1], [jax.random.key(0)],
]  # fmt: skip
TIMES: list[Any] = [
    "1 d", "", None, True, False, 1j, [], [1.0], (1.0,), {}, object(), -1.0, -1, NAN, INF, -INF, np.ones(2),
    jnp.ones(1),
    jnp.array(-1.0), jnp.array(NAN), np.array("a"), np.array(True), 1e39, np.datetime64(1, "s"),
]  # fmt: skip
ARRAYS: list[Any] = [
    None, "text", "", True, {}, object(), set(), [], "1234", [["a"]], [[1.0], [1.0, 2.0]], np.array(["a", "b"]),
    math.sin,
    np.array([[None]]), np.array([1j] * 4), jnp.ones(4) * 1j, 3.0, NAN, np.ones(3), np.ones((4, 5)), np.ones((0,)),
    np.zeros((4, 0)), np.array([[1.0, 2.0]]), np.array([1], "datetime64[s]"),
]  # fmt: skip
TILES: list[Any] = ["hermes", "", None, 3, True, {}, [], object(), cx.Tile, cx.presets.hermes, cx.Device(), cx.ADC()]
METHODS: list[Any] = [
    "gdp", "", None, 3, True, {}, object(), cx.GDP, cx.OneShot, cx.Tile(), lambda *a: None, math.sin, [cx.GDP()],
]  # fmt: skip

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
        None, 3, "cat", True, {}, object(), [], [0], np.zeros(1, int), np.zeros(5), np.zeros((5, 3), int),
        np.zeros(6, int),
        np.zeros(5, bool), np.full(5, 3), np.full(5, -1), np.array(["a"] * 5), np.zeros((5, 1), int), np.arange(5),
        [0, 0, 0, 0, 7], np.zeros(5, complex),
    ],
    "images": [None, 3, "cat", True, {}, object(), [], np.ones((0, 4)), np.array(["a"]), np.ones((5, 3)), [["a"]]],
    "batches": [None, 3, "cat", True, {}, object(), [], np.ones((5, 4)), np.ones(4), np.ones((0, 5, 4)),
                np.ones((2, 5, 3))],
    "times": [None, 3.0, "1 d", "", True, {}, object(), [], [None], ["a"], [-1.0], [NAN], [INF], [1j], [True], [[1.0]]],
    "weights": [
        *ARRAYS, np.ones((4, 3, 1)), np.ones((12, 1)), np.ones((1, 4, 3)), np.full((4, 3), NAN), np.full((4, 3), INF),
        np.ones((4, 3)) * 1j, [["a"] * 3] * 4, "hermes",
    ],
    "values": [None, "text", True, {}, object(), np.array(["a"]), [["a"]], set()],
    "chips": WHOLE, "spec": [None, 3, "tile", {}, object(), np.ones(3), [], True],
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
