"""The main job on embedded data: a digits network on HERMES chips, programmed three ways, aged for a year."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from rich.progress import Progress

import crossjax as cx
from crossjax import plot, report
from crossjax._random import named, seeded
from crossjax.images import digits
from crossjax.plot.chips import CAPTION as CHIP
from crossjax.programming import METHODS, History, Method

SIZES = (64, 256, 256, 10)
LAYER = 1  # the 256 × 256 layer: the table and the MVM errors are about it
TIMES = (25.0, 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0)

Params = list[tuple[Array, Array]]


def quickstart(out: Path | None = None, *, chips: int = 8, seed: int = 0, force: bool = False) -> Path:
    """Program a digits network onto HERMES chips three ways and follow it for a year.

    Args:
        out: folder for the results (default runs/quickstart).
        chips: chips in the population.
        seed: makes a run repeatable.
        force: replace an existing folder.

    Returns:
        The folder with the results.

    Raises:
        ValueError: for fewer than 1 chip.
        OSError: if the folder exists or cannot be written.
    """
    if chips < 1:
        raise ValueError(f"chips must be at least 1, got {chips}")
    key = seeded(seed)
    tile = "hermes, 3 % column gain spread, converter ranges calibrated to the network"
    inputs = {"chips": chips, "seed": seed, "tile": tile, "network": SIZES}
    with report.open_run("quickstart", out, inputs, force=force) as run:
        train, test = data(named(key, "split"))
        params = train_network(named(key, "network"), *train)
        tiles = hardware(params, train[0])
        digital = float(accuracy(forward(params, test[0]), test[1]))
        keys = jax.random.split(named(key, "chips"), chips)

        results: dict[str, dict[str, Any]] = {}
        with Progress(console=report.console, transient=True) as progress:
            bar = progress.add_task("programming", total=len(METHODS))
            for name in METHODS:
                progress.update(bar, description=f"programming {chips} chips: {plot.LABELS[name]}")
                results[name] = run.stage(name, lambda name=name: measure(run, keys, name, params, tiles, test))
                progress.advance(bar)
        x = activations(params, test[0])[LAYER]
        perfect = run.stage("perfect", lambda: {"mvm_error": perfect_error(keys, tiles[LAYER], params[LAYER][0], x)})
        return write(run, results, np.array(perfect["mvm_error"]), digital, (tiles[LAYER], params[LAYER][0]))


def data(key: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """(training images, labels), (test images, labels): 1,297 and 500 digits."""
    images, labels = digits()
    order = np.asarray(jax.random.permutation(key, len(images)))
    x, y = jnp.asarray(images[order]), jnp.asarray(labels[order])
    return (x[500:], y[500:]), (x[:500], y[:500])


def train_network(key: Array, x: Array, y: Array, *, epochs: int = 40, batch: int = 64) -> Params:
    """A multilayer perceptron trained by Adam in float32: weights (rows = inputs, cols = outputs) and biases."""
    ks = jax.random.split(key, len(SIZES))
    start = [
        (jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
        for k, a, b in zip(ks, SIZES, SIZES[1:], strict=False)
    ]
    optimiser = optax.adamw(1e-3, weight_decay=1e-2)

    def loss(params: Params, x: Array, y: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(forward(params, x), y).mean()

    def step(carry: tuple[Params, Any], at: Array) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        updates, state = optimiser.update(jax.grad(loss)(params, x[at], y[at]), state, params)
        return (optax.apply_updates(params, updates), state), None  # type: ignore[return-value]

    @jax.jit
    def fit(params: Params) -> Params:
        count = len(x) // batch
        orders = jax.vmap(lambda k: jax.random.permutation(k, len(x))[: count * batch])(
            jax.random.split(ks[-1], epochs)
        )
        return lax.scan(step, (params, optimiser.init(params)), orders.reshape(-1, batch))[0][0]

    return fit(start)


def activations(params: Params, x: Array) -> list[Array]:
    """Inputs of every layer."""
    inputs = [x]
    for w, b in params[:-1]:
        inputs.append(jax.nn.relu(inputs[-1] @ w + b))
    return inputs


def forward(params: Params, x: Array) -> Array:
    """Logits of the digital network."""
    w, b = params[-1]
    return activations(params, x)[-1] @ w + b


def accuracy(logits: Array, labels: Array) -> Array:
    """Fraction of correct labels."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)


def hardware(params: Params, x: Array) -> list[cx.Tile]:
    """Every layer's core: HERMES with 3 % spread of column gains, the ranges of its converters calibrated."""
    tile = cx.presets.hermes(gain=0.03)
    layers = zip(params, activations(params, x), strict=True)
    return [cx.calibrate_ranges(tile, w, inputs) for (w, _), inputs in layers]


def perfect_error(keys: Array, tile: cx.Tile, w: Array, x: Array) -> Array:
    """MVM error at the first of the times of perfectly written weights, without gain spread: the floor, by chip."""
    tile = cx.replace(tile, **{"adc.gain": None})

    @jax.jit
    def one(key: Array) -> Array:
        return cx.mvm_error(named(key, "age"), tile, cx.program(key, tile, w, cx.Exact())[0], w, x, TIMES[0])

    return lax.map(one, keys)


def measure(
    run: report.Run, keys: Array, name: str, params: Params, tiles: list[cx.Tile], test: tuple[Array, Array]
) -> dict[str, Any]:
    """Program the network on a population of chips; accuracy and MVM error at every time, with and without GDC.

    The first chip's `LAYER` is kept as a file of the results, to be looked at.
    """
    method: Method = METHODS[name]()

    @jax.jit
    def program(keys: Array) -> tuple[list[cx.Chip], History]:
        return lax.map(one, keys)

    def one(key: Array) -> tuple[list[cx.Chip], History]:
        programmed = [
            cx.program(jax.random.fold_in(key, n), tile, w, method)
            for n, (tile, (w, _)) in enumerate(zip(tiles, params, strict=True))
        ]
        return [chip for chip, _ in programmed], programmed[LAYER][1]

    population = program.lower(keys).compile()
    begin = time.perf_counter()
    chips, history = jax.block_until_ready(population(keys))
    seconds = time.perf_counter() - begin
    first = jax.tree.map(lambda a: a[0], chips[LAYER])
    cx.save(run.results / f"chip-{name}.safetensors", first.readable(), tile=tiles[LAYER])
    aged, mvm = over_time(keys, chips, tiles, params, test)
    bare, mvm_bare = over_time(keys, [cx.replace(c, reference=None) for c in chips], tiles, params, test)
    return {
        "history": history.weight_error, "weight_error": history.weight_error[:, -1], "pulses": history.pulses[:, -1],
        "mvms": history.mvms[:, -1], "reads": history.reads[:, -1],
        "seconds": seconds / len(keys), "accuracy": aged, "mvm_error": mvm, "accuracy_none": bare,
        "mvm_error_none": mvm_bare,
    }  # fmt: skip


@jax.jit  # of its arguments alone: compiled once for all methods
def over_time(
    keys: Array, chips: list[cx.Chip], tiles: list[cx.Tile], params: Params, test: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Accuracy of the network and MVM error of `LAYER` at `TIMES`, (chips, times) each."""
    inputs = activations(params, test[0])[LAYER]

    def at(key: Array, chips: list[cx.Chip], t: Array) -> tuple[Array, Array]:
        x = test[0]
        for n, (tile, chip, (_, b)) in enumerate(zip(tiles, chips, params, strict=True)):
            x = cx.mvm(jax.random.fold_in(key, n), tile, chip, x, t) + b
            x = jax.nn.relu(x) if n < len(params) - 1 else x
        return accuracy(x, test[1]), cx.mvm_error(key, tiles[LAYER], chips[LAYER], params[LAYER][0], inputs, t)

    def age(chip: tuple[Array, list[cx.Chip]]) -> tuple[Array, Array]:
        key, chips = chip
        ks = jax.random.split(named(key, "age"), len(TIMES))
        return jax.vmap(at, in_axes=(0, None, 0))(ks, chips, jnp.asarray(TIMES))

    return lax.map(age, (keys, chips))


def write(
    run: report.Run, results: dict[str, dict[str, Any]], perfect: np.ndarray, digital: float,
    layer: tuple[cx.Tile, Array],
) -> Path:  # fmt: skip
    """Table, CSV, plots, result.json and report.html; ``layer``: tile and weights of `LAYER`."""
    _tables(run, results, perfect, digital)
    _plots(run, results, digital)
    tile, w = layer
    axes = plot.chip(tile, cx.load(run.results / "chip-gdp.safetensors", tile=tile), w, TIMES[0])
    run.plot("chip", axes[0].figure, f"{CHIP} The first chip, programmed by GDP, {TIMES[0]:g} s after the first read.")

    chip_error = {name: np.array(r["mvm_error"])[:, 0] for name, r in results.items()}
    error = {name: float(np.mean(e)) for name, e in chip_error.items()}
    excess = {name: e**2 - np.median(perfect) ** 2 for name, e in chip_error.items()}
    gdp = results["gdp"]
    return run.finish(
        [
            report.figure("mvm_error_one_shot", error["one-shot"]),
            report.figure("mvm_error_iterative", error["iterative"]),
            report.figure("mvm_error_gdp", error["gdp"]),
            report.figure("mvm_error_perfect_weights", float(np.median(perfect))),
            report.figure("gdp_over_iterative", error["gdp"] / error["iterative"]),
            report.figure("gdp_excess_over_iterative", float(np.median(excess["gdp"] / excess["iterative"]))),
            report.figure("one_shot_over_iterative", error["one-shot"] / error["iterative"]),
            report.figure("accuracy_digital", digital),
            report.figure("accuracy_1y_gdc", float(np.mean(np.array(gdp["accuracy"])[:, -1]))),
            report.figure("accuracy_1y_none", float(np.mean(np.array(gdp["accuracy_none"])[:, -1]))),
            report.figure("accuracy_25s_gdp", float(np.mean(np.array(gdp["accuracy"])[:, 0]))),
        ],
        f"A network of 256 × 256 hidden weights that labels {{accuracy_digital:.1%}} of 500 digits rightly was "
        f"programmed onto {len(perfect)} simulated HERMES cores by {len(results)} methods, and read for a year. "
        "Its middle layer ends with an MVM error of "
        "{mvm_error_gdp:.3f} by GDP, {mvm_error_iterative:.3f} by program-and-verify and {mvm_error_one_shot:.3f} by "
        "one write, where perfect weights leave {mvm_error_perfect_weights:.3f}; programmed by GDP the network has "
        "{accuracy_25s_gdp:.1%} at first, {accuracy_1y_gdc:.1%} after a year with drift compensation, "
        "{accuracy_1y_none:.1%} without.",
    )


def _tables(run: report.Run, results: dict[str, dict[str, Any]], perfect: np.ndarray, digital: float) -> None:
    weights, chips = SIZES[LAYER] * SIZES[LAYER + 1], len(perfect)
    run.table(
        f"A {SIZES[LAYER]} × {SIZES[LAYER + 1]} layer on {chips} HERMES chips, at times after the first read",
        ["method", "MVM error at 25 s", "weight error", "pulses a weight", "MVMs", "reads a weight", "s a network",
         "accuracy at 25 s", "at 1 y"],
        [
            [
                plot.LABELS[name], report.mean_sd(np.array(r["mvm_error"])[:, 0]), report.mean_sd(r["weight_error"]),
                f"{np.mean(r['pulses']) / weights:.1f}", f"{np.mean(r['mvms']):,.0f}",
                f"{np.mean(r['reads']) / weights:.0f}", f"{r['seconds']:.2f}",
                *(report.mean_sd(100 * np.array(r["accuracy"])[:, k], 1) + " %" for k in (0, -1)),
            ]
            for name, r in results.items()
        ]
        + [["perfect weights, equal gains", report.mean_sd(perfect), "0", "", "", "", "", "", ""]]
        + [["digital network", "0", "0", "", "", "", "", f"{100 * digital:.1f} %", f"{100 * digital:.1f} %"]],
    )  # fmt: skip
    curves = {
        f"{name}_{what}": np.asarray(r[what]).T
        for name, r in results.items()
        for what in ("accuracy", "accuracy_none", "mvm_error", "mvm_error_none")
    }
    run.csv("over_time", {"seconds": list(TIMES), **report.columns(curves)})
    depth = max(np.shape(r["history"])[1] for r in results.values())
    run.csv(
        "programming",
        {"iteration": range(1, depth + 1)}
        | report.columns({n: _pad(np.asarray(r["history"]).T, depth) for n, r in results.items()}),
    )


def _plots(run: report.Run, results: dict[str, dict[str, Any]], digital: float) -> None:
    times, (figure, axes) = list(TIMES), plot.new(3)
    plot.programming({name: r["history"] for name, r in results.items()}, axes=axes[0])
    axes[0].set(ylabel="weight error")
    curves = {plot.LABELS[n]: np.array(r["mvm_error"]) for n, r in results.items()}
    curves["GDP, no compensation"] = np.array(results["gdp"]["mvm_error_none"])
    plot.over_time(times, curves, "MVM error", "Drift, with compensation", axes=axes[1])
    curves = {plot.LABELS[n]: 100 * np.array(r["accuracy"]) for n, r in results.items()}
    curves["GDP, no compensation"] = 100 * np.array(results["gdp"]["accuracy_none"])
    plot.over_time(times, curves, "accuracy (%)", "A network on the chips", axes=axes[2])
    axes[2].axhline(100 * digital, color="k", lw=0.8, ls=":")
    axes[2].text(times[0], 100 * digital, "digital", va="bottom", fontsize=8)
    run.plot(
        "quickstart", figure,
        f"Left: true error of the {SIZES[LAYER]} × {SIZES[LAYER + 1]} layer's weights by iteration of each method (one "
        "shot: one write). Middle: MVM error of that layer over time, for the test images that reach it. Right: "
        "accuracy of the whole network on 500 test images, dotted the digital network. Bands: one standard deviation "
        "over chips; dashed: without drift compensation.",
    )  # fmt: skip


def _pad(rows: np.ndarray, length: int) -> list[Any]:
    return [*rows, *[()] * (length - len(rows))]
