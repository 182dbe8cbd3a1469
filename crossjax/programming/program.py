"""Programming a matrix into a chip, and a laboratory's core by the same methods."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._checks import as_array, check_name, checking, ensure, ensure_range, is_finite, is_traced
from crossjax._kinds import door
from crossjax._numerics import at_least_single, relative_error
from crossjax._pytree import replace, strong
from crossjax._random import named, split
from crossjax.circuits.converters import ColumnSpread
from crossjax.devices.device import DeviceState
from crossjax.programming.core import Core
from crossjax.programming.gdp import GDP
from crossjax.programming.history import History, Sums, merge
from crossjax.programming.instrument import Instrument
from crossjax.programming.iterative import Iterative
from crossjax.programming.methods import Method, OneShot
from crossjax.programming.row_wise import RowWise
from crossjax.programming.simulated import SimulatedCore
from crossjax.tiles.mvm import as_inputs, mvm, reading, remembered
from crossjax.tiles.tile import (
    Chip,
    Reading,
    Tile,
    blank,
    check_age,
    check_chip,
    check_weights,
    input_deviation,
    normalise,
    scales,
    test_inputs,
)

METHODS: dict[str, type] = {"one-shot": OneShot, "iterative": Iterative, "row-wise": RowWise, "gdp": GDP}


@door
def method(name: str) -> Method:
    """A programming method by its name, with its default hyper-parameters.

    Raises:
        ValueError: for an unknown name; says the nearest one.
    """
    check_name(name, tuple(METHODS), "programming method")
    return METHODS[name]()


@door
def program(
    key: Array,
    tile: Tile,
    weights: Array | np.ndarray,
    method: Method = OneShot(),
    *,
    chip: Chip | None = None,
    t: Array | float = 0.0,
    count: bool = False,
) -> tuple[Chip, History]:
    """Build a chip for ``weights`` and program it; or program one again, after a year, say.

    The matrix is cut into tiles; every tile is programmed on its own, through its own converters, all at once.
    A population: ``jax.vmap(lambda k: program(k, tile, weights, method))(jax.random.split(key, 256))``.

    Args:
        key: randomness of the chip (faults, cells, converters) and of its programming.
        tile: the hardware.
        weights: (rows = inputs, cols = outputs), any size.
        method: `OneShot`, `Iterative`, `GDP`, or your own.
        chip: one to go on from, its devices as they are at ``t``: methods that look pulse only what has drifted away,
            and what gets no pulse goes on drifting.
        t: seconds after the first read of ``chip`` at which its programming begins.
        count: whether the pulses of every device are counted (``chip.cells.pulses``); an old chip goes on as it did.

    Returns:
        The programmed chip, and the history of its programming. A new chip's first read (t = 0) is now; an old one
        keeps its clock, and ``chip.time`` says when it was ready.

    Raises:
        ValueError: for weights that are not a finite matrix, an old chip of another shape or that is kept for reading
            only, or a time before it was written last.
        TypeError: if ``method`` is not an instance of a spec (your own: decorate it with `crossjax.spec`).
    """
    w = check_weights(weights)
    _check_method(method)
    tile = strong(tile)
    if chip is None:
        made, deviation, sums = _write(key, tile, w, strong(method), None, None, count)
        moment = strong(0.0)
    else:
        check_chip(tile, chip)
        check_age(chip, t)
        if w.shape != chip.shape:
            raise ValueError(f"weights must have the chip's shape {chip.shape}, got {w.shape}")
        _ = chip.cells.believed  # or it is refused
        made, deviation, sums = _write(key, tile, w, strong(method), replace(chip, reference=None), strong(t), count)
        moment = made.time
    history = merge(sums, (0, 1))
    if not (tile.compensated or sums.error2 is None):
        return made, history
    first = reading(named(key, "first read"), tile, made, moment)
    if sums.error2 is None:
        error = mvm_error(named(key, "probe"), tile, first, w, vectors=128)
        history = replace(history, mvm_error=jnp.expand_dims(error, 0))
    return remembered(named(key, "reference"), tile, made, first, deviation, moment), history


def _check_method(method: Method) -> None:
    if not dataclasses.is_dataclass(method) or jax.tree_util.all_leaves([method]):
        raise TypeError(f"method must be a spec such as cx.GDP() (an instance, not the class), got {method!r}")


@partial(jax.jit, static_argnums=6)
def _write(
    key: Array, tile: Tile, w: Array, method: Method, chip: Chip | None, begin: Array | None, count: bool
) -> tuple[Chip, Array, Sums]:
    """The chip before its first read, the deviation of its calibration inputs, and what the method reports."""
    grid = tile.grid((w.shape[0], w.shape[1]))
    w = grid.cut(w)
    down, across, r, c = w.shape
    scale = scales(tile, w)
    input_limit, deviation = (input_deviation(tile, w / scale[..., None, :], wanted) for wanted in (10.0, 1 / 3))
    used = grid.mask() if grid.padded else None

    def one(at: tuple[Any, ...]) -> tuple[DeviceState, ColumnSpread | None, Sums]:
        key, w, scale, input_limit, used, old = at
        cells, columns = blank(named(key, "chip"), tile, (r, c), count=count) if old is None else old
        if begin is None:  # until a method says that it took time
            cells = replace(cells, written=None)
        core = SimulatedCore(tile, cells, columns, used, begin=begin)
        core, sums = method.run(named(key, "method"), core, w / scale, input_limit)
        return core.cells, core.columns, sums

    keys, old = split(key, down * across).reshape(down, across), None if chip is None else _tiles(chip)
    tiles = keys, w, scale, jnp.broadcast_to(input_limit[..., 0], (down, across)), used, old
    cells, columns, sums = _of_all_tiles(one, tiles, (down, across), r * c)
    ready = jnp.zeros(()) if begin is None else begin
    if begin is not None and cells.written is not None:
        ready = jnp.maximum(begin, jnp.max(cells.written))
    shape = grid.rows, grid.cols
    return Chip(cells, scale, columns, None, ready, shape, tile.hardware), deviation, sums


def _tiles(chip: Chip) -> tuple[DeviceState, ColumnSpread | None]:
    """Devices (down, across, devices, …) and converters (down, across, lines, …) of a chip."""
    cells = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), chip.cells)
    return cells, jax.tree.map(lambda a: a.swapaxes(1, 2), chip.columns)


AT_ONCE = 2**21  # weights: of more than 32 tiles of 256 × 256, a part at a time, so that memory is that of a part


def _of_all_tiles(f: Callable[[Any], Any], tiles: Any, shape: tuple[int, int], weights: int) -> Any:
    """``f`` of tiles (down, across, …), as many side by side as `AT_ONCE` allows, each part put in its place at once.

    Returns:
        Devices (devices, down, across, …), converters (down, lines, across, …) and sums (down, across, …).
    """

    def several(tiles: Any, down: int, across: int) -> Any:
        found = jax.vmap(f)(jax.tree.map(lambda a: a.reshape(down * across, *a.shape[2:]), tiles))
        found = jax.tree.map(lambda a: a.reshape(down, across, *a.shape[1:]), found)
        cells, columns, sums = found
        cells = jax.tree.map(lambda a: jnp.moveaxis(a, 2, 0), cells)
        return cells, jax.tree.map(lambda a: a.swapaxes(1, 2), columns), sums

    most = max(1, AT_ONCE // weights)
    if math.prod(shape) <= most:
        return several(tiles, *shape)
    parts = [(p, q) for p in _divisors(shape[0]) for q in _divisors(shape[1]) if p * q <= most]
    p, q = max(parts, key=math.prod)

    def add(i: Array, whole: Any) -> Any:
        d, a = p * (i // (shape[1] // q)), q * (i % (shape[1] // q))
        part = jax.tree.map(lambda x: lax.dynamic_slice(x, (d, a, *[0] * (x.ndim - 2)), (p, q, *x.shape[2:])), tiles)
        places = (0, d, a), (d, 0, a), (d, a)
        return tuple(
            jax.tree.map(lambda w, x, at=at: lax.dynamic_update_slice(w, x, (*at, *[0] * (w.ndim - len(at)))), old, new)
            for old, new, at in zip(whole, several(part, p, q), places, strict=True)
        )

    room = jax.eval_shape(lambda: several(tiles, *shape))
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), room)
    return lax.fori_loop(0, math.prod(shape) // (p * q), add, empty)


def _divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


@door
def program_core(
    key: Array,
    core: Core,
    weights: Array | np.ndarray,
    method: Method,
    *,
    write_noise: float | np.ndarray = 0.0,
    flicker: float = 0.0,
    input_limit: float = 10.0,
) -> History:
    """Program a real core: anything with ``mvm(x)`` and ``pulse(change)`` (see `Core`), in place.

    Args:
        key: randomness of the method (its test inputs).
        core: the instrument; its shape is that of the weights.
        weights: (rows, cols), in the units that one full input and one full weight give an output of 1.
        method: as for `program`.
        write_noise: standard deviation of the weight that one write pulse leaves, for methods that ask
            whether a pulse is worth it; a number or one per cell.
        flicker: relative 1/f noise of a device over a factor e of time, Q, for the same.
        input_limit: standard deviation of inputs above which the core's ADCs saturate, in full inputs.

    Returns:
        The history (weight_error is NaN: nobody reads the cells).

    Raises:
        TypeError: if the core lacks one of the two methods.
        ValueError: for weights that are not a finite matrix within [−1, 1].
    """
    if not isinstance(core, Core):
        missing = [name for name in ("mvm", "pulse") if not callable(getattr(core, name, None))]
        raise TypeError(f"a core needs the methods mvm(x) and pulse(change); {type(core).__name__} lacks {missing}")
    _check_method(method)
    w = check_weights(weights)
    largest = float(jnp.max(jnp.abs(w)))
    if largest > 1:
        raise ValueError(f"normalise the weights to [−1, 1] (largest magnitude is {largest:.3g}): 1 is a full weight")
    for name, value in (("write_noise", write_noise), ("flicker", flicker)):
        ensure_range(name, as_array(name, value), low=0)
    if np.shape(write_noise) not in ((), w.shape):
        raise ValueError(f"write_noise must be a number or one per weight {w.shape}, got {np.shape(write_noise)}")
    ensure(lambda v: v > 0, "input_limit must be > 0", input_limit)
    _, sums = method.run(key, Instrument(core, write_noise, flicker), w, jnp.asarray(input_limit, w.dtype))
    return merge(sums)


@door
def mvm_error(
    key: Array,
    tile: Tile,
    chip: Chip | Reading,
    weights: Array,
    x: Array | None = None,
    t: Array | float = 0.0,
    *,
    vectors: int = 1024,
) -> Array:
    """Relative error of a chip's MVMs, ‖ŷ − x W‖ / ‖x W‖, over a batch of inputs.

    Right for weights of any scale; NaN and infinity anywhere in them pass through. Where x W is all zeros the error
    is 0 if ŷ is, and infinite otherwise.

    Args:
        key: randomness of the read and of the MVM.
        tile: the hardware.
        chip: a programmed chip or a reading of one.
        weights: what it should hold, (rows, cols).
        x: inputs (…, rows); None: Gaussian ones that excite the tiles without saturating the ADCs.
        t: seconds after the first read.
        vectors: number of such inputs.

    Raises:
        ValueError: as `crossjax.mvm`, and for weights of another shape than the chip's.
    """
    _check_vectors(vectors)
    weights = weights if is_traced(weights) else jnp.asarray(as_array("weights", weights))
    weights = at_least_single(weights)
    if weights.shape != chip.shape:
        raise ValueError(f"weights must have the chip's shape {chip.shape}, got {weights.shape}")
    if checking():
        ensure(is_finite, "weights must be finite", weights)
    given = _random_inputs(named(key, "inputs"), strong(tile), weights, vectors) if x is None else x
    given = as_inputs(given, chip.shape)
    return _error(mvm(key, tile, chip, given, t), given, weights)


@jax.jit
def _error(y: Array, x: Array, weights: Array) -> Array:
    return relative_error(y, x @ weights)


@door
def random_inputs(key: Array, tile: Tile, weights: Array, vectors: int) -> Array:
    """Gaussian inputs (vectors, rows) that excite a tile without saturating its converters.

    Raises:
        ValueError: for weights that are not a finite matrix (rows, cols), or less than one vector.
    """
    _check_vectors(vectors)
    return _random_inputs(key, strong(tile), check_weights(weights), vectors)


def _check_vectors(vectors: int) -> None:
    if vectors < 1:
        raise ValueError(f"vectors must be at least 1, got {vectors}")


@partial(jax.jit, static_argnums=3)
def _random_inputs(key: Array, tile: Tile, weights: Array, vectors: int) -> Array:
    w, _ = normalise(tile, weights)
    u = test_inputs(key, tile, (w.shape[0], vectors, w.shape[2]), input_deviation(tile, w))
    x = u.transpose(1, 0, 2).reshape(vectors, -1)[:, : weights.shape[0]]
    if tile.dac is not None and not tile.dac.per_vector:
        x = x * tile.dac.range
    return x
