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
one batched dense solve with a matrix 1 + (resistance)(conductance), well conditioned whatever the devices. Leaves of
a few devices are solved directly; log₂ M + log₂ N joins lead to the whole array. All blocks of a level are joined at
once. Nothing is subtracted that is nearly equal, so float32 keeps its digits, and r = 0 and G = 0 are exact.

The ports of a map stand in the order in which the next join wants them, the side to connect last in one block and
first in the other: L, T, B, R before a join across, T, L, R, B before a join down.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

LEAF = 4  # devices along each side of a leaf, at most


def conductance_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """Bottom currents per left voltage (M, N) of an array whose right and top ends are open, µS.

    Args:
        g: conductances (M, N), µS.
        r_word: resistance of the segment to the left of every device, (M, N), MΩ.
        r_bit: resistance of the segment below every device, (M, N), MΩ.
    """
    maps, (m, n), ways = _merge(g, r_word, r_bit, leave=1)
    if not ways:
        effective = maps[0, 0, -m - n : -m, :m]
    elif ways[0] == "across":
        effective = _across_last(maps[0, 0], maps[0, 1], m, n)
    else:
        effective = _down_last(maps[0, 0], maps[1, 0], m, n)
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
        return a.reshape(rows, m, cols, n).transpose(0, 2, 1, 3)

    ways = _ways(rows, cols, m, n)
    maps = _leaves(blocks(g), blocks(r_word), blocks(r_bit), *ways[:1])
    while len(ways) > leave:
        way, *ways = ways
        if way == "across":
            maps, n = _join(maps[:, 0::2], maps[:, 1::2], m, n, way, *ways[:1]), 2 * n
        else:
            maps, m = _join(maps[0::2], maps[1::2], m, n, way, *ways[:1]), 2 * m
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


def _across_last(a: Array, b: Array, m: int, n: int) -> Array:
    """Bottom currents per left voltage of two neighbours, nothing else."""
    a_below, b_below = a[-m - n : -m], b[-m - n : -m]
    voltage = jnp.linalg.solve(jnp.eye(m, dtype=a.dtype) - a[-m:, -m:] @ b[:m, :m], a[-m:, :m])
    left = a_below[:, :m] + a_below[:, -m:] @ (b[:m, :m] @ voltage)
    return jnp.concatenate([left, b_below[:, :m] @ voltage])


def _down_last(a: Array, b: Array, m: int, n: int) -> Array:
    """Bottom currents per left voltage of a block and the one below it, nothing else."""
    a_left, b_left = a[-n:, n : n + m], b[:n, n : n + m]
    right = jnp.concatenate([b[:n, :n] @ a_left, b_left], axis=-1)
    voltage = jnp.linalg.solve(jnp.eye(n, dtype=a.dtype) - b[:n, :n] @ a[-n:, -n:], right)
    current = a[-n:, -n:] @ voltage + jnp.concatenate([a_left, jnp.zeros_like(b_left)], axis=-1)
    through = b[-n:, :n] @ current
    return jnp.concatenate([through[:, :m], through[:, m:] + b[-n:, n : n + m]], axis=-1)


def _cut(size: int) -> tuple[int, int]:
    """(a power of two of blocks, devices along the side of one) for ``size`` devices, padded as little as possible."""
    blocks = 2 ** max(0, math.ceil(math.log2(size / LEAF)))
    return blocks, math.ceil(size / blocks)


def _leaves(g: Array, r_word: Array, r_bit: Array, then: str = "across") -> Array:
    """Maps of small blocks (…, m, n) by a direct solve for their device voltages.

    With x the device voltages: (1 + Z G) x = S · inputs and outputs = D · inputs + C G x, where Z is the resistance
    that device currents share on their lines.
    """
    m, n = g.shape[-2:]
    batch = g.shape[:-2]
    along, below = jnp.cumsum(r_word, axis=-1), jnp.flip(jnp.cumsum(jnp.flip(r_bit, -2), axis=-2), -2)
    row, col = jnp.eye(m, dtype=g.dtype), jnp.eye(n, dtype=g.dtype)
    k, last = jnp.arange(m), jnp.arange(n)
    word = jnp.take(along, jnp.minimum(last[:, None], last[None]), axis=-1)  # (…, m, n, n)
    bit = jnp.take(below, jnp.maximum(k[:, None], k[None]), axis=-2)  # (…, m, m, n)
    z = jnp.einsum("...kab,kl->...kalb", word, row) + jnp.einsum("...kla,ab->...kalb", bit, col)
    z = z.reshape(*batch, m * n, m * n)

    # voltages enter at L and B, currents at R and T; currents leave at L and B, voltages are seen at R and T
    to_row = jnp.broadcast_to(row[:, None], (*batch, m, n, m))
    to_col = jnp.broadcast_to(col[None], (*batch, m, n, n))
    by_row, by_col = along[..., None] * to_row, below[..., None] * to_col
    order, sizes = ("LTBR", (m, n, n, m)) if then == "across" else ("TLRB", (n, m, m, n))

    def ports(**sides: Array) -> Array:
        return jnp.concatenate([sides[side] for side in order], axis=-1).reshape(*batch, m * n, -1)

    source, collect = ports(L=to_row, T=-by_col, B=-to_col, R=-by_row), ports(L=to_row, T=by_col, B=to_col, R=-by_row)
    x = jnp.linalg.solve(jnp.eye(m * n, dtype=g.dtype) + z * g.reshape(*batch, 1, m * n), source)
    out = jnp.swapaxes(collect, -1, -2) @ (g.reshape(*batch, m * n, 1) * x)

    # what passes along the lines without a device
    starts = dict(zip(order, np.cumsum([0, *sizes]), strict=False))
    left, right, top, below_ = (starts[side] + np.arange(m if side in "LR" else n) for side in "LRTB")
    direct = jnp.zeros_like(out).at[..., left, right].set(1.0).at[..., right, left].set(1.0)
    direct = direct.at[..., top, below_].set(1.0).at[..., below_, top].set(1.0)
    direct = direct.at[..., right, right].set(-along[..., -1]).at[..., top, top].set(below[..., 0, :])
    return direct + out


def _join(a: Array, b: Array, m: int, n: int, way: str, then: str = "across") -> Array:
    """Connect the last side of maps ``a`` to the first side of maps ``b``; the next join goes the way ``then``.

    Across, a (left) gives the voltage between them and b the current that leaves a; down, b (below) gives the
    voltage and a (above) the current that enters b.
    """
    size, other = (m, n) if way == "across" else (n, m)
    a_ll, a_lo, a_ol, a_oo = (
        a[..., -size:, -size:],
        a[..., -size:, :-size],
        a[..., :-size, -size:],
        a[..., :-size, :-size],
    )
    b_ff, b_fo, b_of, b_oo = b[..., :size, :size], b[..., :size, size:], b[..., size:, :size], b[..., size:, size:]

    def together(of_a: Array, of_b: Array, axis: int = -1) -> Array:
        """What belongs to the ports left of a (first, x, y) and of b (x, y, last), in the order of the new map."""
        first, x_a, y_a = jnp.split(of_a, [size, size + other], axis)
        x_b, y_b, last = jnp.split(of_b, [other, 2 * other], axis)
        middle = [first, x_a, x_b, y_a, y_b, last] if then == way else [x_a, x_b, first, last, y_a, y_b]
        return jnp.concatenate(middle, axis)

    eye = jnp.eye(size, dtype=a.dtype)
    if way == "across":  # v = a_lo + a_ll i,  i = b_fo + b_ff v
        v = jnp.linalg.solve(eye - a_ll @ b_ff, together(a_lo, a_ll @ b_fo))
        into_a, into_b = b_ff @ v + together(jnp.zeros_like(a_lo), b_fo), v
    else:  # v = b_fo + b_ff i,  i = a_lo + a_ll v
        v = jnp.linalg.solve(eye - b_ff @ a_ll, together(b_ff @ a_lo, b_fo))
        into_a, into_b = v, a_ll @ v + together(a_lo, jnp.zeros_like(b_fo))
    of_a = a_ol @ into_a + together(a_oo, jnp.zeros((*a_oo.shape[:-1], b_oo.shape[-1]), a.dtype))
    of_b = b_of @ into_b + together(jnp.zeros((*b_oo.shape[:-1], a_oo.shape[-1]), a.dtype), b_oo)
    return together(of_a, of_b, axis=-2)
