"""Program every matrix of a weight file onto chips: the command ``crossjax program``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import Array, lax
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import crossjax as cx
from crossjax import hardware_files, plot, programming, report, strategies
from crossjax._random import named, seeded
from crossjax.programming import Method
from crossjax.weight_files import Matrices, load_matrices


def program_file(
    weights: Annotated[Path, tyro.conf.Positional],
    *,
    tile: str = "hermes",
    method: str = "gdp",
    strategy: Path | None = None,
    chips: int = 1,
    layout: Literal["torch", "jax"] | None = None,
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
) -> Path:
    """Program all matrices and convolution kernels of a weight file onto chips.

    Embeddings and tables that are added (positions, tokens) are left out unless --include names them.

    Args:
        weights: a .npz, .npy or .safetensors file.
        tile: hardware: ideal, pcm, pcm_msp_lsp, hermes, standard, or a .toml or .json file.
        method: gdp, iterative, row-wise or one-shot.
        strategy: a strategy.json of ``crossjax optimise-strategy``: how weights become conductances.
        chips: chips in the population.
        layout: torch for (out, in, …) tensors, jax for (…, in, out); default: what their names tell.
        include: regular expressions; only matrices in whose name one is found.
        exclude: regular expressions; no matrices in whose name one is found.
        seed: makes a run repeatable.
        out: folder for the results (default runs/program-NAME-METHOD).
        force: replace an existing folder.

    Returns:
        The folder with the results.

    Raises:
        ValueError: for an unknown tile or method, fewer than 1 chip, or a file that cannot be used.
        OSError: for a missing file, or a folder that exists or cannot be written.
    """
    if chips < 1:
        raise ValueError(f"chips must be at least 1, got {chips}")
    key = seeded(seed)
    hardware, how = hardware_files.find_tile(tile), programming.method(method)
    if strategy is not None:
        hardware = cx.replace(hardware, cell=strategies.load_strategy(strategy))
    found = load_matrices(weights, layout, include=include, exclude=exclude)
    out = Path("runs") / f"program-{Path(weights).stem}-{method}" if out is None else out
    inputs = {
        "sha256": report.file_digest(Path(weights)), "tile": tile, "hardware": hardware_files.to_document(hardware),
        "method": method, "chips": chips,
        "strategy": None if strategy is None else report.file_digest(strategy),
        "layout": layout, "include": list(include), "exclude": list(exclude), "seed": seed,
    }  # fmt: skip
    with report.open_run("program", out, inputs, recorded={"weights": str(weights)}, force=force) as run:
        results: dict[str, dict[str, Any]] = {}
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=report.console, transient=True) as progress:
            bar = progress.add_task("programming", total=len(found.matrices))
            for name, w in found.matrices.items():
                progress.update(bar, description=f"{_label(name)} {w.shape[0]}×{w.shape[1]}")
                results[name] = run.stage(
                    name, lambda name=name, w=w: program_matrix(named(key, name), hardware, w, how, chips)
                )
                progress.advance(bar)
        return write(run, results, found, method)


def program_matrix(key: Array, tile: cx.Tile, w: np.ndarray, how: Method, chips: int) -> dict[str, Any]:
    """Errors of one matrix over a population of chips, streamed one chip at a time.

    The ADC has the range that these weights need for Gaussian inputs.
    """
    keys = jax.random.split(key, chips)

    @jax.jit
    def run(keys: Array, w: Array) -> tuple[Array, ...]:
        tuned = cx.typical_ranges(tile, w)

        def one(k: Array) -> tuple[Array, ...]:
            chip, history = cx.program(k, tuned, w, how)
            error = cx.mvm_error(named(k, "evaluation"), tuned, chip, w)
            return error, *(a[-1] for a in (history.weight_error, history.pulses, history.mvms, history.reads))

        full = jnp.nan if tuned.adc is None else tuned.adc.range
        return *lax.map(one, keys), jnp.asarray(full)

    begin = time.perf_counter()
    error, weight_error, pulses, mvms, reads, full = jax.block_until_ready(run(keys, w))
    shape = (w.shape[0], w.shape[1])
    grid = tile.grid(shape)
    return {
        "rows": w.shape[0], "cols": w.shape[1], "tiles": grid.down * grid.across,
        "devices": tile.devices_for(shape), "mvm_error": error, "weight_error": weight_error,
        "pulses": pulses, "mvms": mvms, "reads": reads, "adc_range": None if np.isnan(full) else float(full),
        "seconds": time.perf_counter() - begin,
    }  # fmt: skip


def notes(found: Matrices) -> list[str]:
    """What was decided about the tensors of the file that its user may want otherwise, in sentences."""
    assumed = [name for name, layout in found.layouts.items() if layout.endswith("assumed")]
    left = [name for name, why in found.skipped.items() if why.startswith("looked up")]
    said = []
    if assumed:
        sides = "outputs, inputs" if found.layouts[assumed[0]].startswith("torch") else "inputs, outputs"
        said.append(f"nothing tells the layout of {_some(assumed)}: taken as ({sides}); --layout says otherwise")
    if left:
        said.append(f"left out as embeddings or tables that are added: {_some(left)}; --include takes them in")
    return said


def _label(name: str) -> str:
    """A tensor's name as a plot or a progress bar may show it, at most 60 long."""
    name = report.printable(name)
    return name if len(name) <= 60 else f"{name[:40]}…{name[-19:]}"


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def write(run: report.Run, results: dict[str, dict[str, Any]], found: Matrices, method: str) -> Path:
    """Table, CSV, plot, result.json and report.html."""
    skipped = found.skipped
    ideal = all(r["adc_range"] is None for r in results.values())
    run.table(
        f"{len(results)} matrices by {plot.LABELS[method]} programming"
        + (f" ({len(skipped)} other tensors left out)" if skipped else "")
        + ("" if ideal else ", ADC ranges calibrated to the weights and Gaussian inputs"),
        ["matrix", "shape", "tiles", "ADC range", "MVM error", "weight error", "pulses a weight", "MVMs", "s"],
        [
            [
                name, f"{r['rows']}×{r['cols']}", r["tiles"],
                "" if r["adc_range"] is None else f"{r['adc_range']:.2f}", report.mean_sd(r["mvm_error"]),
                report.mean_sd(r["weight_error"]), f"{np.mean(r['pulses']) / (r['rows'] * r['cols']):.1f}",
                f"{np.mean(r['mvms']):,.0f}", f"{r['seconds']:.1f}",
            ]
            for name, r in results.items()
        ],
    )  # fmt: skip
    names, rows = list(results), list(results.values())
    run.csv(
        "matrices",
        {"matrix": names}
        | {k: [r[k] for r in rows] for k in ("rows", "cols", "tiles", "devices", "adc_range", "seconds")}
        | {k: [float(np.mean(r[k])) for r in rows] for k in ("mvm_error", "weight_error", "pulses", "mvms", "reads")},
    )
    for note in notes(found):
        report.console.print(note, markup=False, emoji=False)
    figure, (axis,) = plot.new(1, width=min(max(4.6, 0.32 * len(names) + 1.5), 60.0), height=3.8)
    errors = [np.asarray(r["mvm_error"], float) for r in rows]
    axis.bar(
        range(len(names)),
        [e.mean() for e in errors],
        yerr=[e.std(ddof=int(e.size > 1)) for e in errors],
        color=plot.COLOURS[method],
    )
    axis.set_xticks(range(len(names)), [_label(name) for name in names], rotation=90, fontsize=7, parse_math=False)
    axis.set(ylabel="MVM error", title=f"{plot.LABELS[method]}, every matrix")
    run.plot("matrices", figure, "MVM error of every matrix, mean and one standard deviation over chips.")
    mean = float(np.mean([e.mean() for e in errors]))
    count = sum(r["rows"] * r["cols"] for r in rows)
    devices = sum(r["devices"] for r in rows)
    label = f"mvm_error_{method.replace('-', '_')}"
    return run.finish(
        [report.figure(label, mean), report.figure("weights", count), report.figure("devices", devices)],
        f"{len(results)} matrices were programmed by {plot.LABELS[method]} onto {len(errors[0])} chips. Their MVM "
        f"errors have a mean of {{{label}:.4f}}, from {min(e.mean() for e in errors):.4f} to "
        f"{max(e.mean() for e in errors):.4f}.",
        **{label: mean, "weights": count, "devices": devices, "skipped": skipped},
        layouts=found.layouts,
        notes=notes(found),
    )
