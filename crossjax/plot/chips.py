"""A chip at a glance: what its devices hold, where its weights are wrong, what its converters see."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from crossjax.plot import style
from crossjax.tiles import Chip, Tile, adc_inputs, weights_at
from crossjax.tiles.tile import check_chip

CAPTION = (
    "A chip: conductance of the first device of every weight; the distribution of all devices; error of the weights as "
    "a fraction of the largest one, where it is and how it is distributed."
)


def chip(
    tile: Tile, chip: Chip, weights: Any = None, t: float = 0.0, *, axes: Any = None, key: Any = None
) -> list[Any]:
    """Conductance map and histogram of a chip; with its weights also the map and the histogram of their errors.

    Args:
        tile: the hardware.
        chip: one chip (of a population: ``jax.tree.map(lambda a: a[0], chips)``).
        weights: the matrix that it should hold, (rows, cols); None: no errors.
        t: seconds after the first read at which the weights are looked at.
        axes: four axes (two without weights); default: a new figure.
        key: of the reading; default `jax.random.key(0)`.

    Returns:
        The axes.

    Raises:
        ValueError: for another number of axes, a population, a chip of another tile, or weights of another shape.
    """
    check_chip(tile, chip)
    if weights is not None and np.shape(weights) != chip.shape:
        raise ValueError(f"the chip holds a matrix of shape {chip.shape}, and weights have {np.shape(weights)}")
    drawn = style.given(axes, 2 if weights is None else 4)
    grid = tile.grid(chip.shape)
    g = np.asarray(chip.cells.g, float)
    lying = np.asarray(grid.join(chip.cells.g[0][..., : grid.c]))
    style.image(drawn[0], lying, "µS")
    stuck = chip.cells.stuck
    faults = 0 if stuck is None else int(np.sum(np.asarray(stuck.mask)))
    drawn[0].set_title("First device of every weight")
    drawn[1].hist(g.ravel(), bins=80, color=style.BLUE)
    note = f"{faults} of {g.size} devices stuck" if stuck is not None else f"{g.size} devices"
    drawn[1].set(xlabel="conductance (µS)", ylabel="devices", yscale="log", title=f"All devices ({note})")
    if weights is not None:
        found = weights_at(jax.random.key(0) if key is None else key, tile, chip, t)
        full = float(np.max(np.abs(np.asarray(weights)))) or 1.0
        error = (np.asarray(found, float) - np.asarray(weights, float)) / full
        style.image(drawn[2], error, "error / largest weight", centred=True)
        drawn[2].set_title(f"Weight error at {style.span(t)}")
        drawn[3].hist(error.ravel(), bins=80, color=style.ORANGE)
        drawn[3].set(xlabel="error / largest weight", ylabel="weights", title=f"σ = {error.std():.4f}")
    return drawn


def adc_use(tile: Tile, chip: Chip, x: Any, t: float = 0.0, *, axes: Any = None, key: Any = None) -> Any:
    """Histogram of what a chip's ADCs are given, with their range: which levels are used, what saturates.

    Args:
        tile: the hardware, with an ADC.
        chip: one chip.
        x: inputs, (…, rows).
        t: seconds after the first read.
        axes: where to draw; default: a new figure.
        key: of the MVM's noise; default `jax.random.key(0)`.

    Returns:
        The axes.

    Raises:
        ValueError: for a tile without an ADC, inputs or a chip that do not fit it.
    """
    if tile.adc is None:
        raise ValueError("this tile has no ADC: Tile.adc is None")
    (axis,) = style.given(axes, 1)
    seen = np.asarray(adc_inputs(jax.random.key(0) if key is None else key, tile, chip, x, t), float)
    full, step = float(tile.adc.range), float(tile.adc.step)
    beyond = float(np.mean(np.abs(seen) > full))
    edge = max(full, float(np.abs(seen).max(initial=0.0))) * 1.05
    axis.hist(seen, bins=np.linspace(-edge, edge, 121).tolist(), color=style.BLUE)
    for end in (-full, full):
        axis.axvline(end, color=style.ORANGE, ls="--", lw=1)
    title = f"{100 * beyond:.2g} % saturate"
    if step > 0:
        inside = np.clip(seen, -full, full)
        used = len(np.unique(np.round((inside + full) / step)))
        title += f", {used} of {tile.adc.steps} levels used"
    axis.set(xlabel="input of the ADC (full inputs on full weights)", ylabel="conversions", yscale="log", title=title)
    return axis
