"""What a programming strategy is judged by: the error of weights, or of MVMs, over time and without any inference.

    error(t)² = Σ_w κ(w) E[(α(t) ŵ(t) − w)²],   α(t)² = Σ κ E[ŵ(t_first)²] / Σ κ E[ŵ(t)²]

in units of the largest weight, with κ the density of weights and α the drift compensation of a large tile (GDC: the
summed magnitude of outputs at the first read over that of today). Mackin et al., Nat. Commun. 13:3765 (2022), without
its sampling: mean and variance of ŵ are those of its devices (`crossjax.devices.moments`), so that the objective is
smooth. Where a device or a split has no closed form, the same sums over devices that are drawn with the same random
numbers for every strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import as_array, ensure, is_traced
from crossjax._kinds import door
from crossjax._numerics import ratio, safe_sqrt
from crossjax._pytree import strong
from crossjax._random import named, split
from crossjax.devices.device import Device
from crossjax.devices.moments import has_moments, moments
from crossjax.strategies.density import Density
from crossjax.tiles.cells import UnitCell
from crossjax.tiles.tile import Tile
from crossjax.tiles.writing import programmed

TIMES = (1.0, 3600.0, 86_400.0, 30 * 86_400.0, 365 * 86_400.0)
"""Seconds after the first read that a strategy is optimised for unless others are given."""


class WeightError(NamedTuple):
    """Errors over time, all (times,), in units of the largest weight.

    Attributes:
        error: root of the mean square error.
        spread: the part of it that is random, the other being the same for every weight of one value.
        alpha: drift compensation α.
    """

    error: Array
    spread: Array
    alpha: Array

    @property
    def loss(self) -> Array:
        """Mean square error, averaged over the times."""
        return jnp.mean(self.error**2)


def check_times(times: Sequence[float] | Array) -> Array:
    """Times (s) as an array, refused unless they are finite, ≥ 0 and ascending."""
    at = jnp.asarray(times) if is_traced(times) else jnp.asarray(as_array("times", times))
    if at.ndim != 1 or not at.size:
        raise ValueError(f"times must be one or more seconds after the first read, got {times}")
    ensure(lambda t: (t >= 0) & jnp.isfinite(t), "times must be seconds ≥ 0 after the first read", at)
    if not is_traced(at) and np.any(np.diff(np.asarray(at)) <= 0):
        raise ValueError(f"times must ascend, each later than the one before it, got {np.asarray(at).tolist()}")
    return at


def is_closed(cell: UnitCell, device: Device) -> bool:
    """Whether errors of this cell and device have a closed form."""
    return cell.turns == 1 and has_moments(device) is None


@door
def weight_error(
    cell: UnitCell,
    device: Device,
    density: Density,
    times: Sequence[float] | Array = TIMES,
    *,
    compensate: bool = True,
    key: Array | None = None,
    samples: int = 1000,
) -> WeightError:
    """Error of weights in a cell of such devices, over time.

    Args:
        cell: a `Strategy`, or pairs with a fixed split.
        device: the device.
        density: of the weights.
        times: seconds after the first read, ascending.
        compensate: whether drift is compensated by one factor.
        key: sample with it, instead of in closed form. The same key, the same random numbers: of two cells the errors
            differ by what the cells do.
        samples: cells at every weight of the density.

    Raises:
        ValueError: for times that do not ascend, or a cell or device without a closed form and no key.
    """
    at = check_times(times)
    if key is None and not is_closed(cell, device):
        why = has_moments(device) or "its cells are programmed in turns, for what the earlier ones left"
        raise ValueError(f"the error has no closed form, since {why}: give a key to sample it with")
    return _weight_error(strong(cell), strong(device), strong(density), at, key, samples, compensate)


@partial(jax.jit, static_argnums=(5, 6))
def _weight_error(
    cell: UnitCell, device: Device, density: Density, times: Array, key: Array | None, samples: int, compensate: bool
) -> WeightError:
    find = of_moments if key is None else of_samples(key, samples)
    return summed(density, *find(cell, device, density.weights, times), compensate)


def of_moments(cell: UnitCell, device: Device, weights: Array, times: Array) -> tuple[Array, Array]:
    """Mean and variance (1 + times, weights) of what devices stand for, at the first read and then."""
    return decoded(cell, *of_devices(device, cell.encode(weights[:, None]), times))  # every weight in a row of its own


def of_devices(device: Device, x: Array, times: Array) -> tuple[Array, Array]:
    """Mean and variance of conductances in spans (1 + times, …), programmed to normalised targets ``x``."""
    found = jax.vmap(lambda t: moments(device, device.conductance(x), t))(jnp.concatenate([jnp.zeros(1), times]))
    return device.in_spans(found[0]), device.in_spans(device.in_spans(found[1]))


def decoded(cell: UnitCell, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Moments of devices (…, devices, weights, 1) to those of weights (…, weights)."""
    return jax.vmap(cell.decode)(mean)[..., 0], jax.vmap(cell.variance)(variance)[..., 0]


def of_samples(key: Array, samples: int):
    """As `of_moments`, from so many cells of every weight, drawn by the key."""

    def find(cell: UnitCell, device: Device, weights: Array, times: Array) -> tuple[Array, Array]:
        tile, w = Tile(device=device, cell=cell), jnp.tile(weights[:, None], (1, samples))
        shape = cell.devices, len(weights), samples + cell.extra_columns
        fresh = device.reset(named(key, "devices"), shape)
        cells, _ = programmed(named(key, "program"), tile, fresh, w)
        reads = split(named(key, "read"), 1 + len(times))

        def at(k: Array, t: Array) -> tuple[Array, Array]:
            found = cell.decode(device.in_spans(device.at(k, cells, t)))
            return jnp.mean(found, axis=1), jnp.var(found, axis=1)

        return jax.vmap(at)(reads, jnp.concatenate([jnp.zeros(1), times]))

    return find


def summed(density: Density, mean: Array, variance: Array, compensate: bool) -> WeightError:
    """Sums over the density of moments (1 + times, weights)."""
    square = jnp.sum(density.mass * (mean**2 + variance), axis=1)
    alpha = safe_sqrt(ratio(square[0], square[1:], 1.0)) if compensate else jnp.ones(len(square) - 1)
    mean, random = alpha[:, None] * mean[1:], alpha**2 * jnp.sum(density.mass * variance[1:], axis=1)
    same = jnp.sum(density.mass * (mean - density.weights) ** 2, axis=1)
    return WeightError(safe_sqrt(same + random), safe_sqrt(random), alpha)


@door
def mvm_error(
    cell: UnitCell,
    device: Device,
    weights: Array,
    times: Sequence[float] | Array = TIMES,
    *,
    mean: Array | float = 0.0,
    deviation: Array | float = 1.0,
    compensate: bool = True,
    points: int = 65,
) -> Array:
    """Error of the products with one matrix over time, √(E‖ŷ − y‖² / E‖y‖²), for inputs of given statistics.

    What weights of one value have in common adds up where inputs have a mean; what is random does not. In closed form,
    the devices alone: no converters, lines or output noise.

    Args:
        cell, device: as for `weight_error`.
        weights: (rows, cols), finite, not all 0.
        times: seconds after the first read, ascending.
        mean: of the inputs, a number or one per row.
        deviation: of the inputs, the same; inputs are independent.
        compensate: whether drift is compensated by one factor.
        points: magnitudes at which the devices are computed; between them linear.

    Returns:
        (times,)

    Raises:
        ValueError: as `weight_error`, and for weights that are no matrix of finite numbers.
    """
    at = check_times(times)
    w = jnp.asarray(weights)
    if w.ndim != 2 or not is_closed(cell, device):
        raise ValueError("mvm_error takes a matrix (rows, cols), and a cell and a device with a closed form")
    statistics = jnp.broadcast_to(mean, w.shape[:1]), jnp.broadcast_to(jnp.square(deviation), w.shape[:1])
    return _mvm_error(strong(cell), strong(device), w, at, statistics, points, compensate)


@partial(jax.jit, static_argnums=(5, 6))
def _mvm_error(
    cell: UnitCell, device: Device, w: Array, times: Array, statistics: tuple[Array, Array], points: int,
    compensate: bool,
) -> Array:  # fmt: skip
    mean, square = statistics
    w = w / jnp.max(jnp.abs(w))
    grid = jnp.linspace(0.0, 1.0, points)
    means, variances = of_moments(cell, device, grid, times)

    def look_up(table: Array) -> Array:
        return jax.vmap(lambda row: jnp.interp(jnp.abs(w), grid, row))(table)

    found, variance = jnp.sign(w) * look_up(means), look_up(variances)

    def power(m: Array, v: Array | float = 0.0) -> Array:
        """Σ E[y²] of matrices (…, rows, cols) with such means and variances."""
        same = jnp.sum(jnp.einsum("r,...rc->...c", mean, m) ** 2, axis=-1)
        return (
            same + jnp.einsum("r,...rc->...", square, m * m) + jnp.einsum("r,...rc->...", square + mean**2, v + 0 * m)
        )

    size = power(found, variance)
    alpha = safe_sqrt(ratio(size[0], size[1:], 1.0)) if compensate else jnp.ones(len(times))
    missed = power(alpha[:, None, None] * found[1:] - w, alpha[:, None, None] ** 2 * variance[1:])
    return safe_sqrt(missed / power(w))
