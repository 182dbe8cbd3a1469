"""Mixed-precision training on phase-change memory: updates add up digitally, pulses are sent when there is one to send.

Nandakumar et al., Front. Neurosci. 14:406 (2020). Of the paper the abstract was read: 97.73 % on MNIST with a network
of 198,760 weights, 784-250-10. ε, rates, batch, epochs and the model of the pulses (aihwkit's, fitted to the authors'
devices) are ours; refreshing where a device is above 6 of 8 µS and the pair within 1.5 µS is a rule of theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from crossjax import insitu, nn, pulsed, report, training
from crossjax._random import named, seeded
from crossjax.papers import in_situ_plots
from crossjax.papers.in_situ import Data, Falling, Trained, load, stacked, stage
from crossjax.papers.in_situ_plots import pm
from crossjax.papers.options import Options as CommonOptions

SCALE, EPSILON = 0.5, 0.1  # weight of a normalised 1; ε, normalised: the mean step of the device in mid-range
RATES = {  # of the perceptron each its best of three, tried once
    "784-250-10": {"software": 1.0, "mixed_precision": 1.0, "pulsed_sgd": 0.03},
    "LeNet-5": {"software": 0.2, "mixed_precision": 0.2, "pulsed_sgd": 0.03},
}
BATCH = 100


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        images: of the training set.
        epochs: of the perceptron.
        cnn_epochs: of the convolutional network.
        seeds: paired runs.
    """

    images: int
    epochs: int
    cnn_epochs: int
    seeds: int


PRESETS = {"quick": Preset(60_000, 6, 1, 2), "paper": Preset(60_000, 30, 10, 8)}


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Nandakumar et al. (2020).

    Attributes:
        data: folder with MNIST (default CROSSJAX_DATA).
        images: training images, instead of the preset's number.
        epochs: of the perceptron.
        cnn_epochs: of the convolutional network; 0 leaves it out.
        seeds: paired runs.
    """

    data: Path | None = None
    images: int | None = None
    epochs: int | None = None
    cnn_epochs: int | None = None
    seeds: int | None = None


def devices() -> insitu.OneSided:
    """The pairs, and when they are refreshed."""
    return insitu.OneSided(pulsed.get("pcm"), high=6 / 8, low=0.0, inside=1.5 / 8)


def hardware() -> dict[str, nn.Learning]:
    """What is compared: software, mixed precision, and plain pulses on the same devices."""
    exact = insitu.PulsedSGD(insitu.Single(pulsed.Pulsed(step=1e-4)), insitu.Expected(), "sum")
    return {
        "software": nn.Learning(exact, scale=1.0),
        "mixed_precision": nn.Learning(insitu.MixedPrecision(devices(), epsilon=EPSILON), scale=SCALE),
        "pulsed_sgd": nn.Learning(insitu.PulsedSGD(devices(), insitu.Dithered(), "sum"), scale=SCALE),
    }


LABELS = {"software": "software", "mixed_precision": "mixed precision", "pulsed_sgd": "plain pulses"}


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if MNIST is not there.
    """
    key, size = named(seeded(options.seed), "seeds"), options.sized(PRESETS)
    if min(size.images, size.epochs, size.seeds) < 1 or size.cnn_epochs < 0:
        raise ValueError("images, epochs and seeds must be at least 1, cnn_epochs at least 0")
    data = load(options.data, count=size.images)
    flat: Any = tuple((x.reshape(len(x), -1), y) for x, y in data)
    with report.open_run("nandakumar2020", options.out, options.inputs(size, batch=BATCH), force=options.force) as run:
        networks: dict[str, tuple[Callable[[nnx.Rngs], Any], Data, int]] = {
            "784-250-10": (lambda rngs: nn.models.MLP((784, 250, 10), rngs=rngs), flat, size.epochs)
        }
        if size.cnn_epochs:
            networks["LeNet-5"] = (lambda rngs: nn.models.LeNet5(rngs=rngs), data, size.cnn_epochs)
        results = {name: measured(run, key, name, *network, size.seeds) for name, network in networks.items()}
        return write(run, results, size)


def measured(
    run: report.Run, key: Array, name: str, model: Callable[[nnx.Rngs], Any], data: Data, epochs: int, seeds: int
) -> dict[str, Any]:
    """Accuracies in % (seeds, epochs) of one network by what it is trained on."""
    found = {}
    for kind, learning in hardware().items():
        report.say(f"{name}, {LABELS[kind]}")
        step = training.InSitu(Falling(RATES[name][kind], len(data[0][0]) * epochs), BATCH)

        def compute(learning: nn.Learning = learning, step: training.InSitu = step) -> Mapping[str, np.ndarray]:
            runs = Trained(model, data, step).runs(key, stacked([learning]), seeds, epochs)
            return {"test": 100.0 * runs["test"][0]}

        found[kind] = stage(run, f"{name} {kind}", compute)["test"].tolist()
        jax.clear_caches()
    return found


def write(run: report.Run, results: Mapping[str, Any], size: Preset) -> Path:
    """Table, figure and result.json."""
    run.table(
        f"MNIST, {size.images:,} images, batch {BATCH}, {size.seeds} paired seeds: accuracy, % (± standard error)",
        ["network", *LABELS.values(), "mixed precision − software", "mixed precision − plain pulses"],
        [
            [name, *(pm(np.asarray(found[k])[:, -1]) for k in LABELS),
             *(pm(np.asarray(found["mixed_precision"])[:, -1] - np.asarray(found[k])[:, -1])
               for k in ("software", "pulsed_sgd"))]
            for name, found in results.items()
        ],
    )  # fmt: skip
    figures = []
    for name, found in results.items():
        in_situ_plots.epochs_of(run, name.replace("-", "_"), {LABELS[k]: v for k, v in found.items()}, name)
        suffix = "" if name == "784-250-10" else "_cnn"
        paper = {"mixed_precision": 97.73, "software": 98.33} if not suffix else {}
        figures += [
            report.figure(f"accuracy_{k}{suffix}", float(np.mean(np.asarray(v)[:, -1])), paper=paper.get(k), unit="%")
            for k, v in found.items()
        ]
    run.csv(
        "accuracy",
        {
            "network": [n for n, f in results.items() for k in f for _ in f[k][0]],
            "training": [LABELS[k] for f in results.values() for k in f for _ in f[k][0]],
            "epoch": [e + 1 for f in results.values() for k in f for e in range(len(f[k][0]))],
        }
        | report.columns({"accuracy": [a for f in results.values() for v in f.values() for a in np.asarray(v).T]}),
    )
    return run.finish(
        figures,
        "Networks for MNIST were trained with mixed precision on pairs of phase-change devices, with plain pulses on "
        "the same devices, and in software. The perceptron has {accuracy_mixed_precision:.2f} %, "
        "{accuracy_pulsed_sgd:.2f} % and {accuracy_software:.2f} %.",
        accuracies=dict(results),
    )
