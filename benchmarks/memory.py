"""Memory of programming a large matrix: one process per method and size, peak resident memory against the chip's bytes.

    python benchmarks/memory.py [--rows 4096 --cols 11008]

The floor is the chip and the weights it is given; beside them a batch of tiles is being programmed at any time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def one(rows: int, cols: int, name: str) -> None:
    """Program one matrix and print what it took, as JSON."""
    import jax
    import numpy as np

    import crossjax as cx

    tile = cx.presets.hermes(gain=0.03)
    methods = {"one-shot": cx.OneShot(), "iterative": cx.Iterative(iterations=5), "gdp": cx.GDP(iterations=5)}
    weights = np.random.default_rng(0).standard_normal((rows, cols), np.float32)
    small, _ = cx.program(jax.random.key(1), tile, weights[:256, :256], methods[name])
    jax.block_until_ready(small)
    before, begin = _peak(), time.perf_counter()
    chip, history = jax.block_until_ready(cx.program(jax.random.key(0), tile, weights, methods[name]))
    sizes = sum(a.nbytes for a in jax.tree.leaves(chip))
    found = {
        "method": name, "rows": rows, "cols": cols, "chip_mb": sizes / 1e6, "weights_mb": weights.nbytes / 1e6,
        "before_mb": before / 1e6, "peak_mb": _peak() / 1e6, "seconds": time.perf_counter() - begin,
        "mvm_error": float(history.mvm_error[-1]),
    }  # fmt: skip
    print(json.dumps(found | {"over_chip": (found["peak_mb"] - found["before_mb"]) / found["chip_mb"]}))


def _peak() -> float:
    """Peak resident memory of this process so far, bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Every method in a process of its own."""
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--rows", type=int, default=4096)
    parse.add_argument("--cols", type=int, default=11008)
    parse.add_argument("--methods", nargs="+", default=["one-shot", "iterative", "gdp"])
    parse.add_argument("--out", type=Path, help="JSON file for the rows")
    parse.add_argument("--one", help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.one:
        return one(given.rows, given.cols, given.one)
    rows = []
    for name in given.methods:
        command = [sys.executable, __file__, "--rows", str(given.rows), "--cols", str(given.cols), "--one", name]
        rows.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])
        print(rows[-1])
    if given.out:
        given.out.write_text(json.dumps([json.loads(row) for row in rows], indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
