"""A device that is known by its pulses: where it is, what one more pulse does, and what it does on its own.

    draw ──► PulsedState ──pulse(n)──► … ──rest()──► leak, diffusion        value() ──► what the array multiplies with

Conductances are normalised: bounds are numbers such as −1 and 1 for a device that a reference is subtracted from, or 0
and 1 for one of a pair. All is elementwise on arrays of any shape; all numbers are leaves, so that a sweep over any of
them is one vmap. Formulas are those of IBM's aihwkit 1.2 unless a docstring says otherwise.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from crossjax._numerics import clip_inside, ratio
from crossjax._pytree import check_order, check_range, replace, spec, static
from crossjax._random import named, normal, numbered, uniform
from crossjax.pulsed.steps import ConstantStep, Steps


@spec
class PulsedState:
    """An array of pulsed devices; None where none needs it.

    Attributes:
        x: where they are.
        up, down: each device's own steps.
        low, high: its own bounds.
        own: what its law drew.
        seen: what is read where writing is noisy (``Pulsed.write_noise``).
        reference: what is subtracted when it is read.
        leak: fraction of the way home in one rest.
        home: where it leaks to.
        pulses: how many it has had.
    """

    x: Array
    up: Array
    down: Array
    low: Array
    high: Array
    own: Any = None
    seen: Array | None = None
    reference: Array | None = None
    leak: Array | None = None
    home: Array | None = None
    pulses: Array | None = None


@spec
class Pulsed:
    """What pulses do to a device.

    Attributes:
        law: how a step depends on where the device is.
        step: mean size of a step, Δ.
        asymmetry: u; 0.2 makes steps down 20 % smaller, −0.2 steps up, and the other direction stays.
        low, high: mean bounds.
        step_spread, asymmetry_spread, low_spread, high_spread: from device to device: of Δ, relative; of u, absolute;
            of the bounds, relative.
        lognormal: Δ is spread by e^(σξ) instead of 1 + σξ.
        noise: c, of one pulse, relative to the step; None for none.
        additive: the noise is relative to Δ, whatever the step at this place is.
        noise_floor, noise_slope: the noise is c (|step| + floor + slope |x|) instead.
        write_noise: in units of ``step``: what is read differs from x by so much, drawn anew with every pulse.
        lifetime: rests in which a device leaks to 1/e of its distance from ``reset``; None: it keeps what it has.
        lifetime_spread: relative.
        diffusion: standard deviation of what a rest adds.
        reset, reset_spread: where a RESET leaves it, and how that differs among devices.
        reset_noise: how much each RESET misses by.
        reference: what is subtracted when it is read, on average; None for nothing.
        reference_spread: among devices.
        at_symmetry: the reference is at each device's symmetry point, besides, where steps up and down are equal.
        faults: share of devices that do not move: stuck anywhere between ``low`` and ``high``.
        together: several pulses of one update are one step of the midpoint rule, their noise grown by the root of
            their number: faster by that number, and off by the third order of what they move. Not for tables.
    """

    law: Steps = ConstantStep()
    step: float = 0.001
    asymmetry: float = 0.0
    low: float = -1.0
    high: float = 1.0
    step_spread: float | None = None
    asymmetry_spread: float | None = None
    low_spread: float | None = None
    high_spread: float | None = None
    lognormal: bool = static(default=False)
    noise: float | None = None
    additive: bool = static(default=False)
    noise_floor: float | None = None
    noise_slope: float | None = None
    write_noise: float | None = None
    lifetime: float | None = None
    lifetime_spread: float | None = None
    diffusion: float | None = None
    reset: float = 0.0
    reset_spread: float | None = None
    reset_noise: float | None = None
    reference: float | None = None
    reference_spread: float | None = None
    at_symmetry: bool = static(default=False)
    faults: float | None = None
    together: bool = static(default=False)

    def _check(self) -> None:
        check_range(self, "step", low=0, strict=True)
        check_range(self, "asymmetry", low=-1, high=1)
        check_order(self, "low", "high", strict=True)
        for name in ("step_spread", "asymmetry_spread", "low_spread", "high_spread", "noise", "noise_floor",
                     "noise_slope", "write_noise", "lifetime_spread", "diffusion", "reset_spread", "reset_noise",
                     "reference_spread"):  # fmt: skip
            check_range(self, name, low=0)
        check_range(self, "lifetime", low=1)
        check_range(self, "faults", low=0, high=1)
        if self.together and self.law.noisy:
            raise ValueError(f"Pulsed.together needs a mean step, and {type(self.law).__name__} is a table of draws")

    @property
    def one_by_one(self) -> bool:
        """Whether several pulses of one update are taken one after the other."""
        return not self.law.steady and not self.together

    # ---------------------------------------------------------------------------------------------- drawn once

    def draw(self, key: Array, shape: tuple[int, ...], *, count: bool = False) -> PulsedState:
        """Devices as they were made, RESET.

        Args:
            key: of the chip.
            shape: of the array.
            count: whether pulses are counted.
        """

        def xi(name: str) -> Array:
            return normal(named(key, name), shape)

        def spread(mean: Any, sigma: Any, name: str) -> Array:
            return jnp.full(shape, mean) if sigma is None else mean * (1.0 + sigma * xi(name))

        gain = spread(1.0, self.step_spread, "step")
        if self.lognormal and self.step_spread is not None:
            gain = jnp.exp(self.step_spread * xi("step"))
        skew = 0.0 if self.asymmetry_spread is None else self.asymmetry_spread * xi("asymmetry")
        up = jnp.abs(jnp.minimum(self.asymmetry, 0.0) + gain + skew) * self.step
        down = jnp.abs(-jnp.maximum(self.asymmetry, 0.0) + gain - skew) * self.step
        high = spread(self.high, self.high_spread, "high")
        low = spread(self.low, self.low_spread, "low")
        high, low = jnp.where(high * self.high < 0, -high, high), jnp.where(low * self.low < 0, -low, low)
        high = jnp.maximum(high, low)
        x = jnp.full(shape, jnp.asarray(self.reset, jnp.zeros(()).dtype))
        home = leak = None
        if self.reset_spread is not None:
            x = x + self.reset_spread * xi("reset")
        if self.lifetime is not None or self.reset_spread is not None:
            home = x
        if self.lifetime is not None:
            life = spread(self.lifetime, self.lifetime_spread, "lifetime")
            leak = 1.0 / jnp.maximum(jnp.abs(life), 1.0)
        if self.faults is not None:
            stuck = uniform(named(key, "faults"), shape) < self.faults
            place = self.low + (self.high - self.low) * uniform(named(key, "stuck"), shape)
            low, high = jnp.where(stuck, place, low), jnp.where(stuck, place, high)
            up, down = jnp.where(stuck, 0.0, up), jnp.where(stuck, 0.0, down)
        x = clip_inside(x, low, high)
        state = PulsedState(
            x, up, down, low, high, self.law.draw(named(key, "law"), shape), leak=leak, home=home,
            reference=self._reference(key, up, down, low, high),
            pulses=jnp.zeros(shape, jnp.int32) if count else None,
        )  # fmt: skip
        return self.shown(named(key, "first"), state)

    def _reference(self, key: Array, up: Array, down: Array, low: Array, high: Array) -> Array | None:
        if self.reference is None and self.reference_spread is None and not self.at_symmetry:
            return None
        found = jnp.full(up.shape, 0.0 if self.reference is None else self.reference)
        if self.reference_spread is not None:
            found = found + self.reference_spread * normal(named(key, "reference"), up.shape)
        return found + ratio(up - down, up / high - down / low) if self.at_symmetry else found

    def shown(self, key: Array, state: PulsedState, hit: Array | None = None) -> PulsedState:
        """What is read after the devices (those ``hit``) were written."""
        if self.write_noise is None:
            return state
        seen = state.x + self.write_noise * self.step * normal(named(key, "write"), state.x.shape)
        return replace(state, seen=seen if hit is None or state.seen is None else jnp.where(hit, seen, state.seen))

    # -------------------------------------------------------------------------------------------------- pulses

    def pulse(
        self, key: Array, state: PulsedState, n: Array, most: int | None = None, *, only_up: bool = False
    ) -> PulsedState:
        """The devices after ``n`` pulses each, up where positive, one after the other, each with noise of its own.

        Where a step does not depend on the place they are taken at once: the same distribution, except that a device
        at its bound is clipped once.

        Args:
            key: of the pulses.
            state: the devices.
            n: whole numbers, of the devices' shape.
            most: largest |n| that can occur, where it is known to be 1: a loop less.
            only_up: no n is negative: half the work.
        """
        size, hit, up = jnp.abs(n), n != 0, None if only_up else n > 0
        if self.law.steady:
            x = self.taken(key, state, n, size.astype(state.x.dtype))
        elif most == 1:
            x = self._stepped(key, state, up, hit)
        elif self.together:
            half = replace(state, x=self._stepped(None, state, up, hit, 0.5 * size))
            x = self._stepped(key, state, up, hit, 1.0 * size, half.x)
        else:
            left = jnp.max(size)

            def one(k: Array, state: PulsedState) -> PulsedState:
                return replace(state, x=self._stepped(numbered(key, k), state, up, size > k))

            x = lax.while_loop(
                lambda carry: carry[0] < left,
                lambda carry: (carry[0] + 1, one(carry[0], carry[1])),
                (jnp.zeros((), left.dtype), state),
            )[1].x
        state = replace(state, x=x, pulses=None if state.pulses is None else state.pulses + size.astype(jnp.int32))
        return self.shown(key, state, hit)

    def taken(self, key: Array, state: PulsedState, n: Array, size: Array) -> Array:
        """Conductances after ``size`` equal steps at once."""
        step = jnp.where(n > 0, state.up, -state.down)
        moved = size * step
        if self.noise is not None:
            moved = moved + self.noise * jnp.sqrt(size) * step * normal(named(key, "pulse"), state.x.shape)
        return clip_inside(state.x + moved, state.low, state.high)

    def _stepped(
        self,
        key: Array | None,
        state: PulsedState,
        up: Array | None,
        hit: Array,
        size: Array | None = None,
        at: Array | None = None,
    ) -> Array:
        """Conductances after a pulse on the devices ``hit``.

        Args:
            key: of its noise; None: without.
            state: the devices.
            up: up or down; None: all up.
            hit: those that get it.
            size: so many pulses, as large as the first; None: one.
            at: where the size of a step is looked up; None: where the devices are.
        """
        x, ends = state.x if at is None else at, (state.own, state.low, state.high)
        draw = jnp.zeros(2, jnp.uint32) if key is None else key
        if up is None:
            factor, own = self.law.up(draw, x, *ends), state.up
        else:
            factor, own = self.law.either(draw, x, up, *ends), jnp.where(up, state.up, -state.down)
        moved = factor * own
        step = moved if size is None else size * moved
        if self.noise is not None and key is not None:
            scale = jnp.abs(own) if self.additive else jnp.abs(moved)
            if self.noise_floor is not None or self.noise_slope is not None:
                scale = scale + (0.0 if self.noise_floor is None else self.noise_floor)
                scale = scale + (0.0 if self.noise_slope is None else self.noise_slope * jnp.abs(x))
            scale = scale if size is None else jnp.sqrt(size) * scale
            step = step + self.noise * scale * normal(named(key, "pulse"), x.shape)
        return jnp.where(hit, clip_inside(state.x + step, state.low, state.high), state.x)

    def drive(self, state: PulsedState, n: Array) -> PulsedState:
        """The devices moved by ``n`` mean steps, any real number: expected values, differentiable.

        Raises:
            ValueError: for a law that has no mean, because it is a table of draws.
        """
        if self.law.noisy:
            raise ValueError(f"{type(self.law).__name__} is a table of draws: expected-value updates need a mean law")
        key, ends = lax.stop_gradient(jnp.zeros(2, jnp.uint32)), (state.own, state.low, state.high)
        up, down = (f(key, state.x, *ends) for f in (self.law.up, self.law.down))
        moved = jnp.where(n > 0, n * up * state.up, n * down * state.down)
        return replace(state, x=clip_inside(state.x + moved, state.low, state.high))

    # --------------------------------------------------------------------------------------- on its own, and set

    def rest(self, key: Array, state: PulsedState) -> PulsedState:
        """The devices one mini-batch later: leak x ← home + (x − home)(1 − 1/τ), then diffusion."""
        if self.lifetime is None and self.diffusion is None:
            return state
        x = state.x
        if state.leak is not None and state.home is not None:
            x = state.home + (x - state.home) * (1.0 - state.leak)
        if self.diffusion is not None:
            x = x + self.diffusion * normal(named(key, "diffusion"), x.shape)
        moved = clip_inside(x, state.low, state.high)
        seen = None if state.seen is None else state.seen + (moved - state.x)
        return replace(state, x=moved, seen=seen)

    def erase(self, key: Array, state: PulsedState, hit: Array | bool = True) -> PulsedState:
        """The devices (those ``hit``) after a RESET."""
        x = jnp.full(state.x.shape, self.reset) if state.home is None else state.home
        if self.reset_noise is not None:
            x = x + self.reset_noise * normal(named(key, "reset"), state.x.shape)
        hit = jnp.broadcast_to(jnp.asarray(hit), state.x.shape)
        x = jnp.where(hit, clip_inside(x, state.low, state.high), state.x)
        pulses = None if state.pulses is None else state.pulses + hit
        return self.shown(named(key, "erase"), replace(state, x=x, pulses=pulses), hit)

    def put(self, key: Array, state: PulsedState, value: Array) -> PulsedState:
        """The devices set to be read as ``value``, as far as their bounds allow: a beginning, not a physical write."""
        aim = value if state.reference is None else value + state.reference
        return self.shown(key, replace(state, x=clip_inside(aim, state.low, state.high)))

    def value(self, state: PulsedState) -> Array:
        """What the array multiplies with."""
        x = state.x if state.seen is None else state.seen
        return x if state.reference is None else x - state.reference
