"""Wavelengths on one bus: crosstalk between their rings, and the noise of the detector at the end of it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import ensure
from crossjax._pytree import check_count, check_range, replace, spec, static


@spec
class WDM:
    """Inputs as wavelengths on buses of so many channels; a ring lets some of its neighbours' light through.

        y = (x Xᵀ) W,   X_ik = 1 / (1 + (2 Δλ_ik / FWHM)²)

    Lorentzian tails of a filter, Δλ the distance on the circle of the free spectral range. What is between inputs and
    weights is linear, so that it becomes part of the weights (`effective`), once per reading, as wires do. Rows that do
    not fit one bus go on the next one; their sums add up in the detectors' circuits.

    Attributes:
        channels: wavelengths on a bus.
        spacing: of two of them, nm.
        bandwidth: of a ring, FWHM, nm.
        free_spectral_range: of a ring, nm: all channels must lie within one.
    """

    channels: int = static(default=16)
    spacing: float = 0.8
    bandwidth: float = 0.1
    free_spectral_range: float = 18.0

    def _check(self) -> None:
        check_count(self, "channels")
        for name in ("spacing", "bandwidth", "free_spectral_range"):
            check_range(self, name, low=0, strict=True)
        wanted = (
            f"WDM.free_spectral_range must hold {self.channels} channels: channels · spacing must be at most it (nm)"
        )
        ensure(lambda gap, fsr: self.channels * gap <= fsr * (1 + 1e-6), wanted, self.spacing, self.free_spectral_range)

    def matrix(self, rows: int) -> Array:
        """X of so many rows, (rows, rows): 1 on the diagonal, 0 between buses."""
        row = np.arange(rows)
        apart = np.abs(row[:, None] % self.channels - row % self.channels)
        same = row[:, None] // self.channels == row // self.channels
        straight = apart * jnp.asarray(self.spacing)
        distance = jnp.minimum(straight, self.free_spectral_range - straight)
        return jnp.where(same, 1.0 / (1.0 + (2.0 * distance / self.bandwidth) ** 2), 0.0)

    def effective(self, g: Array) -> Array:
        """See `Interconnect.effective`: transmissions (…, r, c) as the inputs meet them."""
        return jnp.einsum("ik,...ij->...kj", self.matrix(g.shape[-2]).astype(g.dtype), g)


@spec
class Detector:
    """Noise of a photodetector: σ² = thermal² + shot · Σ|x|T + (rin · Σ x T)², an `OutputNoise`.

    Every line has a detector of its own, before lines are subtracted. Sums are in full inputs on the span of a weight.
    Inputs below 0 are light that is detected in a second pass and subtracted: its shot noise adds.

    Attributes:
        thermal: standard deviation without light.
        shot: variance for a sum of 1.
        rin: relative intensity noise of the laser: deviation relative to the sum.
    """

    thermal: float = 0.01
    shot: float = 1e-4
    rin: float = 0.003

    def _check(self) -> None:
        for name in ("thermal", "shot", "rin"):
            check_range(self, name, low=0)

    @property
    def one_by_one(self) -> bool:
        """It is of every line by itself."""
        return True

    def variance(self, sums: Array, light: Array) -> Array:
        """See `OutputNoise.variance`."""
        return self.thermal**2 + self.shot * light + (self.rin * sums) ** 2

    def averaged(self, times: Array | float) -> Detector:
        """See `OutputNoise.averaged`."""
        root: Any = jnp.asarray(times) ** 0.5
        return replace(self, thermal=self.thermal / root, shot=self.shot / root**2, rin=self.rin / root)
