"""Figures of simba: accuracy against each stochastic effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crossjax import plot, report

LABELS = {
    "write errors": "probability per weight", "read errors": "probability per product",
    "comparator noise": "standard deviation, in products",
}  # fmt: skip


def sweeps(run: report.Run, found: Mapping[str, Any], digital: float) -> None:
    """A panel an effect: as programmed and after AdaBS, mean and standard deviation over chips."""
    figure, axes = plot.new(len(found), width=3.8)
    for axis, (effect, s) in zip(axes, found.items(), strict=True):
        x = np.array(s["values"][1:])
        for kind, colour, label in (("plain", plot.ORANGE, "as programmed"), ("adabs", plot.BLUE, "after AdaBS")):
            mean, sd = (np.array([f(a) for a in s[kind][1:]]) for f in (np.mean, np.std))
            axis.plot(x, mean, "o-", ms=3, color=colour, label=label)
            axis.fill_between(x, mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)
        axis.axhline(digital, color="k", ls=":", lw=0.8, label="digital")
        axis.set(xscale="log", xlabel=LABELS[effect.split(",")[0]], ylabel="accuracy, %", title=effect)
        axis.set_xticks(x, [f"{v:g}" for v in x])
        axis.minorticks_off()
    axes[0].legend(loc="lower left")
    run.plot(
        "accuracy", figure,
        "Accuracy against each stochastic effect alone, as programmed and after batch norms were measured again on the "
        "chip (AdaBS); bands over chips, dotted the digital binary network.",
    )  # fmt: skip
