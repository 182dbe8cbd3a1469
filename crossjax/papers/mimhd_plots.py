"""Figures of mimhd: accuracies, spread of threshold voltages, and what a cell answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crossjax import cam, plot, report

COLOURS = {"float": plot.GREY, "1bit": plot.ORANGE, "2bit": plot.GREEN, "3bit": plot.BLUE}


def accuracies(run: report.Run, found: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Every data set by resolution: retrained as bars, means of the classes as marks."""
    figure, (axis,) = plot.new(1, width=8.0)
    width = 0.8 / len(columns)
    for k, c in enumerate(columns):
        at = np.arange(len(found)) + (k - (len(columns) - 1) / 2) * width
        label = c.replace("bit", " bit" if c == "1bit" else " bits")
        axis.bar(
            at, [r[f"{c} retrained"] for r in found.values()], width, color=COLOURS[c], label=f"{label}, retrained"
        )
        axis.plot(
            at, [r[f"{c} plain"] for r in found.values()], "k_", ms=8, label="means of classes" if k == 0 else None
        )
    axis.set_xticks(range(len(found)), list(found))
    axis.set(
        ylabel="accuracy, %", ylim=(50, 100), title="Hyperdimensional classifiers in FeFET memories, without spread"
    )
    axis.legend(fontsize=8, ncol=len(columns) + 1, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    run.plot(
        "accuracy", figure,
        "Test accuracy of every data set by resolution of the memory: class vectors retrained (bars), and as sums of "
        "their examples (marks). Float is the digital classifier.",
    )  # fmt: skip


def spreads(run: report.Run, spread: Mapping[str, Any], values: Sequence[float]) -> None:
    """Accuracy against the spread of V_th: a panel a data set, a colour a D, dashed without the hardware."""
    figure, axes = plot.new(len(spread))
    for axis, (name, by_size) in zip(axes, spread.items(), strict=True):
        for colour, (d, r) in zip(
            (plot.ORANGE, plot.GREEN, plot.BLUE, plot.GREY, plot.PURPLE), by_size.items(), strict=False
        ):
            mean, sd = (np.array([f(a) for a in r["aware"]]) for f in (np.mean, np.std))
            axis.plot(values, mean, color=colour, label=f"D = {int(d):,}, on the chips")
            axis.fill_between(values, mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)
            axis.plot(values, [np.mean(a) for a in r["blind"]], color=colour, ls="--")
        axis.set(xlabel="σ of V_th / spacing of 3-bit levels", ylabel="accuracy, %", title=name)
        axis.plot([], [], "k--", label="retrained without the hardware")
        axis.legend(fontsize=7)
    run.plot(
        "spread", figure,
        "Accuracy against the spread of threshold voltages, by number of components D: retrained on the chips that are "
        "searched (bands over chips), and dashed without any knowledge of them.",
    )  # fmt: skip


def cell(run: report.Run, memory: cam.CAM) -> None:
    """Current of a cell against the level of the query, for every stored level, with what the spread makes of it."""
    figure, (axis,) = plot.new(1)
    levels = jnp.arange(memory.levels, dtype=float)
    many = jnp.broadcast_to(levels[:, None], (memory.levels, 200))
    drawn = memory.cell.draw(jax.random.key(0), many.shape)
    answers = np.asarray(memory.cell.answers(many, drawn, memory.levels))  # (query, stored, draws)
    for s in range(0, memory.levels, 2):
        low, middle, high = np.quantile(answers[:, s], (0.1, 0.5, 0.9), axis=1)
        (line,) = axis.semilogy(range(memory.levels), middle, "o-", ms=3, label=f"stores {s}")
        axis.fill_between(range(memory.levels), low, high, color=line.get_color(), alpha=0.2, lw=0)
    axis.set(
        xlabel="level of the query", ylabel="current of a cell, µA", title="A cell of two FeFETs: 10 to 90 % of cells"
    )
    axis.legend(fontsize=8)
    run.plot(
        "cell", figure,
        "Current of a cell against the level that is asked for, a line a stored level: median of 200 cells, and as a "
        "band their central 80 %. The minimum is a match.",
    )  # fmt: skip
