"""Noise of what a line gives out: of one size, or by a law of what it carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import jax.numpy as jnp
from jax import Array

from crossjax._checks import is_real
from crossjax._numerics import safe_sqrt
from crossjax._random import normal


class OutputNoise(Protocol):
    """Noise of one MVM's outputs, before the ADC."""

    def variance(self, sums: Array, light: Array) -> Array:
        """Variance of lines that carry ``sums``, Σ x w, and ``light``, Σ |x w|; in full inputs on full weights."""
        ...

    def averaged(self, times: Array | float) -> OutputNoise:
        """The noise of a mean over so many times as long a measurement."""
        ...


Noise = OutputNoise | float | Array


def averaged(noise: Noise, times: Array | float) -> Noise:
    """The noise of a measurement that takes ``times`` as long."""
    return noise / times**0.5 if is_real(noise) else noise.averaged(times)  # type: ignore[union-attr]


def noise_variance(noise: Noise | None, sums: Array, light: Array) -> Array:
    """Variance of lines; ``noise``: a standard deviation, or a law. Arguments as `OutputNoise.variance`."""
    if noise is None:
        return jnp.zeros_like(sums)
    return jnp.asarray(noise) ** 2 if is_real(noise) else noise.variance(sums, light)  # type: ignore[union-attr]


def with_noise(
    key: Array, noise: Noise | None, sums: Array, extra: Array | None = None, light: Callable[[], Array] | None = None
) -> Array:
    """Lines with their noise, and with that of a variance besides.

    Args:
        key: of the noise.
        noise: a standard deviation, or a law.
        sums: what the lines carry.
        extra: variance besides.
        light: Σ |x w|, found where a law needs it; None: the sums' magnitudes.
    """
    if extra is None and noise is None:
        return sums
    if extra is None and is_real(noise):
        return sums + jnp.asarray(noise) * normal(key, sums.shape, sums.dtype)
    needs = noise is not None and not is_real(noise) and light is not None
    variance = noise_variance(noise, sums, light() if needs and light is not None else jnp.abs(sums))
    return sums + safe_sqrt(variance if extra is None else variance + extra) * normal(key, sums.shape, sums.dtype)
