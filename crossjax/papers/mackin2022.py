"""Optimised weight programming: where to put a weight so that a network on drifting devices keeps its accuracy.

Mackin et al., Nat. Commun. 13:3765 (2022). Strategies are searched by their weight error over time, in closed form and
as published; then three networks are programmed with them and followed: a word LSTM on Penn Treebank, an imported
ResNet on CIFAR-10, a small Transformer on SST-2 (the paper has BERT-base on MNLI). Devices are the statistical PCM
model; converters are ideal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array, lax
from rich.progress import Progress

import crossjax as cx
from crossjax import nn, report, strategies, text
from crossjax._random import named, numbered, seeded
from crossjax.nn.walk import layers, matrices
from crossjax.papers import language, mackin_plots, mackin_study
from crossjax.papers.cifar import IMPORTED, Cifar, published_resnet
from crossjax.papers.language import ON_TILES, Task, TextOptions, Trainer
from crossjax.strategies import scan
from crossjax.tiles.strategy import Strategy
from crossjax.tiles.tile import Tile

MONTH = 30 * 86_400.0
FACTORS = (1.0, 1.5, 2.0, 2.5, 3.0)
NAMES = ("msp", "equal", "optimised")


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        epochs: of the word LSTM.
        noise_steps: of the noise-aware training that follows, of every network that is trained here.
        transformer_steps: batches of 64 sentences.
        tokens: of the test text.
        images, sentences: of the test sets.
        seeds: chips of every strategy.
        times: seconds after the first read.
        published: seconds that the published search is given.
    """

    epochs: int
    noise_steps: int
    transformer_steps: int
    tokens: int
    images: int
    sentences: int
    seeds: int
    times: tuple[float, ...]
    published: float


PRESETS = {
    "quick": Preset(2, 200, 1200, 10_000, 1000, 872, 4, (1.0, MONTH), 45.0),
    "paper": Preset(
        13, 2323, 5 * 947, 82_430, 10_000, 872, 25, (1.0, 3600.0, 86_400.0, 1e6, MONTH, 365 * 86_400.0), 240.0
    ),
}  # fmt: skip
CUT = {
    "quick": "the word LSTM after 2 epochs of 13, 10,000 test words, 1,000 images, 4 chips of 25, the first second and "
    "a month; the published search stopped after 45 s",
    "paper": "the Transformer is a small one, on SST-2",
}


@dataclasses.dataclass(frozen=True)
class Options(TextOptions):
    """Mackin et al. (2022).

    Attributes:
        images: of the CIFAR-10 test set, instead of the preset's number.
        networks: program the three networks; without them only strategies are compared.
    """

    images: int | None = None
    networks: bool = True


def memory() -> cx.Device:
    """Statistical PCM without white read noise."""
    return cx.replace(cx.devices.pcm(), read=None)


def hardware(cell: Any = None) -> Tile:
    """One crossbar a layer of statistical PCM, ideal converters, GDC; no read noise but the accumulated one."""
    return Tile(1024, 1024, device=memory(), cell=cx.Pairs() if cell is None else cell)


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if a data set is not there.
        FloatingPointError: if training diverges.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    loaded = _load(options, size) if options.networks else {}
    inputs = options.inputs(size, cut=options.cut(CUT))
    with report.open_run("mackin2022", options.out, inputs, force=options.force) as run:
        studied = mackin_study.study(run, key, size.published)
        mackin_study.write(run, studied)
        found: dict[str, Any] = {}
        if options.networks:
            tasks = prepare(run, key, size, options, loaded)
            found = {task.name: follow(run, key, task, size) for task in tasks}
            for name, results in found.items():
                mackin_plots.network(run, name, results, size.times)
        return finish(run, studied, found, size)


def _load(options: Options, size: Preset) -> dict[str, Any]:
    """All data sets, so that one that is missing is said before anything is computed."""
    return {
        "ptb": text.penn_treebank(options.data), "sst2": text.sst2(options.data),
        "cifar": Cifar.load(options.data, IMPORTED, size.images),
    }  # fmt: skip


def prepare(run: report.Run, key: Array, size: Preset, options: Options, loaded: Mapping[str, Any]) -> list[Task]:
    """The three networks, trained, and what they are measured by."""
    trainer, tile = Trainer(run, key), hardware()
    task = dataclasses.replace(language.WORDS, epochs=size.epochs, noise_steps=size.noise_steps)
    lstm = task.train(trainer, loaded["ptb"], tile, options.word_model)
    nn.save(run.results / "ptb_lstm.safetensors", lstm["conventional"])
    encoder = language.transformer(trainer, loaded["sst2"], tile, size.transformer_steps, size.noise_steps)
    windows = language.as_windows(loaded["ptb"].test[: size.tokens + 10], 10, 100)
    words, labels = (jnp.asarray(a[: size.sentences]) for a in loaded["sst2"].test)
    shape = jax.ShapeDtypeStruct
    return [
        Task("ptb_lstm", "loss", lstm, ON_TILES["lstm"], shape((2, 4), jnp.int32), windows, language.mean_loss),
        Task("cifar_resnet20", "accuracy", {"conventional": published_resnet(None)}, None,
             shape((1, 32, 32, 3), jnp.float32), loaded["cifar"].test, language.accuracy),
        Task("sst2_transformer", "accuracy", encoder, ON_TILES["transformer"],
             shape((2, words.shape[1]), jnp.int32), (words, labels), language.accuracy),
    ]  # fmt: skip


def follow(run: report.Run, key: Array, task: Task, size: Preset) -> dict[str, Any]:
    """A network on chips of every strategy: its figure (seeds, times) by training and strategy, and the digital one.

    All strategies see the same random numbers: chip n of one is chip n of the other, with other targets.
    """
    results: dict[str, Any] = {"figure": task.figure, "digital": {}, "chips": {}, "F": {}}
    for training, model in task.model.items():
        model.eval()
        density = strategies.of_weights(_normalised(task.on(model, hardware())))
        best = run.stage(f"{task.name} {training} strategy", lambda d=density: _searched(key, d, size.times))
        cells = alike(best)
        results["F"][training] = best["factors"][0]
        measure = OnChips(task, model, cells["optimised"], size.times)
        results["digital"][training] = run.stage(
            f"{task.name} {training} digital", lambda m=measure, net=model: {"it": m.digital(net)}
        )["it"]
        with Progress(console=report.console, transient=True) as progress:
            bar = progress.add_task(f"{task.name}, {training}", total=len(NAMES) * size.seeds)
            for name in NAMES:
                rows = []
                for n in range(size.seeds):
                    stage = f"{task.name} {training} {name} {n}"
                    at = numbered(named(key, task.name), n)
                    rows.append(
                        run.stage(stage, lambda m=measure, c=cells[name], k=at: {"figures": m(k, c)})["figures"]
                    )
                    progress.advance(bar)
                results["chips"][f"{training} {name}"] = rows
    return results


def _normalised(analog: Any) -> np.ndarray:
    """All weights on tiles, as fractions of the largest one of their layer."""
    found = (np.abs(np.asarray(matrices(layer, op))).ravel() for _, layer, op in layers(analog))
    return np.concatenate([w / w.max() for w in found])


def _searched(key: Array, density: strategies.Density, times: tuple[float, ...]) -> dict[str, Any]:
    """The best strategy over all F, for the times that the network is followed at."""
    task = strategies.problem(memory(), density, times)
    scans = scan.scan(named(key, "strategy"), task, FACTORS)
    return scan.as_record(min((s.best for s in scans), key=lambda b: b.loss).strategy)


def alike(best: Mapping[str, Any]) -> dict[str, Strategy]:
    """The three strategies in one form, so that one compiled program serves all.

    "msp": everything on the most significant pair; the other one, of no significance at all, is not there.
    """
    optimised = scan.from_record(best)
    knots = optimised.knots
    zero = jnp.zeros_like(knots)
    return {
        "msp": Strategy((1.0, 1e-12), knots, jnp.stack([knots, zero, zero, zero]), 1.0),
        "equal": Strategy((1.0, 1.0), knots, jnp.stack([knots, zero, knots, zero]), 2.0),
        "optimised": optimised,
    }


class OnChips:
    """The figure of a network on one chip over time; ``__call__`` programs one."""

    def __init__(self, task: Task, model: Any, cell: Strategy, times: tuple[float, ...]) -> None:
        self.task = task
        graph, self.state = nnx.split(task.on(model, hardware(cell)))
        moments = jnp.asarray(times)

        def run(key: Array, state: Any, cell: Strategy, data: tuple[Array, Array]) -> Array:
            net = nn.map_tiles(nnx.merge(graph, state, copy=True), lambda path, tile: cx.replace(tile, cell=cell))
            chip, _ = nn.program(named(key, "program"), net, report=None)
            return lax.map(
                lambda at: task.measure(nn.read(at[0], chip, at[1]), data),
                (jax.random.split(named(key, "times"), len(times)), moments),
            )

        self.run = jax.jit(run)

    def __call__(self, key: Array, cell: Strategy) -> list[float]:
        """Figures of one chip, a list over times."""
        return np.asarray(self.run(key, self.state, cell, self.task.data), float).tolist()

    def digital(self, model: Any) -> float:
        """The figure without hardware."""
        graph, state = nnx.split(model)
        return float(jax.jit(lambda s, d: self.task.measure(nnx.merge(graph, s), d))(state, self.task.data))


def finish(run: report.Run, studied: Mapping[str, Any], found: Mapping[str, Any], size: Preset) -> Path:
    """result.json and report.html."""
    figures = mackin_study.figures(studied)
    last = len(size.times) - 1
    for network, results in found.items():
        short, what = network.split("_", 1)[1], results["figure"]
        figures.append(report.figure(f"{short}_{what}_digital", results["digital"]["conventional"]))
        for name in NAMES:
            rows = np.asarray(results["chips"][f"conventional {name}"])
            figures.append(report.figure(f"{short}_{what}_30d_{name}", float(rows[:, last].mean())))
    said = (
        "The best ways to hold a weight in four phase-change devices were searched, and networks put on chips of each "
        "for a month. The optimum changes the weight error of one pair by {weight_error_change_t0:+.0%} at first and "
        "{weight_error_change_30d:+.0%} after a month"
    )
    if "resnet20_accuracy_30d_optimised" in {f["name"] for f in figures}:
        said += (
            "; a ResNet-20 then has {resnet20_accuracy_30d_optimised:.1%} instead of {resnet20_accuracy_30d_msp:.1%} "
            "(digital {resnet20_accuracy_digital:.1%})"
        )
    return run.finish(figures, said + ".", networks=found, study=mackin_study.record(studied))
