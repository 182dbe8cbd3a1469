"""The map of `star`, for small arrays: blocks are added to a network one after the other, Redheffer star products.

The joins of `star` are a program of their own at every level, which takes longer to compile than a small array ever
takes to compute. Here three loops are compiled, whatever the size: in 2 s instead of 7 to 17. Up to 64 × 64 they are
also as fast (their gradient takes twice as long); at 256 × 256 they would take four times as long.

Blocks, their ends L, R, T, B and what goes in and out there are those of `star`; ports stand in the order L, T, R, B. A
network grows from bare lines, whose signals pass from end to end, one block after the other, row by row from the top: a
block's L and T take what the network's R and B put out there and the other way round, and the block's R and B are the
network's from then on. Leaves grow by single devices, blocks by leaves, the array by blocks.

Lines are connected one at a time. Each leaves a network of resistors, so that every pivot is positive (about 1 plus
resistance × conductance) and none has to be searched. r = 0 and G = 0 are exact, and float32 keeps its digits.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LEAF, BLOCK = 8, 32  # devices along each side, at most
LARGEST = 64  # lines, from where on `star` is the better way

Place = tuple[Array | int, Array | int]  # where the ports R and B of a row and a column of blocks begin


def conductance_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """Bottom currents per left voltage (M, N) of an array whose right and top ends are open, µS.

    Args:
        g: conductances (M, N), µS.
        r_word: resistance of the segment to the left of every device, (M, N), MΩ.
        r_bit: resistance of the segment below every device, (M, N), MΩ.
    """
    blocks, m, n = _blocks(g, r_word, r_bit)
    rows, cols = g.shape
    effective = blocks[0, 0, -n:, :m] if blocks.shape[:2] == (1, 1) else _open_array(blocks, m, n)
    return effective[:cols, effective.shape[1] - rows :].T


def block_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """The map of a whole array, (2 (M + N))² with ports in the order L, R, T, B; arguments as `conductance_map`."""
    blocks, m, n = _blocks(g, r_word, r_bit)
    p, q = blocks.shape[0] * m, blocks.shape[1] * n
    row, col = np.arange(p - g.shape[0], p), np.arange(g.shape[1])  # without those that were added
    keep = np.concatenate([row, p + q + row, p + col, 2 * p + q + col])
    return _grow(blocks, m, n)[np.ix_(keep, keep)]


def _blocks(g: Array, r_word: Array, r_bit: Array) -> tuple[Array, int, int]:
    """Maps of the blocks of an array (down, across, ports, ports), and their sides m and n."""
    (down, small_down, m), (across, small_across, n) = _cut(g.shape[0]), _cut(g.shape[1])

    def leaves(a: Array) -> Array:
        # unused rows at the top and columns on the right, without devices or resistance: exact
        more = down * small_down * m - a.shape[0], across * small_across * n - a.shape[1]
        a = jnp.pad(a, ((more[0], 0), (0, more[1])))
        return a.reshape(down, small_down, m, across, small_across, n).transpose(2, 5, 1, 4, 0, 3)

    maps = _leaves(leaves(g), leaves(r_word), leaves(r_bit)).transpose(2, 3, 4, 5, 0, 1)
    return _grow(maps, m, n), small_down * m, small_across * n


def _cut(size: int) -> tuple[int, int, int]:
    """(blocks, leaves of a block, devices of a leaf) along a side of ``size`` devices."""
    blocks = math.ceil(size / BLOCK)
    leaves = math.ceil(size / blocks / LEAF)
    return blocks, leaves, math.ceil(size / blocks / leaves)


def _bare(rows: int, cols: int) -> np.ndarray:
    """The map of lines without devices and resistance."""
    return np.roll(np.eye(2 * (rows + cols)), rows + cols, axis=0)


def _leaves(g: Array, r_word: Array, r_bit: Array) -> Array:
    """Maps (ports, ports, …) of leaves (m, n, …), device by device: two changes of rank 1 each, all leaves at once."""
    m, n, *batch = g.shape
    half, size = m + n, math.prod(batch)
    port = np.arange(2 * half)[:, None]

    def at(a: Array, i: Array, axis: int = 0) -> Array:
        return lax.dynamic_index_in_dim(a, i, axis, keepdims=False)

    def changed(maps: Array, left: Array, right: Array) -> Array:
        return maps + left[0][:, None] * right[0] + left[1][:, None] * right[1]

    def add(carry: tuple[Array, Array, Array], device: tuple[Array, ...]) -> tuple[tuple[Array, Array, Array], None]:
        # changes wait for the next step, as XLA would find their factors anew for every element
        maps = changed(*carry)
        r, b, conductance, word, bit = device
        is_r, is_b = port == r, port == b
        maps = maps - jnp.where(is_r[:, None] & is_r, word, 0.0)
        voltage, effect = at(maps, r) - is_b, at(maps, r, 1) + is_b  # across the device; of its current
        g = conductance / (1.0 - conductance * at(voltage, r))
        current = at(maps, b) + g * at(effect, b) * voltage  # leaving at the bottom, now through r_bit
        drop = at(maps, b, 1) + effect * (g * at(voltage, b))
        r = bit / (1.0 - bit * at(current, b))
        return (maps, jnp.stack([g * effect, r * drop]), jnp.stack([voltage, current])), None

    flat = [a.reshape(m * n, size) for a in (g, r_word, r_bit)]
    none = jnp.zeros((2, 2 * half, size), g.dtype)
    start = jnp.broadcast_to(jnp.asarray(_bare(m, n), g.dtype)[..., None], (2 * half, 2 * half, size))
    row, col = map(jnp.asarray, np.divmod(np.arange(m * n), n))
    carry, _ = lax.scan(add, (start, none, none), (half + row, half + m + col, *flat))
    return changed(*carry).reshape(2 * half, 2 * half, *batch)


def _grow(blocks: Array, m: int, n: int) -> Array:
    """The map (…, ports, ports) of blocks (down, across, …, ports, ports) of m × n devices."""
    down, across, *batch, _, _ = blocks.shape
    if down * across == 1:
        return blocks[0, 0]
    p, q = down * m, across * n

    def add(maps: Array, block: tuple[Array, Array, Array]) -> tuple[Array, None]:
        r, b, k = block
        return _add(m, n, maps, k, (r, b), (r, b)), None

    start = jnp.asarray(_bare(p, q), blocks.dtype)
    row, col = map(jnp.asarray, np.divmod(np.arange(down * across), across))
    order = p + q + m * row, 2 * p + q + n * col, blocks.reshape(-1, *blocks.shape[2:])
    return lax.scan(add, jnp.broadcast_to(start, (*batch, *start.shape)), order)[0]


def _open_array(blocks: Array, m: int, n: int) -> Array:
    """Bottom currents per left voltage of blocks (down, across, ports, ports), open at the right and the top.

    Inputs L, R, B and outputs R, B, where R belongs to the row that grows: rows before it are open there.
    """
    down, across = blocks.shape[:2]
    p, q = down * m, across * n
    begin = np.eye(p, p + m + q).reshape(down, m, -1)  # the voltages of a row of blocks before its first one
    keep = np.ones(p + m + q)
    keep[p : p + m] = 0.0

    def add(maps: Array, block: tuple[Array, Array]) -> tuple[Array, None]:
        b, k = block
        return _add(m, n, maps, k, (np.int32(0), m + b), (np.int32(p), p + m + b)), None

    def add_row(maps: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        maps = jnp.concatenate([row[0], maps[m:] * keep.astype(maps.dtype)])
        return lax.scan(add, maps, (n * jnp.arange(across), row[1]))[0], None

    start = jnp.zeros((m + q, p + m + q), blocks.dtype)
    return lax.scan(add_row, start, (jnp.asarray(begin, blocks.dtype), blocks))[0][m:, :p]


def _pick(a: Array, place: Place, m: int, n: int, axis: int) -> Array:
    parts = [lax.dynamic_slice_in_dim(a, i, size, axis) for i, size in zip(place, (m, n), strict=True)]
    return jnp.concatenate(parts, axis)


def _put(a: Array, part: Array | float, place: Place, m: int, n: int, axis: int) -> Array:
    for i, piece in zip(place, jnp.split(part, [m], axis), strict=True):
        a = lax.dynamic_update_slice_in_dim(a, piece, i, axis)
    return a


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _add(m: int, n: int, maps: Array, block: Array, out: Place, into: Place) -> Array:
    """Maps (…, outputs, inputs) with a block (…, ports, ports) each, at R and B: ``out`` and ``into``."""
    return _added(m, n, maps, block, out, into)[0]


def _added(m: int, n: int, maps: Array, block: Array, out: Place, into: Place) -> tuple[Array, tuple[Array, ...]]:
    """The new maps, and the factors of their derivative."""
    half = m + n
    pick, put = partial(_pick, m=m, n=n), partial(_put, m=m, n=n)
    row, col = pick(maps, out, axis=-2), pick(maps, into, axis=-1)
    inner = _connected(pick(row, into, axis=-1), block[..., :half, :half])
    # what a change of the outputs that meet, the maps' and the block's, does to the new outputs
    effect = put(col @ inner[..., half:, :], block[..., half:, :half] @ inner[..., :half, :], out, axis=-2)
    of_maps, of_block = effect[..., :half], effect[..., half:]
    of_block = jnp.concatenate([of_block, put(jnp.zeros_like(of_block), _eye(half, maps), out, axis=-2)], axis=-1)
    rest = put(maps, jnp.zeros_like(col), into, axis=-1)
    row = pick(rest, out, axis=-2)
    new = put(rest, jnp.zeros_like(row), out, axis=-2) + of_maps @ row
    return put(new, of_block @ block[..., half:], into, axis=-1), (of_maps, of_block, inner, row)


@_add.defjvp
def _add_jvp(m: int, n: int, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (maps, block, out, into), (d_maps, d_block, *_) = primals, tangents
    half = m + n
    pick, put = partial(_pick, m=m, n=n), partial(_put, m=m, n=n)
    new, (of_maps, of_block, inner, row) = _added(m, n, maps, block, out, into)
    # the inputs of the block and of the old maps that belong to those of the new maps
    inputs = put(inner[..., :half] @ row, inner[..., half:] @ block[..., :half, half:], into, axis=-1)
    to_block, to_maps = inputs[..., :half, :], inputs[..., half:, :]
    to_block = jnp.concatenate([to_block, put(jnp.zeros_like(row), _eye(half, maps), into, axis=-1)], axis=-2)
    col = pick(d_maps, into, axis=-1)
    d = put(d_maps, jnp.zeros_like(col), into, axis=-1) + col @ to_maps
    row = pick(d, out, axis=-2)
    d = put(d, jnp.zeros_like(row), out, axis=-2) + of_maps @ row
    return new, d + (of_block @ d_block) @ to_block


def _eye(size: int, like: Array) -> Array:
    return jnp.broadcast_to(jnp.eye(size, dtype=like.dtype), (*like.shape[:-2], size, size))


def _connected(maps: Array, block: Array) -> Array:
    """Inverse (…, 2h, 2h) of [[1, −maps], [−block, 1]]: two maps (…, h, h) connected by h lines, line after line."""
    half = maps.shape[-1]
    eye = _eye(half, maps)
    a = jnp.concatenate([jnp.concatenate([eye, -maps], -1), jnp.concatenate([-block, eye], -1)], -2)

    def pivot(a: Array, i: Array) -> tuple[Array, None]:
        here = np.arange(2 * half) == i
        row, col = lax.dynamic_slice_in_dim(a, i, 1, -2), lax.dynamic_slice_in_dim(a, i, 1, -1)
        scale = 1.0 / lax.dynamic_slice_in_dim(col, i, 1, -2)
        rest = jnp.where(here | here[:, None], 0.0, a)
        return rest - jnp.where(here[:, None], -1.0, col) * (jnp.where(here, 1.0, row) * scale), None

    return lax.scan(pivot, a, jnp.arange(2 * half).reshape(2, half).T.ravel())[0]
