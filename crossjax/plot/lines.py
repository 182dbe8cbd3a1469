"""What wires do: voltages along the lines, and how much of every device the sense nodes still see."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossjax.circuits.network import Solution
from crossjax.plot import style


def line_voltages(solution: Solution, *, axes: Any = None) -> list[Any]:
    """Voltage of every word line and bit line at every device, as two maps.

    Args:
        solution: of `crossjax.wires.solve`, of one input vector.
        axes: two axes; default: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: for a batch of inputs, or another number of axes.
    """
    if np.ndim(solution.word) != 2:
        raise ValueError(f"line_voltages shows one input vector, got voltages of shape {np.shape(solution.word)}")
    drawn = style.given(axes, 2)
    for axis, values, title in zip(drawn, (solution.word, solution.bit), ("Word lines", "Bit lines"), strict=True):
        style.image(axis, values, "V")
        axis.set_title(title)
    return drawn


def ir_drop(g: Any, effective: Any, *, axes: Any = None) -> Any:
    """Share of every device's current that the lines take away, 1 − G_eff / G, as a map.

    Args:
        g: conductances (M, N), µS; devices of 0 are grey.
        effective: `crossjax.wires.effective_conductance` of them.
        axes: where to draw; default: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: for two shapes, or something that is no matrix.
    """
    g, effective = np.asarray(g, float), np.asarray(effective, float)
    if g.ndim != 2 or g.shape != effective.shape:
        raise ValueError(f"g and effective must be matrices of one shape, got {g.shape} and {effective.shape}")
    (axis,) = style.given(axes, 1)
    lost = np.divide(g - effective, g, out=np.full_like(g, np.nan), where=g > 0)
    style.image(axis, 100 * lost, "% of the current lost")
    axis.set_title(f"IR drop: {100 * np.nanmean(lost):.3g} % on average, {100 * np.nanmax(lost):.3g} % at worst")
    return axis
