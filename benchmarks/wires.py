"""``python -m benchmarks.wires [--out DIR] [--peers]``: speed and accuracy of the wire solvers, in one run.

Against SciPy's sparse LU (the whole map: N unit solves), and badcrossbar if it is installed. Needs scipy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg as linalg

from crossjax import report
from crossjax.benchmarks.core import compiled
from crossjax.benchmarks.peers import reason
from crossjax.circuits.wires import effective_conductance, solve

CACHED = """
import jax, jax.numpy as jnp, time
jax.config.update("jax_compilation_cache_dir", {folder!r})
from crossjax.circuits.wires import effective_conductance
f = jax.jit(lambda g: effective_conductance(g, 1.0, 1.0))
begin = time.perf_counter()
f.lower(jnp.ones((256, 256))).compile()
print(time.perf_counter() - begin)
"""


def array(n: int, dtype: Any) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).uniform(1, 25, (n, n)), dtype)


def sparse_lu(g: np.ndarray, r: float, vectors: np.ndarray | None) -> np.ndarray:
    """Nodal equations by SciPy's SuperLU: currents (vectors, N), or the whole map if ``vectors`` is None."""
    m, n = g.shape
    gw, k = 1e6 / r, np.arange(m * n).reshape(m, n)
    rows, cols, values = [], [], []

    def connect(a: np.ndarray, b: np.ndarray, conductance: np.ndarray) -> None:
        for p, q, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            rows.append(p.ravel())
            cols.append(q.ravel())
            values.append(sign * conductance.ravel())

    connect(k, m * n + k, g)
    connect(k[:, :-1], k[:, 1:], np.full((m, n - 1), gw))
    connect(m * n + k[:-1], m * n + k[1:], np.full((m - 1, n), gw))
    for node in (k[:, 0], m * n + k[-1]):
        rows.append(node)
        cols.append(node)
        values.append(np.full(len(node), gw))
    matrix = sparse.csc_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))), shape=(2 * m * n, 2 * m * n)
    )
    lu = linalg.splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}, diag_pivot_thresh=0.0)
    v = np.eye(m) if vectors is None else vectors
    out = np.empty((len(v), n))
    for first in range(0, len(v), 32):
        source = np.zeros((2 * m * n, len(v[first : first + 32])))
        source[k[:, 0]] = gw * v[first : first + 32].T
        out[first : first + 32] = gw * lu.solve(source)[m * n + k[-1]].T
    return out


def seconds(call: Any, repeats: int = 3) -> float:
    call()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def once(call: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def relative(ours: Any, wanted: np.ndarray) -> float:
    return float(np.abs(np.asarray(ours, np.float64) - wanted).max() / np.abs(wanted).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--peers", action="store_true", help="also badcrossbar, if it is installed")
    parser.add_argument("--force", action="store_true")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    with report.open_run("wires", arguments.out, {"peers": arguments.peers}, force=arguments.force) as run:
        rows: list[list[str]] = []
        figures: list[dict[str, Any]] = []

        def row(work: str, ours: float, floor: float | None, wanted: str, note: str = "") -> None:
            times = "" if floor is None else f"{floor / ours:.0f}×"
            rows.append([work, f"{ours:.4f}", "" if floor is None else f"{floor:.3f}", times, wanted, note])
            figures.append(report.figure(work, ours, unit="s"))
            if floor is not None:
                figures.append(report.figure(f"{work}: times faster", floor / ours))

        f = lambda g: effective_conductance(g, 1.0, 1.0)  # noqa: E731
        reference = {}
        for n, wanted in ((256, "≥ 20×"), (512, "≥ 30×")):
            g = array(n, jnp.float64)
            floor, reference[n] = once(lambda g=g: sparse_lu(np.asarray(g), 1.0, None))
            for dtype in (jnp.float64, jnp.float32):
                program, compile_s, mb = compiled(f, g.astype(dtype))
                error = relative(program(g.astype(dtype)), reference[n])
                note = f"error {error:.1e}, compile {compile_s:.1f} s, {mb:.0f} MB"
                name = jnp.dtype(dtype).name
                row(f"G_eff {n}², {name}", seconds(lambda p=program, g=g, d=dtype: p(g.astype(d))), floor, wanted, note)
        g32 = array(256, jnp.float32)
        value = jax.jit(lambda g: jnp.sum(f(g) ** 2))
        both = jax.jit(jax.value_and_grad(lambda g: jnp.sum(f(g) ** 2)))
        alone, pair = seconds(lambda: value(g32)), seconds(lambda: both(g32))
        row("value and gradient of G_eff 256², float32", pair, None, "≤ 5× the value", f"{pair / alone:.1f}× the value")
        exact = np.asarray(effective_conductance(array(256, jnp.float64), 5.0, 5.0))
        error = relative(effective_conductance(g32, 5.0, 5.0), exact)
        rows.append(["float32, 256², 5 Ω: error", "", "", "", "≤ 5e-6", f"{error:.1e}"])

        g, v = array(512, jnp.float64), np.random.default_rng(1).uniform(0, 0.2, (1, 512))
        floor, wanted_currents = once(lambda: sparse_lu(np.asarray(g), 5.0, v))
        one = jax.jit(lambda g, v: solve(g, v, 5.0, 5.0).currents)
        note = f"error {relative(one(g, v), wanted_currents):.1e}"
        row("one vector, 512², 5 Ω, float64", seconds(lambda: one(g, v)), floor, "≥ 30×", note)

        if arguments.peers:
            g, v = array(256, jnp.float64), np.random.default_rng(1).uniform(0, 0.2, (256, 64))
            product = jax.jit(lambda g, v: v.T @ f(g))
            floor, why = None, ""
            try:
                import badcrossbar  # pyright: ignore[reportMissingImports]

                floor, _ = once(lambda: badcrossbar.compute(v, 1e6 / np.asarray(g), 1.0, all_currents=False))
            except Exception as error:
                why = f"failed: {reason(error)}"
            work = "64 vectors, 256², against badcrossbar"
            row(work, seconds(lambda: product(g, jnp.asarray(v))), floor, "≥ 10×", why)

        sizes, times = (64, 128, 256, 512), []
        for n in sizes:
            program, _, mb = compiled(f, array(n, jnp.float32))
            times.append(seconds(lambda p=program, n=n: p(array(n, jnp.float32))))
            rows.append([f"G_eff {n}², float32", f"{times[-1]:.4f}", "", "", "", f"peak {mb:.0f} MB"])
        exponent = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
        rows.append(["exponent of the cost, 64 to 512", "", "", "", "≤ 3.2", f"{exponent:.2f}"])
        figures.append(report.figure("exponent", exponent))
        with tempfile.TemporaryDirectory() as folder:
            script = CACHED.format(folder=folder)
            compile_times = [
                float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
                for _ in range(2)
            ]
        rows.append(
            [
                "compile 256², fresh process; again, cached",
                "",
                "",
                "",
                "≤ 10 s",
                " s; ".join(f"{t:.1f}" for t in compile_times) + " s",
            ]
        )
        run.table("Wires", ["work", "ours, s", "sparse LU or peer, s", "faster", "wanted", "note"], rows)
        run.csv(
            "wires",
            {k: [r[i] for r in rows] for i, k in enumerate(("work", "ours", "other", "faster", "wanted", "note"))},
        )
        run.finish(figures, f"Exact wires were timed beside a sparse LU and a peer: {len(rows)} kinds of work.")


if __name__ == "__main__":
    main()
