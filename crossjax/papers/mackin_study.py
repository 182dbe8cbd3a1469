"""The strategies of Mackin et al. (2022) without any network: the table, the scan of F, the searches, other devices."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.progress import Progress

import crossjax as cx
from crossjax import devices, plot, report, strategies
from crossjax._random import named
from crossjax.devices import Polynomial, ProgrammingError
from crossjax.strategies import scan

FACTORS, CLIPS = (1.0, 2.0, 3.0), (2.0, 3.0)
DAY = 86_400.0
REFERENCE = {  # computed beforehand from the published equations: optimised, LSP first, MSP first, equal
    (2.0, 1.0): (0.0424, 0.0430, 0.0427, 0.0424), (2.0, 2.0): (0.0415, 0.0415, 0.0475, 0.0446),
    (2.0, 3.0): (0.0437, 0.0431, 0.0507, 0.0472), (3.0, 1.0): (0.0331, 0.0344, 0.0341, 0.0343),
    (3.0, 2.0): (0.0319, 0.0318, 0.0386, 0.0361), (3.0, 3.0): (0.0328, 0.0323, 0.0412, 0.0382),
}  # fmt: skip


def favours_msp() -> cx.Device:
    """A device of our own: its error grows as the cube of its conductance, so that half of it is a quarter as bad.

    What the LSP could hold alone is better on the MSP, whose share is smaller.
    """
    return devices.Device(g_max=25.0, programming=ProgrammingError(Polynomial((0.02, 0.0, 0.0, 4.0)), g_ref=25.0))


def constructed_pair() -> tuple[cx.Device, cx.Device]:
    """Two devices, constructed: the second is better when it is programmed naively, and worse at its best.

    The first has an error that is small at small conductances, which only a strategy that uses them can use; the
    second's is the same at all conductances.
    """
    made = (ProgrammingError(Polynomial(c), g_ref=25.0) for c in ((0.1, 0.0, 4.0), (0.65, 0.0, 0.0)))
    first, second = (devices.Device(programming=error) for error in made)
    return first, second


def study(run: report.Run, key: Array, published: float) -> dict[str, Any]:
    """All of it; every part is a stage of the run."""
    pcm = devices.pcm()
    found: dict[str, Any] = {"table": {}, "devices": {}}
    with Progress(console=report.console, transient=True) as progress:
        bar = progress.add_task("strategies", total=len(CLIPS) + 5)

        def stage(name: str, compute: Any) -> Any:
            progress.update(bar, description=name)
            result = run.stage(name, compute)
            progress.advance(bar)
            return result

        for clip in CLIPS:
            density = strategies.at_knots(clip)
            task = strategies.problem(pcm, density)
            found["table"][clip] = stage(f"table {clip:g} sigma", lambda t=task: table(key, t))
        for name, device in {"RRAM (Wan)": devices.reram_wan(), "favours the MSP": favours_msp()}.items():
            task = strategies.problem(device, strategies.at_knots(4.0))
            found["devices"][name] = stage(f"device {name}", lambda t=task: table(key, t))
        found["over_time"] = stage("over time", lambda: over_time(pcm, found["table"][3.0]["2.0"]["strategy"]))
        found["ranking"] = stage("ranking", lambda: ranking(key))
        found["searches"] = stage("searches", lambda: searches(key, pcm, published))
    return found


def table(key: Array, task: strategies.Problem) -> dict[str, Any]:
    """Errors of optimised and fixed strategies at every F, on evenly spaced knots only, as published."""
    rows = {}
    for one in scan.scan(key, task, FACTORS, bends=False):
        best = one.best
        rows[str(one.factor)] = {
            "optimised": best.error, **one.fixed, "seconds": best.seconds,
            "strategy": scan.as_record(best.strategy), "lsp_first": scan.is_lsp_first(best.strategy),
        }  # fmt: skip
    return rows


def over_time(device: cx.Device, record: Mapping[str, Any]) -> dict[str, Any]:
    """Error and drift compensation of the optimised strategy against one pair, at and between the published times."""
    times, density = (1.0, 3600.0, DAY, 30 * DAY, 365 * DAY), strategies.at_knots(3.0)
    best = strategies.weight_error(scan.from_record(record), device, density, times)
    naive = strategies.weight_error(cx.Pairs(), device, density, times)
    first = strategies.weight_error(scan.from_record(record), device, density, (0.0,))
    base = strategies.weight_error(cx.Pairs(), device, density, (0.0,))
    return {
        "times": [0.0, *times], "alpha": [1.0, *np.asarray(best.alpha, float).tolist()],
        "optimised": [float(first.error[0]), *np.asarray(best.error, float).tolist()],
        "one pair": [float(base.error[0]), *np.asarray(naive.error, float).tolist()],
    }  # fmt: skip


def ranking(key: Array) -> dict[str, Any]:
    """Naive and best errors of the two constructed devices, both at once: which is better is up to the strategy."""
    both = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(a) for a in leaves]), *constructed_pair())
    tasks = jax.vmap(lambda device: strategies.problem(device, strategies.gaussian(3.0)))(both)
    naive = jax.vmap(lambda task: task.error(cx.Pairs()).loss)(tasks) ** 0.5
    best = []
    for factor in FACTORS:
        cube = strategies.Cube((factor, 1.0), scan.knots_for((factor, 1.0)))
        first = strategies.fixed_points(cube)
        losses = jax.vmap(lambda task, c=cube, f=first: strategies.descent(key, task, c, f)[1])(tasks)
        best.append(jnp.min(losses, axis=(1, 2)) ** 0.5)
    errors = jnp.stack(best)
    return {
        name: {
            "naive": float(naive[k]), "best": float(errors[:, k].min()), "F": FACTORS[int(errors[:, k].argmin())],
        }
        for k, name in enumerate("AB")
    }  # fmt: skip


def searches(key: Array, device: cx.Device, published: float) -> dict[str, Any]:
    """Three searches of the same cube, F free: loss against seconds, judged by the closed form."""
    density = strategies.at_knots(2.0)
    begin = time.perf_counter()
    task = strategies.problem(device, density, points=511)  # not the table that has been compiled already
    task.mean.block_until_ready()
    tabulated = time.perf_counter() - begin
    cube = strategies.Cube((2.0, 1.0), significance=(1.0, 4.0))
    sampled = strategies.SampledLoss(device, density, strategies.TIMES)
    runs = {
        "gradient": strategies.descend(named(key, "descend"), task, cube),
        "evolution": strategies.evolve(0, task, cube),
        "published": strategies.published(0, task, cube, sampled, limit=published),
    }
    return {
        "tabulated": tabulated,
        "runs": {
            name: {
                "error": r.error, "seconds": r.seconds, "evaluations": r.evaluations, "ended": r.ended,
                "F": float(r.strategy.factors[0]), "trace": r.trace.tolist(),
            }
            for name, r in runs.items()
        },
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------- results


def changes(studied: Mapping[str, Any]) -> tuple[float, float, float]:
    """Change of the weight error against one pair at the first read and after 30 days, and α then."""
    over, month = studied["over_time"], studied["over_time"]["times"].index(30 * DAY)
    best, naive = np.asarray(over["optimised"]), np.asarray(over["one pair"])
    return float(best[0] / naive[0] - 1), float(best[month] / naive[month] - 1), float(over["alpha"][month])


def best_factor(rows: Mapping[str, Any]) -> float:
    """The F of the smallest optimised error."""
    return float(min(rows, key=lambda f: rows[f]["optimised"]))


def figures(studied: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries of result.json."""
    start, month, alpha = changes(studied)
    runs = studied["searches"]["runs"]
    quickest = min(("gradient", "evolution"), key=lambda n: reached(studied, n))
    return [
        report.figure("weight_error_change_t0", start, paper=-0.39),
        report.figure("weight_error_change_30d", month, paper=-0.17),
        report.figure("best_F", best_factor(studied["table"][2.0]), paper=2.0),
        report.figure("alpha_30d", alpha, paper=1.8),
        report.figure("de_seconds", runs["published"]["seconds"], unit="s"),
        report.figure("best_seconds", reached(studied, quickest), unit="s"),
        report.figure("best_seconds_in_all", runs[quickest]["seconds"] + studied["searches"]["tabulated"], unit="s"),
    ]


def reached(studied: Mapping[str, Any], name: str) -> float:
    """Seconds, compilation and tables included, until a search is as good as the published one was in the end."""
    searches = studied["searches"]
    goal = searches["runs"]["published"]["error"] ** 2
    trace = searches["runs"][name]["trace"]
    return searches["tabulated"] + next((seconds for seconds, loss in trace if loss <= goal), float("inf"))


def record(studied: Mapping[str, Any]) -> dict[str, Any]:
    """What result.json keeps of it."""
    return {k: ({f"{c:g}": t for c, t in v.items()} if k == "table" else v) for k, v in studied.items()}


def write(run: report.Run, studied: Mapping[str, Any]) -> None:
    """Tables, CSV and figure."""
    _tables(run, studied)
    _figure(run, studied)


def _tables(run: report.Run, studied: Mapping[str, Any]) -> None:
    for clip, rows in studied["table"].items():
        run.table(
            f"Rms weight error, Gaussian weights clipped at {clip:g} sigma, % (computed beforehand in brackets)",
            ["F", "optimised", *scan.FIXED, "LSP filled first"],
            [
                [f, *(f"{100 * r[n]:.2f} ({100 * REFERENCE[clip, float(f)][k]:.2f})"
                      for k, n in enumerate(("optimised", *scan.FIXED))), "yes" if r["lsp_first"] else "no"]
                for f, r in rows.items()
            ],
        )  # fmt: skip
    for name, rows in studied["devices"].items():
        run.table(
            f"{name}: the same, clipped at 4 sigma, %", ["F", "optimised", *scan.FIXED],
            [[f, *(f"{100 * r[n]:.2f}" for n in ("optimised", *scan.FIXED))] for f, r in rows.items()],
        )  # fmt: skip
    run.table(
        "Two constructed devices: better naively, worse at its best, %",
        ["device", "one pair", "best strategy", "its F"],
        [
            [name, f"{100 * r['naive']:.2f}", f"{100 * r['best']:.2f}", f"{r['F']:g}"]
            for name, r in studied["ranking"].items()
        ],
    )
    runs = studied["searches"]["runs"]
    run.table(
        "Searches of the same space, F free: error in closed form, %",
        ["search", "error", "F", "s", "strategies", "ended"],
        [
            [
                name, f"{100 * r['error']:.4f}", f"{r['F']:.2f}", f"{r['seconds']:.1f}", f"{r['evaluations']:,}",
                r["ended"],
            ]
            for name, r in runs.items()
        ],
    )  # fmt: skip
    over = studied["over_time"]
    run.csv("weight_error", {"seconds": over["times"], **{n: over[n] for n in ("optimised", "one pair", "alpha")}})
    run.csv(
        "searches",
        {"search": [n for n, r in runs.items() for _ in r["trace"]]}
        | {c: [row[k] for r in runs.values() for row in r["trace"]] for k, c in enumerate(("seconds", "loss"))},
    )


def _figure(run: report.Run, studied: Mapping[str, Any]) -> None:
    over, runs = studied["over_time"], studied["searches"]["runs"]
    figure, axes = plot.new(3)
    best = studied["table"][2.0][str(best_factor(studied["table"][2.0]))]
    plot.strategy(scan.from_record(best["strategy"]), axes=axes[0])
    for name in ("optimised", "one pair"):
        axes[1].plot(over["times"][1:], 100 * np.asarray(over[name][1:]), "-o", ms=3, label=name)
    plot.time_axis(axes[1], over["times"][1:])
    axes[1].set(ylabel="rms weight error (%)", title="Error over time", ylim=(0, None))
    axes[1].legend()
    for name, r in runs.items():
        trace = np.asarray(r["trace"])
        axes[2].plot(trace[:, 0], 100 * trace[:, 1] ** 0.5, label=name)
        axes[2].plot([r["seconds"]], [100 * r["error"]], "ko", ms=4)
    axes[2].set(
        xlabel="seconds", ylabel="rms weight error (%)", xscale="log", title="Searches (dots: judged in closed form)",
        ylim=(3.8, 8),
    )  # fmt: skip
    axes[2].legend()
    run.plot(
        "strategies", figure,
        "Left: the best strategy, conductances by weight. Middle: its weight error over time against one pair's, drift "
        "compensation included. Right: how searches of the same space proceed; curves are what they believe, dots are "
        "right.",
    )  # fmt: skip
