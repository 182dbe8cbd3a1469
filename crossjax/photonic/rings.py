"""Microrings with a phase-change film: transmission of all-pass and add-drop rings, and where it is not monotonic.

    all-pass   T = (a² − 2 r a cos φ + r²) / (1 − 2 r a cos φ + (r a)²)
    add-drop   T_through = (r² a² − 2 r² a cos φ + r²) / (1 − 2 r² a cos φ + (r² a)²),
               T_drop = a (1 − r²)² / (1 − 2 r² a cos φ + (r² a)²)

a: amplitude that is left after one round, r: self-coupling. On resonance an all-pass ring transmits
((a − r)/(1 − r a))², which is 0 at critical coupling, a = r: a film whose loss takes a through r has a transmission
that falls and rises again.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from crossjax._pytree import check_order, check_range, spec
from crossjax.photonic.wdm import WDM


def all_pass(a: Array | float, r: Array | float, phase: Array | float = 0.0) -> Array:
    """Transmitted power of a ring on one bus."""
    s = 4 * r * a * jnp.sin(jnp.asarray(phase) / 2) ** 2  # the cosines of the formula cancel near resonance
    return ((a - r) ** 2 + s) / ((1 - r * a) ** 2 + s)


def add_drop(a: Array | float, r: Array | float, phase: Array | float = 0.0) -> tuple[Array, Array]:
    """Power at the through and the drop port of a ring between two buses of the same coupling."""
    s = 4 * r * r * a * jnp.sin(jnp.asarray(phase) / 2) ** 2
    below = (1 - r * r * a) ** 2 + s
    return (r * r * (1 - a) ** 2 + s) / below, a * (1 - r * r) ** 2 / below


def mixed_index(share: Array | float, crystalline: complex, amorphous: complex) -> Array:
    """Complex index of a film that is crystalline to a ``share``: Lorentz–Lorenz, (ε − 1)/(ε + 2) by volume."""

    def polarised(n: complex) -> complex:
        return (n * n - 1) / (n * n + 2)

    mix = jnp.asarray(share) * polarised(crystalline) + (1 - jnp.asarray(share)) * polarised(amorphous)
    return jnp.sqrt((1 + 2 * mix) / (1 - mix))


@spec
class Ring:
    """An all-pass ring, part of it under a film whose crystalline share p is a memory.

    The film absorbs, its n_i linear in p; the phase that it adds is left out, as if the light followed the resonance.

    Attributes:
        radius: µm.
        film: length under the film, µm.
        coupling: r.
        group: group index n_g, which the free spectral range is by.
        absorption_crystalline, absorption_amorphous: n_i of the covered waveguide.
        wavelength: µm.
        detuning: phase off resonance, rad.
    """

    radius: float = 10.0
    film: float = 0.5
    coupling: float = 0.85
    group: float = 4.2
    absorption_crystalline: float = 0.064112
    absorption_amorphous: float = 0.039634
    wavelength: float = 1.55
    detuning: float = 0.0

    def _check(self) -> None:
        for name in ("radius", "film", "group", "wavelength", "absorption_amorphous"):
            check_range(self, name, low=0, strict=True)
        check_range(self, "coupling", low=0, high=1)
        check_order(self, "absorption_amorphous", "absorption_crystalline")

    def amplitude(self, share: Array | float) -> Array:
        """a: what is left of the amplitude after one round, with a crystalline ``share`` of the film."""
        n = self.absorption_amorphous + jnp.asarray(share) * (self.absorption_crystalline - self.absorption_amorphous)
        return jnp.exp(-2.0 * math.pi / self.wavelength * n * self.film)

    def transmission(self, share: Array | float) -> Array:
        """Transmitted power."""
        return all_pass(self.amplitude(share), self.coupling, self.detuning)

    @property
    def monotonic(self) -> Array:
        """Whether the transmission on resonance goes one way from amorphous to crystalline: r outside (a(1), a(0))."""
        ends = self.amplitude(jnp.array([0.0, 1.0]))
        return (self.coupling >= ends[0]) | (self.coupling <= ends[1])

    @property
    def critical(self) -> Array:
        """The crystalline share at which it is coupled critically; outside [0, 1] where it is monotonic."""
        wanted = -jnp.log(jnp.asarray(self.coupling)) * self.wavelength / (2.0 * math.pi * self.film)
        return (wanted - self.absorption_amorphous) / (self.absorption_crystalline - self.absorption_amorphous)

    @property
    def free_spectral_range(self) -> Array | float:
        """Distance of two resonances, nm: λ² / (n_g 2πR)."""
        return 1e3 * self.wavelength**2 / (self.group * 2.0 * math.pi * self.radius)

    def bandwidth(self, share: Array | float) -> Array:
        """Full width of a resonance at half depth, nm."""
        ra = self.coupling * self.amplitude(share)
        return self.free_spectral_range / math.pi * jnp.arctan2(1.0 - ra * ra, 2.0 * ra)

    def filters(self, channels: int, spacing: float) -> WDM:
        """Wavelengths ``spacing`` nm apart on a bus of such rings, with amorphous films.

        Raises:
            ValueError: for more of them than lie within the free spectral range.
        """
        range_nm: Any = self.free_spectral_range
        width: Any = self.bandwidth(0.0)
        return WDM(channels, spacing, width, range_nm)
