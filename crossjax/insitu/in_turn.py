"""A batch of stochastic updates pulse by pulse: in every round each cell takes its own next pulse.

Cells do not know of one another, so that none has to wait for the examples that pass it by: a batch takes as many
rounds as its busiest cell has pulses, and the last rounds go over the few cells that still have some. The devices meet
the same pulses in the same order as example by example, with other draws of their noise.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from crossjax._random import named, numbered
from crossjax.insitu.synapses import Synapse

CHUNK, SHARE = 32, 16  # examples at once, a bit of a word each; from 1/16 of the cells on, they are gathered
Queue = tuple[Array, Array, Array]  # examples to come, as bits; the present one; its pulses that are left


def updated(key: Array, synapse: Synapse, state: Any, words: tuple[Array, Array], x: Array, d: Array) -> Any:
    """The devices after a batch in sequence.

    Args:
        key: of the pulses.
        synapse: the devices, whose pulses are taken one by one, each cell's apart from all others.
        state: theirs.
        words: trains of the rows (batch, rows) and of the columns (batch, cols), a bit a slot.
        x, d: of which the signs count, (batch, rows) and (batch, cols).
    """
    sides = (*words, x, d)
    if x.shape[0] <= CHUNK:
        return _chunk(key, synapse, state, *sides)
    spare = -x.shape[0] % CHUNK  # examples without a pulse
    chunks = [jnp.pad(a, ((0, spare), (0, 0))).reshape(-1, CHUNK, a.shape[1]) for a in sides]

    def one(state: Any, chunk: tuple[Array, ...]) -> tuple[Any, None]:
        n, *sides = chunk
        return _chunk(numbered(key, n), synapse, state, *sides), None

    return lax.scan(one, state, (jnp.arange(len(chunks[0])), *chunks))[0]


def _chunk(key: Array, synapse: Synapse, state: Any, rows: Array, columns: Array, x: Array, d: Array) -> Any:
    shape, flat = (rows.shape[1], columns.shape[1]), rows.shape[1] * columns.shape[1]
    few = max(flat // SHARE, 1)
    down_rows, down_columns = _bits(x < 0), _bits(d < 0)
    waiting = jnp.zeros(shape, jnp.uint32)
    for b in range(rows.shape[0]):  # one fused loop over the cells
        met = (rows[b][:, None] & columns[b][None, :]) != 0
        waiting = waiting | jnp.where(met, jnp.uint32(1 << b), jnp.uint32(0))

    def rounds(key: Array, cells: tuple[Array, Array], until: int, state: Any, queue: Queue, k: Array) -> Any:
        """Rounds over ``cells``, their rows and columns, until at most ``until`` of them have pulses left."""
        i, j = cells
        down = down_rows[i] ^ down_columns[j]

        def one(carry: tuple[Any, Queue, Array]) -> tuple[Any, Queue, Array]:
            state, (waiting, now, left), k = carry
            due = (left == 0) & (waiting != 0)
            first = waiting & (~waiting + 1)
            now = jnp.where(due, lax.population_count(first - 1).astype(jnp.int32), now)
            sent = lax.population_count(rows[now, i] & columns[now, j]).astype(jnp.int32)
            left = jnp.where(due, sent, left)
            waiting = jnp.where(due, waiting & ~first, waiting)
            sign = 1 - 2 * ((down >> now.astype(jnp.uint32)) & 1).astype(jnp.int32)
            state = synapse.pulse(numbered(key, k), state, jnp.where(left > 0, sign, 0), 1)
            return state, (waiting, now, jnp.maximum(left - 1, 0)), k + 1

        def busy(carry: tuple[Any, Queue, Array]) -> Array:
            waiting, _, left = carry[1]
            return jnp.sum((waiting != 0) | (left > 0)) > until

        return lax.while_loop(busy, one, (state, queue, k))

    everywhere = jnp.arange(shape[0])[:, None], jnp.arange(shape[1])[None, :]
    nothing, start = jnp.zeros(shape, jnp.int32), jnp.zeros((), jnp.int32)
    state, queue, k = rounds(named(key, "all"), everywhere, few, state, (waiting, nothing, nothing), start)

    at = jnp.nonzero(((queue[0] != 0) | (queue[2] > 0)).ravel(), size=few, fill_value=flat)[0]
    inside = jnp.minimum(at, flat - 1)

    def own(a: Array) -> bool:
        return a.shape[-2:] == shape  # a reference that all share is everybody's

    mine = jax.tree.map(lambda a: a.reshape(*a.shape[:-2], flat)[..., inside] if own(a) else a, state)
    waits, now, left = (a.ravel()[inside] for a in queue)
    kept = at < flat
    rest = jnp.where(kept, waits, 0), now, jnp.where(kept, left, 0)
    mine, *_ = rounds(named(key, "few"), (inside // shape[1], inside % shape[1]), 0, mine, rest, k)

    def back(whole: Array, part: Array) -> Array:
        if not own(whole):
            return whole
        return whole.reshape(*whole.shape[:-2], flat).at[..., at].set(part, mode="drop").reshape(whole.shape)

    return jax.tree.map(back, state, mine)


def _bits(a: Array) -> Array:
    """(batch, lines) as one word a line."""
    place = jnp.arange(a.shape[0], dtype=jnp.uint32)[:, None]
    return jnp.sum(a.astype(jnp.uint32) << place, axis=0, dtype=jnp.uint32)
