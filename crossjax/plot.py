"""Plots of what a chip did: while it was programmed, and over time; on data already computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

COLOURS = {"one-shot": "#8c8c8c", "iterative": "#d1752a", "row-wise": "#4f8f4f", "gdp": "#1f6fb4"}
LABELS = {"one-shot": "one shot", "iterative": "iterative", "row-wise": "row-wise", "gdp": "GDP"}
SPANS = {60.0: "1 min", 3600.0: "1 h", 86400.0: "1 d", 30 * 86400.0: "30 d", 365 * 86400.0: "1 y"}


def new(columns: int = 1, width: float = 4.6, height: float = 3.4) -> tuple[Any, Any]:
    """A figure with a row of axes, drawn without a display."""
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def band(axis: Any, x: Sequence[float], runs: Any, **style: Any) -> None:
    """Mean over the first axis, with one standard deviation as a band."""
    runs = np.asarray(runs, float)
    mean, sd = runs.mean(axis=0), runs.std(axis=0)
    (line,) = axis.plot(x, mean, **style)
    axis.fill_between(x, mean - sd, mean + sd, color=line.get_color(), alpha=0.2, lw=0)


def time_axis(axis: Any, times: Sequence[float]) -> None:
    """Logarithmic seconds, labelled as people say them."""
    axis.set_xscale("log")
    ticks = [t for t in SPANS if min(times) <= t * 1.01 and t <= max(times) * 1.01]
    axis.set_xticks(ticks, [SPANS[t] for t in ticks])
    axis.minorticks_off()
    axis.set_xlabel("time after the first read")


def span(seconds: float) -> str:
    """25 → "25 s", 86400 → "1 d"."""
    for unit, size in (("y", 365 * 86400.0), ("d", 86400.0), ("h", 3600.0)):
        if seconds >= size and abs(seconds / size - round(seconds / size)) < 1e-6:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds:g} s"


def strategy(axis: Any, cell: Any) -> None:
    """Normalised conductances of a `crossjax.Strategy` over the weight, negative ones mirrored."""
    w = np.linspace(-1.0, 1.0, 401)
    x = np.asarray(cell.encode(w))
    names = [f"{pair}{sign}" for pair in ("GgabcdeHIJK"[: len(cell.factors)]) for sign in "⁺⁻"]
    for row, name, colour in zip(
        x, names, ("#1f6fb4", "#8bb8de", "#d1752a", "#ecb991", *["#777777"] * 20), strict=False
    ):
        axis.plot(w, row, color=colour, label=name)
    factors = ", ".join(f"{float(f):g}" for f in cell.factors)
    axis.set(xlabel="weight / largest weight", ylabel="(G − g_min) / (g_max − g_min)", title=f"Factors {factors}")
    axis.legend(fontsize=8)


def programming(axis: Any, histories: Mapping[str, Any]) -> None:
    """MVM error against iterations of every method; arrays (chips, iterations)."""
    for name, errors in histories.items():
        errors, style = np.asarray(errors, float), {"color": COLOURS.get(name), "label": LABELS.get(name, name)}
        if errors.shape[1] == 1:
            axis.axhline(errors.mean(), ls=":", **style)
        else:
            band(axis, np.arange(1, errors.shape[1] + 1), errors, **style)
    axis.set(xlabel="iteration", ylabel="MVM error", yscale="log", title="While programming")
    axis.legend()


def over_time(axis: Any, times: Sequence[float], curves: Mapping[str, Any], ylabel: str, title: str) -> None:
    """Curves (chips, times) by label, what a label says after a comma dashed; a method has its own colour."""
    colours = {label: COLOURS[name] for name, label in LABELS.items()}
    for label, runs in curves.items():
        whose, comma, _ = label.partition(",")
        band(axis, times, runs, color=colours.get(whose), ls="--" if comma else "-", label=label)
    time_axis(axis, times)
    axis.set(ylabel=ylabel, title=title)
    axis.legend()
