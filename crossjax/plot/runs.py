"""What happened: while chips were programmed, over time, over a sweep; on data already computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossjax.plot import style
from crossjax.plot.style import COLOURS, LABELS


def history(history: Any, *, axes: Any = None, label: str | None = None) -> Any:
    """MVM and weight error of a `crossjax.History` by iteration; of a population with one standard deviation.

    Args:
        history: of one chip, arrays (iterations,), or of many, (chips, iterations).
        axes: where to draw; default: a new figure.
        label: before "MVM error" and "weight error".

    Returns:
        The axes.
    """
    (axis,) = style.given(axes, 1)
    for what in ("mvm_error", "weight_error"):
        runs = np.atleast_2d(np.asarray(getattr(history, what), float))
        name = " ".join(filter(None, (label, what.replace("_", " ").replace("mvm", "MVM"))))
        if np.isfinite(runs).any():
            style.band(axis, np.arange(1, runs.shape[1] + 1), runs, label=name)
    axis.set(xlabel="iteration", ylabel="relative error", yscale="log", title="While programming")
    axis.legend()
    return axis


def population(
    times: Sequence[float], runs: Any, *, axes: Any = None, label: str | None = None, band: str = "quantiles",
    ylabel: str = "",
) -> Any:  # fmt: skip
    """A figure of many chips over time: median with the central 68 and 95 %, or mean with one standard deviation.

    Args:
        times: seconds after the first read, (times,); 0 is drawn at 1 s.
        runs: one figure of every chip, (chips, times).
        axes: where to draw; default: a new figure.
        label: of the curve.
        band: "quantiles" or "sd".
        ylabel: what the figure is.

    Returns:
        The axes.

    Raises:
        ValueError: for runs of another shape, or another band.
    """
    runs, when = np.asarray(runs, float), np.maximum(np.asarray(times, float), 1.0)
    if runs.ndim != 2 or runs.shape[1] != len(when):
        raise ValueError(f"runs must be (chips, times) with {len(when)} times, got shape {runs.shape}")
    (axis,) = style.given(axes, 1)
    if band == "sd":
        style.band(axis, when.tolist(), runs, label=label)
    elif band == "quantiles":
        levels = np.percentile(runs, (2.5, 16, 50, 84, 97.5), axis=0)
        (line,) = axis.plot(when, levels[2], label=label)
        for low, high in ((0, 4), (1, 3)):
            axis.fill_between(when, levels[low], levels[high], color=line.get_color(), alpha=0.15, lw=0)
    else:
        raise ValueError(f'band must be "quantiles" or "sd", got {band!r}')
    style.time_axis(axis, when.tolist())
    axis.set(ylabel=ylabel)
    if label is not None:
        axis.legend()
    return axis


def sweep(values: Any, results: Any, *, axes: Any = None, names: Sequence[str] = ("",), ylabel: str = "") -> Any:
    """A figure over one number of the hardware as a curve, or over two as a map.

    Args:
        values: of the knob, (n,); of two knobs a pair of them, (n,) and (m,).
        results: (n,), or (seeds, n) for a band of one standard deviation; of two knobs (n, m).
        axes: where to draw; default: a new figure.
        names: of the knobs.
        ylabel: what the figure is.

    Returns:
        The axes.

    Raises:
        ValueError: for results of another shape.
    """
    (axis,) = style.given(axes, 1)
    results = np.asarray(results, float)
    if isinstance(values, tuple) and len(values) == 2 and all(np.ndim(v) == 1 for v in values):
        a, b = (np.asarray(v, float) for v in values)
        if results.shape != (len(a), len(b)):
            raise ValueError(f"results must have the shape of the two knobs, {(len(a), len(b))}; got {results.shape}")
        drawn = axis.pcolormesh(b, a, results, cmap=style.SEQUENTIAL, shading="nearest")
        axis.figure.colorbar(drawn, ax=axis, label=ylabel)
        axis.set(xlabel=names[-1], ylabel=names[0])
        return axis
    x, runs = np.asarray(values, float), np.atleast_2d(results)
    if x.ndim != 1 or runs.shape[-1] != len(x):
        raise ValueError(f"results must end in the {x.size} values of the knob, got shape {results.shape}")
    style.band(axis, x.tolist(), runs, marker="o", ms=3)
    axis.set(xlabel=names[0], ylabel=ylabel)
    return axis


def programming(histories: Mapping[str, Any], *, axes: Any = None) -> Any:
    """MVM error against iterations of every method by name; arrays (chips, iterations)."""
    (axis,) = style.given(axes, 1)
    for name, errors in histories.items():
        errors, how = np.asarray(errors, float), {"color": COLOURS.get(name), "label": LABELS.get(name, name)}
        if errors.shape[1] == 1:
            axis.axhline(errors.mean(), ls=":", **how)
        else:
            style.band(axis, np.arange(1, errors.shape[1] + 1), errors, **how)
    axis.set(xlabel="iteration", ylabel="MVM error", yscale="log", title="While programming")
    axis.legend()
    return axis


def over_time(
    times: Sequence[float], curves: Mapping[str, Any], ylabel: str = "", title: str = "", *, axes: Any = None
) -> Any:
    """Curves (chips, times) by label, what a label says after a comma dashed; a method has its own colour."""
    (axis,) = style.given(axes, 1)
    colours = {label: COLOURS[name] for name, label in LABELS.items()}
    for label, runs in curves.items():
        whose, comma, _ = label.partition(",")
        style.band(axis, times, runs, color=colours.get(whose), ls="--" if comma else "-", label=label)
    style.time_axis(axis, times)
    axis.set(ylabel=ylabel, title=title)
    axis.legend()
    return axis
