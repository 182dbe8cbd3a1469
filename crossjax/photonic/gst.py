"""A film of Ge2Sb2Te5 on a waveguide: a pulse melts it up to a front, and what is behind stays crystalline.

    light pulse ─────────►│ amorphous │ crystalline │──► transmission
                          0           z*            L

    heating       ΔT(z) = ΔT_0 e^(−αz),  α = 2 k n_i,c,  k = 2π / λ
    steady rise   R α P / W;  towards it with τ = R C
    melt front    z* = ln(ΔT_0 / (T_m − T_amb)) / α, within [0, L]
    transmission  T = exp(−2k [n_i,a z* + n_i,c (L − z*)])

An L-shaped pulse writes an absolute weight, whatever was there: a main part melts more than any level needs, a weaker
tail lets the front recede until it stops. The equations and numbers are those of an open model of such a memory
(ComputingWithPhotonicPhaseChangeMemory, MATLAB), with exponential cooling towards the rise of the tail (its own loop
cools towards ambient). Published indices of Ge2Sb2Te5 differ from film to film: they are leaves.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from crossjax._checks import ensure
from crossjax._kinds import door
from crossjax._numerics import clip_inside
from crossjax._pytree import check_count, check_order, check_range, spec, static
from crossjax._random import named, normal
from crossjax.devices import ByPulses, Device
from crossjax.devices.writes import Plan, Scalar, nearest_state


@spec
class Film:
    """The film and its waveguide.

    Attributes:
        length: L, µm.
        wavelength: λ, µm.
        absorption_crystalline, absorption_amorphous: imaginary part n_i of the effective index.
        resistance: thermal, R, K m² / W.
        heat: R C = τ, ns.
        width: W of the waveguide, µm.
        melting, ambient: T_m and T_amb, K.
    """

    length: float = 3.5
    wavelength: float = 1.55
    absorption_crystalline: float = 0.064112
    absorption_amorphous: float = 0.039634
    resistance: float = 4.863e-7
    heat: float = 47.95
    width: float = 0.5
    melting: float = 890.0
    ambient: float = 293.15

    def _check(self) -> None:
        for name in ("length", "wavelength", "absorption_amorphous", "resistance", "heat", "width", "ambient"):
            check_range(self, name, low=0, strict=True)
        check_order(self, "absorption_amorphous", "absorption_crystalline", strict=True)
        check_order(self, "ambient", "melting", strict=True)

    @property
    def decay(self) -> Array | float:
        """α, 1/µm."""
        return 4.0 * math.pi / self.wavelength * self.absorption_crystalline

    def steady(self, power: Array | float) -> Array | float:
        """Rise (K) at the front end of the film that ``power`` (mW) keeps up."""
        return self.resistance * self.decay * 1e6 * power * 1e-3 / (self.width * 1e-6)

    def after(self, rise: Array | float, power: Array | float, time: Array | float) -> Array:
        """Rise (K) after ``time`` ns at ``power`` mW, from ``rise``."""
        end = self.steady(power)
        return end + (rise - end) * jnp.exp(-jnp.asarray(time) / self.heat)

    def front(self, rise: Array) -> Array:
        """How far (µm) the film is molten at a rise (K) of its front end; its gradient ends with the film."""
        ratio = jnp.maximum(rise, 1e-3) / (self.melting - self.ambient)
        return clip_inside(jnp.log(ratio) / self.decay, 0.0, self.length)

    def transmission(self, front: Array | float) -> Array:
        """Transmitted power of a film that is amorphous up to ``front`` µm."""
        lost = self.absorption_amorphous * front + self.absorption_crystalline * (self.length - front)
        return jnp.exp(-4.0 * math.pi / self.wavelength * jnp.asarray(lost))

    def amorphous(self, transmission: Array) -> Array:
        """The front (µm) at which the film transmits so much: the inverse of `transmission`."""
        lost = -jnp.log(transmission) * self.wavelength / (4.0 * math.pi)
        contrast = self.absorption_crystalline - self.absorption_amorphous
        return (self.absorption_crystalline * self.length - lost) / contrast


@spec
class GSTPulse:
    """An L-shaped pulse: a main part, and a tail whose length sets the weight. A `Write`, absolute.

    Conductances stand for transmissions. The stimulus is the length of the tail, ns.

    Attributes:
        film: what is written.
        power, time: of the main part, mW and ns.
        tail: power of the tail, mW.
        levels: that the controller aims at, evenly spaced in transmission; None: any.
        noise: standard deviation of the energy of a pulse, relative; None for none.
    """

    film: Film = Film()
    power: float = 7.38
    time: float = 100.0
    tail: float = 0.73
    levels: int | None = static(default=16)
    noise: float | None = None

    def _check(self) -> None:
        for name in ("power", "time", "tail"):
            check_range(self, name, low=0, strict=True)
        check_order(self, "tail", "power", strict=True)
        check_range(self, "noise", low=0)
        if self.levels is not None:
            check_count(self, "levels", low=2)
        melting = self.film.melting - self.film.ambient
        ensure(
            lambda a, b: a < b, "GSTPulse.tail must not melt the film: a rise (K)", self.film.steady(self.tail), melting
        )
        ensure(lambda a, b: a > b, "GSTPulse.power must melt the film: a rise (K)", self.melted, melting)

    @property
    def melted(self) -> Array:
        """Rise (K) at the end of the main part."""
        return self.film.after(0.0, self.power, self.time)

    @property
    def reach(self) -> Array:
        """The largest transmission: that of the main part alone."""
        return self.film.transmission(self.film.front(self.melted))

    @property
    def off(self) -> Array:
        """The tail (ns) after which nothing is molten any more."""
        return self.length(jnp.zeros(()))

    def length(self, front: Array) -> Array:
        """The tail (ns) after which the front has receded to ``front`` µm."""
        wanted = (self.film.melting - self.film.ambient) * jnp.exp(self.film.decay * front)
        end = self.film.steady(self.tail)
        return self.film.heat * jnp.log((self.melted - end) / (wanted - end))

    def written(self, tail: Array, energy: Array | float = 1.0) -> Array:
        """Transmission after a pulse with a tail of so many ns; ``energy``: relative to the one that was meant."""
        rise = self.film.after(energy * self.melted, energy * self.tail, jnp.maximum(tail, 0.0))
        return self.film.transmission(self.film.front(rise))

    # ------------------------------------------------------------------------------------------- as a `Write`

    def start(self, key: Array, shape: tuple[int, ...], g_min: Scalar, g_max: Scalar) -> tuple[Array, None, None]:
        """See `Write.start`: crystalline."""
        return jnp.broadcast_to(self.film.transmission(0.0), shape), None, None

    def respond(
        self, key: Array, memory: None, g: Array, stimulus: Array, g_min: Scalar, g_max: Scalar
    ) -> tuple[Array, None]:
        """See `Write.respond`."""
        energy = 1.0
        if self.noise is not None:
            energy = 1.0 + self.noise * normal(named(key, "energy"), g.shape, g.dtype)
        return self.written(stimulus, energy), None

    def plan(self, target: Array, known: None, goal: Array, g_min: Scalar, g_max: Scalar) -> Plan:
        """See `Write.plan`: the tail of the nearest level that the film can have; smaller requests add up."""
        goal = clip_inside(clip_inside(goal, g_min, g_max), self.film.transmission(0.0), self.reach)
        now, aim = (nearest_state(g, self.levels, g_min, g_max) for g in (target, goal))
        tail = jnp.minimum(self.length(self.film.amorphous(aim)), 1.1 * self.off)
        return Plan(tail, (now != aim).astype(jnp.int32), goal)

    def deviation(self, g: Array, g_max: Scalar) -> Array:
        """See `Write.deviation`: by how much energies that differ move the transmission, to first order."""
        if self.noise is None:
            return jnp.zeros_like(g)
        front = self.film.amorphous(jnp.maximum(g, self.film.transmission(0.0)))
        contrast = self.film.absorption_crystalline - self.film.absorption_amorphous
        slope = 4.0 * math.pi / self.film.wavelength * contrast / self.film.decay  # dT/T for d(rise)/rise
        return jnp.where(front > 0, self.noise * slope * g, 0.0)


@door
def gst(levels: int | None = 16, *, noise: float | None = None, film: Film = Film(), highest: float = 0.2893) -> Device:
    """A synapse of GST: its conductance is a transmission, from crystalline to what the shortest tail leaves.

    Args:
        levels: that a write aims at, evenly spaced.
        noise: standard deviation of the energy of a pulse, relative.
        film: the film.
        highest: largest transmission; the main part of the pulse melts further.

    Raises:
        ValueError: for less than 2 levels, or a largest transmission that the main part of the pulse does not reach.
    """
    pulse = GSTPulse(film, levels=levels, noise=noise)
    ensure(lambda a, b: a <= b, "highest must be a transmission that the main pulse reaches", highest, pulse.reach)
    darkest: Any = film.transmission(0.0)
    return Device(g_max=highest, g_min=darkest, programming=ByPulses(), write=pulse)
