"""A batch of stochastic updates of devices whose steps are the same everywhere, at once where that is exact.

Such steps commute as long as no bound is reached, so that a batch is one draw of its counts, up and down, and one of
their noise. Devices that some order of the pulses could take to a bound (with 6 σ of noise to spare) go through the
batch example by example; where they are many, all do.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._pytree import replace
from crossjax._random import named, normal, numbered
from crossjax.insitu.trains import Trains, coincidences
from crossjax.pulsed.device import Pulsed, PulsedState

Scalar = Array | float
CHUNK, SHARE = 32, 16  # examples at once; the share of devices, 1/16, that may go one by one


def fits(device: Any, counts: Any, x: Array) -> bool:
    """Whether a batch of this kind can be taken at once."""
    return isinstance(device, Pulsed) and isinstance(counts, Trains) and device.law.steady and x.ndim == 2


def updated(
    key: Array, device: Pulsed, state: PulsedState, trains: Trains, x: Array, d: Array, rate: Scalar
) -> PulsedState:
    """The devices after x (batch, rows) and d (batch, cols), in sequence."""
    for begin in range(0, x.shape[0], CHUNK):
        part = slice(begin, begin + CHUNK)
        state = _chunk(numbered(key, begin), device, state, trains, x[part], d[part], rate)
    return state


def _chunk(
    key: Array, device: Pulsed, state: PulsedState, trains: Trains, x: Array, d: Array, rate: Scalar
) -> PulsedState:
    rows, columns = trains.words(named(key, "counts"), x, d, rate, device.step)
    net = total = jnp.zeros(state.x.shape, jnp.int32)
    for b in range(x.shape[0]):  # one fused loop over the cells
        n = coincidences(rows[b], columns[b], x[b], d[b])
        net, total = net + n, total + jnp.abs(n)
    up, down = (total + net) // 2 * state.up, (total - net) // 2 * state.down
    moved, room = state.x + up - down, jnp.zeros(())
    if device.noise is not None:
        sigma = device.noise * jnp.sqrt(up * state.up + down * state.down)
        moved, room = moved + sigma * normal(named(key, "pulse"), moved.shape), 6.0 * sigma
    near = (state.x + up + room > state.high) | (state.x - down - room < state.low)
    few = max(state.x.size // SHARE, 1)

    def all_of_them() -> Array:
        def step(state: PulsedState, k: Array) -> tuple[PulsedState, None]:
            n = coincidences(rows[k], columns[k], x[k], d[k])
            size = jnp.abs(n).astype(state.x.dtype)
            return replace(state, x=device.taken(numbered(key, k), state, n, size)), None

        return lax.scan(step, state, jnp.arange(x.shape[0]))[0].x

    found = lax.cond(
        jnp.sum(near) > few,
        all_of_them,
        lambda: _one_by_one(key, device, state, (rows, columns, x, d), moved, near, few),
    )
    count = None if state.pulses is None else state.pulses + total
    return device.shown(named(key, "shown"), replace(state, x=found, pulses=count), total > 0)


def _one_by_one(
    key: Array, device: Pulsed, state: PulsedState, trains: Any, moved: Array, near: Array, few: int
) -> Array:
    """Where devices are after the batch: ``moved``, except those ``near`` a bound, which see every example."""
    rows, columns, x, d = trains
    size, wide = moved.size, moved.shape[1]
    at = jnp.nonzero(near.ravel(), size=few, fill_value=size)[0]
    inside = jnp.minimum(at, size - 1)
    i, j = inside // wide, inside % wide
    mine = jax.tree.map(lambda a: a.reshape(-1)[inside], state)

    size_of = lax.population_count(rows.T[i] & columns.T[j]).astype(jnp.int32)  # (few, batch): whole rows are gathered
    counts = jnp.where((x < 0).T[i] ^ (d < 0).T[j], -size_of, size_of).T

    def step(mine: PulsedState, example: tuple[Array, Array]) -> tuple[PulsedState, None]:
        k, n = example
        return replace(mine, x=device.taken(numbered(key, k), mine, n, jnp.abs(n).astype(mine.x.dtype))), None

    mine = lax.scan(step, mine, (jnp.arange(x.shape[0]), counts))[0]
    return moved.reshape(-1).at[at].set(mine.x, mode="drop").reshape(moved.shape)
