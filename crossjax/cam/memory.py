"""The memory: what a content-addressable memory is, what one chip of it stores, and how its rows are written."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from crossjax._checks import as_array, ensure, is_traced
from crossjax._kinds import door
from crossjax._numerics import at_least_single
from crossjax._pytree import check_choice, check_count, check_range, spec, static, strong
from crossjax._random import named
from crossjax.cam.cells import Cell, Squared


@spec
class CAM:
    """A content-addressable memory. What is None is off.

    Attributes:
        bits: of a cell: it stores one of 2^bits levels, and is asked for one of them.
        cols: cells of a row in one subarray; longer rows are cut into several, each with match lines of its own.
        cell: what a cell answers.
        vote: how subarrays decide: by "majority", each for the row that it finds nearest (the default architecture of
            Liu et al., Sci. Rep. 12, 2022, as CAMASim has it), or by the "sum" of their digitised currents.
        noise: standard deviation of the current of a match line, in one search.
        sensing_limit: match lines of a subarray (their sums, where ``vote`` is "sum") whose currents are within this of
            the lowest one are not told apart: one of them is taken at random. None: the sense amplifier sees every
            difference, and a priority encoder takes the first of equals.
    """

    bits: int = static(default=3)
    cols: int = static(default=64)
    cell: Cell = Squared()
    vote: str = static(default="majority")
    noise: float | None = None
    sensing_limit: float | None = None

    def _check(self) -> None:
        check_count(self, "bits")
        check_count(self, "cols")
        check_choice(self, "vote", ("majority", "sum"))
        check_range(self, "noise", low=0)
        check_range(self, "sensing_limit", low=0)
        if self.bits > 8:
            raise ValueError(f"CAM.bits must be at most 8 (256 levels in a cell), got {self.bits}")
        self.cell.check(self.levels)

    @property
    def levels(self) -> int:
        """Levels of a cell."""
        return 2**self.bits

    @property
    def hardware(self) -> tuple[str, ...]:
        """What a chip of this memory cannot change about itself, in words."""
        return f"{self.bits} bits", f"{self.cols} columns", f"cell {self.cell.kind}"

    def cut(self, x: Array) -> Array:
        """Rows (…, cells) on subarrays: (…, subarrays, cols), filled up with zeros."""
        spare = -x.shape[-1] % self.cols
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spare)])
        return x.reshape(*x.shape[:-1], -1, self.cols)


@spec
class CAMChip:
    """What one chip stores.

    Attributes:
        levels: of every cell, (rows, subarrays, cols).
        drawn: what its last write made of every cell besides, see `Cell.draw`.
        shape: (rows, cells).
        hardware: what of its memory it cannot change, see `CAM.hardware`.
    """

    levels: Array
    drawn: Any
    shape: tuple[int, int] = static()
    hardware: tuple[str, ...] = static()


@spec
class CAMReading:
    """A chip as it answers: currents of all cells for every signal, (signals, subarrays, cols, rows).

    Attributes:
        answers: the currents.
        shape: (rows, cells).
        hardware: see `CAM.hardware`.
    """

    answers: Array
    shape: tuple[int, int] = static()
    hardware: tuple[str, ...] = static()


@door
def write(key: Array, cam: CAM, levels: Array | np.ndarray, *, chip: CAMChip | None = None) -> tuple[CAMChip, Array]:
    """A chip with these levels, and how many cells were written.

    Args:
        key: randomness of the write.
        cam: the hardware.
        levels: (rows, cells), whole numbers from 0 to 2^bits − 1 (traced: floats that were rounded straight-through).
        chip: what stands there already: cells whose level stays are not written, and stay what they are, bit for bit.
            None: all are.

    Raises:
        ValueError: for levels that the cells do not have, no rows or cells, or a chip of another shape.
    """
    levels = check_levels("levels", cam, levels)
    if levels.ndim != 2 or levels.size == 0:
        raise ValueError(f"levels must be (rows, cells), at least 1 each, got shape {levels.shape}")
    if chip is not None:
        check_chip(cam, chip)
        if chip.shape != levels.shape:
            raise ValueError(f"levels {levels.shape} do not fit a chip of {chip.shape} rows and cells")
    return _write(key, strong(cam), levels, chip, (levels.shape[0], levels.shape[1]))


@partial(jax.jit, static_argnums=4)
def _write(key: Array, cam: CAM, levels: Array, chip: CAMChip | None, shape: tuple[int, int]) -> tuple[CAMChip, Array]:
    wanted = cam.cut(levels)
    drawn = cam.cell.draw(named(key, "write"), wanted.shape)
    if chip is None:
        return CAMChip(wanted, drawn, shape, cam.hardware), jnp.asarray(levels.size)
    hit = wanted != chip.levels
    drawn = jax.tree.map(lambda new, old: jnp.where(hit, new, old), drawn, chip.drawn)
    return CAMChip(wanted, drawn, shape, cam.hardware), jnp.sum(hit)


@door
def read(cam: CAM, chip: CAMChip) -> CAMReading:
    """The currents with which all cells answer: worked out once, for any number of searches.

    Threshold voltages keep for ever: retention and read disturb are not modelled.

    Raises:
        ValueError: for a chip of another memory.
    """
    check_chip(cam, chip)
    return _read(strong(cam), chip)


@jax.jit
def _read(cam: CAM, chip: CAMChip) -> CAMReading:
    answers = jnp.moveaxis(cam.cell.answers(chip.levels, chip.drawn, cam.levels), 1, -1)
    spare = answers.shape[1] * cam.cols - chip.shape[1]
    if spare:  # no cells there: no current, whatever the query is
        answers = answers.at[:, -1, cam.cols - spare :].set(0.0)
    return CAMReading(answers, chip.shape, chip.hardware)


def check_chip(cam: CAM, chip: CAMChip | CAMReading) -> None:
    """Raise ``ValueError`` unless a chip, or the reading of one, is one, and of such a memory."""
    found, wanted = (chip.levels, 3) if isinstance(chip, CAMChip) else (chip.answers, 4)
    if found.ndim != wanted:
        raise ValueError(f"a population of chips, arrays of {found.shape}: take jax.vmap over them")
    differs = [f"{a}, the memory {b}" for a, b in zip(chip.hardware, cam.hardware, strict=True) if a != b]
    if differs:
        raise ValueError(f"this chip is of another memory ({'; '.join(differs)}): use the one that it was written with")


def check_levels(name: str, cam: CAM, levels: Array | np.ndarray) -> Array:
    """Levels as floats, or a ``ValueError`` for what no cell has; of traced ones inside `crossjax.checks` only."""
    with jax.ensure_compile_time_eval():  # of what is known, whatever else is traced around it
        values: Array = levels if isinstance(levels, jax.Array) else jnp.asarray(as_array(name, levels))
        values = at_least_single(values)
        known = not is_traced(levels) and bool(_held(values, cam.levels))
    if not known:
        wanted = f"{name} must be whole numbers from 0 to {cam.levels - 1} (a cell of {cam.bits} bits)"
        ensure(lambda a: (a >= 0) & (a < cam.levels) & (a == a // 1), wanted, values)
    return values


@jax.jit
def _held(values: Array, levels: int) -> Array:
    """Whether all are whole numbers below ``levels``, in one pass."""
    return jnp.all((values >= 0) & (values < levels) & (values == jnp.floor(values)))
