"""Benchmarks: every row a ratio to a floor, measured in one run.

Alternating A B A B, medians after warm-up, compile time apart, peak memory from XLA's buffer assignment. Beside the
floor of bare products stands the time of the normal numbers that the work needs, drawn alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import crossjax as cx
from crossjax import report
from crossjax._random import normal, split
from crossjax.benchmarks.peers import TIMES, Timing, installed, measure


@dataclass
class Row:
    """One line of the table: what was measured, against which floor, and what it must reach."""

    work: str
    floor: str
    floor_ms: float
    draws_ms: float
    ours_ms: float
    compile_s: float
    peak_mb: float
    target: str

    @property
    def ratio(self) -> float:
        """Ours over floor."""
        return self.ours_ms / self.floor_ms

    @property
    def ratio_to_both(self) -> float:
        """Ours over products and draws."""
        return self.ours_ms / (self.floor_ms + self.draws_ms)


def compiled(f: Callable[..., Any], *args: Any) -> tuple[Callable[..., Any], float, float]:
    """An executable, the seconds its tracing and compilation took, and its peak memory (MB)."""
    begin = time.perf_counter()
    program = jax.jit(f).lower(*args).compile()
    seconds = time.perf_counter() - begin
    memory = program.memory_analysis()
    bytes_ = 0 if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes
    return program, seconds, bytes_ / 1e6


def alternate(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median milliseconds of every call, taken in turns (A B A B …) so that noise falls on all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(2):
        for call in calls.values():
            jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(t)) * 1e3 for name, t in times.items()}


def drawing(*draws: tuple[int, tuple[int, ...]]) -> Callable[[], Any]:
    """Normal numbers, so many times of every shape, each over the last one: nothing is cheaper."""

    def drawn(key: Array) -> list[Array]:
        def one(buffer: Array, k: Array) -> tuple[Array, None]:
            return normal(k, buffer.shape), None

        return [lax.scan(one, jnp.zeros(shape), split(key, times))[0] for times, shape in draws]

    key = jax.random.key(0)
    program, _, _ = compiled(drawn, key)
    return lambda: program(key)


def forward_tile(size: int) -> cx.Tile:
    """8-bit converters and output noise around perfect devices: what the peers' forward pass is timed with."""
    return cx.Tile(size, size, dac=cx.DAC(range=3.0), adc=cx.ADC(range=40.0), noise=0.04)


def forward(size: int, batch: int = 1024, repeats: int = 40) -> Row:
    """A noisy 8-bit MVM against the plain product."""
    key, tile = jax.random.key(0), forward_tile(size)
    w, x = normal(key, (size, size)), normal(jax.random.key(1), (batch, size))
    chip, _ = cx.program(key, tile, w)
    reading = cx.read(key, tile, chip)
    plain, _, _ = compiled(lambda x, w: x @ w, x, w)
    ours, seconds, mb = compiled(lambda k, r, x: cx.mvm(k, tile, r, x), key, reading, x)
    draws = drawing((1, (batch, size)))
    ms = alternate({"floor": lambda: plain(x, w), "ours": lambda: ours(key, reading, x), "draws": draws}, repeats)
    return Row(
        f"forward {size}², batch {batch}: DAC, noise, ADC", "x @ w", ms["floor"], ms["draws"], ms["ours"], seconds, mb,
        "≤ 1.3×",
    )  # fmt: skip


def population(chips: int = 32, size: int = 512, batch: int = 256, repeats: int = 5) -> Row:
    """Chips × times of a PCM tile with drift compensation, against the bare products of the same count.

    Programming, drift, 1/f noise, converters and output noise, as the peers' inference tiles have them.
    """
    times, tile = jnp.asarray(TIMES), population_tile(size)
    w, x = normal(jax.random.key(0), (size, size)) / 3, normal(jax.random.key(1), (batch, size)) / 3
    keys = jax.random.split(jax.random.key(2), chips)

    def bare(x: Array, ws: Array) -> Array:
        return lax.map(lambda w: jnp.sum((x @ w) ** 2), ws)

    ws = jnp.broadcast_to(w, (chips * len(times), size, size))
    plain, _, _ = compiled(bare, x, ws)
    ours, seconds, mb = compiled(lambda k: population_outputs(k, tile, w, x, times), keys)
    cells = (2, size, size)  # programming error and drift of every chip; 1/f noise, also for its first read
    reads, calibration = chips * (1 + len(times)), (tile.calibration_vectors, size)
    draws = drawing((2 * chips + reads, cells), (reads, calibration), (chips * len(times), (batch, size)))
    ms = alternate({"floor": lambda: plain(x, ws), "ours": lambda: ours(keys), "draws": draws}, repeats)
    return Row(
        f"{chips} chips × {len(times)} times, {size}², batch {batch}, PCM, GDC", "160 bare products",
        ms["floor"], ms["draws"], ms["ours"], seconds, mb, "≤ 3.0×",
    )  # fmt: skip


def population_tile(size: int) -> cx.Tile:
    """PCM, 8-bit converters, output noise, and one drift compensation for the tile."""
    tile = cx.replace(cx.presets.standard(size, size), scaling="tile", adc=cx.ADC(range=20.0))
    return cx.replace(tile, **{"device.read": None})


def population_outputs(keys: Array, tile: cx.Tile, w: Array, x: Array, times: Array, at_once: int = 1) -> Array:
    """Outputs (chips, times, batch, cols) of chips programmed once and read at every time, ``at_once`` in memory."""

    def chip_outputs(key: Array) -> Array:
        chip, _ = cx.program(key, tile, w)
        at = jax.random.split(jax.random.fold_in(key, 1), times.shape[0])
        return lax.map(lambda kt: cx.mvm(kt[0], tile, chip, x, kt[1]), (at, times))

    return cx.stream(chip_outputs, keys, batch=at_once)


def gdp(size: int = 256, batch: int = 2048, iterations: int = 100, repeats: int = 5) -> Row:
    """GDP against the three matrix products of every iteration: X W, X Ŵ and Xᵀ (Ŷ − Y)."""
    key = jax.random.key(0)
    tile, method = cx.presets.hermes(gain=0.03), cx.GDP(iterations=iterations, batch=batch)
    w, x = normal(key, (size, size)), normal(jax.random.key(1), (batch, size))

    def bare(x: Array, w: Array) -> Array:
        def step(v: Array, _: None) -> tuple[Array, None]:
            return v - 1e-6 * (x.T @ (x @ v - x @ (w + v * 1e-9))), None

        return lax.scan(step, w, None, length=iterations)[0]

    plain, _, _ = compiled(bare, x, w)
    ours, seconds, mb = compiled(lambda k, w: cx.program(k, tile, w, method), key, w)
    cells = (tile.cell.devices, size, size)  # a source of 1/f noise that ends and one that begins, and the pulses
    draws = drawing((2 * iterations, (batch, size)), (3 * iterations, cells))
    ms = alternate({"floor": lambda: plain(x, w), "ours": lambda: ours(key, w), "draws": draws}, repeats)
    return Row(
        f"GDP {size}², batch {batch}, {iterations} iterations", "3 products an iteration", ms["floor"], ms["draws"],
        ms["ours"], seconds, mb, "≤ 2.0×" if batch > 1000 else "",
    )  # fmt: skip


FIRST = """
import time; begin = time.perf_counter()
import jax, jax.numpy as jnp, numpy as np
import crossjax as cx
imported = time.perf_counter()
key, tile = jax.random.key(0), cx.presets.standard()
w = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
chip, _ = cx.program(key, tile, w)
ready = time.perf_counter()
cx.mvm(key, tile, chip, w).block_until_ready()
done = time.perf_counter()
print(imported - begin, ready - imported, done - ready)
"""


def first_result() -> dict[str, float]:
    """Seconds in a fresh process: import, program a 512² matrix once, first MVM (compilations included)."""
    out = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True).stdout
    return dict(zip(("import", "program", "mvm"), map(float, out.split()), strict=True))


def peer_rows(ours: Mapping[str, Row], theirs: Mapping[str, Mapping[str, Timing]]) -> list[list[str]]:
    """Lines of the peers' table: ours for the works that they have, then theirs; a failure says why."""

    def per(name: str, ms: float) -> float:
        return ms / 100 if name.startswith("gdp") else ms

    lines = []
    for name in (n for n in ours if any(n in works for works in theirs.values())):
        ms, product = per(name, ours[name].ours_ms), per(name, ours[name].floor_ms)
        lines.append(["crossjax", name, f"{ms:.2f}", f"{product:.2f}", f"{ms / product:.2f}×", ""])
    for peer, works in theirs.items():
        for name, found in works.items():
            if found.ms is None or found.product_ms is None:
                lines.append([peer, name, f"failed: {found.failed}", "", "", ""])
            else:
                ratios = found.ms / found.product_ms, found.ms / per(name, ours[name].ours_ms)
                lines.append([peer, name, f"{found.ms:.2f}", f"{found.product_ms:.2f}", *(f"{r:.2f}×" for r in ratios)])
    return lines


def bench(out: Path | None = None, *, peers: bool = False, force: bool = False) -> Path:
    """Measure speed as ratios to the floor, in one run.

    Args:
        out: folder for the results (default runs/bench).
        peers: also run the peers that are installed (aihwkit, aihwkit-lightning).
        force: replace an existing folder.

    Returns:
        The folder with the results.

    Raises:
        ValueError: if peers are asked for and none is installed.
        OSError: if the folder exists or cannot be written.
    """
    if peers and not installed():
        raise ValueError("no peer is installed: pip install 'crossjax[peers]' (benchmarks/README.md says how)")
    jax.config.update("jax_enable_compilation_cache", False)  # compile times as a user meets them first
    with report.open_run("bench", out, {"peers": peers}, force=force) as run:
        rows = [forward(512), forward(1024), population(), gdp(), gdp(batch=256)]
        run.table(
            "Against the floor, in one run",
            ["work", "floor", "floor, ms", "draws, ms", "ours, ms", "ours / floor", "wanted", "ours / both",
             "compile, s", "peak, MB"],
            [
                [r.work, r.floor, f"{r.floor_ms:.2f}", f"{r.draws_ms:.2f}", f"{r.ours_ms:.2f}", f"{r.ratio:.2f}×",
                 r.target, f"{r.ratio_to_both:.2f}×", f"{r.compile_s:.2f}", f"{r.peak_mb:.0f}"]
                for r in rows
            ],
        )  # fmt: skip
        first = first_result()
        run.table(
            "Time to first result, fresh process, 512²", ["step", "s"], [[k, f"{v:.2f}"] for k, v in first.items()]
        )
        names = ("forward 512", "forward 1024", "population", "gdp", "gdp, 256 vectors")
        ours: dict[str, Row] = dict(zip(names, rows, strict=True))
        figures = [
            report.figure(f"{name}_ratio".replace(",", "").replace(" ", "_"), row.ratio) for name, row in ours.items()
        ]
        figures += [report.figure("first_mvm_seconds", first["mvm"], unit="s")]
        rest = {"rows": [asdict(row) | {"ratio": row.ratio, "ratio_to_both": row.ratio_to_both} for row in rows]}
        theirs = measure() if peers else {}
        if theirs:
            run.table(
                "Peers, each beside the plain products of its own framework, ms (gdp: per iteration)",
                ["", "work", "ms", "plain products, ms", "times its products", "times crossjax"],
                peer_rows(ours, theirs),
            )
        run.csv("rows", {k: [getattr(r, k) for r in rows] for k in (*rows[0].__dict__, "ratio", "ratio_to_both")})
        worst = max(rows, key=lambda r: r.ratio)
        said = (
            f"{len(rows)} kinds of work were timed beside the bare matrix products that they are made of, in one run. "
            f"They take {min(r.ratio for r in rows):.2f} to {worst.ratio:.2f} times those, most for: {worst.work}; "
            f"with the normal numbers that they draw, {min(r.ratio_to_both for r in rows):.2f} to "
            f"{max(r.ratio_to_both for r in rows):.2f} times."
        )
        plain = {peer: {work: asdict(found) for work, found in works.items()} for peer, works in theirs.items()}
        return run.finish(figures, said, first_result=first, peers=plain, **rest)
