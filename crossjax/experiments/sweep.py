"""Any experiment over numbers of its hardware: the command ``crossjax sweep``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import crossjax as cx
from crossjax import hardware_files, plot, report
from crossjax._random import seeded, split
from crossjax.experiments import sweep_spec
from crossjax.experiments.sweepable import experiment


def sweep(
    spec: Annotated[Path, tyro.conf.Positional],
    *,
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> Path:
    """Run an experiment over a grid or a random design of hardware numbers.

    Numbers are leaves, so that one program serves all points; what is structure (bits, sizes, names) compiles anew. An
    interrupted sweep goes on at the point where it stopped.

    Args:
        spec: a TOML file: experiment, design, seeds, [settings] and [knobs].
        seed: makes a run repeatable.
        out: folder for the results (default runs/sweep-NAME).
        force: replace an existing folder.

    Returns:
        The folder with the results: sweep.csv, a plot a knob, result.json.

    Raises:
        ValueError: for a file that cannot be used; says which word of it, and the nearest known one.
        OSError: for a missing file, or a folder that exists or cannot be written.
    """
    key, plan = seeded(seed), sweep_spec.read(spec)
    task = experiment(plan.experiment, plan.settings)
    base, rows = task.hardware(), plan.rows(seed)
    for row in rows:  # every word and number of the file is looked at before anything is computed
        task.changed(base, row)
    keys = split(key, plan.seeds)
    measure = jax.jit(jax.vmap(task.measure, (0, None)))
    out = Path("runs") / f"sweep-{Path(spec).stem}" if out is None else out
    inputs = {"sha256": report.file_digest(Path(spec)), "seed": seed}
    if isinstance(base, cx.Tile):  # it may be from a file of its own
        inputs["hardware"] = hardware_files.to_document(base)
    with report.open_run("sweep", out, inputs, recorded={"spec": str(spec)}, force=force) as run:
        columns = TextColumn("sweep"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        found = []
        with Progress(*columns, console=report.console) as bar:
            task_id = bar.add_task("sweep", total=len(rows))
            for k, row in enumerate(rows):

                def point(row: dict[str, Any] = row) -> dict[str, Any]:
                    begin = time.perf_counter()
                    figures = jax.block_until_ready(measure(keys, task.changed(base, row)))
                    return {n: np.asarray(a, float).ravel().tolist() for n, a in figures.items()} | {
                        "seconds": time.perf_counter() - begin
                    }

                found.append(run.stage(f"point {k}: {row}", point))
                bar.advance(task_id)
        write(run, rows, found)
        means = {n: [float(np.mean(f[n])) for f in found] for n in found[0] if n != "seconds"}
        said = "; ".join(f"{n} from {min(m):.4g} to {max(m):.4g}" for n, m in means.items())
        return run.finish(
            [],
            f"{plan.experiment} was run at {len(rows)} points of {len(rows[0])} knobs, {plan.seeds} seeds each. "
            f"Found: {said}.",
            points=[{"knobs": r, "results": f} for r, f in zip(rows, found, strict=True)],
        )


def write(run: report.Run, rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> None:
    """sweep.csv, a table of the ends, and a plot of every figure against every knob."""
    names = [n for n in found[0] if n != "seconds"]
    means = {n: np.asarray([np.mean(f[n]) for f in found]) for n in names}
    spreads = {n: np.asarray([np.std(f[n], ddof=1) if len(f[n]) > 1 else 0.0 for f in found]) for n in names}
    columns: dict[str, Any] = {knob: [row[knob] for row in rows] for knob in rows[0]}
    columns |= report.columns({n: [f[n] for f in found] for n in names})
    run.csv("sweep", columns | {"seconds": [round(f["seconds"], 3) for f in found]})
    order = {"lowest": int(np.argmin(means[names[0]])), "highest": int(np.argmax(means[names[0]]))}
    run.table(
        f"{len(rows)} points; where {names[0]} is lowest and highest (mean ± SD over {len(found[0][names[0]])} seeds)",
        ["", *rows[0], *names],
        [
            [label, *(_short(rows[k][knob]) for knob in rows[k]), *(report.mean_sd(found[k][n]) for n in names)]
            for label, k in order.items()
        ],
    )
    for knob in rows[0]:
        figure, axes = plot.new(len(names))
        for axis, n in zip(axes, names, strict=True):
            _against(axis, [row[knob] for row in rows], means[n], spreads[n])
            axis.set(xlabel=knob, ylabel=n.replace("_", " "))
        caption = f"Every figure against {knob}; error bars: one standard deviation over seeds."
        run.plot(knob.replace(".", "_"), figure, caption)


def _against(axis: Any, values: list[Any], means: np.ndarray, spreads: np.ndarray) -> None:
    """All points against one knob, and the mean over the others at every value that several share."""
    names = any(isinstance(v, str) for v in values)
    known = list(dict.fromkeys(values)) if names else sorted(set(values))
    x = np.asarray([known.index(v) for v in values] if names else values, float)
    axis.errorbar(x, means, spreads, fmt="o", ms=3, color="#8bb8de", capsize=2, lw=1)
    if len(known) < len(values):
        average = [means[[v == k for v in values]].mean() for k in known]
        axis.plot(range(len(known)) if names else known, average, color=plot.BLUE)
    elif not names:
        order = np.argsort(x)
        axis.plot(x[order], means[order], color=plot.BLUE)
    if names:
        axis.set_xticks(range(len(known)), known)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
