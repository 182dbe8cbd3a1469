"""The lines of a crossbar: their resistances checked and in one form, which way to solve for them, and their drops.

`crossjax.circuits.wires` has the drawing and the units; `star` and `network` compute with what is made here, `nodal`
where a line is broken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from crossjax._checks import KindError, as_array, check_name, checking, ensure, is_finite, is_real, is_traced

DRIVES, SENSES = ("left", "right", "both"), ("bottom", "top", "both")

SIEMENS = 1e-3  # µS: nobody's largest device conducts 1 nS, and nobody's conducts 1 mS, which is 1e-3 in siemens


class Lines(NamedTuple):
    """The lines of an array as somebody gave them: resistances in Ω, and the ends that are driven and sensed.

    What `crossjax.circuits.wires.effective_conductance` says of each; a `Wires` has the same fields.
    """

    r_word: ArrayLike
    r_bit: ArrayLike
    r_driver: ArrayLike | None = None
    r_sense: ArrayLike | None = None
    drive: str = "left"
    sense: str = "bottom"

    @classmethod
    def given(cls, wires: Any, r_bit: ArrayLike | None, *, drive: str, sense: str, **ends: ArrayLike | None) -> Lines:
        """Of the arguments of a function: a `Wires`, or the resistance of a word-line segment and all the others.

        Raises:
            ValueError: for a `Wires` beside other arguments, neither, or unknown ends.
        """
        if hasattr(wires, "r_word"):
            beside = [name for name, a in {"r_bit": r_bit, **ends}.items() if a is not None]
            if beside or (drive, sense) != ("left", "bottom"):
                raise ValueError("the Wires say all about the lines: leave out other resistances, drive and sense")
            return cls(*(getattr(wires, name) for name in cls._fields))
        if r_bit is None:
            raise ValueError("r_bit, the resistance of a bit-line segment, is missing; or give a Wires")
        check_name(drive, DRIVES, "drive")
        check_name(sense, SENSES, "sense")
        return cls(wires, r_bit, drive=drive, sense=sense, **ends)

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Whether columns and rows lie the other way round than in the drawing."""
        return self.drive == "right", self.sense == "top"

    @property
    def resistances(self) -> tuple[ArrayLike | None, ...]:
        """r_word, r_bit, r_driver and r_sense, Ω."""
        return self[:4]


class Network(NamedTuple):
    """Lines in the orientation of the drawing, MΩ: mirrored if they are driven or sensed at the other end."""

    word: Array  # (M, N): segment to the left of every device; column 0 leads to the driver
    bit: Array  # (M, N): segment below every device; the last row leads to virtual ground
    right: Array | None  # (M,): to a second driver at the right end
    top: Array | None  # (N,): to virtual ground at the top end


# -------------------------------------------------------------------------------------- at the door


def network(shape: tuple[int, int], lines: Lines, dtype: np.dtype) -> Network:
    """Check and bring into one form. Raises ValueError for what is negative, NaN or of the wrong shape."""
    m, n = shape
    word, bit = _segments("r_word", lines.r_word, shape, 0, dtype), _segments("r_bit", lines.r_bit, shape, 1, dtype)
    driver = None if lines.r_driver is None else _ends("r_driver", lines.r_driver, m, "word line", dtype)
    ground = None if lines.r_sense is None else _ends("r_sense", lines.r_sense, n, "bit line", dtype)
    return _laid_out(word, bit, driver, ground, shape, lines.drive, lines.sense)


@partial(jax.jit, static_argnums=(4, 5, 6), inline=True)
def _laid_out(
    word: Array, bit: Array, driver: Array | None, ground: Array | None, shape: tuple[int, int], drive: str, sense: str
) -> Network:
    """The network in the orientation of the drawing, of resistances in Ω that broadcast to what they are of."""
    word, bit = jnp.broadcast_to(word * 1e-6, shape), jnp.broadcast_to(bit * 1e-6, shape)
    # the segment of column 0 is the driver's, that of the last row the sense node's, at whichever ends they are
    driver = word[:, 0] if driver is None else jnp.broadcast_to(driver * 1e-6, shape[:1])
    ground = bit[-1] if ground is None else jnp.broadcast_to(ground * 1e-6, shape[1:])
    flip = drive == "right", sense == "top"
    if flip[0]:  # the segment to the left of a device is to its right, left of the next one, in mirrored columns
        word, bit, ground = jnp.roll(word[:, ::-1], 1, axis=1), bit[:, ::-1], ground[::-1]
    if flip[1]:
        word, bit, driver = word[::-1], jnp.roll(bit[::-1], -1, axis=0), driver[::-1]
    right, top = driver if drive == "both" else None, ground if sense == "both" else None
    return Network(word.at[:, 0].set(driver), bit.at[-1].set(ground), right, top)


def _segments(name: str, value: ArrayLike, shape: tuple[int, int], line: int, dtype: np.dtype) -> Array:
    """Resistances of all segments, Ω, from one number, one per line or one per segment; they broadcast to ``shape``."""
    check_numbers(name, value, "Ω", low=0.0, infinite=True)
    a = jnp.asarray(value, dtype)
    if a.ndim == 1 and a.shape[0] == shape[line]:
        return jnp.expand_dims(a, 1 - line)
    if a.ndim == 1 or a.ndim > 2 or any(s not in (1, t) for s, t in zip(a.shape, shape, strict=False)):
        kind = ("word", "bit")[line]
        raise ValueError(
            f"{name} must be a number, one number per {kind} line ({shape[line]},) or one per segment {shape} (or"
            f" {(shape[0], 1)}, {(1, shape[1])}: the same in every column, in every row), got shape {a.shape}"
        )
    return a


def _ends(name: str, value: ArrayLike, lines: int, kind: str, dtype: np.dtype) -> Array:
    check_numbers(name, value, "Ω", low=0.0, infinite=True)
    a = jnp.asarray(value, dtype)
    if a.ndim and a.shape != (lines,):
        raise ValueError(f"{name} must be a number or one number per {kind} ({lines},), got shape {a.shape}")
    return a


def check_numbers(name: str, value: ArrayLike, unit: str, low: float | None = None, infinite: bool = False) -> None:
    """Raise ValueError for concrete numbers that are NaN, infinite (if that is not allowed) or below ``low``."""
    if is_traced(value):
        if not is_real(value):
            raise KindError(f"{name} must be real numbers, got {value.dtype}")
        if checking():
            good = (lambda v: v == v) if infinite else is_finite
            ensure(good, f"{name} must not be NaN{'' if infinite else ' or infinite'}", value)
            if low is not None:
                ensure(lambda v: v >= low, f"{name} must be ≥ {low:g} {unit}", value)
        return
    a = as_array(name, value)
    wrong = np.isnan(a) if infinite else ~np.isfinite(a)
    if wrong.any():
        raise ValueError(f"{name} has {int(wrong.sum())} values that are NaN{'' if infinite else ' or infinite'}")
    if low is not None and (a < low).any():
        raise ValueError(f"{name} must be ≥ {low:g} {unit}, its smallest value is {a.min():g}")


def check_conductances(g: ArrayLike, question: bool = True) -> Array:
    """A non-empty matrix of finite, non-negative floats, or a ``ValueError`` that says what is wrong with it.

    Warns (`UserWarning`) of conductances that look like siemens: the largest is below 1e-3 µS, and not 0.
    """
    a = jnp.asarray(g if is_traced(g) else as_array("g", g))
    if a.ndim != 2 or a.size == 0:
        raise ValueError(
            f"g must be a matrix of conductances (rows, cols), got shape {a.shape}; use jax.vmap for batches"
        )
    check_numbers("g", g, "µS", low=0.0)
    if question and not isinstance(g, jax.core.Tracer):
        largest = float(np.max(np.asarray(g)))
        if 0 < largest < SIEMENS:
            warnings.warn(
                f"the largest conductance is {largest:g} µS, {1e6 * largest:g} pS: conductances in siemens? crossjax"
                " counts in µS: multiply by 1e6",
                UserWarning,
                stacklevel=3,
            )
    return a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(jnp.zeros(()).dtype)


def check_voltages(v: ArrayLike, g: Array) -> Array:
    """Finite voltages (…, M) of the word lines of conductances (M, N), or a ``ValueError``."""
    check_numbers("v", v, "V")
    v = jnp.asarray(v, g.dtype)
    if v.ndim < 1 or v.shape[-1] != g.shape[0]:
        raise ValueError(f"v must end in {g.shape[0]} voltages for {g.shape} conductances, got shape {v.shape}")
    return v


def mirror(a: Array, flip: tuple[bool, bool]) -> Array:
    """Columns and rows (the last two axes) in mirrored order, as ``flip`` says; its own inverse."""
    a = a[..., ::-1] if flip[0] else a
    return a[..., ::-1, :] if flip[1] else a


# ----------------------------------------------------------------------------------- which way to go

# Merging and conjugate gradients keep their digits while (largest conductance) × (resistance of a line) is not absurd.
# Measured on arrays in float32 with one segment that outweighs all others, error of the map: 1e-6 at 1e3, 1e-5 to
# 4e-5 at 1e4, up to 4e-4 at 1e5; in real arrays the product is below 10.


def limit(dtype: np.dtype) -> float:
    """The largest product of conductance and line resistance that the fast ways are good for."""
    return 1e8 if dtype == np.float64 else 100.0


def way(g: ArrayLike, dtype: np.dtype, shape: tuple[int, int], resistances: Sequence[ArrayLike | None]) -> str:
    """How to solve, from what is known now: the resistances are `Lines.resistances`.

    "plain": the fast way. "nodal": a line is broken, or the numbers are absurd: `nodal`. "guarded": the fast way, and
    NaN if it turns out to be the wrong one (traced conductances or plain numbers). "either": chosen when it runs
    (traced arrays of resistances).
    """
    traced = [r for r in resistances if isinstance(r, jax.core.Tracer)]
    if any(jnp.ndim(r) for r in traced):
        return "either"
    total = 0.0
    for r, line, sizes in zip(resistances, (0, 1, None, None), (shape[::-1], shape, (1, 1), (1, 1)), strict=True):
        if r is None or isinstance(r, jax.core.Tracer):
            continue
        a = np.asarray(r, np.float64)
        if line is not None and a.ndim == 2:
            total += float(np.max(np.sum(np.broadcast_to(a, shape), axis=1 - line)))
        else:
            total += sizes[0] * float(np.max(a))
    if not np.isfinite(total):
        return "nodal"
    if traced or isinstance(g, jax.core.Tracer):
        return "guarded"
    return "plain" if total * 1e-6 * float(np.max(np.asarray(g))) <= limit(dtype) else "nodal"


def beyond(g: Array, net: Network) -> Array:
    """Whether the fast ways would be wrong: broken lines, absurd numbers, NaN."""
    total = jnp.max(jnp.sum(net.word, axis=1)) + jnp.max(jnp.sum(net.bit, axis=0))
    for end in (net.right, net.top):
        total = total if end is None else total + jnp.max(end)
    return ~((jnp.max(g) * total <= limit(g.dtype)) & valid(g, net))


def valid(g: Array, net: Network) -> Array:
    """Whether no conductance and no resistance is negative or NaN, which only concrete numbers are refused for."""
    return jnp.all(jnp.stack([jnp.all(a >= 0) for a in (g, *net) if a is not None]))


def mended(net: Network) -> Network:
    """The network with its broken segments without resistance: for the branch that is not taken."""
    return jax.tree.map(lambda r: jnp.where(jnp.isinf(r), 0.0, r), net)


def in_double(f: Callable[..., Any], *args: Any) -> Any:
    """``f(*args)`` in float64, whatever JAX's default; floating results have the type of the first argument."""
    dtype = args[0].dtype

    def to(tree: Any, wanted: Any) -> Any:
        def one(a: Any) -> Any:
            floats = isinstance(a, float) or jnp.issubdtype(jnp.asarray(a).dtype, jnp.floating)
            return lax.convert_element_type(a, wanted) if floats else a

        return jax.tree.map(one, tree)

    if dtype == jnp.float64:
        return f(*args)
    with jax.enable_x64(True):
        return to(f(*to(args, jnp.float64)), dtype)


# ------------------------------------------------------------------------------------------- drops


def line_drop(current: Array, r: Array, far: Array | None) -> Array:
    """Voltage that device currents drop along lines that run along the last axis from a driver on the left.

    With a second driver of resistance ``far`` at the right end, the current that it takes over.
    """
    drop = jnp.cumsum(r * jnp.flip(jnp.cumsum(jnp.flip(current, -1), axis=-1), -1), axis=-1)
    if far is None:
        return drop
    along = jnp.cumsum(r, axis=-1)
    total = along[..., -1:] + far[..., None]
    share = along / jnp.where(total == 0, 1.0, total)  # not `ratio` of the currents: drops are transposed, so linear
    return drop - share * jnp.sum(along * current, axis=-1, keepdims=True)


def drop(current: Array, net: Network) -> tuple[Array, Array]:
    """Voltages lost on the word lines and gained on the bit lines by device currents (…, M, N)."""

    def turned(a: Array) -> Array:
        return jnp.flip(jnp.swapaxes(a, -1, -2), -1)

    word = line_drop(current, net.word, net.right)
    bit = line_drop(turned(current), turned(net.bit), net.top)
    return word, jnp.swapaxes(jnp.flip(bit, -1), -1, -2)
