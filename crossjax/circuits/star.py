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
    maps, ports, (m, n), way = _merge(g, r_word, r_bit, leave=1)
    if way is None:
        block = _arrange(maps[0, 0], ports, "L", "B")[0]
        effective = block[-n:, :m]
    elif way == "across":
        maps, ports = _arrange(maps, ports, "L", "R")
        effective = _across_last(maps[0, 0], maps[0, 1], ports, m)
    else:
        maps, ports = _arrange(maps, ports, "T", "B")
        effective = _down_last(maps[0, 0], maps[1, 0], ports, n)
    rows, cols = g.shape
    return effective[:cols, effective.shape[1] - rows :].T


def block_map(g: Array, r_word: Array, r_bit: Array) -> Array:
    """The map of a whole array, (2 (M + N))² with ports in the order L, R, T, B; arguments as `conductance_map`."""
    maps, ports, _, _ = _merge(g, r_word, r_bit, leave=0)
    block, ports = _arrange(maps[0, 0], ports, "L", "B")
    (rows, cols), size = g.shape, {"L": 0, "R": 0, "T": 0, "B": 0}
    for side in size:
        size[side] = int((ports["side"] == side).sum())
    unused = size["L"] - rows  # rows added at the top, columns added on the right
    keep = [k for k, (side, place) in enumerate(ports) if (place >= unused if side in "LR" else place < cols)]
    return block[np.ix_(keep, keep)]


def _merge(g: Array, r_word: Array, r_bit: Array, leave: int) -> tuple[Array, Ports, tuple[int, int], str | None]:
    """Join leaves until ``leave`` joins are left to do: maps, their ports, block size, and the way of the next join."""
    (rows, m), (cols, n) = _cut(g.shape[0]), _cut(g.shape[1])
    above, right = rows * m - g.shape[0], cols * n - g.shape[1]
    # unused rows at the top and columns on the right, without devices or resistance: exact

    def blocks(a: Array) -> Array:
        a = jnp.pad(a, ((above, 0), (0, right)))
        return a.reshape(rows, m, cols, n).transpose(0, 2, 1, 3)

    maps, ports = _leaves(blocks(g), blocks(r_word), blocks(r_bit)), _ports(m, n)
    while rows * cols > 1:
        way = "across" if cols > 1 and (n <= m or rows == 1) else "down"
        if rows * cols == 2 and leave:
            return maps, ports, (m, n), way
        maps, ports = _arrange(maps, ports, *(("L", "R") if way == "across" else ("T", "B")))
        if way == "across":
            maps, ports = _join(maps[:, 0::2], maps[:, 1::2], ports, m, n, way), _joined(ports, m, n, way)
            cols, n = cols // 2, 2 * n
        else:
            maps, ports = _join(maps[0::2], maps[1::2], ports, m, n, way), _joined(ports, m, n, way)
            rows, m = rows // 2, 2 * m
    return maps, ports, (m, n), None


def _across_last(a: Array, b: Array, ports: Ports, m: int) -> Array:
    """Bottom currents per left voltage of two neighbours, nothing else."""
    below = ports["side"] == "B"
    voltage = jnp.linalg.solve(jnp.eye(m, dtype=a.dtype) - a[-m:, -m:] @ b[:m, :m], a[-m:, :m])
    left = a[below, :m] + a[below][:, -m:] @ (b[:m, :m] @ voltage)
    return jnp.concatenate([left, b[below][:, :m] @ voltage])


def _down_last(a: Array, b: Array, ports: Ports, n: int) -> Array:
    """Bottom currents per left voltage of a block and the one below it, nothing else."""
    left = ports["side"] == "L"
    a_left, b_left = a[-n:][:, left], b[:n][:, left]
    right = jnp.concatenate([b[:n, :n] @ a_left, b_left], axis=-1)
    voltage = jnp.linalg.solve(jnp.eye(n, dtype=a.dtype) - b[:n, :n] @ a[-n:, -n:], right)
    m = a_left.shape[-1]
    current = a[-n:, -n:] @ voltage + jnp.concatenate([a_left, jnp.zeros_like(b_left)], axis=-1)
    through = b[-n:, :n] @ current
    return jnp.concatenate([through[:, :m], through[:, m:] + b[-n:][:, left]], axis=-1)


def _cut(size: int) -> tuple[int, int]:
    """(a power of two of blocks, devices along the side of one) for ``size`` devices, padded as little as possible."""
    blocks = 2 ** max(0, math.ceil(math.log2(size / LEAF)))
    return blocks, math.ceil(size / blocks)


def _leaves(g: Array, r_word: Array, r_bit: Array) -> Array:
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

    to_row = jnp.broadcast_to(row[:, None], (*batch, m, n, m))
    to_col = jnp.broadcast_to(col[None], (*batch, m, n, n))
    source = jnp.concatenate(
        [to_row, -along[..., None] * to_row, -below[..., None] * to_col, -to_col], axis=-1
    ).reshape(*batch, m * n, -1)
    x = jnp.linalg.solve(jnp.eye(m * n, dtype=g.dtype) + z * g.reshape(*batch, 1, m * n), source)
    current = g.reshape(*batch, m * n, 1) * x
    # currents leave at L and B, voltages are seen at R and T
    collect = jnp.concatenate([to_row, -along[..., None] * to_row, below[..., None] * to_col, to_col], axis=-1)
    out = jnp.swapaxes(collect.reshape(*batch, m * n, -1), -1, -2) @ current
    direct = jnp.zeros((*batch, 2 * (m + n), 2 * (m + n)), g.dtype)
    i, j, t, b = jnp.arange(m), m + jnp.arange(m), 2 * m + jnp.arange(n), 2 * m + n + jnp.arange(n)
    direct = direct.at[..., i, j].set(1.0).at[..., j, i].set(1.0).at[..., t, b].set(1.0).at[..., b, t].set(1.0)
    direct = direct.at[..., j, j].set(-along[..., -1]).at[..., t, t].set(below[..., 0, :])
    return direct + out


Ports = np.ndarray  # of every row and column of a map: its side ("L", "R", "T" or "B") and its place along it
_PORT = np.dtype([("side", "U1"), ("place", int)])


def _ports(m: int, n: int) -> Ports:
    """L, R, T, B."""
    return np.array([(side, k) for side, size in zip("LRTB", (m, m, n, n), strict=True) for k in range(size)], _PORT)


def _arrange(maps: Array, ports: Ports, first: str, last: str) -> tuple[Array, Ports]:
    """Reorder the ports of maps so that the side ``first`` comes first and the side ``last`` last."""
    middle = [side for side in "LRTB" if side not in (first, last)]
    rank = {side: k for k, side in enumerate([first, *middle, last])}
    order = np.array(sorted(range(len(ports)), key=lambda k: (rank[ports["side"][k]], ports["place"][k])))
    if not np.array_equal(order, np.arange(len(order))):
        maps = jnp.take(jnp.take(maps, order, axis=-2), order, axis=-1)
    return maps, ports[order]


def _joined(ports: Ports, m: int, n: int, way: str) -> Ports:
    """Ports of two joined maps: those of the first without its last side, those of the second without its first."""
    size, shifted = (m, ("T", "B")) if way == "across" else (n, ("L", "R"))
    second = ports[size:].copy()
    second["place"] += np.where(np.isin(second["side"], shifted), n if way == "across" else m, 0)
    return np.concatenate([ports[:-size], second])


def _join(a: Array, b: Array, ports: Ports, m: int, n: int, way: str) -> Array:
    """Connect the last side of maps ``a`` to the first side of maps ``b``.

    Across, a (left) gives the voltage between them and b the current that leaves a; down, b (below) gives the
    voltage and a (above) the current that enters b.
    """
    size = m if way == "across" else n
    a_ll, a_lo, a_ol, a_oo = (
        a[..., -size:, -size:],
        a[..., -size:, :-size],
        a[..., :-size, -size:],
        a[..., :-size, :-size],
    )
    b_ff, b_fo, b_of, b_oo = b[..., :size, :size], b[..., :size, size:], b[..., size:, :size], b[..., size:, size:]
    eye = jnp.eye(size, dtype=a.dtype)
    none_a, none_b = jnp.zeros_like(a_lo), jnp.zeros_like(b_fo)
    if way == "across":  # v = a_lo + a_ll i,  i = b_fo + b_ff v
        v = jnp.linalg.solve(eye - a_ll @ b_ff, jnp.concatenate([a_lo, a_ll @ b_fo], axis=-1))
        into_a, into_b = b_ff @ v + jnp.concatenate([none_a, b_fo], axis=-1), v
    else:  # v = b_fo + b_ff i,  i = a_lo + a_ll v
        v = jnp.linalg.solve(eye - b_ff @ a_ll, jnp.concatenate([b_ff @ a_lo, b_fo], axis=-1))
        into_a, into_b = v, a_ll @ v + jnp.concatenate([a_lo, none_b], axis=-1)
    upper = a_ol @ into_a
    lower = b_of @ into_b
    rest = a_oo.shape[-1]
    upper = jnp.concatenate([upper[..., :rest] + a_oo, upper[..., rest:]], axis=-1)
    lower = jnp.concatenate([lower[..., :rest], lower[..., rest:] + b_oo], axis=-1)
    return jnp.concatenate([upper, lower], axis=-2)
