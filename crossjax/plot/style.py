"""How all plots look: colours that everybody tells apart, axes without boxes, times as people say them."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from cycler import cycler

# Okabe and Ito's palette: told apart with every kind of colour vision, and by lightness in print
BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#4d4d4d",
)  # fmt: skip
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, GREY)
COLOURS = {"one-shot": GREY, "iterative": ORANGE, "row-wise": GREEN, "gdp": BLUE}  # a method keeps its colour
LABELS = {"one-shot": "one shot", "iterative": "iterative", "row-wise": "row-wise", "gdp": "GDP"}
SEQUENTIAL, DIVERGING = "cividis", "PuOr"
SPANS = {60.0: "1 min", 3600.0: "1 h", 86400.0: "1 d", 30 * 86400.0: "30 d", 365 * 86400.0: "1 y"}


def new(columns: int = 1, width: float = 4.6, height: float = 3.4, rows: int = 1) -> tuple[Any, Any]:
    """A figure with axes in rows (all of them in one list), drawn without a display."""
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({
        "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "axes.prop_cycle": cycler(color=CYCLE),
    })  # fmt: skip
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def given(axes: Any, count: int) -> list[Any]:
    """The axes that a user brought, or new ones.

    Raises:
        ValueError: for another number of axes.
    """
    if axes is None:
        columns = 2 if count == 4 else min(count, 3)
        made = list(new(columns, width=4.2, height=3.2, rows=-(-count // columns))[1])
        for spare in made[count:]:
            spare.remove()
        return made[:count]
    found = list(np.ravel(axes))
    if len(found) != count:
        raise ValueError(f"this plot takes {count} axes, got {len(found)}")
    return found


def image(axis: Any, values: Any, label: str, *, centred: bool = False) -> None:
    """A matrix as a map with a colour bar; rows from the top, and what is not finite in grey; ``centred`` around 0."""
    values = np.asarray(values, float)
    finite = np.abs(values[np.isfinite(values)])
    limit = float(np.percentile(finite, 99.5)) if finite.size else 1.0
    span = {"vmin": -(limit or 1.0), "vmax": limit or 1.0} if centred else {}
    colours = matplotlib.colormaps[DIVERGING if centred else SEQUENTIAL].with_extremes(bad="#bbbbbb")
    drawn = axis.imshow(values, cmap=colours, interpolation="nearest", aspect="auto", **span)
    axis.figure.colorbar(drawn, ax=axis, label=label, extend="both" if centred else "neither")
    axis.set(xlabel="bit line", ylabel="word line")


def band(axis: Any, x: Any, runs: Any, **style: Any) -> None:
    """Mean over the first axis, with one standard deviation as a band."""
    runs = np.asarray(runs, float)
    mean, sd = runs.mean(axis=0), runs.std(axis=0, ddof=int(len(runs) > 1))
    (line,) = axis.plot(x, mean, **style)
    axis.fill_between(x, mean - sd, mean + sd, color=line.get_color(), alpha=0.2, lw=0)


def time_axis(axis: Any, times: Any) -> None:
    """Logarithmic seconds, labelled as people say them."""
    axis.set_xscale("log")
    ticks = [t for t in SPANS if min(times) <= t * 1.01 and t <= max(times) * 1.01]
    ticks = ticks or [float(t) for t in sorted({min(times), max(times)})]
    axis.set_xticks(ticks, [SPANS.get(t, span(t)) for t in ticks])
    axis.minorticks_off()
    axis.set_xlabel("time after the first read")


def span(seconds: float) -> str:
    """25 → "25 s", 86400 → "1 d"."""
    for unit, size in (("y", 365 * 86400.0), ("d", 86400.0), ("h", 3600.0)):
        if seconds >= size and abs(seconds / size - round(seconds / size)) < 1e-6:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds:g} s"
