"""Jump tables: the measured distribution of what one pulse does, at every conductance.

Burr et al., IEEE T-ED 62:3498 (2015) and Sidler et al., ESSDERC 2016: the cumulative distribution of ΔG at each G, one
table for SET, one for RESET. A step may have either sign: near the upper end a SET pulse loses conductance on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import as_array, is_traced
from crossjax._kinds import door
from crossjax._numerics import clip_inside
from crossjax._pytree import spec, static
from crossjax._random import named, uniform
from crossjax.tensors import BadFileError

QUANTILES = 256


@spec
class JumpTable:
    """Steps drawn from quantiles at evenly spaced places between a device's bounds.

    Attributes:
        up_quantiles, down_quantiles: (places, quantiles), steps at evenly spaced probabilities (k + ½) / quantiles, in
            units of the mean step; up ones count upwards, down ones downwards, and either may be negative.
        mean: the mean step as a fraction of the range, for ``Pulsed.step``.
        span: the range in µS, as the table was measured.
        start: the conductance at the lower end, µS.
    """

    up_quantiles: Array
    down_quantiles: Array
    mean: float
    span: float = static(default=1.0)
    start: float = static(default=0.0)

    steady = False
    noisy = True

    def _check(self) -> None:
        for name in ("up_quantiles", "down_quantiles"):
            table = getattr(self, name)
            if is_traced(table):
                continue
            if np.ndim(table) != 2 or min(np.shape(table)) < 2:
                raise ValueError(f"JumpTable.{name} must be (places, quantiles), got shape {np.shape(table)}")
            if not np.all(np.isfinite(table)) or np.any(np.diff(table, axis=1) < 0):
                raise ValueError(f"JumpTable.{name} must be finite and ascend along its quantiles")

    def draw(self, key: Array, shape: tuple[int, ...]) -> None:
        """See `Steps.draw`: nothing."""
        return None

    def either(self, key: Array, x: Array, up: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.either`: a draw."""
        return jnp.where(up, self.up(key, x, own, low, high), self.down(key, x, own, low, high))

    def up(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.up`: a draw."""
        return _sample(named(key, "jump"), self.up_quantiles, (x - low) / (high - low))

    def down(self, key: Array, x: Array, own: None, low: Array, high: Array) -> Array:
        """See `Steps.down`: a draw."""
        return _sample(named(key, "jump"), self.down_quantiles, (x - low) / (high - low))


def _sample(key: Array, quantiles: Array, place: Array) -> Array:
    """A step at ``place`` in [0, 1], by the inverse of its distribution, linear between quantiles and places."""
    rows, columns = quantiles.shape
    at = clip_inside(place, 0.0, 1.0) * (rows - 1)
    row = jnp.clip(jnp.floor(at), 0, rows - 2).astype(jnp.int32)
    column = jnp.clip(uniform(key, place.shape) * columns - 0.5, 0.0, columns - 1.0)
    left = jnp.clip(jnp.floor(column), 0, columns - 2).astype(jnp.int32)
    flat, first = jnp.asarray(quantiles).reshape(-1), row * columns + left
    part = column - left
    below = flat[first] * (1.0 - part) + flat[first + 1] * part
    above = flat[first + columns] * (1.0 - part) + flat[first + columns + 1] * part
    return below + (above - below) * (at - row)


@door
def from_cdf(conductances: Any, jumps: Any, set_cdf: Any, reset_cdf: Any, *, incomplete: str = "reject") -> JumpTable:
    """A table from cumulative distributions, which are taken at their word: linear between the points of their axis.

    Sampling by the first point that a probability reaches, as XBTorch does, makes every jump half a step larger.

    Args:
        conductances: axis of G in µS, (G,), evenly spaced and ascending.
        jumps: axis of ΔG in µS, (ΔG,), ascending; or a pair, of SET and of RESET.
        set_cdf, reset_cdf: probability that a pulse changes G by at most ΔG, (G, ΔG).
        incomplete: what becomes of a distribution that does not reach 1: "reject" or "renormalise".

    Raises:
        ValueError: for axes that do not ascend or are not even, shapes that do not fit, gaps (NaN), probabilities
            outside [0, 1] or falling along ΔG, and distributions that do not begin at 0 and end at 1 (within 1 %).
    """
    if incomplete not in ("reject", "renormalise"):
        raise ValueError(f'incomplete must be "reject" or "renormalise", got {incomplete!r}')
    g = _axis("conductances", conductances)
    if not np.allclose(np.diff(g), np.diff(g).mean(), rtol=1e-3):
        raise ValueError("conductances must be evenly spaced: interpolate the table first")
    axes = jumps if isinstance(jumps, tuple) else (jumps, jumps)
    tables = []
    for name, axis, cdf in (("set_cdf", axes[0], set_cdf), ("reset_cdf", axes[1], reset_cdf)):
        axis, cdf = _axis("jumps", axis), as_array(name, cdf).astype(np.float64)
        if cdf.shape != (len(g), len(axis)):
            raise ValueError(f"{name} must be (conductances, jumps) = {len(g), len(axis)}, got shape {cdf.shape}")
        if not np.isfinite(cdf).all():
            raise ValueError(f"{name} has gaps: {int(np.sum(~np.isfinite(cdf)))} of its numbers are not finite")
        if cdf.min() < -1e-9 or cdf.max() > 1 + 1e-9:
            raise ValueError(f"{name} must be probabilities in [0, 1], got {cdf.min():.3g} to {cdf.max():.3g}")
        if np.any(np.diff(cdf, axis=1) < -1e-9):
            raise ValueError(f"{name} must not fall along the jumps: it is a cumulative distribution")
        short = np.maximum(cdf[:, 0], 1.0 - cdf[:, -1])
        if short.max() > 0.01 and incomplete == "reject":
            at = int(np.argmax(short))
            raise ValueError(
                f"{name} is incomplete: {short[at]:.1%} of the jumps at {g[at]:.3g} µS lie beyond its axis. Measure "
                'further, or take incomplete="renormalise"'
            )
        whole = (cdf - cdf[:, :1]) / (cdf[:, -1:] - cdf[:, :1])
        wanted = (np.arange(QUANTILES) + 0.5) / QUANTILES
        tables.append(np.stack([np.interp(wanted, *_rising(row, axis)) for row in whole]))
    return _made(g, tables[0], -tables[1][:, ::-1])


def _rising(cdf: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A cumulative distribution without its flat parts, so that it has an inverse."""
    keep = np.concatenate([[True], np.diff(cdf) > 0])
    return cdf[keep], axis[keep]


def _made(g: np.ndarray, up: np.ndarray, down: np.ndarray) -> JumpTable:
    """A table of jumps in µS; the mean step is that of both directions over the middle half of the range."""
    middle = slice(len(g) // 4, -(len(g) // 4) or None)
    size, span = float((up[middle].mean() + down[middle].mean()) / 2), float(g[-1] - g[0])
    if not size > 0:
        raise ValueError(f"pulses of this table do not move the conductance on average ({size:.3g} µS in mid-range)")
    dtype = jnp.zeros(()).dtype
    return JumpTable(jnp.asarray(up / size, dtype), jnp.asarray(down / size, dtype), size / span, span, float(g[0]))


def _axis(name: str, values: Any) -> np.ndarray:
    axis = as_array(name, values).astype(np.float64)
    if axis.ndim != 1 or len(axis) < 4 or not np.isfinite(axis).all() or np.any(np.diff(axis) <= 0):
        raise ValueError(f"{name} must be at least four finite numbers that ascend, got shape {axis.shape}")
    return axis


@door
def from_ramps(
    ups: Sequence[Any], downs: Sequence[Any], *, places: int = 24, ends: tuple[float, float] | None = None
) -> JumpTable:
    """A table from every step of measured ramps: conductance after each pulse of trains of equal pulses.

    Steps are grouped by where they began, in ``places`` overlapping bins; a bin needs ten of them, and one without
    takes its neighbour's.

    Args:
        ups, downs: ramps under SET and under RESET pulses, each (pulses,), µS; NaN at the end is padding.
        places: bins between the ends.
        ends: conductances that are the ends of the range; None: the 1st and 99th percentile of all.

    Raises:
        ValueError: for ramps that are not finite or too short, ends in the wrong order, or too few steps.
    """
    ramps = [[_unpadded(name, r) for r in some] for name, some in (("ups", ups), ("downs", downs))]
    for name, some in zip(("ups", "downs"), ramps, strict=True):
        if not some or any(r.ndim != 1 or len(r) < 2 or not np.isfinite(r).all() for r in some):
            raise ValueError(f"{name} must be ramps of at least two finite conductances each")
    every = np.concatenate([r for some in ramps for r in some])
    low, high = np.percentile(every, [1, 99]) if ends is None else ends
    if not high > low or places < 4:
        raise ValueError(f"a table needs ends that ascend and at least 4 places, got {low:g} to {high:g} and {places}")
    g = np.linspace(low, high, places)
    wanted = (np.arange(QUANTILES) + 0.5) / QUANTILES
    tables = []
    for some in ramps:
        begin = np.concatenate([r[:-1] for r in some])
        step = np.concatenate([np.diff(r) for r in some])
        near = [step[np.abs(begin - at) <= (high - low) / (places - 1)] for at in g]
        full = [k for k, found in enumerate(near) if len(found) >= 10]
        if len(full) < 3:
            raise ValueError(f"{len(step)} steps fill only {len(full)} of {places} places: measure more, or take fewer")
        nearest = [min(full, key=lambda k, at=at: abs(k - at)) for at in range(places)]
        tables.append(np.stack([np.quantile(near[k], wanted) for k in nearest]))
    return _made(g, tables[0], -tables[1][:, ::-1])


def _unpadded(name: str, ramp: Any) -> np.ndarray:
    values = as_array(name, ramp).astype(np.float64)
    given = np.flatnonzero(~np.isnan(values)) if values.ndim == 1 else np.zeros(0, int)
    return values[: given[-1] + 1] if given.size else values


def load_table(path: str | Path, voltage: str = "1.5V", *, incomplete: str = "reject") -> JumpTable:
    """A table of a NumPy file with arrays ``VOLTAGE_{set,reset}_{G,dG,cdf}`` in siemens, as XBTorch's are stored.

    Raises:
        OSError: if it cannot be read.
        ValueError: for a file that is no such archive, a voltage that it lacks (lists those it has), or bad tables.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (ValueError, EOFError) as error:
        raise BadFileError(f"{path} is not a NumPy archive of jump tables: {error}") from error
    known = sorted({name.split("_")[0] for name in arrays})
    wanted = [f"{voltage}_{way}_{part}" for way in ("set", "reset") for part in ("G", "dG", "cdf")]
    if any(name not in arrays for name in wanted):
        raise ValueError(f"{path.name} has no complete table for {voltage!r}; it has {', '.join(known)}")
    up, down = ([arrays[f"{voltage}_{way}_{part}"] for part in ("G", "dG", "cdf")] for way in ("set", "reset"))
    if not np.allclose(up[0], down[0]):
        raise ValueError(f"{path.name} has different conductances for SET and RESET at {voltage}")
    return from_cdf(1e6 * up[0], (1e6 * up[1], 1e6 * down[1]), up[2], down[2], incomplete=incomplete)
