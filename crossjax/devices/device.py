"""One memory device: a sum of parts, each of which can be switched off.

    RESET ──program(target)──► g_P, ν ──at(t)──► drift, 1/f noise ──► g(t)
      ▲ └──pulse(request)…──►──┘                                      │
      └───────────────────────── written again ◄──────────────────────┘

A `Device` acts elementwise on arrays of any shape. What it did to one array of devices is a `DeviceState`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside
from crossjax._pytree import check_count, check_order, check_range, replace, spec, static
from crossjax._random import named, normal
from crossjax.devices.faults import Faults, Stuck
from crossjax.devices.noise import ByPulses, Drift, FlickerNoise, ProgrammingError, ReadNoise
from crossjax.devices.writes import OwnError, Rewrite, Stepped, Write, nearest_state


@spec
class DeviceState:
    """An array of devices (all fields of the same shape; None where a device needs none).

    Attributes:
        g: conductance that the last write left, µS: what is read t_0 later, when nothing else happens.
        nu: what its drift drew when it was written (`Drift.draw`: the exponent of a power law).
        written: when it was written last, in seconds after the chip's first read; before that, < 0. None for all of
            them then: logarithms of one time are found faster than one for each device.
        stuck: faulty devices.
        memory: what its law remembers (`Write.respond`).
        target: conductance that the controller believes in, µS. Without it, as `readable` leaves them, devices are
            read and not written.
        known: what else the controller keeps count of (`Write.plan`).
        pulses: write pulses that it has had; only where they are counted (`reset`).
        ceiling: conductance that it does not get beyond when it is written, µS.
    """

    g: Array
    nu: Array | None = None
    written: Array | None = None
    stuck: Stuck | None = None
    memory: Any = None
    target: Array | None = None
    known: Any = None
    pulses: Array | None = None
    ceiling: Array | None = None

    @property
    def believed(self) -> Array:
        """Conductances (µS) that the controller believes in.

        Raises:
            ValueError: for devices that are kept for reading only.
        """
        if self.target is None:
            raise ValueError(
                "this chip is kept for reading (readable): what its write circuit believed is gone. Build or program "
                "one that can be written"
            )
        return self.target

    def readable(self) -> DeviceState:
        """What reading needs: without what only a next write would look at."""
        return replace(self, memory=None, target=None, known=None, pulses=None, ceiling=None)


@spec
class Device:
    """A memory device and its non-idealities. A part that is None is off: no work, no random numbers.

    Attributes:
        g_max: largest conductance, µS.
        programming: error of programming to a target, by whatever procedure its authors used; None for none;
            `ByPulses` for a device that is known by its pulses only.
        drift: what time does to a conductance: `PowerLawDrift` or `LogRelaxation`.
        flicker: accumulated 1/f noise, drawn once per evaluation time.
        read: noise of one MVM.
        write: what one write pulse does. Its error is the device's ``programming`` unless it is given its own.
        faults: devices that do not switch.
        g_min: smallest conductance that writing leaves, µS; targets are clipped to [g_min, g_max]. Drift and 1/f
            noise may take a device below it, not below 0, and so may the spread of a RESET (`SetPulses`).
        reset_zero: a target of g_min gets a full RESET and lands there exactly (Joshi 2020), instead of being
            programmed with the error that the law gives at 0 (Rasch 2023, the default).
        parallel: physical devices that share this conductance (the HERMES cell puts two on each polarity).
        states: how many conductances, evenly spaced from g_min to g_max, a write can aim at; None: any. Programming
            error, drift and noise come on top: they are what a device in that state does.
        ceiling: standard deviation, as a fraction of g_max, of the conductance at which writing a device ends, whose
            mean is g_max; None: writing does not end there, and errors may lead beyond. A controller knows of it what
            it reads: see the split "measured".
    """

    g_max: float = 25.0
    programming: ProgrammingError | ByPulses | None = None
    drift: Drift | None = None
    flicker: FlickerNoise | None = None
    read: ReadNoise | None = None
    write: Write = Rewrite()
    faults: Faults | None = None
    g_min: float = 0.0
    reset_zero: bool = static(default=False)
    parallel: int = static(default=1)
    states: int | None = static(default=None)
    ceiling: float | None = None

    def _check(self) -> None:
        check_range(self, "ceiling", low=0)
        if self.states is not None:
            check_count(self, "states", low=2)
        check_range(self, "g_max", low=0, strict=True)
        check_range(self, "g_min", low=0)
        check_order(self, "g_min", "g_max", strict=True)
        check_count(self, "parallel")
        if isinstance(self.programming, ByPulses) and isinstance(getattr(self.write, "error", None), OwnError):
            raise ValueError(
                "a Device known by its pulses only (programming=ByPulses()) has no programming error to lend to its "
                "write model: give write.error, or None for noiseless pulses"
            )

    @property
    def writer(self) -> Write:
        """The write model, with this device's programming error where it has none of its own, and its states."""
        write = self.write
        if isinstance(getattr(write, "error", None), OwnError):
            write = replace(write, error=self.programming)
        return write if self.states is None else Stepped(write, self.states)

    def nearest(self, target: Array) -> Array:
        """What a write for ``target`` µS aims at: within [g_min, g_max], a state; the gradient is straight-through."""
        return nearest_state(target, self.states, self.g_min, self.g_max)

    def conductance(self, x: Array) -> Array:
        """Conductance (µS) at a place x in [0, 1] between g_min and g_max."""
        return self.g_min + (self.g_max - self.g_min) * x

    def place(self, g: Array) -> Array:
        """Where between g_min and g_max conductances (µS) are: the inverse of `conductance`."""
        return (g - self.g_min) / (self.g_max - self.g_min)

    def in_spans(self, g: Array) -> Array:
        """Conductances (µS) in units of g_max − g_min, g_min included."""
        return g / (self.g_max - self.g_min)

    def within(self, g: Array) -> Array:
        """Conductances (µS) clipped to [g_min, g_max]."""
        return jnp.clip(g, self.g_min, self.g_max)

    def at_rest(self, g: Array) -> Array:
        """Whether devices that are to have ``g`` µS are RESET, and nothing more."""
        return g <= self.g_min

    # ---- what a tile asks: a `Mixed` answers for several kinds

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of which classes its drift and its 1/f noise are, in words."""
        return tuple("none" if part is None else type(part).__name__ for part in (self.drift, self.flicker))

    @property
    def ages(self) -> bool:
        """Whether time does anything to it."""
        return self.drift is not None or self.flicker is not None

    @property
    def flickers(self) -> bool:
        """Whether it has 1/f noise."""
        return self.flicker is not None

    @property
    def by_pulses(self) -> bool:
        """Whether it is known by its pulses only, so that programming it is a write request."""
        return isinstance(self.programming, ByPulses)

    @property
    def reads_noisily(self) -> bool:
        """Whether it adds noise to every MVM."""
        return self.read is not None

    def with_states(self, states: int | None) -> Device:
        """The device with so many conductances that a write can aim at."""
        return replace(self, states=states)

    def without_read_noise(self) -> Device:
        """The device without noise of every MVM."""
        return replace(self, read=None)

    def physical(self, count: int) -> int:
        """Physical devices behind so many conductances."""
        return count * self.parallel

    # ---- what time does to it, each on its own: `at` has all of it

    def drifted(self, g: Array, nu: Array | None, seconds: Array | float) -> Array:
        """Conductances (µS) of ``g`` µS at so many seconds, of devices whose drift drew ``nu``."""
        if self.drift is None or nu is None:
            return g
        return self.drift.apply(g, nu, self.drift.logarithm(seconds), self.g_max)

    def drift_logarithm(self, seconds: Array) -> Array:
        """The logarithm of time that its drift goes by; 0 without drift."""
        return jnp.zeros_like(seconds) if self.drift is None else self.drift.logarithm(seconds)

    def drift_slope(self, target: Array) -> Array | None:
        """µS that typical devices at ``target`` change by per unit of that logarithm, at first; None without drift."""
        if self.drift is None:
            return None
        drift, typical = self.drift, self.drift.typical(self.within(target) / self.g_max)
        begin = drift.logarithm(0.0)
        return jax.jvp(lambda age: drift.apply(target, typical, age, self.g_max), (begin,), (jnp.ones_like(begin),))[1]

    def flicker_q(self, g: Array) -> Array | None:
        """1/f noise coefficient Q at ``g`` µS; None without 1/f noise."""
        return None if self.flicker is None else self.flicker.q(g / self.g_max)

    def flicker_growth(self, seconds: Array | float) -> Array:
        """Relative deviation in units of Q, ``seconds`` after the first read; 0 without 1/f noise."""
        return jnp.zeros_like(jnp.asarray(seconds)) if self.flicker is None else self.flicker.growth(seconds)

    def flicker_between(self, seconds: Array | float, reads: Array | float, like: Array) -> Array:
        """See `FlickerNoise.between`; ``like``: an array of the devices."""
        if self.flicker is None:
            return jnp.zeros_like(like)
        return jnp.broadcast_to(self.flicker.between(seconds, reads), like.shape)

    def reset(self, key: Array, shape: tuple[int, ...], *, count: bool = False) -> DeviceState:
        """Fresh devices in the RESET state, with the faults and cell-to-cell variations of one chip.

        Args:
            key: randomness of all that.
            shape: of the array.
            count: whether the pulses of every device are counted.
        """
        stuck = None
        if self.faults is not None:
            stuck = self.faults.draw(named(key, "faults"), shape, self.g_min, self.g_max)
        ceiling = None
        if self.ceiling is not None:
            spread = 1.0 + self.ceiling * normal(named(key, "ceiling"), shape)
            ceiling = jnp.maximum(self.g_max * spread, self.g_min)
        g, memory, known = self.writer.start(named(key, "cells"), shape, self.g_min, self.g_max)
        target = jnp.full(shape, self.g_min, g.dtype)
        state = DeviceState(
            self._switched_off(named(key, "reset"), g), stuck=stuck, memory=memory, target=target, known=known,
            written=jnp.zeros(shape) if self.ages else None, pulses=jnp.zeros(shape, jnp.int32) if count else None,
            ceiling=ceiling,
        )  # fmt: skip
        return self._hold(self.aim(key, state, target))

    def _switched_off(self, key: Array, g: Array) -> Array:
        """Conductances ``g`` of devices that were just RESET, with the error that programming to g_min leaves."""
        if self.reset_zero or not isinstance(self.programming, ProgrammingError):
            return g
        return self._missed(key, jnp.full_like(g, self.g_min))

    def _missed(self, key: Array, target: Array) -> Array:
        """Where programming to ``target`` lands, with the device's published error."""
        assert isinstance(self.programming, ProgrammingError)
        error = self.programming.draw(key, target.shape)
        return clip_inside(target + self.programming.deviation(target, self.g_max) * error, self.g_min, jnp.inf)

    def program(self, key: Array, state: DeviceState, target: Array) -> DeviceState:
        """Program to ``target`` (µS) once, with the device's published programming error.

        Rasch et al., Nat. Commun. 14:5282 (2023): g_P = max(g_T + σ_P ξ, 0), here with g_min for 0. The gradient
        of a target exactly at g_min or g_max is that of the inside.
        """
        target = self.nearest(target)
        if isinstance(self.programming, ByPulses):
            state, _ = self.pulse(named(key, "programming"), state, target - state.believed)
            return self.aim(key, state, target)
        g = target if self.programming is None else self._missed(named(key, "programming"), target)
        if self.reset_zero:
            g = jnp.where(target <= self.g_min, self.g_min, g)
        state = self.aim(key, replace(state, g=g, target=target), target)
        return self._hold(replace(state, pulses=None if state.pulses is None else state.pulses + 1))

    def aim(self, key: Array, state: DeviceState, target: Array, hit: Array | None = None) -> DeviceState:
        """The devices (those ``hit``) with drift exponents for the conductances (µS) that they are to have.

        The published fits give ν as a function of the target, within [g_min, g_max]; beyond g_max they go wrong.
        """
        if self.drift is None:
            return state
        nu = self.drift.draw(named(key, "drift"), self.within(target) / self.g_max)
        return replace(state, nu=nu if hit is None or state.nu is None else jnp.where(hit, nu, state.nu))

    def pulse(
        self, key: Array, state: DeviceState, request: Array, off: Array | bool = False
    ) -> tuple[DeviceState, Array]:
        """One write pulse (or train) on every device whose ``request`` (signed change in µS) is not 0.

        The controller plans from what it believes; the device answers by its law. Neither age nor drift changes:
        see `restart`.

        Args:
            key: randomness of the pulses.
            state: the devices.
            request: wanted changes, µS.
            off: devices whose request is a full RESET; it leaves the error that programming to g_min leaves.

        Returns:
            The new state, and how many pulses each device received.
        """
        asked, believed, writer, ends = request != 0, state.believed, self.writer, (self.g_min, self.g_max)
        plan = writer.plan(believed, state.known, believed + request, *ends)
        pulses = jnp.where(asked, plan.pulses, 0)
        g, memory = writer.respond(key, state.memory, state.g, plan.stimulus, *ends)
        if off is not False:
            g = jnp.where(off, self._switched_off(key, jnp.full_like(g, self.g_min)), g)
        hit = pulses > 0
        now = replace(
            state, g=jnp.where(hit, g, state.g), memory=_where(hit, memory, state.memory),
            target=jnp.where(asked, plan.target, believed), known=_where(hit, plan.known, state.known),
            pulses=None if state.pulses is None else state.pulses + pulses,
        )  # fmt: skip
        return self._hold(now), pulses

    def restart(self, key: Array, state: DeviceState, hit: Array, t: Array | float) -> DeviceState:
        """The devices after those ``hit`` were written at ``t`` seconds: their drift starts again, another one."""
        when = jnp.where(hit, t, 0.0 if state.written is None else state.written) if self.ages else None
        return self.aim(key, replace(state, written=when), state.g if state.target is None else state.target, hit)

    def at(self, key: Array, state: DeviceState, t: Array | float) -> Array:
        """Conductance (µS) at ``t`` seconds after the first read: drift, then accumulated 1/f noise.

        Both by the time since each device was written; the noise coefficient Q is that of what the write left.
        """
        age = t if state.written is None else t - state.written
        g = self.drifted(state.g, state.nu, age)
        if self.flicker is not None:
            q = self.flicker.q(state.g / self.g_max)
            noise = q * self.flicker.growth(age) * normal(named(key, "flicker"), g.shape, g.dtype)
            g = jnp.maximum(g * (1.0 + noise), 0.0)
        return g if state.stuck is None else jnp.where(state.stuck.mask, state.stuck.g, g)

    def read_variance(self, g: Array) -> Array | None:
        """Variance (µS²) that each device at ``g`` µS adds to one MVM, None without read noise."""
        return None if self.read is None else self.read.at(g, self.g_max)

    def write_deviation(self, g: Array) -> Array:
        """Standard deviation (µS) of what one write pulse leaves at ``g`` µS."""
        return self.writer.deviation(g, self.g_max)

    def _hold(self, state: DeviceState) -> DeviceState:
        if state.ceiling is not None:
            state = replace(state, g=jnp.minimum(state.g, state.ceiling))
        if state.stuck is None:
            return state
        return replace(state, g=jnp.where(state.stuck.mask, state.stuck.g, state.g))


def _where(hit: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(hit, a, b), new, old)
