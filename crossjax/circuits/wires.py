r"""Wire resistance: what a crossbar's word and bit lines do to its currents (IR drop), exactly and differentiably.

           r_driver     r_word       r_word
    V_i ──/\/\/──●──────/\/\/──●──────/\/\/──●   word line i, open at its right end
                 │ G_i0        │ G_i1        │ G_i2
                 ●             ●             ●
                 │ r_bit       │             │   bit lines, open at their top ends
                 ⋮             ⋮             ⋮
                 │ r_sense
                 ⏚ I_j = Σ_i G_eff[i, j] V_i     sensed at virtual ground at the bottom

Linear devices make the array a linear map: `effective_conductance` finds it once, and every MVM afterwards is one
matrix product. `solve` finds the currents for a few vectors without it, and for nonlinear devices; `currents`
chooses. Units: µS, Ω, V, µA, µW. Resistances may be numbers or arrays (one per line or per segment), 0 (perfect) or ∞
(broken); lines may be driven or sensed at the other end or at both. All of it is differentiable in conductances,
resistances and voltages, and finite at r = 0, r = ∞ and G = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from crossjax._checks import as_array, ensure_range, is_traced
from crossjax._kinds import door
from crossjax._pytree import check_choice, check_range, spec, static
from crossjax.circuits import nodal, star
from crossjax.circuits.laws import CubicLaw, SinhLaw
from crossjax.circuits.lines import (
    DRIVES,
    SENSES,
    Lines,
    Network,
    beyond,
    check_conductances,
    check_voltages,
    drop,
    mended,
    mirror,
    network,
    way,
)
from crossjax.circuits.network import NotConvergedError, Solution, solve


class Interconnect(Protocol):
    """What stands between the drivers, the devices and the sense nodes of a tile."""

    def effective(self, g: Array) -> Array:
        """Conductances (devices, …, r, c) of tiles as an MVM meets them."""
        ...


@spec
class Wires:
    """The lines of a tile.

    Attributes:
        r_word: resistance of one word-line segment between neighbouring devices, Ω.
        r_bit: resistance of one bit-line segment, Ω.
        r_driver: resistance between a word line's driver and its first device, Ω; None: one segment.
        r_sense: resistance between a bit line's last device and virtual ground, Ω; None: one segment.
        drive: "left", "right" or "both" ends of the word lines.
        sense: "bottom", "top" or "both" ends of the bit lines.
        pairs: how the devices of a cell lie: "separate" (each has word lines of its own: one array per device of a
            cell) or "interleaved" (their bit lines alternate on shared word lines, which carry all their currents).
        gradient: "exact", through the network; or "ideal", as if the wires had no resistance (cheap, for training).
    """

    r_word: float = 1.0
    r_bit: float = 1.0
    r_driver: float | None = None
    r_sense: float | None = None
    drive: str = static(default="left")
    sense: str = static(default="bottom")
    pairs: str = static(default="separate")
    gradient: str = static(default="exact")

    def _check(self) -> None:
        for name in ("r_word", "r_bit", "r_driver", "r_sense"):
            check_range(self, name, low=0)
        check_choice(self, "drive", DRIVES)
        check_choice(self, "sense", SENSES)
        check_choice(self, "pairs", ("separate", "interleaved"))
        check_choice(self, "gradient", ("exact", "ideal"))

    def effective(self, g: Array) -> Array:
        """Effective conductances of the devices of cells, (devices, …, rows, cols) in µS, all arrays at once."""

        def one(a: Array) -> Array:
            a = check_conductances(a, question=False)  # a tile's devices are in µS, and may all be RESET
            return _conductance(a, a, Lines.given(self, None, drive="left", sense="bottom"))

        array = jnp.moveaxis(g, 0, -1).reshape(*g.shape[1:-1], -1) if self.pairs == "interleaved" else g
        flat = array.reshape(-1, *array.shape[-2:])
        # one array after the other: a vmap would hold the blocks of all of them at once
        out = (one(flat[0])[None] if flat.shape[0] == 1 else lax.map(one, flat)).reshape(array.shape)
        if self.pairs == "interleaved":
            out = jnp.moveaxis(out.reshape(*g.shape[1:], g.shape[0]), -1, 0)
        return g + lax.stop_gradient(out - g) if self.gradient == "ideal" else out


# ------------------------------------------------------------------------- the whole linear map


@door
def effective_conductance(
    g: ArrayLike, r_word: ArrayLike | Wires, r_bit: ArrayLike | None = None, *, r_driver: ArrayLike | None = None,
    r_sense: ArrayLike | None = None, drive: str = "left", sense: str = "bottom",
) -> Array:  # fmt: skip
    """The exact linear map of a crossbar with resistive lines: I = G_effᵀ V (lines sensed at both ends: their sum).

    Merges blocks of devices in O(N³) (see `star.py`), about 0.1 s for 256² and 0.5 s for 512² in float32 on two
    CPU cores. Exact for r = 0 and for G = 0, where gradients are finite. Batches by ``jax.vmap``.

    Args:
        g: conductances (M, N) = (word lines, bit lines), µS.
        r_word: the `Wires` of a tile, alone (its ``pairs`` and ``gradient`` are the tile's); or resistance of a
            word-line segment, Ω: a number, (M,) for one per word line, or (M, N) for one per segment: [i, j] lies to
            the left of device (i, j), between it and device (i, j − 1), whatever end is driven.
        r_bit: the same for bit lines: a number, (N,) for one per bit line, or (M, N): [i, j] lies below device (i, j),
            between it and device (i + 1, j), whatever end is sensed. Both may be (M, 1) or (1, N) as well.
        r_driver: between driver and first device, Ω, a number or (M,), at both ends if both are driven; None: column 0
            of ``r_word``, which is the driver's segment wherever the driver is, as no device is to its left.
        r_sense: between last device and virtual ground, Ω, a number or (N,), at both ends if both are sensed; None: the
            last row of ``r_bit``.
        drive: ends of the word lines that are driven: "left", "right", "both".
        sense: ends of the bit lines at virtual ground: "bottom", "top", "both".

    Resistances of ∞ are broken segments, drivers or sense nodes. They, and numbers so absurd that float32 would lose
    its digits (conductance × resistance of a line above 100; 1e8 in float64), go another way, in float64 (`nodal`),
    slower: 50 ms instead of 8 at 64², and seconds (10 and more on busy cores) at 128². Under ``jax.jit`` arrays of
    resistances may hold ∞; a traced number that is infinite, and anything negative, NaN or (with traced conductances
    and plain numbers) absurd, gives NaN.

    Returns:
        G_eff (M, N), µS.

    Raises:
        ValueError: for negative or NaN numbers, infinite conductances, wrong shapes, unknown ends, or a `Wires` beside
            numbers.

    Warns:
        UserWarning: if the conductances look like siemens (the largest is below 1e-3 µS).
    """
    lines = Lines.given(r_word, r_bit, r_driver=r_driver, r_sense=r_sense, drive=drive, sense=sense)
    return _conductance(check_conductances(g), g, lines)


def _conductance(a: Array, given: ArrayLike, lines: Lines) -> Array:
    shape = (a.shape[0], a.shape[1])
    return _effective(a, network(shape, lines, a.dtype), lines.mirrored, way(given, a.dtype, shape, lines.resistances))


@partial(jax.jit, static_argnums=(2, 3))
def _effective(g: Array, net: Network, flip: tuple[bool, bool], how: str) -> Array:
    g = mirror(g, flip)
    if how == "nodal":
        return mirror(nodal.conductance_map(g, net), flip)
    if how == "either":
        both = nodal.conductance_map, lambda g, net: _merged(g, mended(net))
        return mirror(lax.cond(beyond(g, net), *both, g, net), flip)
    effective = _merged(g, net)
    return mirror(jnp.where(beyond(g, net), jnp.nan, effective) if how == "guarded" else effective, flip)


def _merged(g: Array, net: Network) -> Array:
    """The map of lines that are whole, in the orientation of the drawing."""
    if net.right is None and net.top is None:
        return star.conductance_map(g, net.word, net.bit)
    (m, n), block = g.shape, star.block_map(g, net.word, net.bit)
    left, bottom = slice(0, m), slice(2 * m + n, None)
    # unknown: current leaving on the right, current entering at the top; conditions at those ends, V on all rows
    inner = block[m : 2 * m + n, m : 2 * m + n]
    known = block[m : 2 * m + n, left]
    end = jnp.concatenate(
        [
            jnp.zeros(m, g.dtype) if net.right is None else -net.right,
            jnp.zeros(n, g.dtype) if net.top is None else net.top,
        ]
    )
    # a second end without any resistance to the first one changes nothing: leave it open
    active = jnp.concatenate(
        [
            jnp.zeros(m, bool) if net.right is None else net.right + jnp.sum(net.word, axis=1) > 0,
            jnp.zeros(n, bool) if net.top is None else net.top + jnp.sum(net.bit, axis=0) > 0,
        ]
    )
    matrix = jnp.where(active[:, None], inner + jnp.diag(end), jnp.eye(m + n, dtype=g.dtype))
    wanted = jnp.concatenate([jnp.eye(m, dtype=g.dtype) - known[:m], -known[m:]])
    unknown = jnp.linalg.solve(matrix, jnp.where(active[:, None], wanted, 0.0))
    current = block[bottom, left] + block[bottom, m : 2 * m + n] @ unknown
    if net.top is not None:
        current = current - unknown[m:]
    return current.T


@door
def currents(
    g: ArrayLike, v: ArrayLike, r_word: ArrayLike | Wires, r_bit: ArrayLike | None = None, *, method: str = "auto",
    **ends: object,
) -> Array:  # fmt: skip
    """Bit-line currents (…, N) in µA for inputs ``v`` (…, M) in V, by whichever way is cheaper.

    Args:
        g, v, r_word, r_bit: as for `solve`; ``ends``: its other arguments.
        method: "map" (`effective_conductance`, then a product), "iterative" (`solve`), or "auto": iterative for up to
            one vector per 16 lines, and for nonlinear devices.

    Raises:
        ValueError: as `solve`, and for an unknown method.
    """
    if method not in ("auto", "map", "iterative"):
        raise ValueError(f"method must be 'auto', 'map' or 'iterative', got {method!r}")
    v = check_voltages(v, check_conductances(g))
    few = v.size // max(v.shape[-1], 1) * 16 <= v.shape[-1]
    solver_only = {"law", "tolerance", "max_iterations", "max_newton", "v_sense"} & set(ends)
    if method == "iterative" or (method == "auto" and (few or solver_only)):
        return solve(g, v, r_word, r_bit, **ends).currents  # type: ignore[arg-type]
    return v @ effective_conductance(g, r_word, r_bit, **ends)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------- approximations


@door
def first_order_conductance(g: ArrayLike, r_word: float, r_bit: float) -> Array:
    """G_eff to first order in the resistances: every current as without wires, the drops it causes subtracted.

    Error of the currents against the exact map, G uniform in [1, 25] µS, 1 Ω a segment: 0.011 % at N = 32, 0.15 % at
    64, 2.4 % at 128 (without any correction 1.0, 3.7 and 15 %). The error grows with the square of r.
    """
    a = check_conductances(g)
    for name, r in (("r_word", r_word), ("r_bit", r_bit)):
        if not is_traced(r) and np.isinf(as_array(name, r)).any():
            raise ValueError(
                f"{name} is infinite: first_order_conductance is for small resistances, not broken lines; "
                "effective_conductance takes both"
            )
    net = network((a.shape[0], a.shape[1]), Lines(r_word, r_bit), a.dtype)
    unit = jnp.broadcast_to(jnp.eye(a.shape[0], dtype=a.dtype)[..., None], (a.shape[0], *a.shape))
    word, bit = drop(a * unit, net)
    return jnp.sum(a * (unit - word - bit), axis=-2)


@door
def rasch_drop(w: Array, x: Array, *, segment: float = 0.35, g_max: float = 5.0) -> Array:
    """Outputs x @ w with the polynomial IR drop of Rasch et al., Nat. Commun. 14:5282 (2023): bit lines only.

    ``a = n γ Σ|w||x|``, ``c = a (0.05 a² − 0.2 a + 0.5)``, ``Δy = −c Σ w x (1 − (1 − j/n)²)`` with γ = segment · g_max.

    j counts rows from the sense node, so row n − 1, at the bottom, loses nothing. Against the exact map with Gaussian
    weights and inputs it halves the error of ignoring the wires: 2.3 to 1.1 % (n = 512, 0.35 Ω, 5 µS), 8.0 to 3.6 %
    (n = 256, 1 Ω, 25 µS).

    Args:
        w: normalised weights (n, cols); x: normalised inputs (…, n).
        segment: resistance of one segment, Ω; g_max: µS.
    """
    w, x = (a if is_traced(a) else jnp.asarray(as_array(n, a)) for n, a in (("w", w), ("x", x)))
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[0] or 0 in w.shape:
        raise ValueError(f"w must be a matrix (n, cols) and x inputs (…, n), got shapes {w.shape} and {x.shape}")
    ensure_range("g_max", g_max, low=0)
    return StaticDrop(segment, g_max).sums(lambda x, w: x @ w, x, w)


@spec
class StaticDrop:
    """Wires of a tile by the polynomial of Rasch et al. (2023), `rasch_drop`: bit lines only, no network to solve.

    Taken from the bit-line sums of every MVM, before the converters, of the rows that a tile uses. Costs two more
    products an MVM; `Wires` costs none, and is exact.

    Attributes:
        segment: resistance of one segment of a bit line, Ω.
        g_ref: conductance of a weight of 1, µS (of the published model, whatever the tile's devices are).
    """

    segment: float = 0.35
    g_ref: float = 5.0

    def _check(self) -> None:
        check_range(self, "segment", low=0)
        check_range(self, "g_ref", low=0)

    def effective(self, g: Array) -> Array:
        """Conductances as they are: the drop depends on the inputs, see `sums`."""
        return g

    def sums(self, product: Callable[[Array, Array], Array], x: Array, w: Array) -> Array:
        """What is left of the sums product(x, w).

        Args:
            product: how inputs meet weights.
            x: normalised inputs, as the product takes them.
            w: normalised weights, (n, cols) or (down, n, …): the last row is at the sense node.
        """
        axis = 0 if w.ndim == 2 else 1
        n = w.shape[axis]
        a = n * self.segment * self.g_ref * 1e-6 * product(jnp.abs(x), jnp.abs(w))
        c = a * (0.05 * a * a - 0.2 * a + 0.5)
        place = (1.0 - (1.0 - np.arange(n) / n) ** 2)[::-1].astype(w.dtype)
        return product(x, w) - c * product(x, w * place.reshape(n, *[1] * (w.ndim - axis - 1)))


__all__ = [
    "CubicLaw", "Interconnect", "NotConvergedError", "SinhLaw", "Solution", "StaticDrop", "Wires", "currents",
    "effective_conductance", "first_order_conductance", "rasch_drop", "solve",
]  # fmt: skip
