"""A spiking network on an array of photonic phase-change synapses.

Chakraborty, Saha and Roy, Phys. Rev. Applied 11:014063 (2019, arXiv:1808.01241), with the neuron of Sci. Rep. 8:12980
(2018). Of both the abstracts were read, which hold no accuracy, size, level count or data set: the mechanism is
reproduced (synapses of GST, wavelengths summed on a bus, cells that integrate and fire), its numbers are ours.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from crossjax import nn, photonic, report, training
from crossjax._random import named, seeded, split
from crossjax.images import mnist
from crossjax.nn.spiking import IntegrateAndFire, Neuron
from crossjax.papers import photonic_plots
from crossjax.papers.options import Options as CommonOptions
from crossjax.population import stream
from crossjax.tiles import Tile

SIZES = (784, 256, 10)
WIDE = 0.4  # nm, of rings that let 6 % of their neighbours' light through
PULSE, COOLING = 1.0, 250.0  # ns of a step: a read pulse, and five thermal time constants before the next one
PROBE = 0.05  # mW of a wavelength while it is read


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        epochs: of the network with ReLU, batches of 100.
        images: of the test set, for chips; agreement is counted on all of it.
        steps: T of the curves.
        longest: T at which decisions are compared.
        chips: in every population.
    """

    epochs: int
    images: int
    steps: int
    longest: int
    chips: int


PRESETS = {"quick": Preset(6, 1000, 128, 1024, 4), "paper": Preset(30, 10_000, 256, 1024, 16)}


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Chakraborty et al. (2019).

    Attributes:
        data: folder with MNIST (default CROSSJAX_DATA).
        epochs: of the network with ReLU.
        images: of the test set, for chips.
        steps: T of the curves.
        chips: in every population.
    """

    data: Path | None = None
    epochs: int | None = None
    images: int | None = None
    steps: int | None = None
    chips: int | None = None


def variants() -> dict[str, tuple[Tile | None, Neuron]]:
    """Arrays and neurons that are compared; None: exact weights."""
    soft, hard = IntegrateAndFire(), IntegrateAndFire("hard")
    array = photonic.array(784, 256)
    return {
        "ideal weights, soft reset": (None, soft),
        "ideal weights, hard reset": (None, hard),
        "GST, soft reset": (photonic.array(784, 256, crosstalk=None), soft),
        "GST, crosstalk, soft reset": (array, soft),
        f"GST, rings of {WIDE:g} nm, soft reset": (
            photonic.array(784, 256, crosstalk=photonic.WDM(bandwidth=WIDE)),
            soft,
        ),
        "GST, crosstalk, hard reset": (array, hard),
        "GST, crosstalk, GST neurons": (array, photonic.GSTNeuron()),
    }


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if MNIST is not there.
        FloatingPointError: if training diverges.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    if min(size.epochs, size.images, size.steps, size.chips) < 1:
        raise ValueError("epochs, images, steps and chips must be at least 1")
    images = mnist(options.data)
    with report.open_run("photonic-snn", options.out, options.inputs(size), force=options.force) as run:
        study = _Study(run, key, size, images)
        model = study.trained()
        ann = study.digital(model)
        curves = {name: study.curve(name, model, *variant) for name, variant in variants().items()}
        return write(run, size, ann | study.agreement(model), curves)


def rates(x: Any) -> Array:
    """Bytes as rates of spikes, (n, 784) within [0, 1]."""
    return jnp.asarray(x, jnp.float32).reshape(len(x), -1) / 255.0


class _Study:
    """The stages of one run; accuracies in %."""

    def __init__(self, run: report.Run, key: Array, size: Preset, images: Any) -> None:
        self.run, self.key, self.size, self.train = run, key, size, images.train
        self.typical = rates(images.train[0][:2000])
        self.all = rates(images.test[0]), jnp.asarray(images.test[1])
        self.test = self.all[0][: size.images], self.all[1][: size.images]

    def trained(self) -> Any:
        """784-256-10 with ReLU and without biases, trained with weight noise."""
        steps = self.size.epochs * (len(self.train[0]) // 100)
        fresh = nn.models.MLP(SIZES, bias=False, rngs=nnx.Rngs(named(self.key, "initial")))
        noisy = nn.to_analog(fresh, Tile(784, 256), injections=[training.WeightNoise(0.02)], report=None)
        optimiser = optax.chain(optax.adam(optax.cosine_decay_schedule(1e-3, steps)), training.clip_weights(3.0))
        model = training.fit(
            named(self.key, "training"), noisy, self.train, optimiser, steps=steps, batch=100,
            prepare=lambda key, x: rates(x), checkpoints=self.run.work / "checkpoints" / "training", every=1000,
            label="ReLU network",
        ).model  # fmt: skip
        exact = nn.models.MLP(SIZES, bias=False, rngs=nnx.Rngs(0))
        for mine, theirs in zip(exact.layers, model.layers, strict=True):
            mine.kernel.set_value(theirs.kernel[...])
        exact.eval()
        return exact

    def digital(self, model: Any) -> dict[str, float]:
        """Accuracy with ReLU, on all test images and on those of the chips."""
        return self.run.stage(
            "digital", lambda: {"ann": self._right(model, self.all), "ann, these images": self._right(model, self.test)}
        )

    def _right(self, model: Any, test: tuple[Array, Array]) -> float:
        return 100.0 * float(nn.accuracy(model, *test))

    def agreement(self, model: Any) -> dict[str, float]:
        """Share of test images on which spikes and ReLU decide alike, ideal weights and soft reset."""
        report.say(f"{self.size.longest} steps, ideal weights")

        def compute() -> dict[str, float]:
            net = nn.spiking(model, self.typical, steps=self.size.longest)
            graph, state = nnx.split(net)
            last = jax.jit(lambda state, x: nnx.merge(graph, state, copy=True)(x))
            x = self.all[0]
            found = np.concatenate([np.asarray(last(state, x[k : k + 500])) for k in range(0, len(x), 500)])
            wanted = np.asarray(nn.logits(model, x))
            return {"agreement": float(np.mean(found.argmax(-1) == wanted.argmax(-1)))}

        return self.run.stage("agreement", compute)

    def curve(self, name: str, model: Any, tile: Tile | None, neuron: Neuron) -> list[list[float]]:
        """Accuracies (chips, steps) after every step."""
        report.say(name)

        def compute() -> dict[str, Any]:
            net = nn.spiking(model, self.typical, steps=self.size.steps, neuron=neuron)
            on = net if tile is None else nn.to_analog(net, tile, report=None)
            graph, state = nnx.split(on)
            x, y = self.test

            @jax.jit
            def one(k: Array, state: Any) -> Array:
                made = nnx.merge(graph, state, copy=True)
                if tile is not None:
                    chip, _ = nn.program(named(k, "program"), made, ranges="keep", report=None)
                    made = nn.read(named(k, "read"), chip)
                return jnp.mean(jnp.argmax(made.course(x), axis=-1) == y, axis=-1)

            keys = split(named(self.key, "chips"), 1 if tile is None else self.size.chips)
            return {"accuracy": 100.0 * stream(lambda k: one(k, state), keys)}

        return self.run.stage(name, compute)["accuracy"]


# ---------------------------------------------------------------------------------------------------- results


def write(run: report.Run, size: Preset, ann: Mapping[str, float], curves: Mapping[str, Any]) -> Path:
    """Tables, CSV, plots, result.json."""
    shown = sorted({t for t in (4, 8, 16, 32, 64, 128, 256) if t <= size.steps} | {size.steps})
    run.table(
        f"MNIST, {'-'.join(map(str, SIZES))}, {size.images:,} test images: accuracy in % after T steps, {size.chips} "
        f"chips (± SD); with ReLU {ann['ann, these images']:.2f} (all images {ann['ann']:.2f})",
        ["network", *(f"T = {t}" for t in shown)],
        [[name, *(report.mean_sd(np.asarray(a)[:, t - 1], 2) for t in shown)] for name, a in curves.items()],
    )
    cells = sum(a * b for a, b in itertools.pairwise(SIZES))
    pulse = photonic.GSTPulse()
    write_nj = pulse.power * pulse.time * 1e-3 + pulse.tail * float(pulse.off) * 1e-3
    read_pj = PROBE * PULSE * sum(SIZES[:-1]) * size.steps
    run.table(
        f"Time and light of one inference of {size.steps} steps (ours, for orientation)",
        ["", "value"],
        [
            [
                f"time: {PULSE:g} ns pulses, {COOLING:g} ns between them, µs",
                f"{size.steps * (PULSE + COOLING) * 1e-3:.1f}",
            ],
            [f"light at {PROBE:g} mW a wavelength, all inputs spiking, nJ", f"{read_pj * 1e-3:.3g}"],
            [
                f"writing {2 * cells:,} synapses once, at most {write_nj:.2f} nJ each, µJ",
                f"{2 * cells * write_nj * 1e-3:.3g}",
            ],
        ],
    )
    report.say(
        f"spikes and ReLU decide alike on {100 * ann['agreement']:.2f} % of all images after {size.longest} steps"
    )
    photonic_plots.curves(run, curves, ann["ann, these images"])
    photonic_plots.synapse(run, pulse)
    run.csv(
        "accuracy",
        {"steps": shown}
        | report.columns({name: [np.asarray(a)[:, t - 1] for t in shown] for name, a in curves.items()}),
    )

    def last(name: str) -> float:
        return float(np.mean(np.asarray(curves[name])[:, -1]))

    figures = [
        report.figure("accuracy_ann", ann["ann, these images"], unit="%"),
        report.figure("accuracy_snn", last("ideal weights, soft reset"), unit="%"),
        report.figure("accuracy_snn_hard", last("ideal weights, hard reset"), unit="%"),
        report.figure("accuracy_snn_gst", last("GST, soft reset"), unit="%"),
        report.figure("accuracy_snn_gst_crosstalk", last("GST, crosstalk, soft reset"), unit="%"),
        report.figure("accuracy_snn_gst_neurons", last("GST, crosstalk, GST neurons"), unit="%"),
        report.figure("agreement", ann["agreement"]),
    ]
    return run.finish(
        figures,
        f"A ReLU network for MNIST was made one of spikes and run for {size.steps} time steps, on ideal weights and on "
        f"GST "
        "synapses. The network has {accuracy_ann:.2f} %, its spikes {accuracy_snn:.2f} % with ideal weights and "
        "{accuracy_snn_gst:.2f} % on GST; after many more steps they decide alike on {agreement:.2%} of the images.",
        ann=dict(ann),
        curves=dict(curves),
    )
