"""Accurate inference with computational PCM: noise-aware training, drift, GDC and AdaBS on CIFAR-10.

Joshi et al., Nat. Commun. 11:2473 (2020). Weights lie on one pair of PCM devices each, one crossbar a layer.
The quick preset takes a published ResNet-20 for the digital baseline and trains it with noise for a few hundred
steps; the paper preset trains Joshi's ResNet-32 from scratch, 200 digital and 150 noisy epochs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from rich.progress import Progress

import crossjax as cx
from crossjax import nn, plot, report, training
from crossjax._random import named, seeded
from crossjax.papers.cifar import (
    COMPENSATIONS,
    IMPORTED,
    TRAINED,
    YEAR,
    Cifar,
    CifarOptions,
    OverTime,
    digital_accuracy,
    published_resnet,
    sgd,
)
from crossjax.tiles.tile import Tile

ETA, ALPHA = 0.038, 2.0
PAPER = {  # ResNet-32 on CIFAR-10, %
    "accuracy_digital": 93.87, "accuracy_25s": 91.66, "accuracy_25s_noise_trained_gdc": 93.71,
    "accuracy_1d_noise_trained_gdc": 92.6, "accuracy_1d_noise_trained_adabs": 93.5,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        baseline_epochs: to train the digital network from scratch; None: a published one is imported.
        depth, channels: of the ResNet trained from scratch.
        steps: batches of noise-aware training.
        rate: its first learning rate.
        chips: in every population.
        images: of the test set.
        times: seconds after the first read.
        etas: noise of the η sweep, trained and tested alike.
        small_depth: ResNet of the η sweep and the ablations.
        small_steps: (digital, noisy) batches it trains.
    """

    baseline_epochs: int | None
    depth: int
    channels: tuple[int, int, int]
    steps: int
    rate: float
    chips: int
    images: int
    times: tuple[float, ...]
    etas: tuple[float, ...]
    small_depth: int
    small_steps: tuple[int, int]


PRESETS = {
    "quick": Preset(
        None, 20, (16, 32, 64), 320, 0.02, 4, 2000, (25.0, 3600.0, 86400.0, YEAR), (0.0, 0.038, 0.08), 8, (300, 120)
    ),
    "paper": Preset(
        200, 32, (16, 28, 56), 150 * 390, 0.01, 10, 10000,
        (25.0, 100.0, 1000.0, 3600.0, 1e4, 86400.0, 1e6, 30 * 86400.0, YEAR),
        (0.0, 0.02, 0.038, 0.05, 0.065, 0.08, 0.1), 32, (0, 40 * 390),
    ),
}  # fmt: skip


def hardware() -> Tile:
    """One crossbar a layer, a pair of PCM devices a weight, devices for 0 fully RESET; ideal converters.

    Joshi's model: programming error, drift, and 1/f noise drawn at every evaluation, but no white noise of its own
    for every vector.
    """
    return Tile(1024, 1024, device=cx.replace(cx.devices.pcm(reset_zero=True), read=None))


@dataclasses.dataclass(frozen=True)
class Options(CifarOptions):
    """Joshi et al. (2020).

    Attributes:
        weights: a trained network, .safetensors with PyTorch names (default: a ResNet-20 that is included).
        steps: instead of the preset's number of noise-aware training steps.
        studies: the sweep of the noise and the ablations.
    """


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if the data set is not there.
        FloatingPointError: if training diverges.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    imported = size.baseline_epochs is None or options.weights is not None
    cifar = Cifar.load(options.data, IMPORTED if imported else TRAINED, size.images)
    pipelines = {"network": dataclasses.asdict(cifar.pipeline), "studies": dataclasses.asdict(TRAINED)}
    inputs = options.inputs(size, data=cifar.digest, pipelines=pipelines)
    with report.open_run("joshi2020", options.out, inputs, force=options.force) as run:
        study = _Study(run, cifar, size, key)
        model = published_resnet(options.weights) if imported else study.baseline()
        digital = {"": study.digital("", model)}
        direct = study.follow("direct", nn.to_analog(model, hardware(), report=None))
        trained = study.noise_trained(model)
        digital["_noise_trained"] = study.digital("_noise_trained", trained)
        noisy = study.follow("noise_trained", trained)
        small = study.small() if options.studies else None
        return write(run, size, digital, direct, noisy, small)


class _Study:
    """The stages of one run."""

    def __init__(self, run: report.Run, cifar: Cifar, size: Preset, key: Array) -> None:
        self.run, self.cifar, self.size, self.key = run, cifar, size, key
        self.own = dataclasses.replace(cifar, pipeline=TRAINED)  # for what is trained from scratch

    def fit(self, name: str, model: Any, optimiser: Any, steps: int, cifar: Cifar, every: int = 100) -> Any:
        """Train with checkpoints in the run's folder; what is done already is not done again."""
        return training.fit(
            named(self.key, name), model, cifar.train, optimiser, steps=steps, prepare=cifar.pipeline.training,
            checkpoints=self.run.work / "checkpoints" / name, every=every, label=name,
        ).model  # fmt: skip

    def digital(self, suffix: str, model: Any) -> dict[str, float]:
        """Accuracy without hardware, as it is and after AdaBS."""
        test, batches = self.cifar.test, self.cifar.calibration
        return self.run.stage(
            f"digital{suffix}",
            lambda: {"none": digital_accuracy(model, test), "adabs": digital_accuracy(model, test, batches)},
        )

    def baseline(self) -> Any:
        """The digital network from scratch: SGD, 0.1 and a tenth of it every quarter of the epochs."""
        size, per = self.size, len(self.cifar.train[0]) // 128
        steps = (size.baseline_epochs or 0) * per
        rate = optax.piecewise_constant_schedule(0.1, {steps * k // 4: 0.1 for k in (1, 2, 3)})
        model = nn.models.ResNet(size.depth, size.channels, rngs=nnx.Rngs(named(self.key, "initial")))
        return self.fit("baseline", model, sgd(rate, None), steps, self.own, every=10 * per)

    def noise_trained(self, model: Any) -> Any:
        """From the digital baseline: η = 3.8 % of each layer's largest weight, clipping at 2 σ."""
        analog = nn.to_analog(model, hardware(), injections=[training.WeightNoise(ETA)], report=None)
        rate = optax.cosine_decay_schedule(self.size.rate, self.size.steps)
        return self.fit("noise training", analog, sgd(rate, ALPHA), self.size.steps, self.cifar)

    def follow(self, name: str, model: Any) -> dict[str, np.ndarray]:
        """Accuracy (chips, times) by compensation; chip by chip, each a stage."""
        chips, keys = self.size.chips, jax.random.split(named(self.key, name), self.size.chips)
        measure = OverTime(model, self.cifar, self.size.times)
        found = []
        with Progress(console=report.console, transient=True) as progress:
            bar = progress.add_task(f"{name}: {chips} chips, {len(self.size.times)} times", total=chips)
            for n in range(chips):
                found.append(self.run.stage(f"{name} chip {n}", lambda n=n: measure(keys[n])))
                progress.advance(bar)
        return {c: np.array([f[c] for f in found]) for c in COMPENSATIONS}

    def small(self) -> dict[str, Any]:
        """The η sweep and the ablations of noise-aware training, on a smaller network."""
        depth, (first, steps) = self.size.small_depth, self.size.small_steps
        fresh = nn.models.ResNet(depth, self.size.channels, rngs=nnx.Rngs(named(self.key, "small")))
        start = fresh
        if self.size.small_steps[0]:
            cosine = optax.cosine_decay_schedule(0.1, first)
            start = self.fit("small baseline", fresh, sgd(cosine, None), first, self.own)
        else:
            start = self.baseline()
        schedule = optax.cosine_decay_schedule(0.02, steps)

        def noisy(name: str, eta: float, model: Any, rate: Any, clip: float | None) -> float:
            def measure() -> dict[str, float]:
                analog = nn.to_analog(model, hardware(), injections=[training.WeightNoise(eta)], report=None)
                trained = self.fit(name, analog, sgd(rate, clip), steps, self.own)
                return {"accuracy": noisy_accuracy(named(self.key, "draws"), trained, self.own.test)}

            return float(self.run.stage(name, measure)["accuracy"])

        return {
            "digital": self.run.stage("small", lambda: {"a": digital_accuracy(start, self.own.test)})["a"],
            "etas": {eta: noisy(f"η = {eta:g}", eta, start, schedule, ALPHA) for eta in self.size.etas},
            "ablations": {
                "complete": noisy(f"η = {ETA:g}", ETA, start, schedule, ALPHA),
                "without initialisation": noisy("without initialisation", ETA, fresh, schedule, ALPHA),
                "without clipping": noisy("without clipping", ETA, start, schedule, None),
                "without schedule": noisy("without schedule", ETA, start, 0.1, ALPHA),
            },
        }


def noisy_accuracy(key: Array, model: Any, test: tuple[Array, Array], draws: int = 5) -> float:
    """Accuracy with the noise that the network was trained with, mean over draws."""
    model = nnx.clone(model)
    model.eval()
    for op in nn.convert.ops(model):
        op.deterministic = False
    graph, state = nnx.split(model)

    @jax.jit
    def run(keys: Array, state: Any) -> Array:
        def one(k: Array) -> Array:
            net = nnx.merge(graph, state, copy=True)
            nn.set_key(net, k)
            return nn.accuracy(net, *test)

        return jnp.mean(jax.lax.map(one, keys))

    return float(run(jax.random.split(key, draws), state))


# ------------------------------------------------------------------------------------------------- results


def write(
    run: report.Run,
    size: Preset,
    digital: Mapping[str, Mapping[str, float]],
    direct: Mapping[str, np.ndarray],
    noisy: Mapping[str, np.ndarray],
    small: dict[str, Any] | None,
) -> Path:
    """Table, CSV, plots, result.json and report.html."""
    base, both = 100 * digital[""]["none"], {"direct mapping": direct, "noise-trained": noisy}
    _tables(run, size, digital, both)
    _plot(run, size, base, both, small)

    def at(t: float, curves: Mapping[str, np.ndarray], c: str) -> float:
        return 100 * float(curves[c][:, size.times.index(t)].mean())

    day = 86400.0
    figures = {"accuracy_digital": base, "accuracy_25s": at(25.0, direct, "gdc")}
    for suffix, curves in (("", direct), ("_noise_trained", noisy)):
        figures[f"accuracy_digital{suffix}"] = 100 * digital[suffix]["none"]
        figures[f"accuracy_digital{suffix}_adabs"] = 100 * digital[suffix]["adabs"]
        for t, label in ((25.0, "25s"), (day, "1d"), (YEAR, "1y")):
            for c in COMPENSATIONS:
                figures[f"accuracy_{label}{suffix}_{c}"] = at(t, curves, c)
    for t, label in ((day, "1d"), (YEAR, "1y")):
        figures[f"adabs_over_gdc_{label}_noise_trained"] = at(t, noisy, "adabs") - at(t, noisy, "gdc")
    lost = base - at(day, direct, "gdc")
    figures["recovered_1d"] = (at(day, noisy, "gdc") - at(day, direct, "gdc")) / lost if lost else 0.0
    paper = PAPER | {"adabs_over_gdc_1y_noise_trained": 1.8}
    said = (
        f"A ResNet for CIFAR-10 ran on {size.chips} chips of phase-change memory for a year, as it is and trained with "
        f"noise. Digital it has {{accuracy_digital:.1f}} %; after a day with GDC {{accuracy_1d_gdc:.1f}} % as it is "
        f"and {{accuracy_1d_noise_trained_gdc:.1f}} % noise-trained, after a year with AdaBS "
        f"{{accuracy_1y_noise_trained_adabs:.1f}} %."
    )
    return run.finish(
        [
            report.figure(name, value, paper=paper.get(name), unit="" if name == "recovered_1d" else "%")
            for name, value in figures.items()
        ],
        said,
        small=small,
    )


def _tables(
    run: report.Run,
    size: Preset,
    digital: Mapping[str, Mapping[str, float]],
    both: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """Accuracies without hardware and on chips, as tables and CSV."""
    run.table(
        f"CIFAR-10 without hardware, {size.images} images, accuracy in %",
        ["network", "as it is", "AdaBS"],
        [
            [network, *(f"{100 * found[c]:.2f}" for c in ("none", "adabs"))]
            for network, found in zip(both, digital.values(), strict=True)
        ],
    )
    run.table(
        f"CIFAR-10 on PCM, {size.images} images, {size.chips} chips, accuracy in % "
        f"(digital {100 * digital['']['none']:.2f}) by time after the first read",
        ["network", "compensation", *map(plot.span, size.times)],
        [
            [
                network,
                c.upper() if c == "gdc" else c,
                *(report.mean_sd(100 * a[:, k], 2) for k in range(len(size.times))),
            ]
            for network, curves in both.items()
            for c, a in curves.items()
        ],
    )
    run.csv(
        "accuracy",
        {
            "network": [n for n, curves in both.items() for a in curves.values() for _ in range(a.size)],
            "compensation": [c for curves in both.values() for c, a in curves.items() for _ in range(a.size)],
            "chip": [k for curves in both.values() for a in curves.values() for k in range(len(a)) for _ in size.times],
            "seconds": [t for curves in both.values() for a in curves.values() for _ in a for t in size.times],
            "accuracy": [v for curves in both.values() for a in curves.values() for v in a.ravel()],
        },
    )


def _plot(run: report.Run, size: Preset, base: float, both: Mapping[str, Mapping[str, np.ndarray]], small: Any) -> None:
    """Accuracies over time, and the studies beside them."""
    figure, axes = plot.new(2 if small is None else 4)
    for axis, (network, curves) in zip(axes, both.items(), strict=False):
        for c, a in curves.items():
            plot.band(axis, size.times, 100 * a, label={"none": "no compensation", "gdc": "GDC", "adabs": "AdaBS"}[c])
        axis.axhline(base, color="k", ls=":", lw=0.8)
        plot.time_axis(axis, size.times)
        axis.set(ylabel="accuracy (%)", title=network, ylim=(0, 100))
        axis.legend(loc="center left")
    if small is not None:
        _studies(run, size, small, axes[2:])
    run.plot(
        "joshi2020", figure,
        "Accuracy on chips over time by drift compensation; bands over chips, dotted the digital network. Where there "
        "are four panels: the size of the weight noise in training and test, and what noise training needs.",
    )  # fmt: skip


def _studies(run: report.Run, size: Preset, small: dict[str, Any], axes: Sequence[Any]) -> None:
    """The η sweep and the ablations."""
    base = 100 * small["digital"]
    rows = [[f"η = {100 * eta:g} %", f"{100 * a:.2f}"] for eta, a in small["etas"].items()]
    rows += [[name, f"{100 * a:.2f}"] for name, a in small["ablations"].items()]
    run.table(f"ResNet-{size.small_depth} with weight noise, accuracy in % (digital {base:.2f})", ["", "%"], rows)
    run.csv("studies", {"study": [r[0] for r in rows], "accuracy": [r[1] for r in rows]})
    axes[0].plot([100 * e for e in small["etas"]], [100 * a for a in small["etas"].values()], "o-")
    axes[0].axhline(base, color="k", ls=":", lw=0.8)
    axes[0].set(
        xlabel="η, trained and tested (%)", ylabel="accuracy (%)", title=f"ResNet-{size.small_depth}: weight noise"
    )
    names = list(small["ablations"])
    axes[1].barh(names[::-1], [100 * small["ablations"][n] for n in names[::-1]])
    axes[1].set(xlabel="accuracy (%)", title=f"ResNet-{size.small_depth}: what noise training needs")
