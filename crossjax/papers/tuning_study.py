"""Row-wise tuning of single matrices: devices a weight, distributions, variability, reads, and when one verifies.

Every error is that of true weights: what the devices would conduct at the first read without 1/f noise, which no
programming can take away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from rich.progress import Progress

import crossjax as cx
from crossjax import devices, plot, programming, report
from crossjax._random import named, numbered
from crossjax.programming import Method
from crossjax.tiles.cells import UnitCell
from crossjax.tiles.strategy import Strategy
from crossjax.tiles.tile import Tile

CLOSED = cx.RowWise(rounds=40, integration=100.0, tolerance=0.006)
WITHIN = (0.01, 0.02, 0.03, 0.05)
SPREADS = (0.0, 0.03, 0.06, 0.12, 0.24)
READS = (1, 5, 25)
VERIFIED = (1.0, 100.0)  # seconds after the pulse
SIZE, CHIPS = 256, 2


def four_devices(factor: float = 2.0, filled: float = 0.9) -> Strategy:
    """Two pairs, the LSP filled first, of which a weight of 1 takes 90 %: the rest is room for corrections."""
    full = factor + 1.0
    bends = sorted({0.0, 1.0} | {q / (filled * full) for q in (1.0, factor) if q < filled * full})
    knots = jnp.asarray(bends)
    return Strategy((factor, 1.0), knots, cx.Pairs((factor, 1.0)).encode(filled * knots), filled * full)


DEVICES = (1, 2, 4)


def cell_of(count: int) -> UnitCell:
    """A weight of 1, 2 or 4 devices."""
    return {1: cx.SharedReference(), 2: cx.Pairs(), 4: four_devices()}[count]


def hardware(cell: UnitCell | None = None, spread: float = 0.06) -> Tile:
    """256 × 256 cells of 90 nm PCM with HERMES' converters; ``spread`` of the devices' thresholds from cell to cell."""
    cell = four_devices() if cell is None else cell
    device = cx.replace(devices.pcm(), read=None, write=devices.MeltQuench(noise=0.7, spread=spread))
    return cx.replace(
        cx.presets.hermes(), device=device, cell=cell, cols=SIZE + cell.extra_columns, compensation="tile"
    )


def distributions(key: Array, trained: np.ndarray | None) -> dict[str, Array]:
    """Matrices of Gaussian, uniform and, if there are any, trained weights."""
    shape = (SIZE, SIZE)
    found = {
        "gaussian": jnp.clip(jax.random.normal(named(key, "gaussian"), shape), -3, 3),
        "uniform": jax.random.uniform(named(key, "uniform"), shape, minval=-1.0, maxval=1.0),
    }
    if trained is not None:
        found["trained"] = jnp.asarray(trained[: SIZE * SIZE]).reshape(shape)
    return found


def missed(key: Array, tile: Tile, w: Array, method: Method, t: float = 0.0) -> dict[str, Any]:
    """Errors of true weights of a few chips at ``t``: mean magnitude, deviation, fractions within; and the history."""

    def one(k: Array) -> tuple[Array, ...]:
        chip, history = cx.program(k, tuned, w, method)
        quiet = cx.replace(tuned.device, flicker=None)
        g = quiet.at(named(k, "read"), chip.cells, jnp.asarray(t))
        found = tuned.cell.decode(quiet.in_spans(g))[0, 0]
        alpha = jnp.sum(w * found) / jnp.sum(found * found) / jnp.max(jnp.abs(w)) if t else 1.0
        error = jnp.abs(alpha * found - w / jnp.max(jnp.abs(w)))
        inside = jnp.stack([jnp.mean(error <= limit) for limit in WITHIN])
        return jnp.mean(error), jnp.sqrt(jnp.mean(error**2)), inside, history.converged, history.pulses[-1] / w.size

    tuned = cx.typical_ranges(tile, w)
    keys = jnp.stack([numbered(key, n) for n in range(CHIPS)])
    mean, deviation, inside, converged, pulses = jax.jit(lambda ks: lax.map(one, ks))(keys)
    return {
        "mean": float(mean.mean()), "deviation": float(deviation.mean()),
        "within": np.asarray(inside.mean(axis=0)).tolist(),
        "converged": np.asarray(converged.mean(axis=0)).tolist(), "pulses": float(pulses.mean()),
    }  # fmt: skip


def study(run: report.Run, key: Array, trained: np.ndarray | None) -> dict[str, Any]:
    """All of it; every matrix is a stage of the run."""
    matrices = distributions(key, trained)
    gaussian = matrices["gaussian"]
    plan: dict[str, tuple[Tile, Array, Method, float]] = {}
    for n in DEVICES:
        for name, w in matrices.items():
            plan[f"{n} devices, {name}"] = (hardware(cell_of(n)), w, CLOSED, 0.0)
    for spread in SPREADS:
        for how, method in (("closed", CLOSED), ("open", programming.OpenLoop())):
            plan[f"spread {spread:g}, {how}"] = (hardware(spread=spread), gaussian, method, 0.0)
    for reads in READS:
        method = cx.replace(CLOSED, reads=reads, integration=1.0)
        plan[f"reads {reads}"] = (hardware(), gaussian, method, 0.0)
    for seconds in VERIFIED:
        method = cx.replace(CLOSED, verify_time=seconds)
        for noise, tile in (("", hardware()), (", no 1/f noise", cx.replace(hardware(), **{"device.flicker": None}))):
            plan[f"verified after {seconds:g} s, a day later{noise}"] = (tile, gaussian, method, 86_400.0)
    found = {}
    with Progress(console=report.console, transient=True) as progress:
        bar = progress.add_task("tuning", total=len(plan))
        for name, case in plan.items():
            progress.update(bar, description=name)
            found[name] = run.stage(f"tune {name}", lambda c=case: missed(named(key, "chips"), *c))
            progress.advance(bar)
    return found


def rounds_to(converged: list[float], fraction: float = 0.98) -> int | None:
    """Rounds until so many weights are within the tolerance."""
    return next((k + 1 for k, c in enumerate(converged) if c >= fraction), None)


def figures(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of result.json."""
    names = [n.removeprefix("4 devices, ") for n in found if n.startswith("4 devices, ")]
    three = WITHIN.index(0.03)
    out = [
        report.figure(f"fraction_within_tolerance_{n}", found[f"4 devices, {n}"]["within"][three], paper=0.98)
        for n in names
    ]
    out += [report.figure(f"mean_error_{n}_devices", found[f"{n} devices, gaussian"]["mean"]) for n in DEVICES]
    return out


def write(run: report.Run, found: Mapping[str, Any]) -> None:
    """Tables, CSV and figure."""
    run.table(
        f"Row-wise tuning of {SIZE} x {SIZE} weights, {CHIPS} chips: true weights, in fractions of the range (|w| = 1)",
        [
            "case", "mean |error|, %", "deviation, %", *(f"within {100 * x:g} %" for x in WITHIN), "rounds to 98 %",
            "pulses",
        ],
        [
            [
                name, f"{100 * r['mean']:.2f}", f"{100 * r['deviation']:.2f}", *(f"{100 * f:.1f}" for f in r["within"]),
                rounds_to(r["converged"]) or "", f"{r['pulses']:.1f}",
            ]
            for name, r in found.items()
        ],
    )  # fmt: skip
    run.csv(
        "tuning",
        {"case": list(found)} | {k: [r[k] for r in found.values()] for k in ("mean", "deviation", "pulses")}
        | {f"within_{x:g}": [r["within"][k] for r in found.values()] for k, x in enumerate(WITHIN)},
    )  # fmt: skip
    figure, axes = plot.new(3)
    for n in DEVICES:
        inside = found[f"{n} devices, gaussian"]["converged"]
        axes[0].plot(range(1, len(inside) + 1), [100 * c for c in inside], label=f"{n} device{'s' * (n > 1)} a weight")
    axes[0].axhline(98, color="k", ls=":", lw=0.8)
    axes[0].set(xlabel="round", ylabel="weights once in tolerance (%)", title="Closed loop, Gaussian weights")
    axes[0].legend()
    for how in ("closed", "open"):
        axes[1].plot(
            [100 * s for s in SPREADS],
            [100 * found[f"spread {s:g}, {how}"]["mean"] for s in SPREADS],
            "o-",
            label=f"{how} loop",
        )
    axes[1].set(
        xlabel="spread of the devices' thresholds (%)", ylabel="mean |error| (%)", title="Variability", ylim=(0, None)
    )
    axes[1].legend()
    axes[2].plot(READS, [100 * found[f"reads {r}"]["deviation"] for r in READS], "o-")
    axes[2].set(
        xlabel="reads a verification", ylabel="deviation (%)", xscale="log", title="What reads leave", ylim=(0, None)
    )
    run.plot(
        "tuning", figure,
        "Row-wise closed-loop tuning. Left: weights that were within tolerance once, by round (dotted: 98 %). Middle: "
        "mean error against the spread of devices' thresholds, with and without looking. Right: what read noise "
        "leaves.",
    )  # fmt: skip
