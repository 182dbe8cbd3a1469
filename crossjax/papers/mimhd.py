"""Multi-bit hyperdimensional computing in memory: encoders on FeFET crossbars, class vectors in FeFET CAMs.

Kazemi et al., arXiv:2106.12029, and its successor, Sci. Rep. 12 (2022), s41598-022-23116-w. Of both the abstracts were
read: means over six data sets at D = 4000, whose names are in no text that was at hand. The six here are others, and
so are the cell's law and numbers (`crossjax.cam.FeFET`), the encoders and the retraining (QuantHD): the paper's means
stand beside ours for orientation only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from crossjax import ADC, DAC, cam, devices, features, hdc, report
from crossjax._random import named, seeded, split
from crossjax.features import Features
from crossjax.images import digits, mnist
from crossjax.papers import mimhd_plots
from crossjax.papers.options import Options as CommonOptions
from crossjax.tiles import Tile, calibrate_ranges

WINDOW = 1.2  # V, memory window of a transistor; the levels of every resolution fill it
BITS = (1, 2, 3)
AWARE = 0.5  # σ of V_th over the spacing of 3-bit levels, of the six sets with spread
STUDIED = ("digits", "ISOLET")
PAPER = {"accuracy_2bit": 88.9, "accuracy_3bit": 92.6}  # means over the paper's own six sets


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of one run.

    Attributes:
        images: of MNIST, to train with; a fifth as many to test.
        pieces: of every language's text, 150 letters each, to train with.
        sentences: of every language, to test.
        dimensions: D of the comparison.
        sizes: D of the study of spread.
        spreads: σ of V_th over the spacing of levels.
        chips: in every population.
        epochs: of retraining.
    """

    images: int
    pieces: int
    sentences: int
    dimensions: int
    sizes: tuple[int, ...]
    spreads: tuple[float, ...]
    chips: int
    epochs: int


PRESETS = {
    "quick": Preset(5000, 200, 100, 4000, (256, 1000, 4000), (0.0, 0.5, 1.0, 1.5, 2.0), 4, 30),
    "paper": Preset(
        60_000, 1000, 1000, 4000, (256, 512, 1000, 2000, 4000), (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0), 16, 120
    ),
}


@dataclasses.dataclass(frozen=True)
class Options(CommonOptions):
    """Kazemi et al. (2021, 2022).

    Attributes:
        data: folder with MNIST, ISOLET-1560 and languages21 (default CROSSJAX_DATA).
        images: of MNIST, to train with, instead of the preset's number.
        chips: in every population.
        epochs: of retraining.
        rate: of retraining.
    """

    data: Path | None = None
    images: int | None = None
    chips: int | None = None
    epochs: int | None = None
    rate: float = 0.03


def memory(bits: int, spread: float | None = None, **more: Any) -> hdc.InMemory:
    """A FeFET memory whose levels fill the window; ``spread`` of V_th in units of their spacing."""
    spacing = WINDOW / (2**bits - 1)
    cell = cam.FeFET(spacing, None if spread is None else spread * spacing, window=WINDOW)
    return hdc.InMemory(cam.CAM(bits, cell=cell, **more))


def crossbar() -> Tile:
    """The crossbar of the projection: a pair of FeFETs a weight, converters of 8 bits."""
    return Tile(256, 256, device=devices.fefet(), dac=DAC(8), adc=ADC(8), compensation=None)


def reproduce(options: Options) -> Path:
    """Run the experiment; returns the folder with its results. An interrupted run resumes.

    Raises:
        ValueError: for an unknown preset, or numbers out of range.
        FileNotFoundError: if a data set is not there.
        ImportError: without aeon, which two of the data sets come with.
    """
    key, size = seeded(options.seed), options.sized(PRESETS)
    if size.images < 100 or min(size.chips, size.epochs) < 1 or options.rate < 0:
        raise ValueError("images must be at least 100, chips and epochs at least 1, the rate at least 0")
    sources = six(options.data, size)
    with report.open_run("mimhd", options.out, options.inputs(size), force=options.force) as run:
        study = _Study(run, key, size, options.rate)
        found = {name: study.compare(name, load) for name, load in sources.items()}
        spread = {name: study.spread(name, sources[name]) for name in STUDIED}
        return write(run, found, spread, size)


# ------------------------------------------------------------------------------------------------------- data

Source = Callable[[Array, int], tuple[tuple[Array, np.ndarray], tuple[Array, np.ndarray]]]
"""From a key and D to hypervectors and labels, to train and to test with."""


def six(folder: Path | None, size: Preset) -> dict[str, Source]:
    """The six data sets, each with its encoder.

    Raises:
        FileNotFoundError: if one is not there.
        ImportError: without aeon.
    """
    images = mnist(folder)
    x, y = digits()
    order = np.random.default_rng(0).permutation(len(x))  # 449 of 1,797 digits are the test
    train, test = order[449:], order[:449]
    held = size.images // 5

    def flat(part: tuple[np.ndarray, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray]:
        return part[0][:count].reshape(count, -1) / np.float32(255), part[1][:count].astype(np.int32)

    sets = {
        "digits": Features((x[train], y[train]), (x[test], y[test])),
        "MNIST": Features(flat(images.train, size.images), flat(images.test, min(held, 10_000))),
        "ISOLET": features.isolet1560(folder),
        "vowels": features.japanese_vowels(),
        "motions": features.basic_motions(),
    }
    texts = features.languages21(folder)
    found: dict[str, Source] = {name: projected(data) for name, data in sets.items()}
    return found | {"languages": by_trigrams(texts, size)}


def projected(data: Features) -> Source:
    """Features centred and scaled by what is known of the training set, projected by a FeFET crossbar."""

    def encode(key: Array, dimensions: int) -> Any:
        (x, y), (x_test, y_test) = data.train, data.test
        centre = x.mean(axis=0)
        deviation = (x - centre).std()
        scaled = [jnp.asarray((a - centre) / deviation) for a in (x, x_test)]
        plain = hdc.Projection(x.shape[1], dimensions)
        tile = calibrate_ranges(crossbar(), plain.draw(named(key, "book")), scaled[0][:500])
        encoder = hdc.Projection(x.shape[1], dimensions, tile)
        book = encoder.draw(named(key, "book"))
        h, h_test = (encoder.encode(named(key, name), book, a) for name, a in zip(("a", "b"), scaled, strict=True))
        return (h, y), (h_test, y_test)

    return encode


def by_trigrams(texts: features.Languages, size: Preset) -> Source:
    """Histograms of trigrams: pieces of 150 letters of every training text, and sentences."""

    def encode(key: Array, dimensions: int) -> Any:
        encoder = hdc.NGrams(len(features.ALPHABET), 3, dimensions)
        book = encoder.draw(named(key, "book"))

        def vectors(parts: list[np.ndarray]) -> Array:
            blocks = [np.stack([encoder.histogram(t) for t in parts[k : k + 500]]) for k in range(0, len(parts), 500)]
            return jnp.concatenate([encoder.encode(key, book, jnp.asarray(b, jnp.float32)) for b in blocks])

        pieces, labels = [], []
        for n, text in enumerate(texts.train):
            starts = np.linspace(0, len(text) - 150, size.pieces).astype(int)
            pieces += [text[s : s + 150] for s in starts]
            labels += [n] * len(starts)
        which = np.concatenate([np.flatnonzero(texts.labels == n)[: size.sentences] for n in range(len(texts.names))])
        h, h_test = vectors(pieces), vectors([texts.test[k] for k in which])
        mean = h.mean(axis=0)  # what all languages have in common
        return (h - mean, np.asarray(labels, np.int32)), (h_test - mean, texts.labels[which])

    return encode


# ------------------------------------------------------------------------------------------------------- runs


class _Study:
    """The stages of one run; accuracies in %."""

    def __init__(self, run: report.Run, key: Array, size: Preset, rate: float) -> None:
        self.run, self.key, self.size, self.rate = run, key, size, rate

    def stage(self, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A stage that says its name when it begins."""
        report.say(name)
        return self.run.stage(name, compute)

    def compare(self, name: str, load: Source) -> dict[str, Any]:
        """Float and every resolution, plain and retrained, without spread; 3 bits with spread, on the chips."""

        def compute() -> dict[str, Any]:
            data = load(named(self.key, name), self.size.dimensions)
            found: dict[str, Any] = {"classes": classes_of(data)}
            for what, search in [("float", hdc.Cosine()), *((f"{b}bit", memory(b)) for b in BITS)]:
                plain, retrained = self.chips(data, search, 1)
                found |= {f"{what} plain": plain[0], f"{what} retrained": retrained[0]}
            found["aware"] = self.chips(data, memory(3, AWARE), self.size.chips)[1]
            found["descent"] = self.by_gradient(data)
            return found

        return self.stage(f"{name}: {self.size.dimensions} dimensions", compute)

    def by_gradient(self, data: Any) -> float:
        """Test accuracy with 3 bits, trained through the levels and the search."""
        (h, y), (h_test, y_test) = data
        key, batch = named(self.key, "descent"), min(100, len(y))
        trained = hdc.descend(
            key, h, y, memory(3), classes=classes_of(data), epochs=max(1, self.size.epochs // 6), batch=batch
        )
        return 100.0 * float(np.mean(np.asarray(trained.classify(key, h_test)) == y_test))

    def spread(self, name: str, load: Source) -> dict[str, Any]:
        """Accuracies (spreads, chips) by D, of vectors retrained without the hardware, and on it."""
        found = {}
        for d in self.size.sizes:

            def compute(d: int = d) -> dict[str, Any]:
                data = load(named(self.key, name), d)
                (h, y), classes, aware, blind = data[0], classes_of(data), [], []
                known = hdc.retrain(  # knows no spread, so that it is one for all chips
                    self.key, h, y, memory(3), classes=classes, epochs=self.size.epochs, rate=self.rate
                )
                for s in self.size.spreads:
                    chips = self.size.chips if s else 1  # without spread all are alike
                    aware.append(self.chips(data, memory(3, s), chips)[1])
                    blind.append((100.0 * _written(self.keys(chips), known.vectors, data[1], memory(3, s))).tolist())
                return {"blind": blind, "aware": aware}

            found[d] = self.stage(f"{name}: spread of V_th, {d} dimensions", compute)
        return found

    def keys(self, chips: int) -> Array:
        """Of so many chips."""
        return split(named(self.key, "chips"), chips)

    def chips(self, data: Any, search: hdc.Searched, chips: int) -> list[list[float]]:
        """Test accuracies of chips, as they are summed and after retraining on them."""
        (train, test), rate = data, jnp.asarray(self.rate)
        found = _accuracies(self.keys(chips), train, test, search, rate, classes_of(data), self.size.epochs)
        return (100.0 * found.T).tolist()


def classes_of(data: Any) -> int:
    """How many classes the labels have."""
    return int(max(y.max() for _, y in data)) + 1


@partial(jax.jit, static_argnums=(5, 6))  # one program for all spreads
def _accuracies(keys: Array, train: Any, test: Any, search: Any, rate: Any, classes: int, epochs: int) -> Array:
    """Accuracies on the test of chips, one after the other: (chips, 2), before and after retraining."""
    h, y = train

    def one(key: Array) -> Array:
        def after(epochs: int) -> Array:
            trained = hdc.retrain(named(key, "retrain"), h, y, search, classes=classes, epochs=epochs, rate=rate)
            return jnp.mean(trained.classify(named(key, "test"), test[0]) == test[1])

        return jnp.stack([after(0), after(epochs)])

    return lax.map(one, keys)


@jax.jit
def _written(keys: Array, vectors: Array, test: Any, search: Any) -> Array:
    """Accuracies on the test of chips that class vectors are written onto."""

    def one(key: Array) -> Array:
        held, _ = search.store(named(key, "write"), vectors, None)
        return jnp.mean(search.classify(named(key, "test"), held, test[0]) == test[1])

    return lax.map(one, keys)


# ---------------------------------------------------------------------------------------------------- results


def recovered(spread: Mapping[str, Any], size: Preset) -> dict[str, Any] | None:
    """The point at which spread costs most, if it costs 2 points: what retraining on the hardware recovers of it."""
    points = []
    for name, by_size in spread.items():
        for d, found in by_size.items():
            blind, aware = (np.array([np.mean(a) for a in found[kind]]) for kind in ("blind", "aware"))
            lost = max(blind[0], aware[0]) - blind
            k = int(lost.argmax())
            if lost[k] >= 2.0:
                share = float((aware[k] - blind[k]) / lost[k])
                points.append({"set": name, "D": d, "spread": size.spreads[k], "lost": float(lost[k]), "share": share})
    return max(points, key=lambda p: p["lost"]) if points else None


def write(run: report.Run, found: Mapping[str, Any], spread: Mapping[str, Any], size: Preset) -> Path:
    """Tables, CSV, plots, result.json."""
    columns = ["float", *(f"{b}bit" for b in BITS)]
    rows = [
        [name, str(r["classes"]), *(f"{r[f'{c} plain']:.1f} / {r[f'{c} retrained']:.1f}" for c in columns),
         f"{r['descent']:.1f}", report.mean_sd(r["aware"], 1)]
        for name, r in found.items()
    ]  # fmt: skip
    means = {c: float(np.mean([r[f"{c} retrained"] for r in found.values()])) for c in columns}
    aware, descent = (float(np.mean([np.mean(r[kind]) for r in found.values()])) for kind in ("aware", "descent"))
    plain = [f"{np.mean([r[f'{c} plain'] for r in found.values()]):.1f} / {means[c]:.1f}" for c in columns]
    run.table(
        f"Accuracy, %, at D = {size.dimensions:,}: class vectors as means / retrained {size.epochs} epochs, FeFET "
        f"memories without spread; 3 bits trained by gradient; and with a spread of {AWARE:g} of a level, retrained on "
        f"{size.chips} chips",
        ["data set", "classes", "float", *(f"{b} bit" for b in BITS), "3 bit, gradient", "3 bit, on chips"],
        [*rows, ["mean of these six", "", *plain, f"{descent:.1f}", f"{aware:.1f}"]],
    )
    run.table(
        f"Spread of V_th against the spacing of 3-bit levels: accuracy, %, {size.chips} chips (± SD)",
        ["data set", "D", "retrained", *(f"{s:g}" for s in size.spreads)],
        [
            [name, str(d), {"blind": "without the hardware", "aware": "on the chips"}[kind],
             *(report.mean_sd(a, 1) for a in r[kind])]
            for name, by_size in spread.items() for d, r in by_size.items() for kind in ("blind", "aware")
        ],
    )  # fmt: skip
    point = recovered(spread, size)
    if point is None:
        report.say("spread costs less than 2 points everywhere: nothing to recover")
    else:
        report.say(
            f"{point['set']} at D = {point['D']}, spread {point['spread']:g} of a level: {point['lost']:.1f} points "
            f"lost, {100 * point['share']:.0f} % of them recovered by retraining on the hardware"
        )
    mimhd_plots.accuracies(run, found, columns)
    mimhd_plots.spreads(run, spread, size.spreads)
    mimhd_plots.cell(run, memory(3, AWARE).memory)
    run.csv("accuracy", {"data set": list(found), **{
        f"{c} {kind}": [r[f"{c} {kind}"] for r in found.values()] for c in columns for kind in ("plain", "retrained")
    }})  # fmt: skip
    figures = [report.figure(f"accuracy_{c}", means[c], paper=PAPER.get(f"accuracy_{c}"), unit="%") for c in columns]
    figures += [
        report.figure("accuracy_3bit_gradient", descent, unit="%"),
        report.figure("accuracy_3bit_on_chips", aware, unit="%"),
    ]
    if point is not None:
        figures.append(report.figure("recovered_by_retraining", point["share"]))
    return run.finish(
        figures,
        f"{len(found)} data sets were classified by hyperdimensional vectors in FeFET memories of 1, 2 and 3 bits, "
        f"retrained. "
        "On average float has {accuracy_float:.1f} %, 1 bit {accuracy_1bit:.1f} %, 2 bits {accuracy_2bit:.1f} %, 3 "
        "bits {accuracy_3bit:.1f} % and 3 bits on chips with spread {accuracy_3bit_on_chips:.1f} %.",
        sets=dict(found),
        spread=dict(spread),
        recovered_at=point,
    )
