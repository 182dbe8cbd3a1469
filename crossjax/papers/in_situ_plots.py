"""Tables and figures of the papers on training on the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossjax import plot, report
from crossjax.papers.in_situ import mean_se
from crossjax.plot.style import given

BLUE, ORANGE, GREY, GREEN = plot.BLUE, plot.ORANGE, plot.GREY, plot.GREEN
LABELS = {
    "software": "software", "ideal": "ideal devices", "single_pair": "a saturating pair alone",
    "msp_lsp": "MSP/LSP of the same pairs",
}  # fmt: skip


def pm(values: Any) -> str:
    """'93.05 ± 0.12', mean and standard error of paired runs, in %."""
    mean, error = mean_se(np.asarray(values))
    return f"{mean:.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")


def with_errors(axis: Any, x: Sequence[float], runs: Any, **style: Any) -> None:
    """Means of runs (values, seeds) with their standard errors."""
    runs = np.asarray(runs, float)
    error = runs.std(1, ddof=1) / runs.shape[1] ** 0.5 if runs.shape[1] > 1 else None
    axis.errorbar(x, runs.mean(1), error, capsize=2, marker="o", ms=3, **style)


def cristiano(
    run: report.Run,
    references: Mapping[str, Any],
    asymmetry: Mapping[str, Any],
    sweeps: Mapping[str, Any],
    tuned: Mapping[str, Any],
    size: Any,
) -> None:
    """Everything of cristiano2018."""
    _cristiano_tables(run, references, asymmetry, sweeps, size)
    if tuned:
        run.table("Closed-loop tuning of the MSP: accuracy, %", ["", "test"], [[n, pm(a)] for n, a in tuned.items()])
    _cristiano_figure(run, references, asymmetry, sweeps)
    if sweeps:
        each = [mean_se(np.asarray(a)) for s in sweeps.values() for a in s["accuracy"]]
        run.csv(
            "sweeps",
            {
                "part and knob": [n for n, s in sweeps.items() for _ in s["values"]],
                "value": [v for s in sweeps.values() for v in s["values"]],
                "accuracy": [mean for mean, _ in each], "standard error": [error for _, error in each],
            },
        )  # fmt: skip


def _cristiano_tables(
    run: report.Run, references: Mapping[str, Any], asymmetry: Mapping[str, Any], sweeps: Mapping[str, Any], size: Any
) -> None:
    software = np.asarray(references["software"]["test"])[:, -1]
    rows = []
    for name, found in references.items():
        test = np.asarray(found["test"])[:, -1]
        spent = ", ".join(
            f"{kind.removeprefix('pulses ')} {np.asarray(v)[:, 0].mean():.3g} (at most {np.asarray(v)[:, 1].max():.3g})"
            for kind, v in found.items() if kind.startswith("pulses")
        )  # fmt: skip
        rows.append([LABELS[name], pm(np.asarray(found["train"])[:, -1]), pm(test), pm(test - software), spent])
    run.table(
        f"Accuracy after {size.epochs} epochs of {size.images:,} images, %, {len(software)} paired seeds "
        f"(± standard error); T = {size.transfer:,}",
        ["network", "while learning", "test", "against software", "pulses a device, mean"], rows,
    )  # fmt: skip
    values = asymmetry["values"]
    run.table(
        "Asymmetric LSP steps: accuracy, %",
        ["", *(f"{100 * v:.0f} %" for v in values)],
        [[name, *map(pm, found)] for name, found in asymmetry.items() if name != "values"],
    )
    if sweeps:
        run.table(
            "What devices may be: a drop of 1 point",
            ["part and knob", "values", "accuracy, %", "tolerable"],
            [
                [name, " ".join(f"{v:.2g}" for v in s["values"]), "  ".join(pm(a) for a in s["accuracy"]),
                 "beyond the sweep" if s["tolerable"] is None else f"{s['tolerable']:.2g}"]
                for name, s in sweeps.items()
            ],
        )  # fmt: skip


def _cristiano_figure(
    run: report.Run, references: Mapping[str, Any], asymmetry: Mapping[str, Any], sweeps: Mapping[str, Any]
) -> None:
    values, knobs = asymmetry["values"], list(dict.fromkeys(name.split(" ", 1)[1] for name in sweeps))
    axes = given(None, 2 + len(knobs))
    for (name, found), colour in zip(references.items(), (GREY, BLUE, ORANGE, GREEN), strict=True):
        runs = np.asarray(found["test"])
        plot.band(axes[0], np.arange(1, runs.shape[1] + 1), runs, color=colour, label=LABELS[name])
    axes[0].set(xlabel="epoch", ylabel="test accuracy, %", title="Reference runs")
    axes[0].legend(fontsize=8)
    for name, found in asymmetry.items():
        if name != "values":
            style = {"color": BLUE if name.startswith("fixed") else ORANGE, "ls": "--" if " not " in name else "-"}
            with_errors(axes[1], [100 * v for v in values], found, label=name, **style)
    axes[1].set(xlabel="asymmetry of LSP steps, %", title="Polarity inversion")
    axes[1].legend(fontsize=8)
    for k, knob in enumerate(knobs):
        for part, colour in (("lsp", BLUE), ("msp", ORANGE)):
            sweep = sweeps[f"{part} {knob}"]
            with_errors(axes[2 + k], sweep["values"], sweep["accuracy"], color=colour, label=part.upper())
        axes[2 + k].set(xlabel=sweeps[f"lsp {knob}"]["what"], title=knob.replace("_", " ").capitalize())
        axes[2 + k].legend(fontsize=8)
    run.plot(
        "accuracy", axes[0].figure,
        "Test accuracy: by epoch, bands of one standard deviation over seeds; and against what the devices do, with "
        "standard errors over paired seeds. Software is the digital network, trained alike.",
    )  # fmt: skip


def sweep_of(
    run: report.Run,
    name: str,
    xlabel: str,
    curves: Mapping[str, tuple[Sequence[float], Any]],
    caption: str,
    level: float | None = None,
) -> None:
    """Accuracy against one number, a curve by label (values, runs), and a level to reach."""
    figure, (axis,) = plot.new(1)
    for (label, (x, runs)), colour in zip(curves.items(), (BLUE, ORANGE, GREEN, GREY), strict=False):
        with_errors(axis, x, runs, color=colour, label=label)
    if level is not None:
        axis.axhline(level, color=GREY, ls=":", lw=1)
    axis.set(xlabel=xlabel, ylabel="test accuracy, %")
    axis.legend(fontsize=8)
    run.plot(name, figure, caption)


def epochs_of(run: report.Run, name: str, curves: Mapping[str, Any], title: str) -> None:
    """Accuracy (seeds, epochs) by label."""
    figure, (axis,) = plot.new(1)
    for (label, runs), colour in zip(curves.items(), (GREY, BLUE, ORANGE, GREEN), strict=False):
        runs = np.asarray(runs, float)
        plot.band(axis, np.arange(1, runs.shape[1] + 1), runs, color=colour, label=label)
    axis.set(xlabel="epoch", ylabel="test accuracy, %", title=title)
    axis.legend(fontsize=8)
    caption = (
        f"Test accuracy of {title} after every epoch; bands of one standard deviation over seeds. Software is digital."
    )
    run.plot(name, figure, caption)
