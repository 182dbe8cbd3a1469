"""A hybrid synapse of ferroelectric transistors: volatile low bits learn, non-volatile high bits remember.

Kazemi et al., ISCAS 2020 (arXiv:2004.00703). Of the paper the abstract was read: 6 bits on MNIST with a LeNet variant,
98.2 %, 0.4 point below an ideal synapse of the same precision. The split of the bits, the interval of transfers, the
nonlinearity, leak and spread are not in it: the model and its numbers are ours, and what is reported is which split
stays within 0.4 point of the ideal one. Inference uses the high bits alone, after a last transfer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossjax import insitu, nn, report, training
from crossjax._random import named, seeded
from crossjax.papers import in_situ_plots
from crossjax.papers.in_situ import Falling, Trained, load, mean_se, stacked, stage
from crossjax.papers.in_situ_plots import pm
from crossjax.papers.options import Options as CommonOptions
from crossjax.pulsed import LinearStep, Pulsed

BITS, GAP = 6, 0.4
RATE, SCALE = 0.1, 0.5
SLOPE, ASYMMETRY, LEAK, SPREAD = 0.2, 0.05, 1e5, 0.05  # κ, u, τ in examples, σ of a high level, in steps


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        images: of the training set.
        epochs: of every run.
        transfer: T, examples between two transfers.
        seeds: paired runs.
        splits: high bits of six.
        intervals: other T, and
        spreads: other spreads, of the middle split.
    """

    images: int
    epochs: int
    transfer: int
    seeds: int
    splits: tuple[int, ...]
    intervals: tuple[int, ...]
    spreads: tuple[float, ...]


PRESETS = {
    "quick": Preset(10_000, 4, 200, 1, (3, 4, 5), (2000,), (0.5,)),
    "paper": Preset(60_000, 10, 1000, 5, (2, 3, 4, 5), (100, 10_000), (0.0, 0.25, 0.5)),
}


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Kazemi et al. (2020).

    Attributes:
        data: folder with MNIST (default CROSSJAX_DATA).
        images: training images, instead of the preset's number.
        epochs: of every run.
        seeds: paired runs.
        minibatch: images an update.
    """

    data: Path | None = None
    images: int | None = None
    epochs: int | None = None
    seeds: int | None = None
    minibatch: int = 10


def hybrid(high: int, transfer: int, *, spread: float = SPREAD, ideal: bool = False) -> nn.Learning:
    """The synapse: ``high`` bits of levels, the rest of six in a volatile device with head room of two levels.

    ``ideal``: the same bits without nonlinearity, asymmetry, leak and spread.
    """
    low = BITS - high
    steps = 4.0 * 2**low  # ±1 is ±2 high levels, of 2^low steps each
    law = LinearStep(0.0 if ideal else SLOPE, 0.0 if ideal else SLOPE)
    device = Pulsed(
        law, step=2.0 / steps, asymmetry=0.0 if ideal else ASYMMETRY, noise=0.0 if ideal else 0.3,
        lifetime=1e9 if ideal else LEAK,
    )  # fmt: skip
    upper = insitu.Levels(high, noise=0.0 if ideal else spread)
    scheme = insitu.Significance(
        upper, insitu.Single(device), 2.0 ** (high - 1) / 2.0, transfer, False, insitu.Dithered(), "subtract"
    )
    return nn.Learning(scheme, scale=SCALE)


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if MNIST is not there.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    if min(size.images, size.epochs, size.seeds, options.minibatch) < 1:
        raise ValueError("images, epochs, seeds and minibatch must be at least 1")
    data = load(options.data, count=size.images)
    step = training.InSitu(Falling(RATE, size.images * size.epochs), options.minibatch)
    with report.open_run("femfet", options.out, options.inputs(size), force=options.force) as run:
        trained = Trained(lambda rngs: nn.models.LeNet5(rngs=rngs), data, step)

        def measured(name: str, learning: nn.Learning) -> dict[str, Any]:
            report.say(name)

            def compute() -> Mapping[str, np.ndarray]:
                found = trained.runs(named(key, "seeds"), stacked([learning]), size.seeds, size.epochs)
                return {k: 100.0 * v[0] for k, v in found.items()}

            found = stage(run, name, compute)
            return {"both": found["test"][:, -1].tolist(), "high": found["remembered"].tolist()}

        results = {}
        for bits in size.splits:
            results[f"{bits} + {BITS - bits} ideal"] = measured(
                f"{bits} + {BITS - bits} ideal", hybrid(bits, size.transfer, ideal=True)
            )
            results[f"{bits} + {BITS - bits}"] = measured(f"{bits} + {BITS - bits}", hybrid(bits, size.transfer))
        middle = size.splits[len(size.splits) // 2]
        for t in size.intervals:
            results[f"T = {t}"] = measured(f"T = {t}", hybrid(middle, t))
        for s in size.spreads:
            results[f"spread {s:g}"] = measured(f"spread {s:g}", hybrid(middle, size.transfer, spread=s))
        return write(run, results, size, middle)


def write(run: report.Run, results: Mapping[str, Any], size: Preset, middle: int) -> Path:
    """Table, figure and result.json: the split whose high bits lose least against the same split's ideal."""
    run.table(
        f"LeNet-5 on {size.images:,} MNIST images, {size.epochs} epochs, {BITS}-bit synapses (high + low), accuracy, % "
        f"(T = {size.transfer}, spread {SPREAD:g} of a level, unless said; {size.seeds} seeds)",
        ["synapse", "high and low bits", "high bits alone"],
        [[name, pm(r["both"]), pm(r["high"])] for name, r in results.items()],
    )
    means = {name: mean_se(np.asarray(r["high"]))[0] for name, r in results.items()}
    best = {
        b: max(mean_se(np.asarray(results[f"{b} + {BITS - b} ideal"][k]))[0] for k in ("both", "high"))
        for b in size.splits
    }
    ideal = max(best.values())
    gaps = {b: ideal - means[f"{b} + {BITS - b}"] for b in size.splits}
    within = [b for b in size.splits if gaps[b] <= GAP]
    chosen = min(gaps, key=lambda b: gaps[b])
    said = ", ".join(f"{b} + {BITS - b}" for b in within) or "none"
    report.say(f"within {GAP} point of the ideal {BITS}-bit synapse ({ideal:.2f} %): {said}")
    curves = {
        "high bits alone": (size.splits, [results[f"{b} + {BITS - b}"]["high"] for b in size.splits]),
        "both": (size.splits, [results[f"{b} + {BITS - b}"]["both"] for b in size.splits]),
        "ideal, both": (size.splits, [results[f"{b} + {BITS - b} ideal"]["both"] for b in size.splits]),
    }
    in_situ_plots.sweep_of(
        run, "splits", "high bits of six", curves,
        "Test accuracy of LeNet-5 by how many of six bits are digital, with standard errors over seeds; dotted what "
        "counts as equal to the ideal six-bit synapse.",
        ideal - GAP,
    )  # fmt: skip
    kinds = {"high and low bits": "both", "high bits alone": "high"}
    run.csv(
        "accuracy",
        {"synapse": list(results)} | report.columns({n: [r[k] for r in results.values()] for n, k in kinds.items()}),
    )
    figures = [
        report.figure("accuracy_hybrid", means[f"{chosen} + {BITS - chosen}"], unit="%"),
        report.figure("accuracy_ideal_6bit", ideal, unit="%"),
        report.figure("high_bits", chosen),
        report.figure("gap", gaps[chosen], paper=GAP, unit="points"),
    ]
    return run.finish(
        figures,
        "LeNet-5 was trained on hybrid synapses of six bits, the high ones digital, the low ones the state of a "
        "device. The best split, {high_bits:.0f} high bits, has {accuracy_hybrid:.2f} %, {gap:.2f} points below the "
        "ideal six-bit synapse.",
        results=dict(results),
        within=within,
        middle=middle,
    )
