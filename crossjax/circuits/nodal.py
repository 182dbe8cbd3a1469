r"""Crossbars with broken lines: node voltages by elimination, row after row, in float64.

A broken segment has infinite resistance. What is cut off from its driver floats at the voltage where its currents add
up to 0, which neither `star` (a current has to go somewhere) nor `network` (a drop of ∞ · 0) can express. Here every
segment obeys  a (v₁ − v₂) = b i  with a = 1/(1 + ĝ r), b = ĝ r/(1 + ĝ r) and ĝ the largest conductance: a perfect
wire is a = 1, b = 0 and a broken one a = 0, b = 1, and nothing is infinite. The same way is right for resistances so
large or so uneven that the fast ones lose their digits.

Every word line is solved for what it does to the bit lines it crosses (dense, 2N); then the rows are joined from top
to bottom (dense, N) and the voltages found from bottom to top: O(M N³), one row after the other.
Islands, nodes that no path of devices and segments connects with a driver or a sense node, carry no current.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax.circuits.lines import Network, in_double, valid


class Islands(NamedTuple):
    """Nodes without any path to a driver or a sense node."""

    word: Array  # (M, N), bool
    bit: Array  # (M, N), bool


def islands(g: Array, net: Network) -> Islands:
    """Find them: whatever is reached from the ends spreads to its neighbours until nothing changes."""
    across, down = jnp.isfinite(net.word[:, 1:]), jnp.isfinite(net.bit[:-1])
    device = g > 0
    word = jnp.zeros(g.shape, bool).at[:, 0].set(jnp.isfinite(net.word[:, 0]))
    bit = jnp.zeros(g.shape, bool).at[-1].set(jnp.isfinite(net.bit[-1]))
    if net.right is not None:
        word = word.at[:, -1].set(word[:, -1] | jnp.isfinite(net.right))
    if net.top is not None:
        bit = bit.at[0].set(bit[0] | jnp.isfinite(net.top))

    def spread(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        word, bit, _ = state
        new = word.at[:, 1:].set(word[:, 1:] | (word[:, :-1] & across))
        new = new.at[:, :-1].set(new[:, :-1] | (new[:, 1:] & across)) | (bit & device)
        low = bit.at[1:].set(bit[1:] | (bit[:-1] & down))
        low = low.at[:-1].set(low[:-1] | (low[1:] & down)) | (new & device)
        return new, low, jnp.any(new != word) | jnp.any(low != bit)

    word, bit, _ = lax.while_loop(lambda s: s[2], spread, (word, bit, jnp.asarray(True)))
    return Islands(~word, ~bit)


def _law(r: Array) -> tuple[Array, Array]:
    """(a, b) of segments of resistance r, in units of 1/ĝ: a (v₁ − v₂) = b i."""
    broken = jnp.isinf(r)
    finite = jnp.where(broken, 0.0, r)
    return jnp.where(broken, 0.0, 1.0 / (1.0 + finite)), jnp.where(broken, 1.0, finite / (1.0 + finite))


def shifts(g: Array, source: Array, net: Network, apart: Islands) -> tuple[Array, Array]:
    """Voltages of the nodes of word and bit lines, (K, M, N), all ends at 0 V, for devices I = g (word − bit) + source.

    Args:
        g: conductances (M, N), µS, float64; source: currents from word to bit line (K, M, N), µA, for K cases at once.
        net: the lines; apart: their islands, which are put at 0 V.
    """
    n, unit = g.shape[1], lax.stop_gradient(jnp.max(g))
    unit = jnp.where(unit == 0, 1.0, unit)
    g, source = g / unit, jnp.moveaxis(source, 0, -1) / unit  # (M, N, K)
    net = jax.tree.map(lambda r: r * unit, net)
    a, b = _law(net.word)
    ends = None
    if net.right is not None:  # a second end without any resistance to the first one changes nothing: open
        ends = _law(jnp.where(net.right + jnp.sum(net.word, axis=1) == 0, jnp.inf, net.right))

    def word_line(row: tuple[Array, ...]) -> Array:
        """Resistance between all nodes of a word line and its drivers, its devices' other ends at 0 V, (N, N)."""
        g, a, b, alone, *end = row
        eye, back = jnp.eye(n), jnp.eye(n, k=-1)  # current j enters node j from node j − 1
        matrix = jnp.block(
            [[jnp.diag(g + alone), back.T - eye], [jnp.diag(a) @ (eye - back), jnp.diag(b)]]
        )  # fmt: skip
        if end:
            last = jnp.zeros(2 * n).at[n - 1].set(1.0)
            matrix = jnp.block([[matrix, -last[:, None]], [end[0] * last[None], end[1][None, None]]])
        wanted = jnp.eye(matrix.shape[0], n)
        return jnp.linalg.solve(matrix, wanted)[:n]

    rows = (g, a, b, jnp.asarray(apart.word, g.dtype), *(ends or ()))
    z = lax.map(word_line, rows)  # (M, N, N)
    # what a word line takes from its bit lines at voltages u, and gives to them: −load u + given
    load = jax.vmap(jnp.diag)(g) - g[:, :, None] * z * g[:, None, :]
    given = source - g[..., None] * (z @ source)

    a, b = _law(net.bit)
    top = jnp.zeros(n)
    if net.top is not None:  # 1e-9: a perfect end is a billion times better than the best device
        closed = net.top + jnp.sum(net.bit, axis=0) == 0
        top = jnp.where(closed, 0.0, 1.0 / (net.top + 1e-9))

    def down(above: tuple[Array, Array], row: tuple[Array, ...]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Join a row and the segments below it to what is above: current down = given − load · voltage."""
        load, given, a, b, alone = row
        load, given = above[0] + load + jnp.diag(alone), above[1] + given
        inner = jnp.linalg.solve(jnp.diag(a) + load * b, jnp.concatenate([load, given], axis=-1))
        return (a[:, None] * inner[:, :n], a[:, None] * inner[:, n:]), (
            b[:, None] * inner[:, :n],
            b[:, None] * inner[:, n:],
        )

    start = (jnp.diag(top), jnp.zeros_like(given[0]))
    _, (by, drive) = lax.scan(down, start, (load, given, a, b, jnp.asarray(apart.bit, g.dtype)))

    def up(below: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        here = below + row[1] - row[0] @ below
        return here, here

    _, bit = lax.scan(up, jnp.zeros_like(given[0]), (by, drive), reverse=True)
    word = z @ (g[..., None] * bit - source)
    return jnp.moveaxis(word, -1, 0), jnp.moveaxis(bit, -1, 0)


def voltages(g: Array, applied: Array, net: Network) -> tuple[Array, Array, Array]:
    """Voltages of linear devices, and by how much their word and bit lines are away from their ends, (K, M, N).

    Args:
        g: conductances (M, N), µS; applied: voltage between the ends of the lines that meet at a device, (K, M, N), V.
        net: the lines.
    """
    apart = islands(g, net)
    applied = jnp.where(valid(g, net), applied, jnp.nan)
    word, bit = shifts(g, g * jnp.where(apart.word, 0.0, applied), net, apart)
    return jnp.where(apart.word, 0.0, applied) + word - bit, word, bit


def conductance_map(g: Array, net: Network) -> Array:
    """The whole linear map (M, N) in µS: bit-line currents per word-line voltage, at both ends if there are two."""

    def found(g: Array, net: Network) -> Array:
        m, n = g.shape
        x, _, _ = voltages(g, jnp.broadcast_to(jnp.eye(m)[..., None], (m, m, n)), net)
        return jnp.sum(g * x, axis=1)

    return in_double(found, g, net)
