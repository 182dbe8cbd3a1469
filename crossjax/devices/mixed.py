"""Cells whose devices are of several kinds: a large memory for the most significant pair, a fine one for the least."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from crossjax._pytree import replace, spec
from crossjax._random import named
from crossjax.devices.device import Device, DeviceState
from crossjax.devices.faults import Stuck


@spec
class Mixed:
    """Devices of several kinds in every cell, in equal shares: of two pairs, the most significant one is of the first.

    Where a `Device` acts on arrays of any shape, this one acts on those of a tile, (devices, …), the devices of a cell
    first, by the methods of the same names. A normalised conductance is one of its own kind: the ``factors`` of a cell
    are in units of each pair's own g_max − g_min. A `DeviceState` has of every field as much as the richest kind
    needs; what laws remember and controllers count is a tuple, one of each kind.

    Attributes:
        parts: the kinds. Twice the same one is two shares.
    """

    parts: tuple[Device, ...]

    def _check(self) -> None:
        if not self.parts:
            raise ValueError("Mixed.parts must be at least one device, got ()")
        if len({part.states for part in self.parts}) > 1:
            raise ValueError(
                "Mixed.parts must all have the same states: a cell rounds its weight to one number of them"
            )

    # ---------------------------------------------------------------------------------- what it is

    @property
    def kinds(self) -> tuple[str, ...]:
        """See `Device.kinds`: of every part."""
        return tuple(" + ".join(kind) for kind in zip(*(part.kinds for part in self.parts), strict=True))

    @property
    def states(self) -> int | None:
        """See `Device.states`: the same for all."""
        return self.parts[0].states

    @property
    def ages(self) -> bool:
        """See `Device.ages`."""
        return any(part.ages for part in self.parts)

    @property
    def flickers(self) -> bool:
        """See `Device.flickers`."""
        return any(part.flickers for part in self.parts)

    @property
    def by_pulses(self) -> bool:
        """See `Device.by_pulses`: only if all are."""
        return all(part.by_pulses for part in self.parts)

    @property
    def reads_noisily(self) -> bool:
        """See `Device.reads_noisily`."""
        return any(part.reads_noisily for part in self.parts)

    def with_states(self, states: int | None) -> Mixed:
        """See `Device.with_states`."""
        return Mixed(tuple(part.with_states(states) for part in self.parts))

    def without_read_noise(self) -> Mixed:
        """See `Device.without_read_noise`."""
        return Mixed(tuple(part.without_read_noise() for part in self.parts))

    def physical(self, count: int) -> int:
        """See `Device.physical`."""
        return sum(part.physical(count // len(self.parts)) for part in self.parts)

    # ------------------------------------------------------------------------- numbers (devices, …)

    def conductance(self, x: Array) -> Array:
        """See `Device.conductance`."""
        return self._of_each(Device.conductance, x)

    def place(self, g: Array) -> Array:
        """See `Device.place`."""
        return self._of_each(Device.place, g)

    def in_spans(self, g: Array) -> Array:
        """See `Device.in_spans`."""
        return self._of_each(Device.in_spans, g)

    def within(self, g: Array) -> Array:
        """See `Device.within`."""
        return self._of_each(Device.within, g)

    def at_rest(self, g: Array) -> Array:
        """See `Device.at_rest`."""
        return self._of_each(Device.at_rest, g)

    def write_deviation(self, g: Array) -> Array:
        """See `Device.write_deviation`."""
        return self._of_each(Device.write_deviation, g)

    def read_variance(self, g: Array) -> Array | None:
        """See `Device.read_variance`."""
        return self._of_each(Device.read_variance, g)

    def flicker_q(self, g: Array) -> Array | None:
        """See `Device.flicker_q`."""
        return self._of_each(Device.flicker_q, g)

    def flicker_growth(self, seconds: Array | float) -> Array:
        """See `Device.flicker_growth`."""
        return self._of_each(Device.flicker_growth, seconds)

    def flicker_between(self, seconds: Array | float, reads: Array | float, like: Array) -> Array:
        """See `Device.flicker_between`."""
        return self._of_each(lambda part, a: part.flicker_between(seconds, reads, a), like)

    def drift_slope(self, target: Array) -> Array | None:
        """See `Device.drift_slope`."""
        return self._of_each(Device.drift_slope, target)

    def drift_logarithm(self, seconds: Array) -> Array:
        """See `Device.drift_logarithm`."""
        return self._of_each(Device.drift_logarithm, seconds)

    def drifted(self, g: Array, nu: Array | None, seconds: Array) -> Array:
        """See `Device.drifted`."""
        if nu is None:
            return g
        return self._of_each(lambda part, g, nu, t: part.drifted(g, nu, t), g, nu, jnp.broadcast_to(seconds, g.shape))

    # --------------------------------------------------------------------------- states (devices, …)

    def reset(self, key: Array, shape: tuple[int, ...], *, count: bool = False) -> DeviceState:
        """See `Device.reset`."""
        one = shape[0] // len(self.parts), *shape[1:]
        return _joined([part.reset(_of(key, k), one, count=count) for k, part in enumerate(self.parts)])

    def program(self, key: Array, state: DeviceState, target: Array) -> DeviceState:
        """See `Device.program`."""
        return _joined([part.program(_of(key, k), s, g) for k, part, s, g in self._apart(state, target)])

    def aim(self, key: Array, state: DeviceState, target: Array, hit: Array | None = None) -> DeviceState:
        """See `Device.aim`."""
        return _joined([part.aim(_of(key, k), s, g, h) for k, part, s, g, h in self._apart(state, target, hit)])

    def pulse(
        self, key: Array, state: DeviceState, request: Array, off: Array | bool = False
    ) -> tuple[DeviceState, Array]:
        """See `Device.pulse`."""
        resets = None if off is False else jnp.broadcast_to(off, request.shape)
        sent = [
            part.pulse(_of(key, k), s, asked, False if o is None else o)
            for k, part, s, asked, o in self._apart(state, request, resets)
        ]
        states, pulses = zip(*sent, strict=True)
        return _joined(states), jnp.concatenate(pulses)

    def restart(self, key: Array, state: DeviceState, hit: Array, t: Array | float) -> DeviceState:
        """See `Device.restart`."""
        return _joined([part.restart(_of(key, k), s, h, t) for k, part, s, h in self._apart(state, hit)])

    def at(self, key: Array, state: DeviceState, t: Array | float) -> Array:
        """See `Device.at`."""
        return jnp.concatenate([part.at(_of(key, k), s, t) for k, part, s in self._apart(state)])

    # ------------------------------------------------------------------------------------- shares

    def _of_each(self, f: Callable[..., Any], *arrays: Any) -> Any:
        """``f(part, *its share)`` of every part, 0 where one has nothing to say; None if none has."""
        shares = [[_share(a, k, len(self.parts)) for a in arrays] for k in range(len(self.parts))]
        found = [f(part, *share) for part, share in zip(self.parts, shares, strict=True)]
        if all(a is None for a in found):
            return None
        return jnp.concatenate([jnp.zeros_like(s[0]) if a is None else a for a, s in zip(found, shares, strict=True)])

    def _apart(self, state: DeviceState, *arrays: Array | None) -> list[tuple[Any, ...]]:
        """(number, part, its devices, its share of every array) of every part."""
        many = len(self.parts)
        return [
            (k, part, _of_part(part, state, k, many), *(None if a is None else _share(a, k, many) for a in arrays))
            for k, part in enumerate(self.parts)
        ]


def _of(key: Array, k: int) -> Array:
    return named(key, f"kind {k}")


def _share(a: Array, k: int, many: int) -> Array:
    one = a.shape[0] // many
    return a[k * one : (k + 1) * one]


def _of_part(part: Device, state: DeviceState, k: int, many: int) -> DeviceState:
    """The devices of one kind, without what only others need."""
    memory, known = (None if held is None else held[k] for held in (state.memory, state.known))
    mine = jax.tree.map(lambda a: _share(a, k, many), replace(state, memory=memory, known=known))
    return replace(
        mine, nu=None if part.drift is None else mine.nu, written=mine.written if part.ages else None,
        stuck=None if part.faults is None else mine.stuck, ceiling=None if part.ceiling is None else mine.ceiling,
    )  # fmt: skip


def _joined(states: Sequence[DeviceState]) -> DeviceState:
    """All kinds in one state; what a kind does not need is filled with what changes nothing."""

    def field(name: str, nothing: float = 0.0) -> Any:
        held = [getattr(s, name) for s in states]
        if all(a is None for a in held):
            return None
        return jnp.concatenate(
            [jnp.full_like(s.g, nothing) if a is None else a for a, s in zip(held, states, strict=True)]
        )

    def apart(name: str) -> Any:
        held = [getattr(s, name) for s in states]
        return tuple(jax.tree.map(lambda a, k=k: _padded(a, k, len(states)), a) for k, a in enumerate(held))

    stuck = None
    if any(s.stuck is not None for s in states):
        none = [Stuck(jnp.zeros(s.g.shape, bool), jnp.zeros_like(s.g)) for s in states]
        held = [n if s.stuck is None else s.stuck for n, s in zip(none, states, strict=True)]
        stuck = jax.tree.map(lambda *a: jnp.concatenate(a), *held)
    return DeviceState(
        field("g"), field("nu"), field("written"), stuck, apart("memory"), field("target"), apart("known"),
        field("pulses"), field("ceiling", jnp.inf),
    )  # fmt: skip


def _padded(a: Array, k: int, many: int) -> Array:
    """The devices of one kind as an array of all: masks and shapes are then the same for every field."""
    one = a.shape[0]
    return jnp.zeros((many * one, *a.shape[1:]), a.dtype).at[k * one : (k + 1) * one].set(a)
