"""Searches: what the match lines carry for a query, which row is nearest, which rows match."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax._checks import ensure
from crossjax._kinds import door
from crossjax._pytree import strong
from crossjax._random import named, normal, numbered, uniform
from crossjax.cam.memory import CAM, CAMChip, CAMReading, check_chip, check_levels, read


@door
def currents(key: Array, cam: CAM, chip: CAMChip | CAMReading, queries: Array | np.ndarray) -> Array:
    """Currents of all rows, summed over their subarrays: the distance of every row, small where it matches.

    Differentiable, by queries and by what is stored: −currents / τ are the logits of a soft search.

    Args:
        key: noise of this search.
        cam: the hardware.
        chip: what is searched; or its `CAMReading`, for many searches.
        queries: levels (…, cells).

    Returns:
        (…, rows), in the unit of the cell's answers.

    Raises:
        ValueError: for queries of another length, or levels that the cells do not have.
    """
    return _answers(_total, key, cam, chip, queries)


@door
def search(key: Array, cam: CAM, chip: CAMChip | CAMReading, queries: Array | np.ndarray) -> Array:
    """The row (…,) that is nearest to each query (…, cells), as the memory's vote has it; arguments as in `currents`.

    Rows with equally many votes: the first of them.
    """
    return _answers(_nearest, key, cam, chip, queries)


@door
def matches(
    key: Array,
    cam: CAM,
    chip: CAMChip | CAMReading,
    queries: Array | np.ndarray,
    *,
    limit: Array | float | None = None,
) -> Array:
    """Which rows match each query, (…, rows): on all subarrays, the current of a match line is at most ``limit``.

    Args:
        key: noise of this search.
        cam: the hardware.
        chip: what is searched.
        queries: levels (…, cells).
        limit: current of a match line. None: an exact match, the limit half way between a row whose cells all match
            and one with a single cell at the next level, by the cells of each subarray. Spread and noise may hide it.

    Raises:
        ValueError: as `currents`; for a limit below 0.
    """
    if limit is None:
        limit = _between(cam, chip.shape[1])
    ensure(lambda a: a >= 0, "limit must be ≥ 0", limit)
    return _answers(_within, key, cam, chip, queries, jnp.reshape(limit, (-1, 1, 1)))


def _between(cam: CAM, cells: int) -> Array:
    """For every subarray, half way between a line whose cells all match and one that misses by one level."""
    levels = jnp.arange(cam.levels, dtype=float)
    pair = cam.cell.signals(levels, cam.levels), cam.cell.answers(levels, None, cam.levels)
    table = jnp.einsum("kq,ks->qs", *pair)
    least = jnp.min(table + jnp.where(jnp.eye(cam.levels, dtype=bool), jnp.inf, 0.0))
    match = jnp.max(jnp.diag(table))
    used = jnp.minimum(cam.cols, cells - np.arange(0, cells, cam.cols))
    return used * match + 0.5 * (least - match)


def _lowest(key: Array, cam: CAM, lines: Array) -> Array:
    """The row (…) with the least current of lines (…, rows), as far as the sense amplifiers can tell."""
    if cam.sensing_limit is None:
        return jnp.argmin(lines, axis=-1)
    tied = lines <= jnp.min(lines, axis=-1, keepdims=True) + cam.sensing_limit
    return jnp.argmax(jnp.where(tied, uniform(named(key, "ties"), lines.shape), -1.0), axis=-1)


# What is made of match lines (subarrays, batch, rows), of as many queries as a block has.


def _total(key: Array, cam: CAM, lines: Array) -> Array:
    return jnp.sum(lines, axis=0)


def _nearest(key: Array, cam: CAM, lines: Array) -> Array:
    if cam.vote == "sum":
        return _lowest(key, cam, jnp.sum(lines, axis=0))
    votes = jax.nn.one_hot(_lowest(key, cam, lines), lines.shape[-1], dtype=jnp.int32)
    return jnp.argmax(jnp.sum(votes, axis=0), axis=-1)


def _within(key: Array, cam: CAM, lines: Array, limit: Array) -> Array:
    return jnp.all(lines <= limit, axis=0)


def _answers(
    made: Callable[..., Array], key: Array, cam: CAM, chip: CAMChip | CAMReading, queries: Array | np.ndarray,
    *arguments: Array,
) -> Array:  # fmt: skip
    """What is ``made`` of the match lines, for queries (…, cells)."""
    check_chip(cam, chip)
    reading = chip if isinstance(chip, CAMReading) else read(cam, chip)
    queries = check_levels("queries", cam, queries)
    if queries.ndim < 1 or queries.shape[-1] != reading.shape[1]:
        raise ValueError(f"queries must end in the {reading.shape[1]} cells of a row, got shape {queries.shape}")
    return _blocks(made, key, strong(cam), reading, queries, *arguments)


BLOCK = 128
"""Queries at a time: as many whose signals and lines a processor's cache holds, 3 times faster than all at once."""


@partial(jax.jit, static_argnums=0)
def _blocks(
    made: Callable[..., Array], key: Array, cam: CAM, reading: CAMReading, queries: Array, *arguments: Array
) -> Array:
    flat = queries.reshape(-1, queries.shape[-1])
    batch = flat.shape[0]

    def of(key: Array, block: Array) -> Array:
        lines = cam.cell.lines(cam.cut(block).swapaxes(0, 1), reading.answers, cam.levels)
        if cam.noise is not None:
            lines = lines + cam.noise * normal(named(key, "match lines"), lines.shape, lines.dtype)
        return made(key, cam, lines, *arguments)

    if batch > BLOCK:  # the last block begins early instead of being filled up: queries are not copied
        starts = np.append(np.arange(0, batch - BLOCK, BLOCK), batch - BLOCK)
        found = lax.map(lambda n: of(numbered(key, n), lax.dynamic_slice_in_dim(flat, n, BLOCK)), jnp.asarray(starts))
        again = BLOCK * len(starts) - batch
        found = jnp.concatenate([found[:-1].reshape(-1, *found.shape[2:]), found[-1, again:]])
    else:
        found = of(key, flat)
    return found.reshape(*queries.shape[:-1], *found.shape[1:])
