"""Gradient-descent-based programming of a network: ResNet-9 on HERMES cores, against program-and-verify.

Büchel et al., IEDM 2022 and IEEE JETCAS 13:1052 (2023): ResNet-9 with 100,726 parameters on CIFAR-10, four PCM
devices a cell, 256 × 256 cells a core; GDP gains 1.26 points over iterative programming.

The ranges of the converters are calibrated to the network, while programming and in use, and program-and-verify reads
single cells for as long as it takes to see them finely: both methods at their best. What coarse converters do while
programming is a study beside it (`programming_study` has the rest of the study, on one matrix).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from importlib import resources
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
from crossjax.papers import programming_study
from crossjax.papers.cifar import INCLUDED_RESNET9, RESNET9, Cifar, CifarOptions, digital_accuracy, sgd
from crossjax.programming import METHODS, Method
from crossjax.tiles.tile import Tile

COMPARED = ("iterative", "gdp")


@dataclasses.dataclass(frozen=True)
class Setting:
    """The ADC while programming, where it is another than in use.

    Attributes:
        label: for tables and files.
        bits: of the ADC while programming.
        range: of the ADC while programming; None: calibrated, as in use.
        single: program-and-verify reads cells by one MVM, as coarse as those; else for as long as it takes.
        few: on a few chips only.
    """

    label: str
    bits: int = 8
    range: float | None = None
    single: bool = False
    few: bool = False

    def method(self, name: str) -> Method:
        """The method as this setting allows it."""
        return cx.Iterative(integration=1.0) if self.single and name == "iterative" else METHODS[name]()


BASE = Setting("8 bit")
COARSE = Setting("4 bit, also to verify", bits=4, single=True)
WIDE = Setting("8 bit, range 40, also to verify", range=40.0, single=True)
STUDIES = (COARSE, WIDE, Setting("8 bit, also to verify", single=True, few=True))
FEW = 4


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        epochs: to train the network; None: the trained one that comes with the package.
        chips: programmed by each method.
        images: of the test set.
    """

    epochs: int | None
    chips: int
    images: int


PRESETS = {"quick": Preset(None, 16, 2000), "paper": Preset(60, 16, 10000)}


def hardware() -> Tile:
    """The core of the studies of GDP: HERMES with an 8-bit ADC and 3 % spread of its columns' gains."""
    return cx.replace(cx.presets.hermes(gain=0.03), **{"adc.levels": None, "adc.bits": 8})


@dataclasses.dataclass(frozen=True)
class Options(CifarOptions):
    """Büchel et al. (2022).

    Attributes:
        weights: a ResNet-9 as `crossjax.nn.save` wrote it (default: one that is included).
        steps: train the network from scratch for so many batches of 128.
        studies: the sweep of the ADC, and the study of one matrix.
    """


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, numbers out of range, or weights of another network.
        FileNotFoundError: if the data set is not there.
    """
    key, size, weights, steps = seeded(options.seed), options.sized(PRESETS), options.weights, options.steps
    included = steps is None and weights is None and size.epochs is None
    cifar = Cifar.load(options.data, INCLUDED_RESNET9 if included else RESNET9, size.images)
    steps = size.epochs * (len(cifar.train[0]) // 128) if steps is None and size.epochs and weights is None else steps
    inputs = options.inputs(size, data=cifar.digest, steps=steps, pipeline=dataclasses.asdict(cifar.pipeline))
    with report.open_run("buchel2022", options.out, inputs, force=options.force) as run:
        model = trained(run, key, cifar, weights, steps)
        digital = run.stage("digital", lambda: {"accuracy": digital_accuracy(model, cifar.test)})["accuracy"]
        analog = tuned(model, cifar)
        settings = (BASE, *STUDIES) if options.studies else (BASE,)
        plan = [(name, s, min(FEW, size.chips) if s.few else size.chips) for s in settings for name in COMPARED]
        results: dict[tuple[str, Setting], list[dict[str, Any]]] = {}
        with Progress(console=report.console, transient=True) as progress:
            bar = progress.add_task("programming", total=sum(count for *_, count in plan))
            compiled: dict[tuple[str, int], OnChip] = {}
            for name, setting, count in plan:
                how = setting.method(name)
                measure = compiled.setdefault((repr(how), setting.bits), OnChip(analog, how, cifar.test, setting.bits))
                for n in range(count):
                    progress.update(bar, description=f"{plot.LABELS[name]}, {setting.label}, chip {n}")
                    stage = f"{name} {setting.label} {n}"
                    found = run.stage(stage, lambda n=n, m=measure, s=setting: m(jax.random.fold_in(key, n), s.range))
                    results.setdefault((name, setting), []).append(found)
                    progress.advance(bar)
        matrix = run.stage("matrix", lambda: programming_study.study(named(key, "matrix"))) if options.studies else None
        return write(run, size, digital, results, analog, matrix)


def trained(run: report.Run, key: Array, cifar: Cifar, weights: Path | None, steps: int | None) -> Any:
    """ResNet-9, trained here if ``steps`` says so; the trained network is left in the run's folder."""
    model = nn.models.ResNet9(rngs=nnx.Rngs(named(key, "initial")))
    if steps is None:
        if weights is not None:
            return nn.load(weights, model)
        with resources.as_file(resources.files("crossjax") / "included" / "resnet9_cifar10.safetensors") as file:
            return nn.load(file, model)
    rate = optax.cosine_onecycle_schedule(steps, 0.2, pct_start=0.2, div_factor=10)
    model = training.fit(
        named(key, "training"), model, cifar.train, sgd(rate, None, decay=5e-4), steps=steps,
        prepare=cifar.pipeline.training, checkpoints=run.work / "checkpoints", every=200, label="ResNet-9",
    ).model  # fmt: skip
    nn.save(run.results / "resnet9_cifar10.safetensors", model)
    return model


def tuned(model: Any, cifar: Cifar) -> Any:
    """The network on HERMES cores, the ranges of their converters set by images like those in use."""
    analog = nn.to_analog(model, hardware(), report=None)
    analog.eval()
    return nn.calibrate(analog, cifar.pipeline.test(cifar.train[0][:200]))


class OnChip:
    """Accuracy of the network programmed into one chip, and the errors of every layer's chip."""

    def __init__(self, model: Any, method: Method, test: tuple[Array, Array], bits: int) -> None:
        graph, self.state = nnx.split(model)
        self.ranges = [op.tile.get_value().adc.range for op in nn.convert.ops(model)]

        def one(key: Array, state: Any, ranges: list[Array]) -> dict[str, Any]:
            analog = nnx.merge(graph, state, copy=True)
            in_use = [op.tile.get_value() for op in nn.convert.ops(analog)]
            for op, tile, full in zip(nn.convert.ops(analog), in_use, ranges, strict=True):
                op.tile.set_value(cx.replace(tile, **{"adc.bits": bits, "adc.range": full}))
            chip, history = nn.program(named(key, "program"), analog, method, ranges="keep")
            for op, tile in zip(nn.convert.ops(chip), in_use, strict=True):
                op.tile.set_value(tile)
            errors = {}
            for name, layer, op in nn.convert.layers(chip):
                assert op.chip is not None
                one_chip = jax.tree.map(lambda a: a[0], op.chip.get_value())
                w = nn.convert.matrices(layer, op)[0]
                errors[name] = cx.mvm_error(named(key, f"error {name}"), op.tile.get_value(), one_chip, w)
            now = nn.read(named(key, "read"), chip, 0.0)
            total = {k: sum(getattr(h, k)[-1] for h in history.values()) for k in ("pulses", "mvms", "reads")}
            return {
                "accuracy": nn.accuracy(now, *test), "mvm_error": errors, **total,
                "weight_error": {name: h.weight_error[-1] for name, h in history.items()},
            }  # fmt: skip

        self.run = jax.jit(one)

    def __call__(self, key: Array, full: float | None = None) -> dict[str, Any]:
        """One chip; ``full`` is the ADC's range while programming, None for the calibrated ones."""
        begin = time.perf_counter()
        ranges = [r if full is None else jnp.full_like(r, full) for r in self.ranges]
        found = jax.block_until_ready(self.run(key, self.state, ranges))
        return jax.tree.map(float, found) | {"seconds": time.perf_counter() - begin}


Case = tuple[str, Setting]  # method, ADC while programming


def write(
    run: report.Run,
    size: Preset,
    digital: float,
    results: Mapping[Case, list[dict[str, Any]]],
    analog: Any,
    matrix: dict[str, Any] | None,
) -> Path:
    """Table, CSV, plots, result.json and report.html."""
    accuracy = {k: 100 * np.array([r["accuracy"] for r in rs]) for k, rs in results.items()}
    layers = list(results["gdp", BASE][0]["mvm_error"])
    errors = {k: np.array([[r["mvm_error"][n] for n in layers] for r in rs]) for k, rs in results.items()}
    weight = {k: np.array([[r["weight_error"][n] for n in layers] for r in rs]) for k, rs in results.items()}
    both = {name: errors[name, BASE] for name in COMPARED}
    _settings_table(run, f"{size.images} CIFAR-10 images (digital {100 * digital:.2f} %)", results, analog)
    _layers_table(run, layers, both, analog)
    _chips(run, layers, accuracy, errors)
    _plot(run, digital, layers, both, accuracy)
    settings = list(dict.fromkeys(s for _, s in results))
    if matrix is not None:
        programming_study.write(run, matrix)
    mean = {name: float(accuracy[name, BASE].mean()) for name in COMPARED}
    gain = {s: float((accuracy["gdp", s] - accuracy["iterative", s]).mean()) for s in settings}
    named_gains = {"": BASE, "_coarse": COARSE, "_wide": WIDE}
    return run.finish(
        [
            report.figure("accuracy_digital", 100 * digital, paper=88.4, unit="%"),
            report.figure("accuracy_iterative", mean["iterative"], unit="%"),
            report.figure("accuracy_gdp", mean["gdp"], unit="%"),
            *(
                report.figure(f"gdp_minus_iterative{end}", gain[s], paper=1.26 if s == BASE else None, unit="%")
                for end, s in named_gains.items()
                if s in gain
            ),
            report.figure("mvm_error_iterative", float(both["iterative"].mean())),
            report.figure("mvm_error_gdp", float(both["gdp"].mean())),
            report.figure("weight_error_iterative", float(weight["iterative", BASE].mean())),
            report.figure("weight_error_gdp", float(weight["gdp", BASE].mean())),
        ],
        f"ResNet-9 was programmed onto {len(results['gdp', BASE])} HERMES chips by gradient descent on the MVM error "
        f"(GDP) and by "
        "program-and-verify, with the same converters. It has {accuracy_gdp:.2f} % and {accuracy_iterative:.2f} % of "
        "the images right (digital {accuracy_digital:.2f} %), with mean MVM errors of {mvm_error_gdp:.4f} and "
        "{mvm_error_iterative:.4f}.",
        gains={s.label: g for s, g in gain.items()},
    )


def _settings_table(run: report.Run, images: str, results: Mapping[Case, list[dict[str, Any]]], analog: Any) -> None:
    """What every setting leaves, and what it takes."""
    weights = sum(r["weights"] for r in nn.account(analog) if r["tiles"])
    layers = len(results["gdp", BASE][0]["mvm_error"])

    def spent(of: tuple[str, Setting], what: str) -> float:
        return float(np.mean([r[what] for r in results[of]]))

    run.table(
        f"ResNet-9 on HERMES chips, {images}; ADC while programming: calibrated range unless said",
        ["while programming", "chips", "method", "accuracy, %", "MVM error, mean of layers", "weight error",
         "pulses a weight", "MVMs a layer", "reads a weight"],
        [
            [
                setting.label, len(rs), plot.LABELS[name], report.mean_sd([100 * r["accuracy"] for r in rs], 2),
                *(report.mean_sd([np.mean([*r[e].values()]) for r in rs]) for e in ("mvm_error", "weight_error")),
                f"{spent((name, setting), 'pulses') / weights:.1f}",
                f"{spent((name, setting), 'mvms') / layers:,.0f}",
                f"{spent((name, setting), 'reads') / weights:.0f}",
            ]
            for (name, setting), rs in results.items()
        ],
    )  # fmt: skip


def _layers_table(run: report.Run, layers: list[str], both: Mapping[str, np.ndarray], analog: Any) -> None:
    """MVM errors (chips, layers) of both methods."""
    rows = {r["path"]: r for r in nn.account(analog) if r["tiles"]}
    run.table(
        "MVM error of every layer",
        ["layer", "matrix", "tiles", *(plot.LABELS[n] for n in COMPARED), "ratio"],
        [
            [
                name, " × ".join(map(str, rows[name]["matrix"])), rows[name]["tiles"],
                *(report.mean_sd(both[n][:, k]) for n in COMPARED),
                f"{both['gdp'][:, k].mean() / both['iterative'][:, k].mean():.2f}",
            ]
            for k, name in enumerate(layers)
        ],
    )  # fmt: skip


def _chips(
    run: report.Run, layers: list[str], accuracy: Mapping[Case, np.ndarray], errors: Mapping[Case, np.ndarray]
) -> None:
    """Accuracy and errors of every chip, as CSV."""
    each = [(name, s, k) for (name, s), a in accuracy.items() for k in range(len(a))]
    run.csv(
        "chips",
        {
            "method": [n for n, *_ in each],
            "while_programming": [s.label for _, s, _ in each],
            "chip": [k for *_, k in each],
            "accuracy": [v for a in accuracy.values() for v in a],
        }
        | {f"mvm_error_{name}": [row[k] for e in errors.values() for row in e] for k, name in enumerate(layers)},
    )


def _plot(
    run: report.Run,
    digital: float,
    layers: list[str],
    both: Mapping[str, np.ndarray],
    accuracy: Mapping[Case, np.ndarray],
) -> None:
    """Every layer, every chip, every setting."""
    settings = list(dict.fromkeys(s for _, s in accuracy))
    figure, axes = plot.new(3 if len(settings) > 1 else 2)
    for k, name in enumerate(COMPARED):
        axes[0].bar(
            np.arange(len(layers)) + 0.4 * k, both[name].mean(axis=0), 0.4, yerr=both[name].std(axis=0),
            color=plot.COLOURS[name], label=plot.LABELS[name],
        )  # fmt: skip
        axes[1].plot(
            np.arange(len(accuracy[name, BASE])),
            accuracy[name, BASE],
            "o",
            color=plot.COLOURS[name],
            label=plot.LABELS[name],
        )  # fmt: skip
        axes[1].axhline(accuracy[name, BASE].mean(), color=plot.COLOURS[name], lw=0.8)
        if len(settings) > 1:
            means = [accuracy[name, s].mean() for s in settings]
            axes[2].barh(
                np.arange(len(settings)) + 0.4 * k, means, 0.4, xerr=[accuracy[name, s].std() for s in settings],
                color=plot.COLOURS[name], label=plot.LABELS[name],
            )  # fmt: skip
    axes[0].set_xticks(np.arange(len(layers)) + 0.2, layers, rotation=60, fontsize=8)
    axes[0].set(ylabel="MVM error", title="Every layer")
    axes[1].axhline(100 * digital, color="k", ls=":", lw=0.8)
    axes[1].set(xlabel="chip", ylabel="accuracy (%)", title="Every chip (dotted: digital)")
    if len(settings) > 1:
        axes[2].set_yticks(np.arange(len(settings)) + 0.2, [s.label for s in settings], fontsize=8)
        axes[2].invert_yaxis()
        low = min(a.mean() for a in accuracy.values())
        axes[2].set(xlabel="accuracy (%)", title="ADC while programming", xlim=(max(0.0, low - 15), 100 * digital + 1))
        axes[2].axvline(100 * digital, color="k", ls=":", lw=0.8)
    for axis in axes[:2]:
        axis.legend()
    run.plot(
        "buchel2022", figure,
        "Left: MVM error of every layer, mean and one standard deviation over chips. Middle: accuracy of every chip, "
        "lines their means, dotted the digital network. Right: accuracy by the ADC that was used while programming.",
    )  # fmt: skip
