"""The sections of ``python benchmarks/gpu.py``: see there. Each is a function of a log and its options.

A row holds numbers, lists of numbers and words: ``ms`` of the work and ``floor_ms`` of what is plainly needed for it,
``compile_s`` (tracing and compilation), ``peak_mb``, and ``noise_ms`` of drawing its Gaussian numbers alone: those, not
the products, are what a simulator of noisy hardware is bound by.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

import crossjax as cx
from crossjax import report
from crossjax._random import normal
from crossjax.benchmarks.core import compiled, forward_tile, population_outputs, population_tile
from crossjax.benchmarks.peers import TIMES
from crossjax.circuits.wires import effective_conductance


@dataclass(frozen=True)
class Sizes:
    """How large every section is."""

    copy: int = 2**28
    forward: tuple[int, int] = (4096, 4096)  # rows and columns, batch
    population: tuple[int, int, int] = (64, 512, 256)  # chips, rows and columns, batch
    at_once: tuple[int, ...] = (1, 8, 64)
    gdp: tuple[int, int, int, int] = (32, 256, 256, 200)  # chips, rows and columns, batch, iterations
    wires: tuple[int, ...] = (256, 512)
    probe: int = 300  # training steps to time
    in_situ: tuple[int, int] = (64, 200)  # variants, examples
    samples: int = 11
    least_ms: float = 10.0  # of one sample
    most_s: float = 6.0  # of all samples, unless they are fewer than three


DRY = Sizes(2**10, (16, 8), (2, 8, 4), (2,), (2, 8, 8, 3), (4,), 2, (2, 3), 2, 0.0)


@dataclass(frozen=True)
class Options:
    """What a section is told."""

    sizes: Sizes
    dry: bool
    data: Path | None
    weights: Path | None

    @classmethod
    def of(cls, *, dry: bool, data: Path | None, weights: Path | None) -> Options:
        """With the sizes that belong to a dry run or a real one."""
        return cls(DRY if dry else Sizes(), dry, data, weights)


class Log:
    """The rows of one section, written to its file one by one; ``until``: when it is cut off (`time.time`)."""

    def __init__(self, file: Path, until: float) -> None:
        self.file, self.until, self.last, self.longest = file, until, time.time(), 0.0
        self.found: dict[str, Any] = {"rows": [], "notes": [], "versions": report.versions(), "device": report.device()}
        self.write()

    def row(self, work: str, **facts: Any) -> None:
        """Keep a measurement: numbers, lists of numbers, words."""
        now = time.time()
        self.longest, self.last = max(self.longest, now - self.last), now
        print(f"  {work}: {in_words(facts)}", flush=True)
        self.found["rows"].append({"work": work, **facts})
        self.write()

    def note(self, text: str) -> None:
        """Keep a remark."""
        print(f"  {text}", flush=True)
        self.found["notes"].append(text)
        self.write()

    def left(self) -> float:
        """Seconds until this section is cut off."""
        return self.until - time.time()

    def fits(self, work: str) -> bool:
        """Whether a row as long as the longest so far still fits; a note, if not."""
        if self.left() > self.longest:
            return True
        self.note(f"{work}: left out, {self.left():.0f} s are left and a row may take {self.longest:.0f} s")
        return False

    def write(self) -> None:
        """The file as of now; NaN is an error."""
        report.write_text(self.file, json.dumps(self.found, indent=1, allow_nan=False) + "\n")


def in_words(facts: dict[str, Any]) -> str:
    """A row in one line: ms 1.2, ratio 1.4."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return "[" + " ".join(map(text, value)) + "]"
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {text(value)}" for name, value in facts.items())


# ------------------------------------------------------------------------------------------- measuring


def medians(sizes: Sizes, **calls: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of every call: medians of samples taken in turns, after warm-up.

    A sample queues as many calls as fill ``least_ms`` and waits for the last, so that dispatching them is hidden.
    """

    def sample(call: Callable[[], Any], count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count - 1):
            call()
        jax.block_until_ready(call())
        return 1e3 * (time.perf_counter() - begin) / count

    counts = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        counts[name] = min(50, 1 + int(sizes.least_ms / sample(call, 1)))
    rounds, begin = [], time.perf_counter()
    while len(rounds) < sizes.samples and (len(rounds) < 3 or time.perf_counter() - begin < sizes.most_s):
        rounds.append([sample(call, counts[name]) for name, call in calls.items()])
    return dict(zip(calls, np.median(rounds, axis=0).tolist(), strict=True))


def products(f: Callable[..., Any], *args: Any) -> str:
    """Types and precisions of the matrix products that XLA is asked for: "f32 DEFAULT", say (TF32 on a GPU)."""
    text = jax.jit(f).lower(*args).as_text()
    found = re.findall(r"dot_general .*precision = \[(\w+).*: \(tensor<(?:\d+x)*(\w+)>", text)
    return ", ".join(sorted({f"{kind} {precision}" for precision, kind in found}))


def against(
    sizes: Sizes, floor: str, plain: Callable[..., Any], inputs: tuple[Any, ...], ours: Callable[..., Any],
    args: tuple[Any, ...], noise: tuple[int, ...], kind: Any, draws: int = 1,
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """Our result, and the facts of its row: ours against its floor, and what drawing its noise alone would cost.

    Args:
        sizes: how often to measure.
        floor: what the floor is.
        plain, inputs: the floor.
        ours, args: what is measured.
        noise: shape of the Gaussian numbers that it needs.
        kind: their type.
        draws: how many times it needs them.
    """
    key = jax.random.key(5)
    bare, _, _ = compiled(plain, *inputs)
    program, compile_s, peak_mb = compiled(ours, *args)
    draw, _, _ = compiled(lambda k: normal(k, noise, kind), key)
    ms = medians(sizes, floor=lambda: bare(*inputs), ours=lambda: program(*args), noise=lambda: draw(key))
    return program(*args), {
        "ms": ms["ours"], "floor": floor, "floor_ms": ms["floor"], "ratio": ms["ours"] / ms["floor"],
        "compile_s": compile_s, "peak_mb": peak_mb, "noise_ms": draws * ms["noise"],
        "noise_over_floor": draws * ms["noise"] / ms["floor"],
        "noise_gb_s": math.prod(noise) * kind.itemsize / ms["noise"] / 1e6,
    }  # fmt: skip


def copy_speed(log: Log, sizes: Sizes) -> None:
    """The speed of the memory: every number read once and written once."""
    block = jnp.ones(sizes.copy)
    ms = medians(sizes, copy=lambda: block + 1.0)["copy"]
    log.row(f"x + 1, {block.nbytes / 1e6:g} MB", ms=ms, gb_s=2 * block.nbytes / ms / 1e6)


def relative(found: Any, wanted: Any) -> float:
    """‖found − wanted‖ / ‖wanted‖, in float64."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


# -------------------------------------------------------------------------------------------- sections


def forward(log: Log, options: Options) -> None:
    """An MVM with DAC, output noise and ADC around perfect devices, and the speed of the memory.

    Errors are those of 64 vectors against float64: ``product_error`` of the plain product alone, ``output_error`` of
    the noisy MVM. ``bytes``: inputs and weights read once, outputs written once.
    """
    sizes = options.sizes
    n, batch = sizes.forward
    copy_speed(log, sizes)
    key, tile = jax.random.key(0), forward_tile(n)
    w, x = normal(key, (n, n)), normal(jax.random.key(1), (batch, n))
    reading = cx.read(key, tile, cx.program(key, tile, w)[0])
    exact = np.asarray(x[:64], np.float64) @ np.asarray(w, np.float64)

    def plain(x: Array, w: Array) -> Array:
        return x @ w

    def ours(k: Array, r: Any, x: Array) -> Array:
        return cx.mvm(k, tile, r, x)

    for name, precision in (("float32", "default"), ("float32", "highest"), ("bfloat16", "default")):
        work = f"forward {n}², batch {batch}, {name}, precision {precision}"
        if not log.fits(work):
            continue
        kind = jnp.dtype(name)
        a, b, r = jax.tree.map(lambda leaf, kind=kind: leaf.astype(kind), (x, w, reading))
        least = kind.itemsize * (n * n + 2 * batch * n)
        with jax.default_matmul_precision(precision):
            y, facts = against(sizes, "x @ w", plain, (a, b), ours, (key, r, a), (batch, n), kind)
            log.row(
                work, label=f"{name}, {precision}", **facts, bytes=least, gb_s=least / facts["ms"] / 1e6,
                floor_tflop_s=2 * batch * n * n / facts["floor_ms"] / 1e9, plain_products=products(plain, a, b),
                products=products(ours, key, r, a), product_error=relative(plain(a, b)[:64], exact),
                output_type=y.dtype.name, output_error=relative(y[:64], exact),
            )  # fmt: skip


def population(log: Log, options: Options) -> None:
    """Chips programmed once, and read and used at five times."""
    chips, n, batch = options.sizes.population
    tile, times, count = population_tile(n), jnp.asarray(TIMES), chips * len(TIMES)
    w, x = normal(jax.random.key(0), (n, n)) / 3, normal(jax.random.key(1), (batch, n)) / 3
    keys, ws = jax.random.split(jax.random.key(2), chips), jnp.broadcast_to(w, (count, n, n))
    noise = (count, batch + 2 * n, n)  # of every output, and of two devices a weight at every time
    for at_once in options.sizes.at_once:
        work = f"{chips} chips × {len(TIMES)} times, {n}², batch {batch}, {at_once} at once"
        if not log.fits(work):
            continue

        def ours(keys: Array, w: Array, x: Array, at_once: int = at_once) -> Array:
            return population_outputs(keys, tile, w, x, times, at_once)

        y, facts = against(
            options.sizes, f"{count} products", lambda x, ws: x @ ws, (x, ws), ours, (keys, w, x), noise, w.dtype
        )
        errors = jnp.sqrt(jnp.sum((y - x @ w) ** 2, axis=(0, 2, 3)) / jnp.sum((x @ w) ** 2) / chips)
        log.row(work, label=f"{at_once} at once", **facts, mvm_error=errors.tolist())


def gdp(log: Log, options: Options) -> None:
    """Gradient-descent programming of a population of HERMES cores."""
    chips, n, batch, iterations = options.sizes.gdp
    tile, method = cx.replace(cx.presets.hermes(gain=0.03), rows=n, cols=n), cx.GDP(iterations=iterations, batch=batch)
    w, x = normal(jax.random.key(0), (n, n)), normal(jax.random.key(1), (batch, n))

    def bare(x: Array, w: Array) -> Array:
        def step(v: Array, _: None) -> tuple[Array, None]:
            return v - 1e-6 * (x.T @ (x @ v - x @ (w + v * 1e-9))), None

        return lax.scan(step, jnp.broadcast_to(w, (chips, n, n)), None, length=iterations)[0]

    def ours(keys: Array, w: Array) -> tuple[Any, Array]:
        chip, history = jax.vmap(lambda k: cx.program(k, tile, w, method))(keys)
        return chip, history.mvm_error

    keys = jax.random.split(jax.random.key(2), chips)
    noise = (chips, batch + 4 * n, n)  # of every output, and of four devices a weight
    (_, errors), facts = against(
        options.sizes, f"3 products of {chips} chips an iteration", bare, (x, w), ours, (keys, w), noise, w.dtype,
        iterations,
    )  # fmt: skip
    log.row(
        f"GDP {n}², {chips} chips at once, batch {batch}, {iterations} iterations", label=f"{chips} chips", **facts,
        ms_per_iteration=facts["ms"] / iterations, mvm_error=jnp.mean(errors, axis=0)[jnp.asarray([0, -1])].tolist(),
    )  # fmt: skip


def wires(log: Log, options: Options) -> None:
    """The exact map of a crossbar with resistive lines, 1 Ω a segment, checked against SciPy's sparse LU or float64."""
    from benchmarks.wires import array, sparse_lu

    jax.config.update("jax_enable_x64", True)
    exact: dict[int, Any] = {}

    def one(g: Array) -> Array:
        return effective_conductance(g, 1.0, 1.0)

    def row(n: int, name: str, arrays: int = 1) -> None:
        work = f"G_eff {n}², {name}" + (f", {arrays} arrays at once" if arrays > 1 else "")
        if not log.fits(work):
            return
        g = jnp.broadcast_to(array(n, jnp.dtype(name)), (arrays, n, n))
        program, compile_s, peak_mb = compiled(jax.vmap(one) if arrays > 1 else lambda g: one(g[0])[None], g)
        ms = medians(options.sizes, ours=lambda: program(g))["ours"]
        label = work.removeprefix("G_eff ").removesuffix(" at once")
        facts = {"label": label, "ms": ms, "compile_s": compile_s, "peak_mb": peak_mb}
        if n in exact:
            facts["error"] = relative(program(g)[-1], exact[n])
        else:
            exact[n] = np.asarray(program(g)[-1])
        log.row(work, **facts)

    for n in options.sizes.wires:
        if n <= 256:  # 512² takes half a minute
            exact[n] = sparse_lu(np.asarray(array(n, jnp.float64)), 1.0, None)
        row(n, "float64")
        row(n, "float32")
    row(options.sizes.wires[0], "float32", arrays=16)
