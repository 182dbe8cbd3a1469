"""Networks on chips of every strategy, over time: table, CSV and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossjax import plot, report

COLOURS = {"msp": plot.GREY, "equal": plot.ORANGE, "optimised": plot.BLUE}
LABELS = {"msp": "MSP only, F = 1", "equal": "equal, F = 1", "optimised": "optimised"}


def paired(rows: Mapping[str, Any], better: str, worse: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean difference of two strategies on the same chips (times,), and its standard error."""
    difference = np.asarray(rows[better]) - np.asarray(rows[worse])
    return difference.mean(axis=0), difference.std(axis=0, ddof=1) / len(difference) ** 0.5


def network(run: report.Run, name: str, results: Mapping[str, Any], times: Sequence[float]) -> None:
    """What one network loses, by training and strategy."""
    percent = results["figure"] == "accuracy"
    unit, scale = ("accuracy, %", 100.0) if percent else ("loss, nats a word", 1.0)
    rows = {case: scale * np.asarray(r) for case, r in results["chips"].items()}
    trainings = list(results["digital"])
    table = []
    for case, r in rows.items():
        training, _, strategy = case.rpartition(" ")
        cells = [report.mean_sd(r[:, k], 2 if percent else 3) for k in range(len(times))]
        if strategy == "msp":
            cells.append("")
        else:
            mean, error = paired(rows, case, f"{training} {'msp' if strategy == 'equal' else 'equal'}")
            cells.append(f"{mean[-1]:+.3f} ± {error[-1]:.3f}")
        table.append([training, LABELS[strategy], *cells])
    run.table(
        f"{name}: {unit}, {len(next(iter(rows.values())))} chips; FP32 "
        + ", ".join(f"{t} {scale * results['digital'][t]:.3f}" for t in trainings),
        ["training", "strategy", *map(plot.span, times), "against the one above it, last time (± standard error)"],
        table,
    )
    run.csv(
        name,
        {
            "case": [c for c, r in rows.items() for _ in range(r.size)],
            "chip": [n for r in rows.values() for n in range(len(r)) for _ in times],
            "seconds": [t for r in rows.values() for _ in r for t in times],
            results["figure"]: [v for r in rows.values() for v in r.ravel()],
        },
    )
    figure, axes = plot.new(len(trainings))
    for axis, training in zip(axes, trainings, strict=True):
        for strategy, colour in COLOURS.items():
            plot.band(
                axis, times, rows[f"{training} {strategy}"], color=colour, label=LABELS[strategy], marker="o", ms=3
            )
        axis.axhline(scale * results["digital"]["conventional"], color="k", ls="--", lw=0.8, label="conventional FP32")
        plot.time_axis(axis, times)
        axis.set(ylabel=unit, title=f"{name}, {training}")
        axis.legend(fontsize=8)
    run.plot(
        name, figure,
        f"{name} on chips over time by strategy, one panel a training; bands over chips, dashed the digital network.",
    )  # fmt: skip
