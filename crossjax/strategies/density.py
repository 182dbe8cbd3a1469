"""How often each weight occurs: what a programming strategy is optimised for.

Gradients are uncorrelated with the weights (Mackin et al. 2022, figure 3), so that the density is all that a network
says about which errors matter.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy import stats

from crossjax._checks import as_array, ensure_range
from crossjax._kinds import door
from crossjax._pytree import spec


@spec
class Density:
    """Magnitudes of normalised weights and how often each occurs; weights of either sign are as frequent.

    Attributes:
        weights: magnitudes in [0, 1], (points,).
        mass: frequencies that add up to 1, same shape.
    """

    weights: Array
    mass: Array


@door
def gaussian(clip: float = 3.0, points: int = 65) -> Density:
    """Gaussian weights clipped at ``clip`` standard deviations, which are a weight of 1.

    Raises:
        ValueError: for a clip that is not positive or less than 2 points.
    """
    ensure_range("clip", clip, low=0, strict=True)
    _check_points(points)
    at = np.linspace(0.0, 1.0, points)
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2 * clip, [np.inf]])
    return Density(jnp.asarray(at), jnp.asarray(2 * np.diff(stats.norm.cdf(edges))))


@door
def at_knots(clip: float, knots: int = 6) -> Density:
    """Gaussian weights known at a few evenly spaced magnitudes only: each has the density there.

    Half of it at 0, where both signs meet, and besides it, at the end, what is clipped. With 6 knots it is what
    Mackin et al. (2022) weigh errors with.

    Raises:
        ValueError: for a clip that is not positive or less than 2 knots.
    """
    ensure_range("clip", clip, low=0, strict=True)
    _check_points(knots)
    at = np.linspace(0.0, 1.0, knots)
    mass = stats.norm.pdf(at * clip) * clip / (knots - 1)
    mass[0] /= 2
    mass[-1] += stats.norm.sf(clip)
    return Density(jnp.asarray(at), jnp.asarray(mass / mass.sum()))


@door
def of_weights(
    weights: Array | np.ndarray, *, limit: float | None = None, beyond: str = "error", points: int = 65
) -> Density:
    """The density of given weights, any shape, as fractions of their largest magnitude.

    Args:
        weights: finite numbers.
        limit: the weight that is to be 1; None: the largest magnitude.
        beyond: what to do with larger ones: "error", or "clip", which counts them as the limit (`count_beyond`).
        points: evenly spaced magnitudes; every weight counts for the two beside it, in proportion.

    Raises:
        ValueError: for no weights, weights that are not finite or all 0, weights beyond the limit unless they are to
            be clipped, or less than 2 points.
    """
    _check_points(points)
    if beyond not in ("error", "clip"):
        raise ValueError(f"beyond must be 'error' or 'clip', got {beyond!r}")
    sizes = np.abs(as_array("weights", weights).astype(np.float64)).ravel()
    if not sizes.size or not np.isfinite(sizes).all() or not sizes.max():
        raise ValueError("a density needs weights, finite and not all 0")
    top = sizes.max() if limit is None else limit
    ensure_range("limit", top, low=0, strict=True)
    if beyond == "error" and (many := count_beyond(sizes, top)):
        raise ValueError(
            f"{many} of {sizes.size} weights are larger than {top:g}, the largest is {sizes.max():g}: clip them, or "
            "give a larger limit"
        )
    place = np.minimum(sizes / top, 1.0) * (points - 1)
    below = np.minimum(place.astype(int), points - 2)
    share = place - below
    mass = np.bincount(below, 1 - share, points) + np.bincount(below + 1, share, points)
    return Density(jnp.linspace(0.0, 1.0, points), jnp.asarray(mass / mass.sum()))


def count_beyond(weights: Array | np.ndarray, limit: float) -> int:
    """How many weights are larger than the limit, in either direction."""
    return int(np.sum(np.abs(np.asarray(weights)) > limit))


def _check_points(points: int) -> None:
    if points < 2:
        raise ValueError(f"a density needs at least 2 points, got {points}")
