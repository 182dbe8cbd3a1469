"""SIMBA: a binary network on a stochastic (skyrmion) memory.

Miriyala, Vishwanath and Fong, IEEE Trans. Magn. 2020 (arXiv:2003.05132). Of the paper the abstract was read: a
VGG-like binary network, 26.7 mJ and 2.7 ms an inference, 88.5 % ± 1 % with the memory's stochastic behaviour. Error
rates, places where they strike, and the layers are not in it: here write errors, read errors and noise of the
comparators (of all layers' sums, the last one's too) are three numbers that are swept, and the network is BinaryNet
(Hubara et al., NeurIPS 2016), for quick runs a perceptron on MNIST.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from crossjax import DAC, nn, report, training
from crossjax._pytree import replace
from crossjax._random import named, seeded, split
from crossjax.images import Pipeline, cifar10, mnist
from crossjax.nn.binary import BinaryMLP, BinaryVGG, binary_layers, products
from crossjax.papers import simba_plots
from crossjax.papers.options import Options as CommonOptions
from crossjax.population import stream
from crossjax.tiles import Complementary, Tile

EFFECTS = {
    "write errors": "cell.write_errors", "read errors": "cell.read_errors", "comparator noise": "noise",
}  # fmt: skip
ROWS = 1024
TRAINED = 0.05  # read errors of the network that is trained with them
TRAINED_WITH = f"read errors, trained with {100 * TRAINED:g} %"
PAPER = {"energy": 26.7e-3, "time": 2.7e-3}  # J, s: of one inference
READ, SENSE, WRITE = 0.1, 0.2, 1.0  # pJ a product, a comparison, a write: plausible MTJ numbers, for orientation only


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        network: "mlp" on MNIST or "vgg" on CIFAR-10.
        width: of the hidden layers of the perceptron; of the VGG, relative to BinaryNet's.
        epochs: of training, batches of 100.
        rate: of Adam.
        chips: in every population.
        images: of the test set.
        rates: of write and read errors.
        noises: of the comparators, standard deviation in products.
    """

    network: str
    width: float
    epochs: int
    rate: float
    chips: int
    images: int
    rates: tuple[float, ...]
    noises: tuple[float, ...]


PRESETS = {
    "quick": Preset("mlp", 1024, 6, 3e-3, 16, 2000, (0.0, 0.001, 0.01, 0.05, 0.1, 0.2), (0.0, 3.0, 10.0, 30.0)),
    "paper": Preset(
        "vgg", 1.0, 200, 1e-3, 16, 10_000, (0.0, 0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2),
        (0.0, 3.0, 10.0, 30.0, 100.0),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Miriyala et al. (2020).

    Attributes:
        data: folder with MNIST (paper: CIFAR-10; default CROSSJAX_DATA).
        epochs: of training, instead of the preset's.
        chips: in every population.
        images: of the test set.
        width: of the network.
        studies: also train with read errors.
    """

    data: Path | None = None
    epochs: int | None = None
    chips: int | None = None
    images: int | None = None
    width: float | None = None
    studies: bool = True


def hardware() -> Tile:
    """An array of complementary two-state cells, inputs of one bit, popcounts without rounding."""
    return Tile(ROWS, ROWS, cell=Complementary(), dac=DAC(bits=1), compensation=None)


def first(tile: Tile) -> Tile:
    """The same for the first layer, whose inputs are numbers of 8 bits."""
    return replace(tile, dac=DAC(bits=8))


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if the data set is not there.
        FloatingPointError: if training diverges.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    if min(size.epochs, size.chips, size.images) < 1 or size.width <= 0:
        raise ValueError("epochs, chips and images must be at least 1, the width positive")
    task = Task.mnist(options.data, size) if size.network == "mlp" else Task.cifar(options.data, size)
    with report.open_run("simba", options.out, options.inputs(size), force=options.force) as run:
        study = _Study(run, key, size, task)
        model = study.trained()
        digital = study.digital(model)
        sweeps = {effect: study.sweep(effect, model) for effect in EFFECTS}
        if options.studies:
            sweeps[TRAINED_WITH] = study.sweep("read errors", study.trained(TRAINED), TRAINED_WITH)
        majority = study.majority(model)
        return write(run, size, digital, sweeps, majority, costs(model, task.test[0][:1]))


@dataclasses.dataclass(frozen=True)
class Task:
    """Data and network.

    Attributes:
        train, test: images and labels; of the training images what ``prepare`` makes inputs of.
        prepare: (key, images) → inputs, of a training batch.
        model: of its random numbers.
        first: the layer that sees the images.
        last: the one that gives the outputs.
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[Array, Array]
    prepare: Callable[[Array, Array], Array]
    model: Callable[[nnx.Rngs], Any]
    first: str
    last: str

    @classmethod
    def mnist(cls, folder: Path | None, size: Preset) -> Task:
        """The perceptron 784-w-w-10 on MNIST, pixels within ±1."""
        images, width = mnist(folder), int(size.width)

        def inputs(x: Any) -> Array:
            return jnp.asarray(x, jnp.float32).reshape(len(x), -1) / 127.5 - 1.0

        test = inputs(images.test[0][: size.images]), jnp.asarray(images.test[1][: size.images])
        return cls(
            images.train, test, lambda key, x: inputs(x), lambda rngs: BinaryMLP((784, width, width, 10), rngs=rngs),
            "blocks.0.layer", "last",
        )  # fmt: skip

    @classmethod
    def cifar(cls, folder: Path | None, size: Preset) -> Task:
        """The VGG on CIFAR-10, augmented, pixels within ±1."""
        images, pipeline = cifar10(folder), Pipeline((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        test = pipeline.test(images.test[0][: size.images]), jnp.asarray(images.test[1][: size.images])
        return cls(
            images.train, test, pipeline.training, lambda rngs: BinaryVGG(size.width, rngs=rngs), "convs.0.layer",
            "head.last",
        )  # fmt: skip


class _Study:
    """The stages of one run; accuracies in %."""

    def __init__(self, run: report.Run, key: Array, size: Preset, task: Task) -> None:
        self.run, self.key, self.size, self.task = run, key, size, task
        batches = task.prepare(named(key, "adabs"), jnp.asarray(task.train[0][: 13 * 200]))
        self.calibration = batches.reshape(13, 200, *batches.shape[1:])

    def trained(self, errors: float | None = None) -> Any:
        """The network, by its latent weights: Adam, signs straight-through, weights kept within ±1.

        ``errors``: rate of read errors that it is trained with, on tiles.
        """
        steps = self.size.epochs * (len(self.task.train[0]) // 100)
        rate = optax.cosine_decay_schedule(self.size.rate, steps)
        optimiser = optax.chain(optax.adam(rate), training.bound_weights(1.0))
        model, label = self.task.model(nnx.Rngs(named(self.key, "initial"))), "binary network"
        if errors is not None:
            label = f"{label}, read errors of {100 * errors:g} %"
            model = self.analog(model, replace(hardware(), **{EFFECTS["read errors"]: errors}))
        model = training.fit(
            named(self.key, "training"), model, self.task.train, optimiser, steps=steps, batch=100,
            prepare=self.task.prepare, checkpoints=self.run.work / "checkpoints" / label, every=1000, label=label,
        ).model  # fmt: skip
        model.eval()
        return model

    def digital(self, model: Any) -> dict[str, float]:
        """Accuracy without hardware, with batch norms and folded; and of the same on tiles without errors."""

        def compute() -> dict[str, float]:
            folded, perfect = nn.binary.fold(model), self.chip(model, hardware())
            found = {
                "digital": model,
                "folded": folded,
                "on tiles": perfect,
                "on tiles, folded": nn.binary.fold(perfect),
            }
            return {name: 100.0 * float(nn.accuracy(net, *self.task.test)) for name, net in found.items()}

        return self.run.stage("digital", compute)

    def analog(self, model: Any, tile: Tile) -> Any:
        """The network on tiles."""
        return nn.to_analog(model, tile, [(self.task.first.replace(".", r"\."), first(tile))], report=None)

    def chip(self, model: Any, tile: Tile) -> Any:
        """One chip, read."""
        chip, _ = nn.program(named(self.key, "chip"), self.analog(model, tile), ranges="keep", report=None)
        return nn.read(named(self.key, "read"), chip)

    def sweep(self, effect: str, model: Any, name: str = "") -> dict[str, Any]:
        """Accuracies (values, chips) against one error, as programmed and after AdaBS.

        ``model``: digital, or, with a ``name`` of its own, on tiles.
        """
        values = self.size.noises if effect == "comparator noise" else self.size.rates
        report.say(f"{name or effect}: {len(values)} values, {self.size.chips} chips")

        def compute() -> dict[str, Any]:
            plain = model if name else self.analog(model, replace(hardware(), **{EFFECTS[effect]: 0.0}))
            graph, state = nnx.split(plain)

            @jax.jit  # values are traced: one program for the sweep
            def measured(k: Array, value: Array, state: Any) -> Array:
                net = nnx.merge(graph, state, copy=True)
                net = nn.map_tiles(net, lambda name, tile: replace(tile, **{EFFECTS[effect]: value}))
                chip, _ = nn.program(named(k, "program"), net, ranges="keep", report=None)
                now = nn.read(named(k, "read"), chip)
                both = now, nn.adabs(now, self.calibration)
                return 100.0 * jnp.stack([nn.accuracy(n, *self.task.test) for n in both])

            found = []
            for value in values:
                keys = split(named(self.key, effect), self.size.chips if value else 1)  # without errors all are alike
                found.append(stream(lambda k, v=value: measured(k, jnp.asarray(v), state), keys))
            return {"values": list(values), "plain": [f[:, 0] for f in found], "adabs": [f[:, 1] for f in found]}

        return self.run.stage(name or effect, compute)

    def majority(self, model: Any) -> dict[str, Any]:
        """Accuracy of layers on tiles of fewer rows, by exact partial sums and by a majority of comparators."""
        report.say("layers wider than a tile")

        def compute() -> dict[str, Any]:
            found: dict[str, Any] = {"rows": [], "tiles": [], "accuracy": []}
            widest = max(layer.kernel[...].size // layer.kernel.shape[-1] for layer in binary_layers(model))
            for rows in (ROWS, 512, 256, 128):
                tile = replace(hardware(), rows=rows)
                rules = [(self.task.first.replace(".", r"\."), first(tile)), (self.task.last.replace(".", r"\."), tile)]
                compare = nn.to_analog(model, replace(tile, adc=nn.binary.COMPARATOR), rules, report=None)
                chip, _ = nn.program(named(self.key, "chip"), compare, ranges="keep", report=None)
                net = nn.binary.fold(nn.read(named(self.key, "read"), chip))
                found["rows"].append(rows)
                found["tiles"].append(-(-widest // rows))
                found["accuracy"].append(100.0 * float(nn.accuracy(net, *self.task.test)))
            return found

        return self.run.stage("majority", compute)


def costs(model: Any, example: Array) -> dict[str, float]:
    """Operations of one inference, and what they would cost: energies in J; a product is one XNOR and its count."""
    counted = products(model, example)
    return counted | {
        "read energy": counted["products"] * READ * 1e-12,
        "sense energy": counted["sums"] * SENSE * 1e-12,
        "write energy": 2 * counted["weights"] * WRITE * 1e-12,
    }


# ---------------------------------------------------------------------------------------------------- results


def recovered(sweep: Mapping[str, Any]) -> dict[str, float] | None:
    """The lowest rate at which errors cost 2 points or more: what AdaBS gives back of it."""
    plain, adabs = (np.array([np.mean(a) for a in sweep[kind]]) for kind in ("plain", "adabs"))
    for rate, found, refreshed in zip(sweep["values"], plain, adabs, strict=True):
        if plain[0] - found >= 2.0:
            lost = float(plain[0] - found)
            return {"rate": rate, "lost": lost, "share": float(refreshed - found) / lost}
    return None


def write(
    run: report.Run,
    size: Preset,
    digital: Mapping[str, float],
    sweeps: Mapping[str, Any],
    majority: Mapping[str, Any],
    cost: Mapping[str, float],
) -> Path:
    """Tables, CSV, plots, result.json."""
    _tables(run, size, digital, sweeps, majority)
    vgg = _costs(run, size, cost)
    point = recovered(sweeps["read errors"])
    if point is not None:
        report.say(
            f"read errors of {100 * point['rate']:g} % cost {point['lost']:.1f} points; "
            f"AdaBS gives {100 * point['share']:.0f} % back"
        )
    simba_plots.sweeps(run, sweeps, digital["digital"])
    run.csv(
        "accuracy",
        {
            "effect": [e for e, s in sweeps.items() for _ in s["values"]],
            "value": [v for s in sweeps.values() for v in s["values"]],
        }
        | report.columns(
            {
                "as programmed": [a for s in sweeps.values() for a in s["plain"]],
                "after AdaBS": [a for s in sweeps.values() for a in s["adabs"]],
            }
        ),
    )
    figures = [report.figure("accuracy_binary", digital["digital"], unit="%")]
    rates = dict(zip(sweeps["read errors"]["values"], sweeps["read errors"]["plain"], strict=True))
    figures += [
        report.figure(f"accuracy_read_errors_{100 * r:g}pct", float(np.mean(rates[r])), unit="%") for r in (0.01, 0.05)
    ]
    figures += [
        report.figure("energy_if_binarynet", 1e12 * PAPER["energy"] / vgg["products"], unit="pJ a product"),
        report.figure("accuracy_majority", majority["accuracy"][-1], unit="%"),
    ]
    if point is not None:
        figures.append(report.figure("recovered_by_adabs", point["share"]))
    given_back = "" if point is None else "; refreshed batch norms give {recovered_by_adabs:.0%} of a loss back"
    return run.finish(
        figures,
        "A network of ±1 weights and activations for MNIST ran on XNOR cells with each of their errors alone. Digital "
        "it has {accuracy_binary:.2f} %, with 1 % of all products read wrong {accuracy_read_errors_1pct:.2f} % and "
        "with 5 % {accuracy_read_errors_5pct:.2f} %" + given_back + ".",
        digital=dict(digital),
        sweeps=dict(sweeps),
        majority=dict(majority),
        costs=dict(cost),
        recovered_at=point,
    )


def _costs(run: report.Run, size: Preset, cost: Mapping[str, float]) -> Mapping[str, float]:
    """The table of one inference; what the paper's network counts, if it is BinaryNet."""
    vgg = products(BinaryVGG(rngs=nnx.Rngs(0)), jnp.zeros((1, 32, 32, 3)))
    run.table(
        f"One inference, counted; ours at {READ:g} pJ a product, {SENSE:g} pJ a comparison (not the paper's numbers)",
        ["network", "weights", "products", "sums", "energy, mJ", "pJ a product"],
        [
            [f"ours ({size.network})", f"{cost['weights']:,.0f}", f"{cost['products']:,.0f}", f"{cost['sums']:,.0f}",
             f"{1e3 * (cost['read energy'] + cost['sense energy']):.4g}",
             f"{1e12 * (cost['read energy'] + cost['sense energy']) / cost['products']:.3g}"],
            ["the paper's, if it is BinaryNet", *(f"{vgg[k]:,.0f}" for k in ("weights", "products", "sums")),
             f"{1e3 * PAPER['energy']:.1f} (2.7 ms)", f"{1e12 * PAPER['energy'] / vgg['products']:.1f}"],
        ],
    )  # fmt: skip
    return vgg


def _tables(
    run: report.Run, size: Preset, digital: Mapping[str, float], sweeps: Mapping[str, Any], majority: Mapping[str, Any]
) -> None:
    data = "MNIST" if size.network == "mlp" else "CIFAR-10"
    run.table(
        f"Binary network on {data}, {size.images:,} images, accuracy in %",
        list(digital),
        [[f"{v:.2f}" for v in digital.values()]],
    )
    for effect, s in sweeps.items():
        unit = "standard deviation in products" if effect == "comparator noise" else "probability"
        run.table(
            f"{effect} ({unit}): accuracy in %, {size.chips} chips (± SD)",
            ["", *(f"{v:g}" for v in s["values"])],
            [
                [name, *(report.mean_sd(a, 2) for a in s[kind])]
                for name, kind in (("as programmed", "plain"), ("after AdaBS", "adabs"))
            ],
        )
    run.table(
        "Layers on tiles of fewer rows: accuracy in %, by a majority of comparators (partial sums are exact)",
        [f"{r} rows, up to {t} tiles" for r, t in zip(majority["rows"], majority["tiles"], strict=True)],
        [[f"{a:.2f}" for a in majority["accuracy"]]],
    )
