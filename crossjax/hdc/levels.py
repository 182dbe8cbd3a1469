"""Hypervectors in few bits: levels that are equally likely for a Gaussian component.

Sums of many independent terms, as encodings are, have Gaussian components. Their quantiles Φ⁻¹(k / 2^b) cut them into
2^b levels of equal population, so that a memory uses all its levels alike.
"""

from __future__ import annotations

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._kinds import door
from crossjax._numerics import at_least_single, ratio, safe_sqrt

_NORMAL = NormalDist()


@door
def thresholds(bits: int) -> np.ndarray:
    """Where the levels of a standard Gaussian meet, (2^bits − 1,).

    Raises:
        ValueError: for less than 1 or more than 8 bits.
    """
    _check_bits(bits)
    return np.array([_NORMAL.inv_cdf(k / 2**bits) for k in range(1, 2**bits)])


@door
def centres(bits: int) -> np.ndarray:
    """Mean of a standard Gaussian within each level, (2^bits,): what a level stands for.

    Raises:
        ValueError: for less than 1 or more than 8 bits.
    """
    density = np.exp(-0.5 * thresholds(bits) ** 2) / np.sqrt(2.0 * np.pi)
    return 2**bits * -np.diff(np.concatenate([[0.0], density, [0.0]]))


@door
def standardise(h: Array) -> Array:
    """Hypervectors (…, D) with mean 0 and deviation 1 over their components; one of equal components becomes 0."""
    h = at_least_single(h)
    centred = h - jnp.mean(h, axis=-1, keepdims=True)
    rounding = jnp.finfo(h.dtype).eps * jnp.max(jnp.abs(h), axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return ratio(centred, safe_sqrt(jnp.where(variance > (4.0 * rounding) ** 2, variance, 0.0)))


@door
def quantise(h: Array, bits: int) -> Array:
    """Levels (…, D), whole numbers from 0 to 2^bits − 1 as floats, of standardised hypervectors.

    The surrogate gradient is that of 2^bits Φ(h), which the levels round down: it ends nowhere, and falls off with
    the Gaussian's density.

    Raises:
        ValueError: for less than 1 or more than 8 bits.
    """
    h = at_least_single(h)
    edges = jnp.asarray(thresholds(bits), h.dtype)
    smooth = 2**bits * jax.scipy.stats.norm.cdf(h)
    level = jnp.where(jnp.isnan(h), h, sum((h >= edge).astype(h.dtype) for edge in edges))
    return smooth + jax.lax.stop_gradient(level - smooth)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be from 1 to 8, got {bits}")
