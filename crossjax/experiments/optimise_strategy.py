"""Where to put the weights of a network: the command ``crossjax optimise-strategy``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from rich.progress import Progress

import crossjax as cx
from crossjax import plot, report, strategies
from crossjax._random import seeded
from crossjax.strategies import scan
from crossjax.strategies.objective import check_times
from crossjax.weight_files import load_matrices


def optimise_strategy(
    weights: Annotated[Path, tyro.conf.Positional],
    *,
    device: str = "pcm",
    factors: tuple[float, ...] = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
    knots: int = 6,
    times: tuple[float, ...] = strategies.TIMES,
    starts: int = 64,
    limit: float | None = None,
    beyond: Literal["error", "clip"] = "error",
    layout: Literal["torch", "jax"] | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> Path:
    """Find the conductances that hold a network's weights with the least error over time, and save them.

    The density of the weights and the laws of the device decide; no inference is run. ``strategy.json`` in the results
    is what ``crossjax program --strategy`` programs with.

    Args:
        weights: a .npz, .npy or .safetensors file; every matrix counts as fractions of its largest weight.
        device: pcm, hermes, hermes_single, reram_wan, reram_milo, reram_cmo or sonos.
        factors: significances F of the most significant pair that are tried, ascending, at least 1.
        knots: evenly spaced weights at which conductances are chosen; where fixed splits bend there are more.
        times: seconds after the first read, ascending, that the error is averaged over.
        starts: of the search, all at once.
        limit: the weight, as a fraction of its matrix's largest, that the conductances are to reach; default 1.
        beyond: what to do with larger ones: error, or clip.
        layout: torch for (out, in, …) tensors, jax for (…, in, out); default: what their names tell.
        include: regular expressions; only matrices in whose name one is found.
        exclude: regular expressions; no matrices in whose name one is found.
        seed: makes a run repeatable.
        out: folder for the results (default runs/strategy-NAME-DEVICE).
        force: replace an existing folder.

    Returns:
        The folder with the results.

    Raises:
        ValueError: for an unknown device, or one without a programming law, times or factors that do not ascend, or a
            file that cannot be used.
        OSError: for a missing file, or a folder that exists or cannot be written.
    """
    key, memory = seeded(seed), cx.devices.get(device)
    _check(factors, times, knots, starts)
    found = load_matrices(weights, layout, include=include, exclude=exclude)
    sizes = np.concatenate([np.abs(w).ravel() / (np.abs(w).max() or 1.0) for w in found.matrices.values()])
    density = strategies.of_weights(sizes, limit=1.0 if limit is None else limit, beyond=beyond)
    task = strategies.problem(memory, density, times)
    out = Path("runs") / f"strategy-{Path(weights).stem}-{device}" if out is None else out
    inputs = {
        "sha256": report.file_digest(Path(weights)), "device": device, "factors": list(factors), "knots": knots,
        "times": list(times), "starts": starts, "limit": limit, "beyond": beyond, "layout": layout,
        "include": list(include), "exclude": list(exclude), "seed": seed,
    }  # fmt: skip
    with report.open_run("optimise-strategy", out, inputs, recorded={"weights": str(weights)}, force=force) as run:
        rows: dict[float, dict[str, Any]] = {}
        with Progress(console=report.console, transient=True) as progress:
            for factor in progress.track(factors, description="searching"):
                rows[factor] = run.stage(f"F {factor}", lambda f=factor: _at(key, task, f, knots, starts))
        clipped = strategies.count_beyond(sizes, 1.0 if limit is None else limit)
        return write(run, rows, memory, density, times, {"weights": sizes.size, "clipped": clipped})


def _check(factors: tuple[float, ...], times: tuple[float, ...], knots: int, starts: int) -> None:
    if not factors or list(factors) != sorted(set(factors)) or factors[0] < 1:
        raise ValueError(f"factors must be one or more significances ≥ 1, ascending, got {factors}")
    if knots < 2 or starts < 1:
        raise ValueError(f"a search needs at least 2 knots and 1 start, got {knots} and {starts}")
    check_times(times)


def _at(key: jax.Array, task: strategies.Problem, factor: float, knots: int, starts: int) -> dict[str, Any]:
    (one,) = scan.scan(key, task, [factor], knots=knots, starts=starts)
    best = one.best
    return {
        "strategy": scan.as_record(best.strategy), "error": best.error, "fixed": dict(one.fixed),
        "one_pair": scan.one_pair(task), "seconds": best.seconds, "trace": best.trace.tolist(),
    }  # fmt: skip


def write(
    run: report.Run, rows: dict[float, dict[str, Any]], device: cx.Device, density: strategies.Density,
    times: tuple[float, ...], facts: dict[str, Any],
) -> Path:  # fmt: skip
    """Table, CSV, plots, strategy.json and result.json."""
    best_factor = min(rows, key=lambda f: rows[f]["error"])
    best = rows[best_factor]
    strategy = scan.from_record(best["strategy"])
    run.table(
        "Root mean square error of a weight, averaged over the times, % of the largest weight",
        ["F", "optimised", *scan.FIXED, "s"],
        [
            [f"{f:g}", *(f"{100 * e:.3f}" for e in (r["error"], *r["fixed"].values())), f"{r['seconds']:.1f}"]
            for f, r in rows.items()
        ],
    )  # fmt: skip
    cells = {"optimised": strategy, **{n: cx.Pairs((best_factor, 1.0), s) for n, s in scan.FIXED.items()}}
    cells["one pair"] = cx.Pairs()
    curves = {n: strategies.weight_error(cell, device, density, times) for n, cell in cells.items()}
    run.csv(
        "error_over_time",
        {"seconds": list(times)}
        | {n: np.asarray(c.error, float).tolist() for n, c in curves.items()}
        | {"alpha": np.asarray(curves["optimised"].alpha, float).tolist()},
    )
    figure, axes = plot.new(3)
    plot.strategy(strategy, axes=axes[0])
    for name, curve in curves.items():
        axes[1].plot(times, 100 * np.asarray(curve.error), "-o" if name == "optimised" else "--", label=name, ms=3)
    plot.time_axis(axes[1], times)
    axes[1].set(ylabel="rms error (% of the largest weight)", title=f"Error over time, F = {best_factor:g}")
    axes[1].legend(fontsize=8)
    axes[2].plot(list(rows), [100 * r["error"] for r in rows.values()], "k-o", label="optimised")
    for name in scan.FIXED:
        axes[2].plot(list(rows), [100 * r["fixed"][name] for r in rows.values()], "--", label=name)
    axes[2].set(xlabel="significance F", ylabel="rms error (%)", title="The best at every F")
    axes[2].legend(fontsize=8)
    run.plot(
        "strategy", figure,
        "Left: the strategy, conductances by weight. Middle: its error over time against the fixed splits'. Right: the "
        "best strategy at every significance F.",
    )  # fmt: skip
    error = {n: float(jnp.sqrt(c.loss)) for n, c in curves.items()}
    strategies.save_strategy(run.results / "strategy.json", strategy, {"error": error, **facts, **run.inputs})
    return run.finish(
        [
            report.figure("best_F", best_factor),
            *(report.figure(f"error_{n.replace(' ', '_').lower()}", e) for n, e in error.items()),
            report.figure("seconds", sum(r["seconds"] for r in rows.values()), unit="s"),
        ],
        f"The conductances that hold these weights best on this device were searched for {len(rows)} significances F. "
        f"The best has F = {best_factor:g} and an error of {100 * error['optimised']:.2f} % of the largest weight, "
        f"averaged over the times; one pair has {100 * error['one pair']:.2f} %.",
        **facts,
        strategy=best["strategy"],
        at_every_factor={f"{f:g}": {k: r[k] for k in ("error", "fixed", "seconds")} for f, r in rows.items()},
    )
