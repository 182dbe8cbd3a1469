"""Plots of devices, chips, converters, lines, strategies, runs and sweeps: axes in, axes out.

    cx.plot.device(cx.devices.pcm())
    cx.plot.chip(tile, chip, weights)

Every function draws on the ``axes`` that it is given, or on a new figure, and returns them; nothing needs a display.
"""

from crossjax.plot.chips import adc_use, chip
from crossjax.plot.devices import device, strategy
from crossjax.plot.lines import ir_drop, line_voltages
from crossjax.plot.runs import history, over_time, population, programming, sweep
from crossjax.plot.style import (
    BLUE,
    COLOURS,
    CYCLE,
    GREEN,
    GREY,
    LABELS,
    ORANGE,
    PURPLE,
    SPANS,
    band,
    new,
    span,
    time_axis,
)

__all__ = [
    "BLUE", "COLOURS", "CYCLE", "GREEN", "GREY", "LABELS", "ORANGE", "PURPLE", "SPANS", "adc_use", "band", "chip",
    "device", "history", "ir_drop", "line_voltages", "new", "over_time", "population", "programming", "span",
    "strategy", "sweep", "time_axis",
]  # fmt: skip
