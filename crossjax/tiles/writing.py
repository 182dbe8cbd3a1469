"""Chips that are written, as often as one likes: built fresh from RESET, then changed where somebody asks for it.

    Tile ──build──► Chip ──write──► Chip ──read(t)──► Reading ──mvm(x)──► y
                     ▲                │
                     └────────────────┘

A write asks for a change of weights, which the write circuit turns into pulses from what it believes, or for weights
themselves, which the devices are programmed to by their published procedure. A device that gets no pulse stays what it
is, bit for bit, its drift included; one that does starts its drift again.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import as_array, ensure, ensure_range, is_finite, is_traced
from crossjax._kinds import door
from crossjax._pytree import replace, strong
from crossjax._random import named, split
from crossjax.devices.device import DeviceState
from crossjax.tiles.tile import Chip, Tile, blank, check_age, check_chip


@door
def build(key: Array, tile: Tile, shape: tuple[int, int], *, scale: Array | float = 1.0, count: bool = False) -> Chip:
    """A chip with room for a matrix, its devices fresh from RESET.

    Args:
        key: what is fixed for the life of the chip: faults, cell-to-cell spread, converters.
        tile: the hardware.
        shape: (rows, cols) of the matrix.
        scale: weight that the largest conductance stands for.
        count: whether the pulses of every device are counted (``chip.cells.pulses``).

    Returns:
        A chip that holds zeros as well as its devices can. It is not drift-compensated: there is nothing to compare
        with (see `remember`).

    Raises:
        ValueError: for a shape without rows or columns, or a scale that is not positive.
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"shape must be (rows, cols), at least 1 each, got {shape}")
    if np.shape(scale) != ():
        raise ValueError(f"scale must be one number, got shape {np.shape(scale)}")
    ensure_range("scale", as_array("scale", scale) if not is_traced(scale) else scale, low=0, strict=True)
    return _build(key, strong(tile), (int(shape[0]), int(shape[1])), jnp.asarray(scale, jnp.zeros(()).dtype), count)


@partial(jax.jit, static_argnums=(2, 4))
def _build(key: Array, tile: Tile, shape: tuple[int, int], scale: Array, count: bool) -> Chip:
    grid = tile.grid(shape)
    tiles = split(key, grid.down * grid.across)
    cells, columns = jax.vmap(lambda k: blank(k, tile, (grid.r, grid.c), count=count), out_axes=1)(tiles)

    cells, columns = jax.tree.map(
        lambda a: a.reshape(a.shape[0], grid.down, grid.across, *a.shape[2:]), (cells, columns)
    )
    columns = jax.tree.map(lambda a: a.swapaxes(0, 1), columns)  # (down, lines, across, c')
    wide = grid.c if tile.scaling == "column" else 1
    scales = jnp.broadcast_to(scale, (grid.down, grid.across, wide))
    return Chip(cells, scales, columns, None, jnp.zeros(()), shape, tile.hardware)


@door
def write(
    key: Array,
    tile: Tile,
    chip: Chip,
    change: Array | np.ndarray | None = None,
    *,
    target: Array | np.ndarray | None = None,
    where: Array | np.ndarray | None = None,
    t: Array | float = 0.0,
) -> tuple[Chip, Array]:
    """The chip after one write, and how many pulses that took.

        chip, pulses = cx.write(key, tile, chip, -0.1 * gradient)                   # pulses where it is not 0
        chip, pulses = cx.write(key, tile, chip, target=weights, where=row_mask)    # these rows, once more

    Args:
        key: randomness of the pulses.
        tile: the hardware.
        chip: what is written; it is not changed itself.
        change: wanted changes of the weights (rows, cols); 0 sends no pulse. The controller starts from what it
            believes the weights to be.
        target: instead of a change, weights (rows, cols) that the devices are programmed to, once, with their published
            programming error (devices that are known by their pulses only: by a request for the difference).
        where: which weights are written, anything that broadcasts to (rows, cols); None: all.
        t: seconds after the chip's first read, not before its last write. Devices that are pulsed drift from here on.

    Returns:
        The new chip, and the number of pulses on all its devices. Its drift compensation is gone, since what that
        compares with is: `remember` makes it anew. A chip that was programmed all at once gets a time for each device
        with its first write, which therefore goes before a scan over others.

    Raises:
        ValueError: for numbers that are not finite or of another shape than the chip's, neither or both of ``change``
            and ``target``, a time before the last write, or a chip that is kept for reading only.
    """
    check_chip(tile, chip)
    if (change is None) == (target is None):
        raise ValueError("write needs either a change of the weights or target weights")
    wanted, name = (change, "change") if target is None else (target, "target")
    wanted = wanted if is_traced(wanted) else jnp.asarray(as_array(name, wanted))
    if wanted.shape != chip.shape:
        raise ValueError(f"{name} must have the chip's shape {chip.shape}, got {wanted.shape}")
    ensure(is_finite, f"{name} must be finite", wanted)
    check_age(chip, t)
    send = _changed if target is None else _targeted
    cells, pulses = send(key, strong(tile), chip, wanted.astype(chip.scale.dtype), _mask(where, chip.shape), strong(t))
    return replace(chip, cells=cells, reference=None, time=jnp.asarray(t, chip.time.dtype)), pulses


def _mask(where: Array | np.ndarray | None, shape: tuple[int, int]) -> Array | None:
    if where is None:
        return None
    mask = jnp.asarray(where)
    rest = zip(mask.shape[::-1], shape[::-1], strict=False)
    if mask.dtype != bool or mask.ndim > 2 or any(a not in (1, b) for a, b in rest):
        raise ValueError(f"where must be booleans that broadcast to {shape}, got {mask.dtype} of shape {mask.shape}")
    return jnp.broadcast_to(mask, shape)


@jax.jit
def _changed(
    key: Array, tile: Tile, chip: Chip, change: Array, where: Array | None, t: Array
) -> tuple[DeviceState, Array]:
    change = change if where is None else jnp.where(where, change, 0.0)
    w = tile.grid(chip.shape).cut(change) / chip.scale[..., None, :]
    cells, hit = pulsed(named(key, "pulse"), tile, chip.cells, w)
    return tile.device.restart(named(key, "restart"), cells, hit > 0, t), jnp.sum(hit)


@jax.jit
def _targeted(
    key: Array, tile: Tile, chip: Chip, target: Array, where: Array | None, t: Array
) -> tuple[DeviceState, Array]:
    grid = tile.grid(chip.shape)
    mask = None if where is None else grid.cut(where)
    if grid.padded:
        mask = grid.mask() if mask is None else mask & grid.mask()
    cells, hit = programmed(named(key, "program"), tile, chip.cells, grid.cut(target) / chip.scale[..., None, :], mask)
    return tile.device.restart(named(key, "restart"), cells, hit > 0, t), jnp.sum(hit)


# ------------------------------------------------------------- devices (devices, …, r, c') of normalised weights


def pulsed(key: Array, tile: Tile, cells: DeviceState, change: Array) -> tuple[DeviceState, Array]:
    """The devices after write pulses for wanted changes of normalised weights (…, r, c), and their numbers."""
    believed, device = cells.believed, tile.written
    now = device.place(believed)
    then = tile.cell.correct(now, change)
    return sent(key, tile, cells, jnp.where(then == now, believed, device.conductance(then)))


def sent(key: Array, tile: Tile, cells: DeviceState, target: Array) -> tuple[DeviceState, Array]:
    """The devices after pulses towards ``target`` µS from what is believed; a target of g_min is a full RESET."""
    device = tile.written
    cells, pulses = device.pulse(key, cells, target - cells.believed, off=device.at_rest(target))
    return _slipped(key, tile, cells, pulses > 0), pulses


def _slipped(key: Array, tile: Tile, cells: DeviceState, hit: Array) -> DeviceState:
    """The devices that were written, with what went wrong in whole cells."""
    return replace(cells, g=tile.cell.slip(named(key, "slip"), cells.g, hit))


def programmed(
    key: Array, tile: Tile, cells: DeviceState, weights: Array, where: Array | None = None
) -> tuple[DeviceState, Array]:
    """The devices programmed once to normalised weights (…, r, c), ``where`` that is wanted, and the pulses on each.

    Cells that say so are programmed in several turns, each for what the earlier ones left.
    """
    device, cell, target = tile.written, tile.cell, tile.targets(weights)
    hit = jnp.ones(target.shape, bool) if where is None else _on_devices(tile, where, target.shape)
    if device.by_pulses:
        cells = device.aim(named(key, "aim"), cells, target, hit)
        return sent(key, tile, cells, jnp.where(hit, target, cells.believed))
    if cell.turns > 1:
        target = device.conductance(cell.turn(0, weights, device.place(target))[0])
    now = device.program(named(key, "program"), cells, target)
    for k in range(1, cell.turns):  # over the few pairs of a cell
        x, written = cell.turn(k, weights, device.place(now.g))
        again = device.program(named(key, f"program turn {k}"), cells, device.conductance(x))
        now = jax.tree.map(lambda a, b, written=written: jnp.where(written, a, b), again, now)
    now = _slipped(key, tile, now, hit)
    if where is not None:
        now = jax.tree.map(lambda a, b: jnp.where(hit, a, b), now, cells)
    return now, hit.astype(jnp.int32)


def _on_devices(tile: Tile, mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask of weights (…, r, c) as one of devices (devices, …, r, c'): a row's reference belongs to its weights."""
    extra = tile.cell.extra_columns
    if extra:
        mask = jnp.concatenate([mask, *[jnp.any(mask, axis=-1, keepdims=True)] * extra], axis=-1)
    return jnp.broadcast_to(mask, shape)
