"""A weight made of pulsed devices: one, a pair that only goes up, or one against a reference.

All have the same shape, state in and state out. Weights are normalised: 1 is what the devices can hold.
"""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._numerics import clip_inside
from crossjax._pytree import check_range, replace, spec, static
from crossjax._random import named
from crossjax.pulsed.device import Pulsed, PulsedState

Scalar = Array | float


class Synapse(Protocol):
    """An array of weights on pulsed devices.

    One whose pulses do to a cell what no other cell has a part in, one after the other, may say so by a property
    ``one_by_one``: batches then go through `in_turn`, faster.
    """

    @property
    def step(self) -> Scalar:
        """Mean change of a weight by one pulse."""
        ...

    @property
    def devices(self) -> int:
        """Devices a weight."""
        ...

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> Any:
        """Devices as they were made."""
        ...

    def put(self, key: Array, state: Any, w: Array) -> Any:
        """Devices that hold weights, as far as they can: a beginning, not a physical write."""
        ...

    def value(self, state: Any) -> Array:
        """The weights."""
        ...

    def pulse(self, key: Array, state: Any, n: Array, most: int | None = None) -> Any:
        """After ``n`` pulses each, the weight up where positive."""
        ...

    def drive(self, state: Any, n: Array) -> Any:
        """After ``n`` mean steps each."""
        ...

    def erase(self, key: Array, state: Any) -> Any:
        """After a RESET of all devices."""
        ...

    def rest(self, key: Array, state: Any) -> Any:
        """One mini-batch later: leak, diffusion, refresh."""
        ...

    def pulses(self, state: Any) -> Array:
        """Pulses that each device has had, (devices, rows, cols)."""
        ...


def _counted(state: PulsedState) -> Array:
    if state.pulses is None:
        raise ValueError("pulses were not counted: draw the devices with count=True")
    return state.pulses


@spec
class Single:
    """One device a weight, up and down; against its reference, where it has one (`Pulsed.reference`).

    Attributes:
        device: the device.
    """

    device: Pulsed = Pulsed()

    devices = 1

    @property
    def step(self) -> Scalar:
        """See `Synapse.step`."""
        return self.device.step

    @property
    def one_by_one(self) -> bool:
        """See `Pulsed.one_by_one`."""
        return self.device.one_by_one

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> PulsedState:
        """See `Synapse.draw`."""
        return self.device.draw(key, shape, count=count)

    def put(self, key: Array, state: PulsedState, w: Array) -> PulsedState:
        """See `Synapse.put`."""
        return self.device.put(key, state, w)

    def value(self, state: PulsedState) -> Array:
        """See `Synapse.value`."""
        return self.device.value(state)

    def pulse(self, key: Array, state: PulsedState, n: Array, most: int | None = None) -> PulsedState:
        """See `Synapse.pulse`."""
        return self.device.pulse(key, state, n, most)

    def drive(self, state: PulsedState, n: Array) -> PulsedState:
        """See `Synapse.drive`."""
        return self.device.drive(state, n)

    def erase(self, key: Array, state: PulsedState) -> PulsedState:
        """See `Synapse.erase`."""
        return self.device.erase(key, state)

    def rest(self, key: Array, state: PulsedState) -> PulsedState:
        """See `Synapse.rest`."""
        return self.device.rest(key, state)

    def pulses(self, state: PulsedState) -> Array:
        """See `Synapse.pulses`."""
        return _counted(state)[None]


@spec
class AgainstState:
    """Devices, and what they are read against, (1, 1) where shared."""

    devices: PulsedState
    reference: PulsedState


@spec
class Against:
    """One device a weight against a reference device that is not pulsed: w = (x − x_ref) / half the range.

    The less significant conductances of US patents 11,074,499 and 11,915,132: against one reference that all weights
    of an array share, or each against its own.

    Attributes:
        device: with bounds such as 0 and 1; references are of the same kind.
        shared: one reference for all, chosen among those that work.
        middle: where the references are put, a fraction of the range.
    """

    device: Pulsed = Pulsed(low=0.0)
    shared: bool = static(default=True)
    middle: float = 0.5

    def _check(self) -> None:
        check_range(self, "middle", low=0, high=1)

    @property
    def devices(self) -> int:
        """See `Synapse.devices`."""
        return 1 if self.shared else 2

    @property
    def _half(self) -> Scalar:
        return (self.device.high - self.device.low) / 2

    @property
    def step(self) -> Scalar:
        """See `Synapse.step`."""
        return self.device.step / self._half

    @property
    def one_by_one(self) -> bool:
        """See `Pulsed.one_by_one`."""
        return self.device.one_by_one

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> AgainstState:
        """See `Synapse.draw`: both in the middle."""
        middle = self.device.low + 2.0 * self._half * self.middle
        found = []
        chosen = replace(self.device, faults=None) if self.shared else self.device
        for name, device, size in (
            ("devices", self.device, shape),
            ("reference", chosen, (1, 1) if self.shared else shape),
        ):
            state = device.draw(named(key, name), size, count=count)
            found.append(self.device.put(named(key, name), state, jnp.full(size, middle)))
        return AgainstState(*found)

    def put(self, key: Array, state: AgainstState, w: Array) -> AgainstState:
        """See `Synapse.put`."""
        aim = w * self._half + self.device.value(state.reference)
        return replace(state, devices=self.device.put(key, state.devices, aim))

    def value(self, state: AgainstState) -> Array:
        """See `Synapse.value`."""
        return (self.device.value(state.devices) - self.device.value(state.reference)) / self._half

    def pulse(self, key: Array, state: AgainstState, n: Array, most: int | None = None) -> AgainstState:
        """See `Synapse.pulse`."""
        return replace(state, devices=self.device.pulse(key, state.devices, n, most))

    def drive(self, state: AgainstState, n: Array) -> AgainstState:
        """See `Synapse.drive`."""
        return replace(state, devices=self.device.drive(state.devices, n))

    def erase(self, key: Array, state: AgainstState) -> AgainstState:
        """See `Synapse.erase`: to the reference, with the error of a RESET."""
        device = self.device
        blank = device.erase(named(key, "erase"), state.devices)
        missed = 0.0
        if device.reset_noise is not None:
            missed = blank.x - (device.reset if blank.home is None else blank.home)
        x = clip_inside(device.value(state.reference) + missed, blank.low, blank.high)
        return replace(state, devices=replace(blank, x=x, seen=None if blank.seen is None else x))

    def rest(self, key: Array, state: AgainstState) -> AgainstState:
        """See `Synapse.rest`: devices leak, their references are held."""
        return replace(state, devices=self.device.rest(key, state.devices))

    def pulses(self, state: AgainstState) -> Array:
        """See `Synapse.pulses`: those of the devices; references get none."""
        return _counted(state.devices)[None]


@spec
class OneSided:
    """A pair whose devices only go up gradually: w = x⁺ − x⁻; where both are high, it is refreshed.

    Attributes:
        device: with a lower bound of 0 or more, such as phase-change memory; its pulses down are not used.
        high, low: a pair is refreshed when its larger device is above ``high`` and its smaller one above ``low``, as
            fractions of the range: both are RESET and the difference is written to one (aihwkit's OneSidedUnitCell).
            ``high`` = 1 for never.
        inside: by how little the pair must differ for it, a fraction of the range; None: however much. Nandakumar et
            al. (2020) refresh where the larger is above 6 µS and the difference below 1.5 µS.
    """

    device: Pulsed = Pulsed(low=0.0)
    high: float = 0.75
    low: float = 0.25
    inside: float | None = None

    devices = 2

    def _check(self) -> None:
        check_range(self, "high", low=0, high=1)
        check_range(self, "low", low=0, high=1)
        check_range(self, "inside", low=0)

    @property
    def step(self) -> Scalar:
        """See `Synapse.step`."""
        return self.device.step

    @property
    def one_by_one(self) -> bool:
        """See `Pulsed.one_by_one`."""
        return self.device.one_by_one

    def draw(self, key: Array, shape: tuple[int, int], *, count: bool = False) -> PulsedState:
        """See `Synapse.draw`: (2, rows, cols)."""
        return self.device.draw(key, (2, *shape), count=count)

    def put(self, key: Array, state: PulsedState, w: Array) -> PulsedState:
        """See `Synapse.put`: the other device stays at its lower bound."""
        return self.device.put(key, state, self.device.low + jnp.stack([jnp.maximum(w, 0.0), jnp.maximum(-w, 0.0)]))

    def value(self, state: PulsedState) -> Array:
        """See `Synapse.value`."""
        x = self.device.value(state)
        return x[0] - x[1]

    def pulse(self, key: Array, state: PulsedState, n: Array, most: int | None = None) -> PulsedState:
        """See `Synapse.pulse`: of every pair one device."""
        up = n > 0
        mine = jax.tree.map(lambda a: jnp.where(up, a[0], a[1]), state)
        moved = self.device.pulse(key, mine, jnp.abs(n), most, only_up=True)

        def back(new: Array | None, old: Array | None) -> Array | None:
            if new is None or old is None:
                return None
            return jnp.stack([jnp.where(up, new, old[0]), jnp.where(n < 0, new, old[1])])

        return replace(state, x=back(moved.x, state.x), seen=back(moved.seen, state.seen),
                       pulses=back(moved.pulses, state.pulses))  # fmt: skip

    def drive(self, state: PulsedState, n: Array) -> PulsedState:
        """See `Synapse.drive`."""
        return self.device.drive(state, jnp.stack([jnp.maximum(n, 0.0), jnp.maximum(-n, 0.0)]))

    def erase(self, key: Array, state: PulsedState) -> PulsedState:
        """See `Synapse.erase`."""
        return self.device.erase(key, state)

    def rest(self, key: Array, state: PulsedState) -> PulsedState:
        """See `Synapse.rest`; refreshed devices are RESET, and the one that takes the difference is written once."""
        state = self.device.rest(named(key, "rest"), state)
        span = self.device.high - self.device.low
        x = (self.device.value(state) - self.device.low) / span
        larger, smaller = jnp.maximum(x[0], x[1]), jnp.minimum(x[0], x[1])
        tired = (larger > self.high) & (smaller > self.low)
        if self.inside is not None:
            tired &= larger - smaller < self.inside
        return self.refreshed(named(key, "refresh"), state, tired)

    def refreshed(self, key: Array, state: PulsedState, hit: Array) -> PulsedState:
        """The pairs ``hit`` (rows, cols) after a refresh."""
        difference = self.value(state)
        hit = jnp.broadcast_to(hit, state.x.shape)
        blank = self.device.erase(key, state, hit)
        more = jnp.stack([jnp.maximum(difference, 0.0), jnp.maximum(-difference, 0.0)])
        written = hit & (more > 0)
        x = jnp.where(written, clip_inside(blank.x + more, blank.low, blank.high), blank.x)
        count = None if blank.pulses is None else blank.pulses + written
        seen = None if blank.seen is None else jnp.where(written, x, blank.seen)
        return replace(blank, x=x, seen=seen, pulses=count)

    def pulses(self, state: PulsedState) -> Array:
        """See `Synapse.pulses`."""
        return _counted(state)
