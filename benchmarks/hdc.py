"""Hyperdimensional computing measured: accuracies on digits and ISOLET over eight splits, and the speed of a search.

    python -m benchmarks.hdc [--data FOLDER]        # two minutes on two cores

Accuracies (means over splits, D = 4000, squared distance of levels, a single vote) stand beside those of a plain NumPy
program on the same splits, which shares nothing with crossjax, not even its random numbers, and beside the figures that
such a program once gave on one split of its own. Speed: 1,000 queries in 26 rows of 4,000 cells of 3 bits, in subarrays
of 64 columns that vote, and of whole rows, whose distances are what a loop over queries and rows in NumPy computes; and
the matrix products that a search is made of.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import norm

from crossjax import cam, features, hdc, images, report

REFERENCE = {  # plain float, then 1, 2, 3 bits retrained: NumPy, one split, which is not known
    "digits": (90.0, 94.7, 95.3, 95.3), "ISOLET": (86.2, 90.3, 90.8, 91.5),
}  # fmt: skip
SPLITS = 8


def splits(folder: str | None) -> dict[str, list[Any]]:
    """Eight splits of digits and ISOLET at random, and the four of ISOLET by speaker."""
    x, y = images.digits()
    found: dict[str, list[Any]] = {"digits": [], "ISOLET": [], "ISOLET, other speakers": []}
    for fold in range(SPLITS):
        data = features.isolet1560(folder, fold=fold % 4)
        if fold < 4:
            found["ISOLET, other speakers"].append((data.train, data.test))
        whole = tuple(np.concatenate(part) for part in zip(data.train, data.test, strict=True))
        for name, (a, b) in {"digits": (x, y), "ISOLET": whole}.items():
            order = np.random.default_rng(fold).permutation(len(a))
            test, train = order[: len(a) // 4], order[len(a) // 4 :]
            found[name].append(((a[train], b[train]), (a[test], b[test])))
    return found


def accuracies(key: jax.Array, split: Any) -> list[float]:
    """Float as it is, and retrained, then 1, 2 and 3 bits retrained."""
    (x, y), (x_test, y_test) = split
    encoder, centre = hdc.Projection(x.shape[1], 4000), x.mean(axis=0)
    book = encoder.draw(key)
    h, h_test = (encoder.encode(key, book, a - centre) for a in (x, x_test))
    searches = [(hdc.Cosine(), 0), (hdc.Cosine(), 20), *((hdc.InMemory(cam.CAM(b, vote="sum")), 20) for b in (1, 2, 3))]
    trained = (hdc.retrain(key, h, y, s, classes=int(y.max()) + 1, epochs=e) for s, e in searches)
    return [100.0 * float(np.mean(np.asarray(c.classify(key, h_test)) == y_test)) for c in trained]


def plain(seed: int, split: Any, epochs: int = 20, rate: float = 0.03) -> list[float]:
    """Float as it is, and 1, 2 and 3 bits retrained, by NumPy alone."""
    (x, y), (x_test, y_test) = split
    rng, centre, labels = np.random.default_rng(seed), x.mean(axis=0), np.arange(y.max() + 1)
    projection = rng.normal(size=(x.shape[1], 4000))
    h, h_test = (standard((a - centre) @ projection) for a in (x, x_test))
    means = np.stack([h[y == c].mean(axis=0) for c in labels])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    found = [np.mean(np.argmax(h_test @ unit.T, axis=1) == y_test)]
    for bits in (1, 2, 3):
        ends = norm.ppf(np.arange(1, 2**bits) / 2**bits)
        seen, asked, vectors = np.searchsorted(ends, h), np.searchsorted(ends, h_test), means.copy()
        for _ in range(epochs):
            guess = nearest(seen, np.searchsorted(ends, standard(vectors)))
            for n in np.flatnonzero(guess != y):
                vectors[y[n]] += rate * h[n]
                vectors[guess[n]] -= rate * h[n]
        found.append(np.mean(nearest(asked, np.searchsorted(ends, standard(vectors))) == y_test))
    return [100.0 * float(a) for a in found]


def standard(h: np.ndarray) -> np.ndarray:
    """Every row with mean 0 and deviation 1."""
    return (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True)


def nearest(queries: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """The row with the least squared distance of levels."""
    q, s = queries.astype(np.float64), stored.astype(np.float64)
    return np.argmin((s * s).sum(axis=1) - 2.0 * q @ s.T, axis=1)


def seconds(f: Callable[[], Any], repeats: int) -> float:
    """Median after a warm-up."""
    jax.block_until_ready(f())
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(f())
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def loop(queries: np.ndarray, stored: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Distances by a double loop over queries and rows, a table looked up for all cells of a row at once."""
    found = np.empty((len(queries), len(stored)))
    for n, q in enumerate(queries):
        for r, s in enumerate(stored):
            found[n, r] = table[q, s].sum()
    return found


def speed(key: jax.Array) -> dict[str, dict[str, float]]:
    """Milliseconds of one batch: a search, its products alone, and the loop."""
    rng = np.random.default_rng(0)
    queries, stored = rng.integers(0, 8, (1000, 4000)), rng.integers(0, 8, (26, 4000))
    levels, found = jnp.asarray(queries, jnp.float32), {}
    for name, cell in {
        "squared": cam.Squared(),
        "absolute": cam.Absolute(),
        "FeFET, spread": cam.FeFET(spread=0.05),
    }.items():
        memory = cam.CAM(3, cell=cell)
        chip, _ = cam.write(key, memory, stored)
        reading = cam.read(memory, chip)
        signals = [jnp.asarray(a) for a in cell.signals(levels, 8)]
        flat = [a.reshape(-1, 26)[:4000] for a in reading.answers]
        products = jax.jit(lambda s, a: sum(p @ q for p, q in zip(s, a, strict=True)))
        plain = cam.FeFET() if name.startswith("FeFET") else cell
        table = np.einsum("kq,ks->qs", plain.signals(jnp.arange(8.0), 8), plain.answers(jnp.arange(8.0), None, 8))
        start = time.perf_counter()
        wanted = loop(queries, stored, table)
        slow = time.perf_counter() - start
        if not name.startswith("FeFET"):
            got = np.asarray(cam.currents(key, memory, reading, levels))
            assert (got == wanted).all(), "whole-number distances are exact"
        whole = cam.CAM(3, cell=cell, cols=4000)
        rows = cam.read(whole, cam.write(key, whole, stored)[0])
        turns = [
            (seconds(lambda m=memory, r=reading: cam.search(key, m, r, levels), 3),
             seconds(lambda m=whole, r=rows: cam.currents(key, m, r, levels), 3),
             seconds(lambda s=signals, a=flat, p=products: p(s, a), 3))
            for _ in range(7)
        ]  # fmt: skip
        fast, distances, floor = (1e3 * float(np.median(times)) for times in zip(*turns, strict=True))
        found[name] = {
            "search ms": fast, "distances ms": distances, "products ms": floor, "loop ms": 1e3 * slow,
        }  # fmt: skip
    return found


PLAIN = ("float", "1 bit", "2 bits", "3 bits")


def shown(columns: Sequence[str], a: np.ndarray, divisor: float = 1.0) -> str:
    """Means over splits, ± their deviation (over a divisor: √n for a standard error)."""
    both = zip(columns, a.mean(0), a.std(0, ddof=1) / divisor, strict=True)
    return "   ".join(f"{c} {m:.1f} ± {s:.1f}" for c, m, s in both)


def main() -> None:
    """Print both tables and write results/hdc.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results" / "hdc.json"))
    options, key = parser.parse_args(), jax.random.key(0)
    fast = speed(key)
    for name, f in fast.items():
        print(
            f"{name:14} search {f['search ms']:7.1f} ms   loop {f['loop ms'] / f['search ms']:6.1f} x   "
            f"products {f['search ms'] / f['products ms']:5.2f} x   whole rows {f['distances ms']:7.1f} ms   "
            f"loop {f['loop ms'] / f['distances ms']:6.1f} x   products {f['distances ms'] / f['products ms']:5.2f} x"
        )
    columns = ("float", "float, retrained", "1 bit", "2 bits", "3 bits")
    found, beside = {}, {}
    for name, several in splits(options.data).items():
        found[name] = np.array([accuracies(jax.random.key(k), split) for k, split in enumerate(several)])
        beside[name] = np.array([plain(k, split) for k, split in enumerate(several)])
        apart = found[name][:, [0, 2, 3, 4]] - beside[name]
        print(f"{name}: {shown(columns, found[name])}   NumPy, one split: {REFERENCE.get(name, '')}")
        print(f"    NumPy: {shown(PLAIN, beside[name])}")
        print(f"    ours less NumPy's: {shown(PLAIN, apart, len(several) ** 0.5)}", flush=True)
    result = {
        "speed": fast,
        "accuracy": {n: a.tolist() for n, a in found.items()},
        "columns": columns,
        "numpy": {n: a.tolist() for n, a in beside.items()},
        "numpy columns": PLAIN,
        "device": report.device(),
    }
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
