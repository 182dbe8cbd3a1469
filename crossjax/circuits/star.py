"""The exact linear map of a resistive crossbar, by merging blocks: nested dissection in Redheffer star products.

A block of m × n devices, with the wire segments to the left of and below each of them, is a linear map between what
happens at its ends (voltages V, currents in µA):

                      T: current in, voltage out
                   ┌──────────────────────────┐
    L: voltage in, │                          │ R: current leaving in,
       current out │      m × n devices       │    voltage out
                   └──────────────────────────┘
                      B: voltage in, current out

Two neighbours join by eliminating their common line, where one of them gives the voltage and the other the current:
with the inverse of 1 + (resistance)(conductance), well conditioned whatever the devices. Leaves of 8 × 8 devices grow
device by device, all at once; log₂ M + log₂ N − 6 joins lead from there to the whole array. All blocks of a level are
joined at once. Nothing is subtracted that is nearly equal, so float32 keeps its digits, and r = 0 and G = 0 are exact.

Every level is a program of its own, so what counts besides its time is the time to compile it: products, slices and
one gather cost little; LAPACK's solutions with their pivots, many concatenations and the scatters of a gather's
derivative cost three times as much (256 × 256: 15 s instead of 4), and so the leaves are a loop and inverses another.

The ports of a map stand in the order in which the next join wants them, the side to connect last in one block and
first in the other: L, T, B, R before a join across, T, L, R, B before a join down.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

LEAF = 8  # devices along each side of a leaf, at most
ORDER = {"across": "LTBR", "down": "TLRB"}  # of the ports of a map, by the way of the next join


def conductance_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """Bottom currents per left voltage (M, N) of an array whose right and top ends are open, µS.

    Args:
        g: conductances (M, N), µS.
        r_word: resistance of the segment to the left of every device, (M, N), MΩ.
        r_bit: resistance of the segment below every device, (M, N), MΩ.
    """
    maps, (m, n), ways = _merge(g, r_word, r_bit, leave=1)
    left, below, nothing = slice(m), slice(m + n, m + 2 * n), slice(0)
    if not ways:
        effective = maps[0, 0, below, left]
    elif ways[0] == "across":
        effective = _join(maps[0, 0], maps[0, 1], m, "across", outs=(below, below), ins=(left, nothing))
    else:
        left, below = slice(n, n + m), slice(-n, None)
        effective = _join(maps[0, 0], maps[1, 0], n, "down", outs=(nothing, below), ins=(left, left))
    rows, cols = g.shape
    return effective[:cols, effective.shape[1] - rows :].T


def block_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """The map of a whole array, (2 (M + N))² with ports in the order L, R, T, B; arguments as `conductance_map`."""
    maps, (m, n), _ = _merge(g, r_word, r_bit, leave=0)
    row, col = np.arange(m - g.shape[0], m), np.arange(g.shape[1])  # without those that were added
    keep = np.concatenate([row, m + 2 * n + row, m + col, m + n + col])
    return maps[0, 0][np.ix_(keep, keep)]


def _merge(g: Array, r_word: Array, r_bit: Array, leave: int) -> tuple[Array, tuple[int, int], list[str]]:
    """Join leaves until ``leave`` joins are left to do: maps, the sides of a block, and the ways of the joins left."""
    (rows, m), (cols, n) = _cut(g.shape[0]), _cut(g.shape[1])
    above, right = rows * m - g.shape[0], cols * n - g.shape[1]
    # unused rows at the top and columns on the right, without devices or resistance: exact

    def blocks(a: Array) -> Array:
        a = jnp.pad(a, ((above, 0), (0, right)))
        return a.reshape(rows, m, cols, n).transpose(1, 3, 0, 2)

    ways = _ways(rows, cols, m, n)
    maps = _leaves(blocks(g), blocks(r_word), blocks(r_bit))
    sides = dict(zip("LTRB", np.split(np.arange(2 * (m + n)), (m, m + n, 2 * m + n)), strict=True))
    maps = _permuted(maps, np.concatenate([sides[side] for side in ORDER[ways[0] if ways else "across"]]))
    while len(ways) > leave:
        way, *ways = ways
        if way == "across":
            pair, size, other, n = (maps[:, 0::2], maps[:, 1::2]), m, n, 2 * n
        else:
            pair, size, other, m = (maps[0::2], maps[1::2]), n, m, 2 * m
        rest = slice(-size), slice(size, None)
        maps = _join(*pair, size, way, rest, rest)
        first, x_a, y_a, x_b, y_b, last = np.split(np.arange(maps.shape[-1]), size + other * np.arange(5))
        same = (ways or ["across"])[0] == way
        order = [first, x_a, x_b, y_a, y_b, last] if same else [x_a, x_b, first, last, y_a, y_b]
        maps = _permuted(maps, np.concatenate(order))
    return maps, (m, n), ways


def _ways(rows: int, cols: int, m: int, n: int) -> list[str]:
    """The way of every join of rows × cols blocks of m × n devices, keeping blocks as square as they can be."""
    ways = []
    while rows * cols > 1:
        if cols > 1 and (n <= m or rows == 1):
            ways.append("across")
            cols, n = cols // 2, 2 * n
        else:
            ways.append("down")
            rows, m = rows // 2, 2 * m
    return ways


def _cut(size: int) -> tuple[int, int]:
    """(a power of two of blocks, devices along the side of one) for ``size`` devices, padded as little as possible."""
    blocks = 2 ** max(0, math.ceil(math.log2(size / LEAF)))
    return blocks, math.ceil(size / blocks)


@jax.custom_jvp
def _leaves(g: Array, r_word: Array, r_bit: Array) -> Array:
    """Maps (…, ports, ports) of leaves (m, n, …), ports L, T, R, B."""
    return _leaves_first(_grown(g, r_word, r_bit, inside=False))


@_leaves.defjvp
def _leaves_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """By Tellegen's theorem: with ports p and q, d map[p, q] = ± Σ dG V_p V_q − dR I_p I_q over all resistors.

    The loop's own derivative would take six times as long.
    """
    g, (m, n, *batch) = primals[0], primals[0].shape
    half, at = m + n, np.arange(m * n)
    maps, voltage = jnp.split(_grown(*primals, inside=True), [2 * half])
    # currents in the segments to the left of and below every device: of the devices, and what goes in at R and T
    beyond = np.concatenate(
        [np.kron(np.eye(m), np.triu(np.ones((n, n)))), np.kron(np.tril(np.ones((m, m))), np.eye(n))]
    )
    ends = np.eye(2 * half)[np.concatenate([half + at // n, m + at % n])].reshape(-1, 2 * half, *[1] * len(batch))
    current = jnp.tensordot(beyond.astype(g.dtype), g.reshape(-1, 1, *batch) * voltage, 1) + ends.astype(g.dtype)
    seen = _leaves_first(jnp.concatenate([voltage, current]))
    change = jnp.concatenate([sign * d.reshape(-1, *batch) for sign, d in zip((1, -1, -1), tangents, strict=True)])
    back = jnp.asarray(np.repeat([[1.0], [-1.0], [1.0], [-1.0]], [m, n, m, n], axis=0), g.dtype)
    change = jnp.swapaxes(seen, -1, -2) @ (jnp.moveaxis(change, 0, -1)[..., None] * seen)
    return _leaves_first(maps), back * change


def _leaves_first(a: Array) -> Array:
    return jnp.moveaxis(a, (0, 1), (-2, -1))


def _grown(g: Array, r_word: Array, r_bit: Array, inside: bool) -> Array:
    """Maps (ports L, T, R, B, …) of leaves (m, n, …), device by device, and the voltages of devices if asked for."""
    m, n, *batch = g.shape
    half, count = m + n, m * n
    size = 2 * half + count * inside
    port = np.arange(size)[:, None]

    def at(a: Array, i: Array, axis: int = 0) -> Array:
        return lax.dynamic_index_in_dim(a, i, axis, keepdims=False)

    def changed(maps: Array, left: Array, right: Array) -> Array:
        return maps + left[0][:, None] * right[0] + left[1][:, None] * right[1]

    def add(carry: tuple[Array, Array, Array], device: tuple[Array, ...]) -> tuple[tuple[Array, Array, Array], None]:
        # changes wait for the next step, as XLA would find their factors anew for every element
        k, r, b, conductance, word, bit = device
        maps = changed(*carry)
        is_r, is_b, is_k = port == r, port == b, port == 2 * half + k
        maps = maps - jnp.where(is_r[:, None] & is_r[: 2 * half], word, 0.0)
        voltage = at(maps, r) - is_b[: 2 * half]  # across the device
        effect = at(maps, r, 1) + is_b + is_k * at(voltage, r)  # of its current
        g = conductance / (1.0 - conductance * at(voltage, r))
        left = g * effect + is_k
        current = at(maps, b) + at(left, b) * voltage  # leaving at the bottom, now through r_bit
        drop = at(maps, b, 1) + left * at(voltage, b)
        r = bit / (1.0 - bit * at(current, b))
        return (maps, jnp.stack([left, r * drop]), jnp.stack([voltage, current])), None

    leaves = math.prod(batch)
    bare = np.eye(size, 2 * half)  # signals pass from end to end
    bare[: 2 * half] = np.roll(bare[: 2 * half], half, axis=0)
    start = jnp.broadcast_to(jnp.asarray(bare, g.dtype)[..., None], (size, 2 * half, leaves))
    none = jnp.zeros((2, size, leaves), g.dtype), jnp.zeros((2, 2 * half, leaves), g.dtype)
    k = np.arange(count)
    order = (k, half + k // n, half + m + k % n, *(a.reshape(count, leaves) for a in (g, r_word, r_bit)))
    carry, _ = lax.scan(add, (start, *none), jax.tree.map(jnp.asarray, order))
    return changed(*carry).reshape(size, 2 * half, *batch)


Slices = tuple[slice, slice]  # of the ports of two maps


def _join(a: Array, b: Array, size: int, way: str, outs: Slices, ins: Slices) -> Array:
    """Connect the last side of maps ``a`` to the first side of maps ``b``: what is asked for of a, then of b.

    Across, a (left) gives the voltage between them and b the current that leaves a; down, b (below) gives the
    voltage and a (above) the current that enters b.
    """
    first, last = slice(size), slice(-size, None)

    def parts(x: Array, seam: slice, out: slice, into: slice) -> list[Array]:
        return [x[..., i, j] for i in (seam, out) for j in (seam, into)]

    both = [parts(a, last, outs[0], ins[0]), parts(b, first, outs[1], ins[1])]
    (z, z_in, z_out, z_rest), (y, y_in, y_out, y_rest) = both if way == "across" else both[::-1]
    inverse = _inverse(jnp.eye(size, dtype=a.dtype) - z @ y)
    v_z, v_y = inverse @ z_in, inverse @ (z @ y_in)
    i_z, i_y = y @ v_z, y_in + y @ v_y
    new = [[z_rest + z_out @ i_z, z_out @ i_y], [y_out @ v_z, y_rest + y_out @ v_y]]
    if way == "down":
        new = [row[::-1] for row in new[::-1]]
    return jnp.concatenate([jnp.concatenate(row, -1) for row in new], -2)


@jax.custom_jvp
def _inverse(a: Array) -> Array:
    """Inverse of 1 + Z Y, line by line.

    Z holds the resistances and Y the conductances that two networks of grounded resistors show to the lines: no pivot
    is below 1, and none is searched for.
    """
    at = np.arange(a.shape[-1])

    def eliminate(i: Array, a: Array) -> Array:
        row, col = lax.dynamic_slice_in_dim(a, i, 1, -2), lax.dynamic_slice_in_dim(a, i, 1, -1)
        row = jnp.where(at == i, 1.0, row) / lax.dynamic_slice_in_dim(col, i, 1, -2)
        return lax.dynamic_update_slice_in_dim(jnp.where(at == i, 0.0, a) - col * row, row, i, -2)

    return lax.fori_loop(0, len(at), eliminate, a)


@_inverse.defjvp
def _inverse_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse = _inverse(*primals)
    return inverse, -inverse @ tangents[0] @ inverse


def _permuted(maps: Array, order: np.ndarray) -> Array:
    """Maps with their ports in another order, as the solution of a system, whose transpose is a gather again."""

    def take(order: np.ndarray, maps: Array) -> Array:
        for axis in (-2, -1):
            maps = jnp.take(maps, order, axis, mode="clip", unique_indices=True)
        return maps

    back = np.argsort(order)
    return lax.custom_linear_solve(
        lambda x: take(back, x), maps, lambda _, x: take(order, x), lambda _, x: take(back, x)
    )
